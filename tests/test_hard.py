"""The search on hard data: what is chosen is sound, and what was left out is said."""

import warnings

import numpy as np
import pytest

from mixtura import GaussianMixture, MixtureSearch
from mixtura.covariance import STRUCTURES, structure

FEW = ("full", "tied", "diag", "spherical", "VEE")
DENSE = ("full", "tied", "VEE")
"""Structures whose matrices have covariances."""


def two(seed=0):
    """Two clusters far apart, of 60 and 40 rows."""
    draw = np.random.default_rng(seed)
    return np.concatenate([draw.normal(0, 1, (60, 2)), draw.normal(7, 1, (40, 2))])


def searched(x, k=(1, 2), names=FEW, weight=None):
    """A quick search; it must not warn where it found a sound model."""
    template = GaussianMixture(effort="quick")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = MixtureSearch(k, names, estimator=template, random_state=0).fit(x, sample_weight=weight)
    assert found.best_estimator_.status_ == "converged"
    assert np.isfinite(found.score_samples(x)).all()
    return found


def kinds(found):
    return {finding.kind for finding in found.diagnose()}


def said(found, kind):
    return next(finding.message for finding in found.diagnose() if finding.kind == kind)


def unsound(found):
    """Structures of which no fit is sound."""
    table = found.table_
    lost = np.isin(table["status"], ["degenerate", "failed"])
    return {name for name in table["covariance_type"] if lost[table["covariance_type"] == name].all()}


def test_a_constant_column():
    """A variance of 0 makes the likelihood of most structures endless: they are left out, with a word."""
    x = np.column_stack([two(), np.full(100, 3.0)])
    found = searched(x)
    assert found.table_["status"][found.table_["bic"].argmin()] == "degenerate", "numbers alone would fool"
    assert unsound(found) == set(FEW) - {"spherical"}
    assert "Column '2' is constant (3); leave it out." in said(found, "structures_not_sound")
    assert {"constant_column", "structures_not_sound"} <= kinds(found)
    assert "dependent_columns" not in kinds(found)
    for name in unsound(found):
        assert name in said(found, "structures_not_sound")
    assert "Not compared, for no fit of theirs is sound: full, tied" in found.summary()
    without = searched(x[:, :2], (1, 2, 3))
    assert without.best_estimator_.n_components == 2
    assert without.diagnose() == []


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_columns_that_follow_from_others(scale):
    x = two() * scale
    found = searched(np.column_stack([x[:, 0], 5 * x[:, 1], x.sum(1)]))
    assert unsound(found) == set(DENSE)
    assert "Columns '0', '1', '2' are linearly dependent" in said(found, "structures_not_sound")
    assert "leave one of them out" in said(found, "dependent_columns")
    copied = searched(np.column_stack([x, x[:, 0]]))
    assert said(copied, "dependent_columns").startswith("Columns '0', '2' are linearly dependent")


def test_every_column_constant_is_said_to_be_hopeless():
    with pytest.warns(UserWarning, match="not sound"):
        found = MixtureSearch((1, 2), ("full", "spherical"), random_state=0).fit(np.full((20, 2), 2.0))
    assert {"constant_column", "duplicated_rows"} <= kinds(found)
    assert "structures_not_sound" not in kinds(found), "the best itself says that it is not sound"


def test_rows_given_several_times_are_rows_with_weights():
    x, few = two()[::4], ("full", "diag")
    found, again = searched(np.repeat(x, 4, axis=0), names=few), searched(x, names=few, weight=np.full(len(x), 4.0))
    assert "Only 25 of 100 rows are distinct" in said(found, "duplicated_rows")
    assert found.best_estimator_.n_components == again.best_estimator_.n_components
    assert found.best_estimator_.covariance_type == again.best_estimator_.covariance_type
    sound = found.table_["status"] == "converged"
    # Quick fits leave up to 1e-4 nats a row to gain, twice that in BIC.
    np.testing.assert_allclose(found.table_["bic"][sound], again.table_["bic"][sound], atol=2 * 100 * 2e-4)


def test_a_pile_of_equal_rows_is_no_cluster():
    x = np.concatenate([two(), np.full((30, 2), 3.0)])
    found = searched(x, (1, 2, 3, 4), ("full", "diag", "spherical"))
    own = found.best_estimator_.mixture_.covariance.variances()[0]
    assert float(own.min()) > 1e-8 * x.var(0).min(), "no component sits on the pile alone"
    assert "degenerate" in found.table_["status"]


def test_fewer_distinct_rows_than_components():
    x = np.repeat(two()[[0, 1, 60, 61]], 25, axis=0)
    found = searched(x, (1, 2, 5), ("full", "diag", "tied_spherical"))
    table = found.table_
    assert (table["status"][table["n_components"] == 5] == "degenerate").all()
    assert "Only 4 of 100 rows are distinct" in said(found, "duplicated_rows")
    assert found.best_estimator_.n_components < 5


@pytest.mark.parametrize(("rows", "features"), [(10, 8), (6, 10), (20, 8)])
def test_rows_about_as_many_as_columns(rows, features):
    draw = np.random.default_rng(rows)
    x = draw.normal(size=(rows, features)) + np.where(np.arange(rows) % 2, 9.0, 0.0)[:, None]
    found = searched(x, (1, 2, 4), ("full", "diag", "tied_diag", "spherical", "EEV"))
    own = structure(found.best_estimator_.covariance_type).unit(1, 1, features).own_orientation
    fewest = 2 * features + 2 if own else 5
    assert (rows * found.best_estimator_.weights_ >= fewest * (1 - 1e-9)).all()
    if rows < 2 * features + 2:
        assert {"full", "EEV"} <= unsound(found)
        assert "too few" in said(found, "structures_not_sound")
    assert kinds(found) & {"larger_not_sound", "largest_tried"}


@pytest.mark.parametrize(("values", "rows"), [(2, 120), (3, 150), (12, 150)])
def test_integers(values, rows):
    """A component narrower than the grid that its column is recorded on is none, however likely it is."""
    x = np.random.default_rng(values).integers(0, values, size=(rows, 2)).astype(float)
    found = searched(x, (1, 2, 3, 4), ("full", "diag", "tied_diag", "spherical"))
    table, sound = found.table_, found.best_estimator_.mixture_.covariance.variances()[0]
    assert float(sound.min()) >= 1 / 12 * (1 - 1e-6)
    if values == 2:
        lost = table["status"] == "degenerate"
        assert table["bic"][lost].min() < table["bic"][found.best_index_], "numbers alone would fool"
    assert ("duplicated_rows" in kinds(found)) == (values < 12)


def test_rounded_clusters_are_found():
    found = searched(np.round(two()), (1, 2, 3))
    assert found.best_estimator_.n_components == 2
    np.testing.assert_allclose(np.sort(found.best_estimator_.means_[:, 0]), [0, 7], atol=0.5)


def test_all_structures_and_one_word_for_those_left_out():
    """Of fourteen structures, with little to go by: one finding names all that could not be compared."""
    x = np.random.default_rng(0).normal(size=(9, 4))
    found = searched(x, (1, 2), "all")
    told = [finding for finding in found.diagnose() if finding.kind == "structures_not_sound"]
    assert len(told) == 1
    names = told[0].message.split(": ")[1].split(". ")[0].split(", ")
    assert set(names) == unsound(found)
    assert set(names) >= {name for name in STRUCTURES if STRUCTURES[name].unit(1, 1, 4).own_orientation}
