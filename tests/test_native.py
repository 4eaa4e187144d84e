"""The compiled count: the library, its arithmetic, and that it says what the definition says."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import oracle
import pytest
import torch
from cases import SIX, batch, clusters

from mixtura.covariance import STRUCTURES
from mixtura.data import Array
from mixtura.e_step import Features
from mixtura.family import Gaussian
from mixtura.mixture import Mixture
from mixtura.native import count as native_count
from mixtura.native import library as native_library
from mixtura.native.count import KINDS, PANEL, Compiled, by_features, cut
from mixtura.native.layout import SIZES
from mixtura.native.library import cut_short, library, opened
from mixtura.record import Record
from mixtura.rows import Chunk, Rows, Scratch

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
EVERY = pytest.mark.parametrize("name", SIX)
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])

needed = pytest.mark.skipif(library().handle is None, reason=f"SKIPPED: rows are counted by {library()}")


def hatch_build() -> ModuleType:
    pytest.importorskip("hatchling", reason="SKIPPED: hatchling is not installed")
    found = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def many(name, rng, restarts, components, features, spread=1.0):
    """R restarts of which at most three have covariances of their own, so that many are made quickly."""
    base, _ = batch(name, rng, min(restarts, 3), components, features, spread)
    mixture = Record.cat([base] * -(-restarts // base.shape[0])).take(slice(0, restarts))
    return replace(mixture, mean=mixture.mean + 0.1 * torch.from_numpy(rng.normal(size=mixture.shape)))


def count_of(kind, mixture, x, weight=None):
    """What a way of counting says of a chunk, as one (R, 1 + K P) tensor: log likelihood and sums."""
    raw = kind(mixture, Scratch(), x.dtype, CPU)(Chunk(x, weight, 0))
    torch.testing.assert_close(raw.n, raw.features[..., -1], rtol=0, atol=0, equal_nan=True)
    return torch.cat([raw.loglik.double(), raw.features.double().flatten(1)], 1)


def near(found, want, rows, dtype):
    """Equal to the rounding of sums of that many rows, whose features are below 100 or so."""
    rounding = 1e-13 if dtype == torch.float64 else 3e-5
    torch.testing.assert_close(found, want, rtol=30 * rounding, atol=30 * rounding * max(1, rows))


# ---- the library


@needed
def test_the_library_is_here_and_says_so():
    assert library().level in ("v3", "base")
    assert str(library()) == f"compiled passes ({library().level})"
    assert library() is library()


PROGRAM = """
import logging, sys
import numpy as np, torch
from mixtura import GaussianMixture
from mixtura.native.library import library
X = np.random.default_rng(0).normal(size=(300, 2)) + 4 * (np.arange(300) % 3)[:, None]
print(library())
for _ in range(2):
    print(repr(GaussianMixture(3, random_state=0, tol=1e-10).fit(X).loglik_))
"""


def told(program, **environment):
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines(), done.stderr


def test_without_the_library_fits_end_at_the_same_likelihood():
    (without, *left_out), said = told(PROGRAM, MIXTURA_NATIVE="0")
    (_, *given), _ = told(PROGRAM)
    assert without == "PyTorch's operations (MIXTURA_NATIVE=0)"
    assert not said  # it was asked for
    # Both stop within 1e-10 nats a row of the top.
    np.testing.assert_allclose([float(v) for v in left_out], [float(v) for v in given], rtol=0, atol=300 * 1e-8)


def test_a_missing_library_is_said_once_a_process_and_not_before_rows_are_counted(tmp_path):
    hide = f"from pathlib import Path; import mixtura.native.library as n; n.FILE = Path({str(tmp_path / 'none.so')!r})"
    lines, said = told(f"{hide}{PROGRAM}")
    assert "installed without them" in lines[0] or "Windows" in lines[0]
    assert said.count("mixtura counts rows by PyTorch's operations") == (sys.platform != "win32")
    assert not told(f"{hide}\nimport mixtura; mixtura.GaussianMixture(); print(n.library())")[1]


FOREIGN = {
    "empty": b"",
    "text": b"no library\n" * 100,
    "header": b"\x7fELF\x02\x01\x01" + bytes(9),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_file_is_no_library(what, tmp_path):
    (tmp_path / "libmixtura.so").write_bytes(FOREIGN[what])
    found = opened(tmp_path / "libmixtura.so")
    assert found.handle is None
    assert "cannot be used" in found.reason
    assert str(tmp_path) not in str(found)


@needed
@pytest.mark.skipif(sys.platform != "linux", reason="SKIPPED: the check is of ELF files")
@pytest.mark.parametrize("share", [0.001, 0.1, 0.4, 0.7, 0.99, 0.9999])
def test_a_file_that_is_cut_short_is_no_library(share, tmp_path):
    """In a process of its own: a loader that is given such a file may end it."""
    whole, file = native_library.FILE.read_bytes(), tmp_path / "libmixtura.so"
    file.write_bytes(whole[: int(share * len(whole))])
    program = f"from pathlib import Path; from mixtura.native.library import opened; print(opened(Path({str(file)!r})))"
    (line,), _ = told(program)
    assert "cannot be used" in line
    assert not cut_short(native_library.FILE)


@needed
def test_a_library_of_other_sources_is_not_used(monkeypatch):
    other = {name: (sizes[0] + 8, *sizes[1:]) for name, sizes in SIZES.items()}
    monkeypatch.setattr(native_library, "SIZES", other)
    found = opened(native_library.FILE)
    assert found.handle is None
    assert "compiled from other sources" in found.reason


@needed
def test_a_library_without_the_functions_is_not_used(tmp_path):
    (tmp_path / "other.c").write_text("int other(void) { return 1; }\n")
    building = hatch_build()
    try:
        building.run(["cc", "-shared", "-fPIC", str(tmp_path / "other.c"), "-o", str(tmp_path / "other.so")])
    except OSError as error:
        pytest.skip(f"SKIPPED: there is no compiler here ({error})")
    assert opened(tmp_path / "other.so").handle is None


# ---- what is counted


@EVERY
@DTYPES
@pytest.mark.skipif(library().handle is None, reason=f"SKIPPED: rows are counted by {library()}")
def test_every_structure_is_served(name, dtype):
    mixture, _ = batch(name, np.random.default_rng(0), 1, 2, 2)
    rows = Rows(Array(np.zeros((3, 2))), dtype=dtype)
    assert type(mixture.covariance.quadratic) in KINDS
    assert type(by_features(mixture, rows.scratch, rows.dtype, rows.device)) is Compiled


SIZE_OF_MAP = 10**8
"""Multiplications that a comparison may take, so that all of them end soon."""


@needed
@EVERY
@pytest.mark.parametrize("features", [1, 2, 3, 17, 40])
def test_the_compiled_count_is_the_count_by_features(name, features):
    rng = np.random.default_rng([features, len(name)])
    x = torch.from_numpy(rng.normal(size=(features, 5000)))
    few, some = [0, 1, 3, 4, 5, 383], [384, 385, 5000]
    kept: dict[tuple[int, int], Mixture] = {}
    for turn, ((components, restarts), rows, dtype) in enumerate(
        product(product([1, 2, 5, 70], [1, 3, 65]), [few, some], [torch.float64, torch.float32])
    ):
        weighted = bool(rng.integers(2))
        shape = components, restarts
        mixture = kept.setdefault(shape, many(name, rng, restarts, components, features))
        size = components * restarts * (STRUCTURES[name].unit(1, 1, features).quadratic.size(features) + features + 1)
        fitting = [n for n in rows if n * size <= SIZE_OF_MAP] or few[:3]
        n = fitting[(turn + turn // 4) % len(fitting)]
        weight = torch.from_numpy(rng.gamma(2.0, size=n) * (rng.random(n) > 0.3)).to(dtype) if weighted else None
        part = x[:, :n].to(dtype).contiguous()
        wide = None if weight is None else weight.double()
        found, want = count_of(Compiled, mixture, part, weight), count_of(Features, mixture, part.double(), wide)
        # Of float32 joints the terms are as large as the map's widest sums: hundreds in 40 features.
        near(found, want, n * (1 if dtype == torch.float64 else max(1, features)), dtype)


@needed
@EVERY
@pytest.mark.parametrize(("features", "components"), [(1, 1), (1, 3), (2, 2), (3, 5), (17, 2), (40, 2)])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_compiled_count_is_the_definition(name, features, components, weighted):
    rng = np.random.default_rng([components, features])
    mixture, every = batch(name, rng, 2, components, features)
    X = 2 * rng.normal(size=(9, features))
    weight = np.array([1.0, 0, 2, 0.5, 1, 3, 0, 1, 1]) if weighted else None
    rows = Rows(Array(X, weight), origin=torch.zeros(features))
    counting = by_features(mixture, rows.scratch, rows.dtype, rows.device)
    assert type(counting) is Compiled
    moments = counting.moments(rows.sum(counting, counting.bytes_per_row), rows)
    for r, p in enumerate(every):
        want = oracle.moments(X, p, weight)
        # Digits that expanding the square costs: 1e-9 of a hundred nats.
        assert float(moments.loglik[r, 0]) == pytest.approx(want.loglik, rel=1e-10)
        np.testing.assert_allclose(moments.n[r].numpy(), want.n, rtol=0, atol=1e-9)
        np.testing.assert_allclose(moments.s1[r].numpy(), want.s1, rtol=0, atol=1e-8)
        np.testing.assert_allclose(moments.s2[0][r].numpy(), oracle.SECOND[name](want.scatter), rtol=0, atol=1e-7)


@needed
@EVERY
@DTYPES
def test_the_levels_agree(name, dtype, monkeypatch):
    if library().level == "base":
        pytest.skip("SKIPPED: this processor runs the base alone")
    rng = np.random.default_rng(5)
    mixture, x = many(name, rng, 2, 5, 7), torch.from_numpy(rng.normal(size=(7, 1001))).to(dtype)
    want = count_of(Compiled, mixture, x)
    monkeypatch.setattr(native_count, "library", lambda: library()._replace(level="base"))
    near(count_of(Compiled, mixture, x), want, 1001, dtype)


@needed
@DTYPES
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_may_lie_apart_in_memory(dtype, weighted):
    rng = np.random.default_rng(6)
    mixture = many("full", rng, 2, 3, 4)
    long = torch.from_numpy(rng.normal(size=(4, 3000))).to(dtype)
    weights = torch.from_numpy(rng.random(6000)).to(dtype)
    views = [long[:, 100:600], long[:, ::5], long.T.contiguous().T[:, 7:300], long[:, :1]]
    for view in views:
        weight = weights[: 2 * view.shape[1] : 2] if weighted else None
        alone = None if weight is None else weight.clone()
        assert torch.equal(
            count_of(Compiled, mixture, view, weight),
            count_of(Compiled, mixture, view.clone(memory_format=torch.contiguous_format), alone),
        )


@needed
@EVERY
def test_weights_may_lie_apart_in_memory_in_the_rows_too(name):
    rng = np.random.default_rng(7)
    X, wide = rng.normal(size=(200, 2)), rng.random((200, 2))
    mixture = many(name, rng, 1, 2, 2)
    counted = []
    for weight in (wide[:, 0], wide[:, 0].copy()):
        rows = Rows(Array(X, weight), origin=torch.zeros(2))
        assert rows.held.weight.is_contiguous()
        counting = by_features(mixture, rows.scratch, rows.dtype, rows.device)
        counted.append(rows.sum(counting, counting.bytes_per_row).loglik)
    assert torch.equal(*counted)


@needed
@EVERY
@DTYPES
def test_a_weight_is_a_row_given_as_often(name, dtype):
    rng = np.random.default_rng(8)
    mixture, x = many(name, rng, 3, 3, 3), torch.from_numpy(rng.normal(size=(3, 50))).to(dtype)
    times = torch.from_numpy(rng.integers(0, 4, size=50))
    found = count_of(Compiled, mixture, x, times.to(dtype))
    near(found, count_of(Compiled, mixture, x.repeat_interleave(times, 1).contiguous()), 150, dtype)


@needed
@EVERY
@DTYPES
@pytest.mark.parametrize("rows", [1, 385, 5000])
def test_parts_agree_and_repeat_to_the_bit(name, dtype, rows, monkeypatch):
    rng = np.random.default_rng(9)
    mixture, x = many(name, rng, 2, 3, 3), torch.from_numpy(rng.normal(size=(3, rows))).to(dtype)
    monkeypatch.setattr(native_count, "GRAIN", 1)
    found = []
    for parts in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda parts=parts: parts)
        found.append(count_of(Compiled, mixture, x))
        for _ in range(3):
            assert torch.equal(count_of(Compiled, mixture, x), found[-1])
    for other in found[1:]:
        # Sums within a block are the same, and blocks are added up in double.
        near(other, found[0], rows, torch.float64)


def test_a_cut_keeps_to_its_cache_and_its_tiles():
    for features, components, restarts, size in product([1, 3, 40, 300], [1, 5, 70, 5000], [1, 65], [4, 8]):
        for count in (features + 1, 2 * features + 1, features * (features + 3) // 2 + 1):
            how = cut(features, components, restarts, count, size)
            assert how.block % 24 == 0  # three vectors of eight
            assert 48 <= how.block <= 384
            assert how.panel <= min(count, PANEL)
            assert 1 <= how.batch <= restarts
            assert how.batch == 1 or how.panel < count or count <= PANEL
            assert how.room % 64 == 0
            assert how.room >= (features + how.panel + how.batch * components) * how.block * size


# ---- what is not a number, and what is nothing


@needed
@EVERY
@DTYPES
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_component_without_weight_counts_nothing(name, dtype, at):
    rng = np.random.default_rng(10)
    mixture = many(name, rng, 2, 3, 2)
    log_weight = mixture.log_weight.clone()
    log_weight[:, at] = -torch.inf
    x = torch.from_numpy(rng.normal(size=(2, 101))).to(dtype)
    raw = Compiled(replace(mixture, log_weight=log_weight), Scratch(), dtype, CPU)(Chunk(x, None, 0))
    assert not raw.features[:, at].any()
    rest = [k for k in range(3) if k != at]
    shares = raw.n[:, rest].sum(1)
    torch.testing.assert_close(shares, torch.full_like(shares, 101), rtol=1e-6, atol=0)
    want = count_of(Features, replace(mixture, log_weight=log_weight), x.double())
    near(raw.loglik.double(), want[:, :1], 101, dtype)


def payload(dtype):
    """NaN that carries something in its lowest bits, as other programs' missing values do."""
    if dtype == torch.float64:
        return torch.tensor([0x7FF80000000007A2], dtype=torch.int64).view(dtype)[0]
    return torch.tensor([0x7FC00000 + 0x7A2], dtype=torch.int32).view(dtype)[0]


@needed
@EVERY
@DTYPES
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("components", [1, 3])
def test_parameters_that_are_no_numbers_never_give_a_number(name, dtype, weighted, components):
    rng = np.random.default_rng(11)
    mixture, x = many(name, rng, 2, components, 2), torch.from_numpy(rng.normal(size=(2, 9))).to(dtype)
    weight = torch.ones(9).to(dtype) if weighted else None
    for which in range(components):
        counting = Compiled(mixture, Scratch(), dtype, CPU)
        counting.theta = counting.theta.clone()
        counting.theta[which] = payload(dtype)
        raw = counting(Chunk(x, weight, 0))
        assert bool(raw.loglik[0].isnan().all())
        assert bool(raw.features[0].isnan().all())
        # The other restart of the batch has nothing to do with it.
        alone = Compiled(mixture.take(slice(1, 2)), Scratch(), dtype, CPU)(Chunk(x, weight, 0))
        assert torch.equal(raw.features[1:], alone.features)
        assert torch.equal(raw.loglik[1:], alone.loglik)


@needed
@EVERY
@pytest.mark.parametrize("far", [1e200, -1e200, np.inf, np.nan])
@pytest.mark.parametrize("place", [0, 3, 4, 9])
def test_a_row_infinitely_far_never_gives_a_number(name, far, place):
    rng = np.random.default_rng(12)
    mixture, x = many(name, rng, 1, 3, 2), torch.from_numpy(rng.normal(size=(2, 10)))
    x[1, place] = far
    found, want = count_of(Compiled, mixture, x), count_of(Features, mixture, x)
    assert bool(found[0, 0].isnan()) == bool(want[0, 0].isnan())
    # Where the quadratic term is shared, 1e200 is a row like any other.
    assert bool(found[0, 0].isnan()) == (not (STRUCTURES[name].unit(1, 3, 2).shared and np.isfinite(far)))
    if not found[0, 0].isnan():
        torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-9)


def shares(joint, rows=1, weight=None):
    """Log likelihood (R,) and shares (R, K) of rows that have these log joint densities (R, K), all the same."""
    restarts, components = joint.shape
    unit = STRUCTURES["tied_spherical"].unit(restarts, components, 1)
    zero = torch.zeros(restarts, components, dtype=torch.float64)
    counting = Compiled(Mixture(zero, zero[..., None], unit, Gaussian()), Scratch(), joint.dtype, CPU)
    if components == 1:
        counting.quadratics, counting.theta = 0, counting.theta[:, -2:]
    counting.theta = torch.stack([torch.zeros_like(joint), joint], -1).flatten(0, 1).contiguous()
    raw = counting(Chunk(torch.zeros(1, rows, dtype=joint.dtype), weight, 0))
    return raw.loglik[:, 0].numpy(), raw.n.numpy()


@needed
@DTYPES
@pytest.mark.parametrize("level", ["base", "v3"])
def test_shares_are_right_to_their_last_bits_over_the_whole_range(dtype, level, monkeypatch):
    if level != library().level != "v3":
        pytest.skip("SKIPPED: this processor runs the base alone")
    monkeypatch.setattr(native_count, "library", lambda: library()._replace(level=level))
    eps, lowest = torch.finfo(dtype).eps, 708 if dtype == torch.float64 else 78
    rng = np.random.default_rng(13)
    down = np.concatenate(
        [np.linspace(0, lowest - 1e-3, 40_001), rng.uniform(0, 2, 10_000), np.geomspace(1e-300, 1, 999)]
    )
    joint = torch.stack([torch.zeros(len(down)).double(), -torch.from_numpy(down)], 1).to(dtype)
    loglik, n = shares(joint)
    exact = np.exp(joint.double().numpy().astype(np.longdouble))
    sums = exact.sum(1)
    # e^x, its sum, the quotient and the product round once or twice each.
    assert np.abs(n / (exact / sums[:, None]) - 1).max() < 4 * eps
    # The sum of shares is rounded before its logarithm is taken.
    assert np.abs(loglik - np.log(sums)).max() < 2 * eps


@needed
@DTYPES
def test_shares_below_the_range_are_nothing(dtype):
    lowest = 708.0 if dtype == torch.float64 else 78.0
    for below in (lowest * (1 + 1e-6), 1e3, 1e6, 1e30, np.inf):
        loglik, n = shares(torch.tensor([[0.0, -below]], dtype=dtype))
        assert (loglik[0], n[0, 0], n[0, 1]) == (0, 1, 0)
    _, n = shares(torch.tensor([[0.0, -lowest * (1 - 1e-6)]], dtype=dtype))
    # Never a subnormal number: 1e-34 is far above those of float32, 2.2e-308 is the least normal float64.
    assert n[0, 1] > (2.3e-308 if dtype == torch.float64 else 1e-34)


@needed
@DTYPES
@pytest.mark.parametrize("components", [2, 3, 70, 50_000])
@pytest.mark.parametrize("rows", [1, 8, 9, 64, 385])
def test_logarithms_are_right_to_their_last_bits(dtype, components, rows):
    """Also that of a product of eight sums, which 50,000 components bring near to float32's largest number."""
    rng = np.random.default_rng(14)
    restarts = 1 if components > 1000 else 200
    joint = -torch.from_numpy(rng.exponential(rng.choice([0.1, 1, 10], size=(restarts, 1)), (restarts, components)))
    joint[:, 0] = 0
    joint = (joint if components < 1000 else torch.zeros(1, components).double()).to(dtype)
    exact = joint.double().numpy().astype(np.longdouble)
    want = rows * np.log(np.exp(exact).sum(1))
    eps = torch.finfo(dtype).eps
    for weight in (None, torch.ones(rows, dtype=dtype)):
        loglik, n = shares(joint, rows, weight)
        # A sum of K shares is right to about √K eps, seven products add their rounding, and so do sums over rows,
        # which are made in float64.
        noise = rows * eps * (12 + np.sqrt(components)) + 1e-15 * want.max()
        assert np.abs(loglik - want).max() < noise
        # Up to 48 rows are added up in a lane of their own precision.
        np.testing.assert_allclose(n.sum(1), rows, rtol=eps * (30 + np.sqrt(components)))


@needed
@DTYPES
def test_far_rows_share_in_full(dtype):
    """The largest joint density is taken out first, so that nothing underflows."""
    joint = torch.tensor([[-1e5, -1e5 - 1, -2e5], [-3e30, -2e30, -4e30]], dtype=dtype)
    loglik, n = shares(joint, 3)
    np.testing.assert_allclose(n / 3, joint.double().softmax(1).numpy(), rtol=4 * torch.finfo(dtype).eps)
    np.testing.assert_allclose(loglik, 3 * joint.double().logsumexp(1).numpy(), rtol=2 * torch.finfo(dtype).eps)


@needed
def test_float32_rows_are_added_up_in_float64():
    x, mixture = torch.full((1, 100_000), 3.3), many("full", np.random.default_rng(15), 1, 1, 1)
    alone = count_of(Compiled, mixture, x[:, :1])
    # 384 equal numbers in float32, a block, lose up to 48 roundings of half an ulp; blocks lose none.
    torch.testing.assert_close(count_of(Compiled, mixture, x) / 100_000, alone, rtol=24 * 2**-24, atol=0)


# ---- passes over whole data


@needed
@EVERY
@DTYPES
def test_passes_over_many_chunks_are_passes_over_one(name, dtype):
    rng = np.random.default_rng(16)
    X, _ = clusters(rng, 3001, 3, 3)
    mixture = many(name, rng, 2, 3, 3)
    moments = []
    for budget in (2**30, 2**14):
        rows = Rows(Array(X), dtype=dtype, budget=budget, resident=0)
        counting = by_features(mixture, rows.scratch, rows.dtype, rows.device)
        moments.append(counting.moments(rows.sum(counting, counting.bytes_per_row), rows))
    for one, other in zip(moments[0].leaves(), moments[1].leaves(), strict=True):
        # Rows are squares of up to 20² about the origin.
        near(one, other, 3001 * 400, torch.float64 if dtype == torch.float64 else dtype)


@needed
def test_what_is_counted_does_not_hang_on_the_one_that_is_counted_beside_it():
    rng = np.random.default_rng(17)
    mixture, x = many("full", rng, 5, 3, 20), torch.from_numpy(rng.normal(size=(20, 500)))
    together = count_of(Compiled, mixture, x)
    for r in range(5):
        near(count_of(Compiled, mixture.take(slice(r, r + 1)), x), together[r : r + 1], 500, torch.float64)


# ---- memory

CHECKED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import mixtura.native.library as native
native.FILE = Path({file!r})
import numpy as np, torch
from cases import SIX, batch, clusters
from mixtura.accelerate import Squarem
from mixtura.covariance import STRUCTURES, Floor
from mixtura.data import Array
from mixtura.converge import Steps
from mixtura.em import Likelihood
from mixtura.stop import Still
from mixtura.native import count, eigen, runs
from mixtura.record import Record
from mixtura.rows import Chunk, Rows, Scratch
assert native.library().handle is not None, native.library()
count.GRAIN = 1
rng = np.random.default_rng(0)
level = native.library().level
COUNTED = (1, 1, 1), (2, 5, 3), (3, 2, 65), (17, 5, 3), (40, 3, 3)
levels = {{"base", level}}
for each in levels:
    count.library = runs.library = eigen.library = lambda: native.library()._replace(level=each)
    for name in STRUCTURES:
        for features, components, restarts in COUNTED if name in SIX else ():
            mixture = Record.cat([batch(name, rng, 1, components, features)[0]] * restarts)
            for rows in (0, 1, 3, 4, 5, 383, 384, 385, 1000):
                for dtype in (torch.float64, torch.float32):
                    x = torch.from_numpy(rng.normal(size=(features, rows))).to(dtype)
                    for weight in (None, torch.ones(rows, dtype=dtype)):
                        torch.get_num_threads = lambda: 1 + rows % 3
                        count.Compiled(mixture, Scratch(), dtype, torch.device("cpu"))(Chunk(x, weight, 0))
        for features, components in ((1, 1), (1, 3), (2, 3), (5, 2), (20, 2)):
            X, _ = clusters(rng, 203, components, features)
            for dtype in (torch.float64, torch.float32):
                held = Rows(Array(X, rng.random(203)), dtype=dtype)
                start = batch(name, rng, 5, components, features)[0]
                rule = Likelihood(Floor(torch.full((features,), 1e-9).double()))
                for pace in (Steps, Squarem):
                    assert runs.serves(start, held, rule, Still(), pace)
                    steps = runs.running(start, held, rule, Still(), 40, pace)
                    for _ in steps:
                        pass
print("done")
"""


@needed
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="SKIPPED: sanitizers are loaded before Python on Linux only")
def test_the_library_stays_within_its_memory(tmp_path):
    """Address and undefined-behaviour sanitizers watch every count and every run."""
    building = hatch_build()
    try:
        file = building.linked(
            tmp_path, ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-Wno-error")
        )
    except OSError as error:
        pytest.skip(f"SKIPPED: the compiler has no sanitizers ({error})")
    compiler = os.environ.get("CC", "cc").split()
    loaded = []
    for name in ("libasan.so", "libubsan.so"):
        at = subprocess.run([*compiler, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
        if not Path(at).is_absolute():
            pytest.skip(f"SKIPPED: {name} is not here")
        loaded.append(str(Path(at).resolve()))
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(loaded),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    program = CHECKED.format(tests=str(Path(__file__).parent), file=str(file))
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.endswith("done\n"), done.stderr[-5000:]
    assert "runtime error" not in done.stderr, done.stderr[-5000:]
