"""Pictures of the ratios, from the results alone: ``python benchmarks/plots.py [--results FOLDER] [--output FOLDER]``.

Bars end at the median, lines span the quartiles, and an upright stroke is what was wanted. All is drawn in greys.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent


class Bar(NamedTuple):
    """One ratio: its quartiles, what was wanted of it, and what kind it is."""

    label: str
    quartiles: list[float]
    wanted: float | None
    kind: str


def bars_of_passes(found: list[dict[str, Any]]) -> list[Bar]:
    return [Bar(row["workload"], row["ratio_quartiles"], row["wanted"], "scikit-learn") for row in found]


def bars_of_peers(found: list[dict[str, Any]]) -> list[Bar]:
    return [
        Bar(
            f"{row['workload']}, {cell['program']}",
            cell["ratio_quartiles"],
            row["wanted"] if cell["program"] == row["fastest"] else None,
            cell["program"],
        )
        for row in found
        for cell in row["programs"]
        if "ratio_quartiles" in cell
    ]


def bars_of_fits(found: dict[str, Any]) -> list[Bar]:
    kinds = {"standard": "default beside n_init=10", "quick": "quick beside one start"}
    return [
        Bar(cell["case"], cell["ratio_quartiles"], found[effort]["wanted_speed"], kinds[effort])
        for effort in kinds
        for cell in found["cases"]
        if cell["effort"] == effort
    ]


PICTURES = {
    "passes": (bars_of_passes, "time of scikit-learn's EM pass over mixtura's"),
    "peers": (bars_of_peers, "time of a peer's EM pass over mixtura's"),
    "fits": (bars_of_fits, "time of scikit-learn's whole fit over mixtura's"),
}
GREYS = ("0.35", "0.75", "0.55", "0.9")
HATCHES = ("", "///", "...", "xx")


def draw(bars: list[Bar], about: str, path: Path) -> None:
    """Horizontal bars on a logarithmic axis."""
    kinds = list(dict.fromkeys(bar.kind for bar in bars))
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.26 * len(bars)), layout="constrained")
    for at, bar in enumerate(bars):
        low, middle, high = bar.quartiles
        style = kinds.index(bar.kind) % len(GREYS)
        axes.barh(at, middle - 1, left=1, color=GREYS[style], hatch=HATCHES[style], edgecolor="0.1", linewidth=0.5)
        axes.plot([low, high], [at, at], color="black", linewidth=1.5, solid_capstyle="butt")
        if bar.wanted is not None:
            axes.plot([bar.wanted] * 2, [at - 0.45, at + 0.45], color="black", linewidth=2)
    axes.set_xscale("log")
    ends = [value for bar in bars for value in (*bar.quartiles, bar.wanted or 1)]
    axes.set_xlim(min(0.8, min(ends) / 1.2), max(1.2, max(ends) * 1.2))
    axes.axvline(1, color="black", linewidth=0.8)
    plain = mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "1235" else "")
    axes.xaxis.set_major_formatter(plain)
    axes.xaxis.set_minor_formatter(plain)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"{about} (logarithmic; stroke: wanted)")
    if len(kinds) > 1:
        keys = [
            plt.Rectangle((0, 0), 1, 1, facecolor=GREYS[i % 4], hatch=HATCHES[i % 4], edgecolor="0.1")
            for i in range(len(kinds))
        ]
        figure.legend(keys, kinds, loc="outside upper center", ncols=len(kinds), fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    # The same results make the same file.
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--output", type=Path, default=HERE.parent / "docs" / "figures")
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = "mixtura"
    for name, (bars, about) in PICTURES.items():
        file = asked.results / f"{name}.json"
        found = bars(json.loads(file.read_text())[name]) if file.exists() else []  # type: ignore[operator]
        if not found:
            print(f"{name}: SKIPPED, no ratios in {file}")
            continue
        draw(found, about, asked.output / f"{name}.svg")
        print(f"{name}: {asked.output / f'{name}.svg'}")


if __name__ == "__main__":
    main()
