"""GaussianMixture: the scikit-learn face, which turns names into objects and holds no mathematics."""

import math
import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions

from mixtura.covariance import NAMES, structure
from mixtura.family import Gaussian
from mixtura.fitted import place
from mixtura.fitting import Fit, Land, fit, landed
from mixtura.given import check_given
from mixtura.inputs import Checked, Kind, check, columns_kept
from mixtura.mixture import Mixture
from mixtura.plan import Plan
from mixtura.planned import PlannedMixture
from mixtura.search import EFFORTS
from mixtura.start import STARTS


class DegenerateWarning(UserWarning):
    """A fit is not sound: its likelihood must not be compared with others."""


class GaussianMixture(PlannedMixture):
    """A mixture of Gaussians, P(x) = Σₖ πₖ N(x | μₖ, Σₖ), fitted by expectation–maximisation.

    Everything that scikit-learn's estimator of this name has means the same here; ``sklearn_defaults`` gives its
    defaults, too. Fits are batches of restarts, read the data once an iteration, and never hold responsibilities for
    more than a chunk of rows (but for the starts of ``reproduce="sklearn"``, which are made as there).

    Args:
        n_components: number of components K.
        covariance_type: ``"full"``, ``"tied"``, ``"diag"``, ``"spherical"``, ``"tied_diag"`` or ``"tied_spherical"``,
            or one of mclust's codes for volume, shape and orientation (equal, variable, identity): those of the six,
            ``"VVV"``, ``"EEE"``, ``"VVI"``, ``"VII"``, ``"EEI"`` and ``"EII"``, and ``"VEI"``, ``"EVI"``, ``"VEE"``,
            ``"EVE"``, ``"VVE"``, ``"EEV"``, ``"VEV"`` and ``"EVV"`` (Celeux & Govaert 1995). By a code
            ``covariances_`` are matrices (K, D, D); so they are for ``"E"`` and ``"V"``, equal and own variances of
            one column.
        tol: ``"auto"`` stops when Aitken's extrapolation leaves less than 1e-7 nats a row to gain (1e-4 after the
            race of ``effort="quick"``); a number stops when the mean log likelihood changes by less than it, as in
            scikit-learn.
        reg_covar: ``"auto"`` raises variances that collapse below 1e-12 of a column's squared interquartile range and
            changes nothing else; a number is added to every variance, as in scikit-learn.
        max_iter: most iterations of a restart; ``"auto"`` is 2,000.
        n_init: how often to look for the optimum, the best is kept; ``"auto"`` is as ``effort`` says.
        init_params: ``"auto"`` races many starts of different kinds on growing samples, as ``effort`` says. A name is
            one plain start, run to the end: ``"kmeans"``, ``"whitened"`` (k-means on uncorrelated rows),
            ``"hierarchical"`` (model-based agglomeration), ``"k-means++"`` and ``"random_from_data"`` (rows to the
            nearest of seeds so chosen), ``"random"`` (random responsibilities: nearly equal components, as in
            scikit-learn).
        effort: how hard to look: ``"quick"``, a race of a few starts, for exploring; ``"standard"``, a race and then
            local search, which takes a component away and splits another one until that gains nothing (Ueda et al.
            2000), weighs few rows anew (Wood 2001), and crosses what it has come to with what was second in the race,
            and all of it once more where that has found nothing sound; ``"thorough"``, such searches one after the
            other, from a second race and then from kicks of the best optimum, with which other ones are crossed, until
            four have come to it (sixteen at most).
        weights_init: (K,) starting weights. Giving any of these three makes one start, the rest of it from k-means
            (begun at ``means_init`` where given); ``n_init`` and ``init_params`` then have no effect.
        means_init: (K, D) starting means.
        precisions_init: starting inverse covariances, in the shape of ``precisions_``.
        random_state: integer, NumPy ``RandomState`` or ``Generator``, torch ``Generator``, or None for fresh entropy.
        warm_start: continue from the current parameters when fitted again.
        verbose: 1 prints restarts and iterations, 2 their likelihoods too.
        verbose_interval: iterations between two lines.
        progress: True says on stderr now and then how far a long fit has come; a function is given the lines instead.
        missing: what NaN means. ``"error"`` refuses it. ``"em"`` takes it for a missing entry and fits by maximum
            likelihood: a row's density is the marginal one of what was observed of it, which is right where values are
            missing at random (whether one is missing may depend on what was observed, not on the value itself). Starts
            see rows whose gaps are filled by what one Gaussian, fitted by EM, expects there. The more is missing, the
            more iterations it takes. Where nothing is missing it changes nothing. A row without any value counts as a
            row and says nothing.
        acceleration: ``"squarem"`` takes leaps along the way that EM goes (Varadhan & Roland 2008) and takes them back
            where they do not climb: fewer iterations, most where components overlap. ``"auto"`` does so where ``tol``
            and ``reg_covar`` are ``"auto"``; None takes EM's own steps only.
        device: where to compute: None where the data are, ``"auto"`` on a GPU if there is one, or a torch device.
        reproduce: ``"sklearn"`` follows scikit-learn 1.9 step by step: its k-means and random stream for the start,
            its last M-step, its order of components. Meant to be set by ``sklearn_defaults``.

    Attributes:
        weights_: (K,) shares of the components.
        means_: (K, D).
        covariances_: full (K, D, D), tied (D, D), diag (K, D), spherical (K,), tied_diag (D,), tied_spherical ().
        precisions_: inverse covariances, the same shapes.
        precisions_cholesky_: upper triangular U with U Uᵀ the precision; for the others square roots.
        converged_: whether the winning restart met the stopping test.
        n_iter_: its iterations.
        lower_bound_: its mean log likelihood.
        lower_bounds_: the mean log likelihood at each of its iterations.
        loglik_: Σ w log p(x) at the parameters above, in nats.
        bound_: what EM raised, in nats: here the same.
        status_: ``"converged"``, ``"max_iter"``, ``"degenerate"`` where a component cannot be believed, or
            ``"interrupted"``: Ctrl-C leaves the estimator fitted as far as it had come, and is raised on.
        history_: dict of ``loglik`` and ``gain`` at each iteration, in nats.
        starts_: one dict for each start, and each ``"move"``, ``"shake"``, ``"cross"`` and ``"kick"`` of local search:
            ``kind``; ``search``, the number of its search; ``parent``, of these the start that it was made of, and
            ``begins``, the iterations behind that; ``same_as``, the start that had come to the same optimum before, if
            any; ``status`` (as ``status_``, or ``"dropped"`` on the way); ``loglik`` of all rows, NaN where it was
            dropped; ``n_iter`` and ``lower_bounds``, the mean log likelihood at each of its iterations; ``stages``,
            pairs of how many rows it looked at for how many iterations.
        seed_: the seed of all random draws; 0 with ``reproduce="sklearn"``, which draws from ``random_state`` itself.
        mixture_: the immutable :class:`Mixture`.
        source_: where it was fitted to a :class:`Source`: ``columns``, and ``steps``, what was done to their values.
        selection_: where a :class:`mixtura.MixtureSearch` chose it: ``criterion``; ``table`` of all models, with
            ``otherwise``, the share of the rows that those near the best would label otherwise; ``best``, its row;
            ``findings`` of the search.
        merging_: where ``mixtura fit --merge`` made it: ``components``, (K,) the cluster of each; ``entropy`` of 1 … K
            clusters; ``bend``, the number at which that bends.
        n_parameters_: number of free parameters.
        n_features_in_: number of features D.
        feature_names_in_: (D,) names of the columns, where the data had them.

    Raises:
        ValueError: a parameter or the data cannot be used; the message says what was found and what to try.

    Examples:
        >>> import numpy as np
        >>> from mixtura import GaussianMixture
        >>> X = np.array([[1, 2], [1, 4], [1, 0], [2, 2], [2, 3], [10, 2], [10, 4], [10, 0], [11, 1], [11, 3], [9, 2]])
        >>> gm = GaussianMixture(n_components=2, covariance_type="spherical", random_state=0).fit(X)
        >>> gm.means_.round(2)
        array([[10.17,  2.  ],
               [ 1.4 ,  2.2 ]])
        >>> gm.predict([[0, 0], [12, 3]])
        array([1, 0])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions(set(NAMES))],
        "tol": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "reg_covar": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "max_iter": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
        "n_init": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "init_params": [StrOptions({"auto", *STARTS})],
        "effort": [StrOptions(set(EFFORTS))],
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", Real, None],
        "random_state": ["random_state", np.random.Generator, torch.Generator],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
        "progress": ["boolean", callable],
        "missing": [StrOptions({"error", "em"})],
        "acceleration": [StrOptions({"auto", "squarem"}), None],
        "device": [str, torch.device, None],
        "reproduce": [StrOptions({"sklearn"}), None],
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float | int | str = "auto",
        reg_covar: float | int | str = "auto",
        max_iter: int | str = "auto",
        n_init: int | str = "auto",
        init_params: str = "auto",
        effort: str = "standard",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        progress: Any = False,
        missing: str = "error",
        acceleration: str | None = "auto",
        device: Any = None,
        reproduce: str | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.effort = effort
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.progress = progress
        self.missing = missing
        self.acceleration = acceleration
        self.device = device
        self.reproduce = reproduce

    @classmethod
    def sklearn_defaults(cls, n_components: int = 1, **params: Any) -> "GaussianMixture":
        """An estimator that gives scikit-learn's numbers: its start, stopping rule, ridge and order of components.

        Args:
            n_components: number of components.
            **params: further parameters of scikit-learn's ``GaussianMixture``, or ``device``.

        Examples:
            >>> GaussianMixture.sklearn_defaults(3).tol
            0.001
        """
        theirs: dict[str, Any] = {"tol": 1e-3, "reg_covar": 1e-6, "max_iter": 100, "n_init": 1, "init_params": "kmeans"}
        return cls(n_components, **{**theirs, "reproduce": "sklearn", **params})

    @classmethod
    def from_parameters(
        cls, weights: Any, means: Any, covariances: Any, covariance_type: str = "full"
    ) -> "GaussianMixture":
        """A fitted estimator from known parameters, with no data.

        Args:
            weights: (K,), non-negative, summing to 1.
            means: (K, D).
            covariances: in the shape of ``covariances_``.
            covariance_type: the structure.

        Raises:
            ValueError: a shape, a range or a matrix is not usable.

        Examples:
            >>> gm = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [4.0]], [1.0, 1.0], "spherical")
            >>> gm.predict([[1.0], [3.0]])
            array([0, 1])
        """
        known = structure(covariance_type)
        shape = np.shape(means)
        if len(shape) != 2:
            raise ValueError(f"means has shape {tuple(shape)}, expected (K, D): one row for each component")
        components, features = shape
        unit = known.unit(1, components, features)
        given = check_given(
            known,
            components,
            features,
            weights=weights,
            means=means,
            covariances=covariances,
            kind="covariances",
        )
        if not given.all:
            raise ValueError("weights, means and covariances are all needed: one of them is None")
        zero = torch.zeros(1, components, features, dtype=torch.float64)
        mixture = given.over(Mixture(zero[..., 0], zero, unit, Gaussian()), zero[0, 0])
        model = cls(components, covariance_type=covariance_type)
        dtype, device = getattr(means, "dtype", None), getattr(means, "device", None)
        single = dtype in (np.float32, torch.float32)
        kind = Kind(torch.float32 if single else torch.float64, device if isinstance(means, torch.Tensor) else None)
        model.n_features_in_ = features
        model._publish(mixture, kind, covariance_type)
        model.n_iter_, model.converged_, model.status_, model._findings = 0, True, "converged", []
        return model

    @classmethod
    def from_sklearn(cls, model: Any) -> "GaussianMixture":
        """A fitted estimator from scikit-learn's, with what it was told and what it has found.

        Rows get the same labels, posteriors and densities. ``reproduce="sklearn"`` is set, so that fitting again does
        what theirs does. ``loglik_`` and ``starts_`` are not known, for theirs does not keep them.

        Args:
            model: a fitted ``sklearn.mixture.GaussianMixture``.

        Raises:
            NotFittedError: ``model`` is not fitted.
            TypeError: ``model`` is something else.

        Examples:
            >>> from sklearn import mixture
            >>> theirs = mixture.GaussianMixture(2, random_state=0).fit([[0.0], [0.1], [0.4], [7.0], [7.2], [7.3]])
            >>> ours = GaussianMixture.from_sklearn(theirs)
            >>> bool((ours.predict([[1.0], [6.0]]) == theirs.predict([[1.0], [6.0]])).all())
            True
        """
        from mixtura.apps.convert import from_sklearn

        return from_sklearn(model, cls)

    def to_sklearn(self) -> Any:
        """The same fitted mixture as scikit-learn's estimator.

        A structure that scikit-learn lacks is written out in the smallest of its four that holds it, ``tied_diag`` as
        ``diag`` with equal rows, ``tied_spherical`` as ``spherical``: densities stay the same, but theirs counts more
        free parameters, so ``bic`` and ``aic`` differ. Parameters it does not know become its defaults, a generator
        it does not know becomes ``seed_``, and arrays are NumPy's in float64.

        Returns:
            A fitted ``sklearn.mixture.GaussianMixture``.

        Raises:
            NotFittedError: the estimator is not fitted.

        Examples:
            >>> gm = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [4.0]], 1.0, "tied_spherical")
            >>> gm.to_sklearn().covariances_
            array([1., 1.])
        """
        from mixtura.apps.convert import to_sklearn

        return to_sklearn(self)

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "GaussianMixture":
        """Fit the mixture to rows.

        Args:
            X: (N, D) rows: array, list, DataFrame, tensor on any device, or a ``Source`` of :func:`mixtura.scan`.
            y: ignored.
            sample_weight: (N,) row weights: a weight of 2 counts a row twice, 0 leaves it out; a ``Source`` has its
                own.

        Returns:
            The estimator.

        Raises:
            ValueError: the data or a parameter cannot be used.
        """
        self._fit(X, sample_weight)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Fit the mixture to rows and label them: ``fit`` and then ``predict``.

        Args:
            X: (N, D) rows.
            y: ignored.
            sample_weight: (N,) row weights.

        Returns:
            (N,) integers 0 … K−1.
        """
        checked = self._fit(X, sample_weight)
        return checked.kind.give_labels(self._score_checked(checked).labels())

    def _fit(self, X: Any, sample_weight: Any) -> Checked:
        self._validate_params()
        gaps = self._takes_gaps
        with columns_kept(self):
            checked = check(self, X, reset=not self._going_on, fitting=True, sample_weight=sample_weight, gaps=gaps)
            found, seed = self._find(checked)
        self._adopt(checked.kind, found, seed)
        self._warn()
        if found.interrupted:
            raise KeyboardInterrupt
        return checked

    def _land(self, checked: Checked, seed: int) -> Land:
        """The rows, ready for fits with these parameters."""
        dtype = torch.float64 if self.reproduce == "sklearn" else None
        return landed(checked.source, seed, dtype, place(self.device, checked.kind), checked.gaps)

    def _find(self, checked: Checked, land: Land | None = None, plan: Plan | None = None) -> tuple[Fit, int]:
        """The fit and its seed; nothing is changed.

        Args:
            checked: the rows.
            land: what ``_land`` made of the same rows before.
            plan: how, if not as :meth:`_planned`.
        """
        plan = plan or self._planned(checked)
        told = getattr(self, "source_", {}).get("columns", range(checked.shape[1]))
        names = [repr(str(n)) for n in getattr(self, "feature_names_in_", told)]
        return fit(land or self._land(checked, plan.seed), plan, names), plan.seed

    def _adopt(self, kind: Kind, found: Fit, seed: int) -> None:
        self._publish(found.mixture, kind, self.covariance_type)
        # What was said of an earlier fit.
        for name in ("selection_", "merging_"):
            self.__dict__.pop(name, None)
        self._findings, self._weight = found.findings, found.facts.weight
        self.seed_ = seed
        self.loglik_ = self.bound_ = found.loglik
        self.n_iter_, self.converged_, self.status_ = found.passes, found.still, found.status
        bounds = found.bounds.tolist()
        self.lower_bounds_ = [b / self._weight for b in bounds]
        theirs = self.reproduce == "sklearn"
        self.lower_bound_ = (self.lower_bounds_[-1] if bounds else -math.inf) if theirs else found.loglik / self._weight
        self.history_ = {"loglik": bounds, "gain": [math.nan, *np.diff(bounds).tolist()][: len(bounds)]}
        self.starts_ = found.starts

    def _warn(self) -> None:
        if not self.converged_ and self.n_iter_ and self.status_ != "interrupted":
            warnings.warn(
                "Best performing initialization did not converge. Try different init parameters, or increase max_iter, "
                f"tol, or check for degenerate data. ({self.n_iter_} iterations were made.)",
                ConvergenceWarning,
                stacklevel=4,
            )
        if self.status_ == "degenerate" and self.reproduce is None:
            reasons = " ".join(str(f) for f in self._findings[:3])
            warnings.warn(
                f"The fit is not sound, so its likelihood must not be compared with others. {reasons} See diagnose().",
                DegenerateWarning,
                stacklevel=4,
            )
