"""Summary, repr and card: what was fitted, in words, in a line, and in HTML."""

import html.parser
import math
import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from comparison.sets import load
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixtura import GaussianMixture, MixtureSearch
from mixtura.apps import sought, words
from mixtura.covariance import STRUCTURES

EVIL = '<script>alert("x")</script>&<b>'


def model(k: int = 2, x: Any = None, **params: Any) -> GaussianMixture:
    return GaussianMixture(k, **{"init_params": "kmeans", "random_state": 0, **params}).fit(
        load("faithful") if x is None else x
    )


def frame(*names: str) -> pd.DataFrame:
    return pd.DataFrame(load("faithful"), columns=list(names))


# ---- words


@pytest.mark.parametrize("name", STRUCTURES)
def test_numbers_are_the_model_s(name: str) -> None:
    x = load("faithful")
    gm = model(covariance_type=name)
    text = gm.summary()
    assert text.startswith(repr(gm) + "\n272 rows, 2 features, 2 components: " + STRUCTURES[name].about)
    for label, value in (("log likelihood", gm.loglik_), ("BIC", gm.bic(x)), ("AIC", gm.aic(x))):
        assert f"{label} {value:.2f}" in text
    assert f"{gm.n_parameters_} parameters, status converged" in text
    deviations = np.stack([np.sqrt(np.diag(s)) for s in gm.mixture_.covariance.dense()[0].expand(2, 2, 2).numpy()])
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.split()[:1] == ["component"])
    assert lines[at].split() == ["component", "weight", "rows", "x0", "x1"]
    for k in range(2):
        cells = re.findall(r"[-\d.e]+", lines[at + 1 + k])
        want = [k, gm.weights_[k], 272 * gm.weights_[k]]
        want += [v for j in range(2) for v in (gm.means_[k, j], deviations[k, j])]
        # Four digits are printed, of rows at least three.
        np.testing.assert_allclose([float(c) for c in cells], want, rtol=6e-3)


def test_names_and_many_features() -> None:
    assert "eruptions" in model(x=frame("eruptions", "waiting")).summary()
    wide = np.random.default_rng(0).normal(size=(200, 11))
    text = model(1, wide).summary()
    assert "x7" in text
    assert "x8" not in text
    assert "3 more features: see means_" in text


def test_weights_are_told() -> None:
    weight = np.full(272, 0.5)
    weight[:2] = 0
    text = model(x=None).fit(load("faithful"), sample_weight=weight).summary()
    assert "135 rows, 2 features" in text


def test_findings_are_told() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gm = model(2, np.ones((20, 2)))
    text = gm.summary()
    assert "status degenerate" in text
    assert all(f.message in text for f in gm.diagnose())


def started(statuses: list[tuple[str, float]], loglik: float, status: str = "converged") -> GaussianMixture:
    gm = model(1)
    gm.starts_ = [{"kind": "kmeans", "status": s, "loglik": v} for s, v in statuses]
    gm.loglik_, gm.status_, gm.n_iter_, gm.seed_ = loglik, status, 7, 3
    return gm


DROPPED = ("dropped", math.nan)


@pytest.mark.parametrize(
    ("statuses", "sentence"),
    [
        ([("converged", -5.0)], "One start (kmeans), seed 3, 7 iterations."),
        ([("converged", -5.0), ("converged", -5.04)], "2 of the 2 starts reached the best; seed 3, 7 iterations."),
        ([("converged", -5.0), ("converged", -6.0)], "1 of the 2 starts reached the best; seed 3, 7 iterations."),
        (
            [("converged", -5.0), ("degenerate", 90.0), DROPPED],
            "3 starts raced; 1 of the 2 run to the end reached the best, 1 ended otherwise; seed 3, 7 iterations.",
        ),
        ([DROPPED, ("converged", -5.0)], "2 starts raced, the best was run to the end; seed 3, 7 iterations."),
    ],
)
def test_how_it_was_found(statuses: list[tuple[str, float]], sentence: str) -> None:
    assert sought.how_found(started(statuses, -5.0)) == sentence


def test_crosses_are_told_apart() -> None:
    gm = moved([(0, None), (1, None), (1, 0), (2, None)], {0: -6.0, 1: -7.0, 2: -5.0, 3: -8.0})
    gm.starts_[2]["kind"] = "cross"
    assert sought.how_found(gm) == (
        "3 starts raced; 1 of the 1 moves and crosses tried by local search led to the best; found by crossing two "
        "optima, the best of 3 independent searches, which no other reached; seed 3, 7 iterations."
    )


def test_kicks_are_told_apart() -> None:
    gm = moved([(0, None), (0, 0), (1, None), (2, 1), (3, 1), (3, 4)], {1: -5.0, 5: -6.0})
    for at in (3, 4):
        gm.starts_[at]["kind"] = "kick"
    gm.starts_[2]["same_as"] = gm.starts_[3]["same_as"] = 1
    told = "2 starts raced; 1 of the 4 moves and kicks tried by local search led to the best; "
    assert sought.how_found(gm) == (
        f"{told}2 of the 2 independent searches and 1 of the 2 from kicks came to the same optimum; seed 3, 7 "
        "iterations."
    )
    gm.starts_[2]["same_as"] = gm.starts_[3]["same_as"] = 5
    assert sought.how_found(gm) == (
        f"{told}the best of 2 independent searches and 2 from kicks, which no other reached; seed 3, 7 iterations."
    )
    assert sought.tries([{"kind": kind} for kind in ("kick", "cross", "kmeans", "move")]) == "moves, crosses and kicks"


def moved(moves: list[tuple[int, int | None]], ends: dict[int, float]) -> GaussianMixture:
    """A fit with starts and moves, each with its search and parent, some of which were run to the end."""
    gm = model(1)
    gm.starts_ = [
        {"kind": "kmeans" if parent is None else "move", "search": search, "parent": parent, "status": "dropped"}
        | {"loglik": math.nan}
        | ({"status": "converged", "loglik": ends[i]} if i in ends else {})
        for i, (search, parent) in enumerate(moves)
    ]
    gm.loglik_, gm.status_, gm.n_iter_, gm.seed_ = max(ends.values()), "converged", 7, 3
    return gm


@pytest.mark.parametrize(
    ("moves", "ends", "sentence"),
    [
        (
            [(0, None), (0, None), (0, 1), (0, 2), (0, 2)],
            {3: -5.0},
            "2 starts raced; 2 of the 3 moves tried by local search led to the best",
        ),
        (
            [(0, None), (0, None), (0, 0), (0, 0)],
            {0: -5.0},
            "2 starts raced; none of the 2 moves tried by local search was better",
        ),
        (
            [(0, None), (0, 0), (1, None), (1, 2), (2, None)],
            {1: -5.01, 3: -5.0, 4: -9.0},
            "3 starts raced; 1 of the 2 moves tried by local search led to the best; 2 of the 3 independent searches "
            "came to the same optimum",
        ),
        (
            [(0, None), (0, 0), (1, None), (1, 2)],
            {1: -5.0, 3: -7.0},
            "2 starts raced; 1 of the 2 moves tried by local search led to the best; the best of 2 independent "
            "searches, which no other reached",
        ),
    ],
)
def test_how_it_was_searched(moves: Any, ends: Any, sentence: str) -> None:
    assert sought.how_found(moved(moves, ends)) == f"{sentence}; seed 3, 7 iterations."


def test_the_race_tells_its_own_story() -> None:
    gm = GaussianMixture(2, effort="quick", random_state=5).fit(load("faithful"))
    assert re.search(rf"{len(gm.starts_)} starts raced.*; seed 5, {gm.n_iter_} iterations\.", gm.summary())


def test_parameters_alone() -> None:
    gm = GaussianMixture.from_parameters(
        torch.tensor([1.0]), torch.tensor([[1234.5]]), torch.tensor([4.0]), "spherical"
    )
    text = gm.summary()
    assert "1234.50 (2)" in text
    assert "rows" not in text
    assert "log likelihood" not in text


def test_an_unfitted_model_has_no_summary() -> None:
    with pytest.raises(NotFittedError):
        GaussianMixture().summary()


# ---- a search


def searched(k: Any = (1, 2, 3), names: Any = ("full", "tied"), **params: Any) -> MixtureSearch:
    template = GaussianMixture(init_params="kmeans")
    return MixtureSearch(k, names, estimator=template, random_state=0, **params).fit(load("faithful"))


@pytest.mark.parametrize("criterion", ["bic", "icl"])
def test_cells_stand_best_first(criterion: str) -> None:
    search = searched(criterion=criterion)
    text = search.summary()
    assert f"6 models by {criterion.upper()} (lower is better), best first" in text
    order = np.argsort(search.table_[criterion], kind="stable")
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.split()[:1] == ["covariance"])
    shown = [line.split()[:2] for line in lines[at + 1 : at + 7]]
    best = search.table_[criterion]
    assert shown[0] == [search.best_estimator_.covariance_type, str(search.best_estimator_.n_components)]
    # Models of one component are the same under both names: either may stand first.
    assert [s[1] for s in shown] == [str(search.table_["n_components"][i]) for i in order]
    assert f"{np.sort(best)[1] - best.min():.2f}" in lines[at + 2]
    assert text.endswith(search.best_estimator_.summary())


def test_what_nearly_won() -> None:
    search = searched()
    runner = np.sort(search.table_["bic"])[1] - search.table_["bic"].min()
    assert 2 < runner <= 10, "mclust has the same two in front, 7.9 apart"
    assert f"Close to the best, within 10: full with 2 (+{runner:.2f})" in words.close(search)
    assert words.close(searched((2,), "full")) == "No other model is within 10."
    assert "within 2: tied with 1 (+0.00)" in words.close(searched((1,)))


def test_long_tables_are_cut() -> None:
    text = searched(range(1, 3), "all").summary()
    assert "18 more: see table_" in text


def test_the_edge_and_failures_are_told() -> None:
    assert "is the largest that was tried" in searched((1, 2)).summary()
    text = searched((1, 500), "full").summary()
    assert "Not fitted: full with 500 components" in text
    assert "failed" in text


# ---- repr


def test_repr_can_be_evaluated() -> None:
    gm = model(3, covariance_type="tied", tol=1e-5)
    again = eval(repr(gm))
    assert again.get_params() == gm.get_params()
    assert repr(gm) == repr(GaussianMixture(**gm.get_params()))


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_mixture_in_a_line(name: str) -> None:
    shown = repr(model(covariance_type=name).mixture_)
    parts = r"Eigen\((own|equal) volume, (own|equal) shape, (own|equal|columns as) axes\)"
    assert re.fullmatch(rf"Mixture\(2 components, 2 features, ((Tied\()?(Full|Diag|Spherical)\)?|{parts})\)", shown)
    assert ("Eigen" in shown) == (STRUCTURES[name].code == name)
    assert ("Tied" in shown) == name.startswith("tied")


def test_a_batch_of_mixtures_in_a_line() -> None:
    mixture = model().mixture_
    assert repr(mixture.cat([mixture] * 3)) == "Mixture(3 restarts, 2 components, 2 features, Full)"


# ---- HTML


class Tags(html.parser.HTMLParser):
    """Collects text and tags, and insists that every tag is closed in turn."""

    EMPTY = ("input", "br", "img", "link", "meta", "hr", "path")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def card(text: str) -> str:
    return text[text.index('<div class="mixtura-') :].removesuffix("</body>")


@pytest.mark.parametrize("make", [lambda x: model(x=x), lambda x: searched().fit(x)])
def test_the_card_is_closed_escaped_and_alone(make: Any) -> None:
    shown = make(frame("eruptions", EVIL))._repr_html_()
    tags = Tags(card(shown))
    assert EVIL in tags.text
    assert EVIL not in shown
    assert "<b>" not in card(shown)
    assert {tag for tag, _ in tags.seen} == {"div", "table", "thead", "tbody", "tr", "th", "td", "p"}
    assert not {name for _, attrs in tags.seen for name in attrs} & {"src", "href", "id", "onclick"}
    assert "status converged" in "".join(tags.text)


def test_the_diagram_is_kept() -> None:
    gm = model()
    shown = gm._repr_html_()
    assert "sk-top-container" in shown
    assert shown.count("</body>") == GaussianMixture()._repr_html_().count("</body>")
    assert "mixtura-components" in shown
    assert "mixtura-components" not in GaussianMixture(2)._repr_html_()
    assert f"{gm.weights_[0]:.4f}" in card(shown)
    assert f"log likelihood {gm.loglik_:.2f}" in card(shown)


def test_many_components_are_cut() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shown = card(model(25, max_iter=1)._repr_html_())
    assert "5 more components: see means_" in shown
    assert shown.count("<tr>") == 1 + 20


def test_mime_bundle_follows_the_display() -> None:
    gm = model()
    assert "mixtura-components" in gm._repr_mimebundle_()["text/html"]
    with sklearn.config_context(display="text"):
        assert set(gm._repr_mimebundle_()) == {"text/plain"}
        assert not hasattr(gm, "_repr_html_")


def test_a_pipeline_can_be_shown() -> None:
    line = make_pipeline(StandardScaler(), GaussianMixture(2, init_params="kmeans")).fit(load("faithful"))
    assert "GaussianMixture" in line._repr_html_()
