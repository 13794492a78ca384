"""Keeps the Home tabs of those who look at them up to date, within Slack's rate limit; remembers nobody for long."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock

from bot.contracts.command import Call, CredentialView, Need, Rotations, Summary
from bot.contracts.people import Directory
from bot.core.errors import KeyturnError, Transient
from bot.core.policy import Person, PersonKind, Policy
from bot.core.rotation import Rotation
from bot.slack.api import SlackApi
from bot.slack.deliveries import user_of
from bot.slack.home import Board, home
from bot.slack.methods import missing

WATCHED_SECONDS = 3600.0
"""How long after somebody opened Home it is kept fresh."""
MOST_WATCHED = 500
BETWEEN_SECONDS = 10.0
"""Between two publications for the same person, unless they open it again."""
PER_TURN = 3


class Homes:
    """`opened` is called by listeners and only notes it; `chore` is called by the messenger and publishes."""

    def __init__(
        self,
        api: SlackApi,
        rotations: Rotations,
        directory: Directory,
        policy: Policy,
        wake: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._rotations = rotations
        self._directory = directory
        self._policy = policy
        self._wake = wake
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
            self._published.pop(account, None)
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
        view = home(self.board(account))
        self._api.call("views.publish", user_id=user_of(account), view=view)

    def board(self, account: str) -> Board:
        """What this person's Home shows."""
        granted = self._api.scopes
        notes = (
            [] if granted is None else [f"The scope {one.name} is missing. {one.without}" for one in missing(granted)]
        )
        person = self._directory.person(account)
        if person.kind is not PersonKind.MEMBER:
            return Board((), (), (), refused="keyturn works for full members of this workspace only.")
        call = Call("status", Need.SEE, person)
        running = self._rotations.recent(call, only_open=True, limit=100)
        credentials = self._rotations.credentials(call, limit=200)
        asked = [self._rotations.find(call, f"R-{one.number}") for one in running if one.state == "requested"]
        waiting = self._waiting(person, running, credentials, {one.number: one for one in asked})
        mine = self._owned(person, credentials)
        urgent = frozenset(one.number for one in asked if one.plan.emergency)
        return Board(waiting, running, mine or credentials, notes, urgent=urgent)

    def _waiting(
        self,
        person: Person,
        running: Sequence[Summary],
        credentials: Sequence[CredentialView],
        asked: Mapping[int, Rotation],
    ) -> list[Summary]:
        """Requests that the person may approve: by the frozen list where there is one, by membership otherwise."""
        known = {(one.name, one.environment): one for one in credentials}
        found = []
        for one in running:
            target, rotation = known.get((one.credential, one.environment)), asked.get(one.number)
            if target is None or rotation is None or any(vote.person == person.id for vote in rotation.votes):
                continue
            if rotation.eligible is not None:
                may = person.id in rotation.eligible
            else:
                groups = self._directory.groups(self._policy.needed_groups(target))
                word, stage = rotation.plan.word, rotation.escalated
                may = self._policy.may_approve(person, target, one.requester, "", groups, word, stage=stage).allowed
            if may:
                found.append(one)
        return sorted(found, key=lambda one: not asked[one.number].plan.emergency)

    def _owned(self, person: Person, credentials: Sequence[CredentialView]) -> list[CredentialView]:
        owners = {one.owner for one in credentials}
        groups = self._directory.groups(sorted(owners & self._policy.groups))
        mine = {person.id, *(name for name, members in groups.items() if person.id in (members or ()))}
        return [one for one in credentials if one.owner in mine]
