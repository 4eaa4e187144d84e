"""Record: one walk gives addition, selection, joining and moving to every type."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from mixtura.record import Record


@dataclass(frozen=True, eq=False)
class Leaf(Record):
    a: Tensor
    size: int


@dataclass(frozen=True, eq=False)
class Tree(Record):
    first: Tensor
    inner: Leaf
    several: tuple[Tensor, ...]
    word: str


def tree(restarts, seed=0):
    g = torch.Generator().manual_seed(seed)
    make = lambda *shape: torch.randn(restarts, *shape, generator=g, dtype=torch.float64)  # noqa: E731
    return Tree(make(2), Leaf(make(3, 4), 7), (make(1), make(2, 2)), "word")


def same(a, b):
    return len(a.leaves()) == len(b.leaves()) and all(map(torch.equal, a.leaves(), b.leaves()))


def test_map_reaches_every_leaf_and_keeps_statics():
    t = tree(3)
    doubled = t.map(lambda x: 2 * x)
    assert [tuple(x.shape) for x in t.leaves()] == [(3, 2), (3, 3, 4), (3, 1), (3, 2, 2)]
    assert all(torch.equal(a, 2 * b) for a, b in zip(doubled.leaves(), t.leaves(), strict=True))
    assert (doubled.inner.size, doubled.word) == (7, "word")
    assert isinstance(doubled, Tree)
    assert isinstance(doubled.inner, Leaf)


def test_map_takes_the_same_leaf_of_others():
    a, b = tree(2), tree(2, seed=1)
    assert same(a.map(lambda x, y: x - y, b) + b, a.map(lambda x, y: (x - y) + y, b))


def test_addition_is_leaf_by_leaf_and_leaves_its_terms_alone():
    a, b = tree(2), tree(2, seed=1)
    kept = a.map(torch.clone)
    total = a + b
    assert all(torch.equal(s, x + y) for s, x, y in zip(total.leaves(), a.leaves(), b.leaves(), strict=True))
    assert same(a, kept)


@pytest.mark.parametrize("at", [slice(1, 3), torch.tensor([3, 0, 0]), torch.tensor([True, False, False, True]), [2]])
def test_take_selects_restarts_and_keeps_the_axis(at):
    t = tree(4)
    taken = t.take(at)
    assert all(torch.equal(a, b[at]) for a, b in zip(taken.leaves(), t.leaves(), strict=True))
    assert all(a.ndim == b.ndim for a, b in zip(taken.leaves(), t.leaves(), strict=True))


def test_cat_is_the_inverse_of_take():
    t = tree(4)
    assert same(Record.cat([t.take(slice(r, r + 1)) for r in range(4)]), t)
    assert same(Record.cat([t.take([0, 2]), t.take([1, 3])]).take([0, 2, 1, 3]), t)
    assert Record.cat([t]) is t


def test_to_converts_every_leaf():
    single = tree(2).to(torch.float32)
    assert all(x.dtype == torch.float32 for x in single.leaves())
    assert single.word == "word"


def test_records_are_frozen():
    with pytest.raises(AttributeError):
        tree(1).first = torch.zeros(1)


def test_unlike_tuples_are_an_error():
    a, b = tree(1), tree(1)
    with pytest.raises(ValueError, match=r"zip|longer|shorter"):
        a + Tree(b.first, b.inner, b.several[:1], b.word)
