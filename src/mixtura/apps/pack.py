"""Pack: plain values, arrays and Records as JSON and named tensors, and back, with no class but those allowed."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixtura.record import Record

NUMBERS = "numbers"
"""The tensor that holds all lists of floats, one behind the other."""


class UnknownName(ValueError):
    """A packed value asks for something that is not on the list of what may be made."""


class Packer:
    """Turns values into JSON, and gathers their numbers.

    None, booleans, integers, strings and finite floats stand for themselves. Everything else is an object with one
    key, which says what it is: ``float`` (not finite), ``floats`` (a list, by its place in the tensor ``numbers``),
    ``list``, ``tuple``, ``dict`` (pairs, in order), ``array`` and ``tensor`` (by name), ``record`` (class and fields).

    Examples:
        >>> packer = Packer()
        >>> packer.pack({"kind": "kmeans", "bounds": [-2.5, -2.25]}, "start")
        {'dict': [['kind', 'kmeans'], ['bounds', {'floats': [0, 2]}]]}
        >>> packer.leaves()
        {'numbers': tensor([-2.5000, -2.2500], dtype=torch.float64)}
    """

    def __init__(self) -> None:
        self._leaves: dict[str, Tensor] = {}
        self._numbers: list[float] = []

    def leaves(self) -> dict[str, Tensor]:
        """The tensors of everything that was packed, by name."""
        numbers = {NUMBERS: torch.tensor(self._numbers, dtype=torch.float64)} if self._numbers else {}
        return self._leaves | numbers

    def pack(self, value: Any, at: str) -> Any:
        """A value as JSON.

        Args:
            value: what to pack.
            at: its name, for tensors and messages.

        Raises:
            ValueError: the value is of a kind that cannot be packed.
        """
        if value is None or isinstance(value, bool | str):
            return value if type(value) is not np.str_ else str(value)
        if isinstance(value, np.generic) and value.dtype.kind in "biuf":
            value = value.item()
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"float": str(float(value))}
        if isinstance(value, Record):
            inner = {a.name: self.pack(getattr(value, a.name), f"{at}.{a.name}") for a in fields(value)}
            return {"record": [type(value).__name__, inner]}
        if type(value) in (list, tuple):
            return self._sequence(value, at)
        if type(value) is dict and all(isinstance(key, str) for key in value):
            return {"dict": [[str(key), self.pack(inner, f"{at}.{key}")] for key, inner in value.items()]}
        return self._array(value, at)

    def _sequence(self, value: Any, at: str) -> Any:
        if type(value) is list and value and all(type(v) is float for v in value):
            self._numbers += value
            return {"floats": [len(self._numbers) - len(value), len(value)]}
        return {type(value).__name__: [self.pack(inner, f"{at}.{i}") for i, inner in enumerate(value)]}

    def _array(self, value: Any, at: str) -> Any:
        if isinstance(value, Tensor):
            # A clone, since the format knows no tensors that share memory.
            self._leaves[at] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
            return {"tensor": at}
        array = np.asarray(value) if hasattr(value, "__array__") else None
        if array is None or array.dtype.kind not in "biuf":
            raise ValueError(
                f"{at} is a {type(value).__name__}, which cannot be saved: "
                "use numbers, strings, lists or numeric arrays"
            )
        # Kinds that torch does not have, such as long doubles, become float64.
        known = array.dtype.isnative and array.dtype.itemsize <= 8 and array.dtype.kind not in "u"
        self._leaves[at] = torch.from_numpy(np.array(array, dtype=None if known else np.float64, order="C"))
        return {"array": at}


class Unpacker:
    """Turns what a :class:`Packer` made into values again; nothing is made that is not on a list.

    Args:
        leaves: the tensors, by name.
        records: the classes of Records that may be made, by name.
    """

    def __init__(self, leaves: Mapping[str, Tensor], records: Mapping[str, type[Record]]) -> None:
        self._leaves = dict(leaves)
        self._numbers: list[float] = self._leaves.pop(NUMBERS, torch.empty(0)).tolist()
        self._records = records

    def unpack(self, packed: Any) -> Any:
        """The value.

        Raises:
            UnknownName: a class is not allowed.
            ValueError: this is nothing that a packer makes.
            KeyError: a tensor is missing, or is asked for twice.
        """
        if packed is None or isinstance(packed, bool | int | float | str):
            return packed
        if not isinstance(packed, dict) or len(packed) != 1:
            raise ValueError(f"{packed!r:.60} is not a packed value")
        ((what, inner),) = packed.items()
        match what:
            case "float":
                return float(inner)
            case "floats":
                return self._floats(*inner)
            case "list":
                return [self.unpack(v) for v in inner]
            case "tuple":
                return tuple(self.unpack(v) for v in inner)
            case "dict":
                return {str(key): self.unpack(v) for key, v in inner}
            case "tensor":
                return self._leaves.pop(inner)
            case "array":
                return self._leaves.pop(inner).numpy()
            case "record":
                return self._record(*inner)
        raise ValueError(f"{what!r:.60} is not a kind of packed value")

    def _floats(self, start: int, count: int) -> list[float]:
        if not 0 <= start < start + count <= len(self._numbers):
            raise ValueError(f"{NUMBERS} has no entries {start} … {start + count}")
        return self._numbers[start : start + count]

    def _record(self, name: str, inner: dict[str, Any]) -> Record:
        if name not in self._records:
            raise UnknownName(f"{name!r:.60}")
        cls = self._records[name]
        if set(inner) != {a.name for a in fields(cls)}:
            raise ValueError(f"{name} has the fields {sorted(inner)}")
        return cls(**{key: self.unpack(v) for key, v in inner.items()})

    def finish(self) -> None:
        """Complain of tensors that nothing asked for.

        Raises:
            ValueError: there are some.
        """
        if self._leaves:
            raise ValueError(f"{sorted(self._leaves)[:3]} belong to nothing")
