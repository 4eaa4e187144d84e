"""Speed, likelihood and memory beside every peer, in one run: ``make bench``.

    python benchmarks/run.py [passes] [structures] [peers] [fits] [many] [memory] [import] [--pairs 7] [--threads 2]

``passes``: one EM pass beside scikit-learn's, the two bare matrix products, and single precision.
``structures``: one of every covariance structure beside the full one's.
``peers``: the same beside the other programs on PyTorch and mclust, with the likelihood that each ends at.
``fits``: whole fits beside scikit-learn's. ``many``: 1,000 small fits at once. ``memory`` and
``import``: what they cost.

Every speed is a ratio between programs that took turns on the same machine with the same threads; absolute times are
for orientation. A claim is reached where the worse quartile of its ratios meets it. What is not here is SKIPPED, with
the reason. Results are printed and written to benchmarks/results/; ``plots.py`` draws them.
"""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from beside import peers
from common import RESULTS, environment, into_readme, write
from fits import fits
from many import many
from memory import imports, memory
from passes import passes
from programs import present
from structures import structures
from tables import MARKDOWN, SHORT, say
from threadpoolctl import threadpool_limits
from workloads import FITS, PASSES, PYCAVE, QUICK_FITS, QUICK_PASSES, QUICK_PEERS


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[[], *MARKDOWN], default=[], metavar="table")
    parser.add_argument("--pairs", type=int, default=7, help="turns of every ratio")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="tiny workloads and two pairs, to try the program itself")
    parser.add_argument("--only", default="", help="of passes and peers, the workloads that match this expression")
    parser.add_argument("--readme", action="store_true", help="put the tables into README.md and docs")
    parser.add_argument("--output", type=Path, help="folder for results; benchmarks/results, or none with --quick")
    asked = parser.parse_args()
    if asked.quick and asked.readme:
        parser.error("--readme takes figures of a whole run: leave out --quick")
    if asked.quick:
        asked.pairs = 2
    elif asked.output is None:
        asked.output = RESULTS
    return asked


def jobs(asked: argparse.Namespace, about: dict[str, Any], here: dict[str, str]) -> dict[str, Callable[[], Any]]:
    """What makes each table; ``about`` says where it is made."""
    quick, pairs, threads = asked.quick, asked.pairs, asked.threads
    every = tuple(w for w in (*(case.workload for case in PASSES), *PYCAVE) if re.search(asked.only, w.label))
    some = tuple(case for case in PASSES if re.search(asked.only, case.workload.label))
    return {
        "passes": lambda: passes(QUICK_PASSES if quick else some, pairs, threads),
        "structures": lambda: structures(pairs, 2000) if quick else structures(pairs),
        "peers": lambda: peers(
            QUICK_PEERS if quick else every,
            list(here),
            pairs,
            threads,
            lambda table: show("peers", table, asked, about),
        ),
        "fits": lambda: fits(QUICK_FITS if quick else FITS, pairs, real=not quick),
        "many": lambda: many(20 if quick else 1000, pairs),
        "memory": lambda: memory(20_000) if quick else memory(),
        "import": lambda: imports(pairs),
    }


def show(name: str, found: Any, asked: argparse.Namespace, about: dict[str, Any]) -> None:
    """Write a table, or as much of it as there is, where that is wanted."""
    if asked.output is not None:
        write(name, {**about, name: found}, asked.output)
    if asked.readme:
        into_readme(name, MARKDOWN[name](found))
        if name in SHORT:
            into_readme(f"{name}-short", SHORT[name](found))


def main() -> None:
    asked = arguments()
    # Before threads are limited: a program that is imported later would bring pools of its own.
    versions, absent = present()
    torch.set_num_threads(asked.threads)
    about = environment(asked.threads)
    about = {**about, "versions": {**about["versions"], **versions}, "absent": absent}
    with threadpool_limits(asked.threads):
        for name, run in jobs(asked, about, versions).items():
            if asked.what and name not in asked.what:
                continue
            say(f"== {name}")
            show(name, run(), asked, about)


if __name__ == "__main__":
    sys.exit(main())
