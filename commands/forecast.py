"""Look ahead: what is due week by week, what collides, and where approvers are missing.

`forecast 90d` looks so far ahead, 90 days when left out.
"""

from __future__ import annotations

from datetime import date

from bot.contracts.command import Answer, Call, Chart, Forecast, Need, Rotations, Table, Week
from bot.core import duration
from bot.core.errors import Refused

usage = "forecast [90d]"
need = Need.SEE
USUAL = "90d"
MOST_BARS = 20
MOST_SAID = 10


def run(call: Call, rotations: Rotations) -> Answer:
    """Show the weeks, as a chart and as a table."""
    if len(call.args) > 1:
        raise Refused(f"Say how far to look ahead: {usage}.", code="usage")
    days = _days(call.args[0] if call.args else USUAL)
    found = rotations.inventory.forecast(call, days)
    total = sum(week.count for week in found.weeks)
    lines = [f"{total} {'rotation is' if total == 1 else 'rotations are'} due within {days} days."]
    for what, told in (("Collisions", found.collisions), ("Missing approvers", found.gaps)):
        if told:
            more = f" And {len(told) - MOST_SAID} more." if len(told) > MOST_SAID else ""
            lines.append(f"{what}: {' '.join(told[:MOST_SAID])}{more}")
    rows = tuple(_row(week) for week in found.weeks if week.count)
    table = Table(("week of", "due", "by itself", "what"), rows) if rows else None
    charts = (chart(found, days),) if total else ()
    return Answer("\n\n".join(lines), table=table, charts=charts, data=_data(found, days))


def chart(found: Forecast, days: int) -> Chart:
    """The load of the weeks: what starts by itself, and what people have to start."""
    weeks = found.weeks[:MOST_BARS]
    busiest = max(weeks, key=lambda week: week.count)
    total = sum(week.count for week in weeks)
    return Chart(
        title="Rotations due by week",
        categories=tuple(_label(week.begins) for week in weeks),
        series=(
            ("by people", tuple(float(week.count - week.automatic) for week in weeks)),
            ("by itself", tuple(float(week.automatic) for week in weeks)),
        ),
        x_label="week from Monday",
        y_label="rotations",
        told=(
            f"{total} due in {len(weeks)} weeks; the fullest is the week of {busiest.begins:%Y-%m-%d} with "
            f"{busiest.count}."
        ),
    )


def _label(day: date) -> str:
    return f"{day:%d %b %y}"


def _days(text: str) -> int:
    try:
        days = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else duration.parse(text).days
    except ValueError as error:
        raise Refused(f"{error}: {usage}.", code="usage") from None
    return days


def _row(week: Week) -> tuple[str, ...]:
    names = ", ".join(week.due[:5]) + (f" and {week.count - 5} more" if week.count > 5 else "")
    return f"{week.begins:%Y-%m-%d}", str(week.count), str(week.automatic), names


def _data(found: Forecast, days: int) -> dict[str, object]:
    return {
        "days": days,
        "weeks": [
            {"begins": week.begins.isoformat(), "count": week.count, "automatic": week.automatic, "due": list(week.due)}
            for week in found.weeks
        ],
        "collisions": list(found.collisions),
        "gaps": list(found.gaps),
    }
