"""Store: fitted estimators in safetensors files, written whole or not at all, and read without trust."""

import contextlib
import hashlib
import json
import math
import os
import secrets
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from mixtura import __version__
from mixtura.apps.pack import Packer, UnknownName, Unpacker
from mixtura.apps.summary import versions
from mixtura.covariance import NAMES, STRUCTURES
from mixtura.criteria import Figures, aic, bic
from mixtura.estimator import GaussianMixture
from mixtura.family import Gaussian
from mixtura.fitted import place
from mixtura.inputs import Kind
from mixtura.mixture import Mixture
from mixtura.published import PUBLISHED, PublishedMixture
from mixtura.record import Record
from mixtura.sound import Finding

FORMAT = 1
"""Version of the layout of a file; raised when a version of mixtura that reads this one would misread the next."""

SUFFIX = ".safetensors"

KEY = "mixtura"
"""The one entry of the file's metadata: safetensors writes several in random order."""

ESTIMATORS: dict[str, type[PublishedMixture]] = {cls.__name__: cls for cls in (GaussianMixture,)}
"""What can be saved and loaded."""

APART = {*PUBLISHED, "mixture_", "n_features_in_", "feature_names_in_", "seed_"}
"""Fitted attributes that have a place of their own in the file, or that follow from what has."""

DAMAGED = (ArithmeticError, AttributeError, LookupError, RecursionError, RuntimeError, TypeError, ValueError)
"""What reading damaged contents may raise."""


def save(model: PublishedMixture, path: str | os.PathLike) -> None:
    """Write a fitted estimator into a file; see :meth:`PublishedMixture.save`."""
    place = _path(path)
    if ESTIMATORS.get(type(model).__name__) is not type(model):
        raise TypeError(f"a {type(model).__name__} cannot be saved, only a fitted {' or '.join(ESTIMATORS)}")
    check_is_fitted(model)
    if place.suffix != SUFFIX:
        better = place.with_suffix(SUFFIX).name if place.name else f"model{SUFFIX}"
        raise ValueError(f"path ends with {place.name!r}, expected a name with {SUFFIX}: use {better!r}")
    _write(place, contents(model))


def load(path: str | os.PathLike, device: Any = None) -> Any:
    """A fitted estimator from the file that its ``save`` wrote.

    The file is read, never run: it holds tensors and JSON, and only classes of mixtura are made from it.

    Args:
        path: the file.
        device: where to compute from now on, as in the constructor; a model that was fitted to tensors has its
            attributes there. None is the CPU, wherever the model was fitted.

    Returns:
        The estimator: on the same machine its methods give the same bits as before.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no model of mixtura, is damaged, or was written by a newer version.
        OSError: the file cannot be read.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import mixtura
        >>> gm = mixtura.GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [4.0]], [1.0, 1.0], "spherical")
        >>> with tempfile.TemporaryDirectory() as place:
        ...     gm.save(Path(place) / "model.safetensors")
        ...     again = mixtura.load(Path(place) / "model.safetensors")
        >>> again.predict([[1.0], [3.0]])
        array([0, 1])
    """
    where = _path(path)
    if not where.exists():
        raise FileNotFoundError(f"{where.name} is not there: check its name and its directory")
    if not where.is_file():
        raise ValueError(f"{where.name} is not a file, expected one that save wrote: check the path")
    told, leaves = _read(where)
    kind = place(device, Kind(torch.float64, None))  # before the file is blamed for it
    try:
        if told.pop("sha256") != digest(told, leaves):
            raise ValueError("its checksum is another one")
        return build(told, leaves, device, kind)
    except UnknownName as unknown:
        raise ValueError(
            f"{where.name} was written by mixtura {_writer(told)} and holds {unknown}, which mixtura {__version__} "
            "does not know: install the version that wrote it, or a newer one"
        ) from None
    except DAMAGED as error:
        raise ValueError(f"{where.name} is damaged ({_brief(error)}): {AGAIN}") from None


AGAIN = "get or save it again"


# ---- an estimator as metadata and tensors


def contents(model: PublishedMixture) -> bytes:
    """The bytes of a file: the same for the same model and the same versions of what it was made with."""
    from safetensors.torch import save as serialise

    packer = Packer()
    told = describe(model, packer)
    leaves = packer.leaves()
    told["sha256"] = digest(told, leaves)
    return serialise(leaves, metadata={KEY: _text(told)})


def describe(model: PublishedMixture, packer: Packer) -> dict[str, Any]:
    """Everything about a fitted estimator, in types that JSON knows; the packer gathers its tensors."""
    params = portable(model)
    # Sorted, so that a model that was loaded is written as it was: the order decides where a list's numbers lie.
    state = {name: value for name, value in sorted(vars(model).items()) if _fitted(model, name) and name not in APART}
    names = getattr(model, "feature_names_in_", None)
    return {
        "format_version": FORMAT,
        "call": {
            "class": type(model).__name__,
            "params": {name: packer.pack(value, f"params.{name}") for name, value in sorted(params.items())},
        },
        "structure": model._structure,
        "kind": {
            "dtype": str(model._kind.dtype).removeprefix("torch."),
            "library": "numpy" if model._kind.device is None else "torch",
        },
        "feature_names": None if names is None else [str(name) for name in names],
        "seed": getattr(model, "seed_", None),
        "criteria": criteria(model),
        "versions": versions(),
        "findings": [list(finding) for finding in model._findings],
        "mixture": packer.pack(model.mixture_, "mixture"),
        "state": {name: packer.pack(value, name) for name, value in state.items()},
    }


def _fitted(model: PublishedMixture, name: str) -> bool:
    """A name of a fitted attribute, by scikit-learn's convention, and of no method or property."""
    public = name.isidentifier() and name.endswith("_") and not name.startswith("_")
    return public and not hasattr(type(model), name)


def portable(model: PublishedMixture) -> dict[str, Any]:
    """The parameters that mean the same elsewhere: no device or progress, and the seed in place of a generator."""
    params = dict(model.get_params(deep=False))
    for here in ("device", "progress"):
        params.pop(here, None)
    if isinstance(params.get("random_state"), np.random.RandomState | np.random.Generator | torch.Generator):
        params["random_state"] = getattr(model, "seed_", None)
    return params


def criteria(model: Any) -> dict[str, Any]:
    """What is known of the fit to its own rows, without them; empty for a model that was not fitted here."""
    if not hasattr(model, "loglik_") or not math.isfinite(model.loglik_):
        return {}
    known = Figures(model.loglik_, model.n_parameters_, model._weight)
    return {
        "loglik": model.loglik_,
        "n_parameters": known.parameters,
        "n": model._weight,
        "bic": bic(known),
        "aic": aic(known),
    }


def build(told: dict[str, Any], leaves: dict[str, Tensor], device: Any, home: torch.device) -> PublishedMixture:
    """The estimator that :func:`describe` described.

    Raises:
        UnknownName: a class, structure or parameter is not known.
        Exception: of the kinds ``DAMAGED``: this is not what :func:`describe` makes.
    """
    unpacker = Unpacker(leaves, records())
    call, structure, kind = told["call"], told["structure"], told["kind"]
    cls = ESTIMATORS.get(call["class"])
    if cls is None or structure not in NAMES:
        raise UnknownName(f"{structure!r:.60} of {call['class']!r:.60}")
    params = {name: unpacker.unpack(value) for name, value in call["params"].items()}
    if unknown := sorted(set(params) - set(cls._get_param_names())):
        raise UnknownName(f"the parameter {unknown[0]!r:.60}")
    model = cls(**params).set_params(device=device)
    mixture = unpacker.unpack(told["mixture"])
    check_mixture(mixture, structure)
    single = {"float32": True, "float64": False}[kind["dtype"]] or (kind["library"] == "torch" and home.type == "mps")
    on = {"numpy": None, "torch": home}[kind["library"]]
    model._publish(mixture, Kind(torch.float32 if single else torch.float64, on), structure)
    _remember(model, told, {name: unpacker.unpack(value) for name, value in told["state"].items()})
    unpacker.finish()
    return model


def _remember(model: PublishedMixture, told: dict[str, Any], state: dict[str, Any]) -> None:
    for name, value in state.items():
        if not _fitted(model, name):
            raise ValueError(f"{name!r:.60} is not an attribute of a fitted model")
        setattr(model, name, value)
    features = model.mixture_.shape[2]
    model.n_features_in_ = features
    if told["feature_names"] is not None:
        names = [str(name) for name in told["feature_names"]]
        if len(names) != features:
            raise ValueError(f"{len(names)} names for {features} features")
        model.feature_names_in_ = np.array(names, dtype=object)
    if told["seed"] is not None:
        model.seed_ = int(told["seed"])
    if "n" in told["criteria"]:
        model._weight = float(told["criteria"]["n"])
    model._findings = [Finding(str(a), None if k is None else int(k), str(m)) for a, k, m in told["findings"]]


def records() -> dict[str, type[Record]]:
    """The classes that a mixture is made of: those of every registered structure, whatever it wraps."""
    found: dict[str, type[Record]] = {}
    waiting: list[Record] = [entry.unit(1, 2, 2) for entry in STRUCTURES.values()]
    while waiting:
        record = waiting.pop()
        found[type(record).__name__] = type(record)
        inside = (getattr(record, a.name) for a in fields(record))
        waiting += [value for value in inside if isinstance(value, Record)]
    return {**found, "Mixture": Mixture, "Gaussian": Gaussian}


def check_mixture(mixture: Any, name: str) -> None:
    """Complain of what is not one finite, positive definite mixture of a structure.

    Raises:
        ValueError: a shape, a dtype or a value is not usable.
        Exception: whatever the structure itself says of its parts.
    """
    if not isinstance(mixture, Mixture):
        raise ValueError("it holds no mixture")
    if any(t.dtype != torch.float64 or t.ndim < 2 or t.shape[0] != 1 for t in mixture.leaves()):
        raise ValueError("parameters have a wrong shape or type")
    weight, mean, covariance = mixture.log_weight, mixture.mean, mixture.covariance
    if mean.ndim != 3 or weight.shape != mean.shape[:2]:
        raise ValueError("weights and means have unlike shapes")
    _, components, features = mixture.shape
    finite = all(bool(t.isfinite().all()) for t in (mean, *covariance.leaves()))
    if not finite or not math.isclose(float(weight.exp().sum()), 1, abs_tol=1e-6):
        raise ValueError("parameters are not finite, or weights do not sum to 1")
    unit = NAMES[name].unit(1, components, features)
    alike = [t.shape for t in covariance.leaves()] == [t.shape for t in unit.leaves()]
    if type(covariance) is not type(unit) or covariance.about() != unit.about() or not alike:
        raise ValueError(f"matrices are not those of {name}")
    white = covariance.whiten(torch.zeros(features, 1, dtype=torch.float64), mean)
    if not bool((covariance.variances() > 0).all() & covariance.log_det().isfinite().all() & white.isfinite().all()):
        raise ValueError("a matrix is not positive definite")


# ---- files


def digest(told: dict[str, Any], leaves: dict[str, Tensor]) -> str:
    """SHA-256 of metadata and tensors, so that a single changed bit is noticed."""
    found = hashlib.sha256(_text(told).encode())
    for name, leaf in sorted(leaves.items()):
        found.update(f"{name} {leaf.dtype} {tuple(leaf.shape)}".encode())
        found.update(leaf.contiguous().numpy().tobytes())
    return found.hexdigest()


def _text(told: dict[str, Any]) -> str:
    return json.dumps(told, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _path(path: Any) -> Path:
    try:
        return Path(path)
    except TypeError:
        raise TypeError(f"path is a {type(path).__name__}, expected a string or a Path") from None


def _writer(told: dict[str, Any]) -> str:
    found = told.get("versions")
    return str(found.get("mixtura")) if isinstance(found, dict) else "None"


def _brief(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata of a version that is known, and the tensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as opened:
            # Read no tensor before it is clear that the file is one of ours: others may be larger than memory.
            told = _metadata(opened.metadata(), path.name)
            leaves = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path.name} is not a safetensors file, or is damaged or cut short ({_brief(error)}): {AGAIN}"
        ) from None
    except OSError as error:
        raise type(error)(f"{path.name} cannot be read ({_brief(error)}): check its permissions") from None
    return told, leaves


def _metadata(metadata: dict[str, str] | None, name: str) -> dict[str, Any]:
    if KEY not in (metadata or {}):
        raise ValueError(f"{name} is a safetensors file, but holds no model of mixtura: pass one that save wrote")
    try:
        told = json.loads(metadata[KEY])  # type: ignore[index]
        version = told["format_version"]
    except DAMAGED as error:
        raise ValueError(f"{name} is damaged ({_brief(error)}): {AGAIN}") from None
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"{name} is damaged (its format_version is {version!r:.60}): {AGAIN}")
    if version > FORMAT:
        raise ValueError(
            f"{name} has format_version {version}, mixtura {__version__} reads up to {FORMAT}: upgrade mixtura"
        )
    return dict(told)


def _write(path: Path, data: bytes) -> None:
    """Write beside the place and move there: what was there before stays until the new file is complete."""
    where = Path(os.path.realpath(path))
    if where.is_dir():
        raise IsADirectoryError(f"{path.name} is a directory where a file is to be written: give another name")
    if not where.parent.is_dir():
        raise FileNotFoundError(f"{path.name} cannot be written: its directory is not there, so make it first")
    beside = where.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        if where.exists() and not os.access(where, os.W_OK):
            raise PermissionError("it is read-only")
        with beside.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if where.exists():
            shutil.copymode(where, beside)
        beside.replace(where)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise type(error)(f"{path.name} cannot be written ({reason}): save it somewhere else") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
