"""The commands ``mixtura describe`` and ``mixtura report``: a saved model in words, and how it sees a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mixtura.apps import clusters, labels, remarks, words
from mixtura.apps.clusters import Clusters, merged
from mixtura.apps.distinct import distinctions
from mixtura.apps.job import Done, reading_of
from mixtura.apps.labels import Sampler, Tally
from mixtura.apps.report import Fitted, check_installed, page
from mixtura.apps.store import load
from mixtura.apps.summary import file_facts, of_model, summary
from mixtura.apps.together import Together
from mixtura.data.base import Source
from mixtura.data.steps import say_steps
from mixtura.native.library import library


def loaded(path: Path) -> tuple[Any, dict[str, Any]]:
    """A saved model, and what it tells of itself in types that JSON knows."""
    model = load(path)
    return model, of_model(model)


def text(model: Any, told: dict[str, Any]) -> str:
    """A model in words and tables, what distinguishes its components, and how it was chosen.

    Args:
        model: fitted.
        told: what is known of it, as in ``summary.json``.
    """
    notes = [f"of the values after {say_steps(told['steps'])}"] if told["steps"] else []
    icl = told.get("icl")
    parts = [words.describe(model, columns=told["columns"], counts=told.get("counts"), icl=icl, notes=notes)]
    if model.n_components > 1:
        each = [f"{k}: {phrase}" for k, phrase in enumerate(distinctions(model, told["columns"]))]
        parts.append("\n".join(["What distinguishes each component (sd: standard deviations within)", *each]))
    if (known := Clusters.known(model)) is not None:
        parts.append("\n".join(clusters.describe(known, model, told["merging"])))
    if told["selection"] is not None:
        parts.append("\n".join(words.describe_choice(words.Choice.read(told["selection"]))))
    if not library().handle:
        parts.append(f"Rows are counted on this machine by {library()}.")
    return "\n\n".join(parts)


def seen(model: Any, source: Source, *append: Callable[[dict[str, Any]], None], device: str | None = None) -> Done:
    """How a model sees the rows of a source, in one pass.

    Args:
        model: fitted.
        source: the rows.
        *append: each receives the labels of all rows, as columns, piece by piece.
        device: where to compute.
    """
    tally, sampler = Tally.of(model), Sampler(source.shape[1], getattr(model, "seed_", 0))
    for chunk in labels.chunks(model, source, tally, sampler):
        for receive in append:
            receive(chunk)
    sample = sampler.rows()
    told = summary(model, source, tally, device=device)
    return Done(model, told, sample, labels.of(model, sample), remarks.remarks(sample, source))


def report(
    model_path: Path,
    data: Path,
    output: Path,
    *,
    credit: str | None = None,
    device: str | None = None,
    merge: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Write a report of a saved model and the rows of a file.

    Args:
        model_path: a saved model.
        data: the file; its columns are found by name, and its values are transformed as those of the fit.
        output: ends in ``.html``.
        credit: whose data these are.
        device: where to compute.
        merge: merge the components by these rows, into so many clusters or ``BEND``; None takes the model's own.
        **options: of the reading, such as ``weight``.

    Returns:
        The summary that the report was made of.

    Raises:
        ValueError: the model or the data cannot be used; nothing was written.
        OSError: a file cannot be read or written.
        ModuleNotFoundError: an optional package is needed.
    """
    check_installed()
    if output.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{output.name} ends in {output.suffix or 'nothing'!r}, expected .html: name it so")
    model = load(model_path, device=device)
    source = reading_of(model, data, **options).source()
    file = file_facts(data)
    if merge is not None:
        model.merging_ = merged(model, source, merge).told()
    done = seen(model, source, device=device)
    done.summary["input"] = file
    with Together(output.parent) as outputs:
        stage = outputs.path(output.name)
        outputs.spare(data, model_path)
        stage.write_text(html(done, data.name, credit), encoding="utf-8")
    return done.summary


def html(done: Done, name: str, credit: str | None = None) -> str:
    """One fit as a page.

    Args:
        done: what came of it.
        name: of the data.
        credit: whose they are.
    """
    return page(f"Clusters of {name}", [fitted(done, name, credit)])


def fitted(done: Done, name: str, credit: str | None = None) -> Fitted:
    """One fit as part of a page."""
    told = done.summary
    notes = [*told["told"], *done.remarks]
    return Fitted(name, done.model, told, done.sample, done.labels, told["rows"], notes, credit)
