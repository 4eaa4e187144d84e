"""The examples run, draw what they promise, and ship data with their source and licence."""

import csv
import json
import re
import runpy
import sys
import warnings
from collections import Counter
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from mixtura.apps import cli, demo
from mixtura.covariance import STRUCTURES

ROOT = Path(__file__).resolve().parents[1]

TABLE = ROOT / "examples" / "data" / "bacteria.csv"

CREDIT = "Data: FlowCytometryTools 0.5.1, Friedman & Yurtsev, MIT licence"


def test_tutorial(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    space = runpy.run_path(str(ROOT / "examples" / "tutorial.py"))
    np.testing.assert_array_equal(space["X"], demo.three_clusters())
    assert "converged" in capsys.readouterr().out
    assert matplotlib.image.imread(tmp_path / "tutorial.png").shape[0] > 400
    program = (ROOT / "examples" / "tutorial.py").read_text().splitlines()
    assert len(program) < 35


def test_tutorial_finds_its_clusters(tmp_path):
    lines = list(demo.tutorial(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["tutorial.png"]
    assert any("status converged" in line for line in lines)
    means = sorted(tuple(float(v) for v in line.split("(")[1].rstrip(")").split(",")) for line in lines[2:5])
    np.testing.assert_allclose(means, [(0, 0), (5, 0), (5, 5)], atol=0.3)


def test_the_clusters_are_those_of_the_global_seed():
    state = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(42)  # noqa: NPY002
        drawn = [np.random.multivariate_normal(m, np.eye(2), 100) for m in ((0, 0), (5, 5), (5, 0))]  # noqa: NPY002
    finally:
        np.random.set_state(state)  # noqa: NPY002
    np.testing.assert_array_equal(demo.three_clusters(), np.concatenate(drawn))


def check_demo(place, said, sizes):
    written = sorted(p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file())
    inside = [f"cytometry/{name}" for name in ("labels.parquet", "model.safetensors", "summary.json")]
    assert written == ["cytometry.png", *inside, "report.html", "tutorial.png"]
    assert demo.CREDIT in said
    for name in ("cytometry.png", "tutorial.png", "report.html"):
        assert str(place / name) in said
    told = json.loads((place / "cytometry" / "summary.json").read_text())
    assert told["selection"]["table"]["n_components"] == list(sizes)
    assert [step["name"] for step in told["steps"]] == ["compensate", "asinh"]
    page = (place / "report.html").read_text(encoding="utf-8")
    for part in ("Three simulated clusters", "lsrii_d6.fcs", demo.CREDIT, "Schwarz"):
        assert part in page
    return told


def test_choosing(tmp_path, capsys):
    example = runpy.run_path(str(ROOT / "examples" / "choosing.py"))
    example["main"](tmp_path / "choosing.png")
    said = capsys.readouterr().out.splitlines()
    page = (ROOT / "docs" / "choosing.md").read_text()
    shown = page.split("<!-- choosing -->")[1].split("<!-- /choosing -->")[0].strip().strip("`").strip().splitlines()
    # The page shows what the example prints; standard errors of 199 draws hang on rounding.
    assert said[: len(shown) - 1] == shown[:-1]
    assert CREDIT in said[-1]
    for name in ("choosing.png", "choosing-merging.png"):
        assert (tmp_path / name).stat().st_size > 10_000


def test_pbmc(tmp_path, capsys):
    example = runpy.run_path(str(ROOT / "examples" / "pbmc.py"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example["main"](tmp_path / "pbmc.png")
    said = capsys.readouterr().out.splitlines()
    page = (ROOT / "docs" / "anndata.md").read_text()
    shown = page.split("<!-- pbmc -->")[1].split("<!-- /pbmc -->")[0].strip().strip("`").strip().splitlines()
    # Leiden hangs on what is installed, scikit-learn's fits are not ours.
    ours = [line for line in shown if "Leiden" not in line and "scikit-learn" not in line]
    assert [line for line in said if "Leiden" not in line and "scikit-learn" not in line][:-1] == ours
    assert "10x Genomics, CC BY 4.0" in said[-1]
    assert "10x Genomics, CC BY 4.0" in page
    assert "pbmc.h5ad" in TABLE.with_name("LICENSES.md").read_text(encoding="utf-8")
    for name in ("pbmc.png", "pbmc-stability.png"):
        assert (tmp_path / name).stat().st_size > 10_000


@pytest.mark.parametrize("name", ["anndata", "migrating"])
def test_pages_on_cells_run(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    page, space = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8"), {}
    parts = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(parts) > 1
    for part in parts:
        exec(compile(part, f"{name}.md", "exec"), space)
    adata = space.get("adata", space.get("cells"))
    assert adata.obs["mclust"].cat.categories.dtype.kind == "i"


def test_fourteen(tmp_path, capsys):
    example = runpy.run_path(str(ROOT / "examples" / "fourteen.py"))
    example["main"](tmp_path / "fourteen.png")
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[1:15]] == example["CODES"]
    assert "BIC takes full with 3" in said, "the clusters differ in volume, shape and orientation"
    assert (tmp_path / "fourteen.png").stat().st_size > 10_000
    assert {entry.code for entry in STRUCTURES.values()} == set(example["CODES"])


def test_search(tmp_path, capsys):
    example = runpy.run_path(str(ROOT / "examples" / "search.py"))
    example["main"](tmp_path / "search.png")
    said = capsys.readouterr().out
    short = {
        way: float(line[len(way) :].split()[1])
        for way in example["WAYS"]
        for line in said.splitlines()
        if line.startswith(way)
    }
    assert set(short) == set(example["WAYS"])
    assert short['effort="thorough"'] == 0.0
    assert short['effort="standard"'] < short["one k-means start"]
    assert short["one k-means start"] > 50
    assert "independent searches" in said
    assert (tmp_path / "search.png").stat().st_size > 10_000


def test_demo(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "TRIED", (1, 2))
    assert cli.main(["demo", "--output", str(tmp_path / "demo")]) == 0
    told = check_demo(tmp_path / "demo", capsys.readouterr().out, (1, 2))
    assert told["n_components"] == 2


@pytest.mark.slow
def test_the_whole_demo(tmp_path, capsys):
    assert cli.main(["demo", "--output", str(tmp_path / "demo")]) == 0
    told = check_demo(tmp_path / "demo", capsys.readouterr().out, range(1, 13))
    # The best is not at the edge of what was tried, and its sizes are those of many clear clusters.
    assert 4 < told["n_components"] < 12
    assert told["status"] == "converged"


def test_demo_without_the_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "find_events", lambda: None)
    assert cli.main(["demo", "-o", str(tmp_path)]) == 0
    assert "comes with the repository" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "tutorial.png"]


def test_demo_without_matplotlib(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["mixtura.apps.report.page"], "NEEDED", ("matplotlib_that_is_absent",))
    assert cli.main(["demo", "-o", str(tmp_path / "demo")]) == 1
    assert 'pip install "mixtura[report]"' in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_the_table_is_what_its_page_says():
    with TABLE.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert Counter(row["strain"] for row in rows) == {"CFP": 1500, "RFP": 1500, "YFP": 1500}
    assert len({row["event"] for row in rows}) == 4500
    assert TABLE.stat().st_size < 300_000
    page = TABLE.with_name("LICENSES.md").read_text(encoding="utf-8")
    for column in rows[0]:
        assert f"`{column}`" in page
    assert "MIT License" in page
    assert "Copyright (c) 2013-2015 Eugene Yurtsev and Jonathan Friedman" in page


GALLERY = runpy.run_path(str(ROOT / "docs" / "pictures" / "make.py"))


def test_the_page_of_pictures_is_whole():
    page = GALLERY["PAGE"].read_text(encoding="utf-8")
    named = [name for _, name in GALLERY["parts"](page) if name]
    assert page.count("](pictures/") == len(named) == len(set(named))
    here = {path.name: path for path in (ROOT / "docs" / "pictures").glob("*.png")}
    assert set(named) == set(here)
    for name, path in here.items():
        assert path.stat().st_size < 150_000, name
    for code, name in GALLERY["parts"](page):
        compile(code, str(name), "exec")
        assert "cells" not in code or name is None or "plot.credit(ax, CREDIT)" in code
    assert f'CREDIT = "{CREDIT}"' in page
    for function in ("scatter", "clusters", "density", "uncertainty", "histogram", "pairs", "starts", "criteria"):
        assert f"plot.{function}(" in page


@pytest.mark.slow
def test_the_page_of_pictures_runs():
    page = GALLERY["PAGE"].read_text(encoding="utf-8")
    drawn = list(GALLERY["drawn"](page))
    assert len(drawn) == page.count("```python")
    assert all(figure is not None for name, figure in drawn if name)
