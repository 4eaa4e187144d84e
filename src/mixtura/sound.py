"""Sound: whether a fit can be believed, component by component, and the words for what is wrong."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from mixtura.covariance.quadratic import VECH
from mixtura.mixture import Mixture
from mixtura.survey import Survey

FEWEST = 5
"""Rows that a component needs where orientations are shared or fixed; 2D + 2 where it has its own."""

NARROWEST = 1e-8
"""Smallest ratio of a component's variance to the data's, in any direction."""

FLOORED = 1 + 1e-6
"""A variance within this factor of the floor has been raised to it."""

PART = 1e-4
"""Share in a linear equation, of columns of one spread, from which a column takes part in it."""

ROUNDED = 8 * torch.finfo(torch.float64).eps
"""What eigenvalues of a matrix may be off, in its largest entry and for each column: raising, storing and testing."""


class Soundness(NamedTuple):
    """The four tests of every component; all must hold.

    Attributes:
        counted: (R, K), enough rows.
        wide: (R, K), no direction in which it is far narrower than the data.
        resolved: (R, K, D), in columns recorded on a grid, a variance of at least step²/12.
        free: (R, K), no eigenvalue was raised to the floor.
    """

    counted: Bool[Tensor, "R K"]
    wide: Bool[Tensor, "R K"]
    resolved: Bool[Tensor, "R K D"]
    free: Bool[Tensor, "R K"]

    @property
    def sound(self) -> Bool[Tensor, "R"]:
        """(R,): every test of every component holds."""
        return self.faulty == 0

    @property
    def faulty(self) -> Int64[Tensor, "R"]:
        """(R,): how many components fail a test."""
        return (~(self.counted & self.wide & self.resolved.all(-1) & self.free)).sum(1)


def soundness(mixture: Mixture, n: Float64[Tensor, "R K"], facts: Survey) -> Soundness:
    """Test each component of every restart.

    A fit is sound when every component has (1) a weighted count of at least 2D + 2 where it has its own orientation
    and 5 otherwise; (2) a smallest generalised eigenvalue against the covariance of the data of at least 1e-8; (3) in
    columns recorded on a grid a variance of at least step²/12; (4) no floored eigenvalue.

    Args:
        mixture: fitted mixtures.
        n: (R, K), weighted counts of their components.
        facts: the survey of the data.
    """
    _, _, features = mixture.shape
    shape = mixture.mean.shape[:2]
    dense, variances = mixture.covariance.dense().cpu(), mixture.covariance.variances().cpu()
    wide = exceeds(relative(dense, facts.white), NARROWEST)
    resolved = variances >= facts.step.square() / 12 * (1 - 1e-9)
    if mixture.covariance.quadratic is VECH:
        root = facts.least.sqrt()
        scaled = (dense / (root[:, None] * root)).nan_to_num(posinf=0.0)
        # Beside variances 1e12 times as large the floor itself is known to some thousandths.
        rounding = ROUNDED * features * scaled.diagonal(dim1=-2, dim2=-1).amax(-1)
        free = exceeds(scaled, FLOORED + rounding[..., None, None])
    else:
        free = ((variances > FLOORED * facts.least) & variances.isfinite()).all(-1)
    return Soundness(counted(mixture, n), wide.expand(shape), resolved.expand(*shape, features), free.expand(shape))


def counted(mixture: Mixture, n: Float64[Tensor, "R K"]) -> Bool[Tensor, "R K"]:
    """The first of the tests."""
    fewest = 2 * mixture.shape[2] + 2 if mixture.covariance.own_orientation else FEWEST
    # Relative to rounding, so that a count that is exactly enough stays enough.
    return n.cpu() >= fewest * (1 - 1e-9)


def relative(dense: Float64[Tensor, "R K D D"], white: Float64[Tensor, "D E"]) -> Float64[Tensor, "R K E E"]:
    """Σ in coordinates in which the covariance of the data is I: its eigenvalues are variances as shares of theirs."""
    return (white.mT @ dense @ white).nan_to_num()


def exceeds(matrix: Float64[Tensor, "*B E E"], least: float | Tensor) -> Bool[Tensor, "*B"]:
    """Every eigenvalue is larger: what is left without ``least`` has a Cholesky factor, found sooner than eigenvalues.

    A matrix of no rows has no eigenvalue that is not.
    """
    if not matrix.shape[-1]:
        return torch.ones(matrix.shape[:-2], dtype=torch.bool, device=matrix.device)
    rest = matrix - least * torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return torch.linalg.cholesky_ex(rest).info == 0


class Finding(NamedTuple):
    """One thing that is wrong with a fit or its data.

    Attributes:
        kind: ``empty``, ``few_rows``, ``narrow``, ``grid``, ``floored``; of the data ``constant_column``,
            ``dependent_columns``, ``few_distinct_rows``, ``few_rows_for_full``, ``duplicated_rows``; of a search
            ``largest_tried``, ``larger_not_sound``, ``structures_not_sound``, ``not_fitted``, ``structures_left_out``,
            ``interrupted``.
        component: the component, or None where the data are meant.
        message: a sentence.
    """

    kind: str
    component: int | None
    message: str

    def __str__(self) -> str:
        return self.message

    def renumbered(self, component: int) -> "Finding":
        """The same said of a component that has got another number."""
        message = self.message.replace(f"Component {self.component} ", f"Component {component} ", 1)
        return Finding(self.kind, component, message)


def component_findings(tests: Soundness, n: Tensor, facts: Survey, names: list[str]) -> list[Finding]:
    """What is wrong with each component of the first restart."""
    found: list[Finding] = []
    if bool(tests.sound[0]):
        return found
    for k, count in enumerate(n[0].tolist()):
        if not tests.counted[0, k]:
            kind, what = (
                ("empty", "has no rows; its weight is 0") if count <= 0 else ("few_rows", f"holds {count:.3g} rows")
            )
            found.append(Finding(kind, k, f"Component {k} {what}, too few to estimate its covariance."))
            if count <= 0:
                continue
        if not tests.free[0, k]:
            found.append(
                Finding("floored", k, f"Component {k} has collapsed: its smallest variance was raised to the floor.")
            )
        elif not tests.wide[0, k]:
            found.append(Finding("narrow", k, f"Component {k} is far narrower than the data in some direction."))
        for j in (~tests.resolved[0, k]).nonzero()[:, 0].tolist():
            found.append(
                Finding(
                    "grid",
                    k,
                    f"Component {k} is narrower in {names[j]} than the grid of {facts.step[j]:.6g} it is recorded on.",
                )
            )
    return found


def data_findings(mixture: Mixture, facts: Survey, names: list[str]) -> list[Finding]:
    """What in the data themselves keeps a fit from being sound, or deserves a word."""
    found = [
        Finding("constant_column", None, f"Column {names[j]} is constant ({facts.low[j]:.6g}); leave it out.")
        for j in facts.constant
    ]
    _, components, features = mixture.shape
    if facts.distinct > features and (dependent := following(facts)):
        message = (
            f"Columns {', '.join(names[j] for j in dependent)} are linearly dependent, so that covariance matrices "
            "collapse; leave one of them out."
        )
        found.append(Finding("dependent_columns", None, message))
    if facts.distinct < components:
        message = (
            f"The data have {facts.distinct} distinct rows, fewer than {components} components; use fewer components."
        )
        found.append(Finding("few_distinct_rows", None, message))
    elif mixture.covariance.own_orientation and facts.distinct <= features:
        message = (
            f"The data have {facts.distinct} distinct rows for {features} columns, too few for matrices with an "
            "orientation of their own; use a diagonal structure or fewer columns."
        )
        found.append(Finding("few_rows_for_full", None, message))
    if facts.complete and facts.distinct < facts.rows / 2:
        message = f"Only {facts.distinct} of {facts.rows} rows are distinct; equal rows count as often as they occur."
        found.append(Finding("duplicated_rows", None, message))
    return found


def following(facts: Survey) -> list[int]:
    """Columns, not constant, that a linear equation holds together in all rows of the sample."""
    varying = [j for j in range(len(facts.mean)) if j not in facts.constant]
    lacking = len(varying) - facts.white.shape[1]
    # A constant column may vary by rounding.
    if lacking <= 0:
        return []
    sd = facts.covariance.diagonal().sqrt()[varying]
    _, vector = torch.linalg.eigh(facts.covariance[varying][:, varying] / (sd[:, None] * sd))
    taking_part = (vector[:, :lacking].abs() > PART).any(1)
    return [j for j, part in zip(varying, taking_part.tolist(), strict=True) if part]


def status(sound: bool, still: bool) -> str:
    """One word for how a restart ended."""
    return "degenerate" if not sound else "converged" if still else "max_iter"
