"""Published: a mixture's parameters as attributes in the kind of the data, and the order of its components."""

import os
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from mixtura.covariance import Kind as Shown
from mixtura.covariance import Structure, structure
from mixtura.fitted import FittedMixture
from mixtura.inputs import Kind
from mixtura.mixture import Mixture
from mixtura.relabel import matching
from mixtura.sound import Finding

PUBLISHED = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")
"""Attributes that show the parameters of ``mixture_`` to users."""


def published(mixture: Mixture, known: Structure) -> dict[str, Tensor]:
    """The attributes ``PUBLISHED`` of the first restart, float64."""

    def shown(kind: Shown) -> Tensor:
        return known.publish(mixture.covariance, mixture.shape[1], kind)

    return {
        "weights_": mixture.log_weight[0].exp(),
        "means_": mixture.mean[0],
        "covariances_": shown("covariances"),
        "precisions_": shown("precisions"),
        "precisions_cholesky_": shown("precisions_cholesky"),
    }


class PublishedMixture(FittedMixture):
    """An estimator whose parameters are its own: they are published, reordered and diagnosed here."""

    status_: str
    _structure: str
    _findings: list[Finding]
    _weight: float

    def _publish(self, mixture: Mixture, kind: Kind, name: str) -> None:
        """Become a fitted estimator: take a mixture of one restart, and show it in the kind of the data."""
        # The same layout in memory wherever the parameters come from, so that products give the same bits.
        mixture = mixture.map(lambda t: t.clone(memory_format=torch.contiguous_format))
        shown = {key: kind.give(value, frozen=True) for key, value in published(mixture, structure(name)).items()}
        # All or nothing: an error above leaves every attribute as it was.
        self.__dict__.update(mixture_=mixture, _kind=kind, _structure=name, **shown)

    def diagnose(self) -> list[Finding]:
        """What is wrong with the fit, and what in the data deserves a word; ``status_`` alone says whether it is sound.

        Each finding has ``kind``, ``component`` (None where it concerns the data) and ``message``.
        """
        check_is_fitted(self)
        return list(self._findings)

    def summary(self) -> str:
        """The fit in words: call, data, components, likelihood, criteria, status, how it was found, what is wrong.

        BIC and AIC are of the rows it was fitted to; ``icl(X)`` takes one more look at them.

        Examples:
            >>> from mixtura import GaussianMixture
            >>> gm = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [4.0]], [1.0, 1.0], "spherical")
            >>> print(gm.summary())
            GaussianMixture(covariance_type='spherical', n_components=2)
            1 feature, 2 components: each component has one variance
            <BLANKLINE>
            component  weight     x0
                    0  0.5000  0 (1)
                    1  0.5000  4 (1)
            means of the features, standard deviations in brackets
            <BLANKLINE>
            5 parameters, status converged
        """
        check_is_fitted(self)
        from mixtura.apps import words

        return words.describe(self)

    def _card(self) -> str:
        from mixtura.apps import card

        return card.of_model(self)

    def relabel(self, like: Any) -> "PublishedMixture":
        """Reorder the components so that they match those of another model: the same cluster, the same number.

        Components are paired one to one so that the densities of the pairs overlap as much as they can together
        (:func:`mixtura.relabel.matching`); weights do not matter. Where this model has more components, those without
        a partner come last, by decreasing weight; where it has fewer, the order is that of ``like``, with gaps closed.

        Args:
            like: a fitted estimator or a :class:`mixtura.Mixture`, of the same features.

        Returns:
            The estimator, its attributes and findings in the new order.

        Raises:
            ValueError: ``like`` has other features.
            TypeError: ``like`` is no fitted mixture.

        Examples:
            >>> from mixtura import GaussianMixture
            >>> old = GaussianMixture.from_parameters([0.4, 0.6], [[0.0], [4.0]], [1.0, 1.0], "spherical")
            >>> new = GaussianMixture.from_parameters([0.7, 0.3], [[4.1], [0.2]], [1.1, 0.9], "spherical")
            >>> new.relabel(like=old).means_.ravel()
            array([0.2, 4.1])
        """
        check_is_fitted(self)
        names, theirs = (getattr(model, "feature_names_in_", None) for model in (self, like))
        if names is not None and theirs is not None and list(names) != list(theirs):
            raise ValueError(
                f"like was fitted on the features {list(map(str, theirs))}, this model on {list(map(str, names))}: "
                "compare models of the same columns in the same order"
            )
        self._reorder(matching(self.mixture_, mixture_of(like)))
        return self

    def _reorder(self, order: Any) -> None:
        """Let component ``order[k]`` be k."""
        order = torch.as_tensor(order)
        place = {int(old): new for new, old in enumerate(order.tolist())}
        findings = [f if f.component is None else f.renumbered(place[f.component]) for f in self._findings]
        self._publish(self.mixture_.pick(order), self._kind, self._structure)
        self._findings = sorted(findings, key=lambda f: -1 if f.component is None else f.component)
        if (merging := getattr(self, "merging_", None)) is not None:
            self.merging_ = {**merging, "components": [merging["components"][k] for k in order.tolist()]}

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted model into one safetensors file, which :func:`mixtura.load` reads again.

        The file holds the parameters, what the fit reported, and the estimator's own parameters as JSON: no path, no
        device, no time, no user and none of the rows; of what you handed in, ``means_init`` and its like are kept. A
        generator given as ``random_state`` cannot be stored: ``seed_`` takes its place. The same model gives the same
        bytes.

        Args:
            path: where to write, ending with ``.safetensors``. A file that is there is replaced once the new one is
                complete, and stays as it is if anything goes wrong.

        Raises:
            NotFittedError: the estimator is not fitted.
            ValueError: ``path`` has another ending, or a parameter cannot be stored.
            OSError: the file cannot be written: there is no such directory, it is read-only, the disk is full.

        Examples:
            >>> import tempfile
            >>> from pathlib import Path
            >>> import mixtura
            >>> gm = mixtura.GaussianMixture(2, random_state=0).fit([[0.0], [0.1], [0.4], [7.0], [7.2], [7.3]] * 3)
            >>> with tempfile.TemporaryDirectory() as directory:
            ...     gm.save(Path(directory) / "model.safetensors")
            ...     again = mixtura.load(Path(directory) / "model.safetensors")
            >>> bool((again.means_ == gm.means_).all())
            True
        """
        from mixtura.apps.store import save

        save(self, path)


def mixture_of(model: Any) -> Mixture:
    """The mixture that an estimator holds, or that was given itself.

    Raises:
        TypeError: there is none.
    """
    found = getattr(model, "mixture_", model)
    if not isinstance(found, Mixture):
        raise TypeError(f"like is {type(model).__name__}, expected a fitted mixture: fit it, or use from_parameters")
    return found
