"""Levels: distribution functions of one feature beside SciPy's, their inverse, and regions of highest density."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.exceptions import NotFittedError

from mixtura import GaussianMixture

MEANS, SDS, WEIGHTS = np.array([-3.0, 0.5, 4.0]), np.array([0.2, 1.0, 2.5]), np.array([0.2, 0.5, 0.3])


def mixture(covariance_type="spherical"):
    variances = {"spherical": SDS**2, "full": SDS[:, None, None] ** 2, "tied": np.array([[1.44]])}[covariance_type]
    return GaussianMixture.from_parameters(WEIGHTS, MEANS[:, None], variances, covariance_type)


def cdf(x, sds=SDS):
    return (WEIGHTS * stats.norm.cdf(np.asarray(x)[..., None], MEANS, sds)).sum(-1)


@pytest.mark.parametrize(("name", "sds"), [("spherical", SDS), ("full", SDS), ("tied", np.full(3, 1.2))])
def test_cdf_is_scipy_s(name, sds):
    x = np.linspace(-12, 14, 201)
    # Both sum three terms of at most 1: rounding.
    np.testing.assert_allclose(mixture(name).cdf(x[:, None]), cdf(x, sds), rtol=1e-12, atol=1e-15)


def test_cdf_keeps_its_digits_far_out():
    gm = mixture()
    np.testing.assert_allclose(gm.cdf([[-60.0], [-40.0]]), cdf([-60.0, -40.0]), rtol=1e-9)


def test_quantile_inverts_cdf():
    gm = mixture()
    p = np.concatenate([[1e-300, 1e-12, 1e-3], np.linspace(0.01, 0.99, 99), [1 - 1e-12]])
    x = gm.quantile(p)
    assert (np.diff(x) > 0).all()
    np.testing.assert_allclose(gm.cdf(x[:, None]), p, rtol=1e-10)
    assert gm.quantile([0.0, 1.0]).tolist() == [-np.inf, np.inf]


@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (0,)])
def test_quantiles_keep_their_shape(shape):
    p = np.full(shape, 0.25)
    found = mixture().quantile(p)
    assert np.shape(found) == shape
    assert isinstance(found, float) == (shape == ())


def test_a_component_without_weight_says_nothing():
    gm = GaussianMixture.from_parameters([1.0, 0.0], [[0.0], [50.0]], [1.0, 1.0], "spherical")
    np.testing.assert_allclose(gm.quantile(0.975), stats.norm.ppf(0.975), rtol=1e-12)


def test_tensors_come_out_as_tensors():
    gm = mixture()
    found = gm.cdf(torch.tensor([[0.0], [1.0]]))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(np.asarray(found), cdf([0.0, 1.0]), rtol=1e-6)


@pytest.mark.parametrize("call", [lambda gm: gm.cdf([[0.0, 1.0]]), lambda gm: gm.quantile(0.5)])
def test_more_features_have_no_cdf(call):
    gm = GaussianMixture.from_parameters([1.0], [[0.0, 0.0]], [1.0], "spherical")
    with pytest.raises(ValueError, match="is of one feature, but the mixture has 2"):
        call(gm)


@pytest.mark.parametrize("p", [-0.1, 1.5, [0.5, np.nan]])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(ValueError, match="probability="):
        mixture().quantile(p)


def test_an_unfitted_model_has_none():
    for call in (lambda gm: gm.cdf([[0.0]]), lambda gm: gm.quantile(0.5), lambda gm: gm.highest_density()):
        with pytest.raises(NotFittedError):
            call(GaussianMixture())


@pytest.mark.parametrize("probability", [0.5, 0.95])
def test_highest_density_of_a_normal(probability):
    """Of N(μ, Σ) in the plane it is the ellipse of the χ² quantile."""
    cov = np.array([[2.0, 0.6], [0.6, 0.5]])
    gm = GaussianMixture.from_parameters([1.0], [[3.0, -1.0]], cov[None], "full")
    want = -np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(cov)[1] - stats.chi2.ppf(probability, 2) / 2
    # log density is −χ²/2 + c with χ²/2 exponential: its quantile from 100,000 rows has sd √(p/(1−p)/n) nats.
    assert gm.highest_density(probability, random_state=0) == pytest.approx(want, abs=5 * np.sqrt(19 / 100_000))


def test_highest_density_holds_its_share():
    gm = mixture()
    level = gm.highest_density(0.8, random_state=1)
    rows, _ = gm.sample(20_000, random_state=2)
    assert (gm.score_samples(rows) >= level).mean() == pytest.approx(0.8, abs=0.015)
    for wrong in (0, 1, 1.2):
        with pytest.raises(ValueError, match="probability="):
            gm.highest_density(wrong)
