"""Run the page of pictures and write the picture that each of its images names, from the block of code above it."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "pictures.md"

DPI = 100


def parts(page: str) -> Iterator[tuple[str, str | None]]:
    """Blocks of code, and the name of the picture under each, if there is one."""
    found = re.finditer(r"```python\n(.*?)```(?:\s+!\[[^\]]*\]\(pictures/([\w.-]+)\))?", page, re.DOTALL)
    return ((match[1], match[2]) for match in found)


def drawn(page: str) -> Iterator[tuple[str | None, Any]]:
    """Run the blocks one after another, in one space; of each the name of its picture and the figure of its ``ax``."""
    space: dict[str, Any] = {}
    with contextlib.chdir(ROOT):
        for code, name in parts(page):
            exec(compile(code, str(PAGE), "exec"), space)
            ax = space.pop("ax", None)
            first = ax.flat[0] if hasattr(ax, "flat") else ax
            yield name, None if first is None else first.figure


def main() -> None:
    """Write all pictures beside this file."""
    for name, figure in drawn(PAGE.read_text(encoding="utf-8")):
        if name is not None:
            path = Path(__file__).with_name(name)
            figure.savefig(path, dpi=DPI, metadata={"Software": None}, pil_kwargs={"optimize": True})
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
