"""What nearly won: which models these are, how they differ from the best, and that every view of a search says so."""

import json
import warnings
from itertools import permutations

import numpy as np
import pytest
from comparison.sets import load

import mixtura
from mixtura import GaussianMixture, MixtureSearch
from mixtura.apps import describe, report, words
from mixtura.apps.report import Fitted, choosing, references
from mixtura.apps.report.blocks import Picture, Table
from mixtura.apps.report.figures import share
from mixtura.apps.summary import plain
from mixtura.criteria import CRITERIA, P_VALUES, named
from mixtura.further import FURTHER
from mixtura.otherwise import MOST, rivals


def searched(x, k, names, criterion="bic", weight=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        template = GaussianMixture(effort="quick")
        return MixtureSearch(k, names, criterion, estimator=template, random_state=0).fit(x, sample_weight=weight)


def columns(values, *, sizes=None, status=None, parameters=None):
    count = len(values)
    return {
        "covariance_type": np.array(["full"] * count),
        "n_components": np.array(sizes or range(2, count + 2)),
        "n_parameters": np.array(parameters or range(count)),
        "status": np.array(status or ["converged"] * count),
        "bic": np.array(values, dtype=float),
        "nec": np.array(values, dtype=float),
    }


# ---- which


def test_rivals_are_sound_and_within_reach():
    status = ["converged", "degenerate", "max_iter", "converged", "failed", "converged"]
    table = columns([0.0, -50.0, 9.9, 3.0, np.nan, 10.1], status=status)
    assert rivals(table, 0, "bic") == [3, 2]
    assert rivals(table, 1, "bic") == [], "beside a best model that is not sound nothing can be compared"


def test_at_most_a_few_rivals():
    assert rivals(columns([0.0, *np.linspace(1, 9, 8)]), 0, "bic") == list(range(1, MOST + 1))
    assert rivals(columns([0.1, 0.9, 0.5, 0.7]), 0, "nec") == [2, 3], "a ratio has no reach: the next two"


def test_other_names_of_one_component_are_no_rivals():
    table = columns([0.0, 0.0, 3.0, 5.0], sizes=[1, 1, 1, 2], parameters=[5, 5, 4, 11])
    assert rivals(table, 0, "bic") == [2, 3]


# ---- how many rows


def moved(one, other, weight):
    """By trying every pairing of the labels."""
    k = max(one.max(), other.max()) + 1
    same = max(sum(weight[one == a][other[one == a] == p[a]].sum() for a in range(k)) for p in permutations(range(k)))
    return 1 - same / weight.sum()


@pytest.mark.parametrize("weighted", [False, True])
def test_rows_labelled_otherwise_are_those_of_the_models_themselves(weighted):
    x = load("faithful")
    weight = np.random.default_rng(0).uniform(0.9, 1.1, len(x)) if weighted else np.ones(len(x))
    given = weight if weighted else None
    found = searched(x, (2, 3), ["full", "tied"], weight=given)
    kept = found.best_estimator_.selection_["table"]
    beside = rivals(found.table_, found.best_index_, "bic")
    compared = 0
    for i in range(4):
        if i not in beside:
            assert np.isnan(kept["otherwise"][i])
            continue
        alone = searched(x, (kept["n_components"][i],), kept["covariance_type"][i], weight=given)
        # The search may have gone on from a neighbour: only the same optimum has the same labels, of which rows in
        # doubt may change with what quick fits leave to gain.
        if alone.table_["loglik"][0] == pytest.approx(kept["loglik"][i], abs=1e-2):
            compared += 1
            assert kept["otherwise"][i] == pytest.approx(moved(found.predict(x), alone.predict(x), weight), abs=0.01)
    assert compared
    assert "otherwise" not in found.table_


# ---- where it is said


@pytest.fixture(scope="module")
def iris():
    return searched(load("iris"), (1, 2, 3), ["VEV", "full"])


def test_the_summary_says_how_they_differ(iris):
    part = iris.best_estimator_.selection_["table"]["otherwise"][2]
    line = f"VEV with 3: 1 component more; {100 * part:.2g} % of the rows labelled otherwise."
    assert line in iris.summary().splitlines()
    assert line in iris._repr_html_()


def test_a_saved_model_says_the_same_as_its_search(iris, tmp_path):
    iris.save(tmp_path / "m.safetensors")
    model, told = describe.loaded(tmp_path / "m.safetensors")
    said = describe.text(model, told)
    want = words.describe_choice(words.choice(iris))
    assert "\n".join(want) in said
    assert words.describe_choice(words.Choice.read(json.loads(json.dumps(plain(told["selection"]))))) == want


def test_the_report_sets_them_beside_the_best(iris):
    x, model = load("iris"), iris.best_estimator_
    fit = Fitted("Iris", model, {"selection": plain(model.selection_)}, x, model.predict(x), len(x))
    blocks = list(choosing.choice(fit))
    (table,) = [block for block in blocks if isinstance(block, Table) and block.caption.startswith("What nearly won")]
    part, above = iris.table_["bic"][2] - iris.table_["bic"][1], model.selection_["table"]["otherwise"][2]
    want = ["VEV with 3", "1 component more", f"{part:.2f}", share(above, 1)]
    assert [[cell.text for cell in row] for row in table.body] == [want]
    (picture,) = [block for block in blocks if isinstance(block, Picture)]
    assert f"2: {iris.table_['bic'][1]:.2f}" in picture.alt


@pytest.mark.parametrize("criterion", sorted({*CRITERIA, *FURTHER}))
def test_every_criterion_is_explained(criterion, iris):
    """On the page in words, in the methods with its publication."""
    table = {**iris.best_estimator_.selection_["table"], criterion: [3.0, 1.0, 2.0, 4.0, 5.0, 6.0]}
    told = {"selection": plain({"criterion": criterion, "best": 1, "table": table})}
    x, model = load("iris"), iris.best_estimator_
    said = [b.text for b in choosing.choice(Fitted("", model, told, x, model.predict(x), len(x))) if hasattr(b, "text")]
    assert any(text.startswith(f"The {named(criterion)} ") for text in said)
    reference, definition = references.CRITERIA[criterion]
    by = "by" if criterion in P_VALUES else "by the lowest"
    assert f"{by} {definition} ({reference.short})" in report.methods(model, told)


def test_structures_are_told_apart_in_words():
    table = columns([0.0, 1.0], sizes=[3, 2])
    table["covariance_type"] = np.array(["full", "tied"])
    (said,) = words.differences(words.Choice("bic", 0, table))
    assert said == "tied with 2: 1 component less; all components share one covariance matrix."
    table["otherwise"] = np.array([np.nan, 0.0])
    (said,) = words.differences(words.Choice("bic", 0, table))
    assert said.endswith("matrix; every row labelled alike.")


def test_a_ratio_is_told_as_a_ratio():
    found = words.Choice("nec", 0, columns([0.0312, 0.9, 0.512]))
    assert words.close(found) == "Next to the best come full with 4 (0.512) and full with 3 (0.9)."
    assert words.close(words.Choice("nec", 0, columns([0.5]))) == "No other model can be compared."


@pytest.mark.parametrize(("criterion", "icl"), [("bic", True), ("icl", False)])
def test_at_the_edge_there_is_something_to_try(criterion, icl, tmp_path):
    """The advice stands in the search's words and findings, and in what its saved model says."""
    found = searched(load("iris"), (1, 2), "full", criterion)
    (finding,) = [f for f in found.diagnose() if f.kind == "largest_tried"]
    assert finding.message.startswith("The best number of components, 2, is the largest that was tried: try more")
    assert "merge components that overlap" in finding.message
    assert ("choose by ICL" in finding.message) == icl
    assert finding.message in found.summary()
    found.save(tmp_path / "m.safetensors")
    assert finding.message in describe.text(*describe.loaded(tmp_path / "m.safetensors"))


def test_models_of_earlier_versions_say_what_their_table_tells(iris):
    told = {**words.choice(iris).told()}
    del told["findings"], told["table"]["otherwise"]
    found = words.Choice.read({**told, "best": 2})
    assert found.largest
    assert any("is the largest that was tried" in line for line in words.describe_choice(found))
    assert not any("labelled otherwise" in line for line in words.describe_choice(found))


def test_what_was_not_fitted_is_kept_with_the_model(tmp_path):
    found = searched(load("iris")[:40], (1, 50), "full")
    found.save(tmp_path / "m.safetensors")
    model = mixtura.load(tmp_path / "m.safetensors")
    assert "not_fitted" in {finding["kind"] for finding in model.selection_["findings"]}
    assert "Not fitted: full with 50 components." in describe.text(*describe.loaded(tmp_path / "m.safetensors"))
