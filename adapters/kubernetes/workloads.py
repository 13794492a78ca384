"""Consumers of a credential: restarted, made to refer to a Secret, and rolled back to their previous revision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import Field

from adapters.kubernetes.client import Client, Conflict, Found
from adapters.kubernetes.counts import counted
from adapters.kubernetes.marks import ANNOTATION, Marks, annotated, drop, keep, kept, managers, marks_of
from adapters.kubernetes.names import Container, DataKey, InNamespace, ObjectName, Variable, Workload
from adapters.kubernetes.permissions import ON_SECRET, Placed
from adapters.kubernetes.places import WORKLOADS, Place, workload
from adapters.kubernetes.revisions import Revision, before, current, history, template_of
from adapters.kubernetes.said import said
from bot.contracts.adapter import Absent, Effect, Observed, Operation, Outputs, Present, Run
from bot.core.errors import Permanent, Transient, Underway

TRIES = 5
LOOKED_AT = timedelta(seconds=1)
"""How often a rollout is looked at."""
RESTARTED = "keyturn.dev/restarted-by"
RESTARTS, REFERENCES, ROLLBACKS = "restarts", "references", "rollbacks"

Ops = list[dict[str, Any]]

CHANGES_WORKLOADS = (
    "deployments.apps: get, patch",
    "statefulsets.apps: get, patch",
    "daemonsets.apps: get, patch",
    "replicasets.apps: list",
    "controllerrevisions.apps: list",
)
LOOKS_AT_WORKLOADS = tuple(text.replace("get, patch", "get") for text in CHANGES_WORKLOADS)


class OneWorkload(InNamespace):
    """A workload, `deployment/name`."""

    workload: Workload

    @property
    def place(self) -> Place:
        """The workload's object."""
        return workload(self.cluster, self.namespace, self.workload)


class OnWorkload(Placed):
    """Narrows permissions to the kind of workload that is named."""

    permissions: ClassVar[tuple[str, ...]] = CHANGES_WORKLOADS
    named = dict.fromkeys(WORKLOADS.values(), "workload")

    @classmethod
    def needs(cls, known: Mapping[str, Any]) -> tuple[str, ...]:
        found = super().needs(known)
        given = known.get("workload")
        if not isinstance(given, str) or "/" not in given:
            return found
        unused = "controllerrevisions.apps" if given.startswith("deployment/") else "replicasets.apps"
        return tuple(text for text in found if not text.startswith(unused))


def change(client: Client, run: Run, place: Place, decide: Callable[[Found, Marks], Ops | None]) -> None:
    """Change a workload by a JSON patch, if what counts is still what was read; else read it again and decide anew.

    While pods roll, the controller writes its status all the time: that is no reason to begin again.
    """
    for _ in range(TRIES):
        found = client.get(run, place)
        marks = marks_of(found)
        ops = decide(found, marks)
        if ops is None:
            return
        noted = _annotate(found["metadata"].get("annotations"), "/metadata", ANNOTATION, annotated(marks)[ANNOTATION])
        try:
            client.patch(run, place, [*_unchanged(found["metadata"]), *ops, *noted], "json")
        except Conflict:
            continue
        except Permanent:  # a failed test and an invalid change are the same answer of the API server
            if _same(client.get(run, place), found):
                raise
            continue
        return
    raise Transient(f"others change {place} all the time; nothing was done to it")


def _unchanged(about: Mapping[str, Any]) -> Ops:
    """Tests of a patch: nobody changed the spec or our notes meanwhile."""
    there = about.get("annotations")
    if not there:  # all annotations are written at once then: nothing may have come in between
        return [{"op": "replace", "path": "/metadata/resourceVersion", "value": about.get("resourceVersion")}]
    noted = [{"op": "test", "path": _path_of(ANNOTATION), "value": there[ANNOTATION]}] if ANNOTATION in there else []
    return [{"op": "test", "path": "/metadata/generation", "value": about.get("generation")}, *noted]


def _same(now: Found, found: Found) -> bool:
    return _generation(now) == _generation(found) and marks_of(now) == marks_of(found)


def _path_of(name: str, path: str = "/metadata") -> str:
    return f"{path}/annotations/{name.replace('~', '~0').replace('/', '~1')}"


def _annotate(there: Any, path: str, name: str, value: str | None) -> Ops:
    where = _path_of(name, path)
    if value is None:
        return [{"op": "remove", "path": where}] if there and name in there else []
    if not there:
        return [{"op": "add", "path": f"{path}/annotations", "value": {name: value}}]
    return [{"op": "add", "path": where, "value": value}]


def check_rolls(place: Place, found: Found) -> None:
    """Raise `Permanent` where a changed template would not reach every pod by itself."""
    spec = found.get("spec") or {}
    if found["metadata"].get("deletionTimestamp"):
        raise Permanent(f"{place} is being deleted", "find out who deletes it; take it out of the targets")
    if spec.get("paused") is True:
        raise Permanent(f"the rollout of {place} is paused{_who(found, 'f:spec', 'f:paused')}", "resume it, then retry")
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        raise Permanent(f"{place} replaces pods only when they are deleted (OnDelete)", "restart its pods by hand")
    if (strategy.get("rollingUpdate") or {}).get("partition"):
        raise Permanent(f"{place} holds back pods by a partition", "set the partition to 0, then retry")


def _who(found: Found, *path: str) -> str:
    names = [said(name, 60) for name, _ in managers(found, *path)]
    return f" (by {', '.join(names)})" if names else ""


def revision_text(client: Client, run: Run, place: Place, found: Found) -> str:
    """The number of the present revision, as `kubectl rollout history` tells it."""
    now = current(found, history(client, run, place, found))
    return str(now.number) if now else ""


# --- restart ----------------------------------------------------------------------------------------------------------


class Restart(OnWorkload, Operation):
    """Replace the pods of a workload by new ones, as its own rollout does; once for each step.

    Undoing restarts once more, so that the pods read what was put back.
    """

    effect = Effect.CHANGES
    outputs = ("workload", "generation", "previous_revision")

    class Params(OneWorkload):
        """The workload."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        note = kept(marks_of(self.client.get(run, p.place)), RESTARTS, run.token)
        return Absent() if note is None or note.get("undone") else Present(_restarted(p, note))

    def ensure(self, p: Params, run: Run) -> Outputs:
        done: Outputs = {}

        def decide(found: Found, marks: Marks) -> Ops | None:
            nonlocal done
            note = kept(marks, RESTARTS, run.token)
            if note is not None and not note.get("undone"):
                done = _restarted(p, note)
                return None
            check_rolls(p.place, found)
            revision = revision_text(self.client, run, p.place, found)
            times = _times(note) + 1
            note = {"generation": _generation(found) + 1, "revision": revision, "times": times}
            keep(marks, RESTARTS, run.token, note)
            done = _restarted(p, note)
            return _restart(found, run.token, times)

        change(self.client, run, p.place, decide)
        return done

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        def decide(found: Found, marks: Marks) -> Ops | None:
            note = kept(marks, RESTARTS, run.token)
            if (note is None and not outputs) or (note is not None and note.get("undone")):
                return None
            note = note or {"times": 1}  # done, and since then so many others have restarted it that its note is gone
            check_rolls(p.place, found)
            times = _times(note) + 1
            keep(marks, RESTARTS, run.token, {**note, "undone": True, "times": times})
            return _restart(found, run.token, times)

        change(self.client, run, p.place, decide)


Workloads = Annotated[tuple[Workload, ...], Field(max_length=200)]


class Restarting(InNamespace):
    """What reaches its consumers only when they are restarted: that belongs to it, and to its undoing."""

    workloads: Workloads = ()
    """Restarted after the change and after its undoing, as `restart` does, so that pods read what is there."""


class RestartsToo(Placed):
    """Needs at the workloads, by their names, what a restart needs."""

    permissions: ClassVar[tuple[str, ...]] = ("secrets: get, patch", *CHANGES_WORKLOADS)
    named = ON_SECRET

    @classmethod
    def needs(cls, known: Mapping[str, Any]) -> tuple[str, ...]:
        listed = known.get("workloads", ())
        names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list | tuple) else []
        needed = [text for text in super().needs(known) if text.startswith("secrets")]
        for name in names:
            needed += Restart.needs({**known, "workload": name})
        return tuple(dict.fromkeys(needed))


def restart_all(client: Client, p: Restarting, run: Run) -> None:
    """Restart every one that the step of this token has not restarted yet."""
    for each in _restarts(p):
        Restart(client).ensure(each, run)


def all_restarted(client: Client, p: Restarting, run: Run) -> bool:
    """Whether the step of this token has restarted all of them."""
    return all(isinstance(Restart(client).observe(each, run), Present) for each in _restarts(p))


def restart_back(client: Client, p: Restarting, run: Run, outputs: Outputs) -> None:
    """Restart again those that the step of this token has restarted: all of them where it has `outputs`.

    Raises `Underway` until their pods are there: what was undone has reached a pod only then, and what is undone next
    relies on that.
    """
    for each in _restarts(p):
        Restart(client).undo(each, run, outputs)
    readings = [counted(each.place, each.workload, client.get(run, each.place)) for each in _restarts(p)]
    if left := [reading.evidence for reading in readings if not reading.passed]:
        raise Underway(f"undone, and pods restart: {'; '.join(left[:5])}", LOOKED_AT)


def _restarts(p: Restarting) -> list[Restart.Params]:
    return [Restart.Params(cluster=p.cluster, namespace=p.namespace, workload=name) for name in p.workloads]


def _restart(found: Found, token: str, times: int) -> Ops:
    """Each restart writes another text: going back to an earlier one would bring its pods back instead of new ones."""
    about = found["spec"]["template"].get("metadata")
    value = token if times == 1 else f"{token}.{times}"
    if about is None:
        return [{"op": "add", "path": "/spec/template/metadata", "value": {"annotations": {RESTARTED: value}}}]
    return _annotate(about.get("annotations"), "/spec/template/metadata", RESTARTED, value)


def _restarted(p: OneWorkload, note: Mapping[str, Any]) -> Outputs:
    return {
        "workload": p.workload,
        "generation": note.get("generation"),
        "previous_revision": note.get("revision"),
    }


def _times(note: Mapping[str, Any] | None) -> int:
    times = (note or {}).get("times", 0)
    return times if isinstance(times, int) else 0


def _generation(found: Found) -> int:
    return int(found["metadata"].get("generation", 0))


# --- refer ------------------------------------------------------------------------------------------------------------


class Refer(OnWorkload, Operation):
    """Let a variable of a container come from an entry of a Secret, instead of a literal or of another entry.

    Undoing puts back what the previous revision had; a literal value is in no output.
    """

    effect = Effect.CHANGES
    outputs = ("workload", "variable", "previous_revision")

    class Params(OneWorkload):
        container: Container
        variable: Variable
        secret: ObjectName
        key: DataKey

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        found = self.client.get(run, p.place)
        note = kept(marks_of(found), REFERENCES, run.token)
        _, there = _variable(p.place, found["spec"]["template"], p.container, p.variable)
        return Present(self._outputs(p, note)) if note is not None and there == _wanted(p) else Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        done: Outputs = {}

        def decide(found: Found, marks: Marks) -> Ops | None:
            nonlocal done
            path, there = _variable(p.place, found["spec"]["template"], p.container, p.variable)
            note = kept(marks, REFERENCES, run.token)
            if there == _wanted(p):
                done = self._outputs(p, note)
                return None
            check_rolls(p.place, found)
            now = current(found, history(self.client, run, p.place, found))
            if now is None:
                raise Transient(f"the controller has not seen {p.place} yet")
            note = {"revision": now.number, "name": now.name}
            keep(marks, REFERENCES, run.token, note)
            done = self._outputs(p, note)
            return [{"op": "replace", "path": f"/spec/template{path}", "value": _wanted(p)}]

        change(self.client, run, p.place, decide)
        return done

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        def decide(found: Found, marks: Marks) -> Ops | None:
            note = kept(marks, REFERENCES, run.token)
            if note is None:
                return None
            path, there = _variable(p.place, found["spec"]["template"], p.container, p.variable)
            if there != _wanted(p):
                raise Permanent(
                    f"the variable {p.variable} of {p.place} refers to {_tell(there)}, not to {p.key} of {p.secret}",
                    "find out who changed it and why, and set it by hand",
                )
            check_rolls(p.place, found)
            old = _kept(p.place, history(self.client, run, p.place, found), note)
            drop(marks, REFERENCES, run.token)
            _, value = _variable(p.place, old.template, p.container, p.variable)
            return [{"op": "replace", "path": f"/spec/template{path}", "value": value}]

        change(self.client, run, p.place, decide)

    def _outputs(self, p: Params, note: Mapping[str, Any] | None) -> Outputs:
        revision = (note or {}).get("revision")
        return {
            "workload": p.workload,
            "variable": p.variable,
            "previous_revision": None if revision is None else str(revision),
        }


def _wanted(p: Refer.Params) -> dict[str, Any]:
    return {"name": p.variable, "valueFrom": {"secretKeyRef": {"name": p.secret, "key": p.key}}}


def _variable(
    place: Place, template: Mapping[str, Any], container: str, variable: str
) -> tuple[str, Mapping[str, Any]]:
    """Where a variable stands in a template, and how it is set; its value is for the API server alone."""
    spec = template.get("spec") or {}
    for kind in ("containers", "initContainers"):
        for i, one in enumerate(spec.get(kind) or []):
            if one.get("name") == container:
                entries = one.get("env") or []
                for j in reversed(range(len(entries))):
                    if entries[j].get("name") == variable:
                        return f"/spec/{kind}/{i}/env/{j}", entries[j]
                names = ", ".join(said(entry.get("name"), 60) for entry in entries[:20]) or "none"
                raise Permanent(
                    f"the container {container} of {place} has no variable {variable}; it sets {names}",
                    "correct the name, or set the variable once by hand",
                )
    raise Permanent(f"{place} has no container {container}", "correct the name of the container")


def _tell(entry: Mapping[str, Any]) -> str:
    source = (entry.get("valueFrom") or {}).get("secretKeyRef") or {}
    return f"{said(source.get('key'), 80)} of {said(source.get('name'), 80)}" if source else "something else"


def _kept(place: Place, revisions: list[Revision], note: Mapping[str, Any]) -> Revision:
    found = next((one for one in revisions if one.name == note.get("name")), None)
    if found is None:
        raise Permanent(
            f"revision {note.get('revision')} of {place} is not kept any more",
            "put its template back by hand; revisionHistoryLimit says how many are kept",
        )
    return found


# --- roll back --------------------------------------------------------------------------------------------------------


class RollBack(OnWorkload, Operation):
    """Put a workload back to the template of its previous revision. Undoing goes forward to the one it had."""

    effect = Effect.CHANGES
    outputs = ("workload", "from_revision", "to_revision")

    class Params(OneWorkload):
        """The workload."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        note = kept(marks_of(self.client.get(run, p.place)), ROLLBACKS, run.token)
        return Absent() if note is None else Present(self._outputs(p, note))

    def ensure(self, p: Params, run: Run) -> Outputs:
        done: Outputs = {}

        def decide(found: Found, marks: Marks) -> Ops | None:
            nonlocal done
            note = kept(marks, ROLLBACKS, run.token)
            if note is not None:
                done = self._outputs(p, note)
                return None
            check_rolls(p.place, found)
            now, old = before(p.place, found, history(self.client, run, p.place, found))
            if now is None:
                raise Transient(f"the controller has not seen {p.place} yet")
            note = {"name": now.name, "revision": now.number, "to": old.number}
            keep(marks, ROLLBACKS, run.token, note)
            done = self._outputs(p, note)
            return [{"op": "replace", "path": "/spec/template", "value": template_of(old)}]

        change(self.client, run, p.place, decide)
        return done

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        def decide(found: Found, marks: Marks) -> Ops | None:
            note = kept(marks, ROLLBACKS, run.token)
            if note is None:
                return None
            check_rolls(p.place, found)
            old = _kept(p.place, history(self.client, run, p.place, found), note)
            drop(marks, ROLLBACKS, run.token)
            return [{"op": "replace", "path": "/spec/template", "value": template_of(old)}]

        change(self.client, run, p.place, decide)

    def _outputs(self, p: Params, note: Mapping[str, Any]) -> Outputs:
        return {"workload": p.workload, "from_revision": str(note.get("revision")), "to_revision": str(note.get("to"))}
