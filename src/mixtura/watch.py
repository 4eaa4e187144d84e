"""Watch: lines about a running fit, for ``verbose``."""

from collections.abc import Callable
from time import perf_counter

from torch import Tensor

from mixtura.em import Turn


def printer(verbose: int, interval: int) -> Callable[[Tensor, Turn], None]:
    """A watcher that prints a line every ``interval`` passes: running restarts and, from 2, the best likelihood."""
    begun = perf_counter()
    passes = 0

    def watch(live: Tensor, turn: Turn) -> None:
        nonlocal passes
        passes += 1
        if passes > 1 and passes % interval:
            return
        line = f"Iteration {passes}: {len(live)} restarts running"
        if verbose > 1:
            line += f", log likelihood {float(turn.bound.max()):.6f}, {perf_counter() - begun:.2f} s"
        print(line)

    return watch
