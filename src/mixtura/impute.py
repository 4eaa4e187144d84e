"""Impute: gaps filled by what a mixture expects there."""

import torch
from jaxtyping import Float
from torch import Tensor

from mixtura.data.base import Source
from mixtura.missing import filled
from mixtura.mixture import Mixture
from mixtura.room import BUDGET, rows_within


def imputed(mixture: Mixture, source: Source, home: torch.device) -> Float[Tensor, "N D"]:
    """All rows, each gap filled by Σₖ p(k | observed) E[missing | observed, k]; what was observed stays, to the bit.

    Args:
        mixture: one restart, in the coordinates of the data, on the CPU.
        source: of N rows, NaN where an entry is missing.
        home: where to compute, in float64.
    """
    model, each = mixture.to(home), rows_within(BUDGET, 8 * source.shape[1])
    return torch.cat([filled(model, block.x.to(home).mT).mT for block in source.blocks(each)])
