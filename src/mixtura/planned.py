"""Planned: what an estimator's parameters ask for, as a plan of what to fit and how."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from mixtura.accelerate import Squarem
from mixtura.converge import Pacing, Steps
from mixtura.covariance import structure
from mixtura.draws import seed_of
from mixtura.fitted import place
from mixtura.fitting import continued, given_start, plain_starts
from mixtura.given import Given, check_given
from mixtura.inputs import Checked
from mixtura.mixture import Mixture
from mixtura.plan import AUTO_PASSES, Ground, Plan, Search
from mixtura.published import PublishedMixture
from mixtura.record import Record
from mixtura.reproduce import sklearn_start
from mixtura.search import EFFORTS, plain, searches
from mixtura.sourced import gathered
from mixtura.stop import Gain, Still, Stop
from mixtura.watch import watcher


class PlannedMixture(PublishedMixture):
    """An estimator whose parameters say what to fit and how: they are turned into a plan here."""

    n_components: int
    covariance_type: str
    tol: float | int | str
    reg_covar: float | int | str
    max_iter: int | str
    n_init: int | str
    init_params: str
    effort: str
    weights_init: Any
    means_init: Any
    precisions_init: Any
    random_state: Any
    warm_start: bool
    verbose: int
    verbose_interval: int
    progress: Any
    missing: str
    acceleration: str | None
    device: Any
    reproduce: str | None

    def _validate_params(self) -> None:
        super()._validate_params()
        if self._takes_gaps and self.reproduce is not None:
            raise ValueError(
                f"missing='em' and reproduce={self.reproduce!r} exclude each other, for scikit-learn knows no gaps: "
                "set missing='error', or reproduce=None"
            )

    @property
    def _takes_gaps(self) -> bool:
        return bool(self.missing == "em")

    @property
    def _going_on(self) -> bool:
        return bool(self.warm_start and hasattr(self, "mixture_"))

    def _planned(self, checked: Checked) -> Plan:
        """What is to be fitted and how."""
        rows, features = checked.shape
        if rows < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, n_samples = {rows}: "
                "use fewer components"
            )
        given = check_given(
            structure(self.covariance_type),
            self.n_components,
            features,
            weights=self.weights_init,
            means=self.means_init,
            covariances=self.precisions_init,
            kind="precisions",
        )
        return self._plan(checked, given)

    def _plan(self, checked: Checked, given: Given) -> Plan:
        theirs, going_on = self.reproduce == "sklearn", self._going_on
        stop: Stop
        search: Search
        if self.tol == "auto":
            racing = self.init_params == "auto" and given.none and not (going_on or theirs)
            stop = Still(EFFORTS[self.effort].per_row) if racing else Still()
        else:
            stop = Gain(float(self.tol), getattr(self, "lower_bound_", None) if going_on and theirs else None)
        seed = 0 if theirs else seed_of(self.random_state)
        if going_on:
            self._check_same()
            search = plain(continued(self.mixture_), "warm_start")
        elif theirs:
            search = plain(self._their_starts(checked, given), self._init_name())
        else:
            search = self._own_search(given)
        return Plan(
            structure=structure(self.covariance_type),
            components=self.n_components,
            added=None if self.reg_covar == "auto" else float(self.reg_covar),
            clip=not theirs,
            stop=stop,
            passes=AUTO_PASSES if self.max_iter == "auto" else int(self.max_iter),
            search=search,
            last_step=theirs,
            ordered=not theirs and not going_on and given.none,
            seed=seed,
            device=place(self.device, checked.kind),
            dtype=torch.float64 if theirs else None,
            pace=self._pace(),
            watch=watcher(self.verbose, self.verbose_interval, self.progress),
        )

    def _pace(self) -> Pacing:
        auto = self.tol == "auto" and self.reg_covar == "auto" and self.reproduce is None
        return Squarem if self.acceleration == "squarem" or (self.acceleration == "auto" and auto) else Steps

    def _init_name(self) -> str:
        return "kmeans" if self.init_params == "auto" else self.init_params

    def _own_search(self, given: Given) -> Search:
        count = 1 if self.n_init == "auto" else int(self.n_init)
        if not given.none:
            return plain(given_start(given), "given")
        if self.init_params == "auto":
            return searches(EFFORTS[self.effort], None if self.n_init == "auto" else count)
        if self.init_params == "random":
            warnings.warn(
                "init_params='random' starts every component at nearly the same place and often stays there; "
                "use 'auto' or 'kmeans'",
                UserWarning,
                stacklevel=7,
            )
        return plain(plain_starts(self.init_params, count), self.init_params)

    def _their_starts(self, checked: Checked, given: Given) -> Callable[[Ground], Mixture]:
        x, weight = gathered(checked.source), checked.weight
        state = self.random_state
        if isinstance(state, (np.random.Generator, torch.Generator)):
            state = seed_of(state) % 2**32
        generator = check_random_state(state)
        name = self._init_name()
        restarts = 1 if self.n_init == "auto" else int(self.n_init)

        def make(ground: Ground) -> Mixture:
            each = [
                sklearn_start(
                    x, weight, ground.unit, self.n_components, name, generator, ground.floor, given, ground.origin
                )
                for _ in range(restarts)
            ]
            return Record.cat(each)

        return make

    def _check_same(self) -> None:
        before = (self.mixture_.shape[1], self._structure)
        if before != (self.n_components, self.covariance_type):
            raise ValueError(
                f"warm_start=True continues a fit with n_components={before[0]} and covariance_type={before[1]!r}, but "
                f"they are {self.n_components} and {self.covariance_type!r} now: keep both, or set warm_start=False"
            )
