"""The registry of covariance structures: which names there are and what each one makes."""

from collections.abc import Callable
from typing import NamedTuple

from mixtura.covariance.base import Covariance, Floor, Kind, NotPositiveDefinite
from mixtura.covariance.diag import Diag
from mixtura.covariance.full import Full
from mixtura.covariance.spherical import Spherical
from mixtura.covariance.tied import Tied

__all__ = ["STRUCTURES", "Covariance", "Floor", "Kind", "NotPositiveDefinite", "Structure", "structure"]


class Structure(NamedTuple):
    """One entry of the registry.

    Attributes:
        name: what users write as ``covariance_type``.
        unit: makes identity matrices of this structure for R restarts, K components and D features.
        about: one phrase for messages and documentation.
        in_sklearn: scikit-learn has it, under the same name.
    """

    name: str
    unit: Callable[[int, int, int], Covariance]
    about: str
    in_sklearn: bool = False


STRUCTURES: dict[str, Structure] = {
    entry.name: entry
    for entry in (
        Structure("full", Full.unit, "each component has its own covariance matrix", True),
        Structure("tied", lambda r, k, d: Tied(Full.unit(r, 1, d)), "all components share one covariance matrix", True),
        Structure("diag", Diag.unit, "each component has its own variance in every column", True),
        Structure("spherical", Spherical.unit, "each component has one variance", True),
        Structure("tied_diag", lambda r, k, d: Tied(Diag.unit(r, 1, d)), "all components share a variance per column"),
        Structure("tied_spherical", lambda r, k, d: Tied(Spherical.unit(r, 1, d)), "all components share one variance"),
    )
}


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
