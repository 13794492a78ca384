"""The secret store of this adapter: versions of a Secret's keys, named `<cluster>/<namespace>/<secret>/<prefix>`.

The entry that names the version in use is `active`, or whatever a fifth part of the path says.
"""

from __future__ import annotations

import re

from adapters.kubernetes.client import Client
from adapters.kubernetes.names import LABEL, OBJECT
from adapters.kubernetes.permissions import narrowed
from adapters.kubernetes.places import Place, secret
from adapters.kubernetes.retired import VERSION, retired
from adapters.kubernetes.secret import Change, View, edit, look, written_by_others
from adapters.kubernetes.versions import add, added, ours, pointed
from bot.core.errors import Permanent
from bot.core.secret import Secret

POINTER = "active"
MOST = 10
_PATH = re.compile(
    rf"(?P<cluster>[A-Za-z0-9][A-Za-z0-9._-]{{0,127}})/(?P<namespace>{LABEL})/(?P<name>{OBJECT})"
    r"(?:/(?P<prefix>[A-Za-z0-9_-][A-Za-z0-9._-]{0,189})(?:/(?P<pointer>[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}))?)?"
)


def located(path: str) -> tuple[Place, str, str]:
    """The Secret, the prefix and the pointer that a path names; raises `Permanent`."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise Permanent(
            "this is no path of a Kubernetes Secret",
            "write kubernetes:<cluster>/<namespace>/<secret>/<prefix>, and /<pointer> where that is not active",
        )
    place = secret(found["cluster"], found["namespace"], found["name"])
    return place, found["prefix"] or "key.", found["pointer"] or POINTER


class Store:
    """Reads and writes versions. A pending one lies beside the others; the pointer names the current one."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @staticmethod
    def needs(path: str) -> tuple[str, ...]:
        """The permissions for reading and writing at a path; none for a path that is none."""
        found = _PATH.fullmatch(path)
        if found is None:
            return ()
        return (narrowed("secrets: get, patch", found["cluster"], found["namespace"], found["name"]),)

    def read(self, path: str, version: str) -> Secret:
        """A version's value, the current one's when none is named. A version that was removed is read too."""
        place, prefix, pointer = located(path)
        view = look(self._client, None, place)
        name = _known(version) if version else pointed(view, pointer)
        if name is None:
            raise Permanent(f"{place} has no {pointer}, so no current version", "name a version")
        value = view.value(prefix + name)
        if value is None and (gone := retired(view, prefix, name)) is not None:
            value = view.value(gone)
        if value is None:
            raise Permanent(f"{place} has no {prefix}{name}", "look at the names of its entries")
        return value

    def find(self, path: str, marker: str) -> str | None:
        """The version written under this marker."""
        place, prefix, _ = located(path)
        return added(look(self._client, None, place), prefix, marker)

    def put(self, path: str, value: Secret, *, marker: str, label: str) -> str:
        """Add a version that nobody uses yet; the same marker gives the one that was written first."""
        place, prefix, pointer = located(path)
        version = ""

        def decide(view: View) -> Change | None:
            nonlocal version
            there = added(view, prefix, marker)
            if there is not None:
                version = there
                return None
            if sum(name.startswith(prefix) for name in view.data) >= MOST:
                raise Permanent(f"{place} holds {MOST} versions of {prefix}", "remove those that nobody uses")
            version, change = add(view, prefix, marker, value, pointed(view, pointer) or "", label)
            return change

        edit(self._client, None, place, ours(prefix, pointer), decide)
        return version

    def label(self, path: str, version: str) -> str:
        """The public name of a version, the current one's when none is named; empty where nobody gave it one."""
        place, prefix, pointer = located(path)
        view = look(self._client, None, place)
        name = _known(version) if version else pointed(view, pointer)
        entry = f"{prefix}{name}"
        return "" if written_by_others(view, entry) else str(view.marks.get(entry, {}).get("label", ""))

    def discard(self, path: str, version: str) -> None:
        """Erase a version that nobody uses, retired or not; quiet when it is gone."""
        place, prefix, pointer = located(path)
        live = prefix + _known(version)

        def decide(view: View) -> Change | None:
            if pointed(view, pointer) == version:
                raise Permanent(f"{version} is the version in use of {place}", "point at another version first")
            there = live if live in view.data else retired(view, prefix, version)
            if there is None:
                return None
            return Change({there: None}, {name: mark for name, mark in view.marks.items() if name != there})

        edit(self._client, None, place, ours(prefix, pointer), decide)


def _known(version: str) -> str:
    if not VERSION.fullmatch(version):
        raise Permanent("this is no version of a Kubernetes Secret", "write v1, v2 …")
    return version
