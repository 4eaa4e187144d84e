"""What is shipped: a wheel with its compiled passes where there is a compiler, and no data that no licence allows."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import mixtura
from mixtura.native import library as native_library

ROOT = Path(__file__).parents[1]
GPL_DATA = ("faithful", "diabetes", "banknote", "thyroid", "galaxies", "iris.csv", "mclust")


LIBRARY = "mixtura/native/libmixtura.so"
OWN = ROOT / "src" / LIBRARY
C_SOURCES = {f"native/{path.name}" for path in (ROOT / "src" / "mixtura" / "native").glob("*.[ch]")}


def built(folder: Path, *targets: str, **environment: str) -> tuple[list[Path], str]:
    """What hatchling builds into a folder, and what it said; the checkout's own library is as it was."""
    pytest.importorskip("hatchling", reason="SKIPPED: hatchling is not installed")
    before = (OWN.read_bytes(), OWN.stat().st_mtime_ns) if OWN.exists() else None
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), *(f"-t{target}" for target in targets)]
    done = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert before == ((OWN.read_bytes(), OWN.stat().st_mtime_ns) if OWN.exists() else None)
    assert not list(OWN.parent.glob("*.so.*"))
    return sorted(folder.iterdir()), done.stdout + done.stderr


def names(archive: Path) -> list[str]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            return opened.namelist()
    with tarfile.open(archive) as unpacked:
        return unpacked.getnames()


def compiler() -> str | None:
    return None if sys.platform == "win32" else shutil.which(os.environ.get("CC", "cc").split()[0])


@pytest.mark.slow
def test_wheel_and_sdist_hold_the_package_and_no_gpl_data(tmp_path: Path) -> None:
    (wheel, sdist), _ = built(tmp_path)
    in_wheel, in_sdist = names(wheel), names(sdist)
    assert wheel.name.startswith(f"mixtura-{mixtura.__version__}-py3-none-")
    assert {"mixtura/estimator.py", "mixtura/py.typed", "mixtura/covariance/full.py"} <= set(in_wheel)
    assert {"mixtura/apps/report/page.html.j2", "mixtura/apps/report/page.css"} <= set(in_wheel)
    top = f"mixtura-{mixtura.__version__}"
    assert {f"{top}/hatch_build.py", *(f"{top}/src/mixtura/{name}" for name in C_SOURCES)} <= set(in_sdist)
    assert not any(name.endswith((".so", ".o")) for name in in_sdist)
    for name in [*in_wheel, *in_sdist]:
        assert not any(word in name.lower() for word in GPL_DATA), name
        assert name.endswith(".schema.json") or not name.endswith((".csv", ".npy", ".json", ".fcs")), name


@pytest.mark.slow
@pytest.mark.skipif(compiler() is None, reason="SKIPPED: there is no C compiler here")
def test_with_a_compiler_a_wheel_is_of_its_platform_and_any_python(tmp_path: Path) -> None:
    (wheel,), _ = built(tmp_path, "wheel")
    name, version, python, abi, platform = wheel.stem.split("-")
    assert (name, version, python, abi) == ("mixtura", mixtura.__version__, "py3", "none")
    assert platform != "any"
    assert LIBRARY in names(wheel)
    with zipfile.ZipFile(wheel) as opened:
        opened.extract(LIBRARY, tmp_path)
    assert native_library.opened(tmp_path / LIBRARY).handle is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment", [{"CC": "false"}, {"CC": "no-such-compiler"}, {"CC": "true"}, {"MIXTURA_NATIVE": "0"}]
)
def test_without_a_compiler_a_wheel_is_pure(environment: dict[str, str], tmp_path: Path) -> None:
    """It says so, unless it was asked for; a compiler that makes nothing is none."""
    (wheel,), said = built(tmp_path, "wheel", **environment)
    assert wheel.name == f"mixtura-{mixtura.__version__}-py3-none-any.whl"
    assert not any(name.endswith(".so") for name in names(wheel))
    assert ("without its compiled passes" in said) == ("CC" in environment and sys.platform != "win32")


@pytest.mark.slow
@pytest.mark.skipif(compiler() is None, reason="SKIPPED: there is no C compiler here")
def test_a_wheel_from_the_sdist_is_the_same(tmp_path: Path) -> None:
    (sdist,), _ = built(tmp_path / "sdist", "sdist")
    with tarfile.open(sdist) as unpacked:
        unpacked.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("mixtura-*")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "wheel")]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheel").iterdir()
    (own,), _ = built(tmp_path / "own", "wheel")
    assert wheel.name == own.name
    assert sorted(names(wheel)) == sorted(names(own))
