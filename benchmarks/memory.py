"""Peak memory of a large fit, and the time of the import.

python benchmarks/memory.py --dtype float64    # one measurement, in this process
"""

import argparse
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
from tables import Row, say
from workloads import blobs

ROWS = 2_000_000
"""Of the large table."""


def peak(dtype: str, rows: int) -> float:
    """MiB that a fit of rows × 10, K = 50 takes above its data (run in a process of its own)."""
    import psutil

    from mixtura import GaussianMixture

    x = blobs(rows, 10, 50, dtype)
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


def memory(rows: int = ROWS) -> list[Row]:
    """Peak memory above the data, each precision in a fresh process that has imported everything before."""
    table = []
    for dtype in ("float64", "float32"):
        command = [sys.executable, __file__, "--dtype", dtype, "--rows", str(rows)]
        out = subprocess.run(command, check=True, capture_output=True, text=True)
        row: Row = {
            "workload": f"{rows}x10 K=50",
            "dtype": dtype,
            "mib_above_data": float(out.stdout.split()[-1]),
            "wanted": 256,
        }
        table.append(row)
        say(f"{row['workload']:>20} {dtype}: {row['mib_above_data']:.0f} MiB above the data, wanted at most 256")
    return table


def imports(pairs: int) -> Row:
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
    say(f"import: {found:.3f} s beyond torch and sklearn.base, wanted at most 0.2")
    return {"seconds_beyond_torch_and_sklearn": found, "wanted": 0.2}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="float64", choices=["float64", "float32"])
    parser.add_argument("--rows", type=int, default=ROWS)
    asked = parser.parse_args()
    print(peak(asked.dtype, asked.rows))
