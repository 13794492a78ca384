"""Runs errands beside emergencies: pages, their end, tickets. One thread; nothing here delays a revocation."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from bot.contracts.adapter import Outputs, Present, Run, Secrets, Unclear
from bot.contracts.registry import Registry
from bot.core.errors import Ambiguous, KeyturnError, Permanent, Transient
from bot.core.events import Entry, Event
from bot.core.incident_rules import Errand, Incidents
from bot.core.rotation import Rotation
from bot.engine.incidents import say, unattended
from bot.engine.scope import parameters
from bot.store.database import Database
from bot.store.records import ErrandRow
from bot.store.writing import Transaction

log = logging.getLogger(__name__)
ALLOWED_SECONDS = 30.0
"""For one call, with everything that it looks at."""
CLAIMED_SECONDS = 60.0
LONGEST_DELAY = 300.0
AFTER_MISTAKE = 60.0
"""Seconds until what was refused is tried again: settings and permissions are mended meanwhile."""
MOST_FAILURES = 200
NOT_SENT = "it was over before anybody was paged"
MAYBE_SENT = "it was over; somebody may have been paged"
SHORTEST_NAP, LONGEST_NAP = 0.02, 5.0


class Errands:
    """Start it once per process. `wake` may be called from anywhere, as after each commit."""

    def __init__(self, database: Database, registry: Registry, secrets: Secrets, settings: Incidents) -> None:
        self._database = database
        self._registry = registry
        self._secrets = secrets
        self._settings = settings
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="errands", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Something was committed."""
        self._woken.set()

    def stop(self, within: float = 5.0) -> None:
        """End after the errand in hand; one that hangs is looked at by the next life."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(within)

    def turn(self) -> float:
        """Run what is due; returns in how many real seconds there may be something to do."""
        while not self._stopping.is_set():
            with self._database.read() as reader:
                due, now = reader.next_errand_at(), reader.now
            if due is None:
                return LONGEST_NAP
            if due > now:
                return min(LONGEST_NAP, max(0.02, self._database.clock.real(due - now)))
            if not self._run_one():
                return 0.5  # another replica took it
        return 0.0

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                nap = self.turn()
            except KeyturnError as error:
                log.warning("errands wait: %s", error)
                nap = 2.0
            except Exception as error:  # noqa: BLE001 - without this thread nobody would be paged any more
                log.error("the errands met %s", type(error).__name__)
                nap = 5.0
            self._woken.wait(nap)
            self._stopping.wait(SHORTEST_NAP)  # commits come in crowds

    # --- one errand ---------------------------------------------------------------------------------------------------

    def _run_one(self) -> bool:
        """Claim an errand, with its intent in the audit, run it, and save what came of it."""
        with self._database.begin() as tx:
            claimed = tx.claim_errands(tx.now, tx.now + self._stretched(CLAIMED_SECONDS))
        if not claimed:
            return False
        row = claimed[0]
        with self._database.read() as reader:  # not in a transaction, which would keep the rotation's row from a step
            rotation = reader.rotation(row.rotation)
        assert rotation is not None, "an errand belongs to a rotation"
        with self._database.begin() as tx:
            reason = self._needless(tx, row, rotation)
            if reason is None:
                tx.audit(_entry(Event.ERRAND_INTENT, rotation, row, attempt=row.failures + 1))
            elif isinstance(reason, str):
                tx.finish_errand(row.id, row.outputs, reason)
        if reason is None:
            self._attempt(row, rotation)
        return True

    def _needless(self, tx: Transaction, row: ErrandRow, rotation: Rotation) -> str | bool | None:
        """Why nothing is to be done; True when it has to wait for another replica, None when it is to be run."""
        if self._errand(row.kind) is None:
            return "not configured"
        if row.kind == "page" and rotation.is_over and not unattended(rotation):
            return MAYBE_SENT if _begun(row) else NOT_SENT
        if row.kind != "resolve":
            return None
        pages = [each for each in tx.errands(row.rotation) if each.kind == "page"]
        busy = [each for each in pages if each.done_at is None and each.claimed_until and each.claimed_until > tx.now]
        if busy:  # what is being sent now would open again what we end
            tx.postpone_errand(row.id, tx.now + self._stretched(1.0), row.failures, "waits for a page")
            return True
        for each in pages:
            if each.done_at is None:
                tx.finish_errand(each.id, {}, MAYBE_SENT if _begun(each) else NOT_SENT)
        sent = any(_begun(each) or each.note == MAYBE_SENT for each in pages)
        return None if sent else "nobody was paged"

    def _attempt(self, row: ErrandRow, rotation: Rotation) -> None:
        delay, problem = timedelta(0), ""
        outputs: Outputs = {}
        try:
            outputs = self._carry_out(row, rotation)
        except Transient as error:
            backoff = timedelta(seconds=min(2.0 ** min(row.failures, 20), LONGEST_DELAY))
            delay, problem = max(error.delay, backoff), _first_line(error)
        except Ambiguous as error:
            delay, problem = timedelta(seconds=AFTER_MISTAKE), f"{_first_line(error)} ({error.evidence})"
        except Permanent as error:
            delay, problem = timedelta(seconds=AFTER_MISTAKE), f"{_first_line(error)}; {error.hint}".rstrip("; ")
        except Exception as error:  # noqa: BLE001 - an adapter's mistake must not end the thread; its text may hold anything
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
            log.error("an errand raised %s at %s", type(error).__name__, place, extra={"rotation": rotation.id})
            delay, problem = timedelta(seconds=AFTER_MISTAKE), f"{type(error).__name__} at {place}"
        with self._database.begin() as tx:
            if problem:
                self._failed(tx, row, rotation, problem[:500], delay)
            else:
                self._done(tx, row, rotation, outputs)

    def _carry_out(self, row: ErrandRow, rotation: Rotation) -> Outputs:
        """Look first, always: a life before this one may have done it. The same token never does it twice."""
        errand = self._errand(row.kind)
        assert errand is not None
        operation = self._registry.operation(errand.do)
        scope = scope_of_incident(rotation, str(row.payload.get("why", "")))
        p = parameters(operation.Params, {}, errand.arguments, {"incident": scope}, defaults(row.kind, scope))
        run = self._run_for(row, rotation)
        if row.kind == "resolve":
            operation.undo(p, run, self._given(row.rotation))
            return {}
        if row.kind != "page":  # a page that is sent again wakes those who are called now, under the same alert
            found = operation.observe(p, run)
            if isinstance(found, Present):
                return found.outputs
            if isinstance(found, Unclear):
                raise Ambiguous("it cannot be told whether this was done", found.why)
        return operation.ensure(p, run)

    def _given(self, number: int) -> Outputs:
        """What the last page returned."""
        with self._database.read() as reader:
            found = [row.outputs for row in reader.errands(number) if row.kind == "page" and row.outputs]
        return found[-1] if found else {}

    def _errand(self, kind: str) -> Errand | None:
        """What the settings say; a page is ended by undoing it."""
        return self._settings.ticket if kind == "ticket" else self._settings.page

    def _run_for(self, row: ErrandRow, rotation: Rotation) -> Run:
        """The token is one for all pages of an emergency, so that they are one alert."""
        kind = "ticket" if row.kind == "ticket" else "page"
        return Run(
            rotation=rotation.id,
            token=f"keyturn-{rotation.id}-{kind}-{rotation.created_at:%Y%m%d%H%M%S%f}",
            operator=rotation.plan.requester,
            secrets=self._secrets,
            now=self._database.now(),
            log=logging.LoggerAdapter(log, {"rotation": rotation.id, "step": kind}),
            deadline=time.monotonic() + ALLOWED_SECONDS,
        )

    def _done(self, tx: Transaction, row: ErrandRow, rotation: Rotation, outputs: Outputs) -> None:
        tx.finish_errand(row.id, outputs)
        tx.audit(_entry(Event.ERRAND_OUTCOME, rotation, row, said=_shown(outputs) or "done", outputs=dict(outputs)))
        url = outputs.get("url")
        if row.kind == "ticket" and isinstance(url, str):
            say(tx, rotation, "ticket", f"The ticket is {url}.")
        if tx.incident(rotation.number) is not None:
            tx.renew_incident(rotation.number)

    def _failed(self, tx: Transaction, row: ErrandRow, rotation: Rotation, problem: str, delay: timedelta) -> None:
        given_up = row.failures + 1 >= MOST_FAILURES
        tx.audit(_entry(Event.ERRAND_OUTCOME, rotation, row, said=f"failed: {problem}", failures=row.failures + 1))
        if given_up:
            tx.finish_errand(row.id, {}, f"given up: {problem}")
        else:
            tx.postpone_errand(row.id, tx.now + delay * self._database.clock.rate, row.failures + 1, problem)
        if row.failures in (0, MOST_FAILURES - 1):
            after = "nobody tries again" if given_up else "it is tried again, and nothing waits for it"
            what = f"{row.kind}-{row.id}-{'given-up' if given_up else 'failed'}"
            say(tx, rotation, what, f"The {_NAMES[row.kind]} did not work: {problem}. For now {after}.")

    def _stretched(self, seconds: float) -> timedelta:
        """Real seconds on the engine's clock."""
        return timedelta(seconds=seconds * self._database.clock.rate)


def _begun(row: ErrandRow) -> bool:
    """Whether anybody has tried it: it worked, it failed, or whoever had claimed it died over it."""
    return bool(row.outputs or row.failures or (row.done_at is None and row.claimed_until))


_NAMES = {"page": "page", "resolve": "end of the page", "ticket": "ticket"}


def scope_of_incident(rotation: Rotation, why: str = "") -> dict[str, Any]:
    """What the arguments of an errand can look up as `${{ incident.… }}`."""
    plan = rotation.plan
    what = f"{plan.credential} ({plan.environment})"
    summary = f"{rotation.id}: {what} has expired in use" if plan.expiry else f"{rotation.id}: revoke {what}"
    return {
        "id": rotation.id,
        "credential": plan.credential,
        "environment": plan.environment,
        "reason": plan.reason,
        "order": plan.order,
        "deed": "has expired in use and blocks its callers" if plan.expiry else "is being revoked",
        "summary": f"{summary}, {why}" if why else summary,
        "severity": "high",
        "opened_by": plan.requester,
        "opened_at": f"{rotation.created_at:%Y-%m-%d %H:%M} UTC",
    }


def defaults(kind: str, scope: Mapping[str, str]) -> dict[str, Any]:
    """Arguments that an operation gets where the settings give none, as far as it takes them."""
    told = {name: scope[name] for name in ("reason", "order", "opened_by", "opened_at") if scope[name]}
    if kind == "ticket":
        lines = [f"- {name.replace('_', ' ')}: {value}" for name, value in told.items()]
        return {
            "title": scope["summary"],
            "body": "\n".join([f"{scope['credential']} in {scope['environment']} {scope['deed']}.", "", *lines]),
            "labels": [f"severity:{scope['severity']}"],
        }
    return {"summary": scope["summary"], "source": f"{scope['credential']} ({scope['environment']})", "details": told}


def _entry(event: Event, rotation: Rotation, row: ErrandRow, **detail: Any) -> Entry:
    detail = {"errand": _NAMES[row.kind], "key": row.key, **detail}
    return Entry(event, "keyturn", rotation.id, rotation.plan.credential, detail)


def _shown(outputs: Outputs) -> str:
    return ", ".join(f"{name} {value}" for name, value in outputs.items())


def _first_line(error: KeyturnError) -> str:
    return str(error).split("\n", 1)[0][:300]
