"""Methods: how a mixture was fitted and chosen, as a paragraph to paste into a paper."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from mixtura.apps import sought, words
from mixtura.apps.report import references
from mixtura.apps.report.figures import share
from mixtura.apps.report.references import Reference
from mixtura.apps.report.subject import Facts
from mixtura.covariance import structure
from mixtura.criteria import P_VALUES, named
from mixtura.race import EFFORTS
from mixtura.stability import REFITS
from mixtura.stop import Still
from mixtura.trials import REFIT

LISTED = 12
"""Most features that are named one by one."""

KINDS = {
    "kmeans": "k-means",
    "standardised": "k-means on standardised columns",
    "whitened": "k-means on whitened rows",
    "k-means++": "k-means++ seeds",
    "random_from_data": "random rows",
    "whitened_rows": "random rows, nearest after whitening",
    "hierarchical": "model-based agglomeration",
    "random": "random responsibilities",
    "given": "given values",
    REFIT: f"the best of {REFITS} refits, each from starts of its own",
    "fit": "the best of these once more",
    "simpler": "the fit of a simpler structure",
    "smaller": "a fit with one component less",
    "larger": "a fit with one component more",
}
"""Kinds of starts in words."""

Said = tuple[str, tuple[Reference, ...]]


def methods(model: Any, told: dict[str, Any] | None = None) -> str:
    """How a mixture was fitted and chosen, as plain text: a paragraph, an empty line, and its references.

    Args:
        model: a fitted or loaded :class:`mixtura.GaussianMixture`.
        told: what ``summary.json`` holds, see :class:`Fitted`; without it the paragraph is silent about what was done
            to the rows and how the number of components was chosen.

    Examples:
        >>> from mixtura import GaussianMixture
        >>> gm = GaussianMixture(2, covariance_type="tied", random_state=0).fit([[0.0], [0.2], [0.4], [5.0], [5.3]] * 5)
        >>> methods(gm).split(";")[0]
        'A Gaussian mixture model (McLachlan & Peel 2000) with 2 components was fitted to 25 rows of 1 feature (x0)'
    """
    text, cited = paragraph(model, told)
    return "\n".join([text, "", *(reference.full for reference in cited)])


def paragraph(model: Any, told: dict[str, Any] | None = None) -> tuple[str, list[Reference]]:
    """The paragraph alone, and what it cites in alphabetical order."""
    facts = Facts(model, told or {})
    said = [sentence for part in PARTS for sentence in part(facts)]
    cited = {reference for _, of in said for reference in of}
    return " ".join(text for text, _ in said), sorted(cited, key=lambda reference: reference.full)


def _model(facts: Facts) -> Iterator[Said]:
    k = facts.components
    of = "" if facts.rows is None else f" to {words.count(facts.rows)} rows of {_features(facts.names)}"
    column, weight = facts.told.get("weight_column"), facts.told.get("weight")
    if of and column is not None and weight is not None:
        of += f", weighted by {column} (sum {words.count(weight)})"
    done = f"was fitted{of}" if facts.estimated else "and given parameters was used"
    own = facts.model.mixture_.covariance.own_orientation
    many = facts.choice is not None and len(set(facts.choice.table_["covariance_type"])) > 1
    cited = () if own and not many else (references.STRUCTURES,)
    about = structure(facts.model._structure).about
    yield (
        f"A Gaussian mixture model ({references.MIXTURES.short}) with {k} component{_s(k)} {done}; "
        f"{about}{_cite(cited)}.",
        (references.MIXTURES, *cited),
    )


def _steps(facts: Facts) -> Iterator[Said]:
    first = "Before that, "
    for step in facts.steps:
        which = step.get("columns") or facts.names
        of = "" if len(which) == facts.features else f" in {_listed(which)}"
        if step.get("name") == "asinh":
            yield f"{first}values{of} were transformed by asinh(x / {step['cofactor']:g}).", ()
        elif step.get("name") == "compensate":
            keyword = step.get("keyword")
            source = f" stored in the file under {keyword}" if keyword else " stored in the file"
            yield f"{first}spillover between channels was compensated with the matrix{source}.", ()
        first = "Then "


def _em(facts: Facts) -> Iterator[Said]:
    if not facts.estimated:
        return
    model = facts.model
    if model.reproduce is not None and model.tol != "auto":
        rule = f"the mean log likelihood changed by less than {model.tol:g}, as in scikit-learn"
        cited: tuple[Reference, ...] = (references.EM,)
    elif model.tol == "auto":
        rule = (
            f"the log likelihood still to be gained, by Aitken's extrapolation ({references.AITKEN.short}), was below "
            f"{_power(_per_row(model))} nats a row"
        )
        cited = (references.EM, references.AITKEN)
    else:
        rule, cited = f"the mean log likelihood changed by less than {model.tol:g}", (references.EM,)
    yield (
        "Parameters were estimated by maximum likelihood with the expectation–maximisation (EM) algorithm "
        f"({references.EM.short}), which was to stop when {rule}.",
        cited,
    )
    if model.missing == "em":
        yield (
            "Rows with missing entries counted with the marginal density of what was observed, which takes entries to "
            f"be missing at random ({references.MISSING.short}).",
            (references.MISSING,),
        )
    if facts.status in ENDED:
        yield ENDED[facts.status], ()


def _per_row(model: Any) -> float:
    """Nats a row that the fit was to leave to gain: a race stops as its effort says."""
    starts = getattr(model, "starts_", [])
    raced = any(s.get("stages", [])[1:] or s["status"] == "dropped" or s["kind"] == REFIT for s in starts)
    return EFFORTS[model.effort].per_row if raced else Still().per_row


ENDED = {
    "max_iter": "It reached its limit of iterations before that.",
    "degenerate": "The result is degenerate: at least one component has too little support in the data.",
    "interrupted": "It was interrupted before that.",
}
"""What has to be said of a fit that did not end as it should."""


def _starts(facts: Facts) -> Iterator[Said]:
    starts = facts.starts
    if not starts:
        return
    seed = "" if facts.seed is None else f" (random seed {facts.seed})"
    raced = [start for start in starts if not sought.made(start)]
    kinds = Counter(KINDS.get(start["kind"], str(start["kind"])) for start in raced)
    each = ", ".join(f"{count} from {kind}" for kind, count in kinds.items())
    dropped, moves = sum(start["status"] == "dropped" for start in raced), _kind(starts, "move")
    kept = "the best sound one was kept"
    if moves:
        kept = "those that fell behind were dropped on the way"
    elif dropped:
        kept = f"{dropped} that fell behind were dropped on the way, and of the others {kept}"
    if len(raced) == 1:
        yield f"EM was started once, from {next(iter(kinds))}{seed}.", ()
    else:
        yield f"EM was started {len(raced)} times{seed}: {each}; {kept}.", ()
    if moves:
        yield from _local(starts, moves, len({start["search"] for start in raced}))


def _local(starts: list[Any], moves: int, searches: int) -> Iterator[Said]:
    each = "the best one" if searches == 1 else f"the best one of each of {searches} independent searches"
    yield (
        f"From {each}, local search tried {moves} moves that take one component away and split "
        f"another one, and kept those that were sound and better ({references.MOVES.short}).",
        (references.MOVES,),
    )
    if shakes := _kind(starts, "shake"):
        yield (
            f"Where moves gained nothing, it went on from {shakes} mixtures of the same shares, but of rows weighed at "
            f"random ({references.SHAKE.short}).",
            (references.SHAKE,),
        )
    if kicks := _kind(starts, "kick"):
        yield (
            f"It went on from {kicks} kicks of the best optimum so far, several of whose components were moved at once "
            f"({references.KICK.short}).",
            (references.KICK,),
        )
    if crosses := _kind(starts, "cross"):
        yield (
            f"Optima were crossed with others: {crosses} mixtures whose components are one's or the other's "
            f"({references.CROSS.short}) went the same way.",
            (references.CROSS,),
        )


def _kind(starts: list[Any], kind: str) -> int:
    return sum(start["kind"] == kind for start in starts)


WHERE = {
    "bic": ", where L is the likelihood, p the number of free parameters and n that of rows",
    "aic": ", where L is the likelihood and p the number of free parameters",
    "icl": ", where BIC = −2 log L + p log n, L is the likelihood, p the number of free parameters and n that of rows",
    "icl_entropy": ", where BIC = −2 log L + p log n, L is the likelihood, p the number of free parameters and n that "
    "of rows",
    "cv": ", where L is the likelihood",
}
"""What the letters in the definition of a criterion mean."""


def _choice(facts: Facts) -> Iterator[Said]:
    choice = facts.choice
    if choice is None:
        if "selection" in facts.told and facts.estimated:
            yield f"The number of components, {facts.components}, was set beforehand.", ()
        return
    table, name = choice.table_, choice.criterion
    sizes, kinds = sorted(set(table["n_components"].tolist())), list(dict.fromkeys(table["covariance_type"].tolist()))
    tried = f"{_ranged(sizes)} component{_s(sizes[-1])}"
    among = tried if len(kinds) == 1 else f"{tried} and the covariance structures {_listed(kinds)}"
    chosen = "The number of components was" if len(kinds) == 1 else "The number of components and the structure were"
    reference, definition = references.CRITERIA.get(name, (None, named(name)))
    cited = () if reference is None else (reference,)
    lowest = "" if name in P_VALUES else "the lowest "
    limit = " The chosen number is the largest that was tried." if choice.largest else ""
    yield (
        f"{chosen} chosen among {among} by {lowest}{definition}{_cite(cited)}{WHERE.get(name, '')}; fits that were "
        f"not sound were set aside.{limit}",
        cited,
    )


def _labels(facts: Facts) -> Iterator[Said]:
    if facts.components == 1:
        return
    doubt = facts.told.get("doubt") or {}
    above, rows = (doubt.get("above") or {}).get("0.1"), doubt.get("rows") or facts.rows
    sure = ""
    if above is not None and rows:
        sure = f"; it was below 0.9 for {share(above, rows)} of the rows"
    yield f"Each row was assigned to the component with the largest posterior probability{sure}.", ()


def _merging(facts: Facts) -> Iterator[Said]:
    found = facts.merged
    if found is None or facts.components == 1:
        return
    bends = "where the entropy of the rows bends" if found.number == found.n_clusters_ else "a number set beforehand"
    yield (
        f"Components were then merged into {found.number} cluster{_s(found.number)}, {bends}, each time the two whose "
        f"union lowered the entropy of the posterior probabilities most ({references.MERGING.short}); a row belongs to "
        "the cluster whose components have the largest posterior probability together.",
        (references.MERGING,),
    )


def _software(facts: Facts) -> Iterator[Said]:
    named = {"mixtura": "mixtura", "torch": "PyTorch", "numpy": "NumPy", "scikit-learn": "scikit-learn"}
    found = [f"{named.get(name, name)} {version}" for name, version in facts.versions.items()]
    yield f"Software: {', '.join(found)}.", ()


PARTS = (_model, _steps, _em, _starts, _choice, _labels, _merging, _software)
"""The sentences in their order; each part knows when it has nothing to say."""


def _features(names: Sequence[str]) -> str:
    count = len(names)
    listed = f" ({_listed(names)})" if count <= LISTED else ""
    return f"{count} feature{_s(count)}{listed}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(str, names))


def _ranged(sizes: list[int]) -> str:
    if len(sizes) > 2 and sizes == list(range(sizes[0], sizes[-1] + 1)):
        return f"{sizes[0]} to {sizes[-1]}"
    return _listed(list(map(str, sizes)))


def _cite(cited: tuple[Reference, ...]) -> str:
    return f" ({'; '.join(reference.short for reference in cited)})" if cited else ""


def _power(value: float) -> str:
    return f"{value:g}".replace("e-0", "e-")


def _s(count: int) -> str:
    return "" if count == 1 else "s"
