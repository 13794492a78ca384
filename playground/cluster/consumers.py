"""The consumers of a signing secret: devices whose tokens a signer in a pod signs and every verifier in a pod checks.

Counted is every token that is presented. `GET /stats?over=seconds` answers in the shape of the estate's clients, with
`refusals` that say why tokens were refused and which key they named; `GET /verifiers/stats` says in the shape of a
gateway what all verifiers together have counted, `GET /metrics` the same for Prometheus.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from playground.cluster.api import Api
from playground.cluster.consumer import SIGNER, VERIFIER
from playground.cluster.pods import Pod, Pods
from playground.cluster.stateless import EXPIRED, VALID, kid_of
from playground.estate.clock import VirtualClock
from playground.estate.faults import Faults
from playground.estate.server import Reply, Route, Text
from playground.estate.service import Service, open_http
from playground.estate.tally import KeyTally, Window, window_asked

RECENT = 3600.0
EARLY = 0.1
"""The share of its life at which a token's successor is fetched before its end."""
NO_TOKEN, NO_REPLICA = "no_token", "no_replica"


@dataclass(frozen=True, slots=True)
class _Token:
    text: str = field(repr=False)
    kid: str
    expires: float


@dataclass(slots=True)
class _Device:
    """Presents one token until it expires, whatever anybody says about it: a stateless token cannot be recalled.

    Shortly before, it fetches the next one, so that a signer that restarts does not leave it without.
    """

    name: str
    token: _Token | None = None
    until: float = 0.0
    spare: _Token | None = None


class Consumers(Service):
    """`devices` tokens of every age up to `life` (virtual seconds), shown to every Ready verifier again and again.

    The first tokens are renewed one after the other over their first life; from then on there is one of every age.
    """

    def __init__(
        self,
        clock: VirtualClock,
        api: Api,
        namespace: str,
        *,
        life: float,
        devices: int = 24,
        pause: float = 0.1,
        port: int = 0,
    ) -> None:
        super().__init__("consumers", clock, Faults({"paused": False}), port, expose_faults=False)
        self._api, self._namespace, self._life = api, namespace, life
        self._count, self._pause = devices, pause

    def prepare(self) -> None:
        self._since = self.clock.now()
        self._devices = [_Device(f"device-{number + 1}") for number in range(self._count)]
        self._lock = threading.Lock()
        self._logins = self._failures = self._token_failures = self._rounds = 0
        self._begun, self._boot = False, uuid.uuid4().hex
        self._refusals: Counter[tuple[str, str]] = Counter()
        self._window = Window(self.clock)
        self._by_kid = KeyTally(self.clock)
        self._http = open_http()
        self.pods = Pods(self._api, self._namespace, self.clock, self._life)
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._work, name="devices", daemon=True)
        self._thread.start()

    def release(self) -> None:
        self._halt.set()
        self._thread.join()
        self.pods.stop()
        self._http.close()

    def routes(self) -> Sequence[Route]:
        return [
            Route("GET", "/healthz", lambda _: Reply(200, {"status": "ok"})),
            Route("GET", "/stats", lambda request: Reply(200, self.stats(window_asked(request)))),
            Route("GET", "/verifiers/stats", lambda request: Reply(200, self.verified(window_asked(request)))),
            Route("GET", "/metrics", lambda _: Reply(200, Text(self._metrics()))),
        ]

    def stats(self, over: float = RECENT) -> dict[str, Any]:
        """What `GET /stats?over=seconds` answers; times are virtual. A login is one token presented to one replica."""
        good, bad = self._window.sums(over)
        by_kid = self._by_kid.show()
        with self._lock:
            refusals: dict[str, dict[str, int]] = {}
            for (reason, kid), count in self._refusals.items():
                refusals.setdefault(reason, {})[kid] = count
            return {
                "logins_total": self._logins,
                "failures_total": self._failures,
                "token_failures_total": self._token_failures,
                "rounds": self._rounds,
                "window": {"seconds": over, "logins": good, "failures": bad},
                "by_kid": {
                    kid: max(moment for moment in (entry["last_seen"], entry["last_refused"]) if moment is not None)
                    for kid, entry in by_kid.items()
                },
                "by_api_key": {},
                "refusals": refusals,
                "counting_since": self._since,
                "clients": {
                    device.name: {
                        "application": "devices",
                        "api_key_id": None,
                        "kid": device.token.kid if device.token else None,
                    }
                    for device in self._devices
                },
                "replicas": {pod.name: pod.describe() for pod in self.pods.all()},
            }

    def verified(self, over: float = RECENT) -> dict[str, Any]:
        """What `GET /verifiers/stats` answers: the counters of every replica in one; all of them know `kids`."""
        good, bad = self._window.sums(over)
        known = [set(pod.keys) for pod in self._verifiers()]
        return {
            "name": "verifiers",
            "boot_id": self._boot,
            "counting_since": self._since,
            "last_restart_marker": None,
            "cache_age_seconds": 0.0,
            "cache_ttl_seconds": self._life,
            "kids": sorted(set.intersection(*known)) if known else [],
            "by_kid": self._by_kid.show(),
            "window": {"seconds": over, "accepted": good, "refused": bad},
        }

    def _metrics(self) -> str:
        with self._lock:
            counted = Counter({VALID: self._logins})
            for (reason, _), count in self._refusals.items():
                counted[reason] += count
        lines = [f'requests_with_token_total{{verdict="{verdict}"}} {count}' for verdict, count in counted.items()]
        return "\n".join(["# TYPE requests_with_token_total counter", *lines, ""])

    @property
    def refused(self) -> int:
        """How many tokens that were still good have been refused, or could not be presented."""
        with self._lock:
            return self._failures

    def _work(self) -> None:
        chance = random.Random(1)  # noqa: S311 (spreads load, guards nothing)
        while not self._halt.wait(self._pause):
            if self.faults.value("paused"):
                continue
            now = self.clock.now()
            self._renew(now, chance)
            # Before there is a token and a replica for the first time, the release is not installed yet.
            self._begun = self._begun or (all(device.token for device in self._devices) and bool(self._verifiers()))
            if self._begun:
                self._present(now)
                with self._lock:
                    self._rounds += 1

    def _verifiers(self) -> list[Pod]:
        return self.pods.ready(VERIFIER)

    def _renew(self, now: float, chance: random.Random) -> None:
        early = now + self._life * EARLY
        due = [device for device in self._devices if device.spare is None and early >= device.until]
        signers = self.pods.ready(SIGNER)
        if due and signers:
            answer = self._ask(chance.choice(signers), "sign", {"subjects": [device.name for device in due]})
            if answer is None:
                with self._lock:
                    self._token_failures += len(due)
            else:
                for device, text in zip(due, answer["tokens"], strict=True):
                    device.spare = _Token(text, kid_of(text), float(answer["expires"]))
        for number, device in enumerate(self._devices, 1):
            if device.spare is not None and now >= device.until:
                share = number / len(self._devices) if device.token is None else 1.0
                device.until = device.spare.expires - self._life * (1 - share)
                device.token, device.spare = device.spare, None

    def _present(self, now: float) -> None:
        """Present every live token to every Ready verifier: which one a request meets is chance in real life."""
        tokens = [device.token for device in self._devices if device.token is not None]
        live = [token for token in tokens if now < token.expires]
        for _ in range(len(self._devices) - len(live)):
            self._count_one(NO_TOKEN, "")
        answered = 0
        for replica in self._verifiers():
            answer = self._ask(replica, "verify", {"tokens": [token.text for token in live]})
            if answer is None:  # it went while it was asked: a load balancer passes on to the next
                continue
            answered += 1
            after = self.clock.now()
            for token, verdict in zip(live, answer["verdicts"], strict=True):
                if verdict != EXPIRED or after < token.expires:  # else it expired on the way
                    self._count_one(verdict, token.kid)
        if not answered:
            for token in live:
                self._count_one(NO_REPLICA, token.kid)

    def _count_one(self, verdict: str, kid: str) -> None:
        good = verdict == VALID
        self._window.count(good)
        if kid and verdict != NO_REPLICA:
            self._by_kid.count(kid, good)
        with self._lock:
            self._logins += good
            self._failures += not good
            if not good:
                self._refusals[verdict, kid] += 1

    def _ask(self, pod: Pod, word: str, body: dict[str, Any]) -> dict[str, Any] | None:
        address = pod.address
        if address is None:
            return None
        try:
            answer = self._http.post(f"{address}/{word}", json=body)
            told: dict[str, Any] = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return None
        return told
