"""What every source promises: the same rows in the same order in every pass, whatever the blocks; weights follow."""

import os
import re
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import torch
from annotated import annotated
from scipy import sparse

import mixtura
from mixtura.data import Array
from mixtura.data.base import Source
from mixtura.data.scan import KINDS, kind_of, scan
from mixtura.data.spool import Spool, Straight, settled
from mixtura.data.stream import Changed
from mixtura.rows import Rows

N, D = 83, 3
X = np.random.default_rng(0).normal(size=(N, D)) * [1, 1e3, 1e-3]
WEIGHT = np.random.default_rng(1).uniform(size=N)
WEIGHT[::9] = 0  # rows that do not count, but are labelled
IDS = [f"row {i}" for i in range(N)]


def frozen(a):
    a = a.copy()
    a.flags.writeable = False
    return a


ARRAYS = {
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
"""Arrays in every layout."""


def memmap(tmp_path, mode):
    path = tmp_path / "rows.npy"
    np.save(path, X)
    return np.load(path, mmap_mode=mode)


def frame():
    return pd.DataFrame({"cell": IDS, "a": X[:, 0], "w": WEIGHT, "b": X[:, 1], "c": X[:, 2]})


def arrow(groups=None):
    return pa.Table.from_pandas(frame(), preserve_index=False)


def with_weight():
    return np.column_stack([X, WEIGHT])


def written(path, write):
    write(path)
    return path


def saved(tmp, array):
    return written(tmp / "rows.npy", lambda p: np.save(p, array))


def archive(path, save, array):
    save(path, rows=array)
    return path


def feather(tmp):
    return written(tmp / "rows.feather", lambda p: pyarrow.feather.write_feather(arrow(), str(p), chunksize=17))


def parquet(tmp, **options):
    return written(tmp / "rows.parquet", lambda p: pq.write_table(arrow(), p, **options))


def fcs(tmp):
    sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "data"))
    try:
        from make_fcs import write
    finally:
        sys.path.pop(0)
    keywords = {"$BYTEORD": "1,2,3,4", "$DATATYPE": "D", "$MODE": "L", "$PAR": str(D + 1), "$TOT": str(N)}
    for n, name in enumerate(["a", "b", "c", "w"], 1):
        keywords |= {f"$P{n}B": "64", f"$P{n}E": "0,0", f"$P{n}N": name, f"$P{n}R": "1024"}
    return written(tmp / "rows.fcs", lambda p: write(p, keywords, with_weight().astype("<f8").tobytes()))


def loader(tmp):
    return torch.utils.data.DataLoader(torch.from_numpy(X.copy()), batch_size=10)


def cells():
    """The same rows as X, in sparse and dense layers and in obsm."""
    made = annotated(X, IDS, w=WEIGHT, cell=pd.Categorical(IDS))
    made.layers["csr"] = sparse.csr_matrix(X)
    made.obsm["X_rows"] = np.column_stack([X, np.zeros(N)])
    made.obsm["frame"] = pd.DataFrame(X, columns=["a", "b", "c"], index=made.obs_names)
    return made


def h5ad(tmp, **options):
    return written(tmp / "rows.h5ad", lambda p: cells().write_h5ad(p, **options))


NAMED = {"columns": ["a", "b", "c"], "weight": "w", "id": "cell"}
COUNTED = {"columns": ["0", "1", "2"], "weight": "3"}

SUBJECTS = {
    "csv": (lambda tmp: written(tmp / "rows.csv", lambda p: frame().to_csv(p, index=False)), NAMED),
    "csv, compressed": (lambda tmp: written(tmp / "rows.csv.gz", lambda p: frame().to_csv(p, index=False)), NAMED),
    "tsv": (lambda tmp: written(tmp / "rows.tsv", lambda p: frame().to_csv(p, index=False, sep="\t")), NAMED),
    "csv, German": (
        lambda tmp: written(tmp / "rows.csv", lambda p: frame().to_csv(p, index=False, sep=";", decimal=",")),
        NAMED,
    ),
    "parquet": (parquet, NAMED),
    "parquet, small row groups": (lambda tmp: parquet(tmp, row_group_size=13), NAMED),
    "feather": (feather, NAMED),
    "arrow table": (lambda tmp: arrow(), NAMED),
    "pandas": (lambda tmp: frame(), NAMED),
    "polars": (lambda tmp: pl.from_pandas(frame()), NAMED),
    "npy": (lambda tmp: saved(tmp, with_weight()), COUNTED),
    "npy, Fortran": (
        lambda tmp: written(tmp / "r.npy", lambda p: np.save(p, np.asfortranarray(with_weight()))),
        COUNTED,
    ),
    "npy, big-endian": (lambda tmp: saved(tmp, with_weight().astype(">f8")), COUNTED),
    "npz": (lambda tmp: archive(tmp / "rows.npz", np.savez, with_weight()), COUNTED),
    "npz, compressed": (lambda tmp: archive(tmp / "rows.npz", np.savez_compressed, with_weight()), COUNTED),
    "numpy": (lambda tmp: with_weight(), COUNTED),
    "list": (lambda tmp: with_weight().tolist(), COUNTED),
    "torch": (lambda tmp: torch.from_numpy(with_weight()), COUNTED),
    "fcs": (fcs, {"columns": ["a", "b", "c"], "weight": "w"}),
    "loader": (loader, {}),
    "h5ad": (lambda tmp: h5ad(tmp, compression="gzip"), {"use_rep": "X", "weight": "w", "id": "cell"}),
    "h5ad, sparse": (h5ad, {"layer": "csr", "weight": "w"}),
    "h5ad, embedding": (h5ad, {"use_rep": "X_rows", "n_dims": 3, "weight": "w"}),
    "h5ad, data frame": (h5ad, {"use_rep": "frame", "weight": "w"}),
    "anndata": (lambda tmp: cells(), {"use_rep": "X", "weight": "w"}),
    "anndata, sparse": (lambda tmp: cells(), {"layer": "csr", "weight": "w", "id": "cell"}),
}
"""The same table in every kind of place, and how it is scanned."""


@pytest.fixture(params=list(SUBJECTS))
def subject(request, tmp_path):
    make, keywords = SUBJECTS[request.param]
    if request.param == "fcs" and find_spec("flowio") is None:
        pytest.skip("SKIPPED: flowio is not installed")
    return lambda **more: scan(make(tmp_path), **{**keywords, **more})


@pytest.fixture(params=list(ARRAYS))
def array(request, tmp_path):
    return ARRAYS[request.param](tmp_path)


def read(source, size, part=(0, 1), **options):
    blocks = list(source.blocks(size, part, **options))
    first = blocks[0].start
    assert [b.start - first for b in blocks] == list(range(0, sum(len(b.x) for b in blocks), size))
    assert all(len(b.x) <= size for b in blocks)
    weights = [b.weight for b in blocks]
    return torch.cat([b.x for b in blocks]), None if weights[0] is None else torch.cat(weights)


def test_every_kind_of_data_has_a_subject(tmp_path):
    """A kind that is registered and has no subject here would promise nothing."""
    assert {k.module for k in KINDS} == {kind_of(make(tmp_path)).module for make, _ in SUBJECTS.values()}
    known = {"csv", "parquet", "arrow", "npy", "fcs", "loader", "frame", "h5ad", "annotated"}
    assert known == {k.module for k in KINDS}


@pytest.mark.parametrize("size", [1, 7, N - 1, N, 1000])
def test_rows_of_any_blocks_are_the_same_in_every_pass(subject, size):
    source = subject()
    assert isinstance(source, Source)
    for _ in range(2):
        x, weight = read(source, size)
        np.testing.assert_allclose(x.numpy(), X, rtol=1e-15)  # text holds every digit
        assert x.dtype == torch.float64
        if source.about.weight is not None:
            np.testing.assert_allclose(weight.numpy(), WEIGHT, rtol=1e-15)
    assert source.shape == (N, D)


@pytest.mark.parametrize("parts", [1, 2, 5, 100])
def test_parts_are_disjoint_complete_and_in_order(subject, parts):
    source = subject()
    found = [list(source.blocks(7, (i, parts))) for i in range(parts)]
    blocks = [b for part in found for b in part]
    starts = [b.start for b in blocks]
    assert starts == np.cumsum([0, *(len(b.x) for b in blocks)])[:-1].tolist()
    np.testing.assert_allclose(torch.cat([b.x for b in blocks]).numpy(), X, rtol=1e-15)
    with pytest.raises(ValueError, match="part is"):
        list(source.blocks(7, (parts, parts)))


def test_identifiers_follow_their_rows(subject):
    source = subject()
    blocks = list(source.blocks(10, ids=True))
    if source.about.id is None:
        assert all(b.ids is None for b in blocks)
    else:
        assert [str(i) for b in blocks for i in getattr(b.ids, "tolist", lambda ids=b.ids: ids.to_pylist())()] == IDS
        assert all(b.ids is None for b in source.blocks(10))


def test_blocks_of_any_size_give_the_same_moments(subject):
    from cases import parameters, to_mixture

    from mixtura.measure import measure

    mixture = to_mixture("full", parameters("full", np.random.default_rng(2), 2, D))
    found = []
    for budget in (1, 2**24):
        rows = Rows(settled(subject(), held=0), resident=0, budget=budget)
        found.append(measure(mixture, rows, torch.tensor([False])).leaves())
    for one, whole in zip(*found, strict=True):
        # Relative to the size of the leaf: sums of the same terms in another order.
        assert float((one - whole).abs().max()) <= 1e-12 * float(whole.abs().max())


def test_a_fit_to_a_source_is_the_fit_to_its_rows(subject):
    source = subject()
    weight = None if source.about.weight is None else WEIGHT
    kept = {"covariance_type": "diag", "init_params": "kmeans", "tol": 0.1, "random_state": 0}
    ours = mixtura.GaussianMixture(2, **kept).fit(source)
    theirs = mixtura.GaussianMixture(2, **kept).fit(X, sample_weight=weight)
    np.testing.assert_allclose(np.asarray(ours.means_), theirs.means_, rtol=1e-9)
    assert ours.loglik_ == pytest.approx(theirs.loglik_, rel=1e-12)
    np.testing.assert_array_equal(np.asarray(ours.predict(source)), theirs.predict(X))
    np.testing.assert_allclose(np.asarray(ours.predict_proba(source)), theirs.predict_proba(X), atol=1e-12)
    assert ours.score(source) == pytest.approx(theirs.score(X, sample_weight=weight), rel=1e-12)
    assert ours.bic(source) == pytest.approx(theirs.bic(X, sample_weight=weight), rel=1e-12)


def test_a_transform_is_taken_and_told(subject):
    source = subject(transform="asinh", cofactor=2.0)
    x, _ = read(source, 10)
    np.testing.assert_allclose(x.numpy(), np.arcsinh(X / 2), rtol=1e-14)
    (step,) = [s for s in source.about.steps if s["name"] == "asinh"]
    assert (step["cofactor"], len(step["columns"])) == (2.0, D)


@pytest.mark.parametrize("held", [0, 2**20])
def test_settled_rows_are_the_same(subject, held):
    looked = []
    source = settled(subject(), lambda block: looked.append(len(block.x)), held=held)
    assert sum(looked) == N
    assert source.shape == (N, D)
    for size, part in ((7, (0, 1)), (100, (0, 1)), (9, (1, 3))):
        x, weight = read(source, size, part)
        first, last = N * part[0] // part[1], N * (part[0] + 1) // part[1]
        np.testing.assert_allclose(x.numpy(), X[first:last], rtol=1e-15)
        if source.about.weight is not None:
            np.testing.assert_allclose(weight.numpy(), WEIGHT[first:last], rtol=1e-15)


def test_many_rows_are_spooled_and_few_held(tmp_path):
    make, keywords = SUBJECTS["parquet"]
    path = make(tmp_path)
    assert isinstance(settled(scan(path, **keywords), held=N * D * 8), Array)
    assert isinstance(settled(scan(path, **keywords), held=N * D * 8 - 1), Spool)


def test_a_spool_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "spool"))
    (tmp_path / "spool").mkdir()
    make, keywords = SUBJECTS["parquet"]
    monkeypatch.setattr("tempfile.tempdir", None)
    source = settled(scan(make(tmp_path), **keywords), held=0)
    assert isinstance(source, Spool)
    assert list((tmp_path / "spool").iterdir()) == []


def test_without_room_every_pass_reads_the_source(tmp_path, caplog):
    make, keywords = SUBJECTS["parquet"]
    path = make(tmp_path)
    if not Path("/dev/full").exists():
        pytest.skip("SKIPPED: there is no /dev/full here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.TemporaryFile", lambda **_: Path("/dev/full").open("wb", buffering=0))  # noqa: SIM115
        source = settled(scan(path, **keywords), held=0)
    assert isinstance(source, Straight)
    assert "no room" in caplog.text
    x, weight = read(source, 10)
    np.testing.assert_array_equal(x.numpy(), X)
    np.testing.assert_array_equal(source.weight, WEIGHT)
    np.testing.assert_array_equal(weight, WEIGHT)


# ---- arrays


@pytest.mark.parametrize("size", [1, 7, N - 1, N, 1000])
def test_arrays_of_any_layout(array, size):
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
    rows = Rows(Array(array, WEIGHT + 0.1), device=device, dtype=torch.float32, resident=0)
    x = torch.cat([c.x for c in rows.chunks(20)], 1).cpu().double().T + rows.origin.double()
    # Rounded once, after centring.
    scale = torch.tensor([1, 1e3, 1e-3]).double()
    assert float(((x - torch.from_numpy(X)) / scale).abs().max()) < 4 * 2**-23


def test_a_memory_map_is_read_block_by_block(tmp_path):
    """A block shares no memory with more of the map than it shows."""
    source = Array(memmap(tmp_path, "r"))
    block = next(source.blocks(5))
    assert block.x.untyped_storage().nbytes() == 5 * D * 8


# ---- what goes wrong between passes


FILES = [
    name for name in SUBJECTS if name.split(",")[0] in {"csv", "tsv", "parquet", "feather", "npy", "npz", "fcs", "h5ad"}
]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_changes_between_passes_is_noticed(name, tmp_path):
    make, keywords = SUBJECTS[name]
    path = make(tmp_path)
    source = scan(path, **keywords)
    read(source, 10)
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    with pytest.raises(Changed, match=f"{re.escape(path.name)} changed while it was read"):
        read(source, 10)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_goes_between_passes(name, tmp_path):
    make, keywords = SUBJECTS[name]
    path = make(tmp_path)
    source = scan(path, **keywords)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read(source, 10)


class Fickle(torch.utils.data.IterableDataset):
    """Other rows in every pass."""

    def __init__(self, counts):
        self.counts = iter(counts)

    def __iter__(self):
        return iter(torch.zeros(next(self.counts), D))


def test_another_count_on_a_later_pass_is_an_error():
    # The first pass looks at the width of the batches.
    source = scan(torch.utils.data.DataLoader(Fickle([5, 5, 4, 4]), batch_size=2))
    read(source, 10)
    with pytest.raises(Changed, match=r"gave 4 rows in this pass, 5 before"):
        read(source, 10)


def test_no_rows_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="no rows"):
        read(scan(written(tmp_path / "t.csv", lambda p: p.write_text("a,b\n"))), 10)
    with pytest.raises(ValueError, match="no rows"):
        scan(written(tmp_path / "t.parquet", lambda p: pq.write_table(arrow().slice(0, 0), p)), **NAMED)


# ---- what is imported


def test_nothing_is_imported_until_claimed(tmp_path):
    """A text table needs neither flowio nor the loader, an array not even pyarrow."""
    csv, npy = SUBJECTS["csv"][0](tmp_path), SUBJECTS["npy"][0](tmp_path)
    code = (
        "import sys; from mixtura.data.scan import scan; before = set(sys.modules)\n"
        "for block in scan({!r}).blocks(10): pass\n"
        "print(*sorted({{'flowio', 'pyarrow', 'mixtura.data.csv', 'mixtura.data.fcs', 'mixtura.data.npy', "
        "'mixtura.data.loader', 'mixtura.data.parquet'}} & (set(sys.modules) - before)))"
    )
    for path, options, wanted in (
        (csv, ", columns=['a', 'b']", {"mixtura.data.csv", "pyarrow"}),
        (npy, "", {"mixtura.data.npy"}),
    ):
        script = code.format(str(path)).replace(").blocks", f"{options}).blocks", 1)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert set(done.stdout.split()) == wanted
