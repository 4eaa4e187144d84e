"""Watch: lines about a running fit, for ``verbose`` and ``progress``."""

import sys
from collections.abc import Callable
from time import perf_counter

from torch import Tensor

SECONDS, SHARE = 2.0, 0.15
"""Least time between two lines about progress, in seconds and as a part of the time that the fit has taken so far."""


def printer(verbose: int, interval: int) -> Callable[[Tensor, Tensor], None]:
    """A watcher that prints a line every ``interval`` passes: running restarts and, from 2, the best likelihood."""
    begun = perf_counter()
    passes = 0

    def watch(live: Tensor, bound: Tensor) -> None:
        nonlocal passes
        passes += 1
        if passes > 1 and passes % interval:
            return
        line = f"Iteration {passes}: {len(live)} restarts running"
        if verbose > 1:
            line += f", log likelihood {float(bound.max()):.6f}, {perf_counter() - begun:.2f} s"
        print(line)

    return watch


Say = Callable[[str], object]
"""Receives one line."""


def speaker(progress: "bool | Say") -> Say | None:
    """Where lines about progress go: nowhere, to stderr, or to a function of the user's."""
    if callable(progress):
        return progress
    return (lambda line: print(line, file=sys.stderr, flush=True)) if progress else None


def ticker(say: Say, seconds: float = SECONDS) -> Callable[[Tensor, Tensor], None]:
    """A watcher that says now and then how far a fit has come; one that is over before says nothing."""
    begun = last = perf_counter()
    passes = 0

    def watch(live: Tensor, bound: Tensor) -> None:
        nonlocal passes, last
        passes += 1
        now = perf_counter()
        if now - last < max(seconds, SHARE * (now - begun)):
            return
        last = now
        running = f"{len(live)} start{'s' if len(live) > 1 else ''} running"
        say(f"pass {passes}, {running}, log likelihood {float(bound.max()):.6g}, {last - begun:.0f} s")

    return watch


def watcher(verbose: int, interval: int, progress: "bool | Say") -> Callable[[Tensor, Tensor], None] | None:
    """Everything that watches a fit, or None where nobody does."""
    say = speaker(progress)
    each = [*([printer(verbose, interval)] if verbose else []), *([ticker(say)] if say else [])]
    if len(each) < 2:
        return each[0] if each else None

    def watch(live: Tensor, bound: Tensor) -> None:
        for one in each:
            one(live, bound)

    return watch
