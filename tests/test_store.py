"""Saved models: what was fitted comes back bit for bit, and nothing that is not such a model is believed."""

import copy
import inspect
import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from cases import NAMES, SIX
from comparison.sets import load as data
from golden.make import EXPECTED, other_rows
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import mixtura
from mixtura import GaussianMixture
from mixtura.apps import store
from mixtura.covariance import STRUCTURES
from mixtura.published import PUBLISHED

X = data("faithful")
EVERY = pytest.mark.parametrize("name", list(STRUCTURES))


def fitted(name: str = "full", x: Any = X, **params: Any) -> GaussianMixture:
    params = {"init_params": "kmeans", "tol": 1e-4, "random_state": 0, **params}
    return GaussianMixture(2, covariance_type=name, **params).fit(x)


def through(model: GaussianMixture, place: Path, **keywords: Any) -> GaussianMixture:
    """The model, saved and loaded."""
    path = place / "model.safetensors"
    model.save(path)
    return mixtura.load(path, **keywords)


def same(a: Any, b: Any) -> bool:
    """Equal in value and type, NaN equal to NaN."""
    if isinstance(a, np.ndarray | torch.Tensor):
        alike = type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape
        return alike and (a.tolist() == b.tolist() or np.asarray(a).tobytes() == np.asarray(b).tobytes())
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return a == b or (a != a and b != b)


def metadata(path: Path) -> dict[str, Any]:
    with safe_open(str(path), framework="pt") as opened:
        return json.loads(opened.metadata()["mixtura"])


# ---- what comes back


@EVERY
def test_every_structure_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    assert list(STRUCTURES) == NAMES
    model = fitted(name)
    again = through(model, tmp_path)
    for method in ("predict", "predict_proba", "score_samples", "uncertainty"):
        assert getattr(model, method)(X).tobytes() == getattr(again, method)(X).tobytes(), method
    for method in ("score", "bic", "aic", "icl"):
        assert getattr(model, method)(X) == getattr(again, method)(X), method
    assert same(model.sample(20), again.sample(20))
    assert all(map(torch.equal, model.mixture_.leaves(), again.mixture_.leaves()))
    assert again.n_parameters_ == model.n_parameters_
    assert again.get_params() == model.get_params()


@EVERY
def test_every_attribute_comes_back(name: str, tmp_path: Path) -> None:
    model = fitted(name, init_params="auto", effort="quick")
    again = through(model, tmp_path)
    before, after = vars(model), vars(again)
    assert set(before) == set(after)
    for attribute in set(before) - {"mixture_", "_kind"}:
        assert same(getattr(model, attribute), getattr(again, attribute)), attribute
    assert again._kind == model._kind
    assert set(PUBLISHED) < set(before)
    for attribute in PUBLISHED:
        assert not getattr(again, attribute).flags.writeable


def test_findings_come_back(tmp_path: Path) -> None:
    with pytest.warns(mixtura.DegenerateWarning):
        model = fitted(x=np.repeat([[1.0, 2.0], [3.0, 5.0]], 10, axis=0))
    again = through(model, tmp_path)
    assert again.status_ == "degenerate"
    assert again.diagnose() == model.diagnose() != []
    assert again.diagnose()[0].message == str(model.diagnose()[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_kinds(dtype: Any, tmp_path: Path) -> None:
    x = X.astype(dtype)
    model = fitted(x=x)
    again = through(model, tmp_path)
    assert again.means_.dtype == dtype == again.sample(3)[0].dtype
    assert same(model.covariances_, again.covariances_)
    assert model.score_samples(x).tobytes() == again.score_samples(x).tobytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_kinds(dtype: torch.dtype, tmp_path: Path) -> None:
    x = torch.tensor(X, dtype=dtype)
    model = fitted(x=x)
    for device in (None, "cpu", torch.device("cpu")):
        again = through(model, tmp_path, device=device)
        assert isinstance(again.means_, torch.Tensor)
        assert again.means_.dtype == dtype
        assert torch.equal(again.score_samples(x), model.score_samples(x))
        assert again.device is device


def test_the_device_is_not_remembered(tmp_path: Path) -> None:
    model = fitted(device="cpu")
    assert through(model, tmp_path).device is None
    model._kind = model._kind._replace(device=torch.device("meta"))  # one that no machine computes on
    assert through(model, tmp_path).means_.device == torch.device("cpu")
    assert metadata(tmp_path / "model.safetensors")["kind"] == {"dtype": "float64", "library": "torch"}
    with pytest.raises(ValueError, match="device='nowhere' cannot be used"):
        mixtura.load(tmp_path / "model.safetensors", device="nowhere")


def test_names_of_columns_come_back(tmp_path: Path) -> None:
    frame = pd.DataFrame(X, columns=["eruptions, min", "wartezeit – ä"])
    again = through(fitted(x=frame), tmp_path)
    assert again.feature_names_in_.tolist() == frame.columns.tolist()
    assert again.feature_names_in_.dtype == object
    assert again.predict(frame).shape == (len(X),)
    with pytest.raises(ValueError, match="feature names should match"):
        again.predict(frame.rename(columns={"eruptions, min": "x"}))


def test_parameters_of_every_kind_come_back(tmp_path: Path) -> None:
    model = fitted(
        weights_init=(0.25, np.float32(0.75)),
        means_init=pd.DataFrame([[2, 55], [4, 80]]),
        precisions_init=torch.stack([torch.eye(2)] * 2).double(),
    ).set_params(n_init=np.int64(3), verbose=False)
    again = through(model, tmp_path)
    assert again.weights_init == (0.25, 0.75)
    assert again.means_init.tolist() == [[2, 55], [4, 80]]
    assert same(again.precisions_init, model.precisions_init)
    assert again.n_init == 3
    assert again.verbose is False
    assert same(again.fit(X).means_, model.fit(X).means_)


@pytest.mark.parametrize("make", [np.random.RandomState, np.random.default_rng, lambda s: torch.Generator()])
def test_the_seed_stands_for_a_generator(make: Any, tmp_path: Path) -> None:
    model = fitted(random_state=make(3), init_params="random_from_data")
    again = through(model, tmp_path)
    assert again.random_state == again.seed_ == model.seed_
    assert same(clone(again).fit(X).means_, model.means_)


def test_parameters_changed_after_the_fit_stay_changed(tmp_path: Path) -> None:
    model = fitted("tied_diag").set_params(n_components=5, covariance_type="full")
    again = through(model, tmp_path)
    assert (again.n_components, again.covariance_type) == (5, "full")
    assert same(model.covariances_, again.covariances_)
    assert again.n_parameters_ == model.n_parameters_


@pytest.mark.parametrize("defaults", [GaussianMixture, GaussianMixture.sklearn_defaults])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_warm_start_goes_on(defaults: Any, tmp_path: Path) -> None:
    model = defaults(2, random_state=0, init_params="kmeans", max_iter=2, warm_start=True).fit(X)
    again = through(model, tmp_path)
    assert again.fit(X).lower_bounds_ == model.fit(X).lower_bounds_


def test_models_that_were_not_fitted_to_rows(tmp_path: Path) -> None:
    model = GaussianMixture.from_parameters([0.0, 1.0], [[0.0], [1.0]], 2.0, "tied_spherical")
    again = through(model, tmp_path)
    assert set(vars(again)) == set(vars(model))
    assert again.weights_.tolist() == [0.0, 1.0]
    assert metadata(tmp_path / "model.safetensors")["criteria"] == {}


def test_copies_of_a_loaded_model(tmp_path: Path) -> None:
    again = through(fitted(), tmp_path)
    want = again.score_samples(X)
    for copied in (pickle.loads(pickle.dumps(again)), copy.deepcopy(again)):
        assert same(copied.score_samples(X), want)
    assert not hasattr(clone(again), "means_")


def test_another_process_reads_the_same(tmp_path: Path) -> None:
    model = fitted()
    model.save(tmp_path / "model.safetensors")
    script = "import mixtura, sys; print(*mixtura.load(sys.argv[1]).score_samples([[2, 55], [4, 80]]).tolist())"
    command = [sys.executable, "-c", script, str(tmp_path / "model.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [float(v) for v in done.stdout.split()] == model.score_samples([[2, 55], [4, 80]]).tolist()


# ---- what is in the file


def test_the_metadata_tells_what_was_done(tmp_path: Path) -> None:
    weight = np.linspace(0.5, 1.5, len(X))
    model = fitted(n_init=2).fit(X, sample_weight=weight)
    model.save(tmp_path / "model.safetensors")
    told = metadata(tmp_path / "model.safetensors")
    assert told["format_version"] == 1
    assert told["call"]["class"] == "GaussianMixture"
    assert told["call"]["params"]["n_init"] == 2
    assert told["seed"] == 0
    assert set(told["versions"]) == {"mixtura", "torch", "numpy", "scikit-learn"}
    # The same sum over rows, begun elsewhere: 272 terms, each right to 1e-16 or so of its size.
    assert told["criteria"]["bic"] == pytest.approx(model.bic(X, weight), rel=1e-12)
    assert told["criteria"]["aic"] == pytest.approx(model.aic(X, weight), rel=1e-12)
    assert told["criteria"]["loglik"] == model.loglik_


def test_there_is_nothing_private_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(40, 2))
    monkeypatch.chdir(tmp_path)
    fitted(x=x).save("model.safetensors")
    content = Path("model.safetensors").read_bytes()
    for row in x:
        assert struct.pack("<d", row[0]) not in content
        assert repr(float(row[0])).encode() not in content
    for word in (str(tmp_path), tmp_path.name, str(Path.home()), str(Path(mixtura.__file__).parent)):
        assert word == "/" or word.encode() not in content


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = fitted(init_params="auto", effort="quick")
    model.save(tmp_path / "a.safetensors")
    mixtura.load(tmp_path / "a.safetensors").save(tmp_path / "b.safetensors")
    fitted(init_params="auto", effort="quick").save(str(tmp_path / "c.safetensors"))
    first = (tmp_path / "a.safetensors").read_bytes()
    assert first == (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "c.safetensors").read_bytes()


# ---- saving that fails


def test_only_fitted_estimators_are_saved(tmp_path: Path) -> None:
    class Mine(GaussianMixture):
        pass

    path = tmp_path / "model.safetensors"
    with pytest.raises(NotFittedError, match="not fitted yet"):
        GaussianMixture().save(path)
    with pytest.raises(TypeError, match="a Mine cannot be saved, only a fitted GaussianMixture"):
        Mine(2).fit(X).save(path)
    with pytest.raises(TypeError, match="a dict cannot be saved"):
        inspect.unwrap(store.save)({}, path)
    model = fitted()
    model.tol = object()
    with pytest.raises(ValueError, match=r"params\.tol is a object, which cannot be saved"):
        model.save(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("model.pkl", ValueError, r"path ends with 'model.pkl', expected .* use 'model.safetensors'"),
        ("model", ValueError, "use 'model.safetensors'"),
        ("", ValueError, "use 'model.safetensors'"),
        ("no/model.safetensors", FileNotFoundError, "its directory is not there, so make it first"),
        ("file/model.safetensors", FileNotFoundError, "model.safetensors cannot be written"),
        ("d.safetensors", IsADirectoryError, "d.safetensors is a directory"),
        (7, TypeError, "path is a int, expected a string or a Path"),
    ],
)
def test_places_that_cannot_be_written(
    path: Any, error: type, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("d.safetensors").mkdir()
    Path("file").write_text("kept")
    with pytest.raises(error, match=message):
        inspect.unwrap(store.save)(fitted(), path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.safetensors", "file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_file(
    step: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    fitted().save(path)
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(*((os, "fsync", fail) if step == "fsync" else (Path, "replace", fail)))
    with pytest.raises(type(error), match="no space left on device.*save it somewhere else" if error.args else None):
        fitted("diag").save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_read_only_files_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("kept")
    monkeypatch.setattr(os, "access", lambda *_: False)  # the superuser may write anything
    with pytest.raises(PermissionError, match=r"model.safetensors cannot be written \(it is read-only\)"):
        fitted().save(path)
    assert path.read_text() == "kept"


def test_links_and_permissions_are_kept(tmp_path: Path) -> None:
    path, link = tmp_path / "v1.safetensors", tmp_path / "latest.safetensors"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    fitted().save(link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert mixtura.load(path).n_features_in_ == 2


# ---- files that are no models


def broken(path: Path, tmp_path: Path, message: str, error: type = ValueError) -> None:
    with pytest.raises(error, match=message) as caught:
        mixtura.load(path)
    assert path.name in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_what_is_not_there(tmp_path: Path) -> None:
    broken(tmp_path / "none.safetensors", tmp_path, "none.safetensors is not there", FileNotFoundError)
    broken(tmp_path, tmp_path.parent, "is not a file")
    with pytest.raises(TypeError, match="path is a NoneType"):
        inspect.unwrap(store.load)(None)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"\xff" * 400,
        b"PK\x03\x04" * 9,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 50_000) + b"[" * 50_000,
        np.random.default_rng(0).bytes(300),
        pickle.dumps([1] * 99),
    ],
)
def test_files_of_other_kinds(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    broken(path, tmp_path, "is not a safetensors file, or is damaged|holds no model of mixtura")


@pytest.mark.parametrize("words", [None, {"format": "pt"}, {"Mixtura": "{}"}])
def test_safetensors_of_other_kinds(words: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata=words)
    broken(path, tmp_path, "holds no model of mixtura")


def test_every_cut_and_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    fitted().save(path)
    whole = path.read_bytes()
    for size in [*range(12), *range(12, len(whole), 101), len(whole) - 1]:
        path.write_bytes(whole[:size])
        broken(path, tmp_path, "m.safetensors is")
    for at in [*range(8), *range(8, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        broken(path, tmp_path, r"m\.safetensors (is|has format_version)")


TEXTS = [
    "",
    "[",
    "[]",
    "{}",
    "null",
    "3",
    "[" * 100_000,
    '{"format_version": "1"}',
    '{"format_version": 0}',
    "9" * 5000,
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_metadata_of_other_kinds(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata={"mixtura": text})
    broken(path, tmp_path, "m.safetensors is damaged")


def forge(path: Path, change: Any) -> None:
    """Change a file's metadata and tensors, with a checksum that fits."""
    told, leaves = metadata(path), load_file(path)
    del told["sha256"]
    change(told, leaves)
    told["sha256"] = store.digest(told, leaves)
    save_file(leaves, path, metadata={"mixtura": json.dumps(told)})


def put(*keys: Any) -> Any:
    """A change: the last of ``keys`` goes where the others lead."""

    def change(told: dict, leaves: dict) -> None:
        for key in keys[:-2]:
            told = told[key]
        told[keys[-2]] = keys[-1]

    return change


def leaf(name: str, f: Any) -> Any:
    """A change: a tensor goes through a function."""
    return lambda told, leaves: leaves.update({f"mixture.{name}": f(leaves[f"mixture.{name}"]).contiguous()})


def entry(value: float, *at: int) -> Any:
    def change(t: torch.Tensor) -> torch.Tensor:
        t = t.clone()
        t[at] = value
        return t

    return change


TRIL = "covariance.tril"
FORGED = {
    "a missing tensor": lambda told, leaves: leaves.pop("mixture.mean"),
    "one too many": lambda told, leaves: leaves.update(more=torch.zeros(1)),
    "float32": leaf("mean", lambda t: t.float()),
    "integers": leaf("log_weight", lambda t: t.long()),
    "two restarts": lambda told, leaves: leaves.update(
        {k: t.repeat(2, *[1] * (t.ndim - 1)) for k, t in leaves.items()}
    ),
    "means of another number": leaf("mean", lambda t: t[:, :1]),
    "flat means": leaf("mean", lambda t: t[..., 0]),
    "means of other features": leaf("mean", lambda t: t.repeat(1, 1, 2)),
    "matrices of other features": leaf(TRIL, lambda t: t.repeat(1, 1, 2, 2)),
    "oblong matrices": leaf(TRIL, lambda t: t.repeat(1, 1, 1, 2)),
    "one matrix": leaf(TRIL, lambda t: t[:, :1]),
    "no matrix": leaf(TRIL, lambda t: t[:, :0]),
    "NaN": leaf("mean", entry(np.nan, 0, 0, 0)),
    "infinity": leaf(TRIL, entry(np.inf, 0, 0, 1, 0)),
    "a NaN weight": leaf("log_weight", entry(np.nan, 0, 0)),
    "weights that sum to more": leaf("log_weight", lambda t: t + 1),
    "a singular matrix": leaf(TRIL, entry(0.0, 0, 0, 1, 1)),
    "a negative root": leaf(TRIL, entry(-1.0, 0, 0, 0, 0)),
    "a class of another library": put("mixture", "record", 0, "os.system"),
    "a class for a matrix": put("mixture", "record", 1, "covariance", "record", 0, "Mixture"),
    "no mixture": put("mixture", None),
    "another estimator": put("call", "class", "KMeans"),
    "an estimator of no kind": put("call", "class", ["KMeans"]),
    "another structure": put("structure", "diag"),
    "a structure to come": put("structure", "VEV"),
    "a parameter to come": put("call", "params", "speed", 3),
    "a value of no kind": put("call", "params", "tol", {"code": "1"}),
    "a list of no kind": put("call", "params", "tol", [1]),
    "a tensor twice": put("state", "bound_", {"tensor": "mixture.mean"}),
    "numbers that are not there": put("state", "lower_bounds_", {"floats": [0, 10**9]}),
    "a method": put("state", "predict", 3),
    "a property": put("state", "n_parameters_", 3),
    "something private": put("state", "_structure_", 3),
    "names of more columns": put("feature_names", ["a", "b", "c"]),
    "another dtype": put("kind", "dtype", "float16"),
    "findings of no kind": put("findings", [1]),
    "no state": lambda told, leaves: told.pop("state"),
    "versions of no kind": lambda told, leaves: told.update(versions=3, structure="VEV"),
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_forged_files(change: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    fitted().save(path)
    forge(path, lambda told, leaves: None)
    assert mixtura.load(path).n_components == 2  # the forger knows the trade
    forge(path, change)
    broken(path, tmp_path, r"m\.safetensors (is damaged \(.*get or save it again|was written by .* does not know)")


def test_files_of_a_later_version(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    fitted().save(path)
    forge(path, put("format_version", 2))
    broken(path, tmp_path, "has format_version 2, mixtura .* reads up to 1: upgrade mixtura")
    fitted().save(path)
    forge(path, put("call", "class", "StudentMixture"))
    broken(path, tmp_path, "written by mixtura .* holds 'full' of 'StudentMixture', which mixtura .* does not know")


def test_parameters_that_a_file_does_not_know_have_their_defaults(tmp_path: Path) -> None:
    """Files of a release stay readable when the estimator has learnt more."""
    path = tmp_path / "m.safetensors"
    fitted().save(path)
    forge(path, lambda told, leaves: told["call"]["params"].pop("effort"))
    assert mixtura.load(path).effort == "standard"


# ---- files of every release

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*/*.safetensors"))


def test_the_golden_files_are_there() -> None:
    first = {f.stem for f in FILES if f.parent.name == "0.1.0"}
    assert first == {*SIX, "searched", "float32", "named", "sklearn", "given"}
    for directory in {f.parent for f in FILES}:
        known = set(json.loads((directory / EXPECTED).read_text(encoding="utf-8")))
        assert known == {f.stem for f in directory.glob("*.safetensors")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_golden_files_say_what_they_said(path: Path) -> None:
    want = json.loads((path.parent / EXPECTED).read_text(encoding="utf-8"))[path.stem]
    model = mixtura.load(path)
    # Sums of a dozen terms of order 1e2, in another order on another machine: 1e2 · 1e-16, with two digits to spare.
    np.testing.assert_allclose(model.score_samples(other_rows(model)), want["log_density"], rtol=0, atol=1e-12)
    assert model.status_ == want["status"]
    assert str(model.means_.dtype) == want["dtype"]
    assert list(getattr(model, "feature_names_in_", [])) == want["feature_names"]
    assert len(getattr(model, "starts_", [])) == want["starts"]
    assert {**model.get_params(), **want["params"]} == model.get_params()
