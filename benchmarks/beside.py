"""Every program from the same start for the same number of passes: likelihood, time and memory."""

import gc
import math
from collections.abc import Callable
from typing import Any

from clock import FEWEST, extra, per_pass
from peers import Mixtura, Program, ScikitLearn
from probe import Failed, Probe, probe
from programs import PROGRAMS
from tables import Row, at_least, by_turns, milliseconds, over, quartiles, say, spread, verdict
from workloads import Start, Workload, over_peers

FEW, PASSES = 1, 5
"""Passes of the short fit, and those after which likelihoods are compared."""

TURN = 60.0
"""Seconds that one turn of a program may take."""

A_PASS = TURN / (2 * FEW + FEWEST)
"""Seconds that one pass may take."""

WRONG = 1e-3
"""Nats a row from scikit-learn's likelihood that are not the same result any more."""


def cell(program: type[Program], workload: Workload, reference: float, threads: int) -> Row:
    """What a program does at its best precision, and whether that is right."""
    if workload.structure not in program.structures:
        return {"program": program.name, "status": "SKIPPED", "reason": f"it has no {workload.structure} covariances"}
    seen: dict[str, Probe] = {}
    reasons = []
    for dtype in program.dtypes:
        try:
            seen[dtype] = probe(program.name, workload, dtype, FEW, PASSES - FEW, threads, limit=A_PASS)
        except Failed as reason:
            reasons.append(f"{dtype}: {reason}")
    if not seen:
        return {"program": program.name, "status": "SKIPPED", "reason": "; ".join(reasons)}
    right = {dtype: found for dtype, found in seen.items() if abs(found.loglik - reference) <= WRONG}
    dtype, best = min((right or seen).items(), key=lambda item: item[1].seconds)
    found: Row = {"program": program.name, "dtype": dtype, "loglik": finite(best.loglik), "mib": best.mib}
    if not right:
        return {**found, "status": "wrong", "reason": f"{best.loglik - reference:+.2g} nats a row from scikit-learn's"}
    return {**found, "status": "right", "seconds": best.seconds}


def finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def timed(found: Row, workload: Workload, start: Start, own: float, pairs: int) -> list[float]:
    """Times a program in turns with ours, in the same precision; their seconds over ours in each turn."""
    program, ours = PROGRAMS[found["program"]](), Mixtura()
    rows: Any = workload.data(found["dtype"])
    more = extra(own, found.pop("seconds"))
    x = {"theirs": program.prepare(rows), "ours": ours.prepare(rows)}
    per_pass(program, x["theirs"], start, FEW, 1), per_pass(ours, x["ours"], start, FEW, 1)
    times = by_turns(
        {
            "theirs": lambda: per_pass(program, x["theirs"], start, FEW, more),
            "ours": lambda: per_pass(ours, x["ours"], start, FEW, more),
        },
        pairs,
    )
    ratios = over(times, "theirs", "ours")
    found.update(
        status="timed",
        passes=more,
        ms=milliseconds(times["theirs"]),
        mixtura_ms=milliseconds(times["ours"]),
        ratio_quartiles=quartiles(ratios),
    )
    return ratios


def row(workload: Workload, present: list[str], pairs: int, threads: int) -> Row:
    """All programs on one workload. A peer is compared with ours in the peer's best precision."""
    theirs = probe(ScikitLearn.name, workload, "float64", FEW, PASSES - FEW, threads)
    ours = {d: probe(Mixtura.name, workload, d, FEW, PASSES - FEW, threads) for d in Mixtura.dtypes}
    programs: list[Row] = []
    for name, dtype, seen in (
        *((Mixtura.name, dtype, seen) for dtype, seen in ours.items()),
        (ScikitLearn.name, "float64", theirs),
    ):
        good = abs(seen.loglik - theirs.loglik) <= WRONG
        at = {"program": name, "dtype": dtype, "loglik": finite(seen.loglik), "mib": seen.mib}
        wrong = {"status": "wrong", "reason": f"{seen.loglik - theirs.loglik:+.2g} nats a row from scikit-learn's"}
        programs.append({**at, **({"status": "timed once", "ms": 1e3 * seen.seconds} if good else wrong)})
    start, ratios = workload.start(), {}
    for name in present:
        if name in (Mixtura.name, ScikitLearn.name):
            continue
        found = cell(PROGRAMS[name], workload, theirs.loglik, threads)
        if found["status"] == "right":
            try:
                ratios[name] = timed(found, workload, start, ours[found["dtype"]].seconds, pairs)
            except Exception as error:  # a peer may fail in any way; the others go on
                found.update(status="SKIPPED", reason=f"{type(error).__name__}: {error}".splitlines()[0])
        programs.append(found)
        gc.collect()
    fastest = min(
        (c for c in programs if c["program"] in ratios and PROGRAMS[c["program"]].peer),
        key=lambda c: c["ratio_quartiles"][1],
        default=None,
    )
    wanted = over_peers(workload)
    claim = {"wanted": wanted, "reached": None} if fastest is None else at_least(ratios[fastest["program"]], wanted)
    name = None if fastest is None else fastest["program"]
    return {"workload": workload.label, "passes": PASSES, "programs": programs, "fastest": name, **claim}


def peers(
    workloads: tuple[Workload, ...],
    present: list[str],
    pairs: int,
    threads: int,
    keep: Callable[[list[Row]], None] = lambda table: None,
) -> list[Row]:
    """The table, which takes long: ``keep`` is given what there is of it after every workload."""
    table = []
    for workload in workloads:
        try:
            found = row(workload, present, pairs, threads)
        except Failed as reason:
            say(f"{workload.label}: SKIPPED, {reason}")
            continue
        table.append(found)
        keep(table)
        say(workload.label)
        for one in found["programs"]:
            end = f"{one['loglik']:12.5f} nats a row" if one.get("loglik") is not None else " " * 23
            took = f"{one['ms']:8.1f} ms" if "ms" in one else f"{one['status']}, {one['reason']}"
            ratio = f"  over ours {spread(one)}" if "ratio_quartiles" in one else ""
            say(f"  {one['program']:>12} {one.get('dtype', ''):8} {end} {took}{ratio}")
        say(f"  fastest peer: {found['fastest'] or 'none'}  {verdict(found) if found['fastest'] else ''}")
    return table
