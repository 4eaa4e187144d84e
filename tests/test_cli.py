"""The command: what it writes and prints, and one clear sentence for everything that cannot be done."""

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mixtura
from mixtura import GaussianMixture
from mixtura.apps import cli, fit, labels, options, summary
from mixtura.apps.together import Together
from mixtura.covariance import STRUCTURES
from mixtura.native.library import library

EXAMPLES = Path(__file__).parents[1] / "examples" / "data"

draw = np.random.default_rng(0)
X = np.concatenate([draw.normal(0, 1, (60, 2)), draw.normal(7, 1, (40, 2))])


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "cells.csv"
    lines = [f"c{i},{a!r},{b!r},x" for i, (a, b) in enumerate(X.tolist())]
    path.write_text("\n".join(["cell,left,right,kind", *lines]) + "\n")
    return path


@pytest.fixture
def array(tmp_path):
    np.save(tmp_path / "x.npy", X)
    return tmp_path / "x.npy"


def run(*arguments):
    """Without a report, which takes longer than everything else: test_commands.py has those."""
    more = ["--no-report"] if "fit" in arguments[:1] and "-o" in arguments and "--no-report" not in arguments else []
    return cli.main([str(argument) for argument in [*arguments, *more]])


def fit_table(table, *more):
    return run("fit", table, "-k", 2, "--columns", "left,right", "--id", "cell", "--no-report", *more)


def snapshot(directory):
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def sentence(capsys):
    """What was said on stderr: one line, one sentence, no traceback."""
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.startswith("mixtura")]
    assert len(lines) == 1
    assert "Traceback" not in captured.err
    return lines[0]


# What is written


def test_labels_are_the_estimators(table, tmp_path):
    assert fit_table(table, "-o", tmp_path / "out") == 0
    model = GaussianMixture(2, random_state=0).fit(X)
    got = pq.read_table(tmp_path / "out" / "labels.parquet").to_pydict()
    assert list(got) == ["cell", "label", "posterior_0", "posterior_1", "uncertainty", "log_density"]
    assert got["cell"] == [f"c{i}" for i in range(100)]
    np.testing.assert_array_equal(got["label"], model.predict(X))
    posteriors = np.column_stack([got["posterior_0"], got["posterior_1"]])
    np.testing.assert_allclose(posteriors, model.predict_proba(X), atol=1e-12)
    np.testing.assert_allclose(posteriors.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(got["uncertainty"], model.uncertainty(X), atol=1e-12)
    np.testing.assert_allclose(got["log_density"], model.score_samples(X), rtol=1e-12)


def test_summary(table, tmp_path):
    fit_table(table, "-o", tmp_path / "out")
    told = json.loads((tmp_path / "out" / "summary.json").read_text())
    model = GaussianMixture(2, random_state=0).fit(X)
    assert told["format_version"] == 1
    assert set(told["versions"]) == {"mixtura", "torch", "numpy", "scikit-learn"}
    content = table.read_bytes()
    assert told["input"] == {
        "file": "cells.csv",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert (told["rows"], told["columns"], told["columns_left_out"]) == (100, ["left", "right"], ["kind"])
    assert (told["id"], told["steps"], told["seed"], told["device"]) == ("cell", [], 0, "cpu")
    assert told["threads"] >= 1
    assert told["counting"] == str(library())
    for key in ("weights", "means", "covariances", "loglik"):
        np.testing.assert_allclose(told[key], getattr(model, key + "_"), rtol=1e-10)
    for key in ("bic", "aic", "icl"):
        np.testing.assert_allclose(told[key], getattr(model, key)(X), rtol=1e-10)
    assert told["counts"] == np.bincount(model.predict(X)).tolist()
    assert (told["status"], told["converged"], told["n_iter"]) == ("converged", True, model.n_iter_)
    assert (told["n_parameters"], told["n_components"], told["covariance_type"]) == (11, 2, "full")
    assert told["findings"] == []
    assert len(told["starts"]) == len(model.starts_)
    assert str(tmp_path) not in json.dumps(told)


def test_csv_labels_of_an_array_need_no_pyarrow(array, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert run("fit", array, "-k", 2, "-o", tmp_path / "out", "--labels-format", "csv", "--transform", "asinh") == 0
    with (tmp_path / "out" / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["row"] for row in rows] == [str(i) for i in range(100)]
    model = GaussianMixture(2, random_state=0).fit(np.arcsinh(X / 150))
    assert [int(row["label"]) for row in rows] == model.predict(np.arcsinh(X / 150)).tolist()
    # Numbers are written in full: reading them gives the very same ones.
    np.testing.assert_allclose([float(row["log_density"]) for row in rows], model.score_samples(np.arcsinh(X / 150)))


def test_without_pyarrow_labels_become_csv(array, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(labels.importlib.util, "find_spec", lambda name: None)
    assert run("fit", array, "-k", 2, "-o", tmp_path / "out") == 0
    assert (tmp_path / "out" / "labels.csv").exists()
    capsys.readouterr()
    assert run("fit", array, "-k", 2, "-o", tmp_path / "other", "--labels-format", "parquet") == 1
    assert 'pip install "mixtura[table]"' in sentence(capsys)


def test_formats_and_chunks_agree(table, tmp_path, monkeypatch):
    fit_table(table, "-o", tmp_path / "a")
    monkeypatch.setattr(labels, "chunks", partial(labels.chunks, rows=7))
    fit_table(table, "-o", tmp_path / "b", "--labels-format", "csv")
    whole = pq.read_table(tmp_path / "a" / "labels.parquet").to_pylist()
    with (tmp_path / "b" / "labels.csv").open(newline="") as stream:
        parts = list(csv.DictReader(stream))
    assert len(parts) == len(whole)
    for part, row in zip(parts, whole, strict=True):
        assert (part["cell"], int(part["label"])) == (row["cell"], row["label"])
        assert float(part["log_density"]) == pytest.approx(row["log_density"], rel=1e-12)


def test_same_seed_same_files(table, tmp_path):
    for name in ("a", "b"):
        fit_table(table, "-o", tmp_path / name, "--seed", 7)
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b")
    assert json.loads((tmp_path / "a" / "summary.json").read_text())["seed"] == 7


@pytest.mark.parametrize("dtype", ["f8", "f4", "i4"])
def test_transform_is_recorded_and_done(tmp_path, dtype, capsys):
    x = (X * 1000).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    told = ("fit", tmp_path / "x.npy", "-k", 2, "--transform", "asinh", "--cofactor", 5, "--json", "--quiet")
    assert run(*told) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["steps"] == [{"name": "asinh", "cofactor": 5.0, "columns": ["0", "1"]}]
    model = GaussianMixture(2, random_state=0).fit(np.arcsinh(x / 5))
    # Two ways to take asinh in single precision differ in their last digits, so that a search may come another way to
    # the same optimum, which is flat to 1e-6 nats within 5e-3 of these means.
    np.testing.assert_allclose(summary["means"], model.means_, rtol=5e-3 if dtype == "f4" else 1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_every_structure(array, name, capsys):
    assert run("fit", array, "-k", 2, "--covariance", name, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["covariance_type"] == name
    model = GaussianMixture(2, covariance_type=name, random_state=0).fit(X)
    np.testing.assert_allclose(told["covariances"], model.covariances_, rtol=1e-10)


# What is printed


def test_table_on_stdout_and_notes_on_stderr(table, tmp_path, capsys):
    fit_table(table, "-o", tmp_path / "out")
    captured = capsys.readouterr()
    lines = captured.out.splitlines()[3:]  # the call, the shape, a blank line
    assert lines[0].split() == ["component", "weight", "rows", "left", "right"]
    assert [line.split()[2] for line in lines[1:3]] == ["60", "40"]
    assert re.search(r"log likelihood -?\d.*BIC \d.*status converged", captured.out)
    assert "reading cells.csv: 2 columns" in captured.err
    assert "labels.parquet" in captured.err


def test_quiet_and_json(table, tmp_path, capsys):
    assert fit_table(table, "-o", tmp_path / "out", "--json", "--quiet") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out) == json.loads((tmp_path / "out" / "summary.json").read_text())


def test_a_fit_that_is_not_sound_says_so(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.repeat(X[:3], 30, axis=0))
    assert run("fit", tmp_path / "x.npy", "-k", 3) == 0
    captured = capsys.readouterr()
    assert "status degenerate" in captured.out
    assert "warning: The fit is not sound" in captured.err


def test_findings_name_columns(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("left,flat,right\n" + "".join(f"{a},1,{b}\n" for a, b in X.tolist()))
    assert run("fit", tmp_path / "t.csv", "-k", 2) == 0
    assert "Column 'flat' is constant" in capsys.readouterr().out


def test_nothing_is_written_without_output(array, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("fit", array, "-k", 2) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


def test_identifiers_may_be_called_like_a_result(tmp_path):
    (tmp_path / "t.csv").write_text("label,a\n" + "".join(f"{i},{a}\n" for i, a in enumerate(X[:, 0].tolist())))
    assert run("fit", tmp_path / "t.csv", "-k", 2, "--id", "label", "-o", tmp_path / "out") == 0
    assert pq.read_table(tmp_path / "out" / "labels.parquet").column_names[:2] == ["id_label", "label"]


# What cannot be done

BAD = [
    (["none.csv", "-k", "2"], 1, "there is no file none.csv"),
    ([".", "-k", "2"], 1, "is a directory"),
    (["empty.csv", "-k", "2"], 1, "empty.csv is empty"),
    (["x.npy", "-k", "0"], 2, "expected whole numbers from 1"),
    (["x.npy", "-k", "two"], 2, "expected whole numbers"),
    (["x.npy", "-k", "5:2"], 2, "'5:2' holds no number, expected the smaller end first: 2:5"),
    (["x.npy", "-k", ""], 2, "expected whole numbers"),
    (["x.npy", "-k", "2,0"], 2, "expected whole numbers"),
    (["x.npy", "-k", "1:2", "--covariance", ""], 2, "--covariance '' was given: name structures"),
    (["x.npy", "-k", "1:2", "--covariance", "auto,full"], 2, "'auto,full' was given: name structures, or give auto or"),
    (
        ["x.npy", "-k", "1:2", "--covariance", "full,E"],
        1,
        "--covariance 'E' is for data of one column, but there are 2",
    ),
    (
        ["x.npy", "-k", "2", "--covariance", "V"],
        1,
        "--covariance 'V' is for data of one column, but there are 2: use 'V",
    ),
    (["x.npy", "-k", "1:2", "--criterion", "nec", "--covariance", "full,tied"], 2, "--criterion nec compares numbers"),
    (
        ["x.npy", "-k", "1:2", "--criterion", "nec", "--covariance", "all"],
        2,
        "name one with --covariance, such as full",
    ),
    (["x.npy", "-k", "1:2", "--criterion", "dic"], 2, "invalid choice"),
    (["x.npy", "-k", "200:201"], 1, "None of the 2 models could be fitted. full with 200 components"),
    (["x.npy", "-k", "101"], 1, "n_components = 101, n_samples = 100: use fewer components"),
    (["x.npy", "-k", "2", "--covariance", "round"], 2, "'round' is not a structure: use one of full, tied"),
    (["x.npy", "-k", "2", "--columns", "0,7"], 2, "no column '7'; it has '0', '1'"),
    (["cells.csv", "-k", "2", "--id", "name"], 2, "--id: cells.csv has no column 'name'"),
    (["cells.csv", "-k", "2"], 1, "not numeric: 'cell', 'kind'"),
    (["cells.csv", "-k", "2"], 1, "choose the numeric ones with --columns, or name the rows with --id"),
    (["cells.csv", "-k", "2", "--columns", "left,kind"], 1, "not numeric: 'kind'"),
    (["gaps.csv", "-k", "2"], 1, "or fit with --missing 'em'"),
    (["void.csv", "-k", "2", "--missing", "em"], 1, "no value in the columns 'b'"),
    (["gaps.csv", "-k", "2"], 1, "2 of 4 rows are affected (rows 0, 2; columns 'a', 'b')"),
    (["short.npy", "-k", "2"], 1, "not a complete .npy file"),
    (["short.parquet", "-k", "2"], 1, "short.parquet cannot be read as Parquet"),
    (["short.fcs", "-k", "2"], 1, "short.fcs"),
    (["renamed.csv", "-k", "2"], 1, "its bytes are those of .parquet"),
    (["words.csv", "-k", "2"], 1, "not numeric: 'a', 'b'"),
    (["one.csv", "-k", "1"], 1, "1 sample(s)"),
    (["none.txt.gz", "-k", "2"], 1, "there is no file"),
    (["x.npy", "-k", "2", "--transform-columns", "0"], 2, "--transform-columns belongs to --transform asinh"),
    (["x.npy", "-k", "2", "--array", "rows"], 1, "holds one array without a name"),
    (["x.npy", "-k", "2", "--separator", ";"], 1, "--separator"),
    (["cells.csv", "-k", "2", "--columns", "left", "--weight", "kind"], 1, "'kind'"),
    (["flat.npy", "-k", "2"], 1, "reshape(-1, 1)"),
    (["objects.npy", "-k", "2"], 1, "Python objects"),
    (["x.npy", "-k", "2", "--device", "toaster"], 1, "--device 'toaster' cannot be used here"),
    (["x.npy", "-k", "2", "--cofactor", "5"], 2, "--cofactor belongs to --transform asinh"),
    (["x.npy", "-k", "2", "--transform", "asinh", "--cofactor", "0"], 2, "expected a number above 0"),
    (["x.npy", "-k", "2", "--seed", "-1"], 2, "--seed"),
    (["x.npy", "-k", "2", "--labels-format", "xlsx"], 2, "invalid choice"),
    (["x.npy", "-k", "2", "--colour", "red"], 2, "unrecognized arguments"),
]


@pytest.fixture
def place(tmp_path, table, array, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty.csv").touch()
    Path("gaps.csv").write_text("a,b\n1,\n2,3\n,1\n5,6\n")
    pq.write_table(pa.table({"a": X[:, 0]}), "whole.parquet")
    Path("short.parquet").write_bytes(Path("whole.parquet").read_bytes()[:-50])
    Path("renamed.csv").write_bytes(Path("whole.parquet").read_bytes())
    Path("short.fcs").write_bytes((EXAMPLES / "lsrii_d6.fcs").read_bytes()[:100_000])
    Path("words.csv").write_text("a,b\nx,y\nu,v\n")
    Path("one.csv").write_text("a,b\n1,2\n")
    Path("void.csv").write_text("a,b\n1,\n2,\n4,\n")
    Path("short.npy").write_bytes(array.read_bytes()[:500])
    np.save("flat.npy", X[:, 0])
    np.save("objects.npy", np.array([[None, 1]], dtype=object), allow_pickle=True)
    return tmp_path


@pytest.mark.parametrize(("arguments", "code", "said"), BAD, ids=[s for _, _, s in BAD])
def test_bad_input(place, arguments, code, said, capsys):
    before = snapshot(place)
    assert run("fit", *arguments, "-o", "out") == code
    assert said in sentence(capsys)
    assert snapshot(place) == before
    assert not (place / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["knit"], ["fit"]])
def test_wrong_usage(arguments, capsys):
    assert run(*arguments) == 2
    assert "--help" in sentence(capsys)


@pytest.mark.parametrize("output", ["x.npy", "x.npy/out", "x.npy/deep/out"])
def test_output_that_is_a_file(place, output, capsys):
    before = snapshot(place)
    assert run("fit", "x.npy", "-k", 2, "-o", output, "--quiet") == 1
    assert "x.npy is a file, expected a directory" in sentence(capsys)
    assert snapshot(place) == before


def test_output_that_cannot_be_written(place, monkeypatch, capsys):
    def refuse(self, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert run("fit", "x.npy", "-k", 2, "-o", "out", "--quiet") == 1
    assert "cannot be written (permission denied)" in sentence(capsys)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="SKIPPED: root may write anywhere")
def test_read_only_directory(place, capsys):
    (place / "closed").mkdir(mode=0o500)
    assert run("fit", "x.npy", "-k", 2, "-o", "closed/out", "--quiet") == 1
    assert "cannot be written" in sentence(capsys)


# All or nothing


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), ValueError("broken")])
def test_errors_halfway_leave_old_results(place, monkeypatch, error, capsys):
    assert run("fit", "x.npy", "-k", 2, "-o", "out") == 0
    (place / "out" / "notes.txt").write_text("mine")
    before = snapshot(place)
    capsys.readouterr()
    score = labels.chunks

    def breaking(model, source, tally, sampler):
        yield next(score(model, source, tally, sampler, 10))
        raise error

    monkeypatch.setattr(labels, "chunks", breaking)
    for output in ("out", "deep/new"):
        assert run("fit", "x.npy", "-k", 2, "-o", output, "--quiet") == 1
        assert sentence(capsys)
        assert snapshot(place) == before
    assert not (place / "deep").exists()


def test_a_file_that_changes_under_a_fit_is_noticed(place, monkeypatch, capsys):
    assert fit_table("cells.csv", "-o", "out") == 0
    before = snapshot(place / "out")
    fitted = fit.fitted

    def meddled(job, source, note):
        model = fitted(job, source, note)
        Path("cells.csv").write_text("left,right\n1,2\n")
        return model

    monkeypatch.setattr(fit, "fitted", meddled)
    capsys.readouterr()
    assert fit_table("cells.csv", "-o", "out", "--quiet") == 1
    assert "cells.csv changed while it was read" in sentence(capsys)
    assert snapshot(place / "out") == before


def test_an_error_while_moving_puts_everything_back(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old a")
    (tmp_path / "c").write_text("old c")
    move = Path.replace

    def stubborn(self, target):
        if self.name == "b" and self.parent.name == "new":
            raise OSError("the disk is gone")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", stubborn)

    def write():
        with Together(tmp_path) as outputs:
            for name in ("a", "b"):
                outputs.path(name).write_text("new")
            outputs.drop("c")

    with pytest.raises(OSError, match="the disk is gone"):
        write()
    assert snapshot(tmp_path) == {"a": b"old a", "c": b"old c"}
    monkeypatch.undo()
    write()
    assert snapshot(tmp_path) == {"a": b"new", "b": b"new"}


def test_a_directory_in_the_way_stays(place, capsys):
    (place / "out" / "summary.json").mkdir(parents=True)
    assert run("fit", "x.npy", "-k", 2, "-o", "out", "--quiet") == 1
    assert "summary.json is a directory" in sentence(capsys)
    assert [p.name for p in (place / "out").iterdir()] == ["summary.json"]


def test_another_format_replaces_the_earlier_labels(place, capsys):
    run("fit", "x.npy", "-k", 2, "-o", "out")
    run("fit", "x.npy", "-k", 2, "-o", "out", "--labels-format", "csv")
    assert sorted(p.name for p in (place / "out").iterdir()) == ["labels.csv", "model.safetensors", "summary.json"]
    assert "labels.parquet of an earlier run goes" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="SKIPPED: signals are another thing on Windows")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_nothing(place, number):
    np.save("big.npy", np.random.default_rng(0).normal(size=(50_000, 4)))
    program = "import sys; from mixtura.apps import cli; sys.exit(cli.main(sys.argv[1:]))"
    arguments = ["fit", "big.npy", "-k", "20", "-o", "out"]
    running = subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if list(place.glob(".mixtura-*")):
            break
        time.sleep(0.05)
    assert list(place.glob(".mixtura-*"))
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 1
    assert said.splitlines()[-1] == "mixtura fit: interrupted: nothing was written"
    assert "Traceback" not in said
    assert not list(place.glob(".mixtura-*"))
    assert not (place / "out").exists()


# As a program


def program(*arguments, **options):
    command = [sys.executable, "-m", "mixtura", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_end_to_end(place):
    done = program("fit", "x.npy", "-k", 2, "-o", "out", "--labels-format", "csv", "--no-report", cwd=place)
    assert done.returncode == 0
    assert done.stdout.startswith("GaussianMixture(n_components=2, random_state=0)\n100 rows")
    assert done.stderr.splitlines()[0] == "reading x.npy: 2 columns"
    assert len((place / "out" / "labels.csv").read_text().splitlines()) == 101


def test_end_to_end_error(place):
    done = program("fit", "none.npy", "-k", 2, cwd=place)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "mixtura fit: there is no file none.npy: check the name and the current directory\n"


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["fit", "--help"], ["demo", "--help"], ["fit"]])
def test_help_is_light(arguments):
    heavy = ["torch", "sklearn", "numpy", "pandas", "pyarrow", "matplotlib", "scipy"]
    code = (
        "import sys; from mixtura.apps.cli import main\n"
        f"main({arguments})\n"
        f"print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"mixtura {mixtura.__version__}\n"


def test_help_lists_every_structure():
    assert options.COVARIANCES.split(", ") == list(STRUCTURES)


def test_names_with_commas_can_be_quoted():
    assert options.names('a, "b,c" ,d') == ["a", "b,c", "d"]


def test_sum_of_a_file(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    told = {"file": "f", "bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}
    assert summary.file_facts(tmp_path / "f") == told
