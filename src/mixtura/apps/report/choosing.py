"""Choosing: how the number of components and the structure were chosen, and what nearly won."""

from collections.abc import Iterator

from mixtura.apps import words
from mixtura.apps.report import references
from mixtura.apps.report.blocks import Block, Details, Paragraph, Table, cells
from mixtura.apps.report.figures import NONE, share, typeset
from mixtura.apps.report.pictures import picture_of_choice
from mixtura.apps.report.subject import Fitted
from mixtura.apps.words import Choice
from mixtura.criteria import better, named, wins
from mixtura.otherwise import rivals

WEIGHED = {
    "bic": "weighs how well a model fits against how many parameters it needs. A model less than "
    f"{words.EVIDENCE[0]} above the best is as good as it; more than {words.EVIDENCE[1]} above is strong evidence "
    f"against it ({references.KASS.short}). It counts Gaussians, not cell types",
    "aic": "weighs how well a model fits against how many parameters it needs, and asks for little in return: it is "
    "for predicting new rows, and takes many Gaussians",
    "icl": "is the BIC with a penalty for rows in doubt: it counts clusters that stand apart",
    "cv": "says how badly rows that were held out are described by fits to the others: it is for predicting new rows, "
    "and takes many Gaussians",
    "icl_entropy": "is the BIC with twice the entropy of the clusters: it counts clusters that stand apart",
    "stability": "says how far ten refits disagree with those that have one component more or less (Fowlkes–Mallows "
    "index): look for dips, and at how far refits with as many components agree among themselves",
    "lrt": "is that of a likelihood ratio at least as large where one component more is not there, by simulation",
    "nec": "sets the doubt that clusters leave against what they explain: from 1 on, several clusters do not stand "
    "apart",
}
"""What a criterion means, for readers, after its name."""


def choice(fit: Fitted) -> Iterator[Block]:
    """How the number of components was chosen; nothing where it was not."""
    found = fit.facts.choice
    if found is None:
        return
    name, table, at = named(found.criterion), found.table_, found.best_index_
    total = len(table["status"])
    k = int(table["n_components"][at])
    yield Paragraph(
        f"Of {total} models the one with {k} cluster{'s' if k > 1 else ''} and the structure "
        f"“{table['covariance_type'][at]}” has {wins(found.criterion)}. {words.close(found)}"
    )
    for sentence in found.reservations:
        yield Paragraph(sentence, "warning")
    if found.criterion in WEIGHED:
        yield Paragraph(f"The {name} {WEIGHED[found.criterion]}. {better(found.criterion).capitalize()}.", "fine")
    if (beside := nearly(found)) is not None:
        yield beside
    picture = picture_of_choice(fit, found)
    if picture is not None:
        yield picture
    grid = words.cells(found, total)
    yield _models(f"The best of {total} models" if total > words.CELLS else "The models, best first", grid, words.CELLS)
    if total > words.CELLS:
        yield Details(f"All {total} models", [_models("All models, best first", grid, total)])


def nearly(found: Choice) -> Table | None:
    """The models that nearly won beside the best; None where none did."""
    table, at, name = found.table_, found.best_index_, found.criterion
    body = []
    for i in rivals(table, at, name):
        apart = [words.sizes_apart(table, i, at), *words.shape_apart(table, i, at)]
        part = float(table["otherwise"][i]) if "otherwise" in table else float("nan")
        above = typeset(words.figure(max(0.0, table[name][i] - table[name][at]), name))
        otherwise = NONE if part != part else share(part, 1)
        body.append(cells(words.called(table, i), "; ".join(apart), above, otherwise))
    if not body:
        return None
    head = ["Model", "Beside the best", f"{named(name)} above it", "Rows labelled otherwise"]
    return Table("What nearly won, and how it differs from the best", head, body, words=1)


def _models(caption: str, grid: words.Grid, most: int) -> Table:
    status = len(grid.head) - 1
    # The last column is put second, so that words stand together.
    order = [0, status, *range(1, status)]
    body = [cells(row[0], row[status], *(typeset(row[i]) for i in order[2:])) for row in grid.body[:most]]
    return Table(caption, [grid.head[i] for i in order], body, words=1, strong=0)
