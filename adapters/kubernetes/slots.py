"""Two slots in one Secret: `current` signs, both are accepted; a key is staged in `previous`, then they change places.

First stage and restart, then swap and restart: what is accepted never changes while pods roll, so nothing is refused.
Keys are told apart by public ids that keyturn gives them; nothing is derived from a value.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace

from adapters._fields import PublicId
from adapters.kubernetes.client import Client
from adapters.kubernetes.keys import Bytes, Kind, new_key
from adapters.kubernetes.marks import Marks, drop, keep, kept
from adapters.kubernetes.names import DataKey, InNamespace, ObjectName
from adapters.kubernetes.permissions import ON_SECRET, Placed
from adapters.kubernetes.places import Place, secret
from adapters.kubernetes.secret import Change, View, edit, encode, look, written_by_others
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
)
from bot.core.errors import Permanent

SWAPS = "slot swaps"  # with a space: no entry of a Secret has such a name


class Slots(InNamespace):
    """A Secret with two slots."""

    secret: ObjectName
    current: DataKey = "current"
    """The entry with which consumers sign."""
    previous: DataKey = "previous"
    """The entry that they accept too."""

    @property
    def place(self) -> Place:
        """The Secret."""
        return secret(self.cluster, self.namespace, self.secret)

    @property
    def retired(self) -> str:
        """Where a key stands that was set aside, and where no consumer looks."""
        return f"retired.{self.previous}"

    def ours(self) -> Callable[[str], bool]:
        """Whether an entry is one of the slots: a foreign change to it is a conflict."""
        slots, others = (self.current, self.previous, self.retired), f"{self.retired}."
        return lambda name: name in slots or name.startswith(others)


def key_id(view: View, slot: str) -> str:
    """The public id of the key in a slot; empty when it has none, or when somebody else has written the slot since."""
    found = view.marks.get(slot, {}).get("id")
    return found if isinstance(found, str) and view.has(slot) and not written_by_others(view, slot) else ""


def _new_id() -> str:
    return f"k-{secrets.token_hex(5)}"


def aside(view: View, p: Slots, id: str) -> str | None:
    """The entry in which the key of this id stands that was set aside."""
    names = (name for name in view.data if name == p.retired or name.startswith(f"{p.retired}."))
    return next((name for name in names if key_id(view, name) == id), None)


class StageNext(RestartsToo, Operation):
    """Put a new key into the slot `previous`, so that every replica learns to accept it before it signs.

    Refused while that slot still holds a key: somebody may rely on it. Undoing takes the key out again, unless it was
    ever made to sign: then it stays, so that what it signed is still accepted.
    """

    effect = Effect.CREATES
    outputs = ("new", "old")

    class Params(Slots, Restarting):
        kind: Kind = "random"
        """`random` is base64 of so many `bytes`; the others are private keys in PEM."""
        bytes: Bytes = 64
        emergency: bool = False
        """Also while the slot holds a key: it is set aside as `retired.<previous>.<id>`, and no longer accepted.

        Undoing brings it back and restarts the `workloads`, so that they accept it again.
        """

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        view = look(self.client, run, p.place)
        slot = _staged(view, p, run.token)
        return Absent() if slot is None else Present(_told(view.marks, slot))

    def ensure(self, p: Params, run: Run) -> Outputs:
        done: Outputs = {}

        def decide(view: View) -> Change | None:
            nonlocal done
            slot = _staged(view, p, run.token)
            if slot is not None:
                done = _told(view.marks, slot)
                return None
            if not view.has(p.current):
                raise Permanent(f"{view.place} has no {p.current}", "correct the names of the slots")
            moved: dict[str, str | None] = {}
            if view.has(p.previous):
                if not p.emergency:
                    raise Permanent(
                        f"{p.previous} of {view.place} still holds a key",
                        "clear it first, when nobody uses it any more",
                    )
                id = key_id(view, p.previous) or _new_id()
                name = f"{p.retired}.{id}"
                view.marks[name] = {**view.marks.pop(p.previous, {}), "id": id, "removed": run.token}
                moved = {name: view.data[p.previous]}
            old = key_id(view, p.current) or f"before-{_new_id()}"
            view.marks[p.previous] = {"id": _new_id(), "staged": run.token, "beside": old}
            done = _told(view.marks, p.previous)
            return Change({**moved, p.previous: encode(new_key(p.kind, p.bytes))}, view.marks)

        edit(self.client, run, p.place, p.ours(), decide)
        return done

    def undo(self, p: Params, run: Run, outputs: Outputs) -> str | None:
        left: str | None = None

        def decide(view: View) -> Change | None:
            nonlocal left
            slot = _staged(view, p, run.token)
            if slot is None:
                return None
            if slot == p.current:
                raise Permanent(f"the staged key of {view.place} signs by now", "swap back first")
            held = [name for name in view.data if view.marks.get(name, {}).get("removed") == run.token]
            if view.marks[slot].get("signed"):
                left = f"{slot} of {view.place} stays, to verify what it signed; clear it when that has expired"
                left += f"; {held[0]} stays set aside" if held else ""
                return None
            marks = {name: mark for name, mark in view.marks.items() if name != p.previous}
            if not held:
                return Change({p.previous: None}, marks)
            note = {key: value for key, value in marks.pop(held[0]).items() if key != "removed"}
            marks[p.previous] = {**note, "brought-back": run.token}
            return Change({p.previous: view.data[held[0]], held[0]: None}, marks)

        edit(self.client, run, p.place, p.ours(), decide)
        if look(self.client, run, p.place).marks.get(p.previous, {}).get("brought-back") == run.token:
            restart_all(self.client, p, replace(run, token=f"{run.token}-back"))
        if left:
            run.log.warning(left)
        return left


def _staged(view: View, p: Slots, token: str) -> str | None:
    """The slot that holds the key which the step of this token has staged."""
    for slot in (p.previous, p.current):
        if view.marks.get(slot, {}).get("staged") == token and view.has(slot):
            if who := written_by_others(view, slot):
                raise Permanent(
                    f"{slot} of {view.place} was overwritten by {who} after keyturn had staged a key there",
                    "find out who and why; clear the slot, then plan again",
                )
            return slot
    return None


def _told(marks: Marks, slot: str) -> Outputs:
    return {"new": marks[slot].get("id"), "old": marks[slot].get("beside")}


class Swap(RestartsToo, Operation):
    """Let `current` and `previous` change places, in one change: the other key signs, both stay accepted.

    Who reads the slots at the start of a pod belongs to it (`workloads`): undone without their restart, nothing is.
    """

    effect = Effect.CHANGES
    outputs = ("new", "old")

    class Params(Slots, Restarting):
        new: PublicId
        """The id of the key that is to sign: `new` of the staging, or `old` of an earlier swap."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        view = look(self.client, run, p.place)
        note = kept(view.marks, SWAPS, run.token)
        if note is None or key_id(view, p.current) != p.new or not all_restarted(self.client, p, run):
            return Absent()
        return Present({"new": p.new, "old": note.get("old")})

    def ensure(self, p: Params, run: Run) -> Outputs:
        old: str | None = None

        def decide(view: View) -> Change | None:
            nonlocal old
            note = kept(view.marks, SWAPS, run.token)
            if key_id(view, p.current) == p.new:
                old = note.get("old") if note else key_id(view, p.previous) or None
                return None
            if key_id(view, p.previous) != p.new or not view.has(p.current):
                raise Permanent(
                    f"{p.previous} of {view.place} does not hold {p.new}{view.blame(p.previous)}",
                    "find out who changed it and why, then plan again",
                )
            old = str(view.marks[p.previous].get("beside", "")) or key_id(view, p.current) or None
            keep(view.marks, SWAPS, run.token, {"new": p.new, "old": old})
            view.marks[p.previous]["signed"] = True
            return _swapped(view, p, old)

        edit(self.client, run, p.place, p.ours(), decide)
        restart_all(self.client, p, run)
        return {"new": p.new, "old": old}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        def decide(view: View) -> Change | None:
            if kept(view.marks, SWAPS, run.token) is None:
                return None
            if key_id(view, p.current) != p.new or not view.has(p.previous):
                raise Permanent(
                    f"the slots of {view.place} are not as the swap left them{view.blame(p.current, p.previous)}",
                    "find out who changed them and why, and put them right by hand",
                )
            drop(view.marks, SWAPS, run.token)
            return _swapped(view, p, None)

        edit(self.client, run, p.place, p.ours(), decide)
        restart_back(self.client, p, run, outputs)


def _swapped(view: View, p: Slots, old: str | None) -> Change:
    """Both values and both notes in each other's place; what had no id yet gets the one that was told."""
    marks = dict(view.marks)
    marks[p.current] = dict(view.marks.get(p.previous, {}))
    marks[p.previous] = {**view.marks.get(p.current, {})} | ({"id": old} if old else {})
    return Change({p.current: view.data[p.previous], p.previous: view.data[p.current]}, marks)


class SetAsidePrevious(RestartsToo, Operation):
    """Take the key in the slot `previous` away from the consumers; the Secret keeps it as `retired.<previous>`.

    What it signed is no longer accepted, until the key is brought back.
    """

    effect = Effect.CHANGES
    outputs = ("old", "retired")

    class Params(Slots, Restarting):
        old: PublicId
        """The id of the key that is to go: `old` of the swap. Another one is never touched."""
        leave_empty: bool = False
        """Keep the entry with an empty value, for consumers that do not start without it."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        view = look(self.client, run, p.place)
        name = aside(view, p, p.old)
        if name is None or view.has(p.previous) or not all_restarted(self.client, p, run):
            return Absent()
        return Present({"old": p.old, "retired": name})

    def ensure(self, p: Params, run: Run) -> Outputs:
        retired = p.retired

        def decide(view: View) -> Change | None:
            nonlocal retired
            if not view.has(p.previous) and (there := aside(view, p, p.old)) is not None:
                retired = there
                return None
            _is_old(view, p, p.old)
            # A key that an emergency has left there must not stand in the way of this one.
            retired = f"{p.retired}.{p.old}" if view.has(p.retired) else p.retired
            view.marks[retired] = {**view.marks.pop(p.previous), "removed": run.token}
            return Change({p.previous: "" if p.leave_empty else None, retired: view.data[p.previous]}, view.marks)

        edit(self.client, run, p.place, p.ours(), decide)
        restart_all(self.client, p, run)
        return {"old": p.old, "retired": retired}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> str | None:
        left: str | None = None

        def decide(view: View) -> Change | None:
            nonlocal left
            if key_id(view, p.previous) == p.old:
                return None
            name = aside(view, p, p.old)
            if name is None:
                raise Permanent(
                    f"{view.place} holds {p.old} neither in {p.previous} nor in {p.retired}",
                    "it was erased and cannot be brought back",
                )
            if view.marks.get(name, {}).get("removed") != run.token:
                left = f"{name} stays in {view.place}: somebody else had set it aside before"
                return None
            if view.has(p.previous):
                raise Permanent(
                    f"{p.previous} of {view.place} holds another key by now{view.blame(p.previous)}",
                    "find out who put it there and why; clear it, then retry",
                )
            note = {key: value for key, value in view.marks.pop(name).items() if key != "removed"}
            return Change({name: None, p.previous: view.data[name]}, {**view.marks, p.previous: note})

        edit(self.client, run, p.place, p.ours(), decide)
        if left is None:
            restart_back(self.client, p, run, outputs)
        return left


def _is_old(view: View, p: Slots, old: str) -> None:
    if key_id(view, p.previous) != old:
        raise Permanent(
            f"{p.previous} of {view.place} holds another key than {old}{view.blame(p.previous)}",
            "find out who wrote it and why; nothing was touched",
        )


class ClearPrevious(Placed, Operation):
    """Erase the key in the slot `previous`, or the one that was set aside. It cannot be brought back."""

    effect = Effect.DESTROYS
    permissions = ("secrets: get, patch",)
    named = ON_SECRET
    outputs = ("cleared",)

    class Params(Slots):
        old: PublicId
        """The id of the key that is to go: `old` of the swap. Another one is never erased."""
        leave_empty: bool = False
        """Keep the entry with an empty value, for consumers that do not start without it."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        view = look(self.client, run, p.place)
        there = key_id(view, p.previous) if view.has(p.previous) else None
        # A key without an id may be the one; another one with an id came after it was erased.
        return Absent() if there in ("", p.old) or aside(view, p, p.old) else Present({"cleared": p.old})

    def ensure(self, p: Params, run: Run) -> Outputs:
        def decide(view: View) -> Change | None:
            if (name := aside(view, p, p.old)) is not None:
                view.marks.pop(name, None)
                return Change({name: None}, view.marks)
            if not view.has(p.previous):
                return None
            _is_old(view, p, p.old)
            view.marks.pop(p.previous, None)
            return Change({p.previous: "" if p.leave_empty else None}, view.marks)

        edit(self.client, run, p.place, p.ours(), decide)
        return {"cleared": p.old}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        view = look(self.client, run, p.place)
        if not view.has(p.previous) and aside(view, p, p.old) is None:
            raise Permanent(f"the key {p.old} of {view.place} is erased", "it cannot be brought back; rotate anew")


class SlotIds(Placed, Fact):
    """The public ids of the keys in both slots; empty where keyturn has not written the key."""

    permissions = ("secrets: get",)
    named = ON_SECRET

    class Params(Slots):
        """The slots."""

    client: Client

    def read(self, p: Params, run: Run) -> Known:
        view = look(self.client, run, p.place)
        ids = {"current": key_id(view, p.current), "previous": key_id(view, p.previous)}
        return Known({**ids}, f"{p.current} and {p.previous} of {view.place}")


class OneSlot(InNamespace):
    """One slot of a Secret."""

    secret: ObjectName
    slot: DataKey

    @property
    def place(self) -> Place:
        """The Secret."""
        return secret(self.cluster, self.namespace, self.secret)


class SlotHolds(Placed, Probe):
    """A slot holds the key of this id, as keyturn has written it."""

    permissions = ("secrets: get",)
    named = ON_SECRET

    class Params(OneSlot):
        id: PublicId

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        view = look(self.client, run, p.place)
        found = key_id(view, p.slot)
        held = found or (f"a key without an id{view.blame(p.slot)}" if view.has(p.slot) else "no key")
        return Reading(f"{p.slot} of {view.place} holds {held}", passed=found == p.id)


class SlotEmpty(Placed, Probe):
    """A slot holds no key."""

    permissions = ("secrets: get",)
    named = ON_SECRET

    class Params(OneSlot):
        """The slot."""

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        view = look(self.client, run, p.place)
        held = view.has(p.slot)
        return Reading(f"{p.slot} of {view.place} holds {'a key' if held else 'no key'}", passed=not held)
