"""Takes the entries with mistakes out of a document, so that the others can still be checked against each other."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from bot.core.document import Document, Location

_LISTS = ("policies", "credentials", "runbooks", "delegates", "windows", "freezes")
_KEPT = ("people", "groups", "channels")
"""Sections whose names are looked up by others: a name stays known, with a stand-in for its entry."""

_STAND_INS: dict[str, Any] = {"signers": "allowed_signers", "incidents": {"page": {"do": "a.b"}}}
"""For sections that others only want to be there: a mistake inside is not one more of theirs."""


def without(document: Document, error: ValidationError) -> Document:
    """The document without what the error complains about; lines of what is left stay right."""
    data: dict[str, Any] = dict(document.data)
    lines = dict(document.lines)
    dropped: dict[str, set[int]] = {}
    details = error.errors(include_url=False, include_input=False)
    unfit = {detail["loc"][1] for detail in details if detail["loc"][-1] == "[key]"}
    for detail in details:
        top, *inner = detail["loc"] or ("",)
        section = str(top)
        if section in _LISTS and inner and isinstance(inner[0], int):
            dropped.setdefault(section, set()).add(inner[0])
        elif section in _STAND_INS:
            data[section] = _STAND_INS[section]
        elif inner and isinstance(data.get(section), dict):
            rest = {key: value for key, value in data[section].items() if key != inner[0]}
            kept = section in _KEPT and "[key]" not in inner and inner[0] not in unfit
            data[section] = rest | (_stand_in(section, str(inner[0])) if kept else {})
        else:
            data.pop(section, None)
    for section, indexes in dropped.items():
        data[section] = [item for index, item in enumerate(data[section]) if index not in indexes]
        lines = _renumbered(lines, section, indexes)
    return Document(document.file, data, lines)


def _stand_in(section: str, name: str) -> dict[str, Any]:
    """An entry that collides with no other and keeps the name known."""
    plain = re.sub("[^a-z0-9]", "0", name)
    if section == "people":
        return {name: {"os": f"_{plain[:30]}"}}
    return {name: {"slack": f"S0{plain.upper()}"}} if section == "groups" else {name: "C0"}


def _renumbered(lines: dict[Location, int], section: str, dropped: set[int]) -> dict[Location, int]:
    found: dict[Location, int] = {}
    for at, line in lines.items():
        if len(at) > 1 and at[0] == section and isinstance(at[1], int):
            if at[1] in dropped:
                continue
            at = (section, at[1] - sum(index < at[1] for index in dropped), *at[2:])
        found[at] = line
    return found
