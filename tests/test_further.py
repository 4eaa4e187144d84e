"""Further criteria: normalised entropy and rows held out, beside what they are by definition."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from comparison.sets import load
from scipy import stats

from mixtura import GaussianMixture, MixtureSearch, likelihood_ratio_test
from mixtura.criteria import CRITERIA, NAMES, OF_SIZE
from mixtura.draws import stream
from mixtura.further import FOLDS, FURTHER


def search(criterion, k=(1, 2, 3), names="full", x=None, weight=None, **params):
    template = GaussianMixture(effort="quick", **params)
    found = MixtureSearch(k, names, criterion, estimator=template, random_state=0)
    return found.fit(load("faithful") if x is None else x, sample_weight=weight)


def clusters(seed=0, rows=100):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(m, 1, (rows, 2)) for m in ([0, 0], [7, 0], [0, 7])])


# ---- normalised entropy


@pytest.mark.parametrize("k", [(1, 2, 3), (2, 3)])
def test_nec_is_entropy_over_gain(k):
    x = load("faithful")
    found = search("nec", k)
    single = GaussianMixture(1).fit(x).loglik_
    for at, count in enumerate(k):
        if count == 1:
            assert found.table_["nec"][at] == 1.0
            continue
        one = MixtureSearch((count,), "full", estimator=GaussianMixture(effort="quick"), random_state=0).fit(x)
        assert one.table_["loglik"][0] <= found.table_["loglik"][at] + 1e-6
        if one.table_["loglik"][0] == pytest.approx(found.table_["loglik"][at], abs=1e-6):
            t = one.predict_proba(x)
            entropy = -np.sum(t * np.log(np.maximum(t, 1e-300)))
            want = entropy / (one.table_["loglik"][0] - single)
            assert found.table_["nec"][at] == pytest.approx(want, rel=1e-6)
    assert found.best_estimator_.n_components == 2, "the eruptions are of two kinds"
    assert "NEC" in found.summary()


def test_nec_speaks_against_dividing_clusters():
    value = search("nec", range(1, 6), x=clusters()).table_["nec"]
    assert max(value[1:3]) < 0.05, "two or three clusters stand apart"
    assert min(value[3:]) > 5 * value[2], "a divided cluster leaves its rows in doubt"


# ---- the soft form of ICL


@pytest.mark.parametrize("weighted", [False, True])
def test_the_soft_form_of_icl(weighted):
    x = load("iris")
    weight = np.random.default_rng(0).uniform(0.5, 2, len(x)) if weighted else None
    found = search("icl_entropy", (1, 2, 3), ("full", "tied"), x, weight)
    assert found.best_index_ == found.table_["icl_entropy"].argmin()
    best = found.best_estimator_
    t, w = best.predict_proba(x), np.ones(len(x)) if weight is None else weight
    entropy = -(w[:, None] * t * np.log(np.maximum(t, 1e-300))).sum()
    value = best.icl_entropy(x, weight)
    assert value == pytest.approx(best.bic(x, weight) + 2 * entropy, rel=1e-9)
    assert found.table_["icl_entropy"][found.best_index_] == pytest.approx(value, rel=1e-9)
    # A posterior t has −log max t ≤ −Σ t log t: the soft form is never below the other.
    assert value >= best.icl(x, weight) - 1e-9


# ---- tests in turn


def test_p_values_in_turn():
    found = search("lrt", range(1, 6), x=clusters())
    p = found.table_["lrt"]
    assert p[:2].tolist() == [0.005, 0.005], "nothing of 199 resamples comes near"
    assert p[2] > 0.05
    assert np.isnan(p[3:]).all(), "what comes after the first that is not rejected is not tested"
    assert found.best_estimator_.n_components == 3
    alone = likelihood_ratio_test(
        clusters(), 3, n_resamples=199, estimator=GaussianMixture(effort="quick"), random_state=0
    )
    assert p[2] == pytest.approx(alone.p_value, abs=1e-12)


def test_where_all_are_rejected_the_largest_is_best_and_said_to_be():
    found = search("lrt", (1, 2), x=clusters())
    assert found.table_["lrt"].tolist() == [0.005, 0.005]
    assert found.best_estimator_.n_components == 2
    assert [finding.kind for finding in found.diagnose()] == ["largest_tried"]


def test_gaps_cannot_be_simulated():
    x = clusters()
    x[::9, 0] = np.nan
    with pytest.raises(ValueError, match="criterion='lrt' simulates rows without gaps"):
        search("lrt", (1, 2), x=x, missing="em")


@pytest.mark.parametrize("criterion", OF_SIZE)
def test_criteria_of_size_are_for_one_structure(criterion):
    with pytest.raises(ValueError, match=f"criterion='{criterion}' compares numbers of components of one structure"):
        search(criterion, names=("full", "diag"))


# ---- rows held out


def test_held_out_rows_of_one_component_have_a_formula():
    x = load("faithful")
    found = search("cv", (1,))
    part, total = stream(found.seed_, "folds").permutation(len(x)) % FOLDS, 0.0
    for fold in range(FOLDS):
        kept = x[part != fold]
        mean, cov = kept.mean(0), np.cov(kept.T, bias=True)
        total += stats.multivariate_normal(mean, cov).logpdf(x[part == fold]).sum()
    assert found.table_["cv"][0] == pytest.approx(-2 * total, rel=1e-9)


def test_held_out_rows_of_several_are_fits_to_the_others():
    x = clusters()
    found = search("cv", (3,), x=x)
    part, total = stream(found.seed_, "folds").permutation(len(x)) % FOLDS, 0.0
    for fold in range(FOLDS):
        fit = GaussianMixture(3, random_state=0).fit(x[part != fold])
        total += fit.score_samples(x[part == fold]).sum()
    # Clusters apart have one optimum, of which quick fits leave 1e-4 nats a row.
    assert found.table_["cv"][0] == pytest.approx(-2 * total, abs=1.0)


def test_held_out_rows_choose_and_weigh():
    x = clusters(1)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(x))
    found = search("cv", range(1, 6), ("full", "tied_spherical"), x=x, weight=weight)
    assert (found.best_estimator_.n_components, found.best_estimator_.covariance_type) == (3, "tied_spherical")
    assert np.isfinite(found.table_["cv"]).all()
    assert found.best_index_ == found.table_["cv"].argmin()


def test_a_criterion_s_column_is_there_only_if_asked_for():
    assert {"cv", "nec"}.isdisjoint(search("bic").table_)
    assert "cv" in search("cv").to_frame().columns


def test_failed_cells_have_no_value():
    x = clusters(rows=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = search("cv", (1, 20), x=x)
    assert found.table_["status"].tolist() == ["converged", "failed"]
    assert np.isnan(found.table_["cv"][1])


def test_an_interrupt_before_there_is_a_value_changes_nothing(monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mixtura.further.stream", stop)
    found = MixtureSearch((1, 2), "full", "cv", random_state=0)
    with pytest.raises(KeyboardInterrupt):
        found.fit(load("faithful"))
    assert not hasattr(found, "best_estimator_")


@pytest.mark.parametrize("kind", [np.float32, "missing"])
def test_other_rows(kind):
    x = clusters()
    if kind == "missing":
        x = x.copy()
        x[::9, 0] = np.nan
        found = search("cv", (2, 3), x=x, missing="em")
    else:
        found = search("cv", (2, 3), x=x.astype(kind))
    assert found.best_estimator_.n_components == 3


# ---- in words and pictures


def test_every_criterion_has_a_name_and_the_command_offers_it():
    assert set(NAMES) == {*CRITERIA, *FURTHER}
    assert set(OF_SIZE) < set(FURTHER)
    help_text = subprocess.run(
        [sys.executable, "-m", "mixtura", "fit", "--help"], capture_output=True, text=True
    ).stdout
    assert all(name in help_text for name in NAMES)


def drawn(found, gid):
    ax = found.plot()
    lines = [line for line in ax.lines if line.get_gid() == gid]
    bands = [band for band in ax.collections if band.get_gid() == gid]
    return ax, lines + bands


def test_the_picture_of_tests_in_turn():
    found = search("lrt", range(1, 6), x=clusters())
    ax, (star,) = drawn(found, "best")
    assert star.get_xdata().tolist() == [3], "the last one tested, not the lowest p-value"
    assert "the first above 0.05 is best" in ax.get_ylabel()
    assert len(drawn(found, "level")[1]) == 1
    assert not [line for line in drawn(found, "unsound")[1] if len(line.get_xdata())], "not tested is not unsound"
    assert "5 models by p-value of one more (the first above 0.05 is best)" in found.summary()


def test_the_picture_of_stability_has_a_band():
    found = search("stability", (2, 3, 4), x=clusters())
    (band,) = drawn(found, "spread")[1]
    value, sd = found.table_["stability"], found.table_["stability_sd"]
    corners = band.get_paths()[0].vertices[:, 1]
    assert corners.min() == pytest.approx((value - sd).min())
    assert corners.max() == pytest.approx((value + sd).max())
    assert "stability" not in search("bic").table_
