"""Text for Slack: escaped, without control characters, cut to length; times as Slack dates with a UTC fallback."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

from bot.core import duration

ELLIPSIS = "…"
MOST_TEXT = 3000
"""Characters of the top-level `text` of a message: far below Slack's 40 000, more than any sentence needs."""

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})
"""Unicode categories that draw nothing or change how their neighbours are drawn: controls, bidi marks, zero widths."""


def visible(text: str) -> str:
    """The same text with each character that cannot be seen written as an escape; line breaks become spaces."""
    if text.isascii() and text.isprintable():
        return text
    shown = []
    for character in text:
        if character in "\n\r\t":
            shown.append(" ")
        elif unicodedata.category(character) in _HIDDEN or (character != " " and not character.isprintable()):
            shown.append(_escaped(character))
        else:
            shown.append(character)
    return "".join(shown)


def _escaped(character: str) -> str:
    point = ord(character)
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def cut(text: str, most: int) -> str:
    """At most so many characters, the last one an ellipsis where something is missing."""
    if most <= 0:
        return ""
    return text if len(text) <= most else text[: most - 1] + ELLIPSIS


def plain(text: str, most: int) -> str:
    """For plain_text objects, where Slack reads no markup: visible characters, cut."""
    return cut(visible(text[: most * 2]), most)


def escape(text: str, most: int = 300) -> str:
    """For mrkdwn: visible, cut to what it may weigh, and with Slack's three control characters as entities.

    The result is never longer than `most` characters, and no entity is cut in two.
    """
    shown = visible(text[: most * 2])
    if len(shown) <= most and not any(character in shown for character in _ENTITIES):
        return shown
    escaped: list[str] = []
    room = most
    for index, character in enumerate(shown):
        piece = _ENTITIES.get(character, character)
        last = index == len(shown) - 1
        if len(piece) > room or (not last and len(piece) == room):
            escaped.append(ELLIPSIS)
            break
        escaped.append(piece)
        room -= len(piece)
    return "".join(escaped)


def code(text: str, most: int = 120) -> str:
    """A name in monospace; a back quote inside would end it and is replaced."""
    inner = escape(text.replace("`", "'"), max(1, most - 2))
    return f"`{inner or '-'}`"


def date(moment: datetime) -> str:
    """A moment that each reader sees in their own time zone, `2026-11-20 15:00 UTC` where Slack cannot."""
    return f"<!date^{int(moment.timestamp())}^{{date_short_pretty}} {{time}}|{utc(moment)}>"


def utc(moment: datetime) -> str:
    """A moment in text for phones and screen readers."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def span(value: timedelta) -> str:
    """A duration in words that `duration.parse` reads, without milliseconds."""
    seconds = round(value.total_seconds())
    return duration.show(timedelta(seconds=seconds)) if abs(seconds) >= 1 else duration.show(value)


def short_hash(text: str, most: int = 12) -> str:
    """The first characters of a digest, without its algorithm."""
    return text.removeprefix("sha256:")[:most]


def count(number: int, one: str, several: str = "") -> str:
    """`1 step`, `3 steps`."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def sentence(text: str) -> str:
    """With a full stop at its end, unless it ends in a mark of its own."""
    text = text.strip()
    return text if not text or text[-1] in ".!?…:" else text + "."
