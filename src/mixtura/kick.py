"""Kick: several components of an optimum moved at once, further than any single move leads."""

import torch
from jaxtyping import Float64
from torch import Tensor

from mixtura.mixture import Mixture
from mixtura.moves import Halves, View
from mixtura.plan import Ground
from mixtura.start import mixture_from

LEAST = 2
"""Fewest components that are moved: one is what a move does."""


def kick(view: View, halves: Halves, draws: Float64[Tensor, "K"], size: float, ground: Ground) -> Mixture | None:
    """A mixture of which some components, up to half of them, have gone and as many others are split.

    Which and how many are drawn at random: what promises most, moves have tried. Where local search goes on from kicks
    of the best optimum so far, it comes further than from as many new starts, because most of that optimum is right
    (iterated local search: Lourenço, Martin & Stützle 2003).

    Args:
        view: an optimum, seen by a sample.
        halves: a split of each of its components.
        draws: uniform numbers: components are taken in their order.
        size: a uniform number that says how many.
        ground: for the structure and the M-step.

    Returns:
        The mixture; None where no component can be split.
    """
    order, most = draws.argsort(stable=True).tolist(), max(len(draws) // 2, 1)
    least = min(LEAST, most)
    many = least + int(size * (most - least + 1))
    half = [k for k in order if bool(halves.gain[k].isfinite())][:many]
    gone = [k for k in order if k not in half][: len(half)]
    if not gone:
        return None
    share = view.joint.index_fill(0, torch.tensor(gone), -torch.inf).softmax(0)
    for k, free in zip(half, gone, strict=False):
        first = halves.first[k] * share[k]
        share[k], share[free] = first, share[k] - first
    return mixture_from(share[None], view.sample, ground.unit, ground.rule, view.columns)
