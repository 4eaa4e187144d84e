"""Content: what a report says of one fit, section by section."""

from collections.abc import Iterator
from typing import Any

from mixtura.apps import words
from mixtura.apps.distinct import LARGE, distinctions
from mixtura.apps.report import references
from mixtura.apps.report.blocks import Block, Listing, Paragraph, Section, Table, cells
from mixtura.apps.report.choosing import choice
from mixtura.apps.report.clusters import centres, original
from mixtura.apps.report.figures import share
from mixtura.apps.report.merged import in_short, merged
from mixtura.apps.report.methods import paragraph
from mixtura.apps.report.pictures import fit_pictures
from mixtura.apps.report.subject import Facts, Fitted
from mixtura.apps.report.sure import how_sure
from mixtura.covariance import structure

LISTED = 40
"""Most columns that are named one by one."""

COMPONENT = (
    "A cluster here is one Gaussian of the mixture: a bell-shaped cloud of rows. A population whose cloud has another "
    "shape can need several of them, so look at the pictures before a cluster is given a name."
)


def fit_section(anchor: str, fit: Fitted) -> Section:
    """Everything about one fit.

    Args:
        anchor: its address within the page, unique on it.
        fit: what to report.
    """
    each: list[tuple[str, str, Iterator[Block]]] = [
        ("data", "What was fitted", what_was_fitted(fit)),
        ("sure", "How sure it is", how_sure(fit)),
        ("number", "Choice of the number of clusters", choice(fit)),
        ("clusters", "The clusters", clusters(fit)),
        ("merged", "Merged clusters", merged(fit)),
        ("pictures", "Pictures", fit_pictures(fit)),
        ("methods", "Methods, to paste into a paper", methods_text(fit.facts)),
        ("reproduce", "To reproduce it", reproduce(fit)),
    ]
    made = [(name, title, list(blocks)) for name, title, blocks in each]
    parts = [Section(f"{anchor}-{name}", title, blocks) for name, title, blocks in made if blocks]
    return Section(anchor, fit.name, list(answer(fit)), parts)


def answer(fit: Fitted) -> Iterator[Block]:
    """The result in a sentence, with a warning where it cannot be believed."""
    facts = fit.facts
    rows = words.count(fit.total)
    held = [k for k, weight in enumerate(facts.weights) if weight > 0]
    if len(held) == 1:
        text = f"One Gaussian describes the {rows} rows: they are one cluster, and nothing is divided."
    else:
        whole = sum(facts.weights)
        by_size = sorted(facts.weights[k] / whole for k in held)
        sizes = f"the largest holds {share(by_size[-1], 1)} of them, the smallest {share(by_size[0], 1)}"
        told, _ = fit.doubt
        doubtful = told["above"]["0.1"]
        in_doubt = f"In doubt are {share(doubtful, told['rows'])} of the rows." if doubtful else "No row is in doubt."
        text = f"The {rows} rows fall into {len(held)} clusters: {sizes}. {in_doubt}{in_short(facts)}"
    yield Paragraph(text, "answer")
    if facts.status == "degenerate":
        yield Paragraph("This fit is not sound. Do not build on it before you have read how sure it is.", "warning")


def what_was_fitted(fit: Fitted) -> Iterator[Block]:
    """The data, how they were read, and the model in words."""
    facts, told = fit.facts, fit.told
    terms = [("File", str((told.get("input") or {}).get("file", "not from a file"))), ("Rows", words.count(fit.total))]
    if facts.rows is not None and abs(facts.rows - fit.total) > 1e-9 * fit.total:
        terms.append(("Rows that the model was fitted to", words.count(facts.rows)))
    terms.append((f"Features ({facts.features})", _some(facts.names)))
    if told.get("columns_left_out"):
        terms.append(("Columns left out", _some(list(map(str, told["columns_left_out"])))))
    if told.get("id") is not None:
        terms.append(("Column that names the rows", str(told["id"])))
    yield terms_table("The data", terms)
    if fit.notes:
        yield Listing([("", str(note)) for note in fit.notes])
    yield Paragraph(model_in_words(facts))
    yield Paragraph(COMPONENT, "fine")


def model_in_words(facts: Facts) -> str:
    """The mixture and the shape of its components."""
    k = facts.components
    about = structure(facts.model._structure).about
    origin = "" if facts.estimated else " Its parameters were given, not estimated from rows."
    return (
        f"The model is a Gaussian mixture with {k} component{'s' if k > 1 else ''}: {about}. It has "
        f"{facts.model.n_parameters_:,} free parameters.{origin}"
    )


def clusters(fit: Fitted) -> Iterator[Block]:
    """What distinguishes each cluster, and the tables of all."""
    facts = fit.facts
    if facts.components > 1:
        yield Paragraph("What distinguishes each cluster from the others:")
        lines = zip(facts.weights, distinctions(facts.model, facts.names), strict=True)
        yield Listing([(f"Cluster {k} ({share(weight, 1)}):", line) for k, (weight, line) in enumerate(lines)])
        yield Paragraph(
            "The numbers in brackets say how far the mean of the cluster lies from the mean of all others, in standard "
            f"deviations (sd) of the feature within clusters; from {LARGE} on a difference is called large (Cohen "
            "1988).",
            "fine",
        )
    yield from centres(facts)
    if facts.components > 1 and facts.told.get("counts") is not None:
        yield Paragraph(
            "“Rows” counts every row in the cluster that it most probably belongs to; “Share” is the weight of the "
            "cluster in the mixture, to which rows in doubt add in parts.",
            "fine",
        )
    yield from original(facts)


def methods_text(facts: Facts) -> Iterator[Block]:
    """The paragraph on methods with its references."""
    text, cited = paragraph(facts.model, facts.told)
    yield Paragraph(text, "paste")
    yield Listing([("", reference.full) for reference in cited], "references")
    above = [references.KASS] if facts.choice is not None and facts.choice.criterion == "bic" else []
    above = above if facts.components == 1 else [references.COHEN, *above]
    if above:
        yield Paragraph("Cited further up on this page:", "fine")
        yield Listing([("", reference.full) for reference in above], "references")


def reproduce(fit: Fitted) -> Iterator[Block]:
    """What is needed to get the same numbers again."""
    facts, told = fit.facts, fit.told
    of_file: dict[str, Any] = told.get("input") or {}
    terms = [("File", str(of_file["file"]))] if of_file.get("file") else []
    if of_file.get("sha256"):
        terms.append(("SHA-256 of the file", str(of_file["sha256"])))
    if told.get("call"):
        terms.append(("Command or call", str(told["call"])))
    terms.append(("Model", " ".join(repr(facts.model).split())))
    if facts.seed is not None:
        terms.append(("Random seed", str(facts.seed)))
    for label, key in (("Device", "device"), ("Threads", "threads"), ("Rows counted by", "counting")):
        if told.get(key) is not None:
            terms.append((label, str(told[key])))
    terms.append(("Software", ", ".join(f"{name} {version}" for name, version in facts.versions.items())))
    yield terms_table("What the numbers depend on", terms)
    if fit.credit:
        yield Paragraph(fit.credit, "fine")


def terms_table(caption: str, terms: list[tuple[str, str]]) -> Table:
    """A table of terms and values."""
    return Table(caption, [], [cells(term, value) for term, value in terms], words=1)


def _some(names: list[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
