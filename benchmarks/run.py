"""Speed and memory beside scikit-learn, in one run: ``make bench``.

    python benchmarks/run.py [passes] [memory] [import] [--pairs 7]

Every figure is a ratio between two programs that took turns on the same machine; absolute times are for orientation.
Results are printed and written to benchmarks/results/.
"""

import argparse
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import torch
from common import environment, into_readme, write
from sklearn.mixture import GaussianMixture as Theirs
from threadpoolctl import threadpool_limits

from mixtura import GaussianMixture

# rows, features, components, the ratio to reach
WORKLOADS = [
    (200_000, 2, 3, 15.0),
    (100_000, 10, 16, 8.0),
    (200_000, 8, 20, 8.0),
    (50_000, 32, 32, 3.5),
    (50_000, 50, 20, 2.5),
]


def blobs(rows: int, features: int, components: int, dtype: str = "float64") -> np.ndarray:
    """Overlapping Gaussian blobs, made a block at a time so that the peak of memory is the data."""
    generator = np.random.default_rng(0)
    centres = 3 * generator.standard_normal((components, features))
    x = np.empty((rows, features), dtype=dtype)
    for start in range(0, rows, 100_000):
        n = min(100_000, rows - start)
        x[start : start + n] = generator.standard_normal((n, features)) + centres[generator.integers(0, components, n)]
    return x


def start(x: np.ndarray, components: int) -> dict[str, object]:
    """The same starting parameters for both programs."""
    features = x.shape[1]
    return {
        "weights_init": np.full(components, 1 / components),
        "means_init": x[:components].astype(np.float64),
        "precisions_init": np.stack([np.eye(features)] * components),
    }


def seconds(make: object, x: np.ndarray, passes: int) -> float:
    """Wall time of one fit of so many passes."""
    model = make(passes)  # type: ignore[operator]
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x)
    return time.perf_counter() - begun


def per_pass(make: object, x: np.ndarray, few: int, more: int) -> float:
    """Seconds a pass: what ``more`` passes take beyond ``few``."""
    return (seconds(make, x, few + more) - seconds(make, x, few)) / more


def passes(pairs: int) -> list[dict[str, object]]:
    """One EM pass, float64, full covariances, against scikit-learn's."""
    table = []
    for rows, features, components, wanted in WORKLOADS:
        x = blobs(rows, features, components)
        given = start(x, components)

        def ours(n: int, given: dict = given, components: int = components) -> GaussianMixture:
            return GaussianMixture(components, tol=0, reg_covar=1e-6, max_iter=n, random_state=0, **given)

        def theirs(n: int, given: dict = given, components: int = components) -> Theirs:
            return Theirs(components, tol=0, reg_covar=1e-6, max_iter=n, random_state=0, **given)

        own = max(10, round(0.6 / max(per_pass(ours, x, 2, 5), 1e-4)))
        their = max(3, round(0.6 / per_pass(theirs, x, 1, 2)))
        times = [(per_pass(ours, x, 2, own), per_pass(theirs, x, 1, their)) for _ in range(pairs)]
        ratios = np.quantile([b / a for a, b in times], [0.25, 0.5, 0.75])
        row = {
            "workload": f"{rows}x{features} K={components}",
            "mixtura_ms": 1e3 * float(np.median([a for a, _ in times])),
            "sklearn_ms": 1e3 * float(np.median([b for _, b in times])),
            "ratio_quartiles": [round(float(r), 2) for r in ratios],
            "wanted": wanted,
            "reached": bool(ratios[0] >= wanted),
        }
        table.append(row)
        print(
            f"{row['workload']:>20}  mixtura {row['mixtura_ms']:8.2f} ms  scikit-learn {row['sklearn_ms']:8.1f} ms  "
            f"ratio {ratios[0]:5.1f} | {ratios[1]:5.1f} | {ratios[2]:5.1f}  wanted {wanted}",
            flush=True,
        )
    return table


def peak(dtype: str) -> float:
    """MiB that a fit of 2,000,000 × 10, K = 50 takes above its data (run in a process of its own)."""
    import psutil

    x = blobs(2_000_000, 10, 50, dtype)
    process = psutil.Process()
    before, highest, going = process.memory_info().rss, [0], [True]

    def watch() -> None:
        while going[0]:
            highest[0] = max(highest[0], process.memory_info().rss)
            time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        GaussianMixture(50, max_iter=4, random_state=0).fit(x)
    going[0] = False
    thread.join()
    return (highest[0] - before) / 2**20


def memory() -> list[dict[str, object]]:
    """Peak memory above the data, each precision in a fresh process that has imported everything before."""
    table = []
    for dtype in ("float64", "float32"):
        out = subprocess.run(
            [sys.executable, __file__, "peak", "--dtype", dtype], check=True, capture_output=True, text=True
        )
        row = {
            "workload": "2000000x10 K=50",
            "dtype": dtype,
            "mib_above_data": float(out.stdout.split()[-1]),
            "wanted": 256,
        }
        table.append(row)
        print(
            f"{row['workload']:>20} {dtype}: {row['mib_above_data']:.0f} MiB above the data, wanted at most 256",
            flush=True,
        )
    return table


def imports(pairs: int) -> dict[str, object]:
    """Seconds that our import takes beyond torch's and scikit-learn's base."""

    code = (
        "import torch, sklearn.base; from time import perf_counter; begun = perf_counter(); "
        "from mixtura import GaussianMixture; print(perf_counter() - begun)"
    )
    # In one process: the difference of two whole processes is smaller than what either varies by.
    runs = [
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True) for _ in range(pairs)
    ]
    found = float(np.median([float(run.stdout) for run in runs]))
    print(f"import: {found:.3f} s beyond torch and sklearn.base, wanted at most 0.2", flush=True)
    return {"seconds_beyond_torch_and_sklearn": found, "wanted": 0.2}


def show(table: list[dict[str, object]]) -> None:
    """Put the table of passes between the README's markers."""
    lines = ["| rows × features, K | mixtura | scikit-learn | ratio, quartiles |", "|---|---|---|---|"]
    for row in table:
        low, middle, high = row["ratio_quartiles"]  # type: ignore[misc]
        lines.append(
            f"| {str(row['workload']).replace('x', ' × ').replace(' K', ', K')} | {row['mixtura_ms']:.1f} ms "
            f"| {row['sklearn_ms']:.0f} ms | {low:.1f} – **{middle:.1f}** – {high:.1f} |"
        )
    into_readme("passes", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["passes", "memory", "import"])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--dtype", default="float64")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--readme", action="store_true", help="put the table of passes into README.md")
    asked = parser.parse_args()
    if asked.what == ["peak"]:
        print(peak(asked.dtype))
        return
    torch.set_num_threads(asked.threads)
    found: dict[str, object] = environment(asked.threads)
    with threadpool_limits(asked.threads):
        for name, run in (
            ("passes", lambda: passes(asked.pairs)),
            ("memory", memory),
            ("import", lambda: imports(asked.pairs)),
        ):
            if name in asked.what:
                found[name] = run()
    if asked.readme and "passes" in found:
        show(found["passes"])  # type: ignore[arg-type]
    for name in asked.what:
        write(name, {key: value for key, value in found.items() if key not in {"passes", "memory", "import"} - {name}})


if __name__ == "__main__":
    main()
