"""What every covariance structure promises: its counts, moments and M-step are those of the oracle."""

import itertools

import numpy as np
import oracle
import pytest
import torch
from cases import (
    CODES,
    NAMES,
    OFF,
    OWN_AXES,
    SHARED,
    Cut,
    batch,
    clusters,
    cold,
    counted,
    covariances,
    onehot,
    parameters,
    tensor,
    to_mixture,
    to_parameters,
)

from mixtura.converge import converge
from mixtura.covariance import STRUCTURES, Floor, NotPositiveDefinite, OtherStructure
from mixtura.data import Array
from mixtura.e_step import Features, Whitened
from mixtura.em import Likelihood, em, turn
from mixtura.family import Gaussian
from mixtura.measure import measure
from mixtura.mixture import Mixture
from mixtura.record import Record
from mixtura.rows import Rows
from mixtura.start import mixture_from
from mixtura.stop import Still
from mixtura.survey import Sample

EVERY = pytest.mark.parametrize("name", list(STRUCTURES))
NO_FLOOR = Floor()

SHAPES = [(1, 1, 1), (1, 1, 3), (1, 3, 1), (1, 3, 4), (3, 2, 2), (4, 3, 3)]
"""(restarts, components, features)."""

# Nats that a log density may be off. Float64: terms of order 1e3 times 1e-16, times the 1e2 of a small problem's sums.
# Float32: terms |θ||φ| of up to 1e4 times 6e-8, halved by the ½: 3e-4.
NATS = {torch.float64: 1e-10, torch.float32: 1e-3}

# Moments relative to (sum of weights) · (1 + largest squared deviation): responsibilities inherit NATS, but errors of
# that size are rare and do not all have one sign.
SHARE = {torch.float64: 1e-12, torch.float32: 2e-5}


def same_moments(found, name, every, X, weight, dtype, share=None):
    total = len(X) if weight is None else weight.sum()
    share = share or SHARE[dtype]
    for r, p in enumerate(every):
        want = oracle.moments(X, p, weight)
        far = total * (1 + max(((X - m) ** 2).sum(1).max() for m in p.means))
        nats = NATS[dtype] * max(total, 1)
        assert abs(float(found.loglik[r, 0]) - want.loglik) < nats + 1e-13 * abs(want.loglik)
        for a, b in (
            (found.n, want.n),
            (found.s0, want.s0),
            (found.s1, want.s1),
            (found.s2[0], oracle.SECOND[name](want.scatter)),
        ):
            np.testing.assert_allclose(a[r].numpy(), b, rtol=0, atol=share * far)


def test_the_registry_holds_the_fourteen():
    assert list(STRUCTURES) == NAMES
    assert all(entry.name == name for name, entry in STRUCTURES.items())
    assert set(STRUCTURES) == set(oracle.MAXIMISE) == set(oracle.SECOND) == set(oracle.PUBLISH) == set(oracle.COUNT)
    letters = {"".join(code) for code in itertools.product("EV", "EV", "IEV")} | {"EII", "VII"}
    assert {entry.code for entry in STRUCTURES.values()} == letters


# ---- counts


@EVERY
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_both_counts_are_the_oracle(name, shape, weighted, device, dtype):
    rng = np.random.default_rng([*shape, weighted])
    mixture, every = batch(name, rng, *shape)
    X = 3 * rng.normal(size=(40, shape[2]))
    weight = rng.uniform(0, 3, size=40) if weighted else None
    X = X.astype(np.float32).astype(np.float64)
    rows = Rows(Array(X, weight), dtype=dtype, device=device)
    shifted = mixture.shifted(-rows.origin.double())
    for by_features in (True, False):
        same_moments(counted(shifted, rows, by_features), name, every, X, weight, dtype)


@EVERY
@pytest.mark.parametrize("kind", [Features, Whitened])
def test_log_joint_is_the_oracle(name, kind, device, dtype):
    rng = np.random.default_rng(5)
    mixture, every = batch(name, rng, 3, 3, 3)
    X = 2 * rng.normal(size=(30, 3))
    rows = Rows(Array(X), dtype=dtype, device=device, origin=torch.zeros(3))
    mixture = mixture.to(rows.home)
    own = {"share": False} if kind is Features else {}  # shared terms cancel while fitting, never in a log density
    count = kind(mixture, rows.scratch, dtype, rows.device, **own)
    (chunk,) = rows.chunks()
    joint = count.log_joint(chunk.x)[0].cpu().double().numpy()
    for r, p in enumerate(every):
        want = oracle.log_joint(X, p).T
        seen = want > want.max(0) - 30  # farther components have responsibilities below 1e-13
        np.testing.assert_allclose(joint[r][seen], want[seen], rtol=0, atol=NATS[dtype])


@EVERY
def test_restarts_mix_the_two_counts_in_order(name, device, dtype):
    rng = np.random.default_rng(6)
    mixture, every = batch(name, rng, 5, 3, 2)
    X = (2 * rng.normal(size=(50, 2))).astype(np.float32).astype(np.float64)
    rows = Rows(Array(X), dtype=dtype, device=device, origin=torch.zeros(2))
    for flags in ([True, False, True, False, False], [False, True, True, True, True]):
        same_moments(counted(mixture, rows, flags), name, every, X, None, dtype)


@EVERY
@pytest.mark.parametrize("by_features", [True, False])
def test_a_restart_in_a_batch_is_the_restart_alone(name, by_features):
    rng = np.random.default_rng(7)
    mixture, _ = batch(name, rng, 4, 3, 3)
    rows = Rows(Array(2 * rng.normal(size=(700, 3))))
    together = counted(mixture, rows, by_features)
    for r in range(4):
        alone = counted(mixture.take(slice(r, r + 1)), rows, by_features)
        for a, b in zip(together.leaves(), alone.leaves(), strict=True):
            # Products with more rows may add up in another order: the last digits only.
            torch.testing.assert_close(a[r : r + 1], b, rtol=1e-12, atol=1e-9)


# ---- additivity


@EVERY
@pytest.mark.parametrize("by_features", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
def test_chunks_of_any_size_add_up(name, by_features, weighted, device, dtype):
    rng = np.random.default_rng(8)
    mixture, _ = batch(name, rng, 2, 3, 2)
    X = 2 * rng.normal(size=(1500, 2))
    source = Array(X, rng.uniform(0, 2, size=1500) if weighted else None)
    given = {"dtype": dtype, "device": device, "origin": torch.zeros(2)}
    whole = counted(mixture, Rows(source, **given), by_features)
    far = 1500 * (1 + float((X**2).sum(1).max()) * 4)
    for rows in (
        Rows(source, budget=1, **given),  # 512 rows, the fewest
        Rows(source, budget=1, resident=0, **given),
        Rows(source, budget=40_000, **given),
        Rows(source, resident=0, **given),
        Rows(Cut(source, 700), resident=0, **given),
        Rows(Cut(source, 37), resident=0, **given),
        Rows(Cut(source, 37), **given),
    ):
        parts = counted(mixture, rows, by_features)
        for a, b in zip(whole.leaves(), parts.leaves(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=SHARE[dtype] * far)


@EVERY
def test_a_chunk_of_one_row_is_enough(name):
    rng = np.random.default_rng(9)
    mixture, every = batch(name, rng, 2, 2, 2)
    X = rng.normal(size=(9, 2))
    for by_features in (True, False):
        rows = Rows(Cut(Array(X), 1), resident=0, origin=torch.zeros(2))
        same_moments(counted(mixture, rows, by_features), name, every, X, None, torch.float64)


@EVERY
@pytest.mark.parametrize("by_features", [True, False])
def test_parts_and_orders_of_rows_add_up(name, by_features, dtype, device):
    rng = np.random.default_rng(10)
    mixture, _ = batch(name, rng, 2, 3, 2)
    X = 2 * rng.normal(size=(900, 2))
    given = {"dtype": dtype, "device": device, "origin": torch.zeros(2)}
    whole = counted(mixture, Rows(Array(X), **given), by_features)
    first, second = (counted(mixture, Rows(Array(part), **given), by_features) for part in (X[:250], X[250:]))
    shuffled = counted(mixture, Rows(Array(X[rng.permutation(900)]), **given), by_features)
    atol = SHARE[dtype] * 900 * (1 + float((X**2).sum(1).max()) * 4)
    for a, b, c in zip(whole.leaves(), (first + second).leaves(), shuffled.leaves(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)
        torch.testing.assert_close(a, c, rtol=0, atol=atol)


@EVERY
@pytest.mark.parametrize("by_features", [True, False])
def test_no_rows_are_the_zero(name, by_features):
    mixture, _ = batch(name, np.random.default_rng(11), 2, 3, 2)
    rows = Rows(Array(np.ones((4, 2))), origin=torch.zeros(2))
    kind = Features if by_features else Whitened
    count = kind(mixture, rows.scratch, rows.dtype, rows.device)
    zero = count(rows.empty())
    assert all(bool((t == 0).all()) for t in zero.leaves())
    (chunk,) = rows.chunks()
    there, back = count(chunk), count(chunk) + zero
    assert all(torch.equal(a, b) for a, b in zip(there.leaves(), back.leaves(), strict=True))


@EVERY
@pytest.mark.parametrize("by_features", [True, False])
def test_a_weight_is_a_duplicate_and_zero_is_absence(name, by_features, dtype, device):
    rng = np.random.default_rng(12)
    mixture, _ = batch(name, rng, 2, 3, 2)
    X = 2 * rng.normal(size=(200, 2))
    times = rng.integers(0, 4, size=200)
    given = {"dtype": dtype, "device": device, "origin": torch.zeros(2)}
    weighted = counted(mixture, Rows(Array(X, times.astype(float)), **given), by_features)
    repeated = counted(mixture, Rows(Array(np.repeat(X, times, axis=0)), **given), by_features)
    atol = SHARE[dtype] * times.sum() * (1 + float((X**2).sum(1).max()) * 4)
    for a, b in zip(weighted.leaves(), repeated.leaves(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


@EVERY
def test_rows_out_of_reach_of_a_component_count_nothing_for_it(name, device):
    """Float32: 1e21 standard deviations square to infinity, which times a responsibility of 0 is not a number."""
    X = np.array([[0.0, 1e-6], [1e-6, -1e-6], [1e15, 1e15]])
    p = oracle.Parameters(np.array([0.5, 0.5]), np.array([[0.0, 0], [1e15, 1e15]]), np.stack([1e-12 * np.eye(2)] * 2))
    rows = Rows(Array(X), dtype=torch.float32, device=device, origin=torch.zeros(2))
    moments = counted(to_mixture(name, p), rows, by_features=False)
    assert all(bool(t.isfinite().all()) for t in moments.leaves())
    assert moments.n[0].tolist() == [2, 1]


# ---- algebra of the statistics


@EVERY
@pytest.mark.parametrize("components", [1, 3])
def test_move_is_recounting_about_other_means(name, components):
    rng = np.random.default_rng(13)
    mixture, every = batch(name, rng, 2, components, 3)
    X = 2 * rng.normal(size=(60, 3))
    weight = rng.uniform(0, 2, size=60)
    moments = counted(mixture, Rows(Array(X, weight), origin=torch.zeros(3)), by_features=False)
    delta = rng.normal(size=(2, components, 3))
    moved = mixture.covariance.move(moments.s2, moments.s0, moments.s1, tensor(delta))
    for r, p in enumerate(every):
        resp = oracle.responsibilities(X, p) * weight[:, None]
        d = X[:, None] - (p.means + delta[r])
        scatter = np.einsum("nk,nki,nkj->kij", resp, d, d)
        np.testing.assert_allclose(moved[0][r].numpy(), oracle.SECOND[name](scatter), rtol=1e-10, atol=1e-9)


@EVERY
def test_move_is_affine(name):
    rng = np.random.default_rng(14)
    mixture, _ = batch(name, rng, 2, 3, 2)
    scatter = tensor(np.stack([covariances("full", rng, 3, 2) for _ in range(2)]))
    covariance, s2 = mixture.covariance, mixture.covariance.from_scatter(scatter)
    s0, s1, a, b = (tensor(rng.normal(size=s)) for s in ((2, 3), (2, 3, 2), (2, 3, 2), (2, 3, 2)))
    once = covariance.move(s2, s0, s1, a + b)
    twice = covariance.move(covariance.move(s2, s0, s1, a), s0, s1 - s0[..., None] * a, b)
    back = covariance.move(covariance.move(s2, s0, s1, a), s0, s1 - s0[..., None] * a, -a)
    for t, u, v, w in zip(once, twice, s2, back, strict=True):
        torch.testing.assert_close(t, u, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(v, w, rtol=1e-12, atol=1e-12)


@EVERY
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 3), (2, 3, 1), (2, 4, 3)], ids=str)
def test_from_scatter_maximise_and_nearest_are_the_m_step(name, shape):
    restarts, components, features = shape
    rng = np.random.default_rng(15)
    unit = STRUCTURES[name].unit(restarts, components, features)
    scatter = np.stack([covariances("full", rng, components, features) for _ in range(restarts)])
    n = rng.uniform(1, 9, size=(restarts, components))
    s2 = unit.from_scatter(tensor(scatter))
    maximised = unit.maximise(tensor(n), s2, NO_FLOOR).dense()
    nearest = unit.nearest(tensor(n), tensor(scatter / n[..., None, None]), NO_FLOOR).dense()
    for r in range(restarts):
        want = oracle.MAXIMISE[name](n[r], scatter[r])
        np.testing.assert_allclose(s2[0][r].numpy(), oracle.SECOND[name](scatter[r]), rtol=1e-14)
        for found in (maximised, nearest):
            got = found[r].expand(components, -1, -1).numpy()
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=max(1e-13, OFF.get(name, 0) * want.max()))
            # Whatever axes are best to, the likelihood is at its maximum.
            assert oracle.level(n[r], got, scatter[r]) <= oracle.level(n[r], want, scatter[r]) + 1e-9


@EVERY
def test_the_m_step_is_a_maximum(name):
    """No covariance of the structure near the maximised one has a higher expected likelihood."""
    rng = np.random.default_rng(16)
    unit = STRUCTURES[name].unit(1, 3, 3)
    scatter, n = covariances("full", rng, 3, 3), rng.uniform(1, 9, size=3)

    found = unit.maximise(tensor(n)[None], unit.from_scatter(tensor(scatter)[None]), NO_FLOOR).dense()
    found = found.expand(-1, 3, -1, -1)
    best = oracle.level(n, found[0].numpy(), scatter)
    small = 0.1 * float(torch.linalg.eigvalsh(found).min())  # so that what is near stays positive definite
    for _ in range(20):
        noise = small * tensor(rng.normal(size=(1, 3, 3, 3)))
        near = unit.nearest(torch.ones(1, 3).double(), found + noise + noise.mT, NO_FLOOR).dense()
        assert oracle.level(n, near[0].expand(3, -1, -1).numpy(), scatter) > best


@EVERY
def test_em_is_the_oracle(name, device, dtype):
    rng = np.random.default_rng(17)
    X, _ = clusters(rng, 60, 3, 2, apart=2.0)
    X = X.astype(np.float32).astype(np.float64)
    weight = rng.uniform(0.5, 2, size=60)
    p = parameters(name, rng, 3, 2)
    rows = Rows(Array(X, weight), dtype=dtype, device=device)
    origin = rows.origin.double()
    mixture, rule = cold(to_mixture(name, p)).shifted(-origin).to(rows.home), Likelihood(NO_FLOOR)
    tight = dtype == torch.float64
    for _ in range(4):
        loglik, p = oracle.em_step(name, X, p, weight)
        now = turn(mixture, rows, rule)
        assert float(now.bound[0]) == pytest.approx(loglik, abs=max(1e-8, OFF.get(name, 0)) if tight else 0.05)
        mixture = cold(now.next())
        got = to_parameters(mixture.to("cpu").shifted(origin))
        for a, b in zip(got, p, strict=True):
            # Float32: an error of 1e-5 in the first responsibilities, which four steps may amplify.
            np.testing.assert_allclose(a, b, rtol=0, atol=max(1e-10, 10 * OFF.get(name, 0)) if tight else 2e-3)


# ---- linear algebra


@EVERY
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 1), (2, 1, 4), (3, 2, 3)], ids=str)
def test_views_of_the_matrices_agree(name, shape):
    _, components, features = shape
    rng = np.random.default_rng(18)
    mixture, every = batch(name, rng, *shape)
    covariance = mixture.covariance
    x, v = rng.normal(size=(features, 7)), rng.normal(size=shape)
    z = covariance.whiten(tensor(x), mixture.mean)
    solved, packed = covariance.solve(tensor(v)), covariance.precision()
    phi = torch.empty(packed.shape[-1], 7, dtype=torch.float64)
    covariance.quadratic.write(tensor(x), phi)
    assert covariance.quadratic.size(features) == packed.shape[-1]
    for r, p in enumerate(every):
        for k in range(components):
            sigma = p.covariances[k]
            inverse = np.linalg.inv(sigma)
            shared = min(k, covariance.dense().shape[1] - 1)
            np.testing.assert_allclose(covariance.dense()[r, shared].numpy(), sigma, rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(float(covariance.log_det()[r, shared]), np.linalg.slogdet(sigma)[1], atol=1e-12)
            np.testing.assert_allclose(covariance.variances()[r, shared].numpy(), np.diag(sigma), rtol=1e-12)
            np.testing.assert_allclose(solved[r, k].numpy(), inverse @ v[r, k], rtol=1e-10, atol=1e-11)
            d = x - p.means[k][:, None]
            np.testing.assert_allclose(z[r, k].square().sum(0).numpy(), (d * (inverse @ d)).sum(0), rtol=1e-10)
            np.testing.assert_allclose((packed[r, shared] @ phi).numpy(), (x * (inverse @ x)).sum(0), rtol=1e-10)


@EVERY
def test_moment_reads_sums_off_whitened_rows(name):
    rng = np.random.default_rng(19)
    mixture, every = batch(name, rng, 2, 3, 3)
    x, w = rng.normal(size=(3, 25)), rng.uniform(size=(2, 3, 25))
    z = mixture.covariance.whiten(tensor(x), mixture.mean)
    s1, s2 = mixture.covariance.moment(z, tensor(w))
    for r, p in enumerate(every):
        d = x.T[None] - p.means[:, None]
        np.testing.assert_allclose(s1[r].numpy(), np.einsum("kn,kni->ki", w[r], d), rtol=0, atol=1e-11)
        scatter = np.einsum("kn,kni,knj->kij", w[r], d, d)
        np.testing.assert_allclose(s2[0][r].numpy(), oracle.SECOND[name](scatter), rtol=0, atol=1e-10)


@EVERY
def test_from_second_unpacks_sums_of_features(name):
    rng = np.random.default_rng(20)
    unit = STRUCTURES[name].unit(1, 3, 3)
    x, w = rng.normal(size=(3, 25)), rng.uniform(size=(3, 25))
    phi = torch.empty(unit.quadratic.size(3), 25, dtype=torch.float64)
    unit.quadratic.write(tensor(x), phi)
    found = unit.from_second((tensor(w) @ phi.T)[None])
    scatter = np.einsum("kn,in,jn->kij", w, x, x)
    np.testing.assert_allclose(found[0][0].numpy(), oracle.SECOND[name](scatter), rtol=1e-12, atol=1e-12)


# ---- what users see


@EVERY
@pytest.mark.parametrize(("components", "features"), [(1, 1), (1, 3), (3, 1), (3, 4)])
def test_published_matrices_come_back(name, components, features):
    rng = np.random.default_rng(21)
    p = parameters(name, rng, components, features)
    known, want = STRUCTURES[name], oracle.PUBLISH[name](p.covariances)
    covariance = known.adopt(tensor(want), components, features, "covariances")
    published = known.publish(covariance, components, "covariances")
    assert tuple(published.shape) == want.shape == known.published_shape(components, features)
    np.testing.assert_allclose(published.numpy(), want, rtol=1e-12, atol=1e-14)
    inverse = oracle.PUBLISH[name](np.stack([np.linalg.inv(c) for c in p.covariances]))
    precisions = known.publish(covariance, components, "precisions")
    np.testing.assert_allclose(precisions.numpy(), inverse, rtol=1e-10, atol=1e-12)
    again = known.adopt(precisions, components, features, "precisions")
    np.testing.assert_allclose(again.dense().numpy(), covariance.dense().numpy(), rtol=1e-10, atol=1e-12)
    assert again.dense().shape[0] == 1


@EVERY
def test_roots_of_precisions(name):
    rng = np.random.default_rng(22)
    mixture, _ = batch(name, rng, 1, 3, 4)
    root, precision = (
        STRUCTURES[name].publish(mixture.covariance, 3, kind).numpy() for kind in ("precisions_cholesky", "precisions")
    )
    if root.ndim >= 2 and root.shape[-1] == root.shape[-2] == 4:
        np.testing.assert_allclose(root @ root.swapaxes(-1, -2), precision, rtol=1e-10, atol=1e-12)
        assert (np.tril(root, -1) == 0).all()
        assert (np.diagonal(root, axis1=-2, axis2=-1) > 0).all()
    else:
        np.testing.assert_allclose(root**2, precision, rtol=1e-12)


@EVERY
@pytest.mark.parametrize("kind", ["covariances", "precisions"])
def test_matrices_that_are_not_positive_are_refused(name, kind):
    unit = STRUCTURES[name].unit(1, 2, 3)
    good = unit.publish("covariances")
    with pytest.raises(NotPositiveDefinite):
        unit.adopt(-good, kind)
    with pytest.raises(NotPositiveDefinite):
        unit.adopt(0 * good, kind)
    if good.ndim >= 2 and good.shape[-1] == good.shape[-2] == 3:
        skew = good.clone()
        skew[..., 0, 1] += 0.5
        with pytest.raises(NotPositiveDefinite):
            unit.adopt(skew, kind)


@pytest.mark.parametrize("name", CODES)
def test_matrices_of_another_structure_are_refused(name):
    other = tensor(covariances("full", np.random.default_rng(1), 3, 3))
    for kind in ("covariances", "precisions"):
        with pytest.raises(OtherStructure, match="of this structure"):
            STRUCTURES[name].adopt(other, 3, 3, kind)


@EVERY
@pytest.mark.parametrize(("components", "features"), [(1, 1), (1, 3), (2, 1), (3, 4)])
def test_parameters_are_the_rank_of_the_jacobian(name, components, features):
    """Of what makes matrices of the structure of any matrices: its own are what it can give."""
    mixture, (p,) = batch(name, np.random.default_rng(23), 1, components, features)
    unit, one = STRUCTURES[name].unit(1, components, features), torch.ones(1, components).double()
    low = np.tril_indices(features)

    def dense(point):
        matrices = np.zeros_like(p.covariances)
        matrices[:, low[0], low[1]] = point.reshape(components, -1)
        matrices = matrices + matrices.swapaxes(1, 2) - np.einsum("kij,ij->kij", matrices, np.eye(features))
        return unit.nearest(one, tensor(matrices)[None], NO_FLOOR).dense()[0].numpy().ravel()

    point = p.covariances[:, low[0], low[1]].ravel()
    free = mixture.covariance.n_parameters()
    assert free == oracle.rank(dense, point) == oracle.COUNT[name](components, features)
    assert mixture.n_parameters() == components - 1 + components * features + free


@EVERY
def test_unit_is_the_identity(name):
    unit = STRUCTURES[name].unit(2, 3, 4)
    assert torch.equal(unit.dense(), torch.eye(4).double().expand_as(unit.dense()))
    assert all(t.dtype == torch.float64 and t.shape[0] == 2 for t in unit.leaves())
    assert unit.shared == (name in SHARED) == (unit.dense().shape[1] == 1)
    assert unit.own_orientation == (name in OWN_AXES)


# ---- the likelihood


def starts(name, X, restarts, components, seed, floor=NO_FLOOR):
    """Restarts from random partitions of the rows: far from a maximum, nowhere singular."""
    rng = np.random.default_rng(seed)
    r = np.stack([onehot(rng.integers(components, size=len(X)), components).T for _ in range(restarts)])
    unit = STRUCTURES[name].unit(1, components, X.shape[1])
    return mixture_from(tensor(r), Sample(tensor(X), torch.ones(len(X)).double()), unit, Likelihood(floor))


@EVERY
@pytest.mark.parametrize("working", [torch.float64, torch.float32], ids=str)
def test_the_likelihood_never_falls(name, working, device):
    if device.type == "mps" and working == torch.float64:
        pytest.skip("SKIPPED: no float64 on this device")
    X, _ = clusters(np.random.default_rng(24), 600, 4, 3, apart=2.0)
    rows = Rows(Array(X), dtype=working, device=device, origin=torch.zeros(3))
    model = starts(name, X, 3, 4, seed=1).to(rows.home)
    slack = 1e-10 if working == torch.float64 else 1e-5
    before = None
    for count, now in enumerate(em(model, rows, Likelihood(NO_FLOOR))):
        if before is not None:
            assert bool((now.bound >= before - slack * before.abs()).all()), f"{name} fell in pass {count}"
        before = now.bound
        if count == 40:
            break


@EVERY
def test_the_clip_does_nothing_to_sound_matrices(name):
    rng = np.random.default_rng(25)
    unit = STRUCTURES[name].unit(2, 3, 3)
    scatter = tensor(np.stack([covariances("full", rng, 3, 3) for _ in range(2)]))
    n, s2 = torch.full((2, 3), 4.0).double(), unit.from_scatter(scatter)
    free = unit.maximise(n, s2, NO_FLOOR)
    clipped = unit.maximise(n, s2, Floor(torch.full((3,), 1e-6).double()))
    assert all(torch.equal(a, b) for a, b in zip(free.leaves(), clipped.leaves(), strict=True))


@EVERY
def test_collapsed_variances_are_raised_to_the_floor(name):
    least = torch.tensor([1e-3, 4e-2, 1.0]).double()
    unit = STRUCTURES[name].unit(1, 2, 3)
    n = torch.ones(1, 2).double()
    found = unit.maximise(n, unit.from_scatter(torch.zeros(1, 2, 3, 3).double()), Floor(least))
    dense = found.dense()[0]
    want = torch.diag(least.mean().expand(3)) if "spherical" in name else torch.diag(least)
    # Axes that rotations find are those of rounding here.
    atol = 1e-13 if name in ("EVE", "VVE") else 1e-15
    torch.testing.assert_close(dense, want.expand_as(dense), rtol=1e-12, atol=atol)


@pytest.mark.parametrize("name", ["full", "tied"])
def test_only_the_collapsed_eigenvalue_is_raised(name):
    """In coordinates scaled by the floor's roots, eigenvalues below 1 become 1 and the rest stays."""
    rng = np.random.default_rng(26)
    least = np.array([1e-4, 1e-2, 1.0])
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    scaled = axes @ np.diag([1e-3, 2.0, 50.0]) @ axes.T
    raised = axes @ np.diag([1.0, 2.0, 50.0]) @ axes.T
    root = np.sqrt(np.outer(least, least))
    unit = STRUCTURES[name].unit(1, 1, 3)
    found = unit.maximise(
        torch.ones(1, 1).double(), unit.from_scatter(tensor(scaled * root)[None, None]), Floor(tensor(least))
    )
    np.testing.assert_allclose((found.dense()[0, 0].numpy() / root), raised, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["full", "tied"])
@pytest.mark.parametrize("shape", ["singular", "indefinite", "one row"])
def test_flat_scatter_is_raised_not_failed(name, shape):
    least = torch.tensor([1e-12, 1e-12, 1e-12]).double()
    v = torch.tensor([1.0, 2.0, 3.0]).double()
    scatter = {
        "singular": torch.diag(torch.tensor([1.0, 1.0, 0.0]).double()),
        "indefinite": torch.diag(torch.tensor([1.0, 1.0, -1e-17]).double()),  # what rounding makes of a flat one
        "one row": torch.outer(v, v),
    }[shape]
    unit = STRUCTURES[name].unit(1, 1, 3)
    found = unit.maximise(torch.ones(1, 1).double(), unit.from_scatter(scatter[None, None]), Floor(least))
    assert all(bool(t.isfinite().all()) for t in found.leaves())
    smallest = float(torch.linalg.eigvalsh(found.dense()[0, 0])[0])
    # 1e-12 beside a largest eigenvalue of up to 14: eigenvalues are right to 1e-15 or so.
    assert smallest == pytest.approx(1e-12, abs=2e-14)


@EVERY
def test_only_failed_matrices_are_touched(name):
    """A collapsed restart leaves the one beside it bit for bit as it is."""
    rng = np.random.default_rng(27)
    unit = STRUCTURES[name].unit(2, 2, 3)
    good = tensor(covariances("full", rng, 2, 3))[None]
    scatter = torch.cat([good, torch.zeros_like(good)])
    n, floor = torch.ones(2, 2).double(), Floor(torch.full((3,), 1e-9).double())
    together = unit.maximise(n, unit.from_scatter(scatter), floor)
    alone = unit.take(slice(0, 1)).maximise(n[:1], unit.from_scatter(good), floor)
    if name in OFF:  # a round that one restart still needs may be one more for the other
        torch.testing.assert_close(together.dense()[:1], alone.dense(), rtol=1e-10, atol=1e-10)
    else:
        assert all(torch.equal(a[:1], b) for a, b in zip(together.leaves(), alone.leaves(), strict=True))
    assert all(bool(t.isfinite().all()) for t in together.leaves())


@EVERY
@pytest.mark.parametrize("scale", [1e-6, 8.0, 1e5])
def test_the_floor_scales_with_the_data(name, scale):
    rng = np.random.default_rng(28)
    unit = STRUCTURES[name].unit(1, 2, 3)
    flat = covariances("full", rng, 2, 3)
    flat[0] = np.outer([1.0, 2, 3], [1.0, 2, 3])
    flat[1] *= 1e-9
    # Where the floor is round, so is what is raised to it: axes of its own, along which others may differ, are free.
    least = torch.tensor([1e-4, 1e-3, 3e-4]).double()
    n = torch.ones(1, 2).double()
    one = unit.maximise(n, unit.from_scatter(tensor(flat)[None]), Floor(least)).dense()
    scaled = unit.maximise(n, unit.from_scatter(tensor(flat * scale**2)[None]), Floor(least * scale**2)).dense()
    torch.testing.assert_close(scaled / scale**2, one, rtol=1e-9, atol=max(1e-12, OFF.get(name, 0)))


@EVERY
def test_a_ridge_is_added_to_the_scatter(name):
    """Added to matrices, it would leave equal volumes and shapes unequal."""
    rng = np.random.default_rng(29)
    unit = STRUCTURES[name].unit(1, 2, 3)
    scatter, n = covariances("full", rng, 2, 3), np.array([2.0, 5.0])
    found = unit.maximise(tensor(n)[None], unit.from_scatter(tensor(scatter)[None]), Floor(None, 0.25)).dense()[0]
    want = oracle.MAXIMISE[name](n, scatter + 0.25 * n[:, None, None] * np.eye(3))
    off = max(1e-13, OFF.get(name, 0) * want.max())
    np.testing.assert_allclose(found.expand(2, -1, -1).numpy(), want, rtol=1e-12, atol=off)


NESTED = [
    ("tied_spherical", "spherical"),
    ("tied_spherical", "tied_diag"),
    ("tied_diag", "diag"),
    ("tied_diag", "tied"),
    ("spherical", "diag"),
    ("diag", "full"),
    ("tied", "full"),
    *[("tied_diag", code) for code in ("VEI", "EVI")],
    *[
        ("tied_spherical", "EVI"),
        ("spherical", "VEI"),
        ("VEI", "diag"),
        ("EVI", "diag"),
        ("VEI", "VEE"),
        ("EVI", "EVE"),
    ],
    *[("EVI", "EVE"), *(("tied", code) for code in ("VEE", "EVE", "EEV"))],
    *[("VEE", "VVE"), ("VEE", "VEV"), ("EVE", "VVE"), ("EVE", "EVV"), ("EEV", "VEV"), ("EEV", "EVV"), ("diag", "VVE")],
    *[(code, "full") for code in ("VVE", "VEV", "EVV")],
]


@pytest.fixture(scope="module")
def converged():
    X, labels = clusters(np.random.default_rng(30), 400, 3, 3, apart=4.0)
    rows, stop, rule = Rows(Array(X), origin=torch.zeros(3)), Still(1e-11), Likelihood(NO_FLOOR)
    sample, r = Sample(tensor(X), torch.ones(400).double()), tensor(onehot(labels, 3).T)[None]
    found = {}
    for name in STRUCTURES:
        start = mixture_from(r, sample, STRUCTURES[name].unit(1, 3, 3), rule)
        outcome = converge(start, rows, rule, stop, 5000)
        assert bool(outcome.still[0])
        found[name] = outcome.turn
    return found, rows, rule


@pytest.mark.parametrize(("small", "large"), NESTED)
def test_a_larger_model_is_at_least_as_likely(converged, small, large):
    found, _, _ = converged
    assert float(found[large].bound[0]) >= float(found[small].bound[0]) - 1e-6


@pytest.mark.parametrize(("small", "large"), NESTED)
def test_a_larger_model_holds_the_smaller_one(converged, small, large):
    """The smaller model's optimum is a mixture of the larger structure, too, and EM goes up from there."""
    found, rows, rule = converged
    model = found[small].model
    dense = model.covariance.dense().expand(-1, 3, -1, -1)
    wider = STRUCTURES[large].unit(1, 3, 3).nearest(model.log_weight.exp(), dense, NO_FLOOR)
    start = turn(Mixture(model.log_weight, model.mean, wider, Gaussian()), rows, rule)
    assert float(start.bound[0]) == pytest.approx(float(found[small].bound[0]), abs=1e-8)
    assert float(turn(start.next(), rows, rule).bound[0]) >= float(start.bound[0]) - 1e-9


@EVERY
def test_records_of_a_structure_take_and_cat(name):
    mixture, _ = batch(name, np.random.default_rng(31), 4, 3, 2)
    parts = [mixture.take(slice(r, r + 1)) for r in range(4)]
    back = Record.cat(parts)
    assert all(torch.equal(a, b) for a, b in zip(mixture.leaves(), back.leaves(), strict=True))
    rows = Rows(Array(np.random.default_rng(0).normal(size=(20, 2))))
    order = mixture.take(torch.tensor([2, 0]))
    a, b = measure(order, rows, torch.ones(2).bool()), measure(mixture, rows, torch.ones(4).bool())
    torch.testing.assert_close(a.loglik, b.loglik[[2, 0]], rtol=1e-13, atol=0)
