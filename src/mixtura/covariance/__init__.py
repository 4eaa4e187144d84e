"""The registry of covariance structures: which names there are and what each one makes."""

from collections.abc import Callable
from typing import NamedTuple

from mixtura.covariance.base import Covariance, Floor, Kind, NotPositiveDefinite
from mixtura.covariance.diag import Diag
from mixtura.covariance.full import Full
from mixtura.covariance.spherical import Spherical
from mixtura.covariance.tied import Tied

__all__ = ["GENERAL", "STRUCTURES", "Covariance", "Floor", "Kind", "NotPositiveDefinite", "Structure", "structure"]


class Structure(NamedTuple):
    """One entry of the registry.

    Attributes:
        name: what users write as ``covariance_type``.
        unit: makes identity matrices of this structure for R restarts, K components and D features.
        about: one phrase for messages and documentation.
        within: of scikit-learn's four structures the smallest that holds all matrices of this one.
    """

    name: str
    unit: Callable[[int, int, int], Covariance]
    about: str
    within: str = "full"

    @property
    def in_sklearn(self) -> bool:
        """scikit-learn has it, under the same name."""
        return self.within == self.name


STRUCTURES: dict[str, Structure] = {
    entry.name: entry
    for entry in (
        Structure("full", Full.unit, "each component has its own covariance matrix", "full"),
        Structure(
            "tied", lambda r, k, d: Tied(Full.unit(r, 1, d)), "all components share one covariance matrix", "tied"
        ),
        Structure("diag", Diag.unit, "each component has its own variance in every column", "diag"),
        Structure("spherical", Spherical.unit, "each component has one variance", "spherical"),
        Structure(
            "tied_diag",
            lambda r, k, d: Tied(Diag.unit(r, 1, d)),
            "all components share a variance per column",
            within="diag",
        ),
        Structure(
            "tied_spherical",
            lambda r, k, d: Tied(Spherical.unit(r, 1, d)),
            "all components share one variance",
            within="spherical",
        ),
    )
}


GENERAL = STRUCTURES["full"]
"""The structure that holds all others: any covariance matrix."""


def structure(name: str) -> Structure:
    """The structure with that name.

    Raises:
        ValueError: there is no such structure; the message lists those there are.
    """
    try:
        return STRUCTURES[name]
    except (KeyError, TypeError):
        names = ", ".join(repr(n) for n in STRUCTURES)
        raise ValueError(f"covariance_type={name!r} is not a covariance structure; use one of {names}") from None
