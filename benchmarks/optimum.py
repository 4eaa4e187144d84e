"""The search for the optimum beside what others reach: ``make optimum``.

    python benchmarks/optimum.py [known] [real] [tutorial] [small] [--seeds 3] [--threads 2]

``known``: small sets whose best likelihood was sought by many starts. ``real``: larger tables beside scikit-learn's
``n_init=10`` and beside the best that is known (``best_known.py``, which this raises), likelihood and time in one run.
``tutorial``: the right clusters from 200 seeds.
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
from best_known import KINDS, cells, keep, raised
from best_known import known as known_best
from common import RESULTS, environment, into_readme, quiet, write
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture as Theirs
from threadpoolctl import threadpool_limits

from mixtura import GaussianMixture
from mixtura.data.array import Array
from mixtura.sound import soundness
from mixtura.survey import Survey, survey

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT.parent / "tests"))
from comparison.sets import load, numbers  # noqa: E402

SHORT = 0.5
"""Nats below a reference that still count as reached."""

MCLUST = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical"}


WANTED_KNOWN = {"standard": 0.95, "thorough": 0.99}
"""Shares of the small cells to reach."""


def say(line: str) -> None:
    print(line, flush=True)


def known(seeds: int) -> dict[str, Any]:
    """Cells whose best sound likelihood is known: how often two efforts reach it, and whether two defaults do."""
    cells, sets = [], numbers("best_known")["sets"]
    for name, code in product(sets, MCLUST):
        for k, cell in sets[name][code].items():
            row: dict[str, Any] = {"cell": f"{name} {code},{k}"}
            for effort in WANTED:
                given = {"covariance_type": MCLUST[code], "effort": effort}
                fits = [GaussianMixture(int(k), **given, random_state=s) for s in range(seeds)]
                gaps = [fit.fit(load(name)).loglik_ - cell["best"] for fit in fits]
                good = [gap > -SHORT and fit.status_ == "converged" for gap, fit in zip(gaps, fits, strict=True)]
                row[effort] = {"reached": sum(good), "gaps": np.round(gaps, 3).tolist()}
                if not all(good):
                    say(f"  {row['cell']} {effort}: {sum(good)} of {seeds}, gaps {np.round(sorted(gaps), 2)}")
            rivals = {key: cell[key] is not None and cell[key] - cell["best"] > -SHORT for key in cell if key != "best"}
            cells.append(row | rivals)
    # Nothing sound reaches the best known where that is no sound fit itself: the cell is shown, and counted.
    shares = {effort: sum(cell[effort]["reached"] for cell in cells) / (seeds * len(cells)) for effort in WANTED}
    others = {key: float(np.mean([cell[key] for cell in cells])) for key in ("sklearn_default", "mclust_default")}
    said = ", ".join(f"{effort} {share:.1%}" for effort, share in shares.items())
    say(f"known: {said} of {len(cells)} cells x {seeds} seeds reached, wanted 95 and 99 %; in one run {others}")
    return {"seeds": seeds, "shares": shares, "wanted": WANTED_KNOWN, "others": others, "cells": cells}


def tables() -> dict[str, np.ndarray]:
    """The larger tables: fixed samples of 15,000 rows or fewer, and the digits."""
    names = ("bacteria", "lsrii", "cities", "flower", "pbmc")
    sets = {name: np.load(ROOT / "data" / f"{name}.npz")["x"].astype(float) for name in names}
    return {**sets, "digits": PCA(15, random_state=0).fit_transform(load_digits().data)}


def timed(model: Any, x: np.ndarray) -> tuple[Any, float]:
    """The fitted model and the seconds its fit took, begun when the process is quiet."""
    quiet()
    begun = time.perf_counter()
    model.fit(x)
    return model, time.perf_counter() - begun


def believed(model: Theirs, x: np.ndarray, facts: Survey) -> bool:
    """A fit of scikit-learn's passes the same tests as ours: no component of few rows, none that has collapsed."""
    counts = torch.from_numpy(model.predict_proba(x).sum(0))[None]
    return bool(soundness(GaussianMixture.from_sklearn(model).mixture_, counts, facts).sound[0])


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


WANTED = {
    "standard": {"above_theirs": 0.97, "reached": 0.70, "time": 0.2},
    "thorough": {"above_theirs": None, "reached": 0.90, "time": 1.0},
}
"""Shares of fits at or above ``n_init=10`` where that is sound, and of those that reach the best known; the time, of
theirs."""


def real(seeds: int) -> dict[str, Any]:
    """Standard and thorough beside ``n_init=10`` and the best known: likelihoods, and times one after the other."""
    table, found, every = known_best(), [], tables()
    each, facts = list(cells(every).items()), {name: survey(Array(x), 0) for name, x in every.items()}
    for (name, (x, kind, k)), seed in product(each, range(seeds)):
        given = {"n_components": k, "covariance_type": kind, "random_state": seed}
        models = {effort: GaussianMixture(**given, effort=effort) for effort in WANTED}
        rivals = {"theirs": Theirs(**given, n_init=10), **models}
        order = sorted(rivals, reverse=bool(seed % 2))
        took = {rival: timed(rivals[rival], x)[1] for rival in order}
        row: dict[str, Any] = {"cell": name, "seed": seed, "theirs": rivals["theirs"].score(x) * len(x)}
        row["theirs_sound"] = believed(rivals["theirs"], x, facts[name.split()[0]])
        row["seconds"] = {rival: round(took[rival], 4) for rival in rivals}
        for effort, model in models.items():
            sound = model.status_ == "converged"
            row[effort] = {"loglik": model.loglik_, "sound": sound, "searches": 1 + model.starts_[-1]["search"]}
            if sound and raised(table, name, model.loglik_, f"{effort}, a tested seed"):
                keep(table)
                say(f"  {name}: the best known rises to {model.loglik_:.3f}")
        found.append(row)
        best = table.get(name, {}).get("best")
        gaps = [f"{row[e]['loglik'] - best:9.2f}" if best is not None else "        ?" for e in models]
        theirs = f"{row['theirs'] - best:9.2f}" if best is not None else ""
        say(f"  {name:16} seed {seed}: {' '.join(gaps)}, theirs {theirs}; {row['seconds']}")
    return {"seeds": seeds, "cells": found} | {effort: summed_up(found, effort, table) for effort in WANTED}


def summed_up(found: list[dict[str, Any]], effort: str, table: dict[str, Any]) -> dict[str, Any]:
    """Shares over all fits of an effort where anything sound is known, and its time over theirs."""
    some = [row for row in found if table.get(row["cell"], {}).get("best") is not None]
    reached = [row[effort]["sound"] and row[effort]["loglik"] > table[row["cell"]]["best"] - SHORT for row in some]
    above = [row[effort]["sound"] and row[effort]["loglik"] > row["theirs"] - SHORT for row in found]
    # Theirs may win by collapse.
    believed = [row["theirs_sound"] for row in found]
    fair = [is_above for is_above, sound in zip(above, believed, strict=True) if sound]
    theirs = [row["theirs_sound"] and row["theirs"] > table[row["cell"]]["best"] - SHORT for row in some]
    time_of = float(np.exp(np.mean([np.log(row["seconds"][effort] / row["seconds"]["theirs"]) for row in found])))
    whole = {"reached": np.mean(reached), "above_theirs": np.mean(fair), "above_collapsed_too": np.mean(above)}
    whole |= {"theirs_reach": np.mean(theirs), "theirs_sound": np.mean(believed)}
    unsound = sum(not row[effort]["sound"] for row in found)
    wanted = WANTED[effort]
    say(
        f"real, {effort}: {whole['reached']:.1%} reached the best known (wanted {wanted['reached']:.0%}; theirs "
        f"{whole['theirs_reach']:.1%}), {whole['above_theirs']:.1%} at or above n_init=10 where that is sound "
        f"({whole['theirs_sound']:.1%}), {whole['above_collapsed_too']:.1%} also where it is not, in {time_of:.2f} of "
        f"its time (wanted {wanted['time']}); {unsound} of {len(found)} not sound"
    )
    return {key: round(float(value), 4) for key, value in whole.items()} | {
        "time": round(time_of, 4),
        "unsound": unsound,
        "wanted": wanted,
    }


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
    # Counted anew: the best known may have risen since.
    on_real |= {effort: summed_up(on_real["cells"], effort, known_best()) for effort in WANTED}
    others = {name: f"{share:.0%}" for name, share in on_known["others"].items()}
    rows = [
        (
            f"{len(on_known['cells'])} cells of five small sets × {on_known['seeds']} seeds, best known likelihood",
            f"{on_known['shares']['standard']:.1%}, thorough {on_known['shares']['thorough']:.1%} (default of "
            f"scikit-learn {others['sklearn_default']}, of mclust {others['mclust_default']})",
            "",
        )
    ]
    for effort in WANTED:
        found = on_real[effort]
        what = f'`effort="{effort}"`, best known likelihood: six real tables, {len(on_real["cells"])} fits'
        rows.append(
            (what, f"{found['reached']:.0%} (`n_init=10`: {found['theirs_reach']:.0%})", f"{found['time']:.2f}")
        )
        both = f"{found['above_theirs']:.0%} ({found['above_collapsed_too']:.0%} where collapsed ones count, too)"
        rows.append(("the same, at or above scikit-learn's `n_init=10` where that is sound", both, ""))
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
    into_readme("optimum-real", detailed(on_real, known_best()))


def believable(row: dict[str, Any], way: str) -> float:
    """The log likelihood of a fit; none that is not sound."""
    loglik, sound = (row["theirs"], row["theirs_sound"]) if way == "theirs" else (row[way]["loglik"], row[way]["sound"])
    return loglik if sound else -np.inf


def detailed(found: dict[str, Any], table: dict[str, Any]) -> list[str]:
    """Markdown: shares that reach the best known, and how far below it fits end, by table, structure and K."""
    rows = [row for row in found["cells"] if table.get(row["cell"], {}).get("best") is not None]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        name, rest = row["cell"].split()
        kind, k = rest.split(",")
        for group in (name, kind, f"K = {k}", "all"):
            groups.setdefault(group, []).append(row)
    ways = [*WANTED, "theirs"]
    lines = [
        "| cells | fits | standard | thorough | scikit-learn's `n_init=10` | nats short, upper quartiles of these |",
        "|---|---|---|---|---|---|",
    ]
    for group in sorted(groups, key=lambda group: (group == "all", group.startswith("K"), group in KINDS)):
        best = np.array([table[row["cell"]]["best"] for row in groups[group]])
        short = [best - [believable(row, way) for row in groups[group]] for way in ways]
        shares = [f"{np.mean(some < SHORT):.0%}" for some in short]
        # A fit that is not sound is short by any number.
        far = [f"{max(0.0, float(np.quantile(some, 0.75, method='higher'))):.1f}" for some in short]
        lines.append(f"| {group} | {len(groups[group])} | {' | '.join(shares)} | {', '.join(far)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["known", "real", "tutorial", "small"])
    parser.add_argument("--seeds", type=int, default=None, help="10 for known, 5 for real")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--readme", action="store_true", help="put the last results into README.md")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    jobs: dict[str, Callable[[], dict[str, Any]]] = {
        "known": lambda: known(asked.seeds or 10),
        "real": lambda: real(asked.seeds or 5),
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
