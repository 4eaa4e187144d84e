"""Whole fits on a device: nothing of the CPU gets mixed in, and what comes out is what the CPU finds."""

import warnings

import numpy as np
import pytest
from cases import clusters, punched
from pretend import NAME as DEVICE
from pretend import Pretend

from mixtura import GaussianMixture, MixtureSearch

X, _ = clusters(np.random.default_rng(0), 240, 2, 3, apart=2.0)
MEANS = [X[0], X[1]]

EVERY = {
    "full": {},
    "tied": {"covariance_type": "tied"},
    "diag": {"covariance_type": "diag"},
    "spherical": {"covariance_type": "spherical"},
    "quick": {"effort": "quick"},
    "scikit-learn": {"reproduce": "sklearn"},
    "kmeans": {"init_params": "kmeans"},
    "k-means++": {"init_params": "k-means++"},
    "random rows": {"init_params": "random_from_data"},
    "ridge": {"reg_covar": 1e-6},
    "no leaps": {"init_params": "kmeans", "acceleration": None},
    "means": {"means_init": MEANS},
    "parameters": {"means_init": MEANS, "weights_init": [0.5, 0.5]},
    "one column": {},
}


@pytest.mark.parametrize("name", EVERY)
def test_a_fit_on_a_device_is_the_fit(name):
    x, kept = X[:, :1] if name == "one column" else X, {"n_components": 2, "random_state": 0, **EVERY[name]}
    here = GaussianMixture(**kept).fit(x)
    with Pretend() as device:
        there = GaussianMixture(device=DEVICE, **kept).fit(x)
        found = [there.predict(x), there.predict_proba(x), there.score_samples(x)]
        assert device.waits
    # The same optimum; a restart may end a pass earlier or later, within the stopping test's 1e-7 nats a row.
    assert there.loglik_ == pytest.approx(here.loglik_, abs=1e-6 * len(x))
    np.testing.assert_array_equal(found[0], here.predict(x))
    np.testing.assert_allclose(found[1], here.predict_proba(x), atol=1e-3)
    np.testing.assert_allclose(found[2], here.score_samples(x), atol=1e-2)


def test_float32_rows():
    x = X.astype(np.float32)
    here = GaussianMixture(2, random_state=0).fit(x)
    with Pretend():
        there = GaussianMixture(2, random_state=0, device=DEVICE).fit(x)
    # Rounding of a pass, ε (|L| + N), is 2e-4 nats here.
    assert there.loglik_ == pytest.approx(here.loglik_, abs=5e-3)


def test_rows_with_gaps():
    x, kept = punched(X, 0.1), {"init_params": "kmeans", "missing": "em", "random_state": 0}
    here = GaussianMixture(2, **kept).fit(x)
    with Pretend():
        there = GaussianMixture(2, device=DEVICE, **kept).fit(x)
        filled = there.impute(x)
    assert there.loglik_ == pytest.approx(here.loglik_, abs=1e-6 * len(x))
    np.testing.assert_allclose(filled, here.impute(x), atol=1e-2)


def test_a_search():
    with warnings.catch_warnings(), Pretend():
        warnings.simplefilter("ignore")
        search = MixtureSearch([1, 2], ["diag"], estimator=GaussianMixture(device=DEVICE), random_state=0).fit(X)
    assert search.best_estimator_.n_components == 2
