"""Covariances by volume, shape and orientation: their M-steps are those of the oracle, and keep the ring's promises."""

import itertools

import numpy as np
import oracle
import pytest
import torch
from cases import clusters, onehot, tensor

from mixtura.covariance import STRUCTURES, Floor, NotPositiveDefinite
from mixtura.covariance.axes import along, own_axes, tournament, turned
from mixtura.covariance.base import OtherStructure
from mixtura.covariance.eigen import Eigen, Sizes
from mixtura.data import Array
from mixtura.e_step import Features, Whitened
from mixtura.em import Likelihood, converge, em
from mixtura.family import Gaussian
from mixtura.measure import measure
from mixtura.mixture import Mixture
from mixtura.record import Record
from mixtura.rows import Rows
from mixtura.start import mixture_from
from mixtura.stop import Still
from mixtura.survey import Sample

CODES = ["VEI", "EVI", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV"]
EVERY = pytest.mark.parametrize("code", CODES)
NO_FLOOR = Floor()

OFF = {"VEI": 1e-11, "VEE": 1e-11, "VEV": 1e-11, "EVE": 1e-6, "VVE": 1e-6}
"""Of entries of order one: many rounds stop at a change of 1e-13 in one; brute force knows axes to the root of that."""


def unit(code, restarts, components, features):
    return Eigen.spelled(code)(restarts, components, features)


def scatters(rng, components, features):
    """Of clusters whose axes are not far from each other's, so that axes that suit all are clear."""
    rows = rng.normal(size=(components, 5 * features, features)) * rng.uniform(0.5, 2, size=(components, 1, features))
    turn = 0.25 * rng.normal(size=(components, features, features)) + rng.normal(size=(features, features))
    return np.stack([r.T @ r for r in rows @ turn])


def test_these_are_the_eight_that_are_not_full_tied_or_along_the_columns():
    assert set(CODES) == set(oracle.EIGEN) == set(oracle.EIGEN_COUNT)
    every = {"".join(letters) for letters in itertools.product("EV", "EV", "IEV")} | {"EII", "VII"}
    assert set(CODES) | {"EEE", "EEI", "EII", "VVV", "VVI", "VII"} == every


@EVERY
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 3), (2, 3, 1), (2, 4, 3)], ids=str)
def test_maximise_and_nearest_are_the_m_step(code, shape):
    restarts, components, features = shape
    rng = np.random.default_rng(15)
    kind = unit(code, *shape)
    scatter = np.stack([scatters(rng, components, features) for _ in range(restarts)])
    n = rng.uniform(1, 9, size=(restarts, components))
    maximised = kind.maximise(tensor(n), kind.from_scatter(tensor(scatter)), NO_FLOOR).dense()
    nearest = kind.nearest(tensor(n), tensor(scatter / n[..., None, None]), NO_FLOOR).dense()
    for r in range(restarts):
        want = oracle.EIGEN[code](n[r], scatter[r])
        for found in (maximised, nearest):
            got = found[r].expand(components, -1, -1).numpy()
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=max(1e-12, OFF.get(code, 0)) * want.max())
            # Whatever axes are best to, the likelihood is at its maximum.
            assert oracle.level(n[r], got, scatter[r]) <= oracle.level(n[r], want, scatter[r]) + 1e-9


@EVERY
def test_the_m_step_is_a_maximum(code):
    rng = np.random.default_rng(16)
    scatter, n = scatters(rng, 3, 3), rng.uniform(1, 9, size=3)
    kind = unit(code, 1, 3, 3)
    found = kind.maximise(tensor(n)[None], kind.from_scatter(tensor(scatter)[None]), NO_FLOOR)
    best = oracle.level(n, found.dense()[0].numpy(), scatter)
    for _ in range(20):
        noise = 1e-2 * tensor(rng.normal(size=(1, 3, 3, 3)))
        near = found.dense() + noise + noise.mT
        near = kind.nearest(torch.ones(1, 3).double(), near, NO_FLOOR)
        assert oracle.level(n, near.dense()[0].numpy(), scatter) > best


@pytest.mark.parametrize("code", ["VEE", "EVE", "VVE"])
def test_a_warm_m_step_climbs_and_ends_at_the_exact_one(code):
    """Rounds after the first M-step stop early, restart by restart; more of them on the same statistics go on."""
    rng = np.random.default_rng(3)
    n = tensor(rng.uniform(1, 9, size=(2, 4)))
    first, then = (tensor(np.stack([scatters(rng, 4, 5) for _ in range(2)])) for _ in range(2))
    nearby = first + 0.1 * then

    def level(found, r=0):
        return oracle.level(n[r].numpy(), found.dense()[r].numpy(), nearby[r].numpy())

    model = unit(code, 2, 4, 5).maximise(n, (first,), NO_FLOOR)
    alone = model.take(slice(0, 1)).maximise(n[:1], (nearby[:1],), NO_FLOOR)
    levels = [level(model)]
    for _ in range(60):
        model = model.maximise(n, (nearby,), NO_FLOOR)
        if len(levels) == 1:
            torch.testing.assert_close(model.dense()[:1], alone.dense(), rtol=1e-12, atol=1e-12)
        levels.append(level(model))
    assert all(b <= a + 1e-10 for a, b in itertools.pairwise(levels))
    assert levels[1] < levels[0]
    exact = Eigen(model.volume, model.shape, model.axes).maximise(n, (nearby,), NO_FLOOR)
    assert levels[-1] == pytest.approx(level(exact), abs=1e-8)


@EVERY
@pytest.mark.parametrize("kind", [Features, Whitened])
def test_log_joint_is_the_oracle(code, kind):
    rng = np.random.default_rng(5)
    n = rng.uniform(1, 9, size=(3, 3))
    scatter = np.stack([scatters(rng, 3, 3) for _ in range(3)])
    covariance = unit(code, 3, 3, 3).nearest(tensor(n), tensor(scatter / n[..., None, None]), NO_FLOOR)
    weight, mean, X = rng.dirichlet(np.ones(3), size=3), 2 * rng.normal(size=(3, 3, 3)), 2 * rng.normal(size=(30, 3))
    mixture = Mixture(tensor(np.log(weight)), tensor(mean), covariance, Gaussian())
    rows = Rows(Array(X), origin=torch.zeros(3))
    own = {"share": False} if kind is Features else {}
    count = kind(mixture, rows.scratch, rows.dtype, rows.device, **own)
    (chunk,) = rows.chunks()
    joint = count.log_joint(chunk.x)[0].numpy()
    moments = measure(mixture, rows, torch.full((3,), kind is Features))
    for r in range(3):
        p = oracle.Parameters(weight[r], mean[r], covariance.dense()[r].expand(3, -1, -1).numpy())
        np.testing.assert_allclose(joint[r], oracle.log_joint(X, p).T, rtol=1e-11, atol=1e-10)
        want = oracle.moments(X, p)
        assert float(moments.loglik[r, 0]) == pytest.approx(want.loglik, rel=1e-12)
        second = np.einsum("kii->ki", want.scatter) if code.endswith("I") else want.scatter
        np.testing.assert_allclose(moments.s2[0][r].numpy(), second, rtol=0, atol=1e-9)


@EVERY
@pytest.mark.parametrize(("components", "features"), [(1, 1), (1, 3), (3, 1), (3, 4)])
def test_parameters_are_the_rank_of_the_jacobian(code, components, features):
    rng = np.random.default_rng(23)
    kind = unit(code, 1, components, features)
    one = torch.ones(1, components).double()
    given = kind.nearest(one, tensor(scatters(rng, components, features) / 5)[None], NO_FLOOR)
    low = np.tril_indices(features)
    place = given.dense()[0].expand(components, -1, -1).numpy()

    def dense(point):
        matrices = np.zeros_like(place)
        matrices[:, low[0], low[1]] = point.reshape(components, -1)
        matrices = matrices + matrices.swapaxes(1, 2) - np.einsum("kij,ij->kij", matrices, np.eye(features))
        return kind.nearest(one, tensor(matrices)[None], NO_FLOOR).dense()[0].numpy().ravel()

    point = place[:, low[0], low[1]].ravel()
    assert given.n_parameters() == oracle.rank(dense, point) == oracle.EIGEN_COUNT[code](components, features)


@EVERY
@pytest.mark.parametrize(("components", "features"), [(1, 1), (1, 3), (3, 1), (3, 4)])
def test_published_matrices_come_back(code, components, features):
    kind = unit(code, 1, components, features)
    given = tensor(scatters(np.random.default_rng(21), components, features))[None]
    covariance = kind.nearest(torch.ones(1, components).double(), given, NO_FLOOR)
    published = covariance.publish("covariances")
    assert tuple(published.shape) == kind.published_shape(components) == (components, features, features)
    torch.testing.assert_close(published, covariance.dense()[0].expand(components, -1, -1), rtol=1e-12, atol=1e-12)
    precisions, roots = covariance.publish("precisions"), covariance.publish("precisions_cholesky")
    torch.testing.assert_close(precisions, torch.linalg.inv(published), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(roots @ roots.mT, precisions, rtol=1e-9, atol=1e-10)
    assert bool((roots.tril(-1) == 0).all())
    for value, name in ((published, "covariances"), (precisions, "precisions")):
        again = kind.adopt(value, name).dense()
        torch.testing.assert_close(again, covariance.dense(), rtol=1e-7, atol=1e-7)


@EVERY
def test_other_matrices_are_refused(code):
    kind = unit(code, 1, 3, 3)
    other = tensor(scatters(np.random.default_rng(1), 3, 3))
    with pytest.raises(OtherStructure, match="of this structure"):
        kind.adopt(other, "covariances")
    for bad in (-other, 0 * other, other + torch.triu(torch.ones(3, 3).double(), 1)):
        with pytest.raises(NotPositiveDefinite):
            kind.adopt(bad, "precisions")


@EVERY
@pytest.mark.parametrize("working", [torch.float64, torch.float32], ids=str)
def test_the_likelihood_never_falls(code, working):
    X, _ = clusters(np.random.default_rng(24), 600, 4, 3, apart=2.0)
    rng = np.random.default_rng(1)
    r = np.stack([onehot(rng.integers(4, size=600), 4).T for _ in range(3)])
    rows, rule = Rows(Array(X), dtype=working, origin=torch.zeros(3)), Likelihood(NO_FLOOR)
    model = mixture_from(tensor(r), Sample(tensor(X), torch.ones(600).double()), unit(code, 3, 4, 3), rule)
    slack, bounds = 1e-10 if working == torch.float64 else 1e-5, []
    for count, now in enumerate(em(model, rows, rule)):
        bounds.append(now.bound)
        if count == 40:
            break
    assert all(bool((b >= a - slack * a.abs()).all()) for a, b in itertools.pairwise(bounds))
    assert bool((bounds[-1] > bounds[0]).all())


@EVERY
def test_collapsed_variances_are_raised_to_the_floor(code):
    least, n = torch.tensor([1e-3, 4e-2, 1.0]).double(), torch.ones(1, 2).double()
    kind = unit(code, 1, 2, 3)
    found = kind.maximise(n, kind.from_scatter(torch.zeros(1, 2, 3, 3).double()), Floor(least)).dense()[0]
    torch.testing.assert_close(found, torch.diag(least).expand_as(found), rtol=1e-9, atol=1e-12)


@EVERY
def test_the_clip_does_nothing_to_sound_matrices(code):
    kind, rng = unit(code, 2, 3, 3), np.random.default_rng(25)
    s2 = kind.from_scatter(tensor(np.stack([scatters(rng, 3, 3) for _ in range(2)])))
    n = torch.full((2, 3), 4.0).double()
    free, clipped = (kind.maximise(n, s2, floor) for floor in (NO_FLOOR, Floor(torch.full((3,), 1e-6).double())))
    assert all(torch.equal(a, b) for a, b in zip(free.leaves(), clipped.leaves(), strict=True))


@EVERY
def test_a_ridge_is_added_to_the_scatter_before_sizes_are_found(code):
    """Added afterwards, it would leave equal volumes or shapes unequal."""
    rng = np.random.default_rng(29)
    scatter, n = scatters(rng, 2, 3), np.array([2.0, 5.0])
    kind = unit(code, 1, 2, 3)
    found = kind.maximise(tensor(n)[None], kind.from_scatter(tensor(scatter)[None]), Floor(None, 0.25)).dense()[0]
    want = oracle.EIGEN[code](n, scatter + 0.25 * n[:, None, None] * np.eye(3))
    np.testing.assert_allclose(found.numpy(), want, rtol=0, atol=max(1e-12, OFF.get(code, 0)) * want.max())


@EVERY
def test_a_batch_is_each_restart_alone(code):
    rng = np.random.default_rng(31)
    n, scatter = tensor(rng.uniform(1, 9, size=(4, 3))), tensor(np.stack([scatters(rng, 3, 3) for _ in range(4)]))
    kind = unit(code, 4, 3, 3)
    together = kind.maximise(n, kind.from_scatter(scatter), NO_FLOOR)
    each = [
        kind.take(at).maximise(n[at], kind.from_scatter(scatter[at]), NO_FLOOR)
        for at in (slice(r, r + 1) for r in range(4))
    ]
    torch.testing.assert_close(Record.cat(each).dense(), together.dense(), rtol=1e-10, atol=1e-10)


@EVERY
def test_one_that_is_no_number_fails_alone(code):
    rng = np.random.default_rng(32)
    n, scatter = torch.ones(2, 3).double(), tensor(np.stack([scatters(rng, 3, 3) for _ in range(2)]))
    scatter[1] = torch.nan
    kind = unit(code, 2, 3, 3)
    found = kind.maximise(n, kind.from_scatter(scatter), Floor(torch.full((3,), 1e-9).double())).dense()
    alone = kind.take(slice(0, 1)).maximise(n[:1], kind.from_scatter(scatter[:1]), NO_FLOOR).dense()
    torch.testing.assert_close(found[:1], alone, rtol=1e-10, atol=1e-10)
    assert bool(found[1].isnan().all() if code[-1] != "I" else found[1].diagonal(dim1=-2, dim2=-1).isnan().all())


NESTED = [
    *[("tied_diag", code) for code in ("VEI", "EVI")],
    *[("tied_spherical", "EVI"), ("spherical", "VEI"), ("VEI", "diag"), ("EVI", "diag")],
    *[("tied", code) for code in ("VEE", "EVE", "EEV")],
    *[("VEE", "VVE"), ("VEE", "VEV"), ("EVE", "VVE"), ("EVE", "EVV"), ("EEV", "VEV"), ("EEV", "EVV")],
    *[(code, "full") for code in ("VVE", "VEV", "EVV")],
]


@pytest.fixture(scope="module")
def converged():
    X, labels = clusters(np.random.default_rng(30), 400, 3, 3, apart=4.0)
    rows, rule = Rows(Array(X), origin=torch.zeros(3)), Likelihood(NO_FLOOR)
    sample, r = Sample(tensor(X), torch.ones(400).double()), tensor(onehot(labels, 3).T)[None]
    found = {}
    for name in {name for pair in NESTED for name in pair}:
        kind = unit(name, 1, 3, 3) if name in CODES else STRUCTURES[name].unit(1, 3, 3)
        outcome = converge(mixture_from(r, sample, kind, rule), rows, rule, Still(1e-11), 5000)
        assert bool(outcome.still[0])
        found[name] = float(outcome.turn.bound[0])
    return found


@pytest.mark.parametrize(("small", "large"), NESTED)
def test_a_larger_model_is_at_least_as_likely(converged, small, large):
    assert converged[large] >= converged[small] - 1e-6


# ---- axes


@pytest.mark.parametrize("features", [1, 2, 3, 6, 7])
def test_a_tournament_pairs_all_axes_once(features):
    rounds = [list(zip(i.tolist(), j.tolist(), strict=True)) for i, j in tournament(features, torch.device("cpu"))]
    assert sorted(pair for each in rounds for pair in each) == list(itertools.combinations(range(features), 2))
    assert all(len({axis for pair in each for axis in pair}) == 2 * len(each) for each in rounds)


def test_a_sweep_turns_towards_the_least_sum_and_stays_orthonormal():
    rng = np.random.default_rng(2)
    scatter, precision = tensor(np.stack([scatters(rng, 3, 5)])), tensor(rng.uniform(0.1, 5, size=(1, 3, 5)))
    axes = torch.eye(5).double()[None, None]
    before = float((along(axes, scatter) * precision).sum())
    for _ in range(30):
        axes = turned(axes, scatter, precision)
        after = float((along(axes, scatter) * precision).sum())
        assert after <= before + 1e-10
        before = after
    torch.testing.assert_close(axes.mT @ axes, torch.eye(5).double()[None, None], rtol=0, atol=1e-14)
    # A single matrix: the largest precision lies along the least variance.
    one = turned(torch.eye(5).double()[None, None], scatter[:, :1], precision[:, :1])
    for _ in range(60):
        one = turned(one, scatter[:, :1], precision[:, :1])
    value, _ = own_axes(scatter[:, :1])
    want = (value[0, 0] * precision[0, 0].sort(descending=True).values).sum()
    assert float((along(one, scatter[:, :1]) * precision[:, :1]).sum()) == pytest.approx(float(want), rel=1e-9)


def test_sizes_of_a_known_shape():
    sizes = Sizes(torch.tensor([[2.0, 4.0]]).double(), None, own_volume=True, own_shape=False, blind=False)
    shape = torch.tensor([4.0, 0.25]).double()
    spread = torch.tensor([[[6.0], [20.0]]]).double() * shape
    volume, found = sizes.likeliest(spread, torch.ones(1, 2).double())
    torch.testing.assert_close(volume, torch.tensor([[3.0, 5.0]]).double())
    torch.testing.assert_close(found, shape[None, None])
