"""Why starts matter: the same mixture of real flow cytometry, found by one start, by ten, and by searching.

python examples/search.py [PICTURE]
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import adjusted_rand_score

import mixtura
from mixtura import GaussianMixture, plot

DATA = Path(__file__).parent / "data" / "bacteria.csv"
CREDIT = "Data: FlowCytometryTools 0.5.1, Friedman & Yurtsev, MIT licence."
CHANNELS = ("FSC-H", "SSC-H", "V2-H", "Y2-H", "B1-H")
COMPONENTS = 12

WAYS = {
    "one k-means start": {"init_params": "kmeans", "n_init": 1},
    "ten k-means starts": {"init_params": "kmeans", "n_init": 10},
    'effort="quick"': {"effort": "quick"},
    'effort="standard"': {"effort": "standard"},
    'effort="thorough"': {"effort": "thorough"},
}


def rows() -> np.ndarray:
    """Events by channels, as asinh(x / 150)."""
    source = mixtura.scan(DATA, CHANNELS, transform="asinh", cofactor=150)
    return np.concatenate([block.x.numpy() for block in source.blocks(100_000)])


def main(picture: Path) -> None:
    """Fit in every way, print how far each came, and write the picture of the last."""
    x = rows()
    models = {way: GaussianMixture(COMPONENTS, random_state=1, **given).fit(x) for way, given in WAYS.items()}
    best = max((m for m in models.values() if m.status_ == "converged"), key=lambda m: m.loglik_)
    print("found by              log likelihood    short by  labels alike (adjusted Rand index)")
    for way, model in models.items():
        alike = adjusted_rand_score(model.predict(x), best.predict(x))
        print(f"{way:20}  {model.loglik_:14.1f}  {best.loglik_ - model.loglik_:10.1f}  {alike:.2f}  {model.status_}")
    print("\n" + models['effort="thorough"'].summary().strip().splitlines()[-1])
    ax = plot.new_axes(width=7.5, height=4.5)
    plot.starts(models['effort="standard"'], ax, title=f"{len(x):,} bacteria, {COMPONENTS} components")
    ax.figure.savefig(picture, dpi=90, metadata={"Software": None}, pil_kwargs={"optimize": True})
    print(f"The picture is {picture}. {CREDIT}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("search.png"))
