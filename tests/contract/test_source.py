"""What every source promises: the same rows in the same order in every pass, whatever the blocks; weights follow."""

import warnings

import numpy as np
import pytest
import torch

from mixtura.data import Array
from mixtura.rows import Rows

N, D = 83, 3
X = np.random.default_rng(0).normal(size=(N, D)) * [1, 1e3, 1e-3]
WEIGHT = np.random.default_rng(1).uniform(size=N)


def memmap(tmp_path, mode):
    path = tmp_path / "rows.npy"
    np.save(path, X)
    return np.load(path, mmap_mode=mode)


def frozen(a):
    a = a.copy()
    a.flags.writeable = False
    return a


KINDS = {
    "numpy": lambda tmp: X,
    "float32": lambda tmp: X.astype(np.float32),
    "torch": lambda tmp: torch.from_numpy(X.copy()),
    "torch, transposed": lambda tmp: torch.from_numpy(X.T.copy()).T,
    "memmap, read-only": lambda tmp: memmap(tmp, "r"),
    "memmap": lambda tmp: memmap(tmp, "r+"),
    "read-only": lambda tmp: frozen(X),
    "Fortran": lambda tmp: np.asfortranarray(X),
    "rows reversed": lambda tmp: X[::-1].copy()[::-1],
    "columns reversed": lambda tmp: X[:, ::-1].copy()[:, ::-1],
    "every second row": lambda tmp: np.repeat(X, 2, axis=0)[::2],
    "every second column": lambda tmp: np.repeat(X, 2, axis=1)[:, ::2],
}

WEIGHTS = {
    "none": lambda: None,
    "numpy": lambda: WEIGHT,
    "float32": lambda: WEIGHT.astype(np.float32),
    "torch": lambda: torch.from_numpy(WEIGHT.copy()),
    "read-only": lambda: frozen(WEIGHT),
    "reversed": lambda: WEIGHT[::-1].copy()[::-1],
    "every second": lambda: np.repeat(WEIGHT, 2)[::2],
    "integers": lambda: np.arange(N),
}


@pytest.fixture(params=list(KINDS))
def array(request, tmp_path):
    return KINDS[request.param](tmp_path)


def read(source, size):
    blocks = list(source.blocks(size))
    assert [b.start for b in blocks] == list(range(0, len(torch.cat([b.x for b in blocks])), size))
    assert all(len(b.x) <= size for b in blocks)
    x = torch.cat([b.x for b in blocks])
    return x, None if blocks[0].weight is None else torch.cat([b.weight for b in blocks])


@pytest.mark.parametrize("size", [1, 7, N - 1, N, 1000])
def test_blocks_of_any_size_give_the_rows_in_order(array, size):
    source = Array(array, WEIGHT)
    assert source.shape == (N, D)
    for _ in range(2):
        x, weight = read(source, size)
        assert torch.equal(x, torch.from_numpy(np.asarray(array).copy()))
        np.testing.assert_array_equal(weight.numpy(), WEIGHT)


def test_storage_dtype_is_kept(array):
    (block,) = Array(array).blocks(N)
    assert str(block.x.dtype).removeprefix("torch.") == str(array.dtype).removeprefix("torch.")
    assert block.weight is None


@pytest.mark.parametrize("kind", list(WEIGHTS))
def test_weights_of_any_kind_follow_their_rows(kind):
    weight = WEIGHTS[kind]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = Array(X, weight)
    _, found = read(source, 10)
    if weight is None:
        assert found is None
    else:
        assert found.dtype == torch.float64
        np.testing.assert_array_equal(found.numpy(), np.asarray(weight))


def test_reading_warns_of_nothing_and_changes_nothing(array):
    before = np.asarray(array).copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in Array(array).blocks(10):
            assert block.x.shape[1] == D
    np.testing.assert_array_equal(np.asarray(array), before)


def test_rows_see_the_same_numbers(array, device):
    rows = Rows(Array(array, WEIGHT), device=device, dtype=torch.float32, resident=0)
    x = torch.cat([c.x for c in rows.chunks(20)], 1).cpu().double().T + rows.origin.double()
    # Rounded once, after centring.
    scale = torch.tensor([1, 1e3, 1e-3]).double()
    assert float(((x - torch.from_numpy(X)) / scale).abs().max()) < 4 * 2**-23


def test_a_memory_map_is_read_block_by_block(tmp_path):
    """A block shares no memory with more of the map than it shows."""
    source = Array(memmap(tmp_path, "r"))
    block = next(source.blocks(5))
    assert block.x.untyped_storage().nbytes() == 5 * D * 8
