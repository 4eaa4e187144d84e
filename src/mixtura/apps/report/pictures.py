"""Pictures: the figures of a report, drawn from a sample of its rows and described in words."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from mixtura.apps import plot, sought, words
from mixtura.apps.distinct import separation
from mixtura.apps.plot.progress import winner
from mixtura.apps.report.blocks import Picture
from mixtura.apps.report.clusters import telling
from mixtura.apps.report.figures import share, typeset
from mixtura.apps.report.subject import Facts, Fitted
from mixtura.apps.words import Choice
from mixtura.cells import UNSOUND
from mixtura.criteria import named

FEATURES = 6
"""Most features in the picture of pairs."""

PAIRED = 8_000
"""Most rows in the picture of pairs."""

WIDTH, HEIGHT = 7.2, 4.8
"""Of a picture, in inches."""

DPI = 144
"""Dots per inch; one CSS pixel is 1/96 inch, so 1.5 dots."""

TOLD = 8
"""Most clusters that are described one by one."""

ELLIPSES = (
    "The ellipses lie one and two standard deviations from the mean of each cluster, the numbers at the means; in a "
    "plane they hold 39 % and 86 % of it."
)


def fit_pictures(fit: Fitted) -> Iterator[Picture]:
    """All figures of a fit that show its rows or how it was found."""
    at = telling(fit.facts, FEATURES)
    if fit.facts.features == 1:
        yield histogram(fit)
    else:
        yield clusters(fit, [0, 1]) if fit.facts.features == 2 else pairs(fit, at)
        if fit.facts.components > 1:
            yield doubt(fit, telling_plane(fit))
    if fit.facts.components > 1 and any(start["lower_bounds"] for start in fit.facts.starts):
        yield starts(fit)


def telling_plane(fit: Fitted) -> list[int]:
    """The two features that tell the clusters apart most, in the order of the columns."""
    apart = separation(fit.facts.model)
    return sorted(sorted(telling(fit.facts, FEATURES), key=lambda j: -apart[j])[:2])


def histogram(fit: Fitted) -> Picture:
    """One feature with the curves of the clusters."""
    (name,) = axis_names(fit.facts)
    rows = len(fit.rows)
    ax = plot.histogram(fit.rows, fit.unnamed, canvas(), names=[name])
    alt = f"Histogram of {name} for {words.count(rows)} rows with the curves of the clusters: {peaks(fit, [0])}."
    caption = f"Histogram of {name}. Coloured curves are the clusters, the dark curve is their sum. {drawn(fit, rows)}"
    return picture(ax, fit, alt, caption)


def clusters(fit: Fitted, plane: list[int]) -> Picture:
    """Two features: the rows by cluster."""
    first, second = (fit.facts.names[j] for j in plane)
    rows = len(fit.rows)
    given: dict[str, Any] = {"labels": fit.labels, "features": plane, "names": axis_names(fit.facts), "most": rows}
    ax = plot.clusters(fit.rows, fit.unnamed, canvas(), **given)
    alt = f"Scatter plot of {words.count(rows)} rows in {first} and {second} by cluster: {peaks(fit, plane)}."
    caption = f"The rows in {first} and {second}, coloured by cluster. {ELLIPSES} {drawn(fit, rows)}"
    return picture(ax, fit, alt, caption)


def pairs(fit: Fitted, at: list[int]) -> Picture:
    """Several features, two by two: the rows by cluster."""
    facts = fit.facts
    step = -(-len(fit.rows) // PAIRED)
    x, labels = fit.rows[::step], fit.labels[::step]
    given: dict[str, Any] = {"labels": labels, "features": at, "names": axis_names(facts), "most": len(x)}
    axes = plot.pairs(x, fit.unnamed, canvas(len(at)), **given)
    shown = ", ".join(facts.names[j] for j in at)
    some = f"the {len(at)} of {facts.features} features that tell the clusters apart most"
    which = some if len(at) < facts.features else "all features"
    alt = f"Scatter plots of every pair of {shown} for {words.count(len(x))} rows by cluster: {peaks(fit, at[:3])}."
    caption = f"Every pair of {which} ({shown}), coloured by cluster. {ELLIPSES} {drawn(fit, len(x))}"
    return picture(axes, fit, alt, caption)


def doubt(fit: Fitted, plane: list[int]) -> Picture:
    """How sure the cluster of each row is, in a plane."""
    first, second = (fit.facts.names[j] for j in plane)
    rows = len(fit.rows)
    ax = plot.uncertainty(fit.rows, fit.unnamed, canvas(), features=plane, names=axis_names(fit.facts), most=rows)
    told, _ = fit.doubt
    doubtful = share(told["above"]["0.1"], told["rows"]) if told["rows"] else "none"
    alt = (
        f"Scatter plot of {words.count(rows)} rows in {first} and {second}, the least sure 5 % large and dark: for "
        f"{doubtful} of the rows the cluster has a probability below 90 %."
    )
    caption = f"How sure the cluster of each row is, in {first} and {second}: the least sure 5 % are large and dark."
    return picture(ax, fit, alt, f"{caption} {drawn(fit, rows)}")


def starts(fit: Fitted) -> Picture:
    """How the likelihood rose in every start."""
    told = fit.facts.starts
    best = winner(told)
    number = f"{len(told)} starts" if len(told) > 1 else "one start"
    end = "" if best is None else typeset(f"{told[best]['loglik']:,.2f}")
    reached = f" The best ends at a log likelihood of {end} nats." if end else ""
    alt = f"Mean log likelihood by iteration for {number}.{reached} {sought.how_found(fit.model) or ''}".strip()
    caption = "How the fit was looked for: each line is a start, and the thick one with a star was kept."
    return picture(plot.starts(fit.model, canvas()), fit, alt, caption)


def picture_of_choice(fit: Fitted, choice: Choice) -> Picture | None:
    """The criterion over the number of components; nothing where only one number was tried."""
    table, name, best = choice.table_, named(choice.criterion), choice.best_index_
    sizes = table["n_components"]
    if sizes.min() == sizes.max():
        return None
    value = np.where(np.isin(table["status"], UNSOUND), np.nan, table[choice.criterion].astype(np.float64))
    least = {k: min(value[(sizes == k) & np.isfinite(value)], default=None) for k in sorted(set(sizes.tolist()))}
    shown = {k: "no sound fit" if low is None else words.figure(low, choice.criterion) for k, low in least.items()}
    each = (f"{k}: {typeset(text)}" for k, text in shown.items())
    alt = (
        f"Lowest {name} by number of clusters: {', '.join(each)}. The best is {sizes[best]} with the structure "
        f"{table['covariance_type'][best]}."
    )
    curves = "a curve for each structure"
    if len(set(table["covariance_type"].tolist())) > len(plot.COLOURS):
        curves += ", with a name where it comes near the best"
    caption = f"The {name} of the models by their number of components, {curves}; the star is the best."
    return picture(plot.criteria(table, canvas(), criterion=choice.criterion), fit, alt, caption)


def canvas(panels: int = 1) -> Any:
    """Axes for a picture, or for each pair of a number of features."""
    if panels == 1:
        return plot.new_axes(width=WIDTH, height=HEIGHT)
    each = max(WIDTH / panels, 1.5)
    return plot.new_axes(panels, panels, each, each)


def peaks(fit: Fitted, at: list[int]) -> str:
    """Where the clusters lie, in a few features."""
    facts = fit.facts
    mean, _ = facts.centres
    order = [k for k in np.argsort(-np.asarray(facts.weights), kind="stable").tolist() if facts.weights[k] > 0]
    said = [
        f"cluster {k} ({share(facts.weights[k], 1)}) around "
        + ", ".join(f"{facts.names[j]} {typeset(f'{float(mean[k, j]):.3g}')}" for j in at)
        for k in order[:TOLD]
    ]
    more = len(order) - TOLD
    return "; ".join([*said, *([f"and {more} more"] if more > 0 else [])])


def axis_names(facts: Facts) -> list[str]:
    """Names of the features with what was done to them."""
    pairs = zip(facts.names, facts.cofactors, strict=True)
    return [name if c is None else f"asinh({name} / {c:g})" for name, c in pairs]


def drawn(fit: Fitted, rows: int) -> str:
    """How many rows a picture shows, where they are not all."""
    return f"{words.count(rows)} of {words.count(fit.total)} rows are drawn." if rows < fit.total else ""


def picture(axes: Any, fit: Fitted, alt: str, caption: str) -> Picture:
    """A figure as a picture that is part of the page, with the credit of the data."""
    figure = (axes.flat[0] if isinstance(axes, np.ndarray) else axes).figure
    if fit.credit:
        plot.credit(axes, fit.credit)
        caption = f"{caption.rstrip()} {fit.credit.rstrip('.')}."
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Picture(encoded(figure), alt, caption.rstrip(), width, height)


def encoded(figure: Any) -> str:
    """The figure as a PNG of at most 256 colours in a ``data:`` address."""
    from PIL import Image

    drawing = io.BytesIO()
    figure.savefig(drawing, format="png", dpi=DPI)
    image = Image.open(drawing).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    image.save(packed, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode("ascii")
