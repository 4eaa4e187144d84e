"""The search for the optimum beside what others reach: ``make optimum``.

    python benchmarks/optimum.py [known] [real] [tutorial] [small] [--seeds 3] [--threads 2]

``known``: small sets whose best likelihood was sought by many starts. ``real``: larger tables beside scikit-learn's
``n_init=10`` and its default start, likelihood and time in one run. ``tutorial``: the right clusters from 200 seeds.
``small``: times of tiny fits and of one row's label. Results are printed and written to benchmarks/results/.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, environment, into_readme, quiet, write
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture as Theirs
from threadpoolctl import threadpool_limits

from mixtura import GaussianMixture

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT.parent / "tests"))
from comparison.sets import load, numbers  # noqa: E402

SHORT = 0.5
"""Nats below a reference that still count as reached."""

MCLUST = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical"}


def say(line: str) -> None:
    print(line, flush=True)


def known(seeds: int) -> dict[str, Any]:
    """Cells whose best sound likelihood is known, with what two defaults reach there."""
    cells, sets = [], numbers("best_known")["sets"]
    for name, code in product(sets, MCLUST):
        for k, cell in sets[name][code].items():
            fits = [GaussianMixture(int(k), covariance_type=MCLUST[code], random_state=s) for s in range(seeds)]
            gaps = [fit.fit(load(name)).loglik_ - cell["best"] for fit in fits]
            good = [gap > -SHORT and fit.status_ == "converged" for gap, fit in zip(gaps, fits, strict=True)]
            theirs = {key: cell[key] is not None and cell[key] - cell["best"] > -SHORT for key in cell if key != "best"}
            cells.append(
                {"cell": f"{name} {code},{k}", "reached": sum(good), "gaps": np.round(gaps, 3).tolist(), **theirs}
            )
            if not all(good):
                say(f"  {name} {code},{k}: {sum(good)} of {seeds}, gaps {np.round(sorted(gaps), 2)}")
    # Nothing sound reaches the best known where that is no sound fit itself: the cell is shown, and counted.
    share = sum(cell["reached"] for cell in cells) / (seeds * len(cells))
    others = {key: float(np.mean([cell[key] for cell in cells])) for key in ("sklearn_default", "mclust_default")}
    say(f"known: {share:.1%} of {len(cells)} cells x {seeds} seeds reached, wanted 90 %; in one run {others}")
    return {"seeds": seeds, "share": share, "wanted": 0.9, "others": others, "cells": cells}


def tables() -> dict[str, np.ndarray]:
    """The larger tables: fixed samples of 15,000 rows, and the digits."""
    sets = {name: np.load(ROOT / "data" / f"{name}.npz")["x"].astype(float) for name in ("bacteria", "cities")}
    return {**sets, "digits": PCA(15, random_state=0).fit_transform(load_digits().data)}


def timed(model: Any, x: np.ndarray) -> tuple[Any, float]:
    """The fitted model and the seconds its fit took, begun when the process is quiet."""
    quiet()
    begun = time.perf_counter()
    model.fit(x)
    return model, time.perf_counter() - begun


RIVALS = {"standard": {"n_init": 10}, "quick": {"n_init": 1}}
"""What scikit-learn does beside each effort."""


def beside(x: np.ndarray, given: dict[str, Any], effort: str, *, theirs_first: bool = False) -> dict[str, Any]:
    """A whole fit beside its rival, one after the other: seconds, and log likelihoods of all rows in nats."""
    models = {"own": GaussianMixture(**given, effort=effort), "their": Theirs(**given, **RIVALS[effort])}
    took = {name: timed(models[name], x)[1] for name in sorted(models, reverse=theirs_first)}
    own, theirs = models["own"].loglik_, models["their"].score(x) * len(x)
    return {
        "gap": round(own - theirs, 2),
        "status": models["own"].status_,
        "reached": bool(own - theirs > -SHORT and models["own"].status_ == "converged"),
        "seconds": round(took["own"], 4),
        "theirs": round(took["their"], 4),
        "loglik": round(own, 3),
        "their_loglik": round(theirs, 3),
    }


KINDS, COMPONENTS = ("full", "diag", "tied"), (4, 8, 12)
"""What is fitted to each of the larger tables."""


def real(seeds: int) -> dict[str, Any]:
    """Default beside ``n_init=10``, quick beside the default start: likelihoods, and times one after the other."""
    cells = []
    for (name, x), kind, k, seed in product(tables().items(), KINDS, COMPONENTS, range(seeds)):
        given = {"n_components": k, "covariance_type": kind, "random_state": seed}
        cell: dict[str, Any] = {"cell": f"{name} {kind},{k}", "seed": seed}
        for effort in RIVALS:
            cell[effort] = beside(x, given, effort)
        cells.append(cell)
        parts = [
            f"{e} {cell[e]['gap']:9.2f} in {cell[e]['seconds'] / cell[e]['theirs']:.2f}" for e in ("standard", "quick")
        ]
        say(f"  {cell['cell']:16} seed {seed}: {'; '.join(parts)} of their time")
    found: dict[str, Any] = {"seeds": seeds, "cells": cells}
    for effort, wanted in (("standard", 1.0), ("quick", 0.5)):
        share = float(np.mean([cell[effort]["reached"] for cell in cells]))
        ratio = float(np.exp(np.mean([np.log(cell[effort]["seconds"] / cell[effort]["theirs"]) for cell in cells])))
        found[effort] = {"share": share, "wanted_share": 0.9, "time": ratio, "wanted_time": wanted}
        say(f"real, {effort}: {share:.1%} reached (wanted 90 %) in {ratio:.2f} of their time (wanted {wanted})")
    return found


def three_clusters() -> tuple[np.ndarray, np.ndarray]:
    """The tutorial's 300 rows and their clusters."""
    draw = np.random.RandomState(42)
    x = np.vstack([draw.multivariate_normal(mean, np.eye(2), 100) for mean in ((0, 0), (5, 5), (5, 0))])
    return x, np.repeat(np.arange(3), 100)


def tutorial(seeds: int = 200) -> dict[str, Any]:
    """The right three clusters, from every seed: no other assignment of rows than that of the best optimum."""
    x, truth = three_clusters()
    scores = [adjusted_rand_score(truth, GaussianMixture(3, random_state=s).fit_predict(x)) for s in range(seeds)]
    right = int(np.sum(np.asarray(scores) > 0.95))
    say(f"tutorial: the right clusters from {right} of {seeds} seeds, adjusted Rand index {min(scores):.4f} or more")
    return {"right": right, "seeds": seeds, "adjusted_rand": [min(scores), max(scores)]}


def small(pairs: int = 15) -> dict[str, Any]:
    """Ratios of times on the tutorial's rows, over interleaved pairs."""
    x, _ = three_clusters()
    own, their = GaussianMixture(3, random_state=0).fit(x), Theirs(3, random_state=0).fit(x)

    def seconds(job: Callable[[int], Any], seed: int) -> float:
        quiet()
        begun = time.perf_counter()
        job(seed)
        return time.perf_counter() - begun

    jobs: dict[str, tuple[Callable[[int], Any], Callable[[int], Any], float]] = {
        "default beside n_init=10": (
            lambda s: GaussianMixture(3, random_state=s).fit(x),
            lambda s: Theirs(3, n_init=10, random_state=s).fit(x),
            1 / 3,
        ),
        "quick beside the default": (
            lambda s: GaussianMixture(3, effort="quick", random_state=s).fit(x),
            lambda s: Theirs(3, random_state=s).fit(x),
            4.0,
        ),
        "predict of one row": (
            lambda s: [own.predict(x[:1]) for _ in range(20)],
            lambda s: [their.predict(x[:1]) for _ in range(20)],
            2.0,
        ),
    }
    found = {}
    for name, (ours, theirs, wanted) in jobs.items():
        seconds(ours, 0), seconds(theirs, 0)
        times = [(seconds(ours, s), seconds(theirs, s)) for s in range(pairs)]
        low, middle, high = np.quantile([a / b for a, b in times], [0.25, 0.5, 0.75]).round(3).tolist()
        milliseconds = [round(1e3 * float(np.median(t)), 3) for t in zip(*times, strict=True)]
        found[name] = {"ratio_quartiles": [low, middle, high], "wanted": wanted, "milliseconds": milliseconds}
        say(f"{name}: {low:.2f} | {middle:.2f} | {high:.2f} of scikit-learn's time, wanted at most {wanted:.2f}")
    return found


def show() -> None:
    """Put what the last runs found between the README's markers."""
    last = {
        name: json.loads((RESULTS / f"optimum-{name}.json").read_text())
        for name in ("known", "real", "tutorial", "small")
    }
    on_known, on_real, easy, tiny = last.values()
    others = {name: f"{share:.0%}" for name, share in on_known["others"].items()}
    rows = [
        (
            f"{len(on_known['cells'])} cells of five small sets × {on_known['seeds']} seeds, best known likelihood",
            f"{on_known['share']:.0%} (default of scikit-learn {others['sklearn_default']}, "
            f"of mclust {others['mclust_default']})",
            "",
        )
    ]
    for effort, beside in (("standard", "scikit-learn's `n_init=10`"), ("quick", "its default start")):
        found = on_real[effort]
        what = f'`effort="{effort}"` beside {beside}: cytometry, places, digits; {len(on_real["cells"])} fits'
        rows.append((what, f"{found['share']:.0%}", f"{found['time']:.2f}"))
    rows.append((f"three clusters of the tutorial, {easy['seeds']} seeds", f"{easy['right'] / easy['seeds']:.0%}", ""))
    for name, found in tiny.items():
        if isinstance(found, dict) and "ratio_quartiles" in found:
            rows.append(
                (
                    f"the tutorial's 300 rows: {name}",
                    "",
                    "{:.2f} – **{:.2f}** – {:.2f}".format(*found["ratio_quartiles"]),
                )
            )
    lines = [
        "| | reached, or within 0.5 nat | of scikit-learn's time |",
        "|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    into_readme("optimum", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["known", "real", "tutorial", "small"])
    parser.add_argument("--seeds", type=int, default=None, help="10 for known, 3 for real")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--readme", action="store_true", help="put the last results into README.md")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    jobs: dict[str, Callable[[], dict[str, Any]]] = {
        "known": lambda: known(asked.seeds or 10),
        "real": lambda: real(asked.seeds or 3),
        "tutorial": tutorial,
        "small": small,
    }
    with threadpool_limits(asked.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in asked.what:
            write(f"optimum-{name}", {**environment(asked.threads), **jobs[name]()})
    if asked.readme:
        show()


if __name__ == "__main__":
    main()
