"""Figures: numbers as a page shows them."""

import math

from mixtura.apps import words

NONE = "–"
"""Where there is no number."""


def share(part: float | int, whole: float | int) -> str:
    """A percentage that does not round what there is to nothing, nor what is not all to all."""
    percent = 100 * part / whole
    if part > 0 and percent < 0.1:
        return "less than 0.1 %"
    if part < whole and percent > 99.9:
        return "more than 99.9 %"
    return f"{percent:.0f} %" if percent >= 9.95 or part == 0 else f"{percent:.1f} %"


def plus_minus(mean: float | int, sd: float | int) -> str:
    """A mean and its deviation to two digits of the deviation."""
    if math.isnan(mean):
        return NONE
    if sd > 0 and math.isfinite(sd):
        decimals = 1 - math.floor(math.log10(sd))
        if 0 <= decimals <= 6 and abs(mean) < 1e7:
            return typeset(f"{mean:.{decimals}f} ± {sd:.{decimals}f}")
    return typeset(f"{words.short(mean)} ± {words.short(sd)}")


def before_asinh(value: float | int, cofactor: float | int) -> str:
    """c sinh(x) in about three digits."""
    if math.isnan(value):
        return NONE
    try:
        found = cofactor * math.sinh(value)
    except OverflowError:
        return "∞"
    return typeset(f"{found:,.0f}" if abs(found) >= 100 else f"{found:.3g}")


def typeset(number: str) -> str:
    """The number with a minus sign in place of the hyphen."""
    return number.replace("-", "−")
