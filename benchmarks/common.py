"""What every benchmark says of itself, and where its results go."""

import datetime
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch

import mixtura

RESULTS = Path(__file__).parent / "results"


NAP, IDLE = 0.01, 0.001
"""Seconds between looks at whether the process works, and of work in between that are none."""

PATIENCE = 2.0
"""Seconds to wait for that at most."""


def quiet() -> None:
    """Wait until no thread of this process runs any more.

    The threads of a library spin for a while before they sleep, OpenBLAS's for long, and would take a processor from
    the program that is timed next.
    """
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        before = time.process_time()
        time.sleep(NAP)
        if time.process_time() - before < IDLE:
            return


def environment(threads: int) -> dict[str, Any]:
    """Date, machine, threads and versions."""
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {torch.backends.cpu.get_cpu_capability()}",
        "threads": threads,
        "versions": {
            "mixtura": mixtura.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "python": platform.python_version(),
        },
    }


def pages() -> list[Path]:
    """The texts that show results."""
    root = RESULTS.parents[1]
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def into_readme(part: str, lines: list[str]) -> None:
    """Put lines between the two comments that name a part, wherever README.md and the pages of docs have it."""
    found = [page for page in pages() if f"<!-- {part} -->" in page.read_text()]
    if not found:
        print(f"no text has a place for {part}: left out")
    for page in found:
        before, rest = page.read_text().split(f"<!-- {part} -->")
        _, after = rest.split(f"<!-- /{part} -->")
        page.write_text(f"{before}<!-- {part} -->\n" + "\n".join(lines) + f"\n<!-- /{part} -->{after}")


def write(name: str, found: dict[str, Any], place: Path = RESULTS) -> None:
    """Keep a result as JSON."""
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
