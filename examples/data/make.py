"""Draw bacteria.csv, a sample of a flow-cytometry table: ``python make.py fct_bacteria_strains.csv.gz``."""

import csv
import gzip
import random
import sys
from collections import defaultdict
from pathlib import Path

EACH = 1500
"""Events of each strain."""

KEPT = ("FSC-H", "SSC-H", "V2-H", "Y2-H", "B1-H")
"""Pulse heights: forward and side scatter, then the violet, yellow and blue detectors of the three proteins."""


def main(source: str) -> None:
    """Write ``EACH`` random events of every strain, in the order of the source, with their values untouched."""
    with gzip.open(source, "rt", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    strains = defaultdict(list)
    for event, row in enumerate(rows):
        strains[row["label"]].append(event)
    draw = random.Random(0)
    chosen = sorted(event for name in sorted(strains) for event in draw.sample(strains[name], EACH))
    with Path(__file__).with_name("bacteria.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["event", *KEPT, "strain"])
        for event in chosen:
            table.writerow([event, *(rows[event][name] for name in KEPT), rows[event]["label"]])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
