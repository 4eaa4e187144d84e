"""Stability: refits compared with their neighbours, beside scikit-learn's index."""

import warnings
from itertools import combinations, product

import numpy as np
import pytest
from comparison.sets import load
from sklearn.metrics import fowlkes_mallows_score

from mixtura import GaussianMixture, MixtureSearch
from mixtura.apps import sought
from mixtura.apps.report.methods import methods
from mixtura.stability import REFITS, fowlkes_mallows
from mixtura.trials import REFIT


def search(x, k=(2, 3, 4), weight=None, name="full", **params):
    template = GaussianMixture(effort="quick", **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MixtureSearch(k, name, "stability", estimator=template, random_state=0).fit(x, sample_weight=weight)


def clusters(many=3, rows=60, seed=0):
    rng = np.random.default_rng(seed)
    centres = 9 * np.stack([np.arange(many) % 3, np.arange(many) // 3], 1)
    return np.concatenate([rng.normal(centre, 1, (rows, 2)) for centre in centres])


@pytest.mark.parametrize("seed", range(5))
def test_the_index_is_scikit_learn_s(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 4, 200), rng.integers(0, 6, 200)
    assert fowlkes_mallows(one, other) == pytest.approx(fowlkes_mallows_score(one, other), rel=1e-12)
    assert fowlkes_mallows(one, one) == 1.0
    weight = rng.integers(0, 4, 200)
    twice = fowlkes_mallows(np.repeat(one, weight), np.repeat(other, weight))
    assert fowlkes_mallows(one, other, weight.astype(float)) == pytest.approx(twice, rel=1e-12), "weights count rows"


def test_rows_apart_agree_in_nothing():
    assert fowlkes_mallows(np.arange(5), np.zeros(5, dtype=np.int64)) == 0.0


@pytest.mark.parametrize("many", [3, 5])
def test_clusters_apart_are_found_again_and_again(many):
    found = search(clusters(many), range(1, 8))
    value = found.table_["stability"]
    assert np.isnan(value[0]), "one component leaves nothing to compare"
    assert ((value[1:] >= 0) & (value[1:] <= 1)).all()
    assert (found.table_["stability_sd"][1:] >= 0).all()
    same = found.table_["stability_same"]
    assert same[many - 1] == pytest.approx(0, abs=1e-9), "refits with as many components agree with each other"
    assert same[-1] > 0.01, "what is divided is not divided alike"
    # One more cuts a small piece off, which changes fewer pairs than one less: the index likes that as much.
    assert found.best_estimator_.n_components in (many, many + 1)
    assert found.best_index_ == np.nanargmin(value)


def test_the_value_is_the_mean_over_pairs_of_refits(monkeypatch):
    """From the labels themselves: all pairs with one component fewer and one more."""
    import mixtura.stability as module

    kept = {}

    def remembered(tries, cell):
        labels, best = refitted(tries, cell)
        kept[cell.n_components] = labels
        return labels, best

    refitted = module.refitted
    monkeypatch.setattr(module, "refitted", remembered)
    found = search(load("iris"), (3,))
    assert sorted(kept) == [2, 3, 4]
    assert all(len(labels) == REFITS for labels in kept.values())
    pairs = [fowlkes_mallows_score(a, b) for k in (2, 4) for a, b in product(kept[k], kept[3])]
    assert found.table_["stability"][0] == pytest.approx(1 - np.mean(pairs), rel=1e-12)
    assert found.table_["stability_sd"][0] == pytest.approx(np.std(pairs), rel=1e-9)
    same = [fowlkes_mallows_score(a, b) for a, b in combinations(kept[3], 2)]
    assert found.table_["stability_same"][0] == pytest.approx(1 - np.mean(same), rel=1e-9)


def test_the_fit_is_at_least_the_best_refit():
    x = load("diabetes_corrected")
    found = search(x, (3, 4))
    for k, loglik in zip(found.table_["n_components"], found.table_["loglik"], strict=True):
        alone = GaussianMixture(int(k), effort="quick", random_state=0).fit(x)
        assert loglik >= alone.loglik_ - 0.5


@pytest.mark.parametrize("effort", ["quick", "standard"])
def test_words_tell_of_refits(effort):
    template = GaussianMixture(effort=effort)
    best = (
        MixtureSearch((2, 3), "full", "stability", estimator=template, random_state=0).fit(clusters()).best_estimator_
    )
    assert best.starts_[0]["kind"] == REFIT
    told, paragraph = sought.how_found(best), methods(best)
    assert told.startswith("The best of 10 refits went on")
    assert ("tried by local search" in told) == (effort == "standard")
    assert "EM was started once, from the best of 10 refits" in paragraph
    assert ("below 0.0001 nats" if effort == "quick" else "below 1e-7 nats") in paragraph


def test_the_same_seed_the_same_values():
    first, second = (search(clusters(), (2, 3)).table_["stability"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_named_starts_are_refitted_by_themselves():
    found = search(clusters(), (2, 3, 4), init_params="kmeans", n_init=4)
    assert found.table_["stability_same"][1] < 1e-9


def apart(found):
    """Refits with three components agree, and those with four do not."""
    same = found.table_["stability_same"]
    return same[1] < 1e-9 and same[2] > 0.01


def test_weights_and_gaps_and_few_rows():
    x = clusters()
    found = search(x, (2, 3, 4), weight=np.where(np.arange(len(x)) < 60, 0.5, 2.0))
    assert apart(found)
    x = x.copy()
    x[::9, 0] = np.nan
    assert apart(search(x, (2, 3, 4), missing="em"))
    few = search(clusters(2, 4), (2, 9))
    assert few.table_["status"].tolist()[1] == "failed"
    assert np.isnan(few.table_["stability"][1])
