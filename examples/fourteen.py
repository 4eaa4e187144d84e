"""The fourteen covariance structures on the same rows: one picture and one table.

python examples/fourteen.py [PICTURE]
"""

import sys
from pathlib import Path

import numpy as np

from mixtura import GaussianMixture, MixtureSearch, plot

CODES = ["EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV"]
"""From the fewest parameters to the most: volume, shape and orientation; equal, variable, or I: along the columns."""


def rows(seed: int = 3) -> np.ndarray:
    """(600, 2), three clusters that differ in size, in shape and in direction."""
    draw = np.random.default_rng(seed)
    centres = np.array([[0.0, 0.0], [7.0, 1.0], [3.0, 6.5]])
    turns, long, short = np.deg2rad([20, 75, -35]), [2.2, 1.6, 1.1], [0.5, 0.9, 0.35]
    every = []
    for centre, turn, a, b in zip(centres, turns, long, short, strict=True):
        axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        every.append(centre + draw.normal(size=(200, 2)) * [a, b] @ axes.T)
    return np.concatenate(every)


def main(picture: Path) -> None:
    """Fit all, print the table and write the picture."""
    x = rows()
    axes = plot.new_axes(columns=5, rows=3, width=2.6, height=2.4)
    print("code  parameters  log likelihood      BIC")
    for ax, code in zip(axes.flat, CODES, strict=False):
        model = GaussianMixture(3, covariance_type=code, random_state=0).fit(x)
        plot.clusters(x, model, ax, names=["", ""], title=f"{code}, BIC {model.bic(x):.0f}", legend=False)
        print(f"{code}  {model.n_parameters_:10}  {model.loglik_:14.1f}  {model.bic(x):7.1f}")
    for ax in axes.flat[len(CODES) :]:
        ax.set_axis_off()
    axes.flat[0].figure.savefig(picture, dpi=90, metadata={"Software": None}, pil_kwargs={"optimize": True})
    best = MixtureSearch(range(1, 6), "all", random_state=0).fit(x).best_estimator_
    print(f"\nOf one to five components and all structures BIC takes {best.covariance_type} with {best.n_components}.")
    print(f"The picture is {picture}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fourteen.png"))
