"""What acceleration saves: ``python benchmarks/leaps.py``.

From the same 200 starts per structure, EM with and without leaps, to where each has at most 1e-5 nats a row left to
gain of its own end. Components overlap in both tables: simulated ones one and a half deviations apart, and bacteria in
a flow cytometer. Results are printed and written to benchmarks/results/.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from common import environment, into_readme, write

from mixtura.accelerate import Squarem
from mixtura.converge import Steps, converging
from mixtura.covariance import STRUCTURES, Floor
from mixtura.data import Array
from mixtura.em import Likelihood
from mixtura.family import Gaussian
from mixtura.mixture import Mixture
from mixtura.native.runs import running, serves
from mixtura.rows import Rows
from mixtura.running import watched
from mixtura.stop import Still

STARTS, PASSES, LEFT = 200, 3000, 1e-5


def tables() -> dict[str, tuple[np.ndarray, int]]:
    """Rows with columns of one spread, and the number of components."""
    generator = np.random.default_rng(0)
    centres = 1.5 * generator.standard_normal((5, 3))
    simulated = centres[generator.integers(0, 5, 2000)] + generator.standard_normal((2000, 3))
    bacteria = np.load(Path(__file__).parent / "data" / "bacteria.npz")["x"][:2000]
    return {"simulated": (simulated, 5), "bacteria": (bacteria.astype(np.float64), 6)}


def starts(name: str, x: np.ndarray, components: int) -> Mixture:
    """Means at random rows, every component as wide as the table."""
    generator = np.random.default_rng(1)
    at = np.stack([generator.choice(len(x), components, replace=False) for _ in range(STARTS)])
    unit = STRUCTURES[name].unit(STARTS, components, x.shape[1])
    share = torch.full((STARTS, components), 1 / components, dtype=torch.float64)
    return Mixture(share.log(), torch.from_numpy(x[at]), unit, Gaussian())


def needed(bounds: np.ndarray, rows: int) -> np.ndarray:
    """(R,), passes until at most ``LEFT`` nats a row are left to gain."""
    end = np.nanmax(bounds, axis=0)
    return ((end - bounds) > LEFT * rows).sum(0) + 1


def run() -> list[dict[str, object]]:
    """Every structure on every table."""
    found: list[dict[str, object]] = []
    for (table, (x, components)), name in ((t, n) for t in tables().items() for n in STRUCTURES):
        x = (x - x.mean(0)) / x.std(0)
        rows = Rows(Array(x))
        rule = Likelihood(Floor(torch.full((x.shape[1],), 1e-12, dtype=torch.float64)))
        model = starts(name, x, components).shifted(-rows.origin)
        passes, ends = [], []
        for pace in (Steps, Squarem):
            way = running if serves(model, rows, rule, Still(), pace) else converging
            outcome = watched(way(model, rows, rule, Still(), PASSES, pace), None)
            passes.append(needed(outcome.bounds.numpy(), len(x)))
            ends.append(outcome.turn.bound.numpy())
        saving = np.quantile(1 - passes[1] / passes[0], (0.25, 0.5, 0.75))
        gain = ends[1] - ends[0]
        row = {
            "table": table,
            "structure": name,
            "passes": np.median(passes[0]),
            "passes_accelerated": np.median(passes[1]),
            "saving": saving.tolist(),
            "median_gain": float(np.median(gain)),
            "lower": float((gain < -0.5).mean()),
            "higher": float((gain > 0.5).mean()),
        }
        print(
            f"{table:10} {name:15} {row['passes']:5.0f} -> {row['passes_accelerated']:4.0f} passes, saving "
            + " – ".join(f"{s:.0%}" for s in saving)
            + f" (wanted: 30%); ends lower {row['lower']:.0%}, higher {row['higher']:.0%}, "
            f"median {np.median(gain):+.4f}",
            flush=True,
        )
        found.append(row)
    return found


def markdown(found: list[dict[str, object]]) -> list[str]:
    """A table for the documentation."""
    head = ("table, covariances", "passes of EM", "with leaps", "saving, quartiles", "ends 0.5 nat lower, higher")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in found:
        low, middle, high = row["saving"]  # type: ignore[misc]
        lines.append(
            f"| {row['table']}, {row['structure']} | {row['passes']:.0f} | {row['passes_accelerated']:.0f} "
            f"| {low:.0%} – **{middle:.0%}** – {high:.0%} | {row['lower']:.1%}, {row['higher']:.1%} |"
        )
    return lines


if __name__ == "__main__":
    table = run()
    write("leaps", {**environment(torch.get_num_threads()), "leaps": table})
    if "--readme" in sys.argv:
        into_readme("leaps", markdown(table))
