"""Together: a set of output files that appears in its directory complete, or not at all."""

import secrets
import shutil
import weakref
from pathlib import Path
from types import TracebackType


class Together:
    """Files are written under ``path(name)`` and put in place, all of them, when the block ends without an error.

    They are written beside their place, on the same file system; what they replace is kept until the last one is in
    place, and comes back if one fails. Directories that had to be made are removed again when nothing is written.

    Args:
        directory: where the files go; made if need be.

    Raises:
        ValueError: ``directory`` is a file, or lies below one.
        OSError: it cannot be written.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as place:
        ...     with Together(Path(place) / "results") as outputs:
        ...         _ = outputs.path("note.txt").write_text("done")
        ...     (Path(place) / "results" / "note.txt").read_text()
        'done'
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self._names: list[str] = []
        self._dropped: list[str] = []

    def __enter__(self) -> "Together":
        base = self.directory
        while not base.exists() and base != base.parent:
            base = base.parent
        if not base.is_dir():
            raise ValueError(f"{base} is a file, expected a directory for the results: give another one with --output")
        self._stage = base / f".mixtura-{secrets.token_hex(8)}"
        # Before the directory is there, so that it goes even when an interrupt comes before the block has begun.
        self._clear = weakref.finalize(self, shutil.rmtree, self._stage, ignore_errors=True)
        try:
            self._stage.mkdir(mode=0o700)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ValueError(f"{base} cannot be written ({reason}): give another directory with --output") from None
        for part in ("new", "old"):
            (self._stage / part).mkdir()
        return self

    def spare(self, *inputs: Path) -> None:
        """Refuse to write over what is read.

        Raises:
            ValueError: one of the files to be written is one of these.
        """
        for given, name in ((given, name) for given in inputs for name in self._names):
            place = self.directory / name
            if place.exists() and given.exists() and place.samefile(given):
                raise ValueError(f"{name} is read and would be written over: give another place with --output")

    def path(self, name: str) -> Path:
        """Where to write the file that will be ``name`` in the directory."""
        self._names.append(name)
        return self._stage / "new" / name

    def drop(self, name: str) -> None:
        """Let an old file of the directory go when the new ones come."""
        self._dropped.append(name)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._put()
        finally:
            self._clear()

    def _put(self) -> None:
        made = [d for d in (self.directory, *self.directory.parents) if not d.exists()]
        self.directory.mkdir(parents=True, exist_ok=True)
        new, old = self._stage / "new", self._stage / "old"
        try:
            # What was promised and not written is left alone.
            self._names = [name for name in self._names if (new / name).exists()]
            for name in [*self._names, *self._dropped]:
                if (self.directory / name).is_dir():
                    raise ValueError(f"{self.directory / name} is a directory where a file is to be written: move it")
                if (self.directory / name).exists():
                    (self.directory / name).replace(old / name)
            for name in self._names:
                (new / name).replace(self.directory / name)
        except BaseException:
            # What was done is read off the disk, so that an interrupt between two steps is undone, too.
            for name in self._names:
                if not (new / name).exists():
                    (self.directory / name).unlink(missing_ok=True)
            for kept in old.iterdir():
                kept.replace(self.directory / kept.name)
            for directory in made:
                directory.rmdir()
            raise
