"""mclust's codes are other names of the same structures, which show their matrices as (K, D, D)."""

import numpy as np
import pytest
from cases import clusters

import mixtura
from mixtura import GaussianMixture, MixtureSearch
from mixtura.apps import cli
from mixtura.covariance import NAMES, STRUCTURES

CODES = [entry.code for entry in STRUCTURES.values()]
EVERY = pytest.mark.parametrize("name", STRUCTURES)
X, _ = clusters(np.random.default_rng(3), 150, 3, 2)


def dense(model):
    return model.mixture_.covariance.dense()[0].expand(model.n_components, -1, -1).numpy()


def test_there_are_fourteen_and_two_of_one_letter():
    letters = {a + b + c for a in "EV" for b in "EVI" for c in "EVI"}
    # Round clusters have no axes, and without axes of their own the columns serve: no VIE, no EIV.
    assert sorted(CODES) == sorted(code for code in letters if code[1] != "I" or code[2] == "I")
    assert set(NAMES) == {*STRUCTURES, *CODES, "E", "V"}
    assert all(entry.name == name for name, entry in NAMES.items())


@EVERY
def test_a_code_is_the_same_fit_with_matrices(name):
    one = GaussianMixture(3, covariance_type=name, random_state=0).fit(X)
    two = GaussianMixture(3, covariance_type=STRUCTURES[name].code, random_state=0).fit(X)
    assert two.loglik_ == one.loglik_
    assert two.n_parameters_ == one.n_parameters_
    np.testing.assert_array_equal(two.predict(X), one.predict(X))
    assert two.covariances_.shape == two.precisions_.shape == two.precisions_cholesky_.shape == (3, 2, 2)
    # Products of roots: right to some units in the last place of entries of order one to ten.
    np.testing.assert_allclose(two.covariances_, dense(one), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(two.precisions_ @ two.covariances_, [np.eye(2)] * 3, rtol=0, atol=1e-10)
    roots = two.precisions_cholesky_
    np.testing.assert_allclose(roots @ roots.swapaxes(1, 2), two.precisions_, rtol=1e-10, atol=1e-12)


@EVERY
def test_matrices_come_back_by_every_way(name, tmp_path):
    code = STRUCTURES[name].code
    model = GaussianMixture(3, covariance_type=code, random_state=0).fit(X)
    model.save(tmp_path / "model.safetensors")
    again = mixtura.load(tmp_path / "model.safetensors")
    assert again.covariance_type == code
    np.testing.assert_array_equal(again.covariances_, model.covariances_)
    made = GaussianMixture.from_parameters(model.weights_, model.means_, model.covariances_, code)
    np.testing.assert_allclose(made.score_samples(X), model.score_samples(X), rtol=1e-10)
    np.testing.assert_allclose(model.to_sklearn().score_samples(X), model.score_samples(X), rtol=1e-10)
    start = {"weights_init": model.weights_, "means_init": model.means_, "precisions_init": model.precisions_}
    went_on = GaussianMixture(3, covariance_type=code, **start).fit(X)
    # An optimum stays one: the stopping rule leaves 1e-7 nats a row.
    assert went_on.loglik_ == pytest.approx(model.loglik_, abs=1e-4)
    assert mixtura.fit_many([X, X], 3, code, random_state=0).covariances_.shape == (2, 3, 2, 2)


@pytest.mark.parametrize("code", ["EEE", "EII", "VII", "VVI"])
def test_matrices_that_the_structure_cannot_have_are_refused(code):
    other = np.stack([[[2.0, 0.5], [0.5, 1.0]], [[1.0, -0.3], [-0.3, 4.0]]])
    with pytest.raises(ValueError, match=f"{code} covariance.*of this structure.*covariance_type='full'"):
        GaussianMixture.from_parameters([0.5, 0.5], np.zeros((2, 2)), other, code)


@pytest.mark.parametrize(("letter", "name"), [("E", "tied_spherical"), ("V", "spherical")])
def test_one_letter_is_for_one_column(letter, name):
    one = GaussianMixture(2, covariance_type=letter, random_state=0).fit(X[:, :1])
    two = GaussianMixture(2, covariance_type=name, random_state=0).fit(X[:, :1])
    assert one.loglik_ == two.loglik_
    assert one.covariances_.shape == (2, 1, 1)
    with pytest.raises(ValueError, match=f"covariance_type='{letter}' is for data of one column, but there are 2"):
        GaussianMixture(2, covariance_type=letter).fit(X)


def test_two_names_of_one_structure_are_tried_once():
    search = MixtureSearch(2, covariance_types=("VVV", "full", "EEE"), random_state=0).fit(X)
    assert search.table_["covariance_type"].tolist() == ["VVV", "EEE"]


def test_the_command_takes_codes(tmp_path, capsys):
    np.save(tmp_path / "x.npy", X)
    assert cli.main(["fit", str(tmp_path / "x.npy"), "-k", "2", "--covariance", "EEE", "-o", str(tmp_path / "o")]) == 0
    assert mixtura.load(tmp_path / "o" / "model.safetensors").covariance_type == "EEE"
    assert "all components share one covariance matrix" in capsys.readouterr().out
