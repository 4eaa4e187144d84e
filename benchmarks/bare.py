"""The two matrix products that a pass of EM cannot do without, and nothing else."""

import time
from collections.abc import Callable

import torch
from workloads import Workload

from mixtura.rows import BUDGET, rows_within


def bare(workload: Workload, dtype: torch.dtype, device: str = "cpu") -> Callable[[int], float]:
    """A job that gives the seconds of so many times Θ Φ and then ρ Φᵀ over all rows.

    Φ (P, N) is ready-made, in chunks of as many rows as a fit takes: there is no building it, no softmax and no M-step.
    """
    coefficients, components = workload.coefficients, workload.components
    at_once = rows_within(BUDGET, (coefficients + components) * dtype.itemsize)
    generator = torch.Generator(device).manual_seed(0)

    def normal(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, dtype=dtype, device=device, generator=generator)

    sizes = [min(at_once, workload.rows - begun) for begun in range(0, workload.rows, at_once)]
    phi = [normal(coefficients, size) for size in sizes]
    theta, sums = normal(components, coefficients), normal(components, coefficients)
    joint = {size: normal(components, size) for size in set(sizes)}

    def seconds(passes: int) -> float:
        wait(device)
        begun = time.perf_counter()
        for _ in range(passes):
            for chunk in phi:
                product = joint[chunk.shape[1]]
                torch.mm(theta, chunk, out=product)
                torch.mm(product, chunk.mT, out=sums)
        wait(device)
        return time.perf_counter() - begun

    return seconds


def wait(device: str) -> None:
    """Until a GPU has done what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
