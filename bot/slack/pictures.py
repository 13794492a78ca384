"""Charts as Slack draws them itself, and the same in characters where a workspace does not have that block yet."""

from __future__ import annotations

from collections.abc import Sequence

from bot.contracts.command import Chart
from bot.slack.blocks import Block, section, sections
from bot.slack.text import cut, escape, plain, sentence

MOST_TITLE, MOST_LABEL, MOST_CATEGORIES, MOST_SERIES, MOST_CHARTS = 50, 20, 20, 12, 2
"""Slack's own limits of `data_visualization`, and of how many a message holds."""
WIDEST = 24
_BAR = "█"


def native(charts: Sequence[Chart]) -> list[Block]:
    """Each chart as a sentence, which screen readers and phones take, and the block that shows it."""
    made: list[Block] = []
    for chart in charts:
        labels = _distinct(chart.categories[:MOST_CATEGORIES])
        if not labels or not chart.series:
            continue
        names = _distinct([name for name, _ in chart.series[:MOST_SERIES]])
        series = [
            {
                "name": name,
                "data": [{"label": label, "value": value} for label, value in zip(labels, values, strict=False)],
            }
            for name, (_, values) in zip(names, chart.series, strict=False)
        ]
        axes = {
            "categories": labels,
            "x_label": plain(chart.x_label, MOST_TITLE),
            "y_label": plain(chart.y_label, MOST_TITLE),
        }
        made += [
            section(escape(sentence(chart.told), 600)),
            {
                "type": "data_visualization",
                "title": plain(chart.title, MOST_TITLE),
                "chart": {"type": "bar", "series": series, "axis_config": axes},
            },
        ]
    return made


def drawn(charts: Sequence[Chart]) -> list[Block]:
    """The same in characters: a row per category, as wide as its share of the largest."""
    made: list[Block] = []
    for chart in charts:
        told = [f"*{escape(chart.title, 100)}*: {escape(sentence(chart.told), 600)}"]
        made += sections([*told, *(f"`{escape(line.replace('`', chr(39)), 200)}`" for line in bars(chart))], 3)
    return made


def bars(chart: Chart) -> list[str]:
    """One line per category: `23 Nov 26 ██████ 6 (4 by people, 2 by itself)`."""
    totals = [sum(values[i] for _, values in chart.series) for i in range(len(chart.categories))]
    most = max(totals, default=0.0)
    widest = max((len(one) for one in chart.categories), default=0)
    lines = []
    for i, category in enumerate(chart.categories):
        width = round(totals[i] / most * WIDEST) if most else 0
        parts = ", ".join(f"{values[i]:g} {name}" for name, values in chart.series if values[i])
        told = f"{totals[i]:g}" + (f" ({parts})" if parts and len(chart.series) > 1 else "")
        lines.append(f"{category.ljust(widest)} {_BAR * max(width, 1 if totals[i] else 0)} {told}")
    return lines


def _distinct(names: Sequence[str]) -> list[str]:
    """Labels within Slack's length, each once: it refuses two that are the same."""
    found: list[str] = []
    for name in names:
        label, n = plain(name, MOST_LABEL) or "-", 1
        while label in found:
            n += 1
            end = f" {n}"
            label = cut(plain(name, MOST_LABEL), MOST_LABEL - len(end)) + end
        found.append(label)
    return found
