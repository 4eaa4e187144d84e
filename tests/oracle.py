"""The definition of right: Gaussian mixtures by brute force, float64 loops over rows and components.

Nothing here imports mixtura. Matrices are dense and every component has its own, also where a structure shares one.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import expm
from scipy.optimize import minimize

LOG_2PI = np.log(2 * np.pi)


class Parameters(NamedTuple):
    weights: np.ndarray  # (K,)
    means: np.ndarray  # (K, D)
    covariances: np.ndarray  # (K, D, D)


class Moments(NamedTuple):
    loglik: float
    n: np.ndarray  # (K,)
    s0: np.ndarray  # (K,)
    s1: np.ndarray  # (K, D), about the means
    scatter: np.ndarray  # (K, D, D), about the means


def log_normal(x, mean, covariance):
    """log N(x | μ, Σ) of one row, with an explicit inverse."""
    d = x - mean
    sign, log_det = np.linalg.slogdet(covariance)
    assert sign > 0
    return -0.5 * (len(x) * LOG_2PI + log_det + d @ np.linalg.inv(covariance) @ d)


def log_joint(X, p):
    """log πₖ + log N(x | μₖ, Σₖ), (N, K)."""
    out = np.empty((len(X), len(p.weights)))
    for k in range(len(p.weights)):
        with np.errstate(divide="ignore"):
            log_weight = np.log(p.weights[k])
        for i in range(len(X)):
            out[i, k] = log_weight + log_normal(X[i], p.means[k], p.covariances[k])
    return out


def log_density(X, p):
    """log p(x), (N,)."""
    joint = log_joint(X, p)
    out = np.empty(len(X))
    for i in range(len(X)):
        top = joint[i].max()
        out[i] = top + np.log(sum(np.exp(v - top) for v in joint[i]))
    return out


def responsibilities(X, p):
    """p(k | x), (N, K)."""
    joint, total = log_joint(X, p), log_density(X, p)
    return np.exp(joint - total[:, None])


def moments(X, p, weight=None):
    """Everything that one pass adds up, row by row."""
    weight = np.ones(len(X)) if weight is None else weight
    r, density = responsibilities(X, p), log_density(X, p)
    (components, features), loglik = p.means.shape, 0.0
    n, s1 = np.zeros(components), np.zeros((components, features))
    scatter = np.zeros((components, features, features))
    for i in range(len(X)):
        loglik += weight[i] * density[i]
        for k in range(components):
            d = X[i] - p.means[k]
            n[k] += weight[i] * r[i, k]
            s1[k] += weight[i] * r[i, k] * d
            scatter[k] += weight[i] * r[i, k] * np.outer(d, d)
    return Moments(loglik, n, n.copy(), s1, scatter)


# ---- structures: what each one keeps of a scatter matrix, and the M-step that its likelihood has


def _each(matrices, shape):
    return np.stack([shape(m) for m in matrices])


def _diagonal(m):
    return np.diag(np.diag(m))


def _round(m):
    return np.trace(m) / len(m) * np.eye(len(m))


def _same(m):
    return m


def _alone(shape):
    return lambda n, scatter: _each(scatter / n[:, None, None], shape)


def _pooled(shape):
    def maximise(n, scatter):
        total = sum(scatter) / sum(n)
        return np.stack([shape(total) for _ in n])

    return maximise


def _diagonals(matrices):
    return np.stack([np.diag(m) for m in matrices])


SECOND = {
    "full": lambda s: s,
    "tied": lambda s: s.sum(0)[None],
    "diag": _diagonals,
    "spherical": lambda s: np.array([np.trace(m) for m in s]),
    "tied_diag": lambda s: np.diag(s.sum(0))[None],
    "tied_spherical": lambda s: np.array([np.trace(s.sum(0))]),
    **dict.fromkeys(("VEI", "EVI"), _diagonals),
    **dict.fromkeys(("VEE", "EVE", "VVE", "EEV", "VEV", "EVV"), lambda s: s),
}
"""(K, D, D) scatter -> the one second-order statistic of the structure."""

PUBLISH = {
    "full": lambda c: c,
    "tied": lambda c: c[0],
    "diag": _diagonals,
    "spherical": lambda c: np.array([m[0, 0] for m in c]),
    "tied_diag": lambda c: np.diag(c[0]).copy(),
    "tied_spherical": lambda c: np.array(c[0, 0, 0]),
    **dict.fromkeys(("VEI", "EVI", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV"), lambda c: c),
}
"""(K, D, D) covariances of the structure -> the shape users see."""

COUNT = {
    "full": lambda k, d: k * d * (d + 1) // 2,
    "tied": lambda k, d: d * (d + 1) // 2,
    "diag": lambda k, d: k * d,
    "spherical": lambda k, d: k,
    "tied_diag": lambda k, d: d,
    "tied_spherical": lambda k, d: 1,
    "VEI": lambda k, d: k + d - 1,
    "EVI": lambda k, d: 1 + k * (d - 1),
    "VEE": lambda k, d: k + d - 1 + d * (d - 1) // 2,
    "EVE": lambda k, d: 1 + k * (d - 1) + d * (d - 1) // 2,
    "VVE": lambda k, d: k * d + d * (d - 1) // 2,
    "EEV": lambda k, d: d + k * d * (d - 1) // 2,
    "VEV": lambda k, d: k + d - 1 + k * d * (d - 1) // 2,
    "EVV": lambda k, d: 1 + k * (d - 1) + k * d * (d - 1) // 2,
}
"""Free parameters of the covariances (Celeux & Govaert 1995, table 1; Fraley & Raftery 2002)."""


# ---- volume, shape and orientation, each equal or variable: Celeux & Govaert (1995); EVE and VVE by brute force


def _shape(m):
    """A matrix and its volume: m = volume · (a matrix of determinant 1)."""
    volume = np.exp(np.linalg.slogdet(m)[1] / len(m))
    return volume, m / volume


def _one_shape(n, scatter):
    """Own volumes and one matrix of determinant 1, in turn until nothing changes."""
    volumes = np.ones(len(n))
    for _ in range(5000):
        common = _shape(sum(s / v for s, v in zip(scatter, volumes, strict=True)))[1]
        before = volumes
        volumes = np.array([np.trace(np.linalg.solve(common, s)) / len(s) / c for s, c in zip(scatter, n, strict=True)])
        if np.abs(volumes / before - 1).max() < 1e-15:
            break
    return np.stack([v * common for v in volumes])


def _one_volume(n, scatter):
    each = [_shape(s) for s in scatter]
    return np.stack([sum(volume for volume, _ in each) / sum(n) * shape for _, shape in each])


def _turned(rule):
    """A rule for diagonal matrices, along each scatter's own axes in the order of their lengths."""

    def maximise(n, scatter):
        spread, axes = np.linalg.eigh(scatter)
        sizes = rule(n, np.stack([np.diag(v) for v in spread]))
        return axes @ sizes @ axes.swapaxes(-1, -2)

    return maximise


def _straight(rule):
    return lambda n, scatter: rule(n, _each(scatter, _diagonal))


def _along(axes, scatter):
    return np.stack([np.diag(np.diag(axes.T @ s @ axes)) for s in scatter])


def level(n, sigma, scatter):
    """−2 times the expected complete log likelihood, without its constant."""
    return sum(
        c * np.linalg.slogdet(s)[1] + np.trace(np.linalg.solve(s, w)) for c, s, w in zip(n, sigma, scatter, strict=True)
    )


def _common_axes(rule):
    """A rule for diagonal matrices along the common axes that suit it best, from many starts."""

    def maximise(n, scatter):
        features = scatter.shape[-1]
        low = np.tril_indices(features, -1)

        def turn(angles):
            skew = np.zeros((features, features))
            skew[low] = angles
            return expm(skew - skew.T)

        def found(axes):
            return axes @ rule(n, _along(axes, scatter)) @ axes.T

        if features == 1:
            return found(np.eye(1))
        rng = np.random.default_rng(0)
        bases = [*(np.linalg.eigh(s)[1] for s in [sum(scatter), *scatter])]
        bases += [np.linalg.qr(rng.normal(size=(features, features)))[0] for _ in range(6)]
        best = None
        for base in bases:
            end = minimize(lambda a, b=base: level(n, found(b @ turn(a)), scatter), np.zeros(len(low[0])), tol=1e-12)
            if best is None or end.fun < best[0]:
                best = end.fun, found(base @ turn(end.x))
        return best[1]

    return maximise


MAXIMISE = {
    "full": _alone(_same),
    "tied": _pooled(_same),
    "diag": _alone(_diagonal),
    "spherical": _alone(_round),
    "tied_diag": _pooled(_diagonal),
    "tied_spherical": _pooled(_round),
    "VEI": _straight(_one_shape),
    "EVI": _straight(_one_volume),
    "VEE": _one_shape,
    "EVE": _common_axes(_one_volume),
    "VVE": _common_axes(_alone(_same)),
    "EEV": _turned(_pooled(_same)),
    "VEV": _turned(_one_shape),
    "EVV": _one_volume,
}
"""(K,) counts and (K, D, D) scatter about the new means -> (K, D, D) likeliest covariances of the structure.

Named by mclust's letters for volume, shape and orientation where there is no shorter name; I: along the columns.
"""


def m_step(name, X, r, weight=None):
    """The likeliest parameters for responsibilities (N, K)."""
    weight = np.ones(len(X)) if weight is None else weight
    components, features = r.shape[1], X.shape[1]
    n, means = np.zeros(components), np.zeros((components, features))
    scatter = np.zeros((components, features, features))
    for k in range(components):
        for i in range(len(X)):
            n[k] += weight[i] * r[i, k]
            means[k] += weight[i] * r[i, k] * X[i]
        means[k] /= n[k]
        for i in range(len(X)):
            d = X[i] - means[k]
            scatter[k] += weight[i] * r[i, k] * np.outer(d, d)
    return Parameters(n / n.sum(), means, MAXIMISE[name](n, scatter))


def em_step(name, X, p, weight=None):
    """One iteration of EM: the log likelihood of ``p``, and the parameters after it."""
    weight = np.ones(len(X)) if weight is None else weight
    return float(weight @ log_density(X, p)), m_step(name, X, responsibilities(X, p), weight)


# ---- rows with gaps: NaN is missing at random (Little & Rubin 2019, ch. 11), everything by explicit inverses


def log_joint_observed(X, p):
    """log πₖ + log of the marginal density of what was observed of each row, (N, K)."""
    out = np.empty((len(X), len(p.weights)))
    for k in range(len(p.weights)):
        for i in range(len(X)):
            o = ~np.isnan(X[i])
            with np.errstate(divide="ignore"):
                out[i, k] = np.log(p.weights[k])
            if o.any():
                out[i, k] += log_normal(X[i, o], p.means[k, o], p.covariances[k][np.ix_(o, o)])
    return out


def log_density_observed(X, p):
    """log p(observed), (N,)."""
    return np.array([np.logaddexp.reduce(row) for row in log_joint_observed(X, p)])


def responsibilities_observed(X, p):
    """p(k | observed), (N, K)."""
    return np.exp(log_joint_observed(X, p) - log_density_observed(X, p)[:, None])


def conditional(x, mean, covariance):
    """E[x | observed] and the covariance of x given what was observed, (D,) and (D, D)."""
    o, m = ~np.isnan(x), np.isnan(x)
    expected, spread = np.where(o, x, mean), np.zeros_like(covariance)
    spread[np.ix_(m, m)] = covariance[np.ix_(m, m)]
    if o.any() and m.any():
        slope = covariance[np.ix_(m, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
        expected[m] = mean[m] + slope @ (x[o] - mean[o])
        spread[np.ix_(m, m)] -= slope @ covariance[np.ix_(o, m)]
    return expected, spread


def moments_observed(X, p, weight=None):
    """Everything that one pass is expected to add up, row by row."""
    weight = np.ones(len(X)) if weight is None else weight
    r, density = responsibilities_observed(X, p), log_density_observed(X, p)
    (components, features), loglik = p.means.shape, 0.0
    n, s1 = np.zeros(components), np.zeros((components, features))
    scatter = np.zeros((components, features, features))
    for i in range(len(X)):
        loglik += weight[i] * density[i]
        for k in range(components):
            expected, spread = conditional(X[i], p.means[k], p.covariances[k])
            d = expected - p.means[k]
            n[k] += weight[i] * r[i, k]
            s1[k] += weight[i] * r[i, k] * d
            scatter[k] += weight[i] * r[i, k] * (np.outer(d, d) + spread)
    return Moments(loglik, n, n.copy(), s1, scatter)


def em_step_observed(name, X, p, weight=None):
    """One iteration of EM on rows with gaps: the log likelihood of ``p``, and the parameters after it."""
    weight = np.ones(len(X)) if weight is None else weight
    r = responsibilities_observed(X, p) * weight[:, None]
    n, scatter = r.sum(0), np.zeros_like(p.covariances)
    means = np.empty_like(p.means)
    for k in range(len(n)):
        rows = [conditional(x, p.means[k], p.covariances[k]) for x in X]
        means[k] = sum(w * e for w, (e, _) in zip(r[:, k], rows, strict=True)) / n[k]
        for w, (e, spread) in zip(r[:, k], rows, strict=True):
            scatter[k] += w * (np.outer(e - means[k], e - means[k]) + spread)
    return float(weight @ log_density_observed(X, p)), Parameters(n / n.sum(), means, MAXIMISE[name](n, scatter))


def impute(X, p):
    """Each gap filled by Σₖ p(k | observed) E[missing | observed, k]."""
    r = responsibilities_observed(X, p)
    out = X.copy()
    for i in range(len(X)):
        expected = sum(r[i, k] * conditional(X[i], p.means[k], p.covariances[k])[0] for k in range(len(p.weights)))
        out[i] = np.where(np.isnan(X[i]), expected, X[i])
    return out


def rank(function, point):
    """The rank of a function's Jacobian at a point, by central differences."""
    step, columns = 1e-5, []
    for i in range(len(point)):
        e = np.zeros(len(point))
        e[i] = step
        columns.append((function(point + e) - function(point - e)) / (2 * step))
    jacobian = np.stack(columns, 1)
    # Central differences of step 1e-5 are right to about 1e-9 here; true singular values are of order one.
    return int((np.linalg.svd(jacobian, compute_uv=False) > 1e-6).sum())


def inertia(X, centres, weight=None):
    """The k-means objective."""
    weight = np.ones(len(X)) if weight is None else weight
    return sum(w * min(((x - c) ** 2).sum() for c in centres) for w, x in zip(weight, X, strict=True))
