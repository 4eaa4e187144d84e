"""MixtureSearch: the choice of K and structure, its table, and what it promises around it."""

import inspect
import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from comparison.sets import load, numbers
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import mixtura.fitting
from mixtura import DegenerateWarning, GaussianMixture, MixtureSearch, scan, select
from mixtura.cells import Cell, Trial, best_of, findings
from mixtura.covariance import STRUCTURES
from mixtura.criteria import NAMES, Figures


@pytest.fixture(autouse=True)
def _as_users_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The constructors without the checks of annotations that the tests install: they must take anything until fit."""
    for kind in (GaussianMixture, MixtureSearch):
        monkeypatch.setattr(kind, "__init__", inspect.unwrap(kind.__init__))


def plain(**params: Any) -> GaussianMixture:
    """One start each: quick, and enough where clusters are clear."""
    return GaussianMixture(**{"init_params": "kmeans", **params})


def search(k: Any = (1, 2, 3), structures: Any = "full", **params: Any) -> MixtureSearch:
    return MixtureSearch(k, structures, **{"estimator": plain(), "random_state": 0, **params})


def collapsing() -> np.ndarray:
    """Two clusters, and thirty equal rows that a third component collapses onto."""
    draw = np.random.default_rng(0)
    return np.vstack([draw.normal(size=(60, 2)), draw.normal(size=(40, 2)) + 30, np.full((30, 2), 12.0)])


# ---- the choice


@pytest.mark.parametrize(
    ("name", "code", "structure", "k", "most"),
    [
        ("faithful", "EEE", "tied", 3, 5),
        ("diabetes_corrected", "VVV", "full", 3, 4),
        ("iris", "VVV", "full", 2, 3),
    ],
)
def test_mclust_chooses_the_same(name: str, code: str, structure: str, k: int, most: int) -> None:
    x = load(name)
    found = MixtureSearch(range(1, most + 1), structure, random_state=0)
    best = found.fit(x).best_estimator_
    assert (best.n_components, best.covariance_type) == (k, structure)
    theirs = next(c for c in numbers("mclust_fits")["sets"][name]["models"][code] if c["G"] == k)
    assert best.n_parameters_ == theirs["df"]
    # Their optimum or a better one.
    assert best.loglik_ >= theirs["tight_loglik"] - 0.02
    bic = theirs["df"] * math.log(len(x)) - 2 * theirs["tight_loglik"]
    assert found.table_["bic"][found.best_index_] <= bic + 0.04
    assert found.table_["n_components"].tolist() == list(range(1, most + 1))
    assert found.diagnose() == []


@pytest.mark.parametrize("weighted", [False, True])
def test_a_cell_is_the_fit_that_one_would_make_oneself(weighted: bool) -> None:
    x = load("faithful")
    weight = np.random.default_rng(0).random(len(x)) * 2 if weighted else None
    found = search((1, 2), "all").fit(x, sample_weight=weight)
    table = found.table_
    assert table["covariance_type"].tolist() == [name for name in STRUCTURES for _ in (1, 2)]
    for i, (name, k) in enumerate(zip(table["covariance_type"], table["n_components"], strict=True)):
        own = plain(n_components=int(k), covariance_type=name, random_state=0).fit(x, sample_weight=weight)
        assert table["n_parameters"][i] == own.n_parameters_
        assert table["status"][i] == own.status_
        # The same steps from the same start: rounding of sums over a few hundred rows at most.
        assert table["loglik"][i] == pytest.approx(own.loglik_, rel=1e-10)
        for criterion in ("bic", "aic", "icl"):
            assert table[criterion][i] == pytest.approx(getattr(own, criterion)(x, weight), rel=1e-9)
    assert found.best_index_ == table["bic"].argmin()


@pytest.mark.parametrize("criterion", ["bic", "aic", "icl"])
def test_criteria_choose_their_own(criterion: str) -> None:
    found = search(range(1, 4), ("full", "tied_diag"), criterion=criterion).fit(load("iris"))
    table = found.table_
    sound = table["status"] != "degenerate"
    # 2e-7 a row: what counts as equal.
    assert table[criterion][found.best_index_] <= table[criterion][sound].min() + 150 * 2e-7
    assert found.best_estimator_.n_components == table["n_components"][found.best_index_]


@pytest.mark.parametrize(("columns", "rows"), [(2, 272), (21, 30), (2, 100_001)])
def test_auto_is_all_that_take_no_long_time(columns: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(min(rows, 300), columns))
    if rows > len(x):
        monkeypatch.setattr(select, "MOST_ROWS", len(x) - 1)
    small = (columns, rows) == (2, 272)
    found = search((1,), "auto").fit(x)
    tried = found.table_["covariance_type"].tolist()
    assert tried == (list(STRUCTURES) if small else ["full", "tied", "diag", "spherical"])
    said = [str(f) for f in found.diagnose() if f.kind == "structures_left_out"]
    assert len(said) == (not small)
    assert all("covariance_types='all' tries them" in s for s in said)
    assert search((1,), "all").fit(x).table_["covariance_type"].tolist() == list(STRUCTURES)


@pytest.mark.parametrize("given", ["auto", "all"])
def test_of_one_column_there_are_two_structures(given: str) -> None:
    found = search((1, 2), given).fit(load("faithful")[:, :1])
    assert found.table_["covariance_type"].tolist() == ["E", "E", "V", "V"]
    assert found.best_estimator_.covariances_.shape == (2, 1, 1)


def test_the_data_are_surveyed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    true = mixtura.fitting.survey
    monkeypatch.setattr(mixtura.fitting, "survey", lambda *args: calls.append(args) or true(*args))
    search((1, 2), ("full", "diag")).fit(load("faithful"))
    assert len(calls) == 1


def test_the_best_estimator_answers() -> None:
    x = load("faithful")
    found = search().fit(x)
    best = found.best_estimator_
    for method in ("predict", "predict_proba", "score_samples", "uncertainty", "score", "bic", "aic", "icl"):
        np.testing.assert_array_equal(getattr(found, method)(x), getattr(best, method)(x))
    assert found.n_parameters_ == best.n_parameters_
    assert found.mixture_ is best.mixture_
    np.testing.assert_array_equal(search().fit_predict(x), found.predict(x))


def test_weights_count_rows() -> None:
    x = load("faithful")
    weight = np.arange(len(x)) % 3
    a = search().fit(x, sample_weight=weight)
    b = search().fit(np.repeat(x, weight, axis=0))
    assert a.best_estimator_.n_components == b.best_estimator_.n_components
    # The same maximum from the same start; EM stops within 1e-7 nats a row of it.
    np.testing.assert_allclose(a.table_["bic"], b.table_["bic"], rtol=1e-6)
    np.testing.assert_allclose(a.table_["icl"], b.table_["icl"], rtol=1e-3)


# ---- fits that cannot be compared


def test_an_unsound_fit_does_not_win() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = search((1, 2, 3)).fit(collapsing())
    table = found.table_
    assert table["status"][2] == "degenerate"
    assert table["bic"].argmin() == 2, "the collapsed fit has the larger likelihood"
    assert found.best_estimator_.n_components == 2
    assert "larger_not_sound" in {f.kind for f in found.diagnose()}


def test_without_a_sound_fit_the_best_is_said_to_be_unsound() -> None:
    with pytest.warns(DegenerateWarning, match="not sound"):
        found = search((1, 2)).fit(np.ones((20, 2)))
    assert set(found.table_["status"]) == {"degenerate"}
    assert found.best_estimator_.status_ == "degenerate"


def test_what_fails_says_why_and_stops_nothing() -> None:
    x = load("faithful")[:40]
    found = search((1, 2, 50)).fit(x)
    table = found.table_
    assert table["status"][2] == "failed"
    assert all(math.isnan(table[name][2]) for name in ("loglik", "bic", "aic", "icl"))
    assert table["n_parameters"][2] == 49 + 100 + 150
    (failed,) = [f for f in found.diagnose() if f.kind == "not_fitted"]
    assert "full with 50 components" in failed.message
    assert "n_components = 50, n_samples = 40" in failed.message


def test_when_all_fail_nothing_is_changed() -> None:
    with pytest.raises(ValueError, match=r"None of the 2 models could be fitted.*n_components = 50"):
        search((50, 60)).fit(load("faithful")[:40])
    found = search((1, 2)).fit(load("faithful"))
    before = dict(vars(found))
    with pytest.raises(ValueError, match="None of the 2 models"):
        found.set_params(n_components=(50, 60)).fit(load("iris")[:40])
    assert {**vars(found), "n_components": (1, 2)} == before


def test_too_few_iterations_are_said() -> None:
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        found = search((3,), estimator=plain(max_iter=2)).fit(load("iris"))
    assert found.table_["status"].tolist() == ["max_iter"]


# ---- the rule, on made-up trials


def trial(value: float, k: int, parameters: int, status: str = "converged") -> Trial:
    """A trial whose BIC is ``value``, on 100 rows."""
    loglik = 0.5 * (parameters * math.log(100) - value)
    model = None if status == "failed" else object()
    return Trial(Cell("full", k), Figures(loglik, parameters, 100.0, 0.0), status, model)


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        ([trial(10.0, 1, 5), trial(9.0, 2, 11)], 1),
        # 2e-7 for each of 100 rows is 2e-5.
        ([trial(10.0, 2, 11), trial(10.00001, 1, 5)], 1),
        ([trial(10.0, 2, 11), trial(10.0001, 1, 5)], 0),
        ([trial(10.0, 3, 5), trial(10.0, 2, 5), trial(10.0, 2, 5)], 1),
        ([trial(1.0, 2, 11, "degenerate"), trial(10.0, 1, 5)], 1),
        ([trial(1.0, 2, 11, "degenerate"), trial(math.nan, 1, 5, "failed")], 0),
        ([trial(1.0, 2, 11, "max_iter"), trial(10.0, 1, 5)], 0),
    ],
)
def test_the_rule(trials: list[Trial], best: int) -> None:
    assert best_of(trials, "bic") == best


def test_the_largest_is_said_to_be_the_largest() -> None:
    up = [trial(10.0, 1, 5), trial(9.0, 2, 11)]
    assert [f.kind for f in findings(up, 1, [], "bic")] == ["largest_tried"]
    assert findings(up, 0, [], "bic") == []
    assert findings([trial(10.0, 4, 5)], 0, [], "bic") == []
    lost = [trial(10.0, 1, 5), trial(1.0, 2, 11, "degenerate")]
    assert [f.kind for f in findings(lost, 0, [], "bic")] == ["larger_not_sound"]
    (stopped,) = findings(up, 0, [Cell("full", 3)], "bic")
    assert "1 of 3 models were not tried" in stopped.message


# ---- Ctrl-C


def interrupting(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    true, calls = GaussianMixture._find, []

    def find(self: GaussianMixture, *args: Any) -> Any:
        calls.append(self)
        if len(calls) > after:
            raise KeyboardInterrupt
        return true(self, *args)

    monkeypatch.setattr(GaussianMixture, "_find", find)


def test_an_interrupt_keeps_what_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupting(monkeypatch, 2)
    found = search((1, 2, 3))
    with pytest.raises(KeyboardInterrupt):
        found.fit(load("faithful"))
    assert found.table_["n_components"].tolist() == [1, 2]
    assert found.best_estimator_.n_components == 2
    assert "1 of 3 models were not tried" in " ".join(map(str, found.diagnose()))


def test_an_early_interrupt_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = search((1, 2)).fit(load("faithful"))
    fresh, before = search((1, 2)), dict(vars(found))
    interrupting(monkeypatch, 0)
    for one in (found, fresh):
        with pytest.raises(KeyboardInterrupt):
            one.fit(load("iris"))
    assert vars(found) == before
    with pytest.raises(NotFittedError):
        fresh.predict(load("iris"))


# ---- parameters

WRONG = [
    ({"n_components": 0}, "n_components"),
    ({"n_components": ()}, "n_components"),
    ({"n_components": (1, 0)}, "n_components"),
    ({"n_components": (1, 2.5)}, "n_components"),
    ({"n_components": (True,)}, "n_components"),
    ({"n_components": "three"}, "n_components"),
    ({"n_components": None}, "n_components"),
    ({"n_components": range(5, 5)}, r"n_components=range\(5, 5\) cannot be searched: give positive integers"),
    ({"n_components": range(5, 3)}, "cannot be searched: give positive integers, such as range"),
    ({"n_components": [[1, 2]]}, "cannot be searched"),
    ({"n_components": (1, math.nan)}, "cannot be searched"),
    ({"n_components": "1:3"}, "n_components"),
    (
        {"covariance_types": ("full", "E")},
        "covariance_types: 'E' is for data of one column, but there are 2: use 'EII'",
    ),
    ({"covariance_types": "V"}, "covariance_types: 'V' is for data of one column, but there are 2: use 'VII'"),
    ({"covariance_types": ("auto", "full")}, "has 'auto' among others, but it stands for several by itself"),
    ({"covariance_types": (1, "full")}, "covariance_types: 1 is not a covariance structure; use one of"),
    ({"criterion": "nec"}, "criterion='nec' compares numbers of components of one structure"),
    ({"criterion": "nec", "covariance_types": ("full", "tied")}, "but covariance_types names 2: give one"),
    ({"n_components": 300}, "None of the 14 models could be fitted.*n_components = 300, n_samples = 272: use fewer"),
    ({"covariance_types": "square"}, "'square' is not a covariance structure"),
    ({"covariance_types": ("full", "square")}, "'square' is not a covariance structure"),
    ({"covariance_types": ()}, "covariance_types"),
    ({"covariance_types": 3}, "covariance_types"),
    ({"criterion": "dic"}, "criterion"),
    ({"estimator": KMeans()}, "estimator"),
    ({"estimator": GaussianMixture(tol=-1.0)}, "tol"),
    ({"estimator": GaussianMixture(means_init=[[0.0, 0.0]])}, "estimator sets means_init"),
    ({"random_state": "one"}, "random_state"),
]


@pytest.mark.parametrize(("params", "message"), WRONG)
def test_wrong_parameters(params: dict[str, Any], message: str) -> None:
    found = MixtureSearch(**params)
    with pytest.raises(ValueError, match=message):
        found.fit(load("faithful"))
    assert not hasattr(found, "n_features_in_")


def test_nothing_is_fitted_before_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GaussianMixture, "_find", lambda *_: pytest.fail("a model was fitted"))
    for params in ({"covariance_types": ("full", "E")}, {"criterion": "nec", "covariance_types": ("full", "tied")}):
        with pytest.raises(ValueError, match="covariance_types"):
            MixtureSearch((1, 2), **params).fit(load("faithful"))


@pytest.mark.parametrize("given", [("VVV", "VVV"), ("VVV", "full"), ["E", "V", "EII"]])
def test_two_names_of_one_structure_are_one(given: Any) -> None:
    x = load("faithful")
    x = x[:, :1] if "E" in given else x
    found = search((1,), given).fit(x)
    assert found.table_["covariance_type"].tolist() == (["E", "V"] if "E" in given else ["VVV"])


def test_more_components_than_distinct_rows_are_pointed_out() -> None:
    x = np.repeat(load("faithful")[:3], 20, axis=0)
    found = search((1, 5), ("tied_spherical", "full")).fit(x)
    assert found.best_estimator_.status_ == "converged"
    (said,) = [f for f in found.diagnose() if f.kind == "few_distinct_rows"]
    assert said.message == "The data have 3 distinct rows, fewer than 5 components; use fewer components."


@pytest.mark.parametrize("given", [2, np.int64(2), [2, 1, 2], np.array([1, 2]), range(1, 3)])
def test_numbers_of_every_kind(given: Any) -> None:
    want = [2] if isinstance(given, int | np.integer) else [1, 2]
    assert search(given).fit(load("faithful")).table_["n_components"].tolist() == want


def test_the_template_is_left_alone() -> None:
    template = plain(random_state=np.random.default_rng(3))
    before = template.get_params()
    found = MixtureSearch((1, 2), "full", estimator=template).fit(load("faithful"))
    assert template.get_params() == before
    assert not hasattr(template, "mixture_")
    assert found.best_estimator_.init_params == "kmeans"
    assert found.seed_ == int(np.random.default_rng(3).integers(2**32))
    assert MixtureSearch((1,), "full", estimator=plain(random_state=5), random_state=7).fit(load("iris")).seed_ == 7


def test_the_seed_repeats_the_search() -> None:
    x = load("iris")
    a = MixtureSearch((2, 3), "full", estimator=plain(init_params="random_from_data")).fit(x)
    b = clone(a).set_params(random_state=a.seed_).fit(x)
    for name, column in a.table_.items():
        np.testing.assert_array_equal(column, b.table_[name])
    assert clone(a).fit(x).seed_ != a.seed_


# ---- data


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_tensors_in_tensors_out(dtype: torch.dtype) -> None:
    x = torch.tensor(load("faithful"), dtype=dtype)
    found = search((1, 2)).fit(x)
    assert found.best_estimator_.n_components == 2
    assert found.score_samples(x).dtype == dtype
    assert found.sample(3)[0].dtype == dtype
    assert isinstance(found.predict(x), torch.Tensor)
    assert isinstance(found.table_["bic"], np.ndarray)


def test_names_of_columns() -> None:
    frame = pd.DataFrame(load("faithful"), columns=["eruptions", "waiting"])
    found = search((1, 2)).fit(frame)
    for model in (found, found.best_estimator_):
        assert model.feature_names_in_.tolist() == ["eruptions", "waiting"]
        assert model.n_features_in_ == 2
    with pytest.raises(ValueError, match="same order"):
        found.predict(frame[["waiting", "eruptions"]])
    with pytest.raises(ValueError, match="MixtureSearch is expecting 2 features"):
        found.predict(load("iris"))


def test_draws() -> None:
    x = load("faithful")
    seeded, free = search((2,)).fit(x), search((2,), random_state=None).fit(x)
    np.testing.assert_array_equal(seeded.sample(5)[0], seeded.sample(5)[0])
    assert not np.array_equal(free.sample(5)[0], free.sample(5)[0])
    of_template = search((2,), random_state=None, estimator=plain(random_state=3)).fit(x)
    np.testing.assert_array_equal(of_template.sample(5)[0], of_template.sample(5)[0])
    np.testing.assert_array_equal(seeded.sample(5, 1)[0], seeded.best_estimator_.sample(5, 1)[0])


def test_to_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    found = search().fit(load("faithful"))
    frame = found.to_frame()
    assert list(frame.columns) == list(found.table_)
    assert frame["bic"].idxmin() == found.best_index_
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pandas"):
        found.to_frame()


# ---- scikit-learn


@parametrize_with_checks([search((1, 2), "tied"), MixtureSearch(1, "spherical")])
def test_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_parameters_reach_the_template() -> None:
    found = search().set_params(estimator__tol=1e-3, criterion="aic")
    assert found.get_params()["estimator__tol"] == 1e-3
    again = clone(found)
    assert again.get_params(deep=False).keys() == found.get_params(deep=False).keys()
    assert again.estimator is not found.estimator
    assert repr(MixtureSearch((1, 2), "tied")) == "MixtureSearch(covariance_types='tied', n_components=(1, 2))"


def test_pickle_changes_no_bit() -> None:
    x = load("faithful")
    found = search().fit(x)
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.predict_proba(x), found.predict_proba(x))
    assert again.diagnose() == found.diagnose()
    assert again.summary() == found.summary()


@pytest.mark.parametrize("method", ["predict", "sample", "diagnose", "summary", "to_frame", "plot", "save"])
def test_it_must_be_fitted(method: str) -> None:
    arguments = [load("iris")] if method == "predict" else ["model"] if method == "save" else []
    with pytest.raises(NotFittedError):
        getattr(search(), method)(*arguments)


# ---- pictures and files


def test_plot() -> None:
    pytest.importorskip("matplotlib", reason="SKIPPED: matplotlib is not installed")
    found = search((1, 2, 3), ("full", "tied")).fit(load("faithful"))
    ax = found.plot()
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 3]
    drawn = np.sort(np.concatenate([line.get_ydata() for line in lines]))
    np.testing.assert_array_equal(drawn, np.sort(found.table_["bic"]))


def test_save(tmp_path: Path) -> None:
    x = load("faithful")
    found = search((1, 2)).fit(x)
    found.save(tmp_path / "best.safetensors")
    again = mixtura.load(tmp_path / "best.safetensors")
    np.testing.assert_array_equal(again.predict_proba(x), found.predict_proba(x))


def test_a_larger_model_that_is_less_likely_is_pointed_out():
    from mixtura.cells import fallen

    columns = {
        "covariance_type": np.array(["full"] * 4 + ["tied"]),
        "n_components": np.array([1, 2, 3, 4, 2]),
        "loglik": np.array([-100.0, -50.0, -60.0, -40.0, -300.0]),
        "status": np.array(["converged", "converged", "converged", "degenerate", "converged"]),
    }
    (said,) = fallen(columns)
    assert said.startswith("The full fit with 3 components is less likely than that with 2")
    assert fallen({**columns, "loglik": np.array([-100.0, -50.0, -50.3, -40.0, -300.0])}) == []


@pytest.mark.parametrize("criterion", sorted(NAMES))
def test_sources_are_searched_as_arrays_are(criterion: str, tmp_path: Path) -> None:
    """From a file, block by block: the same table to the last bit, for every criterion."""
    draw = np.random.default_rng(0)
    x = np.concatenate([draw.normal(centre, 1, (60, 2)) for centre in (0, 6)])
    np.save(tmp_path / "x.npy", x)
    template = GaussianMixture(effort="quick")
    tables = [
        MixtureSearch((1, 2, 3), "full", criterion, estimator=template, random_state=0).fit(rows).table_
        for rows in (x, scan(tmp_path / "x.npy"))
    ]
    assert criterion in tables[0]
    for name, column in tables[0].items():
        np.testing.assert_array_equal(column, tables[1][name])
