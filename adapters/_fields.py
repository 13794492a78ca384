"""Types of the fields that several adapters declare: addresses, references to secrets, public names."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from bot.core.errors import Refused
from bot.core.secret import SecretReference


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fits = False
    if not fits or "@" in text or not text.isascii() or not text.isprintable() or any(mark in text for mark in " ?#\\"):
        raise ValueError("write an absolute http or https address without user, query or fragment")
    return text.rstrip("/")


def _reference(text: str) -> str:
    try:
        SecretReference.parse(text)
    except Refused as error:
        raise ValueError(str(error)) from None
    return text


Address = Annotated[str, Field(max_length=500), AfterValidator(_address)]
"""An absolute http or https address, kept without a slash at its end."""

Reference = Annotated[str, Field(max_length=500), AfterValidator(_reference)]
"""Where a secret lives, as text: `secret_files:checkout/api-key#v3`."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A name in somebody's configuration."""

PublicId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
"""A kid or the id of an API key: safe in a path and in a log."""
