"""Runs discoveries: lists what systems hold, a page at a time, and reconciles the inventory with it.

A round has a number. What a complete round did not list is gone; of a round that failed nothing is concluded.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

from bot.contracts.adapter import Found, Run, Secrets
from bot.contracts.registry import Registry
from bot.core.discovered import Find, Version, checked, usable
from bot.core.errors import Ambiguous, KeyturnError, Permanent, Transient
from bot.core.events import Entry, Event
from bot.core.policy import Policy
from bot.engine.lane import nap_until
from bot.engine.scope import parameters
from bot.store.database import Database
from bot.store.records import DiscoveryRow

log = logging.getLogger(__name__)
ALLOWED_SECONDS = 1800.0
CLAIMED_SECONDS = 300.0
"""For how long a round is ours without a page; each page renews it."""
AT_ONCE = 200
FIRST_DELAY, LONGEST_DELAY = 60.0, 3600.0
LONGEST_TEXT = 80


class _TakenOver(Exception):
    """Another replica began the round anew."""


class Discoveries:
    """`turn` is what a lane runs; it may take minutes."""

    def __init__(
        self, database: Database, registry: Registry, secrets: Secrets, finds: Sequence[Find], policy: Policy
    ) -> None:
        self._database = database
        self._registry = registry
        self._secrets = secrets
        self._finds = {find.name: find for find in finds}
        self._owners = policy.groups | {person.id for person in policy.people}

    def declare(self) -> None:
        """Bring the table in line with the settings."""
        with self._database.begin() as tx:
            tx.apply_discoveries(sorted(self._finds))
        self._forget_undeclared()

    def turn(self) -> float:
        """Run the round that is due; returns in how many real seconds there may be another."""
        with self._database.read() as reader:
            now, due = reader.now, reader.next_discovery_at()
        if due is None or due > now:
            return nap_until(self._database, due, now)
        with self._database.begin() as tx:
            row = tx.claim_discovery(tx.now, tx.now + self._stretched(CLAIMED_SECONDS))
        if row is None:
            return 1.0  # another replica has it
        find = self._finds.get(row.name)
        if find is None:
            return 1.0  # of other settings than ours, in the middle of an upgrade
        self._round(find, row)
        return 0.0

    def _round(self, find: Find, row: DiscoveryRow) -> None:
        try:
            self._complete(find, row, self._list(find, row))
        except _TakenOver:
            log.warning("the discovery %s was begun anew by another replica", find.name)
        except Transient as error:
            self._failed(find, row, str(error), error.delay)
        except Ambiguous as error:
            self._failed(find, row, f"{error} ({error.evidence})")
        except Permanent as error:
            self._failed(find, row, f"{error}; {error.hint}".rstrip("; "))
        except KeyturnError as error:
            self._failed(find, row, str(error))
        except Exception as error:  # noqa: BLE001 - an adapter's mistake must not end the lane; its text may hold anything
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
            log.error("the discovery %s raised %s at %s", find.name, type(error).__name__, place)
            self._failed(find, row, f"{type(error).__name__} at {place}")

    def _list(self, find: Find, row: DiscoveryRow) -> int:
        """Keep every page; returns how many versions there are. Raises what the adapter raises."""
        part = self._registry.discovery(find.word)
        p = parameters(part.Params, {}, find.arguments, {})
        count = 0
        versions = self._versions(find, part.pages(p, self._run(find, row)))
        while found := list(islice(versions, AT_ONCE)):
            with self._database.begin() as tx:
                until = tx.now + self._stretched(CLAIMED_SECONDS)
                if not tx.put_found(find.name, row.round, find.environment, found, until):
                    raise _TakenOver
            count += len(found)
        return count

    def _versions(self, find: Find, pages: Iterator[Sequence[Found]]) -> Iterator[tuple[str, Version]]:
        """Everything that is listed, checked: it comes from outside."""
        for page in pages:
            now = self._database.now()
            for found in page:
                if not isinstance(found, Found) or not (usable(found.place) and usable(found.version)):
                    raise Permanent("it lists something without a usable place or version", "look at the system")
                kind = _short(found.kind) or "unknown"
                owner = found.owner if found.owner in self._owners else find.owner
                yield found.place, checked(found.version, kind, owner, found.created_at, found.expires_at, now)

    def _complete(self, find: Find, row: DiscoveryRow, count: int) -> None:
        gone = 0
        while True:
            with self._database.begin() as tx:
                unlisted = tx.forget_unlisted(find.name, row.round)
                if unlisted is None:
                    raise _TakenOver
                gone += unlisted
                if unlisted == 0:
                    if not tx.end_round(find.name, row.round, tx.now + find.every, found=count):
                        raise _TakenOver
                    if gone or count != row.found or row.error:
                        detail = {"discovery": find.name, "round": row.round, "found": count, "gone": gone}
                        tx.audit(Entry(Event.DISCOVERED, "keyturn", detail=detail))
                    break
        self._forget_undeclared()

    def _forget_undeclared(self) -> None:
        """A part at a time, as what a round did not list."""
        done = False
        while not done:
            with self._database.begin() as tx:
                done = tx.forget_undeclared()

    def _failed(self, find: Find, row: DiscoveryRow, error: str, delay: timedelta = timedelta(0)) -> None:
        """Nothing is concluded of it; it is tried again soon, and said once."""
        said = error.split("\n", 1)[0][:300]
        wait = min(FIRST_DELAY * 2.0 ** min(row.failures, 20), LONGEST_DELAY)
        log.warning("the discovery %s failed: %s", find.name, said)
        with self._database.begin() as tx:
            again = tx.now + max(delay * self._database.clock.rate, self._stretched(wait))
            if tx.end_round(find.name, row.round, min(again, tx.now + find.every), error=said) and said != row.error:
                detail = {"discovery": find.name, "round": row.round, "error": said}
                tx.audit(Entry(Event.DISCOVERY_FAILED, "keyturn", detail=detail))

    def _run(self, find: Find, row: DiscoveryRow) -> Run:
        return Run(
            rotation="discovery",
            token=f"keyturn-discovery-{row.round}",
            operator="keyturn",
            secrets=self._secrets,
            now=self._database.now(),
            log=logging.LoggerAdapter(log, {"discovery": find.name}),
            deadline=time.monotonic() + ALLOWED_SECONDS,
        )

    def _stretched(self, seconds: float) -> timedelta:
        """Real seconds on the engine's clock."""
        return timedelta(seconds=seconds * self._database.clock.rate)


def _short(text: Any) -> str:
    """A class from outside, if it can be shown."""
    return text.strip()[:LONGEST_TEXT] if isinstance(text, str) and text.isprintable() else ""
