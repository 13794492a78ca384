"""Look ahead: what is due week by week, what collides, and where approvers are missing.

`forecast 90d` looks so far ahead, 90 days when left out. It also shows the old versions that are still valid beside new
ones, and how old everything is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from bot.contracts.command import Answer, Call, Chart, Forecast, Need, Overlaps, Rotations, Table, Week
from bot.core import duration
from bot.core.errors import Refused

usage = "forecast [90d]"
need = Need.SEE
USUAL = "90d"
MOST_BARS = 20
"""Slack draws no more."""
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
    charts = [chart(found)] if total else []
    if found.overlaps.count:
        charts.append(overlaps(found.overlaps, found.at))
    if any(count for _, count in found.ages):
        charts.append(ages(found.ages))
    return Answer("\n\n".join(lines), table=table, charts=tuple(charts), data=_data(found, days))


def chart(found: Forecast) -> Chart:
    """The load of the weeks: what starts by itself, and what people have to start; several to a bar where many are."""
    weeks = found.weeks
    each = -(-len(weeks) // MOST_BARS)
    bars = [weeks[begin : begin + each] for begin in range(0, len(weeks), each)]
    counts = [(sum(week.count for week in bar), sum(week.automatic for week in bar)) for bar in bars]
    busiest = max(weeks, key=lambda week: week.count)
    total = sum(week.count for week in weeks)
    return Chart(
        title="Rotations due by week" if each == 1 else f"Rotations due by {each} weeks",
        categories=tuple(_label(bar[0].begins) for bar in bars),
        series=(
            ("by people", tuple(float(count - automatic) for count, automatic in counts)),
            ("by itself", tuple(float(automatic) for _, automatic in counts)),
        ),
        x_label="week from Monday" if each == 1 else f"{each} weeks from Monday",
        y_label="rotations",
        told=(
            f"{total} due in {len(weeks)} weeks; the fullest is the week of {busiest.begins:%Y-%m-%d} with "
            f"{busiest.count}."
        ),
    )


def overlaps(found: Overlaps, now: datetime) -> Chart:
    """Old and new both valid: days so far and, where a deadline is known, days still to go; the longest first."""
    ahead = [max(timedelta(0), one.deadline - now) if one.deadline else timedelta(0) for one in found.longest]
    late = f"{found.late} of them past the deadline" if found.late else "none of them past its deadline"
    return Chart(
        title="Old and new both valid",
        categories=tuple(one.credential for one in found.longest),
        series=(
            ("days so far", tuple(_days_of(now - one.since) for one in found.longest)),
            ("days to the deadline", tuple(_days_of(span) for span in ahead)),
        ),
        x_label="credential",
        y_label="days",
        told=f"{found.count} old {'version is' if found.count == 1 else 'versions are'} being retired, {late}.",
    )


def ages(found: Sequence[tuple[str, int]]) -> Chart:
    """The estate's age: since when what is in use is in use."""
    *_, (_, old), (_, unknown) = found
    total = sum(count for _, count in found)
    return Chart(
        title="Age of the credentials in use",
        categories=tuple(name for name, _ in found),
        series=(("credentials", tuple(float(count) for _, count in found)),),
        x_label="since the last rotation",
        y_label="credentials",
        told=(
            f"{total} {'credential' if total == 1 else 'credentials'}: "
            f"{old} older than a year, {unknown} of an age that is not known."
        ),
    )


def _days_of(span: timedelta) -> float:
    return round(span.total_seconds() / 86400, 1)


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
        "ages": dict(found.ages),
        "overlaps": {
            "count": found.overlaps.count,
            "late": found.overlaps.late,
            "longest": [
                {
                    "credential": one.credential,
                    "environment": one.environment,
                    "since": one.since.isoformat(),
                    "deadline": one.deadline.isoformat() if one.deadline else None,
                }
                for one in found.overlaps.longest
            ],
        },
    }
