"""Neighbours: which models lend each other starts, and that a model is not less likely than those that it holds."""

import itertools
import math
import warnings

import numpy as np
import pytest
from comparison.sets import load, numbers

from mixtura import GaussianMixture, MixtureSearch
from mixtura.apps import sought
from mixtura.cells import UNSOUND, Cell, table
from mixtura.covariance import STRUCTURES, structure
from mixtura.neighbours import KINDS, below, neighbours, simpler
from mixtura.trials import REACH

CODES = [entry.code for entry in STRUCTURES.values()]


def searched(x, k, names, *, quick=True, **params):
    template = GaussianMixture(effort="quick") if quick else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MixtureSearch(k, names, estimator=template, random_state=0, **params).fit(x)


# ---- who lends whom


def test_a_structure_holds_those_with_poorer_letters():
    """As matrices: those of a structure below another are among the other's, however they are chosen."""
    assert below("EII", "VVV")
    assert below("VEI", "VEE")
    assert not below("VII", "EEE")
    assert not below("VVV", "VVV")
    assert below("E", "V")
    assert not below("V", "E")
    for one, other in itertools.product(CODES, repeat=2):
        if below(one, other):
            few, many = (structure(code).unit(1, 3, 4).n_parameters() for code in (one, other))
            assert few < many


def test_the_next_below():
    found = {code: set(simpler(code, CODES)) for code in CODES}
    assert found["EII"] == set()
    assert found["VII"] == {"EII"}
    assert found["EEE"] == {"EEI"}
    assert found["VVI"] == {"VEI", "EVI"}
    assert found["VVV"] == {"VVE", "VEV", "EVV"}
    assert simpler("VVV", ["VVV", "VVI", "EEE", "EII"]) == ["VVI", "EEE"]
    reach = {code: set(CODES) & set(codes) for code, codes in found.items()}
    for _ in CODES:
        reach = {code: codes.union(*(reach[other] for other in codes)) for code, codes in reach.items()}
    assert {(a, b) for b, codes in reach.items() for a in codes} == {
        (a, b) for a, b in itertools.product(CODES, repeat=2) if below(a, b)
    }


def test_neighbours_of_a_cell():
    cells = [Cell(name, k) for name in ("full", "diag", "tied") for k in (1, 2, 3, 5)]
    found = set(neighbours(Cell("full", 2), cells))
    assert found == {
        ("simpler", Cell("diag", 2)),
        ("simpler", Cell("tied", 2)),
        ("smaller", Cell("full", 1)),
        ("larger", Cell("full", 3)),
    }
    assert list(neighbours(Cell("tied", 5), cells)) == []
    assert list(neighbours(Cell("full", 1), cells)) == [], "one component has a formula"
    assert {kind for cell in cells for kind, _ in neighbours(cell, cells)} == set(KINDS[1:])


# ---- what comes of it


def missing_nothing(search, allowed=0.5):
    """Sound models are not less likely than those that they hold: cells (structure, K) and what they lack.

    Where components have few rows the better fit may be one that is not sound: only cells with thrice what soundness
    asks for are looked at.
    """
    table, rows, features = search.table_, search.best_estimator_._weight, search.n_features_in_
    sound = {
        (structure(name).code, int(k)): loglik
        for name, k, loglik, status in zip(
            *(table[c] for c in ("covariance_type", "n_components", "loglik", "status")), strict=True
        )
        if status not in ("degenerate", "failed") and k * (2 * features + 2) * 3 <= rows
    }
    lacking = {}
    for (code, k), loglik in sound.items():
        smaller = [sound[other] for other in sound if other[1] == k and below(other[0], code)]
        smaller += [sound[code, k - 1]] if (code, k - 1) in sound else []
        if smaller and loglik < max(smaller) - allowed:
            lacking[code, k] = max(smaller) - loglik
    return lacking


@pytest.mark.parametrize("name", ["iris", "faithful", "diabetes_corrected"])
def test_nested_models_are_not_less_likely(name):
    search = searched(load(name), range(1, 7), "all")
    assert missing_nothing(search) == {}
    assert not [f for f in search.diagnose() if f.kind == "less_likely"]


def test_what_is_missed_alone_is_found_from_a_neighbour():
    """From one poor start each, some fits miss their optimum; from their neighbours they do not."""
    x = load("diabetes_corrected")
    alone, together = [], []
    for name in ("full", "diag", "VEV"):
        search = searched(x, range(1, 7), name)
        together += [(name, k, v) for k, v in zip(search.table_["n_components"], search.table_["loglik"], strict=True)]
        for k in range(1, 7):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fit = GaussianMixture(k, covariance_type=name, effort="quick", random_state=0).fit(x)
            alone.append(fit.loglik_ if fit.status_ != "degenerate" else -np.inf)
    gained = np.array([row[2] for row in together]) - alone
    assert (gained > 0.5).sum() >= 2
    assert gained.min() > -1e-3


def test_starts_tell_of_neighbours(monkeypatch):
    kept = []
    monkeypatch.setattr("mixtura.select.table", lambda trials: kept.append(trials) or table(trials))
    search = searched(load("diabetes_corrected"), range(1, 7), ["full", "diag"])
    models = [trial.model for trial in kept[-1]]
    for model in models:
        ended = [start["loglik"] for start in model.starts_ if start["status"] not in ("dropped", "degenerate")]
        assert max(ended) == model.loglik_, "the one that won is told of"
    lent = [model for model in models if model.starts_[-1]["kind"] in KINDS]
    assert {start["kind"] for model in lent for start in model.starts_} >= {"kmeans", "fit", "simpler", "smaller"}
    assert any("neighbouring models" in sought.how_found(model) for model in lent)
    for model in models:
        assert "15 starts raced" in sought.how_found(model)
    lines: list[str] = []
    again = searched(load("diabetes_corrected"), range(1, 7), ["full", "diag"], progress=lines.append)
    np.testing.assert_array_equal(again.table_["loglik"], search.table_["loglik"])
    told = [line for line in lines if line.startswith("from its neighbours: ")]
    assert told, "some fit was bettered"
    assert len(lines) == 12 + len(told)


# ---- where it pays


def test_only_what_may_win_is_searched_on():
    """Fits that lie far behind are left at their races and neighbours; the others go on by moves."""
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mixtura.select.table", lambda trials: kept.append(trials) or table(trials))
        search = searched(load("iris"), range(1, 6), ["full", "diag", "tied"], quick=False)
    best = search.table_["bic"].min()
    for trial in kept[-1]:
        moved = any(sought.made(start) for start in trial.model.starts_)
        if trial.value("bic") <= best + REACH and trial.cell.n_components > 1:
            assert moved, trial.cell
        if trial.value("bic") > best + 10 * REACH:
            assert not moved, trial.cell
    assert any(sought.made(start) for start in search.best_estimator_.starts_)
    assert "tried by local search" in sought.how_found(search.best_estimator_)
    for trial in kept[-1]:
        for at, start in enumerate(trial.model.starts_):
            assert start["parent"] is None or start["parent"] < at, "a parent comes before what is made of it"


@pytest.mark.parametrize("name", ["iris", "diabetes_corrected", "galaxies_roeder"])
def test_the_winner_is_the_one_of_searches_of_every_model(name):
    x = load(name)
    found = searched(x, range(1, 6), "all", quick=False)
    sound = ~np.isin(found.table_["status"], UNSOUND)
    for kind, k in zip(found.table_["covariance_type"][sound], found.table_["n_components"][sound], strict=True):
        if structure(kind).code in ("VVV", "VVI", "VEV", "V", "E"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                alone = GaussianMixture(int(k), covariance_type=kind, random_state=0).fit(x)
            if alone.status_ != "degenerate":
                assert found.table_["bic"][found.best_index_] <= alone.bic(x) + 0.1


def test_thorough_searches_agree_on_the_winner():
    template = GaussianMixture(effort="thorough")
    found = MixtureSearch((1, 2, 3), "full", estimator=template, random_state=0).fit(load("iris"))
    assert "2 of the 2 independent searches and 2 of the 2 from kicks came to the same optimum" in sought.how_found(
        found.best_estimator_
    )


def test_plain_starts_have_no_neighbours():
    x = load("iris")
    template = GaussianMixture(init_params="kmeans", random_state=0)
    search = MixtureSearch((1, 2, 3), "full", estimator=template, random_state=0).fit(x)
    for k, loglik in zip((1, 2, 3), search.table_["loglik"], strict=True):
        alone = GaussianMixture(k, init_params="kmeans", random_state=search.seed_).fit(x)
        assert alone.loglik_ == loglik


def test_an_interrupt_keeps_the_fits_that_stand(monkeypatch):
    x = load("iris")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mixtura.trials.bettered", stop)
    search = MixtureSearch((1, 2, 3), "full", random_state=0)
    with pytest.raises(KeyboardInterrupt):
        search.fit(x)
    assert search.best_estimator_.status_ == "converged"
    assert len(search.table_["loglik"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(numbers("mclust_fits")["sets"]))
def test_the_choice_is_at_least_mclust_s(name):
    """All fourteen structures, one to nine components: sound, and with a BIC that mclust's choice does not better."""
    x, models = load(name), numbers("mclust_fits")["sets"][name]["models"]
    search = searched(x, range(1, 10), "all", quick=False)
    cells = [cell for several in models.values() for cell in several if cell["loglik"] is not None]
    best = max(2 * cell["loglik"] - cell["df"] * math.log(len(x)) for cell in cells)
    assert search.best_estimator_.status_ == "converged"
    assert -search.table_["bic"][search.best_index_] >= best - 0.1
    assert missing_nothing(search) == {}
