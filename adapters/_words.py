"""Text that leaves the house, to trackers and pagers: cut to length, visible, refused when it looks like a secret."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from bot.core.suspicion import looks_like_secret

LONGEST_LINE = 200
LONGEST_TEXT = 20_000


def _line(text: str) -> str:
    return _cut(harmless(" ".join(_visible(text).split())), LONGEST_LINE)


def _text(text: str) -> str:
    return _cut(harmless(_visible(text).strip()), LONGEST_TEXT)


def _visible(text: str) -> str:
    return "".join(letter if letter.isprintable() or letter in "\n\t" else " " for letter in text)


def harmless(text: str) -> str:
    """The same text; raises `ValueError` when it is empty or looks like a secret."""
    if not text:
        raise ValueError("write something")
    kind = looks_like_secret(text)
    if kind is not None:
        raise ValueError(f"this looks like {kind}; no secret leaves in a text")
    return text


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


Line = Annotated[str, Field(min_length=1, max_length=100_000), AfterValidator(_line)]
"""One line, at most 200 characters."""

Text = Annotated[str, Field(min_length=1, max_length=100_000), AfterValidator(_text)]
"""Several lines, at most 20 000 characters."""
