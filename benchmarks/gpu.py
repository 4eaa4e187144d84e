"""One EM pass on a GPU, beside its bare products and the peers on PyTorch: ``python benchmarks/gpu.py [--quick]``.

Rows are on the device before anything is timed, in float32 and float64; every clock is read after the device has
finished. Prints one table, and SKIPPED where there is no such device.
"""

import argparse

import torch
from bare import bare
from clock import FEW, FEWEST, per_pass, rough
from common import environment
from peers import Mixtura, Program
from programs import PROGRAMS, present
from tables import by_turns, milliseconds, over, quartiles, say
from workloads import PASSES, QUICK_PASSES, Workload

LONG, MOST = 1.0, 200
"""Seconds that the extra passes of a program should take at most, and how many there are at most."""


def line(workload: Workload, dtype: str, programs: list[Program], pairs: int, device: str) -> None:
    """Ours beside the bare products and each peer, taking turns."""
    rows, start = workload.data(dtype), workload.start()
    products = bare(workload, getattr(torch, dtype), device)
    products(3)
    jobs = {"bare": lambda: products(50) / 50}
    for program in programs:
        if workload.structure not in program.structures:
            continue
        x = program.prepare(rows)
        try:
            more = max(FEWEST, min(MOST, round(LONG / rough(program, x, start))))
        except Exception as error:  # a peer may fail in any way, or need more memory than there is
            say(f"  {program.name} {dtype}: SKIPPED, {type(error).__name__}: {error}".splitlines()[0])
            torch.cuda.empty_cache()
            continue
        jobs[program.name] = lambda program=program, x=x, more=more: per_pass(program, x, start, FEW, more)
    times = by_turns(jobs, pairs)
    say(f"{workload.label} {dtype}")
    for name, seconds in times.items():
        ratio = over(times, "mixtura", "bare") if name in ("mixtura", "bare") else over(times, name, "mixtura")
        about = {"bare": "", "mixtura": "over bare products"}.get(name, "over mixtura")
        low, middle, high = quartiles(ratio)
        shown = f"{about} {low:.2f} | {middle:.2f} | {high:.2f}" if about else ""
        say(f"  {name:>12} {milliseconds(seconds):9.3f} ms  {shown}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="tiny workloads and two pairs")
    asked = parser.parse_args()
    if torch.device(asked.device).type == "cuda" and not torch.cuda.is_available():
        say("gpu: SKIPPED, torch sees no CUDA device")
        return
    versions, _ = present()
    names = [name for name in versions if name == Mixtura.name or PROGRAMS[name].peer]
    programs = [PROGRAMS[name](asked.device) for name in names]
    card = torch.cuda.get_device_name(asked.device) if torch.device(asked.device).type == "cuda" else asked.device
    say(f"{environment(torch.get_num_threads())['date']}, {card}, {versions}")
    for case in QUICK_PASSES if asked.quick else PASSES:
        for dtype in ("float32", "float64"):
            line(case.workload, dtype, programs, 2 if asked.quick else asked.pairs, asked.device)


if __name__ == "__main__":
    main()
