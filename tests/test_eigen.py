"""Covariances by volume, shape and orientation: rounds that find them, and the axes that components share."""

import itertools

import numpy as np
import oracle
import pytest
import torch
from cases import CODES, tensor

from mixtura.covariance import Floor
from mixtura.covariance.axes import along, own_axes, tournament, turned
from mixtura.covariance.eigen import Eigen
from mixtura.covariance.likeliest import Parts, Problem
from mixtura.native import eigen as native
from mixtura.native.library import library
from mixtura.record import Record

EVERY = pytest.mark.parametrize("code", CODES)
NO_FLOOR = Floor()


@pytest.fixture(params=["compiled", "torch"], autouse=True)
def way(request, monkeypatch):
    """Every test runs by the compiled M-step and by PyTorch's operations."""
    if request.param == "torch":
        monkeypatch.setattr(native, "serves", lambda problem: False)
    elif library().handle is None:
        pytest.skip(f"SKIPPED: {library()}")


def unit(code, restarts, components, features):
    return Eigen.spelled(code)(restarts, components, features)


def scatters(rng, components, features):
    """Of clusters whose axes are not far from each other's, so that axes that suit all are clear."""
    rows = rng.normal(size=(components, 5 * features, features)) * rng.uniform(0.5, 2, size=(components, 1, features))
    turn = 0.25 * rng.normal(size=(components, features, features)) + rng.normal(size=(features, features))
    return np.stack([r.T @ r for r in rows @ turn])


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
    shape = torch.tensor([4.0, 0.25]).double()
    spread = torch.tensor([[[3.0], [5.0]]]).double() * shape
    begun = Parts(torch.ones(1, 2).double(), torch.ones(1, 1, 2).double(), None)
    problem = Problem(torch.tensor([[2.0, 4.0]]).double(), spread, None, begun, warm=False, blind=False)
    volume, found = problem.sizes(spread, begun.volume)
    torch.testing.assert_close(volume, torch.tensor([[3.0, 5.0]]).double())
    torch.testing.assert_close(found, shape[None, None])


# ---- the compiled M-step


@EVERY
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("least", [None, 1e-6, 0.5])
@pytest.mark.parametrize(("components", "features"), [(1, 1), (1, 3), (3, 1), (2, 2), (4, 5), (3, 8)])
def test_the_compiled_m_step_is_the_same_round_by_round(code, warm, least, components, features, way):
    if library().handle is None or way == "torch":
        pytest.skip("SKIPPED: compares the two, which once is enough for")
    rng = np.random.default_rng(5)
    n = tensor(rng.uniform(1, 9, size=(3, components)))
    second = tensor(np.stack([scatters(rng, components, features) for _ in range(3)])) / 9
    if code.endswith("I"):
        second = second.diagonal(dim1=-2, dim2=-1)
    kind = unit(code, 3, components, features)
    axes = kind.axes
    if axes is not None:
        axes = torch.linalg.qr(tensor(rng.normal(size=axes.shape)))[0]
    volume = tensor(rng.uniform(0.5, 2, size=kind.volume.shape))
    floor = None if least is None else tensor(least * rng.uniform(0.5, 2, size=features))
    problem = Problem(n, second, floor, Parts(volume, kind.shape, axes), warm, blind=False)
    ours, theirs = native.solve(problem), problem.solve()
    assert torch.equal(ours.doubtful, theirs.doubtful)
    ours, theirs = (Eigen(*found.parts) for found in (ours, theirs))
    torch.testing.assert_close(ours.dense(), theirs.dense(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.volume, theirs.volume, rtol=1e-9, atol=1e-9)


@EVERY
def test_components_without_rows_leave_the_others_as_they_are(code):
    rng = np.random.default_rng(6)
    n, scatter = tensor(rng.uniform(1, 9, size=(1, 3))), tensor(scatters(rng, 3, 3))[None]
    kind = unit(code, 1, 3, 3)
    alone = kind.maximise(n, kind.from_scatter(scatter), NO_FLOOR)
    more = torch.cat([n, torch.zeros(1, 1).double()], 1)
    wider = torch.cat([scatter, torch.zeros(1, 1, 3, 3).double()], 1)
    found = unit(code, 1, 4, 3).maximise(more, kind.from_scatter(wider), NO_FLOOR)
    torch.testing.assert_close(found.dense()[:, :3], alone.dense(), rtol=1e-7, atol=1e-7)
    assert bool(found.dense().isfinite().all())
    assert bool((torch.linalg.eigvalsh(found.dense()) > 0).all())
