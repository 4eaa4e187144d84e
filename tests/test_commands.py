"""The commands after a fit: predict, sample, describe and report, from every kind of file to an answer."""

import json
import re
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import mixtura
from mixtura.apps import cli
from mixtura.data.scan import scan

draw = np.random.default_rng(0)
X = np.concatenate([draw.normal(0, 1, (80, 2)), draw.normal(8, 1, (40, 2))])
FRAME = pd.DataFrame({"cell": [f"c{i}" for i in range(120)], "left": X[:, 0], "right": X[:, 1], "kind": "x"})
SCHEMA = json.loads(files("mixtura.apps").joinpath("summary.schema.json").read_text(encoding="utf-8"))


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A table and what ``fit`` wrote for it, sizes chosen by BIC."""
    place = tmp_path_factory.mktemp("fit")
    FRAME.to_csv(place / "cells.csv", index=False)
    options = ["--columns", "left,right", "--id", "cell", "-k", "1:3", "--effort", "quick", "--quiet"]
    assert run("fit", place / "cells.csv", "-o", place / "out", *options) == 0
    return place


@pytest.fixture
def place(done, tmp_path, monkeypatch):
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- fit


@pytest.mark.parametrize("criterion", ["icl", "cv", "nec"])
def test_fit_chooses_by_other_criteria(criterion, place, capsys):
    options = ["--columns", "left,right", "--id", "cell", "-k", "1:3", "--effort", "quick", "--criterion", criterion]
    assert run("fit", place / "cells.csv", "-o", place / "other", *options) == 0
    assert criterion.upper() in capsys.readouterr().out
    told = json.loads((place / "other" / "summary.json").read_text())
    assert told["selection"]["criterion"] == criterion
    assert np.argmin(told["selection"]["table"][criterion]) == told["selection"]["best"] == 1
    assert criterion.upper() in (place / "other" / "report.html").read_text()
    assert run("report", place / "other" / "model.safetensors", place / "cells.csv", "-o", place / "again.html") == 0


def test_fit_writes_model_labels_summary_and_report(done):
    names = sorted(p.name for p in (done / "out").iterdir())
    assert names == ["labels.parquet", "model.safetensors", "report.html", "summary.json"]
    told = json.loads((done / "out" / "summary.json").read_text())
    assert (told["n_components"], told["selection"]["criterion"]) == (2, "bic")
    assert told["selection"]["table"]["n_components"] == [1, 2, 3]
    assert np.argmin(told["selection"]["table"]["bic"]) == told["selection"]["best"] == 1
    model = mixtura.load(done / "out" / "model.safetensors")
    labels = pq.read_table(done / "out" / "labels.parquet").to_pydict()
    assert labels["label"] == model.predict(FRAME[["left", "right"]]).tolist()
    assert model.selection_["table"]["bic"] == told["selection"]["table"]["bic"]


def test_the_summary_follows_its_schema(done, place, capsys):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads((done / "out" / "summary.json").read_text()), SCHEMA)
    assert run("fit", "cells.csv", "--columns", "left", "-k", "2", "--covariance", "tied", "--json", "--quiet") == 0
    told = json.loads(capsys.readouterr().out)
    jsonschema.validate(told, SCHEMA)
    assert set(told) <= set(SCHEMA["properties"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**told, "rows": "many"}, SCHEMA)


def test_the_largest_size_is_said(place, capsys):
    assert run("fit", "cells.csv", "--columns", "left,right", "-k", "1:2", "--effort", "quick") == 0
    assert "is the largest that was tried" in capsys.readouterr().err


def test_several_structures_compete(place, capsys):
    options = ["-k", "1,2", "--covariance", "full,tied_spherical", "--effort", "quick", "--json", "--quiet"]
    assert run("fit", "cells.csv", "--columns", "left,right", *options) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["selection"]["table"]["covariance_type"]) == {"full", "tied_spherical"}
    assert told["covariance_type"] == "tied_spherical"


@pytest.mark.parametrize("name", ["cells.csv", "cells.tsv", "cells.parquet", "cells.feather", "cells.npy", "cells.fcs"])
def test_from_any_file_to_a_report(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    numbers = FRAME[["left", "right"]]
    if name.endswith("fcs"):
        flowio = pytest.importorskip("flowio", reason="SKIPPED: flowio is not installed")
        with Path(name).open("wb") as stream:
            flowio.create_fcs(stream, X.ravel(), ["left", "right"])
    else:
        {
            "csv": lambda: numbers.to_csv(name, index=False),
            "tsv": lambda: numbers.to_csv(name, index=False, sep="\t"),
            "parquet": lambda: numbers.to_parquet(name),
            "feather": lambda: numbers.to_feather(name),
            "npy": lambda: np.save(name, X),
        }[name.split(".")[1]]()
    assert run("fit", name, "-k", 2, "--effort", "quick", "-o", "out", "--quiet") == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert name in page
    assert bool(re.search(r">\s*left\s*<", page)) == (not name.endswith("npy"))
    told = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert sorted(told["counts"]) == [40, 80]
    assert run("predict", "out/model.safetensors", name, "-o", "again.parquet", "--quiet") == 0
    again, first = pq.read_table("again.parquet"), pq.read_table("out/labels.parquet")
    assert again.equals(first)
    capsys.readouterr()


def test_rows_with_gaps(place, capsys):
    holes = FRAME.copy()
    holes.loc[::7, "left"] = np.nan
    holes.to_csv("holes.csv", index=False)
    options = ["--columns", "left,right", "--id", "cell", "-k", 2, "--missing", "em", "-o", "gaps", "--quiet"]
    assert run("fit", "holes.csv", *options) == 0
    assert "missing at random (Little &amp; Rubin 2002)" in (place / "gaps" / "report.html").read_text(encoding="utf-8")
    labels = pq.read_table("gaps/labels.parquet").to_pandas()
    assert len(labels) == 120
    # Those that lack one value are told apart by the other.
    assert (labels["label"].to_numpy() == (np.arange(120) >= 80)).all()
    assert run("predict", "gaps/model.safetensors", "holes.csv", "-o", "p.parquet", "--id", "cell") == 0
    pd.testing.assert_frame_equal(pq.read_table("p.parquet").to_pandas(), labels)
    jsonschema.validate(json.loads((place / "gaps" / "summary.json").read_text()), SCHEMA)


# ---- remarks


def test_columns_that_deserve_a_word_are_named(tmp_path, capsys):
    generator = np.random.default_rng(0)
    table = pd.DataFrame({"small": generator.normal(size=200), "huge": 1e6 * generator.normal(size=200)})
    table["amount"] = np.exp(2 * generator.normal(size=200))
    table.to_csv(tmp_path / "t.csv", index=False)
    assert run("fit", tmp_path / "t.csv", "-k", 1) == 0
    said = capsys.readouterr().err
    assert "warning: The columns' spreads lie far apart: 'huge'" in said
    assert "warning: 'amount' looks logarithmic" in said
    assert "'small' looks" not in said
    table.assign(huge=2 * generator.normal(size=200)).drop(columns="amount").to_csv(tmp_path / "u.csv", index=False)
    assert run("fit", tmp_path / "u.csv", "-k", 1) == 0
    assert "warning" not in capsys.readouterr().err


# ---- predict


def test_predict_finds_columns_by_name(place, capsys):
    FRAME[["kind", "right", "cell", "left"]].to_parquet("other.parquet")
    assert run("predict", "out/model.safetensors", "other.parquet", "-o", "p.csv", "--id", "cell") == 0
    assert capsys.readouterr().out.startswith("120 rows labelled")
    got = pd.read_csv("p.csv")
    want = pq.read_table("out/labels.parquet").to_pandas()
    pd.testing.assert_frame_equal(got, want, check_dtype=False)


def test_predict_does_what_was_done_to_the_values(place, capsys):
    options = ["--columns", "left,right", "--transform", "asinh", "--cofactor", 2, "-k", 2, "--quiet"]
    assert run("fit", "cells.csv", "-o", "bent", "--no-report", *options) == 0
    assert run("predict", "bent/model.safetensors", "cells.csv", "-o", "p.parquet", "--json") == 0
    told = json.loads(capsys.readouterr().out.split("\n{", 1)[-1].join(["{", ""]))
    assert told["rows"] == 120
    model = mixtura.load("bent/model.safetensors")
    source = scan("cells.csv", columns=["left", "right"], transform="asinh", cofactor=2)
    np.testing.assert_array_equal(pq.read_table("p.parquet")["label"].to_numpy(), model.predict(source))
    assert told["mean_log_density"] == pytest.approx(model.score(source))
    assert sum(told["counts"]) == 120


PREDICT_BAD = [
    (["none.safetensors", "cells.csv", "-o", "p.csv"], 1, "none.safetensors is not there"),
    (["cells.csv", "cells.csv", "-o", "p.csv"], 1, "cells.csv is not a safetensors file"),
    (["out/model.safetensors", "none.csv", "-o", "p.csv"], 1, "there is no file none.csv"),
    (["out/model.safetensors", "bare.csv", "-o", "p.csv"], 2, "bare.csv has no column 'right'"),
    (["out/model.safetensors", "cells.csv", "-o", "p.xlsx"], 1, "expected .parquet or .csv"),
    (["out/model.safetensors", "cells.csv"], 2, "-o/--output"),
    (["out/model.safetensors", "gaps.csv", "-o", "p.csv"], 1, "NaN"),
    (["out/model.safetensors", "cells.csv", "-o", "cells.csv/p.csv"], 1, "cells.csv is a file"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), PREDICT_BAD, ids=[s for _, _, s in PREDICT_BAD])
def test_predict_of_bad_input(place, arguments, code, said, capsys):
    (place / "bare.csv").write_text("left\n1\n")
    (place / "gaps.csv").write_text("left,right\n1,2\n3,\n")
    (place / "p.csv").write_text("old")
    before = {p: p.read_bytes() for p in place.rglob("*") if p.is_file()}
    assert run("predict", *arguments) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert {p: p.read_bytes() for p in place.rglob("*") if p.is_file()} == before


# ---- sample


def test_sample_draws_in_the_units_of_the_data(place, capsys):
    options = ["--columns", "left,right", "--transform", "asinh", "--cofactor", 2, "-k", 2, "--quiet"]
    assert run("fit", "cells.csv", "-o", "bent", "--no-report", *options) == 0
    for name in ("a.csv", "b.csv"):
        assert run("sample", "bent/model.safetensors", "-n", 4000, "--seed", 3, "-o", name) == 0
    drawn = pd.read_csv("a.csv")
    assert list(drawn) == ["left", "right", "label"]
    assert len(drawn) == 4000
    pd.testing.assert_frame_equal(drawn, pd.read_csv("b.csv"))
    # A third of the rows lie around 8; four standard errors of the median.
    assert drawn["left"].groupby(drawn["label"]).median().max() == pytest.approx(8, abs=4 * 1.25 / np.sqrt(40))
    assert (drawn["left"] > 4).mean() == pytest.approx(1 / 3, abs=4 * np.sqrt(2 / 9 / 4000) + 0.02)


def test_sample_of_bad_input(place, capsys):
    assert run("sample", "out/model.safetensors", "-n", 0, "-o", "a.csv") == 2
    assert run("sample", "out/model.safetensors", "-o", "a.txt") == 1
    assert not (place / "a.csv").exists()


def test_inputs_are_never_written_over(place, capsys):
    FRAME[["left", "right"]].to_csv("two.csv", index=False)
    before = {p: p.read_bytes() for p in place.rglob("*") if p.is_file()}
    (place / "link.csv").symlink_to("two.csv")
    for output in ("two.csv", "./two.csv", "link.csv"):
        assert run("predict", "out/model.safetensors", "two.csv", "-o", output) == 1
        assert "would be written over" in capsys.readouterr().err
    shutil.copy("two.csv", "out/labels.csv")
    assert run("fit", "out/labels.csv", "-k", 2, "-o", "out", "--labels-format", "csv", "--quiet") == 1
    assert "would be written over" in capsys.readouterr().err
    (place / "link.csv").unlink()
    (place / "out" / "labels.csv").unlink()
    assert {p: p.read_bytes() for p in place.rglob("*") if p.is_file()} == before


def test_weighted_rows_are_told_of(place):
    FRAME.assign(w=2.0).to_csv("w.csv", index=False)
    options = ["--columns", "left,right", "--weight", "w", "-k", 2, "--effort", "quick", "--quiet"]
    assert run("fit", "w.csv", "-o", "w", *options) == 0
    page = (place / "w" / "report.html").read_text(encoding="utf-8")
    assert "fitted to 120 rows" in page
    assert "weighted by w (sum 240)" in page


# ---- describe and report


def test_describe_says_where_passes_are_not_compiled(place, capsys, monkeypatch):
    from mixtura.apps import describe
    from mixtura.native.library import Library

    monkeypatch.setattr(describe, "library", lambda: Library(None, "", "compiled passes: none here"))
    assert run("describe", "out/model.safetensors") == 0
    assert "counted on this machine by PyTorch's operations (compiled passes: none here)." in capsys.readouterr().out


def test_describe(place, capsys):
    assert run("describe", "out/model.safetensors") == 0
    said = capsys.readouterr().out
    assert re.search(r"component +weight +rows +left +right", said)
    assert "status converged" in said
    assert re.search(r"^0: low (left|right) \(.* sd\)", said, re.MULTILINE)
    assert "3 models by BIC" in said
    assert run("describe", "out/model.safetensors", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["columns"], told["n_components"]) == (["left", "right"], 2)


def test_methods_name_the_choice_and_the_seed(place, capsys):
    assert run("describe", "out/model.safetensors", "--methods") == 0
    said = capsys.readouterr().out
    assert "Bayesian information criterion" in said or "BIC" in said
    assert "Schwarz" in said
    assert mixtura.__version__ in said


def test_report_of_a_saved_model(place, capsys):
    assert run("report", "out/model.safetensors", "cells.csv", "-o", "r.html", "--credit", "Data: us") == 0
    page = (place / "r.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "Data: us" in page
    assert "120" in page
    assert run("report", "out/model.safetensors", "cells.csv", "-o", "r.txt") == 1
    assert "expected .html" in capsys.readouterr().err


def test_a_report_of_other_rows_keeps_the_criteria_of_the_fit(place, capsys):
    FRAME.iloc[:50].to_csv("few.csv", index=False)
    fitted = json.loads((place / "out" / "summary.json").read_text())
    assert run("report", "out/model.safetensors", "few.csv", "-o", "r.html", "--json", "--quiet") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["fitted_weight"], told["icl"]) == (50, 120, None)
    assert told["bic"] == fitted["bic"]
    assert "fitted to 120 rows" in (place / "r.html").read_text(encoding="utf-8")
    assert run("report", "out/model.safetensors", "cells.csv", "-o", "r.html", "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out)["icl"] == pytest.approx(fitted["icl"])


def test_a_report_of_given_parameters(place):
    model = mixtura.GaussianMixture.from_parameters([0.5, 0.5], [[0, 0], [8, 8]], 1.0, "tied_spherical")
    model.save("given.safetensors")
    FRAME[["left", "right"]].to_csv("two.csv", index=False)
    assert run("report", "given.safetensors", "two.csv", "-o", "r.html") == 0


def test_files_are_read_as_they_were(place):
    (place / "bars.csv").write_text("left|right\n" + "".join(f"{a}|{b}\n" for a, b in X.tolist()))
    assert run("fit", "bars.csv", "--separator", "|", "-k", 2, "-o", "b", "--no-report", "--quiet") == 0
    assert run("predict", "b/model.safetensors", "bars.csv", "--separator", "|", "-o", "p.csv") == 0
    assert run("report", "b/model.safetensors", "bars.csv", "--separator", "|", "-o", "r.html") == 0


def test_the_call_is_told_without_directories(place, capsys):
    options = ["--columns", "left,right", "-k", 2, "--credit", "see https://a.b/c", "--effort", "quick", "--json"]
    assert run("fit", place / "cells.csv", "--no-report", f"--output={place / 'x'}", *options, "--quiet") == 0
    call = json.loads(capsys.readouterr().out)["call"]
    assert call == (
        "mixtura fit cells.csv --no-report --columns left,right -k 2 --credit 'see https://a.b/c' --effort quick "
        "--json --quiet"
    )


def test_a_report_changes_with_its_data(place):
    one = (place / "out" / "report.html").read_text(encoding="utf-8")
    moved = FRAME.assign(left=np.where(np.arange(120) < 40, FRAME["left"] + 30, FRAME["left"]))
    moved.to_csv("moved.csv", index=False)
    options = ["--columns", "left,right", "-k", "1:4", "--effort", "quick", "--quiet"]
    assert run("fit", "moved.csv", "-o", "other", *options) == 0
    other = (place / "other" / "report.html").read_text(encoding="utf-8")
    sizes = [json.loads((place / d / "summary.json").read_text())["n_components"] for d in ("out", "other")]
    assert sizes == [2, 3]
    tables = [re.findall(r"<table.*?</table>", page, re.DOTALL) for page in (one, other)]
    assert tables[0]
    assert not set(tables[0]) & set(tables[1])


def test_a_column_called_script_is_harmless(tmp_path, capsys):
    evil = '<script>alert("x")</script>'
    FRAME.rename(columns={"left": evil, "right": "$\\alpha$"})[[evil, "$\\alpha$"]].to_csv(
        tmp_path / "e.csv", index=False
    )
    assert run("fit", tmp_path / "e.csv", "-k", 2, "--effort", "quick", "-o", tmp_path / "out", "--quiet") == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page.lower()
    assert "&lt;script&gt;" in page


def test_without_jinja_there_is_no_report_and_a_word(place, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["mixtura.apps.report.page"], "NEEDED", ("jinja2_that_is_absent",))
    assert run("fit", "cells.csv", "--columns", "left,right", "-k", 2, "--effort", "quick", "-o", "bare") == 0
    assert 'pip install "mixtura[report]"' in capsys.readouterr().err
    assert sorted(p.name for p in (place / "bare").iterdir()) == ["labels.parquet", "model.safetensors", "summary.json"]
    assert run("report", "out/model.safetensors", "cells.csv", "-o", "r.html") == 1
    assert 'pip install "mixtura[report]"' in capsys.readouterr().err


def test_a_disk_that_is_full_leaves_old_results(place, capsys, monkeypatch):
    """The labels meet a full disk in the middle of writing."""
    from mixtura.apps import columns

    before = {p: p.read_bytes() for p in place.rglob("*") if p.is_file()}

    def full(path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(columns, "_parquet", full)
    assert run("fit", "cells.csv", "--columns", "left,right", "-k", 2, "-o", "out", "--quiet") == 1
    assert "no space left on device" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in place.rglob("*") if p.is_file()} == before
