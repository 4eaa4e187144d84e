"""One EM pass: beside scikit-learn's, beside the bare products, and in single precision."""

from collections.abc import Callable

import torch
from bare import bare
from clock import FEW, extra, per_pass, rough
from peers import Mixtura, ScikitLearn
from probe import Failed, probe
from tables import Row, at_least, at_most, by_turns, milliseconds, over, say, spread, verdict
from workloads import Pass

FLOAT32 = 1.25
"""Our float64 time over our float32 time, to reach."""


def memory_of(program: str, case: Pass, threads: int) -> float | None:
    """MiB above the data in float64; None where that could not be seen."""
    try:
        return probe(program, case.workload, "float64", 1, 2, threads).mib
    except Failed as reason:
        say(f"  memory of {program}: SKIPPED, {reason}")
        return None


def row(case: Pass, pairs: int, threads: int) -> Row:
    """One line of the table; the programs take turns, in alternating order."""
    workload, ours, theirs = case.workload, Mixtura(), ScikitLearn()
    x, start = workload.data(), workload.start()
    small = ours.prepare(x.astype("float32"))
    products = bare(workload, torch.float64)
    # The first of each warms it up, and says how many passes there is time for.
    own, their = rough(ours, x, start), rough(theirs, x, start)
    ours.run(small, start, FEW)
    products(1)
    more = extra(own, their)
    jobs: dict[str, Callable[[], float]] = {
        "ours": lambda: per_pass(ours, x, start, FEW, more),
        "theirs": lambda: per_pass(theirs, x, start, FEW, more),
        "bare": lambda: products(more) / more,
        "float32": lambda: per_pass(ours, small, start, FEW, more),
    }
    times = by_turns(jobs, pairs)
    return {
        "workload": workload.label,
        "dtype": "float64",
        "passes": more,
        "mixtura_ms": milliseconds(times["ours"]),
        "sklearn_ms": milliseconds(times["theirs"]),
        "bare_ms": milliseconds(times["bare"]),
        "float32_ms": milliseconds(times["float32"]),
        **at_least(over(times, "theirs", "ours"), case.wanted),
        "over_bare": at_most(over(times, "ours", "bare"), case.most),
        "over_float32": at_least(over(times, "ours", "float32"), FLOAT32),
        "mixtura_mib": memory_of(ours.name, case, threads),
        "sklearn_mib": memory_of(theirs.name, case, threads),
    }


def passes(cases: tuple[Pass, ...], pairs: int, threads: int) -> list[Row]:
    """The table: one pass in float64 from the same start, as many passes of both."""
    table = []
    for case in cases:
        found = row(case, pairs, threads)
        table.append(found)
        say(
            f"{found['workload']:>28} mixtura {found['mixtura_ms']:8.2f} ms  scikit-learn {found['sklearn_ms']:8.1f} ms"
            f"  ratio {spread(found)}  {verdict(found)}"
        )
        for name, about in (("over_bare", "over bare products"), ("over_float32", "float64 over float32")):
            say(f"{about:>49}  ratio {spread(found[name])}  {verdict(found[name])}")
    return table
