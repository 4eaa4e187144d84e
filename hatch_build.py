"""Build hook: compile the passes in src/mixtura/native where there is a C compiler; without one, the wheel has none."""

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

NATIVE = Path(__file__).parent / "src" / "mixtura" / "native"
FLAGS = ["-O3", "-std=gnu11", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi"]
LEVELS = {"base": []}
if platform.machine().lower() in {"x86_64", "amd64"}:
    LEVELS["v3"] = ["-march=x86-64-v3"]  # AVX2 and FMA


def compiled() -> str:
    """Compile every source for every level into one library; returns its file name.

    Raises:
        OSError, subprocess.CalledProcessError: there is no compiler, or it failed.
    """
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        for level, flags in LEVELS.items():
            for source in sorted(NATIVE.glob("*.c")):
                made = f"{folder}/{source.stem}_{level}.o"
                defined = [f"-DLEVEL={level}", f"-DLEVELS={len(LEVELS)}"]
                run([*compiler, *FLAGS, *flags, *defined, "-c", str(source), "-o", made])
                objects.append(made)
        made = f"{folder}/libmixtura.so"
        run([*compiler, "-shared", *objects, "-o", made, "-lm", *(["-ldl"] if sys.platform == "linux" else [])])
        # Renamed into place: a process that has loaded the old one keeps it.
        ready = NATIVE / "libmixtura.so.new"
        ready.write_bytes(Path(made).read_bytes())
        ready.replace(NATIVE / "libmixtura.so")
    return "libmixtura.so"


def run(command: list[str]) -> None:
    """Run a compiler; what it says is part of the error."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}\n{done.stderr}")


class Compile(BuildHookInterface):
    """Adds the library to wheels and to editable installs."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or sys.platform == "win32" or os.environ.get("MIXTURA_NATIVE") == "0":
            return
        try:
            name = compiled()
        except OSError as error:
            self.app.display_warning(f"mixtura without its compiled passes: {error}")
            return
        build_data["artifacts"].append(f"src/mixtura/native/{name}")
        build_data["pure_python"] = False
        # Plain C, loaded by ctypes: any Python 3, but one platform.
        build_data["tag"] = f"py3-none-{next(sys_tags()).platform}"
