"""Build hook: compile the passes in src/mixtura/native where there is a C compiler; without one, the wheel has none."""

import ctypes
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

NAME = "libmixtura.so"
NATIVE = Path(__file__).parent / "src" / "mixtura" / "native"
FLAGS = ["-O3", "-std=gnu11", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi"]
LEVELS: dict[str, list[str]] = {"base": []}
if platform.machine().lower() in {"x86_64", "amd64"}:
    LEVELS["v3"] = ["-mavx2", "-mfma"]  # what level.c asks the processor for, and nothing else


def linked(folder: Path, extra: tuple[str, ...] = ()) -> Path:
    """Compile every source for every level and link them into one library in a folder.

    Raises:
        OSError: there is no compiler, or it failed.
    """
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    objects = []
    for level, flags in LEVELS.items():
        for source in sorted(NATIVE.glob("*.c")):
            made = str(folder / f"{source.stem}_{level}.o")
            defined = [f"-DLEVEL={level}", f"-DLEVELS={len(LEVELS)}"]
            run([*compiler, *FLAGS, *flags, *extra, *defined, "-c", str(source), "-o", made])
            objects.append(made)
    libraries = ["-lm", "-pthread", *(["-ldl"] if sys.platform == "linux" else [])]
    run([*compiler, "-shared", *extra, *objects, "-o", str(folder / NAME), *libraries])
    if not (folder / NAME).is_file():
        raise OSError(f"{compiler[0]} made no library")
    return folder / NAME


def compiled() -> Path:
    """Compile the library of this checkout; the one that is there stays until a new one has been made and loads.

    Raises:
        OSError: there is no compiler, it failed, or what it made does not run here.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = linked(Path(folder))
        ctypes.CDLL(str(made))
        # Renamed into place: a process that has loaded the old one keeps it.
        ready = NATIVE / f"{NAME}.{os.getpid()}"
        ready.write_bytes(made.read_bytes())
        return ready.replace(NATIVE / NAME)


def run(command: list[str]) -> None:
    """Run a compiler; what it says is part of the error."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}\n{done.stderr}")


class Compile(BuildHookInterface):
    """Compiles for an editable install into the checkout, for a wheel into the wheel alone."""

    PLUGIN_NAME = "custom"

    folder: str | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or sys.platform == "win32" or os.environ.get("MIXTURA_NATIVE") == "0":
            return
        try:
            if version == "editable":
                compiled()
            else:
                self.folder = tempfile.mkdtemp()
                build_data["force_include"][str(linked(Path(self.folder)))] = f"mixtura/native/{NAME}"
        except OSError as error:
            self.app.display_warning(f"mixtura without its compiled passes: {error}")
            return
        build_data["pure_python"] = False
        # Plain C, loaded by ctypes: any Python 3, but one platform.
        build_data["tag"] = f"py3-none-{next(sys_tags()).platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder)
