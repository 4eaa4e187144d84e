"""Words: what was fitted, as text that a person reads; the same for ``summary()`` and for the command."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mixtura.apps import sought
from mixtura.cells import UNSOUND, at_the_edge, fallen, ranking
from mixtura.covariance import structure
from mixtura.criteria import OF_SIZE, Figures, aic, better, bic, named
from mixtura.otherwise import REACH, rivals

SHOWN = 8
"""Most features in a table of components."""

CELLS = 10
"""Most models in a table of a search."""

EVIDENCE = (2, REACH)
"""Differences in BIC below the first are hardly worth a mention, above the second very strong (Kass & Raftery 1995)."""


class Grid(NamedTuple):
    """A table of text.

    Attributes:
        head: names of the columns.
        body: rows of cells.
    """

    head: list[str]
    body: list[list[str]]

    def lines(self) -> list[str]:
        """One line for each row, aligned to the right."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.body, strict=True)]
        return [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [self.head, *self.body]
        ]


class Choice(NamedTuple):
    """A search as its summary tells it; words about it are made as of the search itself.

    Attributes:
        criterion: what the models were compared by; lower is better.
        best_index_: row of the model that was chosen.
        table_: one row a model, as :class:`mixtura.MixtureSearch` has it, and ``otherwise``, the share of the rows that
            it would label otherwise, where that is known.
        findings: what deserves a word about the search, in sentences; None where that was not kept.
    """

    criterion: str
    best_index_: int
    table_: dict[str, np.ndarray]
    findings: list[str] | None = None

    @classmethod
    def read(cls, told: dict[str, Any]) -> "Choice":
        """Of ``selection`` in ``summary.json``: ``criterion``, ``best``, ``table`` (None is no number), ``findings``.

        Raises:
            ValueError: the table has no such row or no such criterion.
        """
        columns = {name: _column(values) for name, values in told["table"].items()}
        name, best = str(told["criterion"]), int(told["best"])
        if name not in columns or not 0 <= best < len(columns[name]):
            raise ValueError(
                f"selection names row {best} and {name!r}, which its table of {list(columns)} does not have"
            )
        said = told.get("findings")
        return cls(name, best, columns, None if said is None else [str(finding["message"]) for finding in said])

    def told(self) -> dict[str, Any]:
        """As it stands in ``summary.json``."""
        table = {name: [_known(value) for value in values.tolist()] for name, values in self.table_.items()}
        said = [{"kind": "", "component": None, "message": message} for message in self.reservations]
        return {"criterion": self.criterion, "best": self.best_index_, "table": table, "findings": said}

    @property
    def largest(self) -> bool:
        """The number of components that was chosen is the largest of several that were tried."""
        tried = self.table_["n_components"]
        return bool(tried[self.best_index_] == tried.max() > tried.min())

    @property
    def reservations(self) -> list[str]:
        """What deserves a word about the search; of models of earlier versions as much as their table tells."""
        if self.findings is not None:
            return self.findings
        k = int(self.table_["n_components"][self.best_index_])
        return [*([at_the_edge(k, self.criterion)] if self.largest else []), *fallen(self.table_)]


def choice(search: Any) -> Choice:
    """What a summary tells of a fitted :class:`mixtura.MixtureSearch`."""
    kept = getattr(search.best_estimator_, "selection_", None)
    found = Choice(search.criterion, int(search.best_index_), search.table_) if kept is None else Choice.read(kept)
    return found._replace(findings=[str(finding) for finding in search._told])


def _column(values: Sequence[Any]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values])


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def describe(
    model: Any,
    *,
    columns: Sequence[str] | None = None,
    counts: Sequence[float | int] | None = None,
    icl: float | None = None,
    notes: Sequence[str] = (),
) -> str:
    """A fitted model in words and a table.

    Args:
        model: a fitted :class:`mixtura.GaussianMixture`.
        columns: (D,) names of the features; None takes the model's.
        counts: (K,) rows of each component; None takes weight times rows.
        icl: where it is known.
        notes: lines about the table.
    """
    names = feature_names(model) if columns is None else list(columns)
    more = len(names) - SHOWN
    lines = [opening(model), "", *components(model, names, counts).lines()]
    lines.append("means of the features, standard deviations in brackets")
    if more > 0:
        lines.append(f"{more} more feature{'s' if more > 1 else ''}: see means_ and covariances_")
    lines += [*notes, "", figures(model, icl), *([found] if (found := sought.how_found(model)) else [])]
    return "\n".join([*lines, *map(str, model.diagnose())])


def describe_search(search: Any) -> str:
    """A fitted search in words: its models best first, what nearly won, and the best of them.

    Args:
        search: a fitted :class:`mixtura.MixtureSearch`.
    """
    return "\n".join([repr(search), *describe_choice(choice(search)), "", describe(search.best_estimator_)])


def describe_choice(search: Choice) -> list[str]:
    """A search in lines: a table of the best models, what nearly won and how it differs, and what deserves a word."""
    shown = cells(search)
    total = len(search.table_["status"])
    about = f"{total} models by {named(search.criterion)} ({better(search.criterion)}), best first"
    more = [f"{total - len(shown.body)} more: see table_"] if total > len(shown.body) else []
    return [about, "", *shown.lines(), *more, "", close(search), *differences(search), *search.reservations]


def opening(model: Any) -> str:
    """The call, the shape of the data, and what the covariances are."""
    _, k, d = model.mixture_.shape
    weight = getattr(model, "_weight", None)
    rows = "" if weight is None else f"{count(weight)} rows, "
    shape = f"{rows}{d} feature{'s' if d > 1 else ''}, {k} component{'s' if k > 1 else ''}"
    return f"{model!r}\n{shape}: {structure(model._structure).about}"


def feature_names(model: Any) -> list[str]:
    """(D,) names of the columns, x0 … where they had none."""
    names = getattr(model, "feature_names_in_", None)
    return [f"x{j}" for j in range(model.mixture_.shape[2])] if names is None else [str(name) for name in names]


def components(model: Any, names: Sequence[str], counts: Sequence[float | int] | None = None) -> Grid:
    """Weight, rows, and mean with standard deviation of the first features, for each component."""
    mixture = model.mixture_
    weights, means = mixture.log_weight[0].exp().tolist(), mixture.mean[0]
    deviations = mixture.covariance.variances()[0].sqrt().expand(means.shape)
    if counts is None and hasattr(model, "_weight"):
        counts = [weight * model._weight for weight in weights]
    head = ["component", "weight", *([] if counts is None else ["rows"]), *names[:SHOWN]]
    body = []
    for k, weight in enumerate(weights):
        pairs = zip(means[k, :SHOWN].tolist(), deviations[k, :SHOWN].tolist(), strict=True)
        rows = [] if counts is None else [count(counts[k])]
        body.append([str(k), f"{weight:.4f}", *rows, *(f"{short(mean)} ({short(sd)})" for mean, sd in pairs)])
    return Grid(head, body)


def figures(model: Any, icl: float | None = None) -> str:
    """Likelihood, criteria and status in a line."""
    parts = []
    if hasattr(model, "_weight"):
        known = Figures(model.loglik_, model.n_parameters_, model._weight)
        parts += [f"log likelihood {known.loglik:.2f}", f"BIC {bic(known):.2f}", f"AIC {aic(known):.2f}"]
    if icl is not None:
        parts.append(f"ICL {icl:.2f}")
    return ", ".join([*parts, f"{model.n_parameters_} parameters", f"status {model.status_}"])


def cells(search: Any, most: int = CELLS) -> Grid:
    """The models of a search or a :class:`Choice`, best first, and how far each is from the best."""
    table, name = search.table_, search.criterion
    best = table[name][search.best_index_]
    head = ["covariance", "components", "log likelihood", "parameters", named(name), "above best", "status"]
    body = [
        [
            str(table["covariance_type"][i]),
            str(table["n_components"][i]),
            number(table["loglik"][i]),
            str(table["n_parameters"][i]),
            figure(table[name][i], name),
            figure(table[name][i] - best, name),
            str(table["status"][i]),
        ]
        for i in standing(search)[:most]
    ]
    return Grid(head, body)


def standing(search: Any) -> list[int]:
    """Rows of the table, the best first."""
    order = ranking(search.table_, search.criterion)
    return [search.best_index_, *(i for i in order if i != search.best_index_)]


def close(search: Any) -> str:
    """Which models nearly won."""
    table, name = search.table_, search.criterion
    if name in OF_SIZE:
        after = [
            f"{called(table, i)} ({figure(table[name][i], name)})" for i in rivals(table, search.best_index_, name)
        ]
        return f"Next to the best come {' and '.join(after)}." if after else "No other model can be compared."
    # Of two that are equal but for rounding, the other one may be below the best.
    above = (table[name] - table[name][search.best_index_]).clip(min=0.0)
    order = [i for i in standing(search)[1:] if table["status"][i] not in UNSOUND]
    parts: list[str] = []
    least = -math.inf
    for most in EVIDENCE:
        here = [f"{called(table, i)} (+{above[i]:.2f})" for i in order if least < above[i] <= most]
        if here:
            parts.append(f"within {most}: {', '.join(here)}")
        least = most
    return f"Close to the best, {'; '.join(parts)}." if parts else f"No other model is within {EVIDENCE[-1]}."


def differences(search: Any) -> list[str]:
    """How each of the models that nearly won differs from the best: in components, in structure, in labels of rows."""
    table, best = search.table_, search.best_index_
    found = []
    for i in rivals(table, best, search.criterion):
        said = [sizes_apart(table, i, best), *shape_apart(table, i, best), *rows_apart(table, i)]
        found.append(f"{called(table, i)}: {'; '.join(said)}.")
    return found


def called(table: dict[str, np.ndarray], i: int) -> str:
    """A row of a search's table: structure and number of components."""
    return f"{table['covariance_type'][i]} with {table['n_components'][i]}"


def sizes_apart(table: dict[str, np.ndarray], i: int, best: int) -> str:
    """How many components one model has more or less than another."""
    more = int(table["n_components"][i] - table["n_components"][best])
    if not more:
        return "as many components"
    return f"{abs(more)} component{'s' if abs(more) > 1 else ''} {'more' if more > 0 else 'less'}"


def shape_apart(table: dict[str, np.ndarray], i: int, best: int) -> list[str]:
    """The structure of a model in words, where it is another one."""
    names = table["covariance_type"]
    return [] if names[i] == names[best] else [structure(str(names[i])).about]


def rows_apart(table: dict[str, np.ndarray], i: int) -> list[str]:
    """The share of the rows that a model would label otherwise, where that is known."""
    share = float(table["otherwise"][i]) if "otherwise" in table else math.nan
    if math.isnan(share):
        return []
    return ["every row labelled alike" if share == 0 else f"{100 * share:.2g} % of the rows labelled otherwise"]


def figure(value: float, criterion: str) -> str:
    """The value of a criterion: two decimals, or about four digits of a ratio."""
    if criterion in OF_SIZE and math.isfinite(value):
        return short(float(value))
    return number(value)


def number(value: float) -> str:
    """Two decimals, or nothing where there is no number."""
    # Of two models that are equal but for rounding, one may be below the best.
    return "" if math.isnan(value) else f"{0.0 if abs(value) < 0.005 else value:.2f}"


def count(value: float | int) -> str:
    """How many rows: whole numbers without a point."""
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.1f}"


def short(value: float) -> str:
    """About four digits."""
    if math.isnan(value):
        return "nan"
    return f"{value:.2f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"
