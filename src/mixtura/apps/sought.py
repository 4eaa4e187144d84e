"""Sought: how an optimum was looked for and found, as text that a person reads."""

import math
from typing import Any

from mixtura.neighbours import KINDS
from mixtura.stability import REFITS
from mixtura.trials import REFIT

NEAR = 0.05
"""A start whose log likelihood is within so many nats of the winner's has reached the same optimum."""


def how_found(model: Any) -> str | None:
    """A sentence about the starts; None where there were none."""
    starts = getattr(model, "starts_", None)
    if not starts:
        return None
    seed = f"seed {model.seed_}, {model.n_iter_} iterations"
    # In a search of models neighbours lend what comes after the races, and then fits are searched on.
    cut = next((i for i, start in enumerate(starts) if start["kind"] in KINDS), len(starts))
    own, later = starts[:cut], starts[cut:]
    if later and not any(map(made, later)):
        if not _ends(model, own)[2]:
            return f"{_lent(starts)}; {seed}."
        starts = own
    if any(map(made, starts)):
        return f"{_searched(model, starts)}; {seed}."
    if starts[0]["kind"] == REFIT:
        return f"{_raced(starts)}; {seed}."
    ended, alike, reached = _ends(model, starts)
    if len(starts) == 1:
        return f"One start ({starts[0].get('kind', 'given')}), {seed}."
    if len(ended) == 1:
        return f"{len(starts)} starts raced, the best was run to the end; {seed}."
    raced = f"{len(starts)} starts raced; " if len(ended) < len(starts) else ""
    which = f"the {len(ended)} run to the end" if raced else f"the {len(ended)} starts"
    unsound = len(ended) - len(alike)
    other = f", {unsound} ended otherwise" if unsound else ""
    return f"{raced}{len(reached)} of {which} reached the best{other}; {seed}."


def _ends(model: Any, starts: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """The starts that were run to the end; those of them as sound as the model; those that reached the best."""
    ended = [start for start in starts if not math.isnan(start["loglik"])]
    alike = [start for start in ended if (start["status"] == "degenerate") == (model.status_ == "degenerate")]
    return ended, alike, [start for start in alike if start["loglik"] >= model.loglik_ - NEAR]


def made(start: dict[str, Any]) -> bool:
    """A move, a cross or a kick of local search, unlike a start that raced."""
    return start.get("parent") is not None


def _raced(starts: list[dict[str, Any]]) -> str:
    if starts[0]["kind"] == REFIT:
        return f"The best of {REFITS} refits went on"
    return f"{sum(not made(start) and start['kind'] not in KINDS for start in starts)} starts raced"


def _lent(starts: list[dict[str, Any]]) -> str:
    return f"{_raced(starts)}; going on from the fits of neighbouring models led to a better one"


def _searched(model: Any, starts: list[Any]) -> str:
    """What races and local searches came to."""
    ended, _, reached = _ends(model, starts)
    tried = sum(map(made, starts))
    lent = any(start["kind"] in KINDS[1:] for start in ended)
    what = tries(starts)
    line = lineage(starts, starts.index(reached[0]))[:-1] if reached else []
    better = f"{len(line)} of the {tried} {what} tried by local search led to the best"
    found = better if line else f"none of the {tried} {what} tried by local search was better"
    raced = f"{_lent(starts) if lent else _raced(starts)}; {found}"
    every, kicked = {s["search"] for s in starts}, {s["search"] for s in starts if s["kind"] == "kick"}
    if len(every) == 1:
        return raced
    best = {at for at, start in enumerate(starts) if any(start is end for end in reached)}
    came = {s["search"] for at, s in enumerate(starts) if at in best or s.get("same_as") in best}
    if len(came) > 1:
        kicks = f" and {len(came & kicked)} of the {len(kicked)} from kicks" if kicked else ""
        one = len(every - kicked)
        return f"{raced}; {len(came - kicked)} of the {one} independent searches{kicks} came to the same optimum"
    kicks = f" and {len(kicked)} from kicks" if kicked else ""
    how = "found by crossing two optima, " if any(starts[i]["kind"] == "cross" for i in line) else ""
    return f"{raced}; {how}the best of {len(every - kicked)} independent searches{kicks}, which no other reached"


TRIES = {"move": "moves", "shake": "shakes", "cross": "crosses", "kick": "kicks"}
"""What local search makes of optima."""


def tries(starts: list[Any]) -> str:
    """What local search tried."""
    kinds = {start["kind"] for start in starts}
    *most, last = (what for kind, what in TRIES.items() if kind in kinds or kind == "move")
    return f"{', '.join(most)} and {last}" if most else last


def lineage(starts: list[Any], at: int) -> list[int]:
    """A start and those that it was made of, back to the one that raced."""
    line = [at]
    while (parent := starts[line[-1]].get("parent")) is not None:
        line.append(parent)
    return line
