"""The command ``mixtura``: arguments, messages and exit codes; what a command does stands in a module of its own."""

import argparse
import csv
import json
import math
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from mixtura import __version__

# Nothing heavy is imported here: `mixtura --help` answers without torch.

COVARIANCES = "full, tied, diag, spherical, tied_diag, tied_spherical"

COULD_NOT, WRONG_USAGE = 1, 2


class Parser(argparse.ArgumentParser):
    """An argument parser that complains in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USAGE, f"{self.prog}: {_sentence(message)}: see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments; None takes the program's.

    Returns:
        0, or 1 where it could not be done, or 2 where it was asked for wrongly.
    """
    try:
        asked = parser().parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    program = f"mixtura {asked.command}"
    try:
        with _terminable():
            asked.run(asked)
    except KeyboardInterrupt:
        return _complain(program, "interrupted: nothing was written", COULD_NOT)
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing is left to tell them.
        sys.stderr.close()
        return COULD_NOT
    except (ValueError, OSError, ImportError, MemoryError, RuntimeError) as error:
        # By name, since importing the class would import torch for every command.
        wrong = type(error).__name__ in ("NoColumn", "Usage")
        return _complain(program, _words(error), WRONG_USAGE if wrong else COULD_NOT)
    return 0


class Usage(ValueError):
    """The arguments do not fit together."""


def parser() -> Parser:
    """All commands and their options."""
    top = Parser(
        prog="mixtura",
        description="Gaussian mixture models: clusters and densities of tables, on CPUs and GPUs.",
        epilog="Results go to stdout, progress to stderr. Exit codes: 0 done, 1 could not, 2 wrong usage.",
    )
    top.add_argument("--version", action="version", version=f"mixtura {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_fit(commands)
    _add_demo(commands)
    return top


def _add_fit(commands: Any) -> None:
    fit = commands.add_parser(
        "fit",
        help="fit a mixture to a table",
        description="Fit a Gaussian mixture to the numeric columns of a .csv, .tsv or .npy file.",
        epilog="DIR gets the labels (identifier, label, posteriors, uncertainty, log density of every row) and "
        "summary.json, all complete or none; an earlier run's are replaced.",
    )
    add = fit.add_argument
    add("data", metavar="DATA", type=Path, help="the table; .npy files are memory-mapped")
    add("-k", "--components", metavar="K", type=_positive, required=True, help="number of components")
    add("-o", "--output", metavar="DIR", type=Path, help="directory for the results; without it nothing is written")
    add("--covariance", metavar="NAME", default="full", help=f"{COVARIANCES} (default: full)")
    add("--columns", metavar="A,B", type=_names, help="columns to use; of a .npy file their indices from 0")
    add("--id", metavar="COLUMN", help="column that identifies rows; it is copied and not fitted")
    add("--transform", choices=["asinh"], help="fit asinh(x / cofactor), usual for cytometry")
    add("--cofactor", metavar="C", type=_cofactor, help="of the transform (default: 150)")
    add("--seed", metavar="N", type=_natural, default=0, help="of all random draws (default: 0)")
    add("--device", metavar="NAME", help="cpu, cuda, mps or auto (default: cpu)")
    add("--labels-format", choices=["csv", "parquet"], help="default: parquet where pyarrow is installed")
    add("--json", action="store_true", help="print the summary as JSON")
    add("--quiet", action="store_true", help="no notes on stderr")
    fit.set_defaults(run=_fit)


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="fit and draw two examples",
        description="Fit and draw three simulated clusters and a sample of a real flow-cytometry table.",
    )
    demo.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path("demo"), help="default: demo")
    demo.set_defaults(run=_demo)


def _fit(asked: argparse.Namespace) -> None:
    if asked.cofactor is not None and asked.transform is None:
        raise Usage("--cofactor belongs to --transform asinh, which is not given: add it or leave --cofactor out")
    from mixtura.apps import fit, summary
    from mixtura.apps.job import Job
    from mixtura.covariance import STRUCTURES

    if asked.covariance not in STRUCTURES:
        raise Usage(f"--covariance {asked.covariance!r} is not a structure: use one of {', '.join(STRUCTURES)}")
    job = Job(
        data=asked.data,
        components=asked.components,
        covariance=asked.covariance,
        columns=asked.columns,
        id=asked.id,
        cofactor=None if asked.transform is None else asked.cofactor or 150.0,
        seed=asked.seed,
        device=asked.device,
        output=asked.output,
        labels=asked.labels_format,
    )
    done = fit.run(job, _silent if asked.quiet else _note)
    print(json.dumps(done.summary, indent=2, ensure_ascii=False) if asked.json else summary.text(done))
    for path in done.files:
        (_silent if asked.quiet else _note)(f"wrote {path}")


def _demo(asked: argparse.Namespace) -> None:
    from mixtura.apps import demo

    for line in demo.run(asked.output):
        print(line, flush=True)


def _note(line: str) -> None:
    print(_sentence(line), file=sys.stderr, flush=True)


def _silent(line: str) -> None:
    del line


def _complain(program: str, message: str, code: int) -> int:
    print(f"{program}: {message}", file=sys.stderr)
    return code


def _words(error: Exception) -> str:
    """One sentence for an error."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror.lower()}"
    if isinstance(error, MemoryError):
        return "there is not enough memory: use fewer columns or rows"
    return _sentence(str(error) or type(error).__name__)


def _sentence(message: str) -> str:
    return " ".join(message.split())


@contextmanager
def _terminable() -> Iterator[None]:
    """Let a polite request to end (SIGTERM) clean up as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _names(given: str) -> list[str]:
    # Read as a line of CSV, so that a name with a comma in it can be quoted.
    return [name.strip() for name in next(csv.reader([given], skipinitialspace=True), [])]


def _positive(given: str) -> int:
    value = _natural(given)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{given} was given, expected a whole number from 1")
    return value


def _natural(given: str) -> int:
    if not given.isdecimal():
        raise argparse.ArgumentTypeError(f"{given!r} was given, expected a whole number")
    return int(given)


def _cofactor(given: str) -> float:
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{given!r} was given, expected a number above 0, such as 5 or 150")
    return value
