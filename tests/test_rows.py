"""Rows: centring, casting, chunking and adding up."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from cases import Cut
from torch import Tensor

from mixtura.covariance.quadratic import NORM, SQUARES, VECH
from mixtura.data import About, Array
from mixtura.record import Record
from mixtura.room import BUDGET, FEWEST, MOST
from mixtura.rows import DERIVED, Rows, Scratch, weighted_mean


@dataclass(frozen=True, eq=False)
class Sum(Record):
    x: Tensor  # (1, D)
    n: Tensor  # (1,)


def sums(chunk):
    wide = chunk.x.to(torch.float32 if chunk.x.device.type == "mps" else torch.float64)
    weight = wide.new_ones(wide.shape[1]) if chunk.weight is None else chunk.weight.to(wide)
    return Sum((wide @ weight)[None], weight.sum()[None])


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(1700, 3)) * [1, 10, 0.1] + [5, -300, 0]


def test_the_origin_is_the_weighted_mean_in_the_storage_dtype(X):
    weight = np.random.default_rng(1).uniform(size=len(X))
    assert torch.equal(Rows(Array(X)).origin, weighted_mean(Array(X)))
    np.testing.assert_allclose(Rows(Array(X)).origin.numpy(), X.mean(0), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(
        weighted_mean(Array(X, weight)).numpy(), np.average(X, axis=0, weights=weight), rtol=1e-13, atol=1e-13
    )
    single = Rows(Array(X.astype(np.float32)))
    assert single.origin.dtype == torch.float32
    np.testing.assert_allclose(single.origin.numpy(), X.mean(0).astype(np.float32), rtol=1e-6)


@pytest.mark.parametrize("resident", [0, 1 << 30])
def test_a_float64_origin_does_not_promote_float32_rows(X, resident):
    weight = np.ones(len(X), dtype=np.float32)
    rows = Rows(
        Array(X.astype(np.float32), weight), origin=torch.tensor([5.0, -300.0, 0.1]).double(), resident=resident
    )
    assert rows.dtype == rows.origin.dtype == torch.float32
    assert all(c.x.dtype == c.weight.dtype == torch.float32 for c in rows.chunks())


def test_float64_rows_are_centred_before_they_are_cast_down(X):
    far = X + 1e7
    rows = Rows(Array(far), dtype=torch.float32)
    x = torch.cat([c.x for c in rows.chunks()], 1)
    assert x.dtype == torch.float32
    assert rows.origin.dtype == torch.float64
    want = (far - rows.origin.numpy()).astype(np.float32)
    np.testing.assert_array_equal(x.numpy().T, want)
    # Cast first, a column of width 0.1 at 1e7 would have steps of 1.
    assert float((x[2].std() - 0.1).abs()) < 0.02


def test_float32_rows_far_away_keep_every_digit():
    X = (1e4 + np.random.default_rng(2).normal(size=(50, 2))).astype(np.float32)
    rows = Rows(Array(X))
    (chunk,) = rows.chunks()
    exact = X.astype(np.float64) - rows.origin.double().numpy()
    np.testing.assert_array_equal(chunk.x.double().numpy().T, exact)


def test_float32_rows_may_be_counted_in_float64(X):
    rows = Rows(Array(X.astype(np.float32)), dtype=torch.float64)
    (chunk,) = rows.chunks()
    assert chunk.x.dtype == torch.float64
    np.testing.assert_array_equal(chunk.x.numpy().T, X.astype(np.float32).astype(float) - rows.origin.double().numpy())


@pytest.mark.parametrize("resident", [0, 1 << 30])
@pytest.mark.parametrize("cut", [1, 100, 512, 5000])
def test_chunks_cover_the_rows_in_order(X, resident, cut, device, dtype):
    weight = np.random.default_rng(1).uniform(size=len(X))
    rows = Rows(Array(X, weight), resident=resident, device=device, dtype=dtype)
    for _ in range(2):
        chunks = list(rows.chunks(cut))
        assert [c.start for c in chunks] == list(range(0, len(X), cut))
        assert all(c.x.shape[1] <= cut and c.x.shape[1] == len(c.weight) for c in chunks)
        assert all(c.x.dtype == dtype and c.x.device.type == device.type for c in chunks)
        x = torch.cat([c.x for c in chunks], 1).cpu().double().T + rows.origin.double()
        np.testing.assert_allclose(x.numpy(), X, rtol=0, atol=1e-12 if dtype == torch.float64 else 1e-5)
        w = torch.cat([c.weight for c in chunks]).cpu()
        np.testing.assert_array_equal(w.numpy(), weight.astype(w.numpy().dtype))


def test_rows_without_weights_count_once(X):
    assert all(c.weight is None for c in Rows(Array(X)).chunks())


def test_the_empty_chunk_is_the_zero(X, device, dtype):
    rows = Rows(Array(X), device=device, dtype=dtype)
    empty = rows.empty()
    assert empty.x.shape == (3, 0)
    assert empty.weight is None
    assert empty.x.dtype == dtype
    assert float(sums(empty).n[0]) == 0


def test_sum_adds_chunks_in_float64_at_home(X, device, dtype):
    sizes = []

    def count(chunk):
        sizes.append(chunk.x.shape[1])
        return sums(chunk)

    rows = Rows(Array(X), device=device, dtype=dtype, budget=800 * 100)
    total = rows.sum(count, 100)
    assert sizes == [800, 800, 100]
    assert total.x.dtype == total.n.dtype == torch.float64
    assert total.x.device == rows.home
    assert float(total.n[0]) == len(X)
    back = total.x[0].cpu() + len(X) * rows.origin.double()
    np.testing.assert_allclose(back.numpy(), X.sum(0), rtol=0, atol=1e-8 if dtype == torch.float64 else 0.05)


@pytest.mark.parametrize(("bytes_per_row", "want"), [(1, MOST), (0, MOST), (10**12, FEWEST), (BUDGET // 1000, 1000)])
def test_the_budget_decides_the_rows_of_a_chunk(bytes_per_row, want):
    X = np.zeros((MOST + 1, 1))
    largest = []

    def count(chunk):
        largest.append(chunk.x.shape[1])
        return sums(chunk)

    Rows(Array(X)).sum(count, bytes_per_row)
    assert max(largest) == want


def test_sum_leaves_what_a_count_returns_alone(X):
    """A count may keep its result, or let one leaf be a view of another."""
    kept = []

    def count(chunk):
        both = torch.ones(1, 2).double() * chunk.x.shape[1]
        kept.append((both, both.clone()))
        return Sum(both, both[:, 0])

    rows = Rows(Array(X), budget=1)
    total = rows.sum(count, 1)
    assert float(total.n[0]) == float(total.x[0, 0]) == len(X)
    assert all(torch.equal(a, b) for a, b in kept)


@pytest.mark.parametrize("quadratic", [VECH, SQUARES, NORM], ids=lambda q: type(q).__name__)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("resident", [0, 1 << 30])
def test_total_is_the_sum_of_the_features(X, quadratic, weighted, resident, device, dtype):
    weight = np.random.default_rng(1).integers(0, 3, size=len(X)).astype(float) if weighted else None
    source = Cut(Array(X, weight), 600)
    rows = Rows(source, device=device, dtype=dtype, resident=resident, budget=1)
    x = torch.cat([c.x for c in rows.chunks()], 1).cpu().double().numpy()
    w = np.ones(len(X)) if weight is None else weight
    want = {
        VECH: [w @ (x[i] * x[j]) for i in range(3) for j in range(i + 1)],
        SQUARES: [w @ x[i] ** 2 for i in range(3)],
        NORM: [w @ (x**2).sum(0)],
    }[quadratic]
    total = rows.total(quadratic)
    assert total.dtype == torch.float64
    np.testing.assert_allclose(total.cpu().numpy(), want, rtol=1e-12)
    assert rows.total(quadratic) is total


def test_quadratic_features_are_linear_in_matrices():
    rng = np.random.default_rng(3)
    a = rng.normal(size=(2, 4, 4))
    symmetric = torch.from_numpy(a + a.swapaxes(1, 2))
    x = torch.from_numpy(rng.normal(size=(4, 6)))
    phi = torch.empty(VECH.size(4), 6).double()
    VECH.write(x, phi)
    want = torch.einsum("in,bij,jn->bn", x, symmetric, x)
    torch.testing.assert_close(VECH.pack(symmetric) @ phi, want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(VECH.unpack(phi.T, 4), torch.einsum("in,jn->nij", x, x), rtol=0, atol=0)


def test_streamed_rows_are_read_in_every_pass(X):
    class Noted:
        shape, about, reads = X.shape, About(), 0

        def blocks(self, rows, part=(0, 1), *, ids=False):
            Noted.reads += 1
            return Array(X).blocks(rows)

    rows = Rows(Noted(), origin=torch.zeros(3), resident=0)
    before = Noted.reads
    list(rows.chunks())
    list(rows.chunks())
    assert Noted.reads == before + 2
    kept = Rows(Noted(), origin=torch.zeros(3))
    before = Noted.reads
    list(kept.chunks())
    assert Noted.reads == before


def test_what_is_derived_is_kept_within_its_bound():
    scratch, made = Scratch(), []

    def make(at):
        made.append(at)
        return torch.full((DERIVED // 3 // 8,), float(at), dtype=torch.float64)

    for at in (0, 1, 0, 2, 0):
        assert float(scratch.derived((at,), lambda at=at: make(at))[0]) == at
    assert made == [0, 1, 2]
    scratch.derived((3,), lambda: make(3))
    scratch.derived((0,), lambda: make(0))
    assert made == [0, 1, 2, 3, 0]
