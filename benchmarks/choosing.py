"""Choosing the model, beside mclust and scikit-learn.

    python benchmarks/choosing.py [choices] [refits] [--threads 2] [--readme]

``choices``: fourteen structures and one to nine components of six small sets and of 5,000 bacteria: what is chosen, its
BIC beside that of mclust's choice, and the time beside R's, where there is R. ``refits``: ten refits of each of 2 to 20
components (and the two numbers beside them) of 42,000 rows in 20 columns, float32, and the choice that their agreement
makes, beside ten default fits of scikit-learn's for each number. Results go to benchmarks/results/choosing-NAME.json.
"""

import argparse
import math
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.mixture
import torch
from common import environment, into_readme, quiet, write
from tables import say
from threadpoolctl import threadpool_limits

from mixtura import GaussianMixture, MixtureSearch

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT.parent / "tests"))
from comparison.sets import load, numbers  # noqa: E402

SCRIPT = ROOT / "mclust_search.R"

ROWS, FEATURES, GROUPS = 42_000, 20, 12
"""The table of ``refits``: its rows, columns, and the groups that they are drawn from."""

SIZES, REFITS = range(2, 21), 10


def in_r(x: np.ndarray) -> dict[str, Any] | None:
    """mclust's choice and the seconds it took; None where it is not here."""
    if shutil.which("Rscript") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        np.ascontiguousarray(x.T, dtype="<f8").tofile(Path(folder) / "x")
        command = ["Rscript", str(SCRIPT), folder, *map(str, x.shape)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    took, bic, model, components = done.stdout.split()[-4:]
    return {"seconds": float(took), "bic": -float(bic), "choice": f"{model},{components}"}


def choices() -> list[dict[str, Any]]:
    """What is chosen of every set."""
    sets = {name: load(name) for name in sorted(numbers("mclust_fits")["sets"])}
    sets["bacteria, 5,000 rows"] = np.load(ROOT / "data" / "bacteria.npz")["x"][:5000].astype(np.float64)
    found = []
    for name, x in sets.items():
        quiet()
        begun = time.perf_counter()
        search = MixtureSearch(range(1, 10), "all", random_state=0).fit(x)
        seconds, best = time.perf_counter() - begun, search.best_estimator_
        known = numbers("mclust_fits")["sets"].get(name)
        stored = known and stored_choice(known["models"], len(x))
        row = {
            "set": name,
            "shape": list(x.shape),
            "choice": f"{best._structure},{best.n_components}",
            "status": best.status_,
            "bic": float(search.table_["bic"][search.best_index_]),
            "seconds": seconds,
            "mclust": stored or None,
            "r": in_r(x),
        }
        found.append(row)
        beside = f"mclust {stored['choice']} {stored['bic']:.2f}" if stored else "no stored choice of mclust's"
        timed = f"R {row['r']['seconds']:.1f} s" if row["r"] else "R: SKIPPED, there is no Rscript with mclust"
        say(f"{name:22} {row['choice']:12} BIC {row['bic']:.2f} ({beside}), {seconds:.1f} s; {timed}")
    return found


def stored_choice(models: dict[str, Any], rows: int) -> dict[str, Any]:
    """mclust's best model, by its likelihoods."""
    every = [
        (-2 * cell["loglik"] + cell["df"] * math.log(rows), f"{code},{k}")
        for code, cells in models.items()
        for k, cell in enumerate(cells, 1)
        if cell["loglik"] is not None
    ]
    bic, choice = min(every)
    return {"choice": choice, "bic": bic}


def groups() -> np.ndarray:
    """Rows of overlapping groups of different shapes."""
    draw = np.random.default_rng(0)
    centre = draw.normal(0, 2, (GROUPS, FEATURES))
    shape = draw.normal(size=(GROUPS, FEATURES, FEATURES)) / FEATURES**0.5 + 0.5 * np.eye(FEATURES)
    of = draw.choice(GROUPS, ROWS, p=draw.dirichlet(np.full(GROUPS, 3.0)))
    x = np.empty((ROWS, FEATURES), dtype=np.float32)
    for k in range(GROUPS):
        at = of == k
        x[at] = centre[k] + draw.normal(size=(int(at.sum()), FEATURES)) @ shape[k]
    return x


def refits() -> dict[str, Any]:
    """Stability of a range of sizes, beside as many default fits of scikit-learn's."""
    x = groups()
    quiet()
    begun = time.perf_counter()
    template = GaussianMixture(effort="quick")
    search = MixtureSearch(SIZES, "full", "stability", estimator=template, random_state=0).fit(x)
    ours = time.perf_counter() - begun
    say(f"mixtura: {ours:.1f} s, chosen {search.best_estimator_.n_components}")
    theirs, bounds = 0.0, {}
    for k in SIZES:
        quiet()
        begun = time.perf_counter()
        fits = [sklearn.mixture.GaussianMixture(k, random_state=seed).fit(x) for seed in range(REFITS)]
        theirs += time.perf_counter() - begun
        bounds[k] = [float(fit.score(x) * ROWS) for fit in fits]
    loglik = dict(zip(search.table_["n_components"].tolist(), search.table_["loglik"].tolist(), strict=True))
    higher = [k for k in SIZES if loglik[k] >= max(bounds[k]) - 0.5]
    say(
        f"scikit-learn: {theirs:.1f} s; {theirs / ours:.2f} times as long (wanted: 4); the likeliest of its ten fits "
        f"is reached for {len(higher)} of {len(SIZES)} sizes"
    )
    return {
        "seconds": ours,
        "theirs": theirs,
        "ratio": theirs / ours,
        "chosen": int(search.best_estimator_.n_components),
        "stability": search.table_["stability"].tolist(),
        "same": search.table_["stability_same"].tolist(),
        "loglik": loglik,
        "bounds": bounds,
        "reached": len(higher),
    }


def markdown(name: str, found: Any) -> list[str]:
    """Lines for the documentation."""
    if name == "refits":
        return [
            f"{REFITS} refits of each of {min(SIZES)} to {max(SIZES)} components, and of the two numbers beside them, "
            f"on {ROWS:,} × {FEATURES} float32 rows, with every model fitted: {found['seconds']:.0f} s. Ten default "
            f"fits of scikit-learn's for each number: {found['theirs']:.0f} s, {found['ratio']:.1f} times as long; the "
            f"likeliest of them is reached for {found['reached']} of {len(SIZES)} numbers."
        ]
    lines = ["| set | chosen | BIC | mclust chooses | its BIC | seconds | in R |", "|---|---|---|---|---|---|---|"]
    for row in found:
        stored, r = row["mclust"], row["r"]
        theirs = f"{stored['choice']} | {stored['bic']:.2f}" if stored else "| "
        lines.append(
            f"| {row['set']} | {row['choice']} | {row['bic']:.2f} | {theirs} | {row['seconds']:.1f} | "
            f"{'not here' if r is None else round(r['seconds'], 1)} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[[], "choices", "refits"], default=[], metavar="table")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--readme", action="store_true", help="put the results into the documentation")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    made = {"choices": choices, "refits": refits}
    with threadpool_limits(asked.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in asked.what or made:
            found = made[name]()
            write(f"choosing-{name}", {**environment(asked.threads), name: found})
            if asked.readme:
                into_readme(f"choosing-{name}", markdown(name, found))


if __name__ == "__main__":
    main()
