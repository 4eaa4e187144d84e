"""Impute: gaps filled by what a mixture expects there."""

import torch
from jaxtyping import Float
from torch import Tensor

from mixtura.data.base import Source
from mixtura.missing import filled
from mixtura.mixture import Mixture
from mixtura.rows import BUDGET, rows_within


def imputed(mixture: Mixture, source: Source, device: torch.device) -> Float[Tensor, "N D"]:
    """All rows, each gap filled by Σₖ p(k | observed) E[missing | observed, k]; what was observed stays, to the bit.

    Args:
        mixture: one restart, in the coordinates of the data, on the CPU.
        source: of N rows, NaN where an entry is missing.
        device: where to compute.
    """
    # Means far from 0 need float64, which not every device has.
    at = torch.device("cpu") if device.type == "mps" else device
    model, each = mixture.to(at), rows_within(BUDGET, 8 * source.shape[1])
    return torch.cat([filled(model, block.x.to(at).mT).mT for block in source.blocks(each)])
