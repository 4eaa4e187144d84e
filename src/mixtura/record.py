"""Record: a frozen tree of tensors, and the one walk that every type below shares."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

R = TypeVar("R", bound="Record")


@cache
def names(kind: Hashable) -> tuple[str, ...]:
    """The names of the fields of a dataclass."""
    return tuple(field.name for field in fields(cast("Any", kind)))


@dataclass(frozen=True, eq=False)
class Record:
    """A frozen dataclass whose fields are tensors, Records, tuples of these, or static values.

    Every tensor leaf has the restarts as its first axis, so one walk gives addition, selection and concatenation of
    restarts, and moves between devices, to every type of the library.
    """

    def map(self: R, f: Callable[..., Tensor], *others: R) -> R:
        """Apply ``f`` to each tensor leaf (with the same leaf of ``others``); static values are kept."""
        return _mapped(f, self, *others)

    def leaves(self) -> list[Tensor]:
        """The tensor leaves in the order of the fields."""
        found: list[Tensor] = []
        _gather(self, found)
        return found

    def take(self: R, at: Any) -> R:
        """The restarts selected by an index, a slice or a mask (the axis stays)."""
        return self.map(lambda t: t[at])

    def put(self: R, at: Tensor, some: R) -> R:
        """The same with the restarts ``at`` replaced by ``some``."""
        return self.map(lambda t, new: t.index_copy(0, at.to(t.device), new), some)

    def to(self: R, *args: Any) -> R:
        """Every leaf through ``Tensor.to``."""
        return self.map(lambda t: t.to(*args))

    def __add__(self: R, other: R) -> R:
        return self.map(torch.add, other)

    @staticmethod
    def cat(records: "Sequence[R]") -> "R":
        """Records of the same kind joined along the restarts; the inverse of ``take``."""
        if len(records) == 1:
            return records[0]
        return records[0].map(lambda *parts: torch.cat(parts), *records[1:])


def _mapped(f: Callable[..., Tensor], value: Any, *rest: Any) -> Any:
    # Called for every small batch, so that what dataclasses.replace looks up and checks would show.
    if isinstance(value, Tensor):
        return f(value, *rest)
    if isinstance(value, Record):
        kind = type(value)
        each = names(cast("Hashable", kind))
        if not rest:
            return kind(*[_mapped(f, getattr(value, a)) for a in each])
        return kind(*[_mapped(f, getattr(value, a), *[getattr(o, a) for o in rest]) for a in each])
    if isinstance(value, tuple):
        return tuple([_mapped(f, *parts) for parts in zip(value, *rest, strict=True)])
    return value


def _gather(value: Any, found: list[Tensor]) -> None:
    if isinstance(value, Tensor):
        found.append(value)
    elif isinstance(value, Record):
        for a in names(cast("Hashable", type(value))):
            _gather(getattr(value, a), found)
    elif isinstance(value, tuple):
        for part in value:
            _gather(part, found)
