"""The command ``mixtura fit``: read a table, fit mixtures, write model, labels, summary and report."""

import json
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixtura.apps import columns, describe, h5ad, labels, report
from mixtura.apps.annotate import check_key
from mixtura.apps.clusters import merged
from mixtura.apps.job import Done, Job, is_h5ad
from mixtura.apps.summary import file_facts
from mixtura.apps.together import Together
from mixtura.data.base import Source

Note = Callable[[str], None]
"""Receives one line about progress or a reservation."""

MODEL, SUMMARY, REPORT = "model.safetensors", "summary.json", "report.html"


def run(job: Job, note: Note) -> Done:
    """Do a job.

    Raises:
        ValueError: the table, a column, a value or a parameter cannot be used; nothing was written.
        OSError: a file cannot be read or written.
        ModuleNotFoundError: an optional package is needed.
    """
    kind = job.labels or labels.default_format()
    if kind == "parquet":
        columns.check_parquet()
    if job.report:
        report.check_installed()
    check_key(job.key, "key")
    if job.output is None:
        return _done(job, note)
    name = f"labels.{kind}"
    cells = [job.reading.data.name] if is_h5ad(job.reading.data) else []
    with Together(job.output) as outputs:
        stage = {file: outputs.path(file) for file in (name, MODEL, SUMMARY, REPORT, *cells)}
        outputs.spare(job.reading.data)
        copied = [h5ad.annotated(job.reading.data, stage[file], job.key) for file in cells]
        with columns.writer(stage[name], kind) as append, ExitStack() as stack:
            copies = [stack.enter_context(copy) for copy in copied]
            done = _done(job, note, append, *(copy.append for copy in copies))
            for copy in copies:
                copy.finish(h5ad.told_of(done.model, done.summary, job.call), getattr(done.model, "merging_", None))
                done.summary["annotated"] = job.reading.data.name
                for sentence in copy.told:
                    note(sentence)
        done.model.save(stage[MODEL])
        names = [MODEL, name, SUMMARY, *cells]
        if job.report or (job.report is None and report.installed()):
            names.append(REPORT)
            done.summary["report"] = REPORT
            stage[REPORT].write_text(describe.html(done, job.reading.data.name, job.credit), encoding="utf-8")
        elif job.report is None:
            note('no report: that needs pip install "mixtura[report]"')
        done.summary.update(labels=name, model=MODEL)
        for earlier in _earlier(job.output):
            if earlier not in names:
                outputs.drop(earlier)
                note(f"{earlier} of an earlier run goes: {name} takes its place")
        write_json(stage[SUMMARY], done.summary)
    return replace(done, files=[job.output / name for name in names])


def _done(job: Job, note: Note, *append: Callable[[dict[str, Any]], None]) -> Done:
    source = job.reading.source()
    # The digest comes before the fit, so that it is of the bytes that are read: what changes later is noticed.
    file = file_facts(job.reading.data)
    for sentence in source.about.told:
        note(sentence)
    model = fitted(job, source, note)
    if job.merge is not None:
        found = merged(model, source, job.merge)
        model.merging_ = found.told()
        note(found.sentence())
        if found.number < job.merge:
            k = found.number
            note(f"warning: {job.merge} clusters were asked for, but there are {k} components: none is merged")
    done = describe.seen(model, source, *append, device=job.device)
    done.summary.update(input=file, call=job.call)
    for sentence in done.remarks:
        note(f"warning: {sentence}")
    return done


def fitted(job: Job, source: Source, note: Note) -> Any:
    """The estimator, fitted, or the best of a search; warnings become notes."""
    from mixtura import GaussianMixture, MixtureSearch

    note(f"reading {job.reading.data.name}: {source.shape[1]} columns")
    kept: dict[str, Any] = {"effort": job.effort, "missing": job.missing, "random_state": job.seed}
    kept |= {"device": job.device, "progress": note}
    single = len(job.components) == 1 and _one(job.covariance)
    model: Any
    if single:
        model = GaussianMixture(job.components[0], covariance_type=single, **kept)
    else:
        base = GaussianMixture(**kept)
        model = MixtureSearch(job.components, job.covariance, job.criterion, estimator=base, progress=note)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(source)
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            note(f"warning: {warning.message}")
    if not single:
        for finding in model._told:
            note(f"warning: {finding.message}")
        model = model.best_estimator_
    model.progress = False
    shape = "component" if model.n_components == 1 else "components"
    note(f"fitted {model.n_components} {shape} in {model.n_iter_} iterations: {model.status_}")
    return model


def _one(covariance: str | tuple[str, ...]) -> str:
    """The structure where just one is asked for."""
    from mixtura.covariance import NAMES

    names = (covariance,) if isinstance(covariance, str) else covariance
    return names[0] if len(names) == 1 and names[0] in NAMES else ""


def write_json(path: Path, told: dict[str, Any]) -> None:
    """Write plain values as JSON."""
    text = json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _earlier(directory: Path) -> list[str]:
    """What an earlier run wrote beside its summary."""
    try:
        told = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
        names = {told[key] for key in ("labels", "report", "annotated") if key in told}
    except (OSError, ValueError, KeyError, TypeError):
        return []
    known = {"labels.parquet", "labels.csv", REPORT}
    return sorted(n for n in names if n in known or (n.endswith(".h5ad") and Path(n).name == n))
