"""Pages people about credentials that nobody acts on, with the adapter that incidents page with.

Once the date has moved the alert is resolved, as a page of an incident is: by undoing it.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from bot.contracts.adapter import Run, Secrets
from bot.contracts.registry import Registry
from bot.core.errors import KeyturnError, Permanent, Transient
from bot.core.events import Entry, Event
from bot.core.incident_rules import Errand
from bot.core.reminders import Stage, Tier
from bot.core.rotation import Rotation, State
from bot.engine.errands import ALLOWED_SECONDS, CLAIMED_SECONDS, defaults
from bot.engine.lane import nap_until
from bot.engine.scope import parameters
from bot.store.database import Database
from bot.store.paging import ENDED
from bot.store.records import CredentialRow, PageRow
from bot.store.writing import Transaction

log = logging.getLogger(__name__)
LONGEST_DELAY = 300.0
MOST_FAILURES = 200
_FAILED = {"held": "is held", "rolled-back": "was rolled back", "abandoned": "was abandoned"}


def page(tx: Transaction, row: CredentialRow, found: Sequence[Tier], stages: Sequence[Stage]) -> None:
    """Ask for a page for each escalation that wants one, in the transaction that keeps it as told."""
    for tier in found:
        if tier.stage is not None and tier.stage < len(stages) and stages[tier.stage].page:
            expiry = f"{tier.expiry:%Y%m%d%H%M%S}"
            key = f"page-{row.name}-{row.environment}-{expiry}-{tier.name}"
            tx.add_page(key, row.name, row.environment, {"expiry": tier.expiry.isoformat(), "owner": row.owner})


def page_failure(tx: Transaction, rotation: Rotation, what: str) -> None:
    """Ask for a page for an automatic rotation that failed: nobody started it, so nobody looks at it.

    It belongs to the alert of the date by which the credential has to be replaced, and is resolved with it.
    """
    plan = rotation.plan
    found = tx.credential(plan.credential, plan.environment)
    if found:
        due = found[0].next_due or tx.now
        why = f"its automatic rotation {rotation.id} {_FAILED.get(what, 'failed')}"
        payload = {"expiry": due.isoformat(), "owner": plan.owner, "why": why, "rotation": rotation.number}
        key = f"page-{rotation.id}-{what}-{rotation.version}"
        tx.add_page(key, plan.credential, plan.environment, payload)


def end_failure(tx: Transaction, before: Rotation | None, after: Rotation) -> None:
    """Have the alert resolved once it has ended well after all."""
    if before is None or before.is_over or not after.is_over or after.state is not State.PROMOTED:
        return
    for sent in tx.sent_pages([(after.plan.credential, after.plan.environment)]):
        if sent.payload.get("rotation") == after.number:
            tx.end_page(sent)


def end_pages(tx: Transaction, due: Mapping[tuple[str, str], datetime | None]) -> None:
    """Have alerts resolved of credentials whose effective date has moved; `due` says where it is now."""
    for sent in tx.sent_pages(due.keys()):
        if _moved(sent, due[sent.credential, sent.environment]):
            tx.end_page(sent)


def _moved(row: PageRow, due: datetime | None) -> bool:
    """Whether the date that somebody is woken for is no more."""
    return due is None or due.isoformat() > row.payload["expiry"]


class Pager:
    """`turn` is what a lane runs."""

    def __init__(self, database: Database, registry: Registry, secrets: Secrets, errand: Errand | None) -> None:
        self._database = database
        self._registry = registry
        self._secrets = secrets
        self._errand = errand

    def turn(self) -> float:
        """Send the page that is due; returns in how many real seconds there may be another."""
        with self._database.read() as reader:
            now, due = reader.now, reader.next_page_at()
        if due is None or due > now:
            return nap_until(self._database, due, now)
        with self._database.begin() as tx:
            row = tx.claim_page(tx.now, tx.now + timedelta(seconds=CLAIMED_SECONDS * self._database.clock.rate))
            if row is None:
                return 0.5
            found = tx.credential(row.credential, row.environment)
            needless = not row.payload.get("end") and _moved(row, found[0].next_due if found else None)
            if needless or self._errand is None:
                tx.finish_page(row, "needless: it was replaced meanwhile" if needless else "not configured")
                return 0.0
            detail = {"errand": _kind(row), "key": row.key, "attempt": row.failures + 1, "environment": row.environment}
            tx.audit(Entry(Event.ERRAND_INTENT, "keyturn", credential=row.credential, detail=detail))
        self._send(row, self._errand)
        return 0.0

    def _send(self, row: PageRow, errand: Errand) -> None:
        delay, problem, outputs = timedelta(0), "", dict[str, Any]()
        try:
            operation = self._registry.operation(errand.do)
            scope = _scope(row)
            p = parameters(operation.Params, {}, errand.arguments, {"incident": scope}, defaults("page", scope))
            if row.payload.get("end"):
                operation.undo(p, self._run(row), row.payload.get("outputs", {}))
            else:
                outputs = dict(operation.ensure(p, self._run(row)))
        except Transient as error:
            delay, problem = error.delay, str(error)
        except Permanent as error:
            problem = f"{error}; {error.hint}".rstrip("; ")
        except KeyturnError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - an adapter's mistake must not end the lane; its text may hold anything
            where = traceback.extract_tb(error.__traceback__)[-1]
            problem = f"{type(error).__name__} at {where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
        said = problem.split("\n", 1)[0][:300]
        wait = min(2.0 ** min(row.failures, 20), LONGEST_DELAY)
        with self._database.begin() as tx:
            detail = {"errand": _kind(row), "key": row.key, "said": f"failed: {said}" if said else "done"}
            detail["environment"] = row.environment
            tx.audit(Entry(Event.ERRAND_OUTCOME, "keyturn", credential=row.credential, detail=detail))
            if not said:
                tx.finish_page(row, ENDED if row.payload.get("end") else "", outputs)
                found = tx.credential(row.credential, row.environment)
                end_pages(tx, {(row.credential, row.environment): found[0].next_due if found else None})
            elif row.failures + 1 >= MOST_FAILURES:
                tx.finish_page(row, f"given up: {said}")
            else:
                later = max(delay, timedelta(seconds=wait)) * self._database.clock.rate
                tx.postpone_page(row.key, tx.now + later, row.failures + 1, said)

    def _run(self, row: PageRow) -> Run:
        """The token is one for all pages of an expiry, so that they are one alert."""
        return Run(
            rotation="reminder",
            token=f"keyturn-{row.credential}-{row.environment}-{row.payload['expiry'][:19]}",
            operator="keyturn",
            secrets=self._secrets,
            now=self._database.now(),
            log=logging.LoggerAdapter(log, {"credential": row.credential}),
            deadline=time.monotonic() + ALLOWED_SECONDS,
        )


def _kind(row: PageRow) -> str:
    return "resolve" if row.payload.get("end") else "page"


def _scope(row: PageRow) -> dict[str, str]:
    """What the arguments of `incidents.page` can look up, as for an emergency."""
    day = row.payload["expiry"][:16].replace("T", " ")
    owner = row.payload.get("owner") or "nobody"
    why = str(row.payload.get("why") or "nobody acts")
    return {
        "id": f"{row.credential}@{row.environment}",
        "credential": row.credential,
        "environment": row.environment,
        "reason": f"it is due on {day} UTC, and {why}; its owner is {owner}",
        "order": "",
        "summary": f"{row.credential} ({row.environment}) is due on {day} UTC, and {why}",
        "severity": "high",
        "opened_by": "keyturn",
        "opened_at": f"{row.due_at:%Y-%m-%d %H:%M} UTC",
    }
