"""Pictures: the figures of a report, drawn from a sample of its rows and described in words."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from mixtura.apps import plot, words
from mixtura.apps.distinct import separation
from mixtura.apps.plot.progress import winner
from mixtura.apps.plot.shown import array
from mixtura.apps.report.blocks import Picture
from mixtura.apps.report.clusters import telling
from mixtura.apps.report.methods import share
from mixtura.apps.report.subject import Facts, Fitted
from mixtura.apps.words import Choice

FEATURES = 6
"""Most features in the picture of pairs."""

POINTS = 20_000, 8_000
"""Most rows in a single picture, and in that of pairs."""

WIDTH, HEIGHT = 7.2, 4.8
"""Of a picture, in inches."""

DPI = 144
"""Dots per inch; one CSS pixel is 1/96 inch, so 1.5 dots."""

TOLD = 8
"""Most clusters that are described one by one."""


def fit_pictures(fit: Fitted) -> list[Picture]:
    """All figures of a fit that show its rows or how it was found."""
    return [*(of_one(fit) if fit.facts.features == 1 else of_many(fit)), *of_starts(fit)]


def of_one(fit: Fitted) -> Iterator[Picture]:
    """One feature: its histogram."""
    name = axis_names(fit.facts)[0]
    ax = plot.histogram(fit.sample, fit.model, canvas(), names=[name])
    alt = f"Histogram of {name} for {_rows(fit)} with the curves of the clusters: {peaks(fit, [0])}."
    yield picture(ax, fit, alt, f"Histogram of {name}. Coloured curves are the clusters, the dark curve is their sum.")


def of_many(fit: Fitted) -> Iterator[Picture]:
    """Several features: the rows by cluster, and those that are in doubt."""
    facts = fit.facts
    names = axis_names(facts)
    at = telling(facts, FEATURES)
    plane = [at[i] for i in _widest(separation(facts.model)[at])]
    given: dict[str, Any] = {"names": names, "most": POINTS[0]}
    first, second = (facts.names[j] for j in plane)
    if facts.features == 2:
        ax = plot.clusters(fit.sample, fit.model, canvas(), labels=fit.labels, features=plane, **given)
        alt = f"Scatter plot of {_rows(fit)} in {first} and {second} by cluster: {peaks(fit, plane)}."
        yield picture(ax, fit, alt, f"The rows in {first} and {second}, coloured by cluster. {ELLIPSES}")
    else:
        axes = plot.pairs(
            fit.sample, fit.model, canvas(len(at)), labels=fit.labels, features=at, names=names, most=POINTS[1]
        )
        shown = ", ".join(facts.names[j] for j in at)
        most = (
            f"the {len(at)} of {facts.features} features that tell the clusters apart most"
            if len(at) < facts.features
            else "all features"
        )
        alt = f"Scatter plots of every pair of {shown} for {_rows(fit)} by cluster: {peaks(fit, at[:3])}."
        yield picture(axes, fit, alt, f"Every pair of {most} ({shown}), coloured by cluster. {ELLIPSES}")
    if facts.components > 1:
        yield _doubt(fit, plane, given)


ELLIPSES = (
    "The ellipses lie one and two standard deviations from the mean of each cluster, the numbers at the means; in a "
    "plane they hold 39 % and 86 % of it."
)


def _doubt(fit: Fitted, plane: list[int], given: dict[str, Any]) -> Picture:
    first, second = (fit.facts.names[j] for j in plane)
    ax = plot.uncertainty(fit.sample, fit.model, canvas(), features=plane, **given)
    told, _ = fit.doubt
    doubtful = share(told["above"]["0.1"], told["rows"]) if told["rows"] else "none"
    alt = (
        f"Scatter plot of {_rows(fit)} in {first} and {second}, those in doubt large and dark: for {doubtful} of the "
        "rows another cluster has a probability above 10 %."
    )
    return picture(
        ax, fit, alt, f"How sure the cluster of each row is, in {first} and {second}. Large dark points are in doubt."
    )


def of_starts(fit: Fitted) -> Iterator[Picture]:
    """How the likelihood rose in every start."""
    told = fit.facts.starts
    if not any(start["lower_bounds"] for start in told):
        return
    best = winner(told)
    reached = "" if best is None else f" The best ends at a log likelihood of {told[best]['loglik']:,.2f} nats."
    alt = (
        f"Mean log likelihood by iteration for {len(told)} starts.{reached} {words.how_found(fit.model) or ''}".strip()
    )
    caption = "How the fit was looked for: each line is a start, and the thick one with a star was kept."
    yield picture(plot.starts(fit.model, canvas()), fit, alt.replace("-", "−"), caption)


def picture_of_choice(fit: Fitted, choice: Choice) -> Picture | None:
    """The criterion over the number of components; nothing where only one number was tried."""
    table, name = choice.table_, choice.criterion.upper()
    sizes = table["n_components"]
    if sizes.min() == sizes.max():
        return None
    ax = plot.criteria(table, canvas(), criterion=choice.criterion)
    best = choice.best_index_
    values = [
        f"{k} {np.nanmin(here):.1f}"
        if np.isfinite(here := table[choice.criterion][sizes == k].astype(float)).any()
        else f"{k} none"
        for k in sorted(set(sizes.tolist()))
    ]
    alt = (
        f"{name} by number of clusters, the lowest of each: {', '.join(values)}. The best is {sizes[best]} with the "
        f"structure {table['covariance_type'][best]}."
    )
    caption = (
        f"The {name} of every model by its number of components, a curve for each structure; the star is the best."
    )
    return picture(ax, fit, alt.replace(" -", " −"), caption)


def canvas(panels: int = 1) -> Any:
    """Axes for a picture, or for each pair of a number of features."""
    if panels == 1:
        return plot.new_axes(width=WIDTH, height=HEIGHT)
    each = max(WIDTH / panels, 1.5)
    return plot.new_axes(panels, panels, each, each)


def peaks(fit: Fitted, at: list[int]) -> str:
    """Where the clusters lie, in a few features."""
    facts = fit.facts
    mean = facts.model.mixture_.mean[0]
    order = [k for k in np.argsort(-np.asarray(facts.weights), kind="stable").tolist() if facts.weights[k] > 0]
    said = [
        f"cluster {k} ({share(facts.weights[k], 1)}) around "
        + ", ".join(f"{facts.names[j]} {float(mean[k, j]):.3g}" for j in at)
        for k in order[:TOLD]
    ]
    more = len(order) - TOLD
    return "; ".join([*said, *([f"and {more} smaller ones"] if more > 0 else [])]).replace(" -", " −")


def axis_names(facts: Facts) -> list[str]:
    """Names of the features with what was done to them."""
    pairs = zip(facts.names, facts.cofactors, strict=True)
    return [name if c is None else f"asinh({name} / {c:g})" for name, c in pairs]


def picture(axes: Any, fit: Fitted, alt: str, caption: str) -> Picture:
    """A figure as a picture that is part of the page."""
    figure = (axes.flat[0] if isinstance(axes, np.ndarray) else axes).figure
    if fit.credit:
        plot.credit(axes, fit.credit)
    shown = len(fit.labels)
    drawn = f" Drawn from {words.count(shown)} of {words.count(fit.total)} rows." if shown < fit.total else ""
    credit = f" {fit.credit}." if fit.credit else ""
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Picture(encoded(figure), alt, f"{caption}{drawn}{credit}".replace("..", "."), width, height)


def encoded(figure: Any) -> str:
    """The figure as a PNG of at most 256 colours in a ``data:`` address."""
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    image = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    image.save(packed, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode("ascii")


def _rows(fit: Fitted) -> str:
    return f"{words.count(len(array(fit.labels)))} rows"


def _widest(separation: np.ndarray) -> list[int]:
    """The two features that separate most, in the order of the columns."""
    return sorted(np.argsort(-separation, kind="stable")[:2].tolist())
