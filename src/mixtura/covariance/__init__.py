"""The registry of covariance structures: which names there are and what each one makes."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor

from mixtura.covariance.base import Covariance, Floor, Kind, NotPositiveDefinite, OtherStructure
from mixtura.covariance.diag import Diag
from mixtura.covariance.eigen import Eigen
from mixtura.covariance.full import Full
from mixtura.covariance.spherical import Spherical
from mixtura.covariance.tied import Tied

__all__ = [
    "GENERAL",
    "NAMES",
    "STRUCTURES",
    "Covariance",
    "Floor",
    "Kind",
    "NotPositiveDefinite",
    "OtherStructure",
    "Structure",
    "structure",
]

Unit = Callable[[int, int, int], Covariance]


class Structure(NamedTuple):
    """One entry of the registry.

    Attributes:
        name: what users write as ``covariance_type``.
        code: mclust's letters for volume, shape and orientation: equal, variable, or I for the identity.
        unit: makes identity matrices of this structure for R restarts, K components and D features.
        about: one phrase for messages and documentation.
        within: of scikit-learn's four structures the smallest that holds all matrices of this one.
        matrices: matrices are shown to users as (K, D, D), not in the structure's own shape.
    """

    name: str
    code: str
    unit: Unit
    about: str
    within: str = "full"
    matrices: bool = False

    @property
    def in_sklearn(self) -> bool:
        """scikit-learn has it, under the same name."""
        return self.within == self.name

    def publish(self, covariance: Covariance, components: int, kind: Kind) -> Tensor:
        """The first restart's matrices, float64, in the shape in which users see them."""
        if not self.matrices:
            return covariance.publish(kind)
        shown = Covariance.publish(covariance, kind)
        return shown.expand(components, -1, -1)

    def published_shape(self, components: int, features: int) -> tuple[int, ...]:
        """The shape of what :meth:`publish` returns."""
        if self.matrices:
            return components, features, features
        return self.unit(1, components, features).published_shape(components)

    def adopt(
        self, value: Tensor, components: int, features: int, kind: Literal["covariances", "precisions"]
    ) -> Covariance:
        """One restart from matrices in the published shape.

        Raises:
            NotPositiveDefinite: a matrix is not symmetric and positive definite.
            OtherStructure: the matrices are, but this structure has none like them.
        """
        unit = self.unit(1, components, features)
        return Covariance.adopt(unit, value, kind) if self.matrices else unit.adopt(value, kind)


def tied(unit: Unit) -> Unit:
    """Makes identity matrices that all components share."""
    return lambda restarts, components, features: Tied(unit(restarts, 1, features))


def eigen(code: str, about: str) -> Structure:
    """A structure that has no name but mclust's code."""
    within = "diag" if code.endswith("I") else "full"
    return Structure(code, code, Eigen.spelled(code), about, within, matrices=True)


STRUCTURES: dict[str, Structure] = {
    entry.name: entry
    for entry in (
        Structure("full", "VVV", Full.unit, "each component has its own covariance matrix", "full"),
        Structure("tied", "EEE", tied(Full.unit), "all components share one covariance matrix", "tied"),
        Structure("diag", "VVI", Diag.unit, "each component has its own variance in every column", "diag"),
        Structure("spherical", "VII", Spherical.unit, "each component has one variance", "spherical"),
        Structure("tied_diag", "EEI", tied(Diag.unit), "all components share a variance per column", "diag"),
        Structure("tied_spherical", "EII", tied(Spherical.unit), "all components share one variance", "spherical"),
        eigen("VEI", "components along the columns have one shape, in sizes of their own"),
        eigen("EVI", "components along the columns have one size, in shapes of their own"),
        eigen("VEE", "components have one shape and one orientation, in sizes of their own"),
        eigen("EVE", "components have one orientation and one size, in shapes of their own"),
        eigen("VVE", "components have one orientation, in sizes and shapes of their own"),
        eigen("EEV", "components have one size and one shape, each turned by itself"),
        eigen("VEV", "components have one shape, each turned by itself in a size of its own"),
        eigen("EVV", "components have one size, each turned by itself with a shape of its own"),
    )
}
"""The covariance structures: mclust's fourteen, six of them by the names that they have elsewhere."""


def alone(code: str, unit: Unit) -> Unit:
    """Makes unit variances for one column, where one letter says all.

    Raises:
        ValueError: there are more columns.
    """

    def only(restarts: int, components: int, features: int) -> Covariance:
        if features > 1:
            raise ValueError(
                f"covariance_type={code[0]!r} is for data of one column, but there are {features}: "
                f"use {code!r}, which is the same in several, or another structure"
            )
        return unit(restarts, components, features)

    return only


NAMES: dict[str, Structure] = {
    **STRUCTURES,
    **{s.code: s._replace(name=s.code, matrices=True) for s in STRUCTURES.values() if s.name != s.code},
    **{
        s.code[0]: s._replace(name=s.code[0], unit=alone(s.code, s.unit), matrices=True)
        for s in (STRUCTURES["tied_spherical"], STRUCTURES["spherical"])
    },
}
"""Everything that users may write: the structures, mclust's codes for all of them, and its two for one column."""

GENERAL = STRUCTURES["full"]
"""The structure that holds all others: any covariance matrix."""


def structure(name: str) -> Structure:
    """The structure with that name.

    Raises:
        ValueError: there is no such structure; the message lists those there are.
    """
    try:
        return NAMES[name]
    except (KeyError, TypeError):
        names = ", ".join(repr(n) for n in NAMES)
        raise ValueError(f"covariance_type={name!r} is not a covariance structure; use one of {names}") from None
