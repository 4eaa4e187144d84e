"""Starts: seedings, Lloyd's rounds and agglomeration of many restarts, each in one call of the compiled library."""

import ctypes

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from mixtura.native.layout import Means, Merging
from mixtura.native.library import library

STEP = 16
"""Rows that the library takes at a time."""

LANES = 4
"""Groups that it takes at a time."""

GRAIN = 2**17
"""Multiplications worth waking a thread for."""

SLICE = 2**30
"""Multiplications in one call, so that Ctrl-C is heard between restarts."""

ALIGN = 64


def serves(*tensors: Tensor) -> bool:
    """The library is there, and these are numbers that it can work on."""
    return library().handle is not None and all(
        t.dtype == torch.float64 and t.device.type == "cpu" and t.numel() for t in tensors
    )


def plusplus(
    x: Float64[Tensor, "S D"], weight: Float64[Tensor, "S"], u: Float64[Tensor, "R K T"]
) -> Float64[Tensor, "R K D"]:
    """Greedy k-means++: the same centres as :func:`mixtura.kmeans.plusplus` from the same uniform numbers."""
    restarts, components, trials = u.shape
    centres = x.new_empty(restarts, components, x.shape[1])
    _kmeans("plusplus", x, weight, centres, components * trials, u=u.contiguous())
    return centres


def lloyd(
    x: Float64[Tensor, "S D"], weight: Float64[Tensor, "S"], centres: Float64[Tensor, "R K D"], rounds: int
) -> Float64[Tensor, "R K D"]:
    """Lloyd's rounds; each restart stops by itself."""
    centres = centres.clone(memory_format=torch.contiguous_format)
    _kmeans("lloyd", x, weight, centres, rounds * centres.shape[1], rounds=rounds)
    return centres


def nearest(
    x: Float64[Tensor, "S D"], centres: Float64[Tensor, "R K D"]
) -> tuple[Float64[Tensor, "R S"], Int64[Tensor, "R S"]]:
    """|x − c|² − |x|² for the nearest centre c of each row, and which one it is."""
    least = x.new_empty(len(centres), len(x))
    labels = torch.empty_like(least, dtype=torch.long)
    _kmeans("nearest", x, x[:, 0], centres.contiguous(), centres.shape[1], least=least, labels=labels)
    return least, labels


def _kmeans(
    name: str, x: Tensor, weight: Tensor, centres: Tensor, passes: int, rounds: int = 0, **more: Tensor
) -> None:
    """Call a function of starts.c that works on a sample.

    Args:
        name: of the function.
        x: (S, D).
        weight: (S,).
        centres: (R, K, D), read or written.
        passes: over all rows, most of one restart.
        rounds: most of Lloyd's.
        more: what only this function reads or writes.
    """
    rows, features = x.shape
    restarts, components, _ = centres.shape
    x, weight = x.contiguous(), weight.contiguous()
    stride = -(-rows // STEP) * STEP
    room = _aligned(8 * (4 * stride + components * (features + 2)))
    parts = _parts(restarts, cost := passes * rows * features)
    columns = x.new_empty(features + 2, stride)
    work = torch.empty(parts * room, dtype=torch.uint8)
    u, least, labels = (more[key].data_ptr() if key in more else None for key in ("u", "least", "labels"))
    trials = more["u"].shape[2] if "u" in more else 0
    job = Means(
        *(x.data_ptr(), weight.data_ptr(), u, centres.data_ptr(), least, labels, columns.data_ptr(), work.data_ptr()),
        *(rows, stride, room, features, components, trials, rounds, restarts, parts, 0, 0),
    )
    _call(name, job, restarts, cost)


def agglomerate(
    n: Float64[Tensor, "R M"],
    mean: Float64[Tensor, "R M D"],
    scatter: Float64[Tensor, "R M D D"],
    components: int,
    prior: float,
) -> Int64[Tensor, "R M"]:
    """The same merges as :func:`mixtura.hierarchy.agglomerate`."""
    restarts, groups, features = mean.shape
    n, mean, scatter = n.contiguous(), mean.contiguous(), scatter.contiguous()
    wide, entries = -(-groups // LANES) * LANES, features * (features + 1) // 2
    doubles = LANES * (entries + 2 * features) + wide * (4 + features + entries + groups)
    room = _aligned(8 * doubles + 4 * 2 * wide)
    parts = _parts(restarts, cost := groups**2 * features * (features + 1) * (features + 8) // 6)
    work = torch.empty(parts * room, dtype=torch.uint8)
    found = torch.empty(restarts, groups, dtype=torch.long)
    job = Merging(
        *(n.data_ptr(), mean.data_ptr(), scatter.data_ptr(), found.data_ptr(), work.data_ptr()),
        *(prior, room, groups, components, features, restarts, parts, 0, 0),
    )
    _call("agglomerate", job, restarts, cost)
    return found


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _parts(restarts: int, cost: int) -> int:
    """Threads for restarts of so many multiplications each."""
    return max(1, min(torch.get_num_threads(), restarts, restarts * cost // GRAIN))


def _call(name: str, job: Means | Merging, restarts: int, cost: int) -> None:
    """Work through all restarts, some at a time."""
    function, some = library().function(name), max(job.parts, SLICE // max(1, cost))
    for at in range(0, restarts, some):
        job.ticket, job.restarts = at, min(restarts, at + some)
        function(ctypes.byref(job))
