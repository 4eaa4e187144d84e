"""Steps: what is done to the values of a source before they are fitted; it belongs to the model."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mixtura.data.base import ALL, About, Block, Source
from mixtura.data.columns import NoColumn, listed


class Asinh:
    """asinh(x / cofactor) of some columns of a source; the others pass.

    The transform is roughly linear within ± the cofactor and logarithmic beyond, on both sides of 0.

    Args:
        source: where the rows come from.
        cofactor: where linear turns into logarithmic.
        at: positions of the columns.
        about: the columns and what was done to them.
    """

    def __init__(self, source: Source, cofactor: float, at: list[int], about: About) -> None:
        self.source, self.cofactor, self.at, self.about = source, cofactor, at, about

    @property
    def shape(self) -> tuple[int | None, int]:
        return self.source.shape

    def blocks(self, rows: int, part: tuple[int, int] = ALL, *, ids: bool = False) -> Iterator[Block]:
        for block in self.source.blocks(rows, part, ids=ids):
            yield block._replace(x=self._done(block.x))

    def _done(self, x: Tensor) -> Tensor:
        x = x if x.is_floating_point() else x.to(torch.float64)
        if len(self.at) == x.shape[1]:
            return (x / self.cofactor).asinh_()
        x = x.clone()
        x[:, self.at] = (x[:, self.at] / self.cofactor).asinh_()
        return x


def asinh(source: Source, cofactor: float | int, columns: Sequence[str] | None) -> Source:
    """The same source with the transform taken of some columns, None for all.

    Raises:
        NoColumn: one of the columns is not a feature.
        ValueError: the cofactor is not positive.
    """
    if not (math.isfinite(cofactor) and cofactor > 0):
        raise ValueError(f"cofactor is {cofactor!r}, expected a number above 0, such as 5 or 150")
    have = feature_names(source)
    chosen = have if columns is None else list(map(str, columns))
    if missing := [name for name in chosen if name not in have]:
        raise NoColumn(f"transform_columns: {listed(missing)} is not a feature; there are {listed(have, 40)}")
    at = [j for j, name in enumerate(have) if name in chosen]
    which = "all features" if len(at) == len(have) else ", ".join(have[j] for j in at)
    step = {"name": "asinh", "cofactor": float(cofactor), "columns": [have[j] for j in at]}
    said = f"asinh(x / {cofactor:g}) was taken of {which}."
    about = replace(source.about, steps=(*source.about.steps, step), told=(*source.about.told, said))
    return Asinh(source, float(cofactor), at, about)


def feature_names(source: Source) -> list[str]:
    """(D,) names of the features, their indices where they have none."""
    return list(source.about.names or map(str, range(source.shape[1])))


def same_steps(fitted: Sequence[dict[str, Any]], given: Sequence[dict[str, Any]]) -> bool:
    """Two sources were read alike; what a file says of itself, such as the name of its own spillover, may differ."""
    own = ("keyword",)
    return [_without(step, own) for step in fitted] == [_without(step, own) for step in given]


def _without(step: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in step.items() if key not in keys}


def say_steps(steps: Sequence[dict[str, Any]]) -> str:
    """What was done to the values, in a few words."""
    said = [
        f"asinh(x / {step['cofactor']:g}) of {', '.join(step['columns'])}"
        if step["name"] == "asinh"
        else {"compensate": "compensation"}.get(step["name"], step["name"])
        for step in steps
    ]
    return " and ".join(said) or "no transform"
