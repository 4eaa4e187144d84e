"""The counts: shares, the guard of the feature map, and the choice between two ways that agree."""

import itertools

import numpy as np
import oracle
import pytest
import torch
from cases import NAMES, batch, clusters, counted, parameters, tensor, to_mixture

from mixtura.covariance import STRUCTURES, Floor
from mixtura.data import Array
from mixtura.e_step import LONG, Features, Whitened, fast, over_rows, risk, scorer, share
from mixtura.em import Likelihood, em, turn
from mixtura.family import Gaussian
from mixtura.measure import measure
from mixtura.mixture import Mixture
from mixtura.native.count import Wide
from mixtura.record import Record
from mixtura.rows import TOLERANCE, Rows, Scratch

EVERY = pytest.mark.parametrize("name", NAMES)


# ---- shares


def test_share_is_the_softmax_and_the_log_density(dtype):
    joint = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)).to(dtype) * 4
    weight = torch.tensor([1.0, 2.0, 0.0, 0.5, 1.0]).to(dtype)
    r = joint.clone()
    loglik = share(r, weight, Scratch())
    torch.testing.assert_close(loglik, (joint.logsumexp(1) @ weight)[:, None].double(), check_dtype=False)
    torch.testing.assert_close(r, joint.softmax(1) * weight)


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 1000])
def test_rows_without_weights_are_added_up_with_fewer_logarithms(rows, dtype):
    # 50,000 components are the most whose product of eight sums stays within float32.
    joint = torch.randn(2, 50 if rows < 1000 else 3, rows, generator=torch.Generator().manual_seed(1)).to(dtype) * 4
    with_ones, without = joint.clone(), joint.clone()
    expected = share(with_ones, torch.ones(rows).to(dtype), Scratch())
    torch.testing.assert_close(
        share(without, None, Scratch()), expected, rtol=1e-12 if dtype == torch.float64 else 1e-5, atol=0
    )
    torch.testing.assert_close(without, with_ones)


@pytest.mark.parametrize("rows", [0, 3, LONG - 1, LONG, LONG + 3])
def test_a_long_thin_product_in_parts_is_the_product(rows, dtype):
    generator = torch.Generator().manual_seed(2)
    r, phi = (torch.randn(size, rows, generator=generator).to(dtype) for size in (3, 6))
    # Rounding of sums of 8,192 terms of size 1.
    atol = 1e-10 if dtype == torch.float64 else 1e-2
    torch.testing.assert_close(over_rows(r, phi), (r.double() @ phi.double().mT).to(dtype), rtol=0, atol=atol)


def test_the_product_of_eight_sums_stays_finite(dtype):
    joint = torch.zeros(1, 50_000, 16).to(dtype)
    assert float(share(joint, None, Scratch())[0, 0]) == pytest.approx(16 * np.log(50_000), rel=1e-6)


def test_rows_far_from_every_component_share_in_full(dtype):
    joint = torch.tensor([[[-1e5, -3e30], [-1e5 - 1, -2e30], [-2e5, -4e30]]]).to(dtype)
    r = joint.clone()
    loglik = share(r, torch.tensor([0.0, 1.0]).to(dtype), Scratch())
    assert float(loglik) == float(joint[0, 1, 1])
    r = joint.clone()
    share(r, None, Scratch())
    torch.testing.assert_close(r.sum(1), torch.ones(1, 2).to(dtype))
    torch.testing.assert_close(r[0, :, 0], torch.tensor([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)), 0.0]).to(dtype))
    assert torch.equal(r[0, :, 1], torch.tensor([0.0, 1.0, 0.0]).to(dtype))


def test_components_without_weight_share_nothing(dtype):
    joint = torch.tensor([[[-1.0, -5.0], [-torch.inf, -torch.inf], [-2.0, -5.0]]]).to(dtype)
    r = joint.clone()
    loglik = share(r, None, Scratch())
    assert torch.equal(r[0, 1], torch.zeros(2).to(dtype))
    torch.testing.assert_close(r.sum(1), torch.ones(1, 2).to(dtype))
    assert float(loglik) == pytest.approx(float(joint.logsumexp(1).sum()), rel=1e-6)


@pytest.mark.parametrize("weight", [None, torch.ones(10000)])
def test_float32_densities_are_added_up_in_float64(weight):
    joint = torch.full((1, 1, 10000), -3.3)
    total = share(joint.clone(), weight, Scratch())
    assert total.dtype == torch.float64
    assert float(total) == pytest.approx(float(joint[0, 0, 0].double()) * 10000, rel=1e-14)


@EVERY
@pytest.mark.parametrize("by_features", [True, False])
def test_a_dropped_component_counts_nothing(name, by_features, device, dtype):
    rng = np.random.default_rng(0)
    p = parameters(name, rng, 3, 2)
    X = 2 * rng.normal(size=(40, 2))
    rows = Rows(Array(X), device=device, dtype=dtype, origin=torch.zeros(2))
    mixture = to_mixture(name, p)
    dropped = Mixture(tensor([[np.log(0.4), -np.inf, np.log(0.6)]]), mixture.mean, mixture.covariance, Gaussian())
    moments = counted(dropped, rows, by_features)
    rest = oracle.Parameters(np.array([0.4, 0.6]), p.means[[0, 2]], p.covariances[[0, 2]])
    want = oracle.moments(X, rest)
    assert float(moments.n[0, 1]) == float(moments.s0[0, 1]) == 0
    tight = dtype == torch.float64
    np.testing.assert_allclose(moments.n[0, [0, 2]].numpy(), want.n, atol=1e-10 if tight else 1e-3)
    assert float(moments.loglik[0, 0]) == pytest.approx(want.loglik, abs=1e-10 if tight else 1e-2)
    assert all(bool(t.isfinite().all()) for t in moments.leaves())


# ---- the guard

PROBLEMS = [
    # D, sd of the means, smallest variance, offset: from benign to hopeless
    (8, 3.0, 1e-2, 0.0),
    (8, 1.0, 1e-1, 0.0),
    (32, 1.0, 1e-1, 0.0),
    (32, 1.0, 1e-3, 0.0),
    (32, 1.0, 1e-4, 0.0),
    (32, 1.0, 1e-2, 100.0),
    (64, 0.5, 1e-4, 0.0),
    (16, 10.0, 1e-3, 0.0),
    (2, 3.0, 1e-2, 0.0),
    (4, 3.0, 1e-5, 10.0),
]


def problem(size, sd, least, offset, name, seed=0):
    """Eight components with variances from ``least`` to 1, and 2,000 rows drawn from them, float32."""
    rng = np.random.default_rng([seed, size])
    components = 8
    axes = np.linalg.qr(rng.normal(size=(components, size, size)))[0]
    variances = np.geomspace(least, 1, size)
    dense = (axes * variances) @ axes.swapaxes(1, 2) if name in ("full", "tied") else np.stack([np.diag(variances)] * 8)
    if "tied" in name:
        dense[:] = dense[:1]
    if "spherical" in name:
        dense = np.stack([least * np.eye(size)] * 8)
    p = oracle.Parameters(np.full(8, 1 / 8), sd * rng.normal(size=(8, size)) + offset, dense)
    labels = rng.integers(8, size=2000)
    factor = np.linalg.cholesky(dense)
    X = p.means[labels] + np.einsum("nij,nj->ni", factor[labels], rng.normal(size=(2000, size)))
    return to_mixture(name, p), torch.from_numpy(X.astype(np.float32))


def worst(mixture, x, kind, dtype, device="cpu"):
    """Largest error of a log density, among components within 20 nats of the row's best."""
    truth = Whitened(mixture, Scratch(), torch.float64, torch.device("cpu")).log_joint(x.T.double())[0]
    own = {"share": False} if kind is Features else {}
    found = kind(mixture, Scratch(), dtype, torch.device(device), **own)
    joint = found.log_joint(x.T.contiguous().to(device, dtype))[0].cpu().double()
    seen = truth > truth.amax(1, keepdim=True) - 20
    return float((joint - truth)[seen].abs().max())


@pytest.mark.parametrize("name", ["full", "diag", "tied", "spherical"])
def test_risk_estimates_the_error_of_the_feature_map(name, device):
    ratios = []
    for case in PROBLEMS:
        mixture, x = problem(*case, name)
        ratios.append(float(risk(mixture, torch.float32)[0]) / worst(mixture, x, Features, torch.float32, device))
    near = [0.1 < ratio < 10 for ratio in ratios]
    # An estimate, not a bound: within ten times on most problems, and never far on the careless side.
    assert sum(near) >= 7, ratios
    assert min(ratios) > 0.1, ratios


@pytest.mark.parametrize("name", ["full", "diag", "tied", "spherical"])
@pytest.mark.parametrize("case", PROBLEMS, ids=str)
def test_the_guard_keeps_errors_small(name, case, device):
    """Whatever the guard chooses in float32 is right to a hundredth of a nat, once rows are about their mean."""
    mixture, x = problem(*case, name)
    origin = x.double().mean(0).float()
    mixture, x = mixture.shifted(-origin.double()), x - origin
    count = scorer(mixture, Scratch(), torch.float32, device)
    assert worst(mixture, x, type(count), torch.float32, device) < 1e-2


@EVERY
def test_risk_grows_with_offset_and_precision(name):
    mixture, _ = batch(name, np.random.default_rng(1), 2, 3, 3)
    near = risk(mixture, torch.float32)
    far = risk(mixture.shifted(torch.full((3,), 1e3).double()), torch.float32)
    assert bool((far > 1e3 * near).all())
    torch.testing.assert_close(risk(mixture, torch.float64) * 2.0**29, near, rtol=1e-12, atol=0)
    assert bool(fast(mixture, torch.float64).all())
    assert not bool(fast(mixture.shifted(torch.full((3,), 1e7).double()), torch.float64).any())


@EVERY
def test_a_failed_restart_is_risky_alone(name):
    mixture, _ = batch(name, np.random.default_rng(2), 3, 2, 2)
    spoilt = mixture.map(lambda t: torch.where(torch.arange(3).reshape(-1, *[1] * (t.ndim - 1)) == 1, torch.nan, t))
    assert fast(spoilt, torch.float64).tolist() == [True, False, True]
    assert risk(spoilt, torch.float64)[1] == torch.inf
    torch.testing.assert_close(risk(spoilt, torch.float64)[[0, 2]], risk(mixture, torch.float64)[[0, 2]])


@EVERY
def test_narrow_restarts_take_the_definition_and_both_are_right(name, device):
    """One batch, float32: a benign restart by features, a narrow far one whitened."""
    rng = np.random.default_rng(3)
    X = np.concatenate([1e-3 * rng.normal(size=(30, 2)) + 20, rng.normal(size=(30, 2)) - 20])
    X = X.astype(np.float32).astype(np.float64)
    half, means = np.array([0.5, 0.5]), np.array([[20.0, 20], [-20, -20]])
    benign, narrow = (oracle.Parameters(half, means, np.stack([v * np.eye(2)] * 2)) for v in (100, 1e-6))
    mixture = Record.cat([to_mixture(name, p) for p in (narrow, benign)])
    rows = Rows(Array(X), dtype=torch.float32, device=device, origin=torch.zeros(2))
    now = turn(mixture.to(rows.home), rows, Likelihood(Floor()))
    assert now.fast.tolist() == [False, True]
    for r, p in enumerate((narrow, benign)):
        want = oracle.moments(X, p)
        np.testing.assert_allclose(now.moments.n[r].cpu().numpy(), want.n, atol=1e-3)
        # The narrow one's densities are of order 1e9 nats, of which float32 keeps seven digits.
        assert float(now.bound[r]) == pytest.approx(want.loglik, rel=1e-5)


@EVERY
def test_the_scorer_is_chosen_by_the_model_alone(name):
    mixture, _ = batch(name, np.random.default_rng(4), 1, 2, 2)
    count = scorer(mixture, Scratch(), torch.float64, torch.device("cpu"))
    assert isinstance(count, Features)
    assert not count.shared  # a log density needs the quadratic term, also where all components share it
    far = mixture.shifted(torch.full((2,), 1e8).double())
    assert isinstance(scorer(far, Scratch(), torch.float64, torch.device("cpu")), Whitened)
    assert 0 < TOLERANCE <= 1e-3


@EVERY
def test_shared_quadratics_leave_the_product(name):
    unit = STRUCTURES[name].unit(1, 3, 5)
    mean = torch.zeros(1, 3, 5).double()
    count = Features(Mixture(mean[..., 0], mean, unit, Gaussian()), Scratch(), torch.float64, torch.device("cpu"))
    assert count.theta.shape == (3, 6 if unit.shared else unit.quadratic.size(5) + 6)


@EVERY
@pytest.mark.parametrize("by_features", [True, False])
def test_counting_leaves_the_rows_alone(name, by_features):
    X, _ = clusters(np.random.default_rng(5), 50, 2, 2)
    kept = X.copy()
    rows = Rows(Array(X), origin=torch.zeros(2))
    mixture, _ = batch(name, np.random.default_rng(5), 2, 2, 2)
    first = counted(mixture, rows, by_features)
    second = counted(mixture, rows, by_features)
    np.testing.assert_array_equal(X, kept)
    assert all(torch.equal(a, b) for a, b in zip(first.leaves(), second.leaves(), strict=True))


# ---- float32 rows that the feature map cannot bear in float32


def far_from_the_origin(name, *, weighted=False):
    """Narrow components far out: the feature map loses more than it may in float32, little in float64."""
    rng = np.random.default_rng(41)
    mixture, _ = batch(name, rng, 2, 3, 4, spread=1.0)
    mixture = mixture.shifted(torch.full((4,), 300.0).double())
    X = (300 + rng.normal(size=(900, 4))).astype(np.float32)
    weight = rng.uniform(0, 2, size=900).astype(np.float32) if weighted else None
    single = Rows(Array(X, weight), origin=torch.zeros(4))
    assert not bool((risk(mixture, torch.float32) < single.tolerance).any())
    double = Rows(Array(X.astype(np.float64), weight), origin=torch.zeros(4))
    return mixture, single, double


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("compiled", [True, False])
@EVERY
def test_they_are_counted_in_float64(name, compiled, weighted, monkeypatch):
    """Nothing of a row is lost when it is widened, so that the sums are those of float64 rows."""
    mixture, single, double = far_from_the_origin(name, weighted=weighted)
    if not compiled:
        monkeypatch.setattr("mixtura.native.count.usable", lambda: False)
    assert Wide.serves(mixture, single)
    for served in (torch.zeros(2).bool(), torch.tensor([False, True])):
        found = measure(mixture, single, served)
        want = measure(mixture, double, torch.ones(2).bool())
        for a, b in zip(found.leaves(), want.leaves(), strict=True):
            # Sums about the origin reach 300² × 900 = 8e7: 1e-16 of that, some hundred times, where another number of
            # restarts adds up in another order. The other restart of a mixed batch is float32's, and may be far off.
            torch.testing.assert_close(a[~served], b[~served], rtol=1e-12, atol=1e-6)


def test_they_are_counted_by_the_definition_where_float64_is_not_enough_either():
    mixture, single, double = far_from_the_origin("full")
    assert not Wide.serves(mixture.shifted(torch.full((4,), 1e8).double()), single)
    assert not Wide.serves(mixture, double)


@EVERY
def test_a_fit_that_leaves_the_feature_map_climbs_on(name):
    """Clusters far narrower than the start: float32 serves the first passes, float64 goes on from there."""
    rng = np.random.default_rng(42)
    labels = np.arange(600) % 2
    X = (np.array([[-3.0, 1], [3, -1]])[labels] + 1e-3 * rng.normal(size=(600, 2))).astype(np.float32)
    rows, unit = Rows(Array(X), origin=torch.zeros(2)), STRUCTURES[name].unit(1, 2, 2)
    mean = tensor([[[-2.0, 0.5], [2.0, -0.5]]])
    start = Mixture(torch.full((1, 2), 0.5).double().log(), mean, unit, Gaussian())
    bounds, served = [], []
    for count, now in enumerate(em(start, rows, Likelihood(Floor()))):
        bounds.append(float(now.bound[0]))
        served.append(bool(now.fast[0]))
        if not served[-1]:
            assert Wide.serves(now.model, rows)
        if count == 8:
            break
    turn = served.index(False)
    assert all(served[:turn])
    assert turn > 0
    # How rows are counted is looked at every few passes: what float32 said last is no mark. From there on float64's.
    later = bounds[turn:]
    assert len(later) > 2
    assert all(b >= a - 1e-9 * abs(a) for a, b in itertools.pairwise(later))
