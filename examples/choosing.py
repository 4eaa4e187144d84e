"""Choosing a model of real flow cytometry: how many components, how many clusters they make, and how sure that is.

python examples/choosing.py [PICTURE]
"""

import sys
from pathlib import Path

import numpy as np

import mixtura
from mixtura import GaussianMixture, MixtureSearch, bootstrap, likelihood_ratio_test, merge, plot

DATA = Path(__file__).parent / "data" / "bacteria.csv"
CREDIT = "Data: FlowCytometryTools 0.5.1, Friedman & Yurtsev, MIT licence."
CHANNELS = ("FSC-H", "SSC-H", "V2-H", "Y2-H", "B1-H")
ROWS = 2000


def rows() -> np.ndarray:
    """Events by channels, as asinh(x / 150)."""
    source = mixtura.scan(DATA, CHANNELS, transform="asinh", cofactor=150)
    return np.concatenate([block.x.numpy() for block in source.blocks(100_000)])[:ROWS]


def main(picture: Path) -> None:
    """Search sizes and structures by BIC, ask other criteria, merge what overlaps, and say what is left in doubt."""
    x = rows()
    template = GaussianMixture(effort="quick")
    search = MixtureSearch(range(1, 13), ("full", "tied", "diag"), estimator=template, random_state=0).fit(x)
    best = search.best_estimator_
    print(f"BIC takes {best.n_components} components, {best.covariance_type}.")
    for criterion in ("icl", "cv", "nec"):
        sizes = MixtureSearch(range(1, 13), best.covariance_type, criterion, estimator=template, random_state=0).fit(x)
        print(f"{criterion.upper()} takes {sizes.best_estimator_.n_components}.")
    merged = merge(search, x)
    print(f"Merged by entropy they make {merged.n_clusters_} clusters: {merged.components().tolist()}.")
    for k in (1, 2):
        found = likelihood_ratio_test(x, k, best.covariance_type, n_resamples=99, estimator=template, random_state=0)
        print(f"{k} components against {k + 1}: 2 log ratio {found.statistic:.0f}, p = {found.p_value:.2f}.")
    errors = bootstrap(best, x, n_resamples=199, method="weights", random_state=0).standard_errors()["weights"]
    said = ", ".join(f"{w:.3f} ± {e:.3f}" for w, e in zip(best.weights_, errors, strict=True))
    print(f"Proportions and their standard errors: {said}.")
    ax = plot.new_axes(width=7.5, height=4.5)
    search.plot(ax)
    ax.figure.savefig(picture, dpi=90, metadata={"Software": None}, pil_kwargs={"optimize": True})
    bend = plot.new_axes(width=6, height=4)
    merged.plot(bend)
    beside = picture.with_name(f"{picture.stem}-merging.png")
    bend.figure.savefig(beside, dpi=90, metadata={"Software": None}, pil_kwargs={"optimize": True})
    print(f"The pictures are {picture} and {beside}. {CREDIT}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("choosing.png"))
