"""What is shipped: a pure wheel, and no data that the licence does not allow."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import mixtura

ROOT = Path(__file__).parents[1]
GPL_DATA = ("faithful", "diabetes", "banknote", "thyroid", "galaxies", "iris.csv", "mclust")


@pytest.mark.slow
def test_wheel_and_sdist_hold_the_package_and_no_gpl_data(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="SKIPPED: hatchling is not installed")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    (sdist,) = tmp_path.glob("*.tar.gz")
    assert wheel.name == f"mixtura-{mixtura.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as opened:
        in_wheel = opened.namelist()
    with tarfile.open(sdist) as unpacked:
        in_sdist = unpacked.getnames()
    assert {"mixtura/estimator.py", "mixtura/py.typed", "mixtura/covariance/full.py"} <= set(in_wheel)
    assert {"mixtura/apps/report/page.html.j2", "mixtura/apps/report/page.css"} <= set(in_wheel)
    for name in [*in_wheel, *in_sdist]:
        assert not any(word in name.lower() for word in GPL_DATA), name
        assert name.endswith(".schema.json") or not name.endswith((".csv", ".npy", ".json", ".fcs")), name
