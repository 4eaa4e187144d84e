"""Select: MixtureSearch, which fits mixtures of several sizes and structures and keeps the best by a criterion."""

import math
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from mixtura.cells import Cell, best_of, findings, selection, table
from mixtura.covariance import STRUCTURES, structure
from mixtura.criteria import CRITERIA, OF_SIZE
from mixtura.estimator import GaussianMixture
from mixtura.fitted import FittedMixture
from mixtura.further import FURTHER
from mixtura.inputs import Checked, check, columns_kept, columns_of
from mixtura.mixture import Mixture
from mixtura.otherwise import otherwise
from mixtura.scoring import Scores
from mixtura.sound import Finding
from mixtura.trials import Tries, template_of
from mixtura.watch import speaker

MOST_FEATURES, MOST_ROWS = 20, 100_000
"""Columns and rows up to which ``"auto"`` tries every structure."""


class MixtureSearch(FittedMixture):
    """Fit a mixture for every number of components and covariance structure, and keep the best.

    The data are checked, surveyed and made ready once for all fits; all use the same seed, so that structures with as
    many components begin at the same starts. Then neighbours lend each other starts, until none leads to a better fit:
    K components with one split begin a fit of K + 1, K + 1 with one gone a fit of K, and a simpler structure's clusters
    begin a richer one's, so that a model is not less likely than those that it holds, unless what would be better is
    not sound (where ``init_params`` is ``"auto"``).

    A fit that is not sound (``status_`` is ``"degenerate"``) has no likelihood to compare: it stays in the table and
    wins only where no fit is sound. A fit that fails stays there too, and ``diagnose()`` says why. Where the best are
    closer than EM leaves undecided (2e-7 a row), the model with the fewest parameters wins.

    Args:
        n_components: numbers of components to try, or one.
        covariance_types: structures to try: a name, several, ``"auto"`` or ``"all"``. ``"all"`` is all fourteen, or
            E and V for one column; ``"auto"`` is the same up to 20 columns and 100,000 rows, else scikit-learn's four
            (full, tied, diag, spherical), and ``diagnose()`` says so. Two names of one structure, as ``"full"`` and
            ``"VVV"`` are, count once.
        criterion: ``"bic"``, ``"icl"`` or ``"aic"``; ``"icl_entropy"``, ICL in its soft form; ``"cv"``, −2 log
            likelihood of rows held out in ten parts, each by fits to the others (Smyth 2000). Lower is better. Three
            more compare numbers of components of one structure: ``"nec"``, the entropy of the clusters over what they
            explain more than one does (Celeux & Soromenho 1996); ``"stability"``, 1 less how far ten refits with K
            components agree with those with K ± 1 (Fowlkes & Mallows 1983, Varrone et al. 2024); and ``"lrt"``,
            p-values of one component more, from the fewest on, by the parametric bootstrap with 199 resamples
            (McLachlan 1987): the first above 0.05 is best.
        estimator: a :class:`mixtura.GaussianMixture` whose other parameters every fit takes (``effort``, ``tol``,
            ``device``, ...); None takes the defaults. It is not changed.
        random_state: as in :class:`mixtura.GaussianMixture`; None takes the estimator's.
        progress: True says on stderr what came of every model; a function is given the lines instead.

    Attributes:
        best_estimator_: the chosen fit, a :class:`mixtura.GaussianMixture`.
        best_index_: its row in the table.
        table_: dict of arrays, one entry a fit: ``covariance_type``, ``n_components``, ``loglik``, ``n_parameters``,
            ``bic``, ``aic``, ``icl`` and ``status`` (as ``status_``, or ``"failed"``: then the numbers are NaN), and
            the criterion itself where it is another; with ``stability`` also its standard deviation over pairs,
            ``stability_sd``, and ``stability_same``, 1 less how far refits with K agree among themselves.
        seed_: the seed of all random draws.
        n_features_in_: number of features D.
        feature_names_in_: (D,) names of the columns, where the data had them.

    Raises:
        ValueError: a parameter or the data cannot be used, or no mixture could be fitted.

    Examples:
        >>> import numpy as np
        >>> from mixtura import MixtureSearch
        >>> draw = np.random.default_rng(0)
        >>> X = np.concatenate([draw.normal(0, 1, (60, 2)), draw.normal(7, 1, (40, 2))])
        >>> search = MixtureSearch((1, 2, 3), "spherical", random_state=0).fit(X)
        >>> search.best_estimator_.n_components
        2
        >>> int(search.table_["bic"].argmin())
        1
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left"), "array-like", range],
        "covariance_types": [str, "array-like"],
        "criterion": [StrOptions({*CRITERIA, *FURTHER})],
        "estimator": [GaussianMixture, None],
        "random_state": GaussianMixture._parameter_constraints["random_state"],
        "progress": GaussianMixture._parameter_constraints["progress"],
    }

    def __init__(
        self,
        n_components: Any = (1, 2, 3, 4, 5, 6, 7, 8, 9),
        covariance_types: Any = "auto",
        criterion: str = "bic",
        *,
        estimator: Any = None,
        random_state: Any = None,
        progress: Any = False,
    ) -> None:
        self.n_components = n_components
        self.covariance_types = covariance_types
        self.criterion = criterion
        self.estimator = estimator
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "MixtureSearch":
        """Fit every mixture to rows and choose.

        Ctrl-C keeps the fits that are finished, if one of them is sound, and is raised on; else all is as before.

        Args:
            X: (N, D) rows: array, list, DataFrame, or tensor on any device.
            y: ignored.
            sample_weight: (N,) row weights: n in the criteria is their sum.

        Returns:
            The search.

        Raises:
            ValueError: the data or a parameter cannot be used, or no mixture could be fitted.
        """
        self._fit(X, sample_weight)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Choose a mixture and label the rows by it: ``fit`` and then ``predict``.

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
        numbers, named = sizes(self.n_components), structures(self.covariance_types)
        template = template_of(self.estimator, self.random_state)
        with columns_kept(self):
            gaps = template._takes_gaps
            checked = check(self, X, reset=True, fitting=True, sample_weight=sample_weight, gaps=gaps)
            names = named or offered(self.covariance_types, checked.shape)
            refuse_univariate(names, checked.shape[1])
            if self.criterion in OF_SIZE and len(names) > 1:
                raise ValueError(
                    f"criterion={self.criterion!r} compares numbers of components of one structure, but "
                    f"covariance_types names {len(names)}: give one, such as 'full', or use 'bic'"
                )
            cells = [Cell(name, k) for name in names for k in numbers]
            tries = Tries(template, checked, columns_of(self), self.criterion, speaker(self.progress))
            further = FURTHER.get(self.criterion)
            tries.run(cells, None if further is None else further())
            trials, untried = tries.trials, cells[len(tries.trials) :]
            if tries.interrupted and not any(t.sound and not math.isnan(t.value(self.criterion)) for t in trials):
                raise KeyboardInterrupt
            best = best_of(trials, self.criterion)
        self.best_estimator_, self.best_index_, self.seed_ = trials[best].model, best, template.random_state
        self.table_, self._told = table(trials), findings(trials, best, untried, self.criterion)
        if not named and names is FOUR:
            self._told.append(Finding("structures_left_out", None, LEFT_OUT))
        apart = otherwise(trials, self.table_, best, self.criterion, checked)
        self.best_estimator_.selection_ = selection(self.table_, best, self.criterion, apart, self._told)
        self.best_estimator_._warn()
        if tries.interrupted:
            raise KeyboardInterrupt
        return checked

    @property
    def _takes_gaps(self) -> bool:
        return self.estimator is not None and self.estimator._takes_gaps

    @property
    def mixture_(self) -> Mixture:  # type: ignore[override]
        """The mixture of the best estimator."""
        return self.best_estimator_.mixture_

    def _score_checked(self, checked: Checked) -> Scores:
        return self.best_estimator_._score_checked(checked)

    def sample(self, n_samples: int = 1, random_state: Any = None, shuffle: bool = False) -> tuple[Any, Any]:
        """Random rows from the best mixture.

        Args:
            n_samples: how many, at least 1.
            random_state: a seed or generator; None uses the search's, or its estimator's.
            shuffle: return the rows in random order instead of sorted by component.

        Returns:
            (n_samples, D) rows and (n_samples,) labels.

        Raises:
            ValueError: ``n_samples`` is below 1.
        """
        check_is_fitted(self)
        template = None if self.estimator is None else self.estimator.random_state
        given = next((s for s in (random_state, self.random_state, template) if s is not None), None)
        # The best estimator itself has the seed of the search, which would draw the same rows again and again.
        return self.best_estimator_.sample(n_samples, np.random.default_rng() if given is None else given, shuffle)

    def save(self, path: Any) -> Any:
        """Write the best estimator to a file: see its ``save``."""
        check_is_fitted(self)
        return self.best_estimator_.save(path)

    def diagnose(self) -> list[Finding]:
        """What deserves a word about the search, then about the best fit.

        Each finding has ``kind`` (``largest_tried`` where the best number of components is the largest),
        ``component`` (of the best fit, or None) and ``message``.
        """
        check_is_fitted(self)
        return [*self._told, *self.best_estimator_.diagnose()]

    def summary(self) -> str:
        """The search in words: its models best first, which nearly won, and the best of them.

        Examples:
            >>> from mixtura import MixtureSearch
            >>> search = MixtureSearch((1, 2), "tied", random_state=0).fit([[0.0], [0.1], [0.3], [5.0], [5.3]] * 5)
            >>> print(search.summary().splitlines()[1])
            2 models by BIC (lower is better), best first
        """
        check_is_fitted(self)
        from mixtura.apps import words

        return words.describe_search(self)

    def _card(self) -> str:
        from mixtura.apps import card

        return card.of_search(self)

    def to_frame(self) -> Any:
        """``table_`` as a pandas DataFrame.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        check_is_fitted(self)
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise ModuleNotFoundError("to_frame() needs pandas: pip install pandas, or use table_ as it is") from None
        return pd.DataFrame(self.table_)

    def plot(self, ax: Any = None) -> Any:
        """The criterion against the number of components, one line for each structure.

        Args:
            ax: axes to draw on; None makes a figure.

        Returns:
            The axes.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        check_is_fitted(self)
        from mixtura.apps import plot

        return plot.criteria(self.table_, criterion=self.criterion, ax=ax)


def sizes(given: Any) -> list[int]:
    """Numbers of components in increasing order, each once.

    Raises:
        ValueError: there is none, or one is no positive integer.
    """
    found = [given] if isinstance(given, Integral) else list(given)
    wrong = [k for k in found if not isinstance(k, Integral) or isinstance(k, bool) or k < 1]
    if wrong or not found:
        raise ValueError(f"n_components={given!r} cannot be searched: give positive integers, such as range(1, 10)")
    return sorted({int(k) for k in found})


FOUR = [entry.name for entry in STRUCTURES.values() if entry.in_sklearn]

LEFT_OUT = (
    f"Only {', '.join(FOUR)} were tried: of more than {MOST_FEATURES} columns or {MOST_ROWS:,} rows the others take "
    "long; covariance_types='all' tries them."
)


SEVERAL = ("auto", "all")
"""What stands for several structures."""


def code_of(name: Any) -> tuple[str, str]:
    """The code of a structure, and its name as it was given.

    Raises:
        ValueError: there is no such structure; the message lists those there are.
    """
    try:
        return structure(name).code, name
    except ValueError as error:
        raise ValueError(str(error).replace("covariance_type=", "covariance_types: ", 1)) from None


def refuse_univariate(names: list[str], features: int) -> None:
    """Complain, before anything is fitted, of structures for one column where there are several.

    Raises:
        ValueError: there is one; the message says which is the same in several columns.
    """
    for name in names:
        try:
            structure(name).unit(1, 1, features)
        except ValueError as error:
            raise ValueError(str(error).replace("covariance_type=", "covariance_types: ", 1)) from None


def offered(given: str, shape: tuple[int, int]) -> list[str]:
    """The structures that ``"auto"`` or ``"all"`` stands for, for that many rows and columns."""
    rows, features = shape
    if features == 1:
        return ["E", "V"]
    return list(STRUCTURES) if given == "all" or (features <= MOST_FEATURES and rows <= MOST_ROWS) else FOUR


def structures(given: Any) -> list[str]:
    """Names of structures, each once; none for ``"auto"`` and ``"all"``, which wait for the data.

    Raises:
        ValueError: there is none, or one is unknown; the message lists those there are.
    """
    if isinstance(given, str):
        return [] if given in SEVERAL else [code_of(given)[1]]
    # By their codes, so that two names of one structure are one.
    known: dict[str, str] = {}
    for name in given:
        if isinstance(name, str) and name in SEVERAL:
            raise ValueError(
                f"covariance_types={given!r} has {name!r} among others, but it stands for several by itself"
            )
        known.setdefault(*code_of(name))
    found = list(known.values())
    if not found:
        raise ValueError(f"covariance_types={given!r} is empty: give 'auto', 'all', or names of structures")
    return found
