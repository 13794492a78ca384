"""Ids of credentials that people write down: strict enough that a secret pasted into their field is refused."""

from __future__ import annotations

import re

from bot.core.errors import Refused
from bot.core.suspicion import looks_like_secret

LONGEST = 80
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,79}")
_HARMLESS = re.compile(
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?:sha256|SHA256|sha1|md5):[A-Za-z0-9._-]{6,64}|[0-9]{1,20}"
)
_DENSE = re.compile(r"[A-Za-z0-9]{16,}")


def public_id(text: str, field: str) -> str:
    """The id that was entered. Raises `Refused`, without repeating it, for what may be a value instead of an id."""
    found = text.strip()
    if not _ID.fullmatch(found):
        raise Refused(
            f"The {field} is an id: at most {LONGEST} letters, digits and . _ : / @ -, without spaces. Never put the "
            f"value of a credential there.",
            code="bad-id",
        )
    if _HARMLESS.fullmatch(found):
        return found
    if looks_like_secret(found) or any(_mixed(run) for run in _DENSE.findall(found)):
        raise Refused(
            f"What stands as the {field} looks like a value, so it was not kept. Write an id, a version or the last "
            f"four characters of a public id. If it was a value, treat it as leaked and rotate it.",
            code="secret-typed",
        )
    return found


def _mixed(run: str) -> bool:
    kinds = (any(map(str.islower, run)), any(map(str.isupper, run)), any(map(str.isdigit, run)))
    return sum(kinds) == len(kinds)
