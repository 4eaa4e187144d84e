"""Cross: children of two optima, each of whose components is one parent's or its counterpart in the other."""

import numpy as np
import torch
from jaxtyping import Float64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mixtura.mixture import Mixture
from mixtura.moves import View, cosines
from mixtura.plan import Ground
from mixtura.record import Record
from mixtura.start import ENTRIES, mixture_from

ALIKE = 0.99
"""Cosine of the shares from which a component and its counterpart are one."""


def children(one: View, other: View, draws: Float64[Tensor, "M K"], ground: Ground) -> Mixture | None:
    """Mixtures that take each component from one of two parents at random; None where that makes nothing new.

    Components are paired by the rows that they share (Gribel & Vidal 2019 do so for k-means; Pernkopf & Bouchaffra 2005
    cross mixtures). Children that are the same, or one of the parents, are left out; of a parent that is no number
    there are none.

    Args:
        one: a parent, seen by a sample.
        other: the other one, seen by the same rows.
        draws: uniform numbers that choose.
        ground: for the structure and the M-step.
    """
    alike = cosines(one.share, other.share, one.sample.weight)
    if not bool(alike.isfinite().all()):
        return None
    _, counterpart = linear_sum_assignment(-alike.numpy())
    same = alike.numpy()[np.arange(len(alike)), counterpart] > ALIKE
    drawn = np.unique((draws.numpy() < 0.5) | same, axis=0)
    taken = (drawn & ~same).sum(1)
    first = torch.from_numpy(drawn[(taken > 0) & (taken < (~same).sum())])
    if not len(first):
        return None
    joint = other.joint[torch.from_numpy(counterpart)]
    batch = max(1, ENTRIES // joint.numel())
    made = []
    for some in torch.split(first, batch):
        share = torch.where(some[..., None], one.joint, joint).softmax(1)
        made.append(mixture_from(share, one.sample, ground.unit, ground.rule, one.columns))
    return Record.cat(made)
