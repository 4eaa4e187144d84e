"""Eigen: the M-step of volumes, shapes and orientations, of many restarts in one call of the compiled library."""

import ctypes

import torch

from mixtura.covariance.likeliest import Likeliest, Parts, Problem
from mixtura.native.layout import Shaping
from mixtura.native.library import library

WIDEST = 64
"""Features up to which its plain rotations are fast enough."""

ALIGN = 64


def serves(problem: Problem) -> bool:
    """The library is there, and these are numbers that it can work on."""
    second = problem.second
    return (
        not problem.blind
        and second.device.type == "cpu"
        and second.dtype == torch.float64
        and second.numel() > 0
        and second.shape[-1] <= WIDEST
        and library().handle is not None
    )


def room(components: int, features: int) -> int:
    """Doubles that one M-step works in: ``bench`` in eigen.c."""
    return components * (2 * features + 3 + features * features) + 1 + 3 * features * features


def solve(problem: Problem) -> Likeliest:
    """What :meth:`Problem.solve` does."""
    begun, second = problem.begun, problem.second
    (restarts, components), features = problem.n.shape, second.shape[-1]
    n, used = problem.n.contiguous(), second.clone(memory_format=torch.contiguous_format)
    volume, shape, axes = (None if t is None else t.clone(memory_format=torch.contiguous_format) for t in begun)
    assert volume is not None
    assert shape is not None
    doubtful = torch.zeros(restarts, components, dtype=torch.int32)
    least = None if problem.least is None else problem.least.contiguous()
    parts = max(1, min(torch.get_num_threads(), restarts))
    each = -(-8 * room(components, features) // ALIGN) * ALIGN
    work = torch.empty(parts * each, dtype=torch.uint8)
    job = Shaping(
        *(n.data_ptr(), None if least is None else least.data_ptr(), used.data_ptr(), volume.data_ptr()),
        *(shape.data_ptr(), None if axes is None else axes.data_ptr(), doubtful.data_ptr(), work.data_ptr(), each),
        *(restarts, features, components, volume.shape[1], shape.shape[1], 0 if axes is None else axes.shape[1]),
        *(problem.warm, parts, 0, 0),
    )
    library().function("shape")(ctypes.byref(job))
    return Likeliest(Parts(volume, shape, axes), doubtful.bool())
