"""Memory and speed of fits to files that are never held: ``python benchmarks/sources.py``.

    python benchmarks/sources.py [throughput] [large] [flights] [--flights FILE] [--effort standard]

``throughput``: an EM pass over a Parquet file beside one over the same rows in memory, taking turns.
``large``: peak memory of ``mixtura fit`` on 8,000,000 × 10 float32 rows of a Parquet file, K=20, above bare imports.
``flights``: peak memory of ``mixtura fit`` on a table of 3,000,000 flights beside the same command on its first
300,000 rows. The table is vega_datasets' flights-3m.parquet (public domain), which is not shipped: FILE names it.

Files are made in, or copied to, a temporary directory. Results are printed and written to benchmarks/results/.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from common import RESULTS, environment, into_readme, write
from probe import SHIM

from mixtura.covariance import Floor, structure
from mixtura.data.array import Array
from mixtura.data.scan import scan
from mixtura.data.spool import settled
from mixtura.em import Likelihood, turn
from mixtura.family import Gaussian
from mixtura.mixture import Mixture
from mixtura.rows import Rows

BARE = "import torch, sklearn.mixture, pyarrow.parquet, mixtura; mixtura.GaussianMixture, mixtura.MixtureSearch"
"""What the command imports before it reads anything."""


def peak(command: list[str], place: Path) -> float:
    """MiB of resident memory that a command reached, its spool on disk in ``place``."""
    environ = {**os.environ, "TMPDIR": str(place)}
    shim = [sys.executable, "-c", SHIM, *command]
    done = subprocess.run(shim, capture_output=True, text=True, env=environ, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return int(done.stdout) / 1024


def fit(data: Path, place: Path, *options: str) -> list[str]:
    """The command."""
    return [sys.executable, "-m", "mixtura", "fit", str(data), "-o", str(place / "out"), *options]


def blob_file(path: Path, rows: int, features: int, components: int) -> Path:
    """Overlapping blobs in single precision, written a block at a time."""
    generator = np.random.default_rng(0)
    centres = 3 * generator.standard_normal((components, features))
    names = [f"x{j}" for j in range(features)]
    with pq.ParquetWriter(path, pa.schema([(name, pa.float32()) for name in names])) as out:
        for begun in range(0, rows, 500_000):
            n = min(500_000, rows - begun)
            x = generator.standard_normal((n, features)) + centres[generator.integers(0, components, n)]
            out.write_table(pa.table(dict(zip(names, x.T.astype(np.float32), strict=True))))
    return path


def large(effort: str) -> list[dict[str, object]]:
    """Peak memory on many rows."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        place = Path(name)
        path = blob_file(place / "blobs.parquet", 8_000_000, 10, 20)
        bare = peak([sys.executable, "-c", BARE], place)
        begun = time.perf_counter()
        found = peak(fit(path, place, "-k", "20", "--effort", effort), place)
        took = time.perf_counter() - begun
    row = {"workload": "8000000x10 float32 Parquet, K=20", "effort": effort, "bare_mib": bare, "peak_mib": found}
    print(
        f"{row['workload']}: {found - bare:.0f} MiB above {bare:.0f} MiB of bare imports (wanted: 1024), {took:.0f} s"
    )
    return [{**row, "mib_above_imports": found - bare, "wanted": 1024, "seconds": took}]


def flights(file: Path | None, effort: str) -> list[dict[str, object]]:
    """Peak memory on all rows beside a tenth of them."""
    if file is None:
        print("flights: SKIPPED, the table is not shipped: name it with --flights FILE")
        return []
    found = []
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        place = Path(name)
        whole = Path(shutil.copyfile(file, place / "flights.parquet"))
        pq.write_table(pq.ParquetFile(whole).read().slice(0, 300_000), place / "part.parquet")
        options = ("--columns", "delay,distance,date", "-k", "3", "--effort", effort)
        for path in (place / "part.parquet", whole):
            found.append(peak(fit(path, place, *options), place))
    part, every = found
    print(f"flights: {every:.0f} MiB for 3,000,000 rows, {part:.0f} MiB for 300,000: {every - part:+.0f} (wanted: 50)")
    return [{"workload": "flights", "effort": effort, "part_mib": part, "whole_mib": every, "wanted": 50}]


def throughput(pairs: int) -> list[dict[str, object]]:
    """A pass over a file beside a pass over an array, by turns; and over the file without its working copy."""
    table = []
    for rows, features, components in ((3_000_000, 3, 3), (2_000_000, 10, 20)):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
            path = blob_file(Path(name) / "blobs.parquet", rows, features, components)
            x = pq.read_table(path).to_pandas().to_numpy()
            mixture = Mixture(
                torch.full((1, components), -np.log(components), dtype=torch.float64),
                torch.as_tensor(x[:components].astype(np.float64))[None],
                structure("full").unit(1, components, features),
                Gaussian(),
            )
            each = {"memory": Array(x), "file": settled(scan(path)), "streamed": scan(path)}
            times: dict[str, list[float]] = {kind: [] for kind in each}
            made = {}
            for kind, source in each.items():
                source.shape if kind != "streamed" else source.counted()  # type: ignore[union-attr]
                made[kind] = Rows(source, origin=torch.zeros(features), resident=0)
            for _ in range(pairs):
                for kind, data in made.items():
                    begun = time.perf_counter()
                    turn(mixture, data, Likelihood(Floor()))
                    times[kind].append(time.perf_counter() - begun)
        memory = np.array(times["memory"])
        row: dict[str, object] = {
            "workload": f"{rows}x{features} float32, K={components}",
            "memory_ms": 1e3 * np.median(memory),
        }
        for kind in ("file", "streamed"):
            share = np.quantile(memory / np.array(times[kind]), (0.25, 0.5, 0.75))
            row[kind] = share.tolist()
        print(
            f"{row['workload']}: {row['memory_ms']:.0f} ms in memory; as fits read a file "
            + " – ".join(f"{v:.0%}" for v in row["file"])  # type: ignore[attr-defined]
            + " of that throughput (wanted: 70%); decoded anew in every pass "
            + " – ".join(f"{v:.0%}" for v in row["streamed"])  # type: ignore[attr-defined]
        )
        table.append({**row, "wanted": 0.7})
    return table


def table() -> list[str]:
    """The last results as lines of a table."""
    kept = {name: json.loads((RESULTS / f"sources-{name}.json").read_text())[name] for name in NAMES}
    lines = ["| | | wanted |", "|---|---|---|"]
    for row in kept["throughput"]:
        low, mid, high = (f"{share:.0%}" for share in row["file"])
        about = f"a pass over {row['workload']} of a Parquet file, of the throughput in memory (quartiles)"
        lines.append(f"| {about} | {low} – **{mid}** – {high} | 70% |")
    for row in kept["large"]:
        about = f"`mixtura fit --effort {row['effort']}` on {row['workload']}: memory above bare imports"
        lines.append(f"| {about} | {row['mib_above_imports']:.0f} MiB | 1024 MiB |")
    for row in kept["flights"]:
        more = row["whole_mib"] - row["part_mib"]
        lines.append(f"| `mixtura fit` on 3,000,000 flights, above 300,000 of them | {more:.0f} MiB | 50 MiB |")
    return lines


NAMES = ("throughput", "large", "flights")


def main() -> None:
    """Run what is asked for."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("what", nargs="*", choices=[[], *NAMES], default=[])
    asked.add_argument("--readme", action="store_true", help="put the last results into README.md")
    asked.add_argument("--flights", type=Path, metavar="FILE")
    asked.add_argument("--effort", default="standard")
    asked.add_argument("--pairs", type=int, default=7)
    given = asked.parse_args()
    threads = torch.get_num_threads()
    if given.readme and not given.what:
        into_readme("sources", table())
        return
    for name in given.what or NAMES:
        found = {
            "throughput": lambda: throughput(given.pairs),
            "large": lambda: large(given.effort),
            "flights": lambda: flights(given.flights, given.effort),
        }[name]()
        if found:
            write(f"sources-{name}", {**environment(threads), name: found})


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
