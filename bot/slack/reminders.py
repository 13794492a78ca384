"""Draws reminders, digests and alerts of credentials: from ids, by what the inventory says when they are sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bot.engine.inventory_views import view
from bot.slack.blocks import Block, context, header, section, sections
from bot.slack.cards import Message
from bot.slack.credential_forms import buttons
from bot.slack.text import MOST_TEXT, code, count, date, escape, sentence
from bot.store.reading import Reader

KINDS = ("reminder", "digest", "alert")
WITH_BUTTONS = 8
"""Credentials that get a row of buttons; the others are lines."""
MOST_LINES = 30
MOST_OWNERS = 3
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")
_ENDS = {"expired": "has run out", "overdue": "is overdue"}


def reminds(payload: Mapping[str, Any]) -> bool:
    """Whether a notice is one of those that are drawn here."""
    return any(isinstance(payload.get(kind), Mapping) for kind in KINDS)


def draw(reader: Reader, payload: Mapping[str, Any], text: str) -> Message:
    """The message; what a newer version wrote and this one cannot read is said by its text alone."""
    said = escape(sentence(text), MOST_TEXT)
    try:
        if "reminder" in payload:
            return Message(said, _reminder(reader, payload["reminder"]))
        if "digest" in payload:
            return Message(said, _digest(reader, payload["digest"]))
        return Message(said, [section(escape(sentence(text), 2800)), _buttons(payload["alert"])])
    except (KeyError, TypeError, ValueError):
        return Message(said, [section(escape(sentence(text), 2800))])


def _reminder(reader: Reader, told: Mapping[str, Any]) -> list[Block]:
    items: Sequence[Mapping[str, Any]] = told["items"]
    total = max(int(told["count"]), len(items))
    one = total == 1
    blocks = [header("A credential needs a rotation" if one else f"{total} credentials need a rotation")]
    for item in items[:WITH_BUTTONS]:
        blocks += [section(_line(reader, item)), _buttons(item)]
    rest = [_line(reader, item) for item in items[WITH_BUTTONS:MOST_LINES]]
    left = total - len(items[:MOST_LINES])
    if left > 0:
        rest.append(f"_and {left} more: {_lists(reader, told)}_")
    blocks += sections(rest, 4) if rest else []
    blocks.append(context("Reminders end when its system shows a new expiry, or a rotation ends."))
    return blocks


def _lists(reader: Reader, told: Mapping[str, Any]) -> str:
    """The lists that show every credential of a message, also those that it has no room for."""
    until = datetime.fromisoformat(str(told["until"])) if told.get("until") else None
    if until is None:
        return "`/rotate list`"
    ahead = f" --expiring {max((until - reader.now).days + 1, 1)}d"
    owners = [str(one) for one in told.get("owners", ())]
    if not 0 < len(owners) <= MOST_OWNERS or not all(_PLAIN.fullmatch(one) for one in owners):
        return f"`/rotate list{ahead}`"
    return " and ".join(f"`/rotate list --owner {one}{ahead}`" for one in owners)


def _line(reader: Reader, item: Mapping[str, Any]) -> str:
    """One credential as it is now: what was done since the reminder was written is said."""
    name, environment = str(item["credential"]), str(item["environment"])
    called = f"*{code(name)}* in {escape(environment, 60)}"
    found = reader.credential(name, environment)
    due = datetime.fromisoformat(str(item["due"])).astimezone(UTC)
    if not found:
        return f"{called} is no longer in the inventory"
    now = view(reader, found[0])
    if now.status == "gone":
        return f"{called} is gone from its system"
    if now.next_due is not None and now.next_due > due:
        return f"{called} was replaced meanwhile; it is due again on {date(now.next_due)}"
    under_way = f" · R-{now.open_rotation} is open" if now.open_rotation else ""
    last = f" · last rotated {date(now.last_rotated_at)}" if now.last_rotated_at else ""
    ends = _ENDS.get(now.standing, "is due")
    owner = f" · owner {escape(now.whose, 120)}" if now.owner else " · *no owner*"
    snoozed = f" · snoozed until {date(now.snoozed_until)}" if now.snoozed_until else ""
    findings = f"\n_{escape(' '.join(now.findings), 400)}_" if now.findings else ""
    return f"{called} {ends} {date(due)}{under_way}{last}{owner}{snoozed}{findings}"


def _buttons(item: Mapping[str, Any]) -> Block:
    return buttons(str(item["credential"]), str(item["environment"]))


def _digest(reader: Reader, told: Mapping[str, Any]) -> list[Block]:
    counts = {str(name): int(number) for name, number in told["counts"].items()}
    total = sum(counts.values())
    order = ("expired", "overdue", "soon", "fine", "unknown")
    summary = " · ".join(f"{counts[name]} {name}" for name in order if counts.get(name))
    blocks = [header(f"{count(total, 'credential')}, {told['month']}"), section(escape(summary or "none", 300))]
    lines = [_line(reader, item) for item in told["items"][:MOST_LINES]]
    blocks += sections(lines, 6) if lines else [section("Nothing is due in the weeks to come.")]
    blocks.append(context("See everything with `/rotate list`."))
    return blocks
