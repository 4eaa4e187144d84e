"""Sure: how far a fit can be believed, in plain words."""

import math
from collections.abc import Iterator

from mixtura.apps import sought, words
from mixtura.apps.report.blocks import Block, Details, Listing, Paragraph, Table, cells
from mixtura.apps.report.figures import share, typeset
from mixtura.apps.report.subject import Facts, Fitted

STATUS = {
    "converged": "The fit has come to rest: further iterations would not change it.",
    "max_iter": "The fit was stopped at its limit of iterations before it came to rest. Fit again with a higher "
    "max_iter; the clusters may still move.",
    "degenerate": "The fit is not sound: at least one cluster has too little support in the data, or has shrunk to "
    "almost nothing in some direction. Its likelihood and its criteria mean nothing, and that cluster should not be "
    "interpreted.",
    "interrupted": "The fit was interrupted before it came to rest. Fit again before you use it.",
}
"""How a fit ended, for readers."""

ADVICE = {
    "empty": "Fewer clusters will do.",
    "few_rows": "Fewer clusters, a simpler structure or more rows may help.",
    "narrow": "Look for repeated or rounded values, or for columns that follow from each other.",
    "floored": "Look for repeated values, for example events piled up at the end of the scale, or use fewer clusters.",
    "grid": "The cluster lies on one recorded value: a column with few distinct values is better left out.",
    "few_rows_for_full": "",
    "dependent_columns": "",
    "duplicated_rows": "Check that no file was read twice.",
}
"""What to try about a finding, where its own sentence does not say so."""

CRITERIA = (
    ("loglik", "Log likelihood, in nats"),
    ("n_parameters", "Free parameters"),
    ("bic", "BIC (lower is better)"),
    ("aic", "AIC (lower is better)"),
    ("icl", "ICL (lower is better)"),
)


def how_sure(fit: Fitted) -> Iterator[Block]:
    """How the fit ended, what is wrong with it, how it was found, and how many rows are in doubt."""
    facts = fit.facts
    if facts.estimated:
        yield Paragraph(
            STATUS.get(facts.status, f"Status: {facts.status}."), "" if facts.status == "converged" else "warning"
        )
    if facts.findings:
        yield Listing(
            [("", advised(finding["kind"], str(finding["message"]))) for finding in facts.findings], "warnings"
        )
    elif facts.estimated:
        yield Paragraph("The checks found nothing wrong with it or with the data.")
    found = sought.how_found(facts.model)
    if found:
        ended = sum(not math.isnan(start["loglik"]) for start in facts.starts)
        agreed = " A fit that many starts reach is likely the best there is." if ended > 1 else ""
        yield Paragraph(f"{found}{agreed}")
    yield from in_doubt(fit)
    yield from figures(facts)


def advised(kind: str, message: str) -> str:
    """A finding with what to try about it."""
    return f"{message} {ADVICE.get(kind, '')}".strip()


def in_doubt(fit: Fitted) -> Iterator[Block]:
    """How many rows could be of another cluster."""
    told, sampled = fit.doubt
    if fit.facts.components == 1 or not told["rows"]:
        return
    if not told["above"]["0.05"]:
        yield Paragraph("No row is in doubt: all have a probability of 95 % or more to be of the cluster they are in.")
        return
    of = f"the {words.count(told['rows'])} rows {'drawn' if sampled else 'in all'}"
    above = told["above"]
    yield Paragraph(
        f"Of {of}, {share(above['0.1'], told['rows'])} are in doubt: for them the probability of the cluster they were "
        f"put in is below 90 %. On average {share(told['mean'], 1)} of the rows are expected to be in the wrong "
        "cluster, if the model holds."
    )
    body = [
        cells(f"below {100 - 100 * float(limit):g} %", words.count(n), share(n, told["rows"]))
        for limit, n in above.items()
    ]
    table = Table("Rows by the probability of the cluster they were put in", ["Probability", "Rows", "Share"], body)
    yield Details("Rows in doubt at other limits", [table])


def figures(facts: Facts) -> Iterator[Block]:
    """Likelihood and criteria, for statisticians."""
    known = [(label, facts.figure(name)) for name, label in CRITERIA]
    body = [
        cells(label, typeset(f"{value:,.0f}" if label == "Free parameters" else f"{value:,.2f}"))
        for label, value in known
        if value is not None
    ]
    if body:
        yield Details("Likelihood and criteria", [Table("Figures of the fit", ["Figure", "Value"], body)])
