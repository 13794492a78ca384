"""Pictures of the inventory as files, by matplotlib, which is an extra and imported only here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bot.contracts.command import Chart
from bot.core.errors import Permanent

_COLOURS = ("#1f6f8b", "#e0a458", "#8c4f6b", "#5f7f4f")
_HATCHES = ("", "//", "..", "xx")
_INK, _FAINT = "#1f2937", "#d5d9df"


def save(charts: Sequence[Chart], path: Path) -> None:
    """Write the charts below each other as one PNG. Raises `Permanent` where matplotlib or the place is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise Permanent(
            f"Pictures need the package {error.name}.", "Install keyturn[plots], or leave --png out."
        ) from None
    shown = [chart for chart in charts if chart.categories]
    figure = Figure(figsize=(10, 4.2 * max(1, len(shown))), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    for i, chart in enumerate(shown):
        _draw(figure.add_subplot(len(shown), 1, i + 1), chart)
    if not shown:
        figure.text(0.5, 0.5, "Nothing is due.", ha="center", va="center", color=_INK, parse_math=False)
    description = " ".join(chart.told for chart in shown) or "Nothing is due."
    try:
        figure.savefig(path, format="png", metadata={"Title": "keyturn", "Description": description})
    except OSError as error:
        raise Permanent(
            f"{path} cannot be written: {error.strerror}.", "Name a file in a folder that exists."
        ) from None


def _draw(axes: Any, chart: Chart) -> None:
    """Stacked bars, told apart by hatching as well as by colour, with the total above each."""
    at = list(range(len(chart.categories)))
    below = [0.0] * len(at)
    for i, (name, values) in enumerate(chart.series):
        colour, hatch = _COLOURS[i % len(_COLOURS)], _HATCHES[i % len(_HATCHES)]
        axes.bar(at, values, bottom=below, label=name, color=colour, hatch=hatch, edgecolor="white", width=0.7)
        below = [low + value for low, value in zip(below, values, strict=True)]
    for x, total in zip(at, below, strict=True):
        if total:
            axes.text(x, total, f"{total:g}", ha="center", va="bottom", color=_INK, fontsize=9)
    slanted = len(at) > 8
    axes.set_xticks(
        at, chart.categories, rotation=35 if slanted else 0, ha="right" if slanted else "center", fontsize=9
    )
    for label in axes.get_xticklabels():
        label.set_parse_math(False)  # a name may hold dollar signs
    axes.set_title(f"{chart.title}\n", loc="left", fontsize=13, color=_INK, fontweight="bold", parse_math=False)
    axes.text(0, 1.02, chart.told, transform=axes.transAxes, fontsize=9, color=_INK, parse_math=False)
    axes.set_xlabel(chart.x_label, fontsize=9, color=_INK)
    axes.set_ylabel(chart.y_label, fontsize=9, color=_INK)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(0, max(below, default=0.0) * 1.15 + 0.5)
    axes.grid(axis="y", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    if len(chart.series) > 1:
        axes.legend(frameon=False, fontsize=9, loc="upper right", ncols=len(chart.series))
