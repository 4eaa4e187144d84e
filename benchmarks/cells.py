"""Cells in an AnnData: time beside R's mclust, and memory on a million of them: ``python benchmarks/cells.py``.

    python benchmarks/cells.py [mclust] [large] [--rows 1000000] [--effort standard] [--pairs 3]

``mclust``: ``mclust_R(adata, 7, "EEE")`` on a 50-column embedding of 5,000 cells beside R's ``Mclust`` on the same
rows, taking turns; SKIPPED where there is no Rscript with mclust. ``large``: labels and posteriors of 1,000,000 cells ×
20 float32, K = 20: peak memory above the AnnData, and a second call with the same seed. The cells are made here.
Results are printed and written to benchmarks/results/cells.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import psutil
import torch
from common import RESULTS, environment, write
from elsewhere import Mclust
from peers import Unavailable
from tables import Row, by_turns, quartiles, say
from workloads import blobs

import mixtura.scanpy as mx

SCRIPT = Path(__file__).with_name("mclust_cells.R")
SMALL, WIDTH, CLUSTERS = 5_000, 50, 7
LARGE, DIMS, COMPONENTS = 1_000_000, 20, 20
MIB_WANTED = 1024
"""Above the data, on many cells."""


def embedded(x: np.ndarray, key: str = "emb_pca") -> anndata.AnnData:
    """An AnnData of nothing but an embedding."""
    return anndata.AnnData(obsm={key: x})


def of_mclust(x: np.ndarray) -> Callable[[], float]:
    """Seconds of ``Mclust`` in R, without those of its start.

    Raises:
        Unavailable: R or mclust is not there.
    """
    Mclust().version()

    def seconds() -> float:
        with tempfile.TemporaryDirectory() as folder:
            np.ascontiguousarray(x.T, dtype="<f8").tofile(Path(folder) / "x")  # column after column
            command = ["Rscript", str(SCRIPT), folder, *map(str, (*x.shape, CLUSTERS))]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(done.stdout.split()[-2])

    return seconds


def small(pairs: int) -> Row:
    """The drop-in function beside what it replaces."""
    x = blobs(SMALL, WIDTH, CLUSTERS)
    cells = embedded(x)

    def ours() -> float:
        begun = time.perf_counter()
        mx.mclust_R(cells, CLUSTERS, "EEE", "emb_pca", 2020)
        return time.perf_counter() - begun

    jobs: dict[str, Callable[[], float]] = {"mixtura": ours}
    row: Row = {"workload": f"{SMALL}x{WIDTH} K={CLUSTERS} EEE"}
    try:
        jobs["mclust"] = of_mclust(x)
    except Unavailable as reason:
        row["mclust"] = f"SKIPPED: {reason}"
    ours()
    times = by_turns(jobs, pairs)
    row["seconds_quartiles"] = quartiles(times["mixtura"])
    row["loglik"] = cells.uns["mclust"]["criteria"]["loglik"]
    if "mclust" in times:
        row["mclust_seconds_quartiles"] = quartiles(times["mclust"])
    theirs = row.get("mclust", f"{row.get('mclust_seconds_quartiles')} s")
    say(f"mclust_R, {row['workload']}: {row['seconds_quartiles']} s; R's mclust: {theirs}")
    return row


class Watch:
    """The highest resident memory of this process while a block runs."""

    def __enter__(self) -> "Watch":
        self._process, self._going = psutil.Process(), True
        self.before = self.highest = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while self._going:
            self.highest = max(self.highest, self._process.memory_info().rss)
            time.sleep(0.002)

    def __exit__(self, *_: object) -> None:
        self._going = False
        self._thread.join()

    @property
    def mib(self) -> float:
        """Above what it was before."""
        return (self.highest - self.before) / 2**20


def measured(rows: int, effort: str) -> Row:
    """One call and another one with the same seed (run in a process of its own)."""
    cells = embedded(blobs(rows, DIMS, COMPONENTS, "float32"), "X_pca")
    mx.tl.gaussian_mixture(embedded(cells.obsm["X_pca"][:200].copy(), "X_pca"), 2)  # what is loaded when it is used
    with Watch() as watch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begun = time.perf_counter()
        mx.tl.gaussian_mixture(cells, COMPONENTS, effort=effort, random_state=0)
        took = time.perf_counter() - begun
    labels, posterior = cells.obs["gmm"].copy(), cells.obsm["gmm_posterior"]
    mx.tl.gaussian_mixture(cells, COMPONENTS, effort=effort, random_state=0, key_added="again")
    return {
        "workload": f"{rows}x{DIMS} float32 K={COMPONENTS} full",
        "effort": effort,
        "seconds": took,
        "mib_above_data": watch.mib,
        "wanted": MIB_WANTED,
        "reached": watch.mib <= MIB_WANTED,
        "posterior": f"{posterior.shape[0]}x{posterior.shape[1]} {posterior.dtype}, {posterior.nbytes / 2**20:.0f} MiB",
        "status": cells.uns["gmm"]["status"],
        "same_seed_same_labels": bool((labels.to_numpy() == cells.obs["again"].to_numpy()).all()),
    }


def large(rows: int, effort: str) -> Row:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--measure", "--rows", str(rows), "--effort", effort]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row: Row = json.loads(done.stdout.splitlines()[-1])
    say(
        f"{row['workload']}, effort {effort}: {row['mib_above_data']:.0f} MiB above the data, wanted at most "
        f"{MIB_WANTED}; {row['seconds']:.0f} s; the same seed gives the same labels: {row['same_seed_same_labels']}"
    )
    return row


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["mclust", "large", []], default=[])
    parser.add_argument("--rows", type=int, default=LARGE)
    parser.add_argument("--effort", default="standard", choices=["quick", "standard", "thorough"])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measured(asked.rows, asked.effort)))
        return
    place = asked.output / "cells.json"
    kept: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}
    found: dict[str, Any] = environment(torch.get_num_threads())
    parts = asked.parts or ["mclust", "large"]
    found["mclust"] = small(asked.pairs) if "mclust" in parts else kept.get("mclust")
    found["large"] = large(asked.rows, asked.effort) if "large" in parts else kept.get("large")
    write("cells", found, asked.output)


if __name__ == "__main__":
    main()
