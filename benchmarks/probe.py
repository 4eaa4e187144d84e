"""A look at one program in a process of its own: what a pass takes, its likelihood, its memory.

    python benchmarks/probe.py '{"program": "mixtura", "rows": 1000, "features": 2, "components": 3, ...}'

A program that runs out of memory, or does not come back, ends its own process only.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from workloads import Workload

if TYPE_CHECKING:
    from peers import Program

PATIENCE = 900
"""Seconds until a process is given up."""

SHIM = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, used = os.wait4(pid, 0)
print(used.ru_maxrss, flush=True)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Runs a command from a small process: the peak that is reported for a child begins with its parent's."""


class Failed(Exception):
    """A program did not come to its end; the message says why."""


@dataclass(frozen=True)
class Probe:
    """What was seen.

    Attributes:
        seconds: of one pass: those of ``few + more`` passes less those of ``few``, by ``more``.
        loglik: mean log likelihood of a row after ``few + more`` passes, in nats.
        mib: peak of resident memory above what the process held before its first pass, which includes
            the rows; None where the program computes elsewhere.
    """

    seconds: float
    loglik: float
    mib: float | None


def probe(
    program: str, workload: Workload, dtype: str, few: int, more: int, threads: int, limit: float | None = None
) -> Probe:
    """Look at a program; with ``limit`` not if so many seconds of a pass, or the memory, would not be enough.

    Raises:
        Failed: it did not come to its end, or a tenth of the rows says that it would not.
    """
    asked = {"program": program, "dtype": dtype, "few": few, "more": more, "threads": threads, "limit": limit}
    asked |= asdict(workload)
    code, out, said = finished([sys.executable, "-c", SHIM, sys.executable, __file__, json.dumps(asked)])
    if code:
        # The shim cannot give a signal's number back: 247 is the system's killer of what takes too much memory.
        raise Failed("killed, most likely for its memory" if code == 247 else said[-1][:200])
    seen = json.loads(next(line for line in reversed(said) if line.startswith("{")))
    if "skipped" in seen:
        raise Failed(seen["skipped"])
    mib = None if seen["before"] is None else max(0.0, int(out) / 1024 - seen["before"])
    return Probe(seen["seconds"], seen["loglik"], mib)


def finished(command: list[str]) -> tuple[int, str, list[str]]:
    """A command's exit status, its output, and the lines of its errors; it and its children end together."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, error = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Failed(f"no end after {PATIENCE} s") from None
    return process.returncode, out, error.strip().splitlines() or ["no message"]


def look(asked: dict[str, Any]) -> dict[str, Any]:
    """The other side of :func:`probe`."""
    import torch
    from clock import per_pass
    from programs import PROGRAMS
    from threadpoolctl import threadpool_limits

    workload = Workload(asked["rows"], asked["features"], asked["components"], asked["structure"])
    program = PROGRAMS[asked["program"]]()
    program.version()
    torch.set_num_threads(asked["threads"])
    with threadpool_limits(asked["threads"]):
        if asked["limit"] is not None:
            reason = forecast(program, workload, asked["dtype"], asked["limit"])
            if reason is not None:
                return {"skipped": reason}
        x, start = program.prepare(workload.data(asked["dtype"])), workload.start()
        few_rows = replace(workload, rows=100 * workload.components)
        program.run(program.prepare(few_rows.data(asked["dtype"])), few_rows.start(), 1)  # loads what is loaded late
        before = resident() if program.here else None
        program.run(x, start, asked["few"])
        seconds = per_pass(program, x, start, asked["few"], asked["more"])
        loglik = program.run(x, start, asked["few"] + asked["more"], score=True).loglik
    return {"seconds": seconds, "loglik": loglik, "before": before}


def forecast(program: "Program", workload: Workload, dtype: str, limit: float) -> str | None:
    """Why all rows would take too long or too much memory, by what a tenth of them takes; None where they would not."""
    import psutil

    tenth = workload.tenth()
    x, start = program.prepare(tenth.data(dtype)), tenth.start()
    before = resident()
    program.run(x, start, 1)
    seconds = program.run(x, start, 2).seconds - program.run(x, start, 1).seconds
    took = f"a pass on a tenth of the rows took {seconds:.2f} s"
    if 10 * seconds > limit:
        return f"{took}; on all rows it may take {limit:.0f} s"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    room = psutil.virtual_memory().available / 2**20
    if program.here and 10 * grown > room:
        return f"{took} and {grown:.0f} MiB, and only {room:.0f} MiB are free"
    return None


def resident() -> float:
    """MiB of memory that this process holds now."""
    import psutil

    return psutil.Process().memory_info().rss / 2**20


if __name__ == "__main__":
    print(json.dumps(look(json.loads(sys.argv[1]))), flush=True)
