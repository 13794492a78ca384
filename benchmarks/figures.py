"""A measured pair, the bar it has to hold, and how pairs become one figure."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Bar:
    """`ratio` (product / floor) or the product itself must be at most, or at least, this."""

    limit: float
    of: str = "ratio"
    """`ratio` or `product`."""
    at_least: bool = False

    def holds(self, product: float, ratio: float | None) -> bool:
        """Whether it is held."""
        value = ratio if self.of == "ratio" else product
        assert value is not None
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.limit:.3g}{'×' if self.of == 'ratio' else ''}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report."""

    name: str
    unit: str
    product: float
    floor: float | None = None
    ratio: float | None = None
    """Median of the rounds' own ratios, so that a noisy moment spoils one round and not the figure."""
    bar: Bar | None = None
    spread: tuple[float, float] | None = None
    """Lowest and highest ratio of a round."""

    @property
    def holds(self) -> bool | None:
        """Whether the bar is held; None where there is none."""
        return None if self.bar is None else self.bar.holds(self.product, self.ratio)


def single(name: str, unit: str, values: Sequence[float], bar: Bar | None = None) -> Figure:
    """A figure without a floor."""
    return Figure(name, unit, median(values), bar=bar)


def paired(name: str, unit: str, floors: Sequence[float], products: Sequence[float], bar: Bar | None = None) -> Figure:
    """A figure of rounds in which floor and product were measured one after the other."""
    ratios = [product / floor for floor, product in zip(floors, products, strict=True)]
    return Figure(name, unit, median(products), median(floors), median(ratios), bar, (min(ratios), max(ratios)))


@dataclass(slots=True)
class Report:
    """What a part found."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        lines = [asdict(one) | {"holds": one.holds, "bar": str(one.bar or "")} for one in self.figures]
        return {"title": self.title, "figures": lines, "notes": self.notes}

    def as_text(self) -> str:
        """For people."""
        rows: list[tuple[str, ...]] = [("", "unit", "keyturn", "floor", "ratio", "rounds", "bar", "")]
        rows += [_row(one) for one in self.figures]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [self.title]
        for row in rows:
            cells = [row[0].ljust(widths[0])] + [
                cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)
            ]
            lines.append(f"  {'  '.join(cells)}".rstrip())
        return "\n".join(lines + [f"  {note}" for note in self.notes])


def _row(one: Figure) -> tuple[str, ...]:
    ratio = f"{one.ratio:.2f}×" if one.ratio is not None else ""
    rounds = f"{one.spread[0]:.2f}-{one.spread[1]:.2f}" if one.spread is not None else ""
    said = {None: "", True: "holds", False: "MISSED"}[one.holds]
    floor = number(one.floor) if one.floor is not None else ""
    return one.name, one.unit, number(one.product), floor, ratio, rounds, str(one.bar or ""), said


def number(value: float) -> str:
    """Three significant digits, thousands apart."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def quantile(values: Iterable[float], share: float) -> float:
    """The value below which the share of all lies, by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def timed(call: Callable[[], object]) -> float:
    """Seconds that the call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
