"""Ratios of programs that took turns, the claims about them, and tables in words."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from common import quiet

Row = dict[str, Any]


def say(line: str) -> None:
    """Print at once: a benchmark is watched."""
    print(line, flush=True)


def by_turns(jobs: Mapping[str, Callable[[], float]], pairs: int) -> dict[str, list[float]]:
    """What every job gives in each of so many turns; every other turn runs the jobs in the reverse order.

    Each begins when the process is quiet.
    """
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(pairs):
        order = list(jobs) if turn % 2 == 0 else list(reversed(jobs))
        for name in order:
            quiet()
            found[name].append(jobs[name]())
    return found


def quartiles(values: Sequence[float]) -> list[float]:
    """Lower quartile, median, upper quartile."""
    return [round(float(q), 3) for q in np.quantile(values, [0.25, 0.5, 0.75])]


def at_least(values: Sequence[float], wanted: float) -> Row:
    """A claim that is reached where the lower quartile of the ratios meets it."""
    found = quartiles(values)
    return {"ratio_quartiles": found, "wanted": wanted, "reached": bool(found[0] >= wanted)}


def at_most(values: Sequence[float], wanted: float | None) -> Row:
    """A claim that is reached where the upper quartile of the ratios does not exceed it; None claims nothing."""
    found = quartiles(values)
    return {"ratio_quartiles": found, "wanted": wanted, "reached": None if wanted is None else bool(found[2] <= wanted)}


def over(times: Mapping[str, Sequence[float]], numerator: str, denominator: str) -> list[float]:
    """The ratio of two jobs in each turn."""
    return [a / b for a, b in zip(times[numerator], times[denominator], strict=True)]


def milliseconds(seconds: Sequence[float]) -> float:
    """The median."""
    return round(1e3 * float(np.median(seconds)), 3)


# ---- words
def spread(claim: Row, bold: bool = False) -> str:
    """Quartiles as text."""
    low, middle, high = claim["ratio_quartiles"]
    return f"{low:.2f} – **{middle:.2f}** – {high:.2f}" if bold else f"{low:.2f} | {middle:.2f} | {high:.2f}"


def verdict(claim: Row) -> str:
    """What was wanted and whether it was reached."""
    if claim["wanted"] is None:
        return ""
    return f"wanted {claim['wanted']:g}: {'reached' if claim['reached'] else 'NOT REACHED'}"


def named(label: str) -> str:
    """A workload's label for readers."""
    return label.replace("x", " × ", 1).replace(" K", ", K")


def mib(value: float | None) -> str:
    """Memory, or nothing where it was not measured."""
    return "" if value is None else f"{value:.0f} MiB"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]


def passes(found: list[Row]) -> list[str]:
    """Markdown of the table of passes."""
    head = (
        "rows × features, K",
        "mixtura",
        "scikit-learn",
        "scikit-learn's time over ours",
        "our time over the two bare products'",
        "float64 over float32",
        "peak memory above the data, mixtura and scikit-learn",
    )
    return grid(
        head,
        [
            (
                named(row["workload"]),
                f"{row['mixtura_ms']:.1f} ms",
                f"{row['sklearn_ms']:.0f} ms",
                f"{spread(row, True)} (wanted {row['wanted']:g})",
                spread(row["over_bare"], True)
                + (f" (wanted {row['over_bare']['wanted']:g})" if row["over_bare"]["wanted"] else ""),
                f"{spread(row['over_float32'], True)} (wanted {row['over_float32']['wanted']:g})",
                f"{mib(row['mixtura_mib'])}, {mib(row['sklearn_mib'])}",
            )
            for row in found
        ],
    )


def structures(found: list[Row]) -> list[str]:
    """Markdown of the table of structures."""
    lines = [
        (f"{row['structure']}", row["code"], f"{row['ms']:.1f} ms", f"{spread(row, True)} (wanted {row['wanted']:g})")
        for row in found
    ]
    return grid(("structure", "code", "a pass", "over a pass of full"), lines)


def short(found: list[Row]) -> list[str]:
    """Markdown of passes beside scikit-learn's alone."""
    lines = [
        (named(row["workload"]), f"{row['mixtura_ms']:.1f} ms", f"{row['sklearn_ms']:.0f} ms", spread(row, True))
        for row in found
    ]
    return grid(("rows × features, K, covariances", "mixtura", "scikit-learn", "ratio, quartiles"), lines)


def peers(found: list[Row]) -> list[str]:
    """Markdown of the table of peers."""
    lines = []
    for row in found:
        for cell in row["programs"]:
            timed = cell["status"] == "timed"
            ratio = spread(cell, True) if timed and "ratio_quartiles" in cell else ""
            if cell["program"] == row["fastest"]:
                ratio += f" (wanted {row['wanted']:g})"
            lines.append(
                (
                    named(row["workload"]),
                    cell["program"],
                    cell.get("dtype") or "",
                    f"{cell['ms']:.1f} ms" if "ms" in cell else f"{cell['status']}: {cell['reason']}",
                    ratio,
                    f"{cell['loglik']:.4f}" if cell.get("loglik") is not None else "",
                    mib(cell.get("mib")),
                )
            )
    head = ("rows × features, K", "program", "precision", "a pass", "over ours", "log likelihood a row", "peak memory")
    return grid(head, lines)


def fits(found: Row) -> list[str]:
    """Markdown of the table of whole fits."""
    lines = [
        (
            f"{cell['case']}, {cell['effort']}",
            f"{cell['seconds']:.2f} s",
            f"{cell['theirs']:.2f} s",
            spread(cell, True) if cell["pairs"] > 1 else f"**{cell['ratio_quartiles'][1]:.2f}**",
            f"{cell['gap']:+.2f}",
        )
        for cell in found["cases"]
    ]
    return [
        *grid(("case, effort", "mixtura", "scikit-learn", "ratio", "nats above scikit-learn, at worst"), lines),
        "",
        *(f"- {summed(effort, found[effort])}" for effort in ("standard", "quick")),
    ]


def summed(effort: str, summary: Row) -> str:
    """The summary of all fits of one effort, in a sentence."""
    slowest = f"slowest case {summary['slowest']:.2f} ({summary['slowest_case']})"
    if summary["wanted_slowest"] is not None:
        slowest += f", wanted {summary['wanted_slowest']:g}"
    return (
        f'`effort="{effort}"`: {summary["share"]:.0%} of fits at or above -0.5 nat '
        f"(wanted {summary['wanted_share']:.0%}), "
        f"{summary['speed']:.2f} times as fast (geometric mean of the lower quartiles, "
        f"wanted {summary['wanted_speed']:g}), {slowest}"
    )


def many(found: Row) -> list[str]:
    """Markdown of the table of many fits."""
    if "skipped" in found:
        return [f"SKIPPED: {found['skipped']}"]
    row = (
        found["workload"],
        f"{found['mixtura_ms']:.0f} ms",
        f"{found['sklearn_ms']:.0f} ms",
        f"{spread(found, True)} (wanted {found['wanted']:g})",
        f"{found['worst_gap']:+.4f}",
    )
    return grid(("groups", "fit_many", "a loop of scikit-learn's", "ratio", "nats above, at worst"), [row])


def memory(found: list[Row]) -> list[str]:
    """Markdown of the table of memory."""
    lines = [
        (named(row["workload"]), row["dtype"], mib(row["mib_above_data"]), f"{row['wanted']} MiB") for row in found
    ]
    return grid(("rows × features, K", "precision", "above the data", "wanted at most"), lines)


def imports(found: Row) -> list[str]:
    """Markdown of the time of the import."""
    line = (f"{found['seconds_beyond_torch_and_sklearn']:.3f} s", f"{found['wanted']:g} s")
    return grid(("import, beyond torch and sklearn.base", "wanted at most"), [line])


MARKDOWN: dict[str, Callable[[Any], list[str]]] = {
    "passes": passes,
    "structures": structures,
    "peers": peers,
    "fits": fits,
    "many": many,
    "memory": memory,
    "import": imports,
}
"""For every table, what puts its result into words."""

SHORT: dict[str, Callable[[Any], list[str]]] = {"passes": short}
"""The same in fewer words, for places named ``NAME-short``."""
