"""Keeps the Home tabs of those who look at them up to date, within Slack's rate limit; remembers nobody for long."""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from threading import Lock

from bot.contracts.command import Call, CredentialView, Filters, Finding, Need, Rotations, Summary
from bot.contracts.people import Directory
from bot.core.errors import KeyturnError, Transient
from bot.core.policy import Person, PersonKind, Policy
from bot.core.rotation import Rotation
from bot.engine.target import target_of
from bot.slack.api import SlackApi
from bot.slack.budget import Budget
from bot.slack.deliveries import user_of
from bot.slack.home import MOST_FINDINGS, Board, home
from bot.slack.methods import missing

WATCHED_SECONDS = 3600.0
"""How long after somebody opened Home it is kept fresh."""
MOST_WATCHED = 500
BETWEEN_SECONDS = 10.0
"""Between two publications for the same person, unless they open it again."""
PER_TURN = 3
MOST_ASKED, MOST_SHOWN, MOST_GROUPS = 60, 20, 8
COUNTED_SECONDS = 10.0
"""How long counts of the whole inventory are good enough."""
EVER = timedelta(days=3660)


class Homes:
    """`opened` is called by listeners and only notes it; `chore` is called by the messenger and publishes."""

    def __init__(
        self,
        api: SlackApi,
        rotations: Rotations,
        directory: Directory,
        policy: Policy,
        wake: Callable[[], None],
        budget: Budget,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._rotations = rotations
        self._directory = directory
        self._policy = policy
        self._wake = wake
        self._budget = budget
        self._shown: dict[str, bytes] = {}
        """Account -> digest of what stands there, as far as we know."""
        self._counted: tuple[float, Mapping[str, int]] | None = None
        self._now = monotonic
        self._lock = Lock()
        self._watched: OrderedDict[str, float] = OrderedDict()
        """Account -> when it was opened last."""
        self._published: dict[str, float] = {}
        self._stale: OrderedDict[str, None] = OrderedDict()
        self._held_until = 0.0

    def opened(self, account: str) -> None:
        """Somebody looks at Home."""
        with self._lock:
            self._watched.pop(account, None)
            self._watched[account] = self._now()
            while len(self._watched) > MOST_WATCHED:
                gone, _ = self._watched.popitem(last=False)
                self._published.pop(gone, None)
                self._stale.pop(gone, None)
                self._shown.pop(gone, None)
            self._published.pop(account, None)
            self._shown.pop(account, None)
            self._stale[account] = None
            self._stale.move_to_end(account, last=False)
        self._wake()

    def changed(self) -> None:
        """Something was committed that Home may show."""
        with self._lock:
            for account in self._watched:
                self._stale.setdefault(account)

    def chore(self) -> float:
        """Publish a few of those that are due; returns the seconds until the next one is."""
        for account in self._due():
            try:
                self._publish(account)
            except Transient as error:
                self._held_until = self._now() + max(1.0, error.delay.total_seconds())
                with self._lock:
                    self._stale.setdefault(account)
            except KeyturnError:
                with self._lock:
                    self._watched.pop(account, None)  # Slack does not take it; opening Home again tries anew
        return self._next()

    def _due(self) -> list[str]:
        now = self._now()
        with self._lock:
            for account in [one for one, at in self._watched.items() if now - at > WATCHED_SECONDS]:
                del self._watched[account]
                self._stale.pop(account, None)
                self._published.pop(account, None)
                self._shown.pop(account, None)
            if now < self._held_until:
                return []
            ready = [one for one in self._stale if now - self._published.get(one, float("-inf")) >= BETWEEN_SECONDS]
            for account in ready[:PER_TURN]:
                del self._stale[account]
                self._published[account] = now
            return ready[:PER_TURN]

    def _next(self) -> float:
        now = self._now()
        with self._lock:
            waits = [self._published.get(one, float("-inf")) + BETWEEN_SECONDS - now for one in self._stale]
        return max(0.05, min(waits, default=3600.0), self._held_until - now)

    def _publish(self, account: str) -> None:
        """Show what holds now, unless that is what stands there already."""
        view = home(self.board(account))
        digest = hashlib.sha256(json.dumps(view, sort_keys=True).encode()).digest()
        with self._lock:
            if self._shown.get(account) == digest:
                return
        wait = self._budget.publish()
        if wait:
            raise Transient("Home tabs wait for their budget", timedelta(seconds=wait))
        self._api.call("views.publish", user_id=user_of(account), view=view)
        with self._lock:
            if account in self._watched:
                self._shown[account] = digest

    def board(self, account: str) -> Board:
        """What this person's Home shows: a fixed number of questions, each with a bound, however much there is."""
        granted = self._api.scopes
        notes = (
            [] if granted is None else [f"The scope {one.name} is missing. {one.without}" for one in missing(granted)]
        )
        person = self._directory.person(account)
        if person.kind is not PersonKind.MEMBER:
            return Board((), (), (), refused="keyturn works for full members of this workspace only.")
        call = Call("status", Need.SEE, person)
        running = self._rotations.recent(call, only_open=True, limit=MOST_SHOWN + 1)
        requests = self._rotations.recent(call, only_open=True, requested=True, limit=MOST_ASKED)
        asked = [self._rotations.find(call, f"R-{one.number}") for one in requests]
        waiting = self._waiting(person, requests, {one.number: one for one in asked})
        owners = self._owners(call.person)
        mine = self._owned(call, owners)
        return Board(
            waiting,
            running[:MOST_SHOWN],
            mine or self._rotations.inventory.search(call, Filters(within=EVER), limit=MOST_SHOWN).rows,
            notes,
            urgent=frozenset(one.number for one in asked if one.plan.emergency),
            mine=bool(mine),
            counts=self._counts(call),
            findings=self._findings(call, owners),
            more_running=len(running) > MOST_SHOWN,
            more_asked=len(requests) == MOST_ASKED,
        )

    def _waiting(self, person: Person, requests: Sequence[Summary], asked: Mapping[int, Rotation]) -> list[Summary]:
        """Requests that the person may approve: by the frozen list where there is one, by membership otherwise."""
        found = []
        for one in requests:
            rotation = asked[one.number]
            if any(vote.person == person.id for vote in rotation.votes):
                continue
            if rotation.eligible is not None:
                may = person.id in rotation.eligible
            else:
                target = target_of(rotation)
                groups = self._members(self._policy.needed_groups(target))
                word, stage = rotation.plan.word, rotation.escalated
                may = self._policy.may_approve(person, target, one.requester, "", groups, word, stage=stage).allowed
            if may:
                found.append(one)
        return sorted(found, key=lambda one: not asked[one.number].plan.emergency)

    def _owners(self, person: Person) -> list[str]:
        """The person, and groups of theirs."""
        groups = [name for name, who in self._members(sorted(self._policy.groups)).items() if person.id in (who or ())]
        return [person.id, *groups[:MOST_GROUPS]]

    def _owned(self, call: Call, owners: Sequence[str]) -> list[CredentialView]:
        """The next due of those that the person owns, and of those that a group of theirs owns."""
        found: list[CredentialView] = []
        for owner in owners:
            filters = Filters(within=EVER, owner=owner)
            found += self._rotations.inventory.search(call, filters, limit=MOST_SHOWN).rows
        return sorted(found, key=lambda one: (str(one.next_due), one.name))[:MOST_SHOWN]

    def _findings(self, call: Call, owners: Sequence[str]) -> list[Finding]:
        """What needs somebody: first of what is the person's, then of what else they may see."""
        found: dict[Finding, None] = {}
        for owner in (*owners, ""):
            if len(found) < MOST_FINDINGS:
                listed = self._rotations.inventory.findings(call, owner=owner, limit=MOST_FINDINGS)
                found |= dict.fromkeys(listed)
        return list(found)[:MOST_FINDINGS]

    def _members(self, names: Collection[str]) -> dict[str, frozenset[str] | None]:
        """Members as last read; Slack is asked for those of whom nothing recent is known."""
        found = dict(self._directory.remembered(names))
        unknown = [name for name, who in found.items() if who is None]
        return found | dict(self._directory.groups(unknown)) if unknown else found

    def _counts(self, call: Call) -> Mapping[str, int]:
        """How all credentials stand: numbers, the same for everybody, so that they are counted once for all tabs."""
        with self._lock:
            known = self._counted
        if known is not None and self._now() - known[0] < COUNTED_SECONDS:
            return known[1]
        counts = self._rotations.inventory.counts(call, Filters())
        with self._lock:
            self._counted = (self._now(), counts)
        return counts
