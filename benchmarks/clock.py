"""What a pass takes, from fits of more and of fewer passes."""

from typing import Any

from peers import Program
from workloads import Start

FEW = 2
"""Passes of the short fit that is taken off the long one."""

SHORT, LONG = 0.5, 5.0
"""Seconds that the extra passes of the fastest program should take, and that those of the slowest may."""

AGAIN = 5
"""How often a disturbed time is taken."""

FEWEST, MOST = 3, 100
"""Extra passes, whatever the times say: of a tiny workload they say little."""


def per_pass(program: Program, x: Any, start: Start, few: int, more: int) -> float:
    """Seconds of a pass: what ``few + more`` passes take beyond ``few``, which begins and ends the same way.

    Where the machine was so disturbed that more passes took less time, both are taken again; in the end all of the long
    fit counts.
    """
    for _ in range(AGAIN):
        short, long = (program.run(x, start, n).seconds for n in (few, few + more))
        if long > short:
            return (long - short) / more
    return long / (few + more)


def rough(program: Program, x: Any, start: Start) -> float:
    """Seconds of a pass or somewhat more, after a fit that warms the program up."""
    program.run(x, start, FEW)
    return program.run(x, start, FEW).seconds / FEW


def extra(fastest: float, slowest: float) -> int:
    """How many passes to time of all programs, from seconds of a pass."""
    return max(FEWEST, min(MOST, round(SHORT / fastest), round(LONG / slowest)))
