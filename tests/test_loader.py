"""Batches of a DataLoader: the same rows every pass, refused where the order is random, and nothing global moved."""

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from mixtura.data.columns import NoColumn, Wanted
from mixtura.data.loader import open_source
from mixtura.data.scan import scan
from mixtura.data.stream import Changed

N, D = 83, 3
X = torch.randn(N, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Rows(Dataset):
    """One row at a time, as whatever ``make`` makes of it."""

    def __init__(self, make=lambda x: x, x=X):
        self.make, self.x = make, x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, at):
        return self.make(self.x[at])


class Streamed(IterableDataset):
    """Items one after another, with no index."""

    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


class Anew:
    """Batches of no library."""

    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


LOADERS = {
    "tensors": lambda: DataLoader(Rows(), batch_size=10),
    "one row a batch": lambda: DataLoader(Rows(), batch_size=1),
    "one batch": lambda: DataLoader(Rows(), batch_size=N),
    "tensor data set": lambda: DataLoader(TensorDataset(X), batch_size=10),
    "with labels": lambda: DataLoader(TensorDataset(X, torch.arange(N)), batch_size=10),
    "dicts": lambda: DataLoader(Rows(lambda x: {"y": 0, "x": x}), batch_size=10),
    "NumPy": lambda: DataLoader(Rows(), batch_size=10, collate_fn=lambda rows: np.stack([row.numpy() for row in rows])),
    "grad": lambda: DataLoader(Rows(), batch_size=10, collate_fn=lambda rows: torch.stack(rows).requires_grad_()),
    "iterable data set": lambda: DataLoader(Streamed(X), batch_size=10),
    "batches of the data set's own": lambda: DataLoader(Streamed(X.split(10)), batch_size=None),
    "batch sampler": lambda: DataLoader(Rows(), batch_sampler=BatchSampler(SequentialSampler(X), 10, False)),
    "subset": lambda: DataLoader(Subset(Rows(), range(N)), batch_size=10),
    "distributed": lambda: DataLoader(Rows(), 10, sampler=DistributedSampler(X, 1, 0, shuffle=False)),
    "other iterable": lambda: Anew(*X.split(10)),
    "empty batches between": lambda: Anew(X[:40], X[:0], X[40:]),
}


def values(source, size=7, part=(0, 1)):
    return torch.cat([block.x for block in source.blocks(size, part)])


@pytest.mark.parametrize("kind", list(LOADERS))
def test_rows_come_in_order_in_every_pass(kind):
    source = open_source(LOADERS[kind](), Wanted())
    assert source.shape == (None, D)
    for _ in range(2):
        assert torch.equal(values(source), X)
        assert source.shape == (N, D)
    assert not values(source).requires_grad
    assert torch.equal(torch.cat([values(source, 7, (i, 3)) for i in range(3)]), X)


def test_workers_change_nothing():
    loader = DataLoader(Rows(), batch_size=10, num_workers=2)
    source = open_source(loader, Wanted())
    assert torch.equal(values(source), X)


@pytest.mark.parametrize(
    ("stored", "given"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.int64, torch.float64),
        (torch.uint8, torch.float64),
        (torch.bool, torch.float64),
    ],
)
def test_dtypes(stored, given):
    x = (X.abs() * 20).to(stored)
    found = values(open_source(DataLoader(Rows(x=x), batch_size=10), Wanted()))
    assert found.dtype == given
    assert torch.equal(found, x.to(given))


def test_columns_are_called_by_their_index():
    loader = DataLoader(Rows(), batch_size=10)
    source = open_source(loader, Wanted())
    assert (source.about.names, source.about.named) == (("0", "1", "2"), False)
    source = open_source(loader, Wanted(columns=("2", "0")))
    assert (source.about.names, source.about.left_out) == (("2", "0"), ("1",))
    assert torch.equal(values(source), X[:, [2, 0]])
    with pytest.raises(NoColumn, match="the DataLoader has no column '3'; it has '0', '1', '2'"):
        open_source(loader, Wanted(columns=("3",)))


def test_scan_takes_a_loader():
    source = scan(DataLoader(Rows(), batch_size=10), ["1"], transform="asinh", cofactor=2)
    assert torch.allclose(values(source), torch.asinh(X[:, [1]] / 2))
    with pytest.raises(ValueError, match="separator=';' has no meaning"):
        scan(DataLoader(Rows(), batch_size=10), separator=";")


def test_rows_that_are_dropped_are_told():
    source = open_source(DataLoader(Rows(), batch_size=10, drop_last=True), Wanted())
    assert torch.equal(values(source), X[:80])
    assert source.about.told == ("Rows of an incomplete last batch are left out (drop_last).",)


def test_the_global_stream_stays_where_it_is():
    """A DataLoader draws a seed for its workers whenever it is iterated."""
    before = torch.random.get_rng_state()
    source = open_source(DataLoader(Rows(), batch_size=10), Wanted())
    values(source)
    assert torch.equal(torch.random.get_rng_state(), before)


WEIGHT = torch.ones(N)
SHUFFLED = {
    "shuffle": lambda: DataLoader(Rows(), batch_size=10, shuffle=True),
    "seeded": lambda: DataLoader(Rows(), batch_size=10, shuffle=True, generator=torch.Generator().manual_seed(0)),
    "RandomSampler": lambda: DataLoader(Rows(), batch_size=10, sampler=RandomSampler(X)),
    "WeightedRandomSampler": lambda: DataLoader(Rows(), batch_size=10, sampler=WeightedRandomSampler(WEIGHT, N)),
    "SubsetRandomSampler": lambda: DataLoader(Rows(), batch_size=10, sampler=SubsetRandomSampler(range(N))),
    "batches of one": lambda: DataLoader(Rows(), batch_sampler=BatchSampler(RandomSampler(X), 10, False)),
    "rows of one": lambda: DataLoader(Rows(lambda x: x[None]), batch_size=None, sampler=RandomSampler(X)),
    "distributed": lambda: DataLoader(Rows(), 10, sampler=DistributedSampler(X, 2, 0)),
}


@pytest.mark.parametrize("kind", list(SHUFFLED))
def test_a_random_order_is_refused(kind):
    with pytest.raises(ValueError, match=r"the DataLoader shuffles \(\w+Sampler\), but every pass needs the same rows"):
        open_source(SHUFFLED[kind](), Wanted())


class Shuffling(SequentialSampler):
    """A sampler of somebody's own."""

    def __iter__(self):
        self.passes = getattr(self, "passes", 0) + 1
        return iter(np.random.default_rng(self.passes).permutation(N).tolist())


def test_an_order_that_turns_out_random_is_noticed():
    source = open_source(DataLoader(Rows(), batch_size=10, sampler=Shuffling(X)), Wanted())
    with pytest.raises(Changed, match="the DataLoader gave another first batch than before"):
        values(source)


def test_rows_that_go_missing_are_noticed():
    batches = Anew(*X.split(10))
    source = open_source(batches, Wanted())
    values(source)
    batches.batches = batches.batches[:-1]
    with pytest.raises(Changed, match="the Anew gave 80 rows in this pass, 83 before"):
        values(source)


BAD = {
    "a generator": (lambda: (b for b in X.split(10)), TypeError, "the generator can be iterated only once"),
    "an iterator": (lambda: iter(DataLoader(Rows())), TypeError, "can be iterated only once"),
    "no iterable": (lambda: 3, TypeError, "the int cannot be iterated"),
    "nothing": (lambda: DataLoader(Rows(x=X[:0])), ValueError, "gave no batches"),
    "dropped": (lambda: DataLoader(Rows(), batch_size=100, drop_last=True), ValueError, "gave no batches.*drop_last"),
    "single rows": (lambda: DataLoader(Rows(), batch_size=None), ValueError, r"shape \(3,\).*batch_size"),
    "images": (lambda: Anew(X.reshape(1, N, D)), ValueError, r"shape \(1, 83, 3\), expected \(N, D\).*reshape"),
    "a number": (lambda: Anew(X[0, 0]), ValueError, r"shape \(\), expected \(N, D\)"),
    "no columns": (lambda: Anew(X[:, :0]), ValueError, "has no column: there is nothing to fit"),
    "text": (lambda: Anew(("a", "b")), TypeError, "batch 0 of the Anew holds a str"),
    "nested": (lambda: Anew([[X]]), TypeError, "holds a list"),
    "an empty tuple": (lambda: Anew(()), TypeError, "holds a tuple"),
    "text arrays": (lambda: Anew(np.array([["a"]])), TypeError, "holds an array of <U1"),
    "a dict without x": (lambda: Anew({"image": X}), TypeError, r"a dict without 'x': its keys are \['image'\]"),
    "complex": (lambda: Anew(X.to(torch.complex128)), ValueError, "complex128.*expected dense real numbers"),
    "sparse": (lambda: Anew(X.to_sparse()), ValueError, "sparse_coo, expected dense real numbers"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_loaders_are_refused_in_a_sentence(case):
    make, kind, said = BAD[case]
    with pytest.raises(kind, match=said) as caught:
        open_source(make(), Wanted())
    assert "\n" not in str(caught.value)


BAD_LATER = {
    "width": ((X, X[:, :2]), "batch 1 of the Anew has 2 columns, the first had 3"),
    "dtype": ((X, X.float()), "batch 1 of the Anew is float32, the first was float64"),
    "shape": ((X, X[0]), r"batch 1 of the Anew has shape \(3,\)"),
}


@pytest.mark.parametrize("case", list(BAD_LATER))
def test_batches_that_differ_are_refused(case):
    batches, said = BAD_LATER[case]
    source = open_source(Anew(*batches), Wanted())
    with pytest.raises(ValueError, match=said):
        values(source)


def test_no_rows_at_all():
    source = open_source(Anew(X[:0]), Wanted())
    with pytest.raises(ValueError, match="the Anew gave no rows"):
        values(source)


@pytest.mark.parametrize("argument", ["weight", "id"])
def test_batches_hold_rows_alone(argument):
    with pytest.raises(ValueError, match=f"{argument} is '0', but batches hold rows alone"):
        open_source(DataLoader(Rows()), Wanted(**{argument: "0"}))


def test_any_iterable_of_batches_that_begins_anew_is_scanned():
    class Batches:
        def __iter__(self):
            return (torch.full((3, 2), float(i)) for i in range(4))

    source = scan(Batches())
    for _ in range(2):
        x = torch.cat([block.x for block in source.blocks(5)])
        assert x[:, 0].tolist() == [float(i) for i in range(4) for _ in range(3)]
    with pytest.raises(TypeError, match="can be iterated only once"):
        scan(iter(Batches()))
