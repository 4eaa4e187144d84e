"""What every benchmark says of itself, and where its results go."""

import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch

import mixtura

RESULTS = Path(__file__).parent / "results"


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


def into_readme(part: str, lines: list[str]) -> None:
    """Put lines between the two comments that name a part of README.md, if it has such a part."""
    readme = RESULTS.parents[1] / "README.md"
    text = readme.read_text()
    if f"<!-- {part} -->" not in text:
        print(f"README.md has no place for {part}: left out")
        return
    before, rest = text.split(f"<!-- {part} -->")
    _, after = rest.split(f"<!-- /{part} -->")
    readme.write_text(f"{before}<!-- {part} -->\n" + "\n".join(lines) + f"\n<!-- /{part} -->{after}")


def write(name: str, found: dict[str, Any], place: Path = RESULTS) -> None:
    """Keep a result as JSON."""
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
