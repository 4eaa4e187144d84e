"""The command ``mixtura demo``: three simulated clusters and a real cytometry table, fitted and drawn."""

import csv
import importlib.util
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mixtura.apps import fit, plot, summary
from mixtura.apps.job import Done, Job
from mixtura.apps.together import Together

TABLE = Path("examples") / "data" / "bacteria.csv"

CHANNELS = ["V2-H", "Y2-H", "B1-H"]
"""Where the cyan, red and yellow fluorescent proteins of the three strains show."""

COFACTOR = 150.0

CREDIT = "Data: FlowCytometryTools 0.5.1, Friedman & Yurtsev, MIT licence"


def run(output: Path) -> Iterator[str]:
    """Fit and draw both examples into a directory, telling line by line what was found.

    Args:
        output: directory of the pictures and results.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: the directory cannot be written.
    """
    yield from tutorial(output)
    yield ""
    table = find_table()
    if table is None:
        yield f"The cytometry example needs {TABLE.as_posix()}, which comes with the repository: run this from there."
    elif importlib.util.find_spec("pyarrow") is None:
        yield 'The cytometry example reads CSV with pyarrow: pip install "mixtura[table]"'
    else:
        yield from bacteria(table, output)


def three_clusters() -> np.ndarray:
    """(300, 2): 100 points around each of (0, 0), (5, 5) and (5, 0), always the same."""
    # The very numbers that follow np.random.seed(42).
    draw = np.random.RandomState(42)
    return np.concatenate([draw.multivariate_normal(centre, np.eye(2), 100) for centre in ((0, 0), (5, 5), (5, 0))])


def tutorial(output: Path) -> Iterator[str]:
    """Three simulated clusters, before and after."""
    from mixtura import GaussianMixture

    x = three_clusters()
    model = GaussianMixture(3, random_state=42).fit(x)
    labels = model.predict(x)
    before, after = plot.new_axes(columns=2)
    plot.scatter(x, ax=before, names=["x", "y"], title="300 points")
    plot.clusters(x, model, after, labels=labels, names=["x", "y"], title="three Gaussians")
    with Together(output) as outputs:
        before.figure.savefig(outputs.path("tutorial.png"), dpi=120)
    yield "Three simulated clusters"
    yield "component  weight  rows  mean"
    counts = np.bincount(labels, minlength=3)
    for k, (weight, mean) in enumerate(zip(model.weights_, model.means_, strict=True)):
        yield f"{k:9}  {weight:.4f}  {counts[k]:4}  ({mean[0]:.2f}, {mean[1]:.2f})"
    yield f"log likelihood {model.loglik_:.2f}, BIC {model.bic(x):.2f}, status {model.status_}"
    yield f"picture: {output / 'tutorial.png'}"


def find_table() -> Path | None:
    """The cytometry table in the current directory's repository or in the one this file lies in."""
    places = [Path.cwd(), *Path(__file__).resolve().parents]
    return next((place / TABLE for place in places if (place / TABLE).is_file()), None)


def bacteria(table: Path, output: Path) -> Iterator[str]:
    """Fluorescent bacteria: clusters in three channels, beside the strain of the well that each event came from."""
    notes: list[str] = []
    job = Job(table, 4, columns=CHANNELS, id="event", cofactor=COFACTOR, output=output / "bacteria", seed=0)
    done = fit.run(job, notes.append)
    with table.open(newline="", encoding="utf-8") as stream:
        strains = np.array([row["strain"] for row in csv.DictReader(stream)])
    with Together(output) as outputs:
        draw(done, strains).savefig(outputs.path("bacteria.png"), dpi=120)
    yield f"Bacteria of three fluorescent strains, {len(strains):,} events, channels {', '.join(CHANNELS)}"
    yield summary.text(done)
    yield ""
    yield from agreement(done.labels, strains)
    yield f"picture: {output / 'bacteria.png'}"
    yield f"labels and summary: {', '.join(str(path) for path in done.files)}"
    yield CREDIT


def draw(done: Done, strains: np.ndarray) -> Any:
    """The figure: before, after, and which events are in doubt, in two pairs of channels that tell components apart."""
    x = done.table.x
    names = [f"asinh({channel} / {COFACTOR:g})" for channel in CHANNELS]
    called = []
    for k in range(len(done.model.weights_)):
        strain, share = dominant(strains[done.labels == k])
        called.append(f"{k}: {share:.0%} {strain}" if share > 0.5 else f"{k}: all strains, dark")
    axes = plot.new_axes(columns=3, rows=2, width=4.8, height=4.2)
    for (before, after, doubt), pair in zip(axes, ((1, 2), (0, 2)), strict=True):
        shared: dict[str, Any] = {"features": pair, "names": names, "size": 6}
        plot.scatter(x, ax=before, **shared, title="before: events as recorded")
        plot.clusters(x, done.model, after, labels=done.labels, **shared, called=called, title="after: four Gaussians")
        plot.uncertainty(x, done.model, doubt, **shared, title="how sure: bold events could be of another")
    plot.credit(axes, CREDIT)
    return axes[0, 0].figure


def dominant(strains: np.ndarray) -> tuple[str, float]:
    """The most frequent strain and its share."""
    counts = Counter(strains.tolist())
    if not counts:
        return "", 0.0
    strain, most = counts.most_common(1)[0]
    return strain, most / counts.total()


def agreement(labels: np.ndarray, strains: np.ndarray) -> Iterator[str]:
    """How components and strains go together, without making more of it than there is."""
    from sklearn.metrics import adjusted_rand_score

    kinds = sorted(set(strains.tolist()))
    yield "component  " + "  ".join(f"{kind:>5}" for kind in kinds) + "   events of each strain's wells"
    of_one, held = 0, 0
    mixed: list[str] = []
    for k in range(int(labels.max()) + 1):
        count = Counter(strains[labels == k].tolist())
        yield f"{k:9}  " + "  ".join(f"{count[kind]:5,}" for kind in kinds)
        rows, most = count.total(), max(count.values(), default=0)
        if 2 * most > rows:
            of_one, held = of_one + most, held + rows
        else:
            mixed.append(str(k))
    yield (
        f"{of_one:,} of the {held:,} events in components dominated by one strain come from a well of it "
        f"({of_one / max(held, 1):.0%})."
    )
    if mixed:
        yield (
            f"Component {' and '.join(mixed)} mixes all strains: cells that do not shine, and debris, which every well "
            "holds; there the strain of the well is no label."
        )
    index = adjusted_rand_score(strains, labels)
    yield f"Against the strains of all events the adjusted Rand index is therefore only {index:.2f}."
