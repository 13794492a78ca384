"""A Secret as one call sees it, and the only way to change one: in place, if it is still what was read."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.kubernetes.client import MANAGER, Client, Conflict, Found
from adapters.kubernetes.marks import Marks, annotated, managers, marks_of
from adapters.kubernetes.places import Place
from adapters.kubernetes.said import said
from bot.contracts.adapter import Run
from bot.core.errors import Permanent, Transient
from bot.core.secret import Secret

TRIES = 5
LARGEST = 1024 * 1024
"""Bytes that a Secret may hold."""


@dataclass(frozen=True, slots=True)
class View:
    """A Secret while a call lasts. Its values are in no `repr`, and nothing keeps the view."""

    place: Place
    data: Mapping[str, str] = field(repr=False)
    marks: Marks
    found: Found = field(repr=False)

    def value(self, name: str) -> Secret | None:
        """The value of an entry; None when it is not there or empty."""
        try:
            raw = base64.b64decode(self.data.get(name, ""), validate=True)
        except (binascii.Error, ValueError):
            raise Transient(f"{name} of {self.place} cannot be decoded") from None
        return Secret(raw) if raw else None

    def has(self, name: str) -> bool:
        """Whether the entry is there and not empty."""
        return bool(self.data.get(name))

    def changer(self, name: str) -> str:
        """Who last wrote an entry, as far as the cluster tells."""
        found = sorted((at, who) for who, at in managers(self.found, "f:data", f"f:{name}"))
        return said(found[-1][1], 60) if found else ""

    def blame(self, *names: str) -> str:
        """` (by kubectl-edit)`, or nothing when the cluster does not tell."""
        others = dict.fromkeys(who for name in names if (who := self.changer(name)))
        return f" (by {', '.join(others)})" if others else ""


@dataclass(frozen=True, slots=True)
class Change:
    """Entries to write (base64) or to remove (None), and keyturn's notes as they are to be."""

    data: Mapping[str, str | None] = field(repr=False)
    marks: Marks


def encode(value: Secret | bytes) -> str:
    """A value as a Secret holds it."""
    return base64.b64encode(value if isinstance(value, bytes) else value.reveal()).decode()


def look(client: Client, run: Run | None, place: Place) -> View:
    """Read the Secret; `Permanent` when it is not there."""
    found = client.get(run, place)
    return _view(place, found)


def look_if_any(client: Client, run: Run | None, place: Place) -> View | None:
    """Read the Secret, None when it is not there."""
    found = client.look(run, place)
    return None if found is None else _view(place, found)


def _view(place: Place, found: Found) -> View:
    data = found.get("data") or {}
    if not isinstance(data, dict) or not isinstance(found.get("metadata"), dict):
        raise Transient(f"cluster {place.cluster} gave an answer that cannot be understood")
    held = {str(name): value for name, value in data.items() if isinstance(value, str)}
    return View(place, held, marks_of(found), found)


Decide = Callable[[View], Change | None]


def edit(client: Client, run: Run | None, place: Place, ours: Callable[[str], bool], decide: Decide) -> View:
    """Change a Secret by what `decide` makes of it as it is now; None means that nothing is left to do.

    The change is refused by the server when anybody changed the Secret in between. Then it is read again: what others
    did to entries that are not `ours` stays, and the change is decided anew; what they did to ours is a conflict for
    people. Returns what was there before the change, or what is there when there was none.
    """
    first: View | None = None
    for _ in range(TRIES):
        view = look(client, run, place)
        try:
            change = decide(view)
        except Permanent:
            _refuse_foreign(first or view, view, ours)  # what others did in between explains it better
            raise
        if change is None:
            return view
        _refuse_foreign(first or view, view, ours)
        after = {**view.data, **change.data}
        _check(view, after)
        body: dict[str, Any] = {
            "metadata": {
                "resourceVersion": view.found["metadata"].get("resourceVersion"),
                "annotations": annotated(_current(change.marks, after)),
            },
            "data": dict(change.data),
        }
        try:
            client.patch(run, place, body)
        except Conflict:
            first = first or view
            continue
        return view
    raise Transient(f"others change {place} all the time; nothing was done to it")


def _refuse_foreign(first: View, now: View, ours: Callable[[str], bool]) -> None:
    names = sorted({*first.data, *now.data})
    changed = [name for name in names if ours(name) and first.data.get(name) != now.data.get(name)]
    if changed:
        raise Permanent(
            f"somebody{now.blame(*changed)} changed {', '.join(changed)} of {now.place} in the meantime; nothing was "
            "done to it",
            "find out who and why; when it is as it should be, retry or plan again",
        )


def _current(marks: Marks, after: Mapping[str, str | None]) -> Marks:
    """The notes without those on entries that are gone."""
    return {name: mark for name, mark in marks.items() if after.get(name) or not _OF_ENTRIES & mark.keys()}


_OF_ENTRIES = {"added", "removed", "id"}


def _check(view: View, after: Mapping[str, str | None]) -> None:
    if view.found.get("immutable") is True:
        raise Permanent(
            f"{view.place} is immutable, so it cannot be edited in place",
            "make it anew without immutable: true, or rotate by a new Secret and its references",
        )
    if view.found["metadata"].get("deletionTimestamp"):
        raise Permanent(f"{view.place} is being deleted", "find out who deletes it; restore it, then retry")
    for owner in view.found["metadata"].get("ownerReferences") or []:
        if owner.get("controller") is True:
            who = f"{said(owner.get('kind'), 60)} {said(owner.get('name'), 80)}"
            raise Permanent(
                f"{view.place} is written by {who}, which would overwrite the change",
                f"rotate where {who} takes it from",
            )
    size = sum(len(value) * 3 // 4 for value in after.values() if value)
    if size > LARGEST:
        raise Permanent(f"{view.place} would hold more than 1 MiB", "remove what it does not need")


def written_by_others(view: View, name: str) -> str:
    """Who other than keyturn wrote an entry last; empty when it was keyturn, or when the cluster does not tell."""
    who = view.changer(name)
    return "" if who == MANAGER else who
