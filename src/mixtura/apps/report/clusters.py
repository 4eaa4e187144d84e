"""Clusters: tables of the sizes and centres of the components."""

from collections.abc import Iterator

import numpy as np

from mixtura.apps import words
from mixtura.apps.distinct import separation
from mixtura.apps.plot import look
from mixtura.apps.report.blocks import Block, Cell, Details, Table, cells
from mixtura.apps.report.figures import NONE, before_asinh, plus_minus, share
from mixtura.apps.report.subject import Facts

SHOWN = 12
"""Most features in the first table; of more those are taken in which the clusters differ most."""

MOST = 200
"""Most features in the table of all."""


def centres(facts: Facts) -> Iterator[Block]:
    """Size, share, and mean ± standard deviation of the features; of all features below, where they are many."""
    first = telling(facts, SHOWN)
    many = len(first) < facts.features
    which = f"the {len(first)} features in which the clusters differ most" if many else "each feature"
    yield _centres(facts, f"Size of each cluster, and mean ± standard deviation of {which}{_transformed(facts)}", first)
    if many:
        of = f"the first {MOST} of {facts.features}" if facts.features > MOST else "all"
        caption = f"Mean ± standard deviation of {of} features{_transformed(facts)}"
        yield Details(f"Means of {of} features", [_by_feature(facts, caption)])


def telling(facts: Facts, most: int) -> list[int]:
    """Positions of the features in which the components differ most, in the order of the columns."""
    best = np.argsort(-separation(facts.model), kind="stable")[:most]
    return sorted(best.tolist())


def _centres(facts: Facts, caption: str, at: list[int]) -> Table:
    mean, sd = facts.centres
    rows = facts.counts
    body = []
    for k, weight in enumerate(facts.weights):
        size = [] if rows is None else [Cell(words.count(rows[k]))]
        pairs = (Cell(plus_minus(float(mean[k, j]), float(sd[k, j]))) for j in at)
        body.append([coloured(k), *size, Cell(share(weight, 1)), *pairs])
    head = ["Cluster", *([] if rows is None else ["Rows"]), "Share", *(facts.names[j] for j in at)]
    return Table(caption, head, body)


def _by_feature(facts: Facts, caption: str) -> Table:
    """Features down, clusters across: the longer side down, where a print can go on."""
    mean, sd = facts.centres
    body = [
        cells(name, *(plus_minus(float(m), float(s)) for m, s in zip(mean[:, j], sd[:, j], strict=True)))
        for j, name in enumerate(facts.names[:MOST])
    ]
    return Table(caption, ["Feature", *(f"cluster {k}" for k in range(facts.components))], body)


def original(facts: Facts) -> Iterator[Block]:
    """Centres in the units of the file, where values were transformed."""
    at = [j for j in telling(facts, SHOWN) if facts.cofactors[j] is not None]
    if not at:
        return
    mean, sd = facts.centres
    body = []
    for k in range(facts.components):
        row = [coloured(k)]
        for j in at:
            low, mid, high = (
                before_asinh(float(mean[k, j] + z * sd[k, j]), facts.cofactors[j] or 1.0) for z in (-1, 0, 1)
            )
            row.append(Cell(mid if mid == NONE else f"{mid} ({low} to {high})"))
        body.append(row)
    caption = "Medians in the units of the file; in brackets the range that holds the middle 68 % of the cluster"
    yield Details(
        "The same before the transform, in the units of the file",
        [Table(caption, ["Cluster", *(facts.names[j] for j in at)], body)],
    )


def coloured(component: int) -> Cell:
    """A component with the colour that it has in the pictures."""
    return Cell(str(component), look(component).colour)


def _transformed(facts: Facts) -> str:
    cofactors = {c for c in facts.cofactors if c is not None}
    if not cofactors:
        return ""
    some = "" if None not in facts.cofactors else "some of them "
    return f", {some}as asinh(x / {' or '.join(f'{c:g}' for c in sorted(cofactors))})"
