"""Columns: which of a table's columns are features, weights and identifiers, and the complaints about them."""

from collections import Counter
from dataclasses import dataclass, replace

from mixtura.data.base import About


class NoColumn(ValueError):
    """A column was asked for that is not there."""


@dataclass(frozen=True)
class Wanted:
    """What was asked for of a table.

    Attributes:
        columns: names of the features; None takes every other column.
        weight: column of row weights.
        id: column that identifies rows.
        separator: between the cells of a text.
        decimal: the decimal point of a text.
        array: name in an archive.
        compensate: take out the spillover of an FCS file.
        use_rep: which matrix of an AnnData: a key of obsm, or ``X``.
        layer: a key of its layers instead.
        n_dims: the first so many columns of it.
    """

    columns: tuple[str, ...] | None = None
    weight: str | None = None
    id: str | None = None
    separator: str | None = None
    decimal: str | None = None
    array: str | None = None
    compensate: bool | None = None
    use_rep: str | None = None
    layer: str | None = None
    n_dims: int | None = None

    def of(self, have: list[str], place: str, usual: list[str] | None = None) -> About:
        """The columns of a table that are used, by what there is.

        Args:
            have: names of all columns.
            place: what the table is called in messages.
            usual: what is used where no columns are named; None is all.

        Raises:
            NoColumn: one asked for is not there; the message lists those that are.
            ValueError: one is asked for twice, or none is left.
        """
        apart = [name for name in (self.weight, self.id) if name is not None]
        usual = have if usual is None else usual
        names = [name for name in usual if name not in apart] if self.columns is None else list(self.columns)
        there = set(have)
        for argument, asked in (("columns", names), ("weight", [self.weight]), ("id", [self.id])):
            missing = [name for name in asked if name is not None and name not in there]
            if missing:
                raise NoColumn(f"{argument}: {place} has no column {listed(missing)}; it has {listed(have, 40)}")
        if len(set(names)) < len(names):
            twice = sorted(name for name, n in Counter(names).items() if n > 1)
            raise NoColumn(f"columns names {listed(twice)} more than once: name each column once")
        if self.weight is not None and self.weight in names:
            raise NoColumn(f"weight: {self.weight!r} is one of columns, too: a weight is not a feature")
        if not names:
            besides = f" besides {listed(apart)}" if apart else ""
            raise ValueError(f"{place} has no column{besides}: there is nothing to fit")
        used = {*names, *apart}
        left_out = tuple(name for name in have if name not in used)
        return About(tuple(names), left_out=left_out, id=self.id, weight=self.weight)


def read_columns(about: About) -> list[str]:
    """The columns that have to be read, each once: features, weight, identifier."""
    return list(dict.fromkeys([*(about.names or ()), *(n for n in (about.weight, about.id) if n is not None)]))


def told(about: About, *sentences: str) -> About:
    """The same with more to say."""
    return replace(about, told=(*about.told, *(s for s in sentences if s)))


def listed(names: list[str], most: int = 8) -> str:
    """Names in quotes, the first few of many."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
