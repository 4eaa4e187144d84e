"""Card: a fitted model as a table for notebooks, to stand under scikit-learn's own diagram."""

from html import escape
from typing import Any

from mixtura.apps import words
from mixtura.apps.words import Grid

CELLS = 5
"""Most models of a search."""

COMPONENTS = 20
"""Most components."""


def of_model(model: Any) -> str:
    """A fitted mixture: its components and figures; one ``<div>`` that needs nothing from elsewhere.

    Args:
        model: a fitted :class:`mixtura.GaussianMixture`.
    """
    grid = words.components(model, words.feature_names(model))
    more = len(grid.body) - COMPONENTS
    notes = [f"{more} more components: see means_"] if more > 0 else []
    notes += [words.figures(model), *map(str, model.diagnose())]
    return _div("mixtura-components", [_table(grid._replace(body=grid.body[:COMPONENTS])), *map(_line, notes)])


def of_search(search: Any) -> str:
    """A fitted search: its best models, and the components of the best.

    Args:
        search: a fitted :class:`mixtura.MixtureSearch`.
    """
    lines = [words.close(search), *words.differences(words.choice(search)), *map(str, search._told)]
    cells = _table(words.cells(search, CELLS))
    return _div("mixtura-search", [cells, *map(_line, lines), of_model(search.best_estimator_)])


def _div(kind: str, parts: list[str]) -> str:
    return f'<div class="{kind}" style="margin-top: 0.5em">{"".join(parts)}</div>'


def _line(text: str) -> str:
    return f'<p style="margin: 0.3em 0">{escape(text)}</p>'


def _table(grid: Grid) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in grid.head)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in grid.body)
    return f'<table style="text-align: right"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
