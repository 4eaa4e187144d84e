"""The command ``mixtura``: arguments, messages and exit codes; what a command does stands in a module of its own."""

import argparse
import json
import re
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from mixtura import __version__
from mixtura.apps import options
from mixtura.criteria import OF_SIZE

# Nothing heavy is imported here: `mixtura --help` answers without torch.

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
            asked.call = _call(sys.argv[1:] if argv is None else argv, asked)
            asked.run(asked)
    except KeyboardInterrupt:
        return _complain(program, "interrupted: nothing was written", COULD_NOT)
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing is left to tell them.
        sys.stderr.close()
        return COULD_NOT
    except (ValueError, TypeError, OSError, ImportError, MemoryError, RuntimeError) as error:
        # By name, since importing the class would import torch for every command.
        wrong = type(error).__name__ in ("NoColumn", "Usage")
        return _complain(program, _words(error), WRONG_USAGE if wrong else COULD_NOT)
    return 0


def _call(argv: Sequence[str], asked: argparse.Namespace) -> str:
    """The command as text, without directories and without where its results go: it is told what was done to what."""
    files = {str(path): path.name for name, path in vars(asked).items() if isinstance(path, Path) and name != "output"}
    words, skip = [], False
    for word in argv:
        if skip or word.startswith("--output="):
            skip = False
        elif word in ("-o", "--output"):
            skip = True
        else:
            words.append(files.get(str(Path(word)), word))
    return shlex.join(["mixtura", *words])


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
    for add in (_add_fit, _add_predict, _add_sample, _add_describe, _add_report, _add_demo):
        add(commands)
    return top


def _add_fit(commands: Any) -> None:
    fit = commands.add_parser(
        "fit",
        help="fit mixtures to a table, choose one, and report",
        description=f"Fit Gaussian mixtures to the numeric columns of a {options.READS} file, and keep the best.",
        epilog="DIR gets model.safetensors, the labels (identifier, label, posteriors, uncertainty, log density of "
        "every row, and with --merge its cluster), summary.json and report.html, all complete or none; an earlier "
        "run's are replaced. Of an .h5ad file it also gets a copy with the labels, posteriors and the model under KEY; "
        "the file stays as it is.",
    )
    add = fit.add_argument
    add("data", metavar="DATA", type=Path, help="the table, which is never held in memory")
    add(
        "-k",
        "--components",
        metavar="K",
        type=options.sizes,
        default=tuple(range(1, 10)),
        help="number of components, or several to choose from: 3, 1:9 or 2,4,8 (default: 1:9)",
    )
    add("-o", "--output", metavar="DIR", type=Path, help="directory for the results; without it nothing is written")
    options.add_choosing(add)
    options.add_merging(add, "put components that overlap together into clusters")
    add(
        "--effort", choices=["quick", "standard", "thorough"], default="standard", help="of the search for each optimum"
    )
    add("--missing", choices=["error", "em"], default="error", help="refuse gaps, or fit rows with them by EM")
    add("--seed", metavar="N", type=options.natural, default=0, help="of all random draws (default: 0)")
    add("--labels-format", choices=["csv", "parquet"], help="default: parquet where pyarrow is installed")
    add("--no-report", action="store_true", help="do not write report.html")
    add("--key", metavar="KEY", help="of the results in DIR's copy of an .h5ad file (default: gmm)")
    add("--credit", metavar="TEXT", help="whose data these are: a line under every picture of the report")
    options.add_reading(fit)
    options.add_common(fit)
    fit.set_defaults(run=_fit)


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="label new rows with a saved model",
        description="Label the rows of a file: the columns of the fit are found by name, and transformed as then. A "
        "model that was fitted with --merge gives the cluster of each row, too.",
    )
    predict.add_argument("model", metavar="MODEL", type=Path, help="a model.safetensors")
    predict.add_argument("data", metavar="DATA", type=Path, help=f"a {options.READS} file")
    what = "labels, posteriors, uncertainty and log density: .parquet or .csv, or .h5ad, a copy of DATA with them"
    options.add_output(predict, what)
    predict.add_argument("--key", metavar="KEY", help="of the results in such a copy (default: gmm)")
    predict.add_argument("--id", metavar="COLUMN", help="column that identifies rows; it is copied")
    options.add_layout(predict)
    options.add_common(predict)
    predict.set_defaults(run=_predict)


def _add_sample(commands: Any) -> None:
    sample = commands.add_parser(
        "sample",
        help="draw rows from a saved model",
        description="Draw rows from a saved model, in the units of the data that it was fitted to.",
    )
    sample.add_argument("model", metavar="MODEL", type=Path, help="a model.safetensors")
    sample.add_argument("-n", "--rows", metavar="N", type=options.positive, default=1000, help="default: 1000")
    options.add_output(sample, "the rows and the component of each: .parquet or .csv")
    sample.add_argument("--seed", metavar="N", type=options.natural, help="of the draws (default: a fresh one)")
    options.add_common(sample, device=False)
    sample.set_defaults(run=_sample)


def _add_describe(commands: Any) -> None:
    describe = commands.add_parser(
        "describe",
        help="a saved model in words",
        description="A saved model in words and a table.",
    )
    describe.add_argument("model", metavar="MODEL", type=Path, help="a model.safetensors")
    describe.add_argument("--methods", action="store_true", help="a paragraph for the methods section, to paste")
    options.add_common(describe, device=False)
    describe.set_defaults(run=_describe)


def _add_report(commands: Any) -> None:
    report = commands.add_parser(
        "report",
        help="a report of a saved model and data",
        description="Write one HTML file about a saved model and how it sees the rows of a file.",
    )
    report.add_argument("model", metavar="MODEL", type=Path, help="a model.safetensors")
    report.add_argument("data", metavar="DATA", type=Path, help=f"a {options.READS} file")
    options.add_output(report, "the report: .html")
    report.add_argument("--credit", metavar="TEXT", help="whose data these are: a line under every picture")
    report.add_argument("--weight", metavar="COLUMN", help="column that says how often each row counts")
    options.add_merging(report.add_argument, "put components together by these rows (default: as fit did)")
    options.add_layout(report)
    options.add_common(report)
    report.set_defaults(run=_report)


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="fit and draw two examples, with a report",
        description="Fit three simulated clusters and a real flow-cytometry file, draw them and write a report.",
    )
    demo.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path("demo"), help="default: demo")
    demo.set_defaults(run=_demo)


def _fit(asked: argparse.Namespace) -> None:
    if asked.cofactor is not None and asked.transform is None:
        raise Usage("--cofactor belongs to --transform asinh, which is not given: add it or leave --cofactor out")
    if asked.transform_columns is not None and asked.transform is None:
        raise Usage("--transform-columns belongs to --transform asinh, which is not given: add it")
    if asked.output is None and asked.labels_format is not None:
        raise Usage("--labels-format is given, but no -o DIR to write labels to: add it")
    if (asked.merge or 0) > max(asked.components):
        raise Usage(
            f"--merge {asked.merge} asks for more clusters than there are components, at most {max(asked.components)}: "
            "give fewer, or more components with -k"
        )
    from mixtura.apps import describe, fit
    from mixtura.apps.job import Job, Reading, is_h5ad

    if asked.key is not None and (asked.output is None or (asked.data.exists() and not is_h5ad(asked.data))):
        raise Usage("--key is of the copy of an .h5ad file in -o DIR: give both, or leave --key out")

    covariance = _covariance(asked.covariance)
    _fitting(asked.criterion, covariance)
    job = Job(
        reading=Reading(asked.data, **options.reading(asked)),
        components=asked.components,
        covariance=covariance,
        criterion=asked.criterion,
        merge=asked.merge,
        effort=asked.effort,
        missing=asked.missing,
        seed=asked.seed,
        device=asked.device,
        output=asked.output,
        labels=asked.labels_format,
        report=False if asked.no_report else None,
        key="gmm" if asked.key is None else asked.key,
        credit=asked.credit,
        call=asked.call,
    )
    note = _noter(asked)
    done = fit.run(job, note)
    _print(asked, done.summary, lambda: describe.text(done.model, done.summary))
    for path in done.files:
        note(f"wrote {path}")


def _covariance(given: list[str]) -> str | tuple[str, ...]:
    from mixtura.covariance import NAMES

    if given in (["auto"], ["all"]):
        return given[0]
    if not given or {"auto", "all"} & set(given):
        raise Usage(f"--covariance {','.join(given)!r} was given: name structures, or give auto or all alone")
    if unknown := [name for name in given if name not in NAMES]:
        known = ", ".join(NAMES)
        raise Usage(f"--covariance {unknown[0]!r} is not a structure: use one of {known}, or auto, or all")
    return tuple(given)


def _fitting(criterion: str, covariance: str | tuple[str, ...]) -> None:
    """Refuse a criterion of size for several structures before the data are read."""
    if criterion in OF_SIZE and (isinstance(covariance, str) or len(covariance) > 1):
        raise Usage(
            f"--criterion {criterion} compares numbers of components of one structure: name one with --covariance, "
            "such as full, or use bic"
        )


def _predict(asked: argparse.Namespace) -> None:
    from mixtura.apps import predict

    lying = options.layout(asked)
    if asked.key is not None:
        if asked.output.suffix.lower() != ".h5ad":
            raise Usage(f"--key is of an .h5ad file, but {asked.output.name} is none: leave it out")
        lying["key"] = asked.key
    told = predict.predict(asked.model, asked.data, asked.output, device=asked.device, id=asked.id, **lying)
    counts = ", ".join(f"{count:,}" for count in told["counts"])
    _print(asked, told, lambda: f"{told['rows']:,} rows labelled; in components 0 …: {counts}")
    _noter(asked)(f"wrote {asked.output}")


def _sample(asked: argparse.Namespace) -> None:
    from mixtura.apps import predict

    told = predict.sample(asked.model, asked.rows, asked.output, asked.seed)
    _print(asked, told, lambda: f"{told['rows']:,} rows drawn from {told['model']}")
    _noter(asked)(f"wrote {asked.output}")


def _describe(asked: argparse.Namespace) -> None:
    from mixtura.apps import describe, report

    model, told = describe.loaded(asked.model)
    _print(asked, told, lambda: (report.methods if asked.methods else describe.text)(model, told))


def _report(asked: argparse.Namespace) -> None:
    from mixtura.apps import describe

    told = describe.report(
        asked.model,
        asked.data,
        asked.output,
        credit=asked.credit,
        device=asked.device,
        weight=asked.weight,
        merge=asked.merge,
        **options.layout(asked),
    )
    _print(asked, told, lambda: f"report of {told['rows']:,} rows")
    _noter(asked)(f"wrote {asked.output}")


def _demo(asked: argparse.Namespace) -> None:
    from mixtura.apps import demo

    for line in demo.run(asked.output):
        print(line, flush=True)


def _print(asked: argparse.Namespace, told: dict[str, Any], text: Any) -> None:
    """The result on stdout."""
    print(json.dumps(told, indent=2, ensure_ascii=False) if asked.json else text())


def _noter(asked: argparse.Namespace) -> Any:
    return _silent if asked.quiet else _note


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
    return _as_options(_sentence(str(error) or type(error).__name__))


ARGUMENTS = (
    "criterion|columns|id|weight|array|transform_columns|separator|decimal|cofactor|missing|device|use_rep|layer|"
    "n_dims|key"
)
"""Arguments of the library that are options of the command."""


def _as_options(message: str) -> str:
    """Arguments of the library in the words of the command: ``columns=`` is ``--columns``."""
    message = re.sub(r"\bcompensate=False\b", "--no-compensation", message)
    message = re.sub(r"\bcovariance_types?\b[=:]? ?", "--covariance ", message)
    message = re.sub(rf"\b({ARGUMENTS})=(?=['\"])", lambda found: f"--{found[1].replace('_', '-')} ", message)
    message = re.sub(rf"\b({ARGUMENTS})=(?=\W|$)", lambda found: f"--{found[1].replace('_', '-')}", message)
    return re.sub(rf"^({ARGUMENTS}): ", lambda found: f"--{found[1].replace('_', '-')}: ", message)


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
