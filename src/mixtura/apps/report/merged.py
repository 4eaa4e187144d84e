"""Merged: which clusters of a report overlap so much that they were put together, and where their entropy bends."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from mixtura.apps import plot, words
from mixtura.apps.clusters import Clusters, listed
from mixtura.apps.plot import look
from mixtura.apps.report import references
from mixtura.apps.report.blocks import Block, Cell, Paragraph, Picture, Table
from mixtura.apps.report.figures import share, typeset
from mixtura.apps.report.pictures import axis_names, canvas, drawn, picture, telling_plane
from mixtura.apps.report.subject import Facts, Fitted


def in_short(facts: Facts) -> str:
    """A sentence for the top of the page, after a blank; empty where nothing was merged."""
    found = facts.merged
    if found is None or found.number == len(found.of):
        return ""
    return f" Merged where they overlap, they make {found.number}."


def merged(fit: Fitted) -> Iterator[Block]:
    """What was merged and why, a table of it, and its pictures."""
    facts, found = fit.facts, fit.facts.merged
    if found is None or facts.components == 1:
        return
    yield Paragraph(f"{reason(found)} {in_doubt(facts)}".strip())
    yield Paragraph(
        "Step by step those two clusters were put together whose union leaves the rows least in doubt "
        f"({references.MERGING.short}). The density stays as it is. A population that is not bell-shaped takes several "
        "Gaussians, which overlap: merged, they are one. Where the entropy bends, what was merged before are parts of "
        "one, and what would be merged next stands apart. In the table of labels the column “label” holds the clusters "
        "of the other sections, “cluster” the merged ones of this section.",
        "fine",
    )
    yield table(facts, found)
    if facts.components > 2:
        yield elbow(fit, found)
    if facts.features > 1 and 1 < found.number < facts.components:
        yield scatter(fit, found)


def reason(found: Clusters) -> str:
    """How many there are, and where the entropy bends."""
    k, c = len(found.of), found.number
    made = f"The {k} clusters make {c} merged cluster{'s' if c > 1 else ''}"
    if k < 3:
        return f"{made}."
    if c == found.n_clusters_:
        return f"{made}, which is where the entropy of the rows bends."
    return f"{made}, as was asked for; the entropy bends at {found.n_clusters_}."


def in_doubt(facts: Facts) -> str:
    """How many rows are in doubt of their merged cluster; empty where that is not known."""
    told = (facts.told.get("merging") or {}).get("doubt")
    if not told or not told["rows"]:
        return ""
    some = told["above"]["0.1"]
    if not some:
        return "Of its merged cluster no row is in doubt."
    return f"In doubt of their merged cluster are {share(some, told['rows'])} of the rows."


def table(facts: Facts, found: Clusters) -> Table:
    """Which clusters make which, and how large that is."""
    counts = (facts.told.get("merging") or {}).get("counts")
    body = [
        [
            Cell(str(c), look(c).colour),
            Cell(listed(parts)),
            *([] if counts is None else [Cell(words.count(counts[c]))]),
            Cell(share(sum(facts.weights[k] for k in parts), 1)),
        ]
        for c, parts in enumerate(found.members)
    ]
    head = ["Merged cluster", "Made of clusters", *([] if counts is None else ["Rows"]), "Share"]
    return Table("Which clusters make which merged cluster", head, body, words=1)


def elbow(fit: Fitted, found: Clusters) -> Picture:
    """The entropy against the number of clusters."""
    each = ", ".join(f"{n}: {typeset(f'{value:.1f}')}" for n, value in enumerate(found.entropy_, 1))
    alt = f"Entropy of the rows in nats by number of clusters: {each}. It bends at {found.n_clusters_}."
    caption = (
        "The entropy of the rows with every number of clusters; the dashed lines are the two that fit it best, and the "
        f"star is the number that is used, {found.number}."
    )
    return picture(plot.merging(found, canvas(), n_clusters=found.number), fit, alt, caption)


def scatter(fit: Fitted, found: Clusters) -> Picture:
    """The rows by merged cluster, in the plane that tells the clusters apart best."""
    plane = telling_plane(fit)
    first, second = (fit.facts.names[j] for j in plane)
    posterior = torch.from_numpy(np.ascontiguousarray(fit.unnamed.predict_proba(fit.rows).T))
    labels = found.posterior(posterior).argmax(0).numpy()
    rows = len(labels)
    given: dict[str, Any] = {"features": plane, "names": axis_names(fit.facts), "most": rows}
    ax = plot.scatter(fit.rows, labels, canvas(), **given)
    ax.get_legend().set_title("merged cluster")
    sizes = ", ".join(f"{c}: {share(int((labels == c).sum()), rows)}" for c in range(found.number))
    alt = f"Scatter plot of {words.count(rows)} rows in {first} and {second} by merged cluster, of which {sizes}."
    caption = f"The rows in {first} and {second}, coloured by merged cluster. {drawn(fit, rows)}"
    return picture(ax, fit, alt, caption)
