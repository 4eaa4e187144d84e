"""Sound: the four tests of a component, each alone and at its border."""

import numpy as np
import pytest
import scipy.linalg
import torch
from cases import NAMES, OWN_AXES, covariances, parameters, tensor, to_mixture

from mixtura import DegenerateWarning, GaussianMixture
from mixtura.covariance import STRUCTURES, Floor
from mixtura.covariance.quadratic import VECH
from mixtura.data import Array
from mixtura.family import Gaussian
from mixtura.mixture import Mixture
from mixtura.record import Record
from mixtura.sound import (
    FEWEST,
    FLOORED,
    NARROWEST,
    component_findings,
    data_findings,
    exceeds,
    relative,
    soundness,
)
from mixtura.survey import survey, whitening

EVERY = pytest.mark.parametrize("name", NAMES)
CRITERIA = ("counted", "wide", "resolved", "free")


@pytest.fixture(scope="module")
def facts():
    return survey(Array(np.random.default_rng(0).normal(size=(500, 3)) * [1, 10, 0.1]), 0)


def spread(name, variances, components=2):
    """A mixture at 0 whose components all have these variances (D,) and no correlation."""
    dense = torch.diag(tensor(variances)).expand(1, components, -1, -1)
    n = torch.ones(1, components).double()
    covariance = STRUCTURES[name].unit(1, components, len(variances)).nearest(n, dense, Floor())
    return Mixture((n / components).log(), torch.zeros(1, components, len(variances)).double(), covariance, Gaussian())


def failed(tests, k=0):
    """The criteria that component k fails."""
    return [c for c in CRITERIA if not bool(getattr(tests, c)[0, k].all())]


def least_ratio(dense, white):
    """The smallest variance as a share of the data's, in any direction."""
    return torch.linalg.eigvalsh(relative(dense, white))[..., 0]


def counts(value, components=2):
    return torch.full((1, components), float(value)).double()


@EVERY
def test_a_good_fit_is_sound(name, facts):
    tests = soundness(spread(name, [1.0, 100.0, 0.01]), counts(100), facts)
    assert failed(tests) == []
    assert tests.sound.tolist() == [True]


@EVERY
def test_counts_at_the_border(name, facts):
    """2D + 2 where a component has its own orientation, 5 where it has not."""
    least = 8 if name in OWN_AXES else FEWEST
    mixture = spread(name, [1.0, 100.0, 0.01])
    assert failed(soundness(mixture, counts(least), facts)) == []
    assert failed(soundness(mixture, counts(least - 0.001), facts)) == ["counted"]
    one = soundness(mixture, tensor([[least, least - 1.0]]), facts)
    assert one.counted.tolist() == [[True, False]]
    assert one.sound.tolist() == [False]
    assert one.faulty.tolist() == [1]


def test_a_count_that_is_exactly_enough_survives_rounding(facts):
    total = torch.full((80,), 0.1, dtype=torch.float64).cumsum(0)[-1]  # 7.999999999999988
    assert float(total) < 8
    assert failed(soundness(spread("full", [1.0, 100.0, 0.01]), total.expand(1, 2), facts)) == []


@pytest.mark.parametrize("name", ["full", "tied", "diag", "tied_diag"])
def test_narrow_directions_at_the_border(name, facts):
    """The ratio to the data's variance, in a direction in which the data vary."""
    within = facts.covariance.diagonal()
    # Columns are nearly, not exactly, uncorrelated, so the border is asked of the eigenvalues themselves.
    for factor, want in ((NARROWEST * 1.01, []), (NARROWEST * 0.99, ["wide"])):
        variances = within * tensor([1.0, 1e-9, 1.0])
        ratio = float(least_ratio(torch.diag(variances)[None, None], facts.white))
        variances[1] *= factor / ratio
        mixture = spread(name, variances)
        assert failed(soundness(mixture, counts(100), facts)) == want


@pytest.mark.parametrize("name", ["full", "tied"])
def test_a_narrow_diagonal_direction_is_seen(name, facts):
    """Every variance is that of the data; one combination of columns is a thousandth of the border."""
    sd = facts.covariance.diagonal().sqrt()
    tight = 1 - NARROWEST * 1e-2
    correlation = tensor([[1, tight, 0], [tight, 1, 0], [0, 0, 1]])
    unit = STRUCTURES[name].unit(1, 1, 3)
    covariance = unit.nearest(counts(1, 1), (correlation * sd * sd[:, None])[None, None], Floor())
    mixture = Mixture(counts(0, 1), torch.zeros(1, 1, 3).double(), covariance, Gaussian())
    assert failed(soundness(mixture, counts(100, 1), facts)) == ["wide"]


@pytest.mark.parametrize("name", ["full", "tied", "diag", "tied_diag"])
def test_grids_at_the_border(name):
    rng = np.random.default_rng(1)
    gridded = survey(Array(np.stack([rng.normal(size=300), rng.integers(0, 40, size=300) * 0.5], 1)), 0)
    assert gridded.step.tolist() == pytest.approx([0, 0.5])
    least = 0.5**2 / 12
    good = soundness(spread(name, [1.0, least]), counts(100), gridded)
    bad = soundness(spread(name, [1.0, least * 0.999]), counts(100), gridded)
    assert failed(good) == []
    assert failed(bad) == ["resolved"]
    assert bad.resolved[0, 0].tolist() == [True, False]


@pytest.mark.parametrize("name", ["full", "tied", "diag", "tied_diag"])
def test_floors_at_the_border(name):
    """A floored variance fails whatever its ratio to the data's."""
    facts = survey(Array(np.random.default_rng(2).normal(size=(400, 2))), 0)
    tight = facts._replace(white=facts.white * 1e3)  # so that narrowness does not interfere
    at = facts.least.clone()
    assert failed(soundness(spread(name, [1.0, float(at[1])]), counts(100), tight)) == ["free"]
    # Of a matrix whose largest variance is 1e12 floors, eigenvalues are known to some thousandths of the floor.
    above = 1e-2 if STRUCTURES[name].unit(1, 2, 2).quadratic is VECH else 1e-9
    assert failed(soundness(spread(name, [1.0, float(at[1]) * (FLOORED + above)]), counts(100), tight)) == []


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith(("diag", "spherical", "I"))])
def test_columns_that_follow_from_others_are_floored(name, turn):
    """Whatever the matrix rounds to: its smallest variance is the floor, which rounding may lift by a thousandth."""
    rng = np.random.default_rng(turn)
    x = np.concatenate([rng.normal(0, 1, (60, 2)), rng.normal(7, 1, (40, 2))]) @ rng.normal(size=(2, 3))
    for k in (1, 2):
        model = GaussianMixture(k, covariance_type=name, init_params="kmeans", random_state=0)
        with pytest.warns(DegenerateWarning, match="not sound"):
            model.fit(x)
        assert "floored" in {finding.kind for finding in model.diagnose()}


@EVERY
def test_raised_variances_are_not_free(name):
    """What an M-step has raised to the floor is recognised."""
    facts = survey(Array(np.random.default_rng(3).normal(size=(400, 3)) * [1, 5, 20]), 0)
    unit = STRUCTURES[name].unit(1, 2, 3)
    covariance = unit.maximise(counts(100), unit.from_scatter(torch.zeros(1, 2, 3, 3).double()), Floor(facts.least))
    mixture = Mixture(counts(0), torch.zeros(1, 2, 3).double(), covariance, Gaussian())
    assert "free" in failed(soundness(mixture, counts(100), facts))


def test_least_ratio_is_the_generalised_eigenvalue():
    rng = np.random.default_rng(4)
    whole = covariances("full", rng, 1, 4)[0]
    dense = covariances("full", rng, 6, 4)
    found = least_ratio(tensor(dense).reshape(2, 3, 4, 4), whitening(tensor(whole), 1e-13)).reshape(-1)
    want = [scipy.linalg.eigh(s, whole, eigvals_only=True)[0] for s in dense]
    np.testing.assert_allclose(found.numpy(), want, rtol=1e-10)


def test_exceeds_is_the_smallest_eigenvalue():
    rng = np.random.default_rng(7)
    dense = tensor(covariances("full", rng, 6, 4))
    smallest = torch.linalg.eigvalsh(dense)[:, 0]
    for factor, want in ((1 - 1e-9, True), (1 + 1e-9, False)):
        found = [bool(exceeds(each, float(least) * factor)) for each, least in zip(dense, smallest, strict=True)]
        assert found == [want] * 6
    assert exceeds(torch.full((1, 2, 2), torch.nan).double(), 0.0).tolist() == [False]


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_least_ratio_has_no_units(scale):
    rng = np.random.default_rng(5)
    whole, dense = covariances("full", rng, 2, 3)
    units = np.outer([1, scale, 1], [1, scale, 1])
    one = least_ratio(tensor(dense)[None, None], whitening(tensor(whole), 1e-13))
    scaled = least_ratio(tensor(dense * units)[None, None], whitening(tensor(whole * units), 1e-13))
    torch.testing.assert_close(one, scaled, rtol=1e-8, atol=0)


@EVERY
def test_a_constant_column_is_no_direction(name):
    X = np.random.default_rng(6).normal(size=(300, 2))
    facts = survey(Array(np.c_[X, np.full(300, 3.0)]), 0)
    tests = soundness(spread(name, [1.0, 1.0, 1.0]), counts(100), facts)
    assert bool(tests.wide.all())
    nothing = whitening(torch.zeros(3, 3).double(), 1e-13)
    assert exceeds(relative(torch.eye(3).double()[None, None], nothing), 2.0).tolist() == [[True]]


@pytest.mark.parametrize("scale", [1e-8, 1e8])
@EVERY
def test_soundness_has_no_units(name, scale):
    rng = np.random.default_rng(7)
    X = rng.normal(size=(300, 3))
    p = parameters(name, rng, 2, 3)
    scaled = p._replace(means=p.means * scale, covariances=p.covariances * scale**2)
    a = soundness(to_mixture(name, p), counts(50), survey(Array(X), 0))
    b = soundness(to_mixture(name, scaled), counts(50), survey(Array(X * scale), 0))
    assert failed(a) == failed(b) == []


@EVERY
def test_a_failed_restart_is_not_sound(name, facts):
    good = spread(name, [1.0, 100.0, 0.01])
    spoilt = Record.cat([good, good.map(lambda t: t * torch.nan)])
    tests = soundness(spoilt, torch.cat([counts(100), counts(np.nan)]), facts)
    assert tests.sound.tolist() == [True, False]


# ---- words


def findings(mixture, n, facts, names=("'a'", "'b'", "'c'")):
    tests = soundness(mixture, n, facts)
    return [
        (f.kind, f.component)
        for f in data_findings(mixture, facts, list(names)) + component_findings(tests, n, facts, list(names))
    ]


def test_a_sound_fit_has_no_findings(facts):
    assert findings(spread("full", [1.0, 100.0, 0.01]), counts(100), facts) == []


def test_findings_name_the_component_and_what_is_wrong(facts):
    full = spread("full", [1.0, 100.0, 0.01])
    assert findings(full, tensor([[100.0, 0.0]]), facts) == [("empty", 1)]
    assert findings(full, tensor([[7.0, 100.0]]), facts) == [("few_rows", 0)]
    narrow = spread("diag", [1.0, 1e-7, 0.01])
    assert findings(narrow, counts(100), facts) == [("narrow", 0), ("narrow", 1)]
    floored = spread("diag", [1.0, float(facts.least[1]), 0.01], components=1)
    assert findings(floored, counts(100, 1), facts) == [("floored", 0)]


def test_findings_about_the_data():
    rng = np.random.default_rng(8)
    X = np.c_[rng.normal(size=40), np.full(40, 2.0)]
    constant = findings(spread("diag", [1.0, 1.0]), counts(20), survey(Array(X), 0), ("'a'", "'b'"))
    assert ("constant_column", None) in constant
    few = survey(Array(np.repeat(rng.normal(size=(2, 2)), 20, axis=0)), 0)
    kinds = [k for k, _ in findings(spread("diag", [1.0, 1.0], 3), counts(13, 3), few, ("'a'", "'b'"))]
    assert "few_distinct_rows" in kinds
    assert "duplicated_rows" in kinds
    wide = survey(Array(rng.normal(size=(5, 6))), 0)
    kinds = [k for k, _ in findings(spread("full", np.ones(6), 1), counts(5, 1), wide, list("abcdef"))]
    assert "few_rows_for_full" in kinds


def test_findings_are_sentences(facts):
    mixture = spread("full", [1.0, 1e-9, 0.01])
    n = tensor([[3.0, 100.0]])
    found = component_findings(soundness(mixture, n, facts), n, facts, ["'a'", "'b'", "'c'"])
    assert found
    for f in found:
        assert str(f) == f.message
        assert f.message.startswith(f"Component {f.component} ")
        assert f.message.endswith(".")
