"""keyturn's own notes on an object, in one annotation: which step did what, so that a step finds it after a crash.

The annotation holds JSON: `{"key.v2": {"added": "<token>", "beside": "v1"}, ...}`; names and tokens, never values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from bot.core.errors import Permanent

ANNOTATION = "keyturn.dev/rotation"
LONGEST = 64 * 1024
MOST = 8
"""Notes of one kind that are kept; the oldest go first."""

Marks = dict[str, dict[str, Any]]


def marks_of(found: Mapping[str, Any]) -> Marks:
    """The notes on an object, to be changed and written back; raises `Permanent` when somebody has garbled them."""
    annotations = found.get("metadata", {}).get("annotations") or {}
    raw = annotations.get(ANNOTATION, "{}")
    try:
        marks = json.loads(raw) if isinstance(raw, str) and len(raw) <= LONGEST else None
    except (ValueError, RecursionError):
        marks = None
    if not isinstance(marks, dict) or not all(isinstance(mark, dict) for mark in marks.values()):
        raise Permanent(
            f"the annotation {ANNOTATION} was changed by somebody else and cannot be read",
            "look at it, and remove it when no rotation of this object is under way",
        )
    return marks


def annotated(marks: Marks) -> dict[str, str | None]:
    """The annotation for a merge patch."""
    return {ANNOTATION: json.dumps(marks, separators=(",", ":"), sort_keys=False) if marks else None}


def kept(marks: Marks, kind: str, token: str) -> dict[str, Any] | None:
    """What the step of this token has noted, None if nothing."""
    found = marks.get(kind, {}).get(token)
    return found if isinstance(found, dict) else None


def keep(marks: Marks, kind: str, token: str, note: Mapping[str, Any]) -> None:
    """Note something for the step of this token; of each kind the last few notes stay."""
    notes = marks.setdefault(kind, {})
    notes.pop(token, None)
    notes[token] = dict(note)
    for old in list(notes)[: max(0, len(notes) - MOST)]:
        del notes[old]


def drop(marks: Marks, kind: str, token: str) -> None:
    """Forget what the step of this token has noted."""
    notes = marks.get(kind, {})
    notes.pop(token, None)
    if not notes:
        marks.pop(kind, None)


def managers(found: Mapping[str, Any], *path: str) -> Iterator[tuple[str, str]]:
    """Who owns a field, as the cluster remembers it: manager and time. `path` is as `f:data`, `f:active`."""
    entries = found.get("metadata", {}).get("managedFields") or []
    for entry in entries if isinstance(entries, list) else []:
        fields = entry.get("fieldsV1") or {}
        for part in path:
            fields = fields.get(part) if isinstance(fields, dict) else None
        if fields is not None:
            yield str(entry.get("manager", "")), str(entry.get("time", ""))
