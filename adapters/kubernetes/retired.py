"""Versions that were taken away from their consumers: under which name the Secret keeps them."""

from __future__ import annotations

import re

from adapters.kubernetes.secret import View
from bot.core.errors import Permanent

VERSION = re.compile(r"v[1-9][0-9]{0,8}")
RETIRED = "retired."
_ENTRY = re.compile(rf"(.*?){VERSION.pattern}")


def retired(view: View, prefix: str, version: str) -> str | None:
    """Where a version lies that was taken away, None when it is not there.

    That is `retired.<version>`, or `retired.<prefix><version>` where versions of another prefix had taken that name.
    Raises `Permanent` for what people have moved there by hand, if it may be of another prefix.
    """
    short, long = RETIRED + version, RETIRED + prefix + version
    if view.has(long):
        return long
    if not view.has(short):
        return None
    mine = _mine(view, prefix, version)
    if mine is None:
        raise Permanent(
            f"{view.place} has versions of several prefixes, and nothing says of which one its {short} is",
            f"find out, and rename that entry to {RETIRED}PREFIX{version}: to {long} if it was {prefix}{version}",
        )
    return short if mine else None


def set_aside(view: View, prefix: str, version: str) -> str:
    """Under which name a version is kept that is taken away now. Raises `Permanent` when one is kept there already."""
    short, long = RETIRED + version, RETIRED + prefix + version
    name = long if view.has(short) and not _mine(view, prefix, version) else short
    if view.has(name) or view.has(long):
        raise Permanent(f"{view.place} holds {name} already", "purge it first, if nobody needs it")
    return name


def _mine(view: View, prefix: str, version: str) -> bool | None:
    """Whether `retired.<version>` is of this prefix, as its note says; None where it has none and nobody can tell."""
    entry = view.marks.get(RETIRED + version, {}).get("name")
    if isinstance(entry, str):
        return entry == prefix + version
    found = (_ENTRY.fullmatch(name) for name in view.data if not name.startswith(RETIRED))
    return True if all(one[1] == prefix for one in found if one) else None
