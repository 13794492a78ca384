"""What a cluster says, fit to be shown: one line, cut, and left out when it might hold a secret."""

from __future__ import annotations

from typing import Any

from bot.core.suspicion import looks_like_secret

LONGEST = 200


def said(text: Any, most: int = LONGEST) -> str:
    """The text as people may read it."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)[:5000]).split())
    if not line or looks_like_secret(line):
        return "(its words are not repeated)"
    return line if len(line) <= most else line[: most - 1] + "…"
