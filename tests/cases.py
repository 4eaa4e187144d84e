"""Subjects for the tests: random mixtures of every structure, as the library and as the oracle hold them."""

from dataclasses import replace

import numpy as np
import oracle
import torch

from mixtura.covariance import STRUCTURES
from mixtura.covariance.eigen import Eigen
from mixtura.family import Gaussian
from mixtura.measure import measure
from mixtura.mixture import Mixture
from mixtura.record import Record
from mixtura.running import watched

SIX = ["full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"]
CODES = ["VEI", "EVI", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV"]
NAMES = SIX + CODES
OWN_AXES = ["full", "EEV", "VEV", "EVV"]

OFF = {"VEI": 1e-11, "VEE": 1e-11, "VEV": 1e-11, "EVE": 1e-6, "VVE": 1e-6}
"""What matrices may be off, of entries of order one, where no formula gives them: rounds stop when the last changed
volumes by 1e-13, and the oracle's minimiser knows axes to the root of what it knows its minimum to."""

SHARED = [name for name in NAMES if name.startswith("tied")]


def covariances(name, rng, components, features):
    """(K, D, D) well-conditioned covariances of a structure."""
    counts = np.full(components, 5.0 * features)
    rows = rng.normal(size=(components, 5 * features, features)) * rng.uniform(0.5, 2, size=(components, 1, features))
    scatter = np.stack([r.T @ r for r in rows])
    if name in CODES:  # where an M-step takes rounds, parts are put together instead
        value, own = np.linalg.eigh(scatter / counts[:, None, None])
        size = np.exp(np.log(value).mean(1, keepdims=True))
        axes = {"E": own[:1], "V": own, "I": np.eye(features)[None]}[name[2]]
        shape = (value / size)[:1] if name[1] == "E" else value / size
        spread = (size[:1] if name[0] == "E" else size) * shape
        return np.broadcast_to(axes * spread[:, None], scatter.shape) @ axes.swapaxes(-1, -2)
    return oracle.MAXIMISE[name](counts, scatter)


def parameters(name, rng, components, features, spread=2.0):
    weights = rng.dirichlet(np.full(components, 5.0))
    means = spread * rng.normal(size=(components, features))
    return oracle.Parameters(weights, means, covariances(name, rng, components, features))


def to_mixture(name, p):
    """The oracle's parameters as a mixture of one restart."""
    components, features = p.means.shape
    shown = tensor(oracle.PUBLISH[name](p.covariances))
    covariance = STRUCTURES[name].adopt(shown, components, features, "covariances")
    return Mixture(tensor(np.log(p.weights))[None], tensor(p.means)[None], covariance, Gaussian())


def to_parameters(mixture, r=0):
    """One restart of a mixture as the oracle holds it."""
    components = mixture.shape[1]
    dense = mixture.covariance.dense()[r].expand(components, -1, -1)
    return oracle.Parameters(*(t.cpu().numpy() for t in (mixture.log_weight[r].exp(), mixture.mean[r], dense)))


def batch(name, rng, restarts, components, features, spread=2.0):
    """R restarts as the library and as the oracle hold them."""
    every = [parameters(name, rng, components, features, spread) for _ in range(restarts)]
    return Record.cat([to_mixture(name, p) for p in every]), every


def cold(mixture):
    """The same mixture, its next M-step exact: one that began at another's end may stop early."""
    if not isinstance(mixture.covariance, Eigen):
        return mixture
    return replace(mixture, covariance=replace(mixture.covariance, warm=False))


def tensor(a):
    return (
        a.detach().double().clone() if isinstance(a, torch.Tensor) else torch.from_numpy(np.array(a, dtype=np.float64))
    )


def clusters(rng, rows, components, features, apart=6.0):
    """Rows of separated clusters with different shapes, and their labels."""
    labels = np.arange(rows) % components
    centres = apart * rng.normal(size=(components, features))
    turn = rng.normal(size=(components, features, features)) / np.sqrt(features)
    X = centres[labels] + np.einsum(
        "nij,nj->ni", turn[labels] + 0.7 * np.eye(features), rng.normal(size=(rows, features))
    )
    return X, labels


def punched(X, share, seed=0, empty=0):
    """The same rows with holes at random; the first ``empty`` rows have nothing left, all others something."""
    rng = np.random.default_rng(seed)
    holes = rng.random(X.shape) < share
    holes[np.arange(len(X)), rng.integers(X.shape[1], size=len(X))] = False
    holes[:empty] = True
    return np.where(holes, np.nan, X)


def onehot(labels, components):
    return np.eye(components)[labels]


def counted(mixture, rows, by_features):
    """``measure`` with everything moved to where the rows are counted and back."""
    flags = torch.as_tensor(by_features)
    flags = flags.expand(mixture.shape[0]) if flags.ndim == 0 else flags
    return measure(mixture.to(rows.home), rows, flags.to(rows.home)).to("cpu")


class Cut:
    """A source that gives blocks of at most ``size`` rows, whatever is asked for."""

    def __init__(self, source, size):
        self.source, self.size = source, size
        self.shape, self.about = source.shape, source.about

    def blocks(self, rows, part=(0, 1), *, ids=False):
        return self.source.blocks(min(rows, self.size), part, ids=ids)


def ended(steps):
    """The outcome of steps that nobody watches."""
    return watched(steps, None)
