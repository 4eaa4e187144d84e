"""Clusters of components in the command: what fit merges, the saved model remembers, and reports show."""

import json
import re
from importlib.resources import files

import jsonschema
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import mixtura
from mixtura import GaussianMixture, merge, plot
from mixtura.apps import cli
from mixtura.apps.clusters import Clusters, listed
from mixtura.apps.plot.canvas import noted
from mixtura.data.scan import scan

SCHEMA = json.loads(files("mixtura.apps").joinpath("summary.schema.json").read_text(encoding="utf-8"))

draw = np.random.default_rng(0)
ANGLE = draw.uniform(0, np.pi, 150)
# Half a ring, which takes several Gaussians, and a ball apart from it.
X = np.concatenate([np.stack([4 * np.cos(ANGLE), 4 * np.sin(ANGLE)], 1), [0, -9] + 0.3 * draw.normal(size=(50, 2))])
X += 0.15 * draw.normal(size=X.shape)
FRAME = pd.DataFrame({"left": X[:, 0], "right": X[:, 1]})


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A table, and what ``fit --merge 2`` wrote for it."""
    place = tmp_path_factory.mktemp("merge")
    FRAME.assign(cluster=[f"r{i}" for i in range(200)]).to_csv(place / "ring.csv", index=False)
    options = ["--id", "cluster", "-k", "4:5", "--effort", "quick", "--quiet", "--json", "-o", place / "out"]
    assert run("fit", place / "ring.csv", *options, "--merge", 2) == 0
    return place


@pytest.fixture(scope="module")
def model(done):
    return mixtura.load(done / "out" / "model.safetensors")


@pytest.fixture(scope="module")
def told(done):
    return json.loads((done / "out" / "summary.json").read_text())


def test_clusters_of_rows_are_those_of_merge(done, model):
    want = merge(model, FRAME)
    labels = pq.read_table(done / "out" / "labels.parquet").to_pandas()
    # A column of the table that is called like a result gets another name.
    assert list(labels)[:4] == ["id_cluster", "label", "cluster", "posterior_0"]
    np.testing.assert_array_equal(labels["label"], model.predict(FRAME))
    np.testing.assert_array_equal(labels["cluster"], want.predict(FRAME, 2))
    assert (labels["cluster"] == np.repeat([0, 1], [150, 50])).all()


def test_the_summary_tells_of_them(told, model):
    jsonschema.validate(told, SCHEMA)
    want = merge(model, FRAME)
    found = told["merging"]
    assert found["components"] == want.components(2).tolist()
    assert found["bend"] == want.n_clusters_
    # The same sums over the same rows, read from a text in full.
    np.testing.assert_allclose(found["entropy"], want.entropy_, rtol=1e-9, atol=1e-9)
    assert found["counts"] == [150, 50]
    assert found["doubt"]["rows"] == 200
    assert found["doubt"]["above"]["0.05"] == 0 < told["doubt"]["above"]["0.05"]


def test_the_saved_model_remembers(done, model, capsys):
    assert run("predict", done / "out" / "model.safetensors", done / "ring.csv", "-o", done / "p.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out)["merging"]["counts"] == [150, 50]
    assert pd.read_csv(done / "p.csv")["cluster"].value_counts().tolist() == [150, 50]
    assert run("describe", done / "out" / "model.safetensors") == 0
    said = capsys.readouterr().out
    k = model.n_components
    assert re.search(rf"{k} components make 2 clusters, merged by entropy(,| up to)", said)
    alone = listed([j for j, c in enumerate(model.merging_["components"]) if c == 1])
    assert re.search(rf"^ +1 +{alone} +0\.25", said, re.MULTILINE)
    assert run("describe", done / "out" / "model.safetensors", "--methods") == 0
    assert "merged into 2 clusters" in capsys.readouterr().out


def test_without_merging_nothing_is_said_of_clusters(done, capsys):
    options = ["--columns", "left,right", "-k", 3, "--effort", "quick", "--labels-format", "csv", "-o", done / "plain"]
    assert run("fit", done / "ring.csv", *options) == 0
    assert "merged by entropy" not in capsys.readouterr().out
    assert "cluster" not in pd.read_csv(done / "plain" / "labels.csv").columns
    assert json.loads((done / "plain" / "summary.json").read_text())["merging"] is None
    assert "Merged" not in (done / "plain" / "report.html").read_text(encoding="utf-8")


def test_auto_is_where_the_entropy_bends(done, capsys):
    options = ["--columns", "left,right", "-k", 5, "--effort", "quick", "--merge", "auto", "--json"]
    assert run("fit", done / "ring.csv", *options) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)["merging"]
    assert max(found["components"]) + 1 == found["bend"]
    assert "merged by entropy up to where it bends" in captured.err


def test_more_clusters_than_were_chosen_components(done, capsys):
    """The search may choose fewer: then its components stay as they are, with a word."""
    ball = FRAME.iloc[150:]
    ball.to_csv(done / "ball.csv", index=False)
    assert run("fit", done / "ball.csv", "-k", "1:4", "--merge", 4, "--effort", "quick", "--json") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    k = found["n_components"]
    assert k < 4
    assert found["merging"]["components"] == list(range(k))
    assert f"4 clusters were asked for, but there are {k} components: none is merged" in captured.err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--merge", "0"], "'0' was given, expected auto or a whole number from 1"),
        (["--merge", "two"], "'two' was given, expected auto"),
        (["--merge"], "--merge"),
        (["-k", "2:3", "--merge", "4"], "--merge 4 asks for more clusters than there are components, at most 3"),
    ],
)
def test_wrong_usage(done, given, said, capsys):
    assert run("fit", done / "ring.csv", "--columns", "left,right", *given) == 2
    assert said in capsys.readouterr().err


# ---- the report


def test_the_report_shows_what_was_merged(done, model):
    page = (done / "out" / "report.html").read_text(encoding="utf-8")
    k = model.n_components
    assert f"The {k} clusters make 2 merged clusters" in page
    assert "Merged where they overlap, they make 2." in page
    assert "Baudry J-P" in page
    alt = re.search(r'alt="Entropy of the rows in nats by number of clusters: ([^"]*)"', page)
    assert alt is not None
    assert f"2: {merge(model, FRAME).entropy_[1]:.1f}" in alt[1]
    assert "by merged cluster, of which 0: 75 %, 1: 25 %" in page.replace("\xa0", " ")


def test_a_report_merges_by_its_own_rows(done, tmp_path, capsys):
    fresh = tmp_path / "plain.safetensors"
    GaussianMixture(3, effort="quick", random_state=0).fit(FRAME).save(fresh)
    FRAME.to_csv(tmp_path / "two.csv", index=False)
    assert run("report", fresh, tmp_path / "two.csv", "-o", tmp_path / "r.html", "--merge", 2, "--json") == 0
    assert max(json.loads(capsys.readouterr().out)["merging"]["components"]) == 1
    assert "The 3 clusters make 2 merged clusters" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert not hasattr(mixtura.load(fresh), "merging_"), "the model is left alone"


def test_one_component_has_nothing_to_merge(done, capsys):
    options = ["--columns", "left,right", "-k", 1, "--merge", "auto", "-o", done / "one", "--quiet"]
    assert run("fit", done / "ring.csv", *options) == 0
    assert "1 component makes 1 cluster:" in capsys.readouterr().out
    assert "Merged clusters" not in (done / "one" / "report.html").read_text(encoding="utf-8")


# ---- what is kept


def test_a_source_gives_the_same(done, model):
    source = scan(done / "ring.csv", columns=["left", "right"])
    np.testing.assert_allclose(model.merging_["entropy"], merge(model, source).entropy_, rtol=1e-9, atol=1e-9)


def test_other_numbers_of_the_components_keep_their_clusters(model, tmp_path):
    model.save(tmp_path / "m.safetensors")
    other = mixtura.load(tmp_path / "m.safetensors")
    turned = GaussianMixture.from_parameters(
        model.weights_[::-1].copy(), model.means_[::-1].copy(), model.covariances_[::-1].copy()
    )
    other.relabel(like=turned)
    np.testing.assert_array_equal(other.means_, model.means_[::-1])
    assert other.merging_["components"] == model.merging_["components"][::-1]
    other.fit(FRAME)
    assert not hasattr(other, "merging_"), "it was said of another fit"
    assert not hasattr(other, "selection_")


@pytest.mark.parametrize("change", [{"components": [0, 2, 2]}, {"components": [0, 0]}, {"bend": 9}, {"entropy": [0.0]}])
def test_clusters_of_another_model_are_refused(change):
    told = {"components": [0, 1, 1], "entropy": [0.0, 1.0, 2.0], "bend": 2}
    assert Clusters.read(told, 3).members == [[0], [1, 2]]
    with pytest.raises(ValueError, match="which are not those of 3 components"):
        Clusters.read({**told, **change}, 3)


def test_components_in_words():
    found = [listed(parts) for parts in ([3], [1, 2], [0, 1, 2, 3], [0, 2, 3])]
    assert found == ["3", "1 and 2", "0 to 3", "0, 2 and 3"]


def test_the_picture_marks_the_number_that_is_used(model):
    merged = merge(model, FRAME)
    ax = plot.merging(merged, n_clusters=1)
    (star,) = [line for line in ax.lines if line.get_gid() == "chosen"]
    assert star.get_xdata()[0] == 1
    assert noted(ax).endswith("1 used")
    with pytest.raises(ValueError, match=r"n_clusters=9 cannot be made of . components: give 1 to"):
        plot.merging(merged, n_clusters=9)
