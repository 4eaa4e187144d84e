"""Shake: an optimum whose rows are weighed anew at random, which leads past optima that differ in a few rows only."""

import torch
from jaxtyping import Float64
from torch import Tensor

from mixtura.mixture import Mixture
from mixtura.moves import View
from mixtura.plan import Ground
from mixtura.record import Record
from mixtura.start import ENTRIES, mixture_from


def shaken(view: View, draws: Float64[Tensor, "M S"], ground: Ground) -> Mixture:
    """Mixtures that rows weighed at random give by an optimum's shares: one M-step each, from which EM goes on.

    Of few rows the likelihood has many optima that are a few rows apart, which neither moves of whole components nor
    kicks tell apart. An optimum of rows drawn anew is elsewhere by about as much (bootstrap restarting: Wood 2001); the
    weights are exponential, as in the Bayesian bootstrap, so that no row is without any.

    Args:
        view: an optimum, seen by a sample.
        draws: uniform numbers, one for each row of each mixture.
        ground: for the structure and the M-step.
    """
    batch = max(1, ENTRIES // view.share.numel())
    each = [view.share * -torch.log1p(-some)[:, None] for some in torch.split(draws, batch)]
    return Record.cat([mixture_from(share, view.sample, ground.unit, ground.rule, view.columns) for share in each])
