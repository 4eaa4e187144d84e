"""Page: fits as one HTML document with its style and pictures inside."""

import importlib.util
import re
from collections.abc import Sequence
from importlib.resources import files

from mixtura import __version__
from mixtura.apps.report.content import fit_section
from mixtura.apps.report.subject import Fitted

NEEDED = ("jinja2", "matplotlib")


def page(title: str, fits: Sequence[Fitted]) -> str:
    """One page about one fit or several.

    It loads nothing: style and pictures are inside, and there is no script.

    Args:
        title: heading of the page.
        fits: what to report, in this order.

    Returns:
        The HTML text, to be written as UTF-8.

    Raises:
        ModuleNotFoundError: jinja2 or matplotlib is not installed.
        ValueError: there is no fit.

    Examples:
        >>> import numpy as np
        >>> from mixtura import GaussianMixture
        >>> X = np.array([[0.0], [0.2], [0.4], [5.0], [5.3]] * 5)
        >>> gm = GaussianMixture(2, covariance_type="tied", random_state=0).fit(X)
        >>> text = page("Leaves", [Fitted("Lengths", gm, {"columns": ["length"]}, X, gm.predict(X), len(X))])
        >>> "low length" in text, "<script" in text
        (True, False)
    """
    check_installed()
    if not fits:
        raise ValueError("fits is empty, expected at least one fit to report")
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_shipped),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kept"] = _kept
    sections = [fit_section(f"fit-{at}", fit) for at, fit in enumerate(fits, 1)]
    text: str = environment.get_template("page.html.j2").render(title=title, sections=sections, version=__version__)
    return text


def installed() -> bool:
    """A report can be made here."""
    return not _absent()


def check_installed() -> None:
    """Complain early where a report cannot be made.

    Raises:
        ModuleNotFoundError: jinja2 or matplotlib is not installed.
    """
    if missing := _absent():
        raise ModuleNotFoundError(f'reports need {" and ".join(missing)}: pip install "mixtura[report]"')


def _absent() -> list[str]:
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def _kept(text: str) -> str:
    """Units stay on the line of their number."""
    return re.sub(r"(?<=\d) (?=%|sd\b)", "\N{NO-BREAK SPACE}", text)


def _shipped(name: str) -> str:
    return files("mixtura.apps.report").joinpath(name).read_text(encoding="utf-8")
