"""mclust, which runs in R: a program that is timed by itself, in a process of its own."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, final

import numpy as np
from peers import Program, Run, Unavailable
from workloads import Start

SCRIPT = Path(__file__).with_name("mclust.R")
MODELS = {"full": "VVV", "tied": "EEE", "diag": "VVI", "spherical": "VII"}


@final
class Mclust(Program):
    """One core, float64."""

    name, distribution, modules = "mclust", "mclust", ()
    dtypes = ("float64",)
    peer, here = False, False

    def version(self) -> str:
        if shutil.which("Rscript") is None:
            raise Unavailable("there is no Rscript")
        done = subprocess.run(
            ["Rscript", "-e", 'cat(as.character(packageVersion("mclust")))'],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Unavailable("R has no package mclust")
        return done.stdout.strip()

    def prepare(self, x: np.ndarray) -> np.ndarray:
        return x.astype(np.float64)

    def run(self, x: np.ndarray, start: Start, passes: int, *, score: bool = False) -> Run:
        with tempfile.TemporaryDirectory() as folder:
            # R has the first index run fastest: transposed parameters come out as features × components.
            arrays = {"x": x.T, "means": start.means, "weights": start.weights, "covariances": start.covariances}
            for name, array in arrays.items():
                np.ascontiguousarray(array, dtype="<f8").tofile(Path(folder) / name)
            sizes = (*x.shape, len(start.weights))
            command = ["Rscript", str(SCRIPT), folder, *map(str, sizes), MODELS[start.structure], str(passes)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        seconds, loglik = map(float, done.stdout.split()[-2:])
        return Run(seconds, loglik)

    def fit(self, x: Any, start: Start, passes: int) -> Any:
        raise NotImplementedError("R keeps its models")

    def loglik(self, model: Any, x: Any) -> float:
        raise NotImplementedError("R keeps its models")
