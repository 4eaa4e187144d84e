"""The tutorial: three clusters of points, found again by a Gaussian mixture."""

import numpy as np

from mixtura import GaussianMixture, plot

# 100 points around each of three centres; RandomState(42) draws what np.random.seed(42) would.
draw = np.random.RandomState(42)
centres = [(0, 0), (5, 5), (5, 0)]
X = np.concatenate([draw.multivariate_normal(centre, np.eye(2), 100) for centre in centres])

# P(x) = Σₖ πₖ N(x | μₖ, Σₖ): weights, means and covariances that make the points most likely.
model = GaussianMixture(n_components=3, random_state=42).fit(X)
labels = model.predict(X)

for k in range(3):
    print(f"component {k}: weight {model.weights_[k]:.3f}, mean {model.means_[k].round(2)}")
print(f"{model.status_} after {model.n_iter_} iterations, log likelihood {model.loglik_:.2f}, BIC {model.bic(X):.2f}")

before, after = plot.new_axes(columns=2)
plot.scatter(X, ax=before, title="300 points", names=["x", "y"])
plot.clusters(X, model, ax=after, labels=labels, title="three Gaussians", names=["x", "y"])
after.figure.savefig("tutorial.png", dpi=120)
