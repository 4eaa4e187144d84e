"""The command ``mixtura demo``: three simulated clusters and a real flow-cytometry file, fitted, drawn and reported."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mixtura.apps import describe, fit, plot, report
from mixtura.apps.job import Done, Job, Reading
from mixtura.apps.together import Together
from mixtura.data.scan import scan

EVENTS = Path("examples") / "data" / "lsrii_d6.fcs"

CHANNELS = ["FITC-A", "PerCP-Cy5-5-A", "AmCyan-A", "PE-TxRed YG-A"]
"""The four fluorescence detectors."""

COFACTOR = 150.0

TRIED = tuple(range(1, 13))
"""Numbers of components that the cytometry file is fitted with."""

CREDIT = "Data: fcsparser 0.2.8, Yurtsev and contributors, MIT licence."


def run(output: Path) -> Iterator[str]:
    """Fit, draw and report both examples into a directory, telling line by line what was found.

    Args:
        output: directory of the pictures and results.

    Raises:
        ModuleNotFoundError: matplotlib or jinja2 is not installed.
        ValueError: the directory cannot be written.
    """
    report.check_installed()
    fits = [describe.fitted((yield from tutorial(output)), "Three simulated clusters")]
    yield ""
    events = find_events()
    if events is None:
        yield f"The cytometry example needs {EVENTS.as_posix()}, which comes with the repository: run this from there."
    elif importlib.util.find_spec("flowio") is None:
        yield 'The cytometry example reads FCS with flowio: pip install "mixtura[fcs]"'
    else:
        done = yield from cytometry(events, output)
        fits.append(describe.fitted(done, f"Bacteria in a flow cytometer: {events.name}", CREDIT))
    with Together(output) as outputs:
        outputs.path("report.html").write_text(report.page("What mixtura finds", fits), encoding="utf-8")
    yield ""
    yield f"report: {output / 'report.html'}"


def three_clusters() -> np.ndarray:
    """(300, 2): 100 points around each of (0, 0), (5, 5) and (5, 0), always the same."""
    # The very numbers that follow np.random.seed(42).
    draw = np.random.RandomState(42)
    return np.concatenate([draw.multivariate_normal(centre, np.eye(2), 100) for centre in ((0, 0), (5, 5), (5, 0))])


def tutorial(output: Path) -> Any:
    """Three simulated clusters, before and after: yields lines, returns what was done."""
    from mixtura import GaussianMixture

    x = three_clusters()
    model = GaussianMixture(3, random_state=42).fit(x)
    found = model.predict(x)
    before, after = plot.new_axes(columns=2)
    plot.scatter(x, ax=before, names=["x", "y"], title="300 points")
    plot.clusters(x, model, after, labels=found, names=["x", "y"], title="three Gaussians")
    with Together(output) as outputs:
        before.figure.savefig(outputs.path("tutorial.png"), dpi=120)
    yield "Three simulated clusters"
    yield "component  weight  rows  mean"
    counts = np.bincount(found, minlength=3)
    for k, (weight, mean) in enumerate(zip(model.weights_, model.means_, strict=True)):
        yield f"{k:9}  {weight:.4f}  {counts[k]:4}  ({mean[0]:.2f}, {mean[1]:.2f})"
    yield f"log likelihood {model.loglik_:.2f}, BIC {model.bic(x):.2f}, status {model.status_}"
    yield f"picture: {output / 'tutorial.png'}"
    done = describe.seen(model, scan(x))
    done.summary["columns"] = ["x", "y"]
    return done


def find_events() -> Path | None:
    """The cytometry file in the current directory's repository or in the one this file lies in."""
    places = [Path.cwd(), *Path(__file__).resolve().parents]
    return next((place / EVENTS for place in places if (place / EVENTS).is_file()), None)


def cytometry(events: Path, output: Path) -> Any:
    """Fluorescent bacteria, the number of components chosen by BIC: yields lines, returns what was done."""
    yield f"Bacteria in a flow cytometer, channels {', '.join(CHANNELS)}"
    reading = Reading(events, CHANNELS, transform="asinh", cofactor=COFACTOR)
    job = Job(reading, TRIED, output=output / "cytometry", report=False, credit=CREDIT, call="mixtura demo")
    said: list[str] = []
    done = fit.run(job, said.append)
    yield from said
    with Together(output) as outputs:
        draw(done).savefig(outputs.path("cytometry.png"), dpi=120)
    yield describe.text(done.model, done.summary)
    yield ""
    yield f"picture: {output / 'cytometry.png'}"
    yield f"model, labels and summary: {', '.join(str(path) for path in done.files)}"
    yield CREDIT
    return done


def draw(done: Done) -> Any:
    """The figure: before, after, and which events are in doubt, in two pairs of channels."""
    names = [f"asinh({channel} / {COFACTOR:g})" for channel in CHANNELS]
    model = describe.fitted(done, "").unnamed
    axes = plot.new_axes(columns=3, rows=2, width=4.8, height=4.2)
    for (before, after, doubt), pair in zip(axes, ((0, 3), (2, 3)), strict=True):
        shared: dict[str, Any] = {"features": pair, "names": names, "size": 5}
        fitted = f"after: {done.model.n_components} Gaussians, chosen by BIC"
        plot.scatter(done.sample, ax=before, **shared, title="before: events as recorded, compensated")
        plot.clusters(done.sample, model, after, labels=done.labels, **shared, title=fitted)
        plot.uncertainty(done.sample, model, doubt, **shared, title="how sure: bold events could be of another")
    plot.credit(axes, CREDIT)
    return axes[0, 0].figure
