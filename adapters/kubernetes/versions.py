"""Versioned keys in one Secret: `key.v1`, `key.v2` side by side, and a pointer `active` that says which one signs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from adapters.kubernetes.claims import end_of
from adapters.kubernetes.client import Client
from adapters.kubernetes.keys import Bytes, Kind, new_key
from adapters.kubernetes.marks import Marks, drop, keep, kept
from adapters.kubernetes.names import DataKey, InNamespace, ObjectName, Prefix, Version
from adapters.kubernetes.permissions import ON_SECRET, Placed
from adapters.kubernetes.places import Place, secret
from adapters.kubernetes.retired import RETIRED, VERSION, retired, set_aside
from adapters.kubernetes.secret import Change, View, edit, encode, look
from adapters.kubernetes.workloads import Restarting, RestartsToo, all_restarted, restart_all, restart_back
from bot.contracts.adapter import (
    Absent,
    Effect,
    Fact,
    Known,
    Observed,
    Operation,
    Outputs,
    Present,
    Probe,
    Reading,
    Run,
    Unclear,
)
from bot.core.errors import Permanent
from bot.core.secret import Secret, SecretReference

MOVES, LAST = "pointer moves", "last versions"  # with a space: no entry of a Secret has such a name


class Keys(InNamespace):
    """A Secret with versioned keys."""

    secret: ObjectName
    prefix: Prefix = "key."
    """What stands before the version in the names of its entries."""
    pointer: DataKey = "active"
    """The entry that names the version in use."""

    @property
    def place(self) -> Place:
        """The Secret."""
        return secret(self.cluster, self.namespace, self.secret)


def reference(p: Keys, version: str) -> str:
    """Where a version lives, as other steps name it."""
    path = f"{p.cluster}/{p.namespace}/{p.secret}/{p.prefix}"
    return str(SecretReference("kubernetes", path, version))


def ours(prefix: str, pointer: str) -> Callable[[str], bool]:
    """Whether an entry belongs to the versions or is their pointer: a foreign change to it is a conflict."""
    return lambda name: name == pointer or name.startswith((prefix, RETIRED))


def versions(view: View, prefix: str) -> list[str]:
    """The versions that consumers find, oldest first."""
    found = [name.removeprefix(prefix) for name in view.data if name.startswith(prefix)]
    return sorted((name for name in found if VERSION.fullmatch(name)), key=lambda name: int(name[1:]))


def pointed(view: View, pointer: str) -> str | None:
    """The version in use, None when nothing says so. What else the pointer may hold is not told: it may be a secret."""
    value = view.value(pointer)
    if value is None:
        return None
    text = value.reveal().decode("ascii", "replace").strip()
    if not VERSION.fullmatch(text):
        raise Permanent(
            f"{pointer} of {view.place} does not hold a version such as v1", "name the entry that does as `pointer`"
        )
    return text


def add(view: View, prefix: str, token: str, value: Secret, beside: str, label: str = "") -> tuple[str, Change]:
    """The next version with its note. A number that was used once is never used again for another key."""
    gone = [name.removeprefix(RETIRED).removeprefix(prefix) for name in view.data if name.startswith(RETIRED)]
    last = view.marks.get(LAST, {}).get(prefix, 0)
    numbers = [int(name[1:]) for name in (*versions(view, prefix), *gone) if VERSION.fullmatch(name)]
    version = f"v{max([*numbers, last if isinstance(last, int) else 0, 0]) + 1}"
    marks = view.marks
    marks.setdefault(LAST, {})[prefix] = int(version[1:])
    marks[prefix + version] = {"added": token, "beside": beside} | ({"label": label} if label else {})
    return version, Change({prefix + version: encode(value)}, marks)


def added(view: View, prefix: str, token: str) -> str | None:
    """The version that the step of this token has added, if it is still there."""
    for name, mark in view.marks.items():
        if name.startswith(prefix) and mark.get("added") == token and view.has(name):
            return name.removeprefix(prefix)
    return None


def _need(view: View, prefix: str, version: str) -> None:
    if not view.has(prefix + version):
        there = ", ".join(versions(view, prefix)) or "no version"
        raise Permanent(
            f"{view.place} has no {prefix}{version}; it holds {there}", "somebody removed it; restore it, or plan again"
        )


class AddKey(Placed, Operation):
    """Add a new key `v(N+1)` beside the one in use. The pointer stays, so that every replica can learn it first.

    Refused beside two versions (`max_valid`): an older rotation is not finished. Undoing erases the new key, unless it
    was ever pointed at: then it may have signed, and stays so that what it signed is still accepted.
    """

    effect = Effect.CREATES
    permissions = ("secrets: get, patch",)
    named = ON_SECRET
    outputs = ("version", "previous", "secret")

    class Params(Keys):
        kind: Kind = "random"
        """`random` is base64 of so many `bytes`; the others are private keys in PEM."""
        bytes: Bytes = 64
        max_valid: Annotated[int, Field(ge=2, le=10)] = 2
        """How many versions may be valid at once, the new one included."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        view = look(self.client, run, p.place)
        version = added(view, p.prefix, run.token)
        return Absent() if version is None else Present(self._outputs(p, view.marks, version))

    def ensure(self, p: Params, run: Run) -> Outputs:
        made: Outputs = {}

        def decide(view: View) -> Change | None:
            nonlocal made
            version = added(view, p.prefix, run.token)
            if version is not None:
                made = self._outputs(p, view.marks, version)
                return None
            there, now = versions(view, p.prefix), pointed(view, p.pointer)
            if now is None or (now not in there and not retired(view, p.prefix, now)):  # an emergency took it out
                raise Permanent(
                    f"{p.pointer} of {view.place} names {now or 'no version'}, there are: {', '.join(there) or 'none'}",
                    "point it at a version that is there, then retry",
                )
            if len(there) >= p.max_valid:
                raise Permanent(
                    f"{view.place} holds {', '.join(there)} already; {p.max_valid} may be valid at once",
                    "finish the rotation before: remove the version that nobody uses, then retry",
                )
            version, change = add(view, p.prefix, run.token, new_key(p.kind, p.bytes), now)
            made = self._outputs(p, change.marks, version)
            return change

        edit(self.client, run, p.place, ours(p.prefix, p.pointer), decide)
        return made

    def undo(self, p: Params, run: Run, outputs: Outputs) -> str | None:
        left: str | None = None

        def decide(view: View) -> Change | None:
            nonlocal left
            version = added(view, p.prefix, run.token)
            if version is None:
                return None
            name = p.prefix + version
            if pointed(view, p.pointer) == version:
                raise Permanent(
                    f"{p.pointer} of {view.place} names {version}", "point it back at another version first"
                )
            if view.marks[name].get("pointed"):
                left = f"{name} stays in {view.place} to verify what it signed; remove it when that has expired"
                return None
            marks = {other: mark for other, mark in view.marks.items() if other != name}
            return Change({name: None}, marks)

        edit(self.client, run, p.place, ours(p.prefix, p.pointer), decide)
        if left:
            run.log.warning(left)
        return left

    def _outputs(self, p: Params, marks: Marks, version: str) -> Outputs:
        return {
            "version": version,
            "previous": marks[p.prefix + version].get("beside"),
            "secret": reference(p, version),
        }


class PointKey(RestartsToo, Operation):
    """Make another version the one in use: the signer takes it, all versions stay accepted.

    Who reads the pointer at the start of a pod belongs to it (`workloads`): undone without their restart, nothing is.
    It is not pointed back at a token that has ended.
    """

    effect = Effect.CHANGES
    outputs = ("version", "previous")

    class Params(Keys, Restarting):
        version: Version
        expected: Version | None = None
        """The version that the plan saw in use; when another one is, nothing is done."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        view = look(self.client, run, p.place)
        if pointed(view, p.pointer) != p.version or not all_restarted(self.client, p, run):
            return Absent()
        return Present({"version": p.version, "previous": _moved(view, p.pointer, run.token)})

    def ensure(self, p: Params, run: Run) -> Outputs:
        previous: str | None = None

        def decide(view: View) -> Change | None:
            nonlocal previous
            now = pointed(view, p.pointer)
            if now == p.version:
                previous = _moved(view, p.pointer, run.token)
                return None
            if now is None:
                raise Permanent(f"{view.place} has no {p.pointer}", "write it with the version that is in use")
            if p.expected is not None and now != p.expected:
                raise Permanent(
                    f"{p.pointer} of {view.place} names {now}, not {p.expected}: it was moved{view.blame(p.pointer)}",
                    "find out who and why, then plan again",
                )
            _need(view, p.prefix, p.version)
            previous = now
            keep(view.marks, MOVES, run.token, {"of": p.pointer, "from": now, "to": p.version})
            if (name := p.prefix + p.version) in view.marks:
                view.marks[name]["pointed"] = True
            return Change({p.pointer: encode(p.version.encode())}, view.marks)

        edit(self.client, run, p.place, ours(p.prefix, p.pointer), decide)
        restart_all(self.client, p, run)
        return {"version": p.version, "previous": previous}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        def decide(view: View) -> Change | None:
            before = _moved(view, p.pointer, run.token)
            now = pointed(view, p.pointer)
            if before is None or now == before:
                return None
            if now != p.version:
                raise Permanent(
                    f"{p.pointer} of {view.place} names {now}, neither {p.version} nor {before}; "
                    f"somebody{view.blame(p.pointer)} moved it",
                    "find out who and why, and point it by hand",
                )
            name: str | None = p.prefix + before
            if not view.has(p.prefix + before) and (name := retired(view, p.prefix, before)) is None:
                _need(view, p.prefix, before)  # else its removal is undone after this
            value = view.value(name) if name else None
            if value is not None and (end := end_of(value)) is not None and end <= run.now:
                told = (
                    f"{before} of {view.place} is a token that has ended at {end:%Y-%m-%d %H:%M} UTC; nothing was moved"
                )
                raise Permanent(told, "go forward: what is in use now works; issue another one if it must go")
            drop(view.marks, MOVES, run.token)
            return Change({p.pointer: encode(before.encode())}, view.marks)

        edit(self.client, run, p.place, ours(p.prefix, p.pointer), decide)
        restart_back(self.client, p, run, outputs)


def _moved(view: View, pointer: str, token: str) -> str | None:
    """Where the pointer was before the step of this token moved it, None if it did not."""
    note = kept(view.marks, MOVES, token)
    before = note.get("from") if note and note.get("of") == pointer else None
    return before if isinstance(before, str) and VERSION.fullmatch(before) else None


class Retiring(Keys):
    """One version of a Secret's keys."""

    version: Version

    @property
    def name(self) -> str:
        """Where consumers find it."""
        return self.prefix + self.version


class RemoveKey(RestartsToo, Operation):
    """Take a version away from the consumers; the Secret keeps it as `retired.<version>`, to be brought back.

    Where a version of another prefix lies there by that name, it is `retired.<prefix><version>`.
    """

    effect = Effect.CHANGES
    outputs = ("version", "retired")

    class Params(Retiring, Restarting):
        emergency: bool = False
        """Also while it is the version in use: consumers are without one until another is pointed at."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        view = look(self.client, run, p.place)
        if view.has(p.name):
            return Absent()
        if (name := retired(view, p.prefix, p.version)) is not None:
            done = all_restarted(self.client, p, run)
            return Present({"version": p.version, "retired": name}) if done else Absent()
        return Unclear(f"{view.place} holds {p.name} neither there nor retired")

    def ensure(self, p: Params, run: Run) -> Outputs:
        name: str | None = None

        def decide(view: View) -> Change | None:
            nonlocal name
            if pointed(view, p.pointer) == p.version and not p.emergency:
                raise Permanent(f"{p.version} is the version in use of {view.place}", "point at another version first")
            if not view.has(p.name) and (name := retired(view, p.prefix, p.version)) is not None:
                return None
            _need(view, p.prefix, p.version)
            name = set_aside(view, p.prefix, p.version)
            view.marks[name] = {**view.marks.pop(p.name, {}), "removed": run.token, "name": p.name}
            return Change({p.name: None, name: view.data[p.name]}, view.marks)

        edit(self.client, run, p.place, ours(p.prefix, p.pointer), decide)
        restart_all(self.client, p, run)
        return {"version": p.version, "retired": name}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> str | None:
        left: str | None = None

        def decide(view: View) -> Change | None:
            nonlocal left
            if view.has(p.name):
                return None
            if (there := retired(view, p.prefix, p.version)) is None:
                told = f"{view.place} holds {p.name} neither there nor retired"
                raise Permanent(told, "it was erased and cannot be brought back")
            if view.marks.get(there, {}).get("removed") != run.token:
                left = f"{there} stays in {view.place}: somebody else had removed it before"
                return None
            note = {name: value for name, value in view.marks.pop(there).items() if name not in _OF_REMOVAL}
            marks = {**view.marks, p.name: note} if note else view.marks
            return Change({there: None, p.name: view.data[there]}, marks)

        edit(self.client, run, p.place, ours(p.prefix, p.pointer), decide)
        if left is None:
            restart_back(self.client, p, run, outputs)
        return left


_OF_REMOVAL = ("removed", "name")


class PurgeKey(Placed, Operation):
    """Erase a version that was removed before. It cannot be brought back."""

    effect = Effect.DESTROYS
    permissions = ("secrets: get, patch",)
    named = ON_SECRET
    outputs = ("version",)

    class Params(Retiring):
        """The version that was removed."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        view = look(self.client, run, p.place)
        return Absent() if view.has(p.name) or retired(view, p.prefix, p.version) else Present({"version": p.version})

    def ensure(self, p: Params, run: Run) -> Outputs:
        def decide(view: View) -> Change | None:
            if view.has(p.name):
                raise Permanent(f"{p.name} of {view.place} is not removed yet", "remove it first, and watch")
            if (there := retired(view, p.prefix, p.version)) is None:
                return None
            view.marks.pop(there, None)
            return Change({there: None}, view.marks)

        edit(self.client, run, p.place, ours(p.prefix, p.pointer), decide)
        return {"version": p.version}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        view = look(self.client, run, p.place)
        if not view.has(p.name) and retired(view, p.prefix, p.version) is None:
            raise Permanent(f"{p.version} of {view.place} is erased", "it cannot be brought back; add a new key")


class KeyPresent(Placed, Probe):
    """A version is there for the consumers."""

    permissions = ("secrets: get",)
    named = ON_SECRET

    class Params(Retiring):
        """The version that must be there."""

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        view = look(self.client, run, p.place)
        there = ", ".join(versions(view, p.prefix)) or "none"
        return Reading(f"{view.place} holds {there}", passed=view.has(p.name))


class KeyAbsent(Placed, Probe):
    """A version is no longer there for the consumers."""

    permissions = ("secrets: get",)
    named = ON_SECRET

    class Params(Retiring):
        """The version that must be gone."""

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        view = look(self.client, run, p.place)
        there = ", ".join(versions(view, p.prefix)) or "none"
        return Reading(f"{view.place} holds {there}", passed=p.name not in view.data)


class ActiveVersion(Placed, Fact):
    """The version in use, as the Secret's pointer names it."""

    permissions = ("secrets: get",)
    named = ON_SECRET

    class Params(InNamespace):
        secret: ObjectName
        pointer: DataKey = "active"

    client: Client

    def read(self, p: Params, run: Run) -> Known:
        view = look(self.client, run, secret(p.cluster, p.namespace, p.secret))
        version = pointed(view, p.pointer)
        if version is None:
            raise Permanent(f"{view.place} has no {p.pointer}", "write it with the version that is in use")
        return Known(version, f"{p.pointer} of {view.place}")
