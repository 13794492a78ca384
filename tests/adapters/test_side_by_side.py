"""Many gateways are asked at the same time: their answers come in order, and the first error is the first in order."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from adapters._web import MOST_AT_ONCE, ask_each
from bot.catalog import Catalog
from bot.core.errors import Permanent, Transient
from bot.engine.secrets import SecretDoor
from tests.conformance.kit import Stage, run_of

MANY = 8
NAMES = [f"gateway-{i}" for i in range(MANY)]
SOON = 10.0
"""Seconds after which those who wait for each other give up; whoever asks one by one makes them."""
BOOTED = "2026-11-20T10:00:00Z"


class Town:
    """An issuer and gateways in one server; a gateway answers once all of them are being asked."""

    def __init__(self) -> None:
        self.meeting = threading.Barrier(MANY, timeout=SOON)
        self.broken: dict[str, int] = {}
        """Status by the gateway that gives it."""
        self.refusing: dict[str, str] = {}
        """Why a gateway refuses the old key."""
        self.viewers: set[str] = set()
        self.deleted = False

    def answer(self, path: str, presented: str) -> tuple[int, dict[str, Any]]:
        """What is at a path, for who presents this token."""
        _, place, *rest = path.partition("?")[0].split("/")
        if place == "issuer":
            return self._issuer("/".join(rest))
        try:
            self.meeting.wait()
        except threading.BrokenBarrierError:
            return 503, {"error": "asked_alone"}
        if place in self.broken:
            return self.broken[place], {}
        if rest == ["admin", "whoami"]:
            return 200, {"role": "viewer" if place in self.viewers else "admin"}
        if rest == ["stats"]:
            return 200, self._stats(place)
        if presented == "new" or place not in self.refusing:
            return 200, {"kid": presented}
        return 401, {"error": self.refusing[place]}

    def _issuer(self, path: str) -> tuple[int, dict[str, Any]]:
        if path.endswith("/keys"):
            return 200, {"keys": [{"kid": "new", "state": "current"}]}
        kid = path.split("/")[-2]
        return (404, {}) if self.deleted and kid == "old" else (200, {"token": kid})

    @staticmethod
    def _stats(place: str) -> dict[str, Any]:
        number = int(place.removeprefix("gateway-"))
        return {
            "boot_id": "b",
            "counting_since": BOOTED,
            "cache_age_seconds": 100 * number,
            "cache_ttl_seconds": 400 + number,
            "kids": ["new"],
            "by_kid": {"old": {"accepted": 1, "refused": 0, "last_seen": f"2026-11-20T11:0{number}:00Z"}},
            "window": {"accepted": 9, "refused": 1},
        }


@contextmanager
def serving(town: Town) -> Iterator[str]:
    """The address of the town."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = town.answer(self.path, self.headers.get("Authorization", "").removeprefix("Bearer "))
            raw = json.dumps(body).encode()
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 64
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class Asker:
    """The adapters, configured for a town."""

    def __init__(self, town: Town, address: str) -> None:
        self.town = town
        token = "env:TOWN_TOKEN"
        gateways = {name: {"url": f"{address}/{name}"} for name in NAMES}
        services = {f"{address}/issuer": {"admin_token": token}}
        self.shared: dict[str, Any] = {"service": f"{address}/issuer", "gateways": NAMES}
        self.catalog = Catalog(
            {
                "jwks": {"services": services, "gateways": gateways},
                "gateways": {"gateways": {name: {**one, "admin_token": token} for name, one in gateways.items()}},
            },
            lambda: door,
        )
        door = SecretDoor(self.catalog.store)
        self.run = run_of(Stage(client=None, params={}, secrets=door), seconds=2 * SOON)

    def ready(self, part: Any, **params: Any) -> tuple[Any, Any]:
        """A part of an adapter and its parameters."""
        known = {key: value for key, value in self.shared.items() if key in part.Params.model_fields}
        return part, part.Params.model_validate({**known, **params})

    def check(self, word: str, **params: Any) -> Any:
        """Measure."""
        probe, p = self.ready(self.catalog.probe(word), **params)
        return probe.measure(p, self.run)


@pytest.fixture
def asker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asker]:
    monkeypatch.setenv("TOWN_TOKEN", "an-admins-token")
    town = Town()
    with serving(town) as address:
        yield Asker(town, address)


# --- gateways side by side --------------------------------------------------------------------------------------------


def test_canaries_are_shown_to_all_at_once(asker: Asker) -> None:
    assert asker.check("jwks.canary_accepted_everywhere", kid="old").evidence == "8 of 8 gateways accept old"
    asker.town.refusing = {"gateway-5": "unknown_kid", "gateway-2": "bad_signature"}
    reading = asker.check("jwks.canary_accepted_everywhere", kid="old")
    told = "6 of 8 gateways accept old; not gateway-2 (bad_signature), gateway-5 (unknown_kid)"
    assert (reading.passed, reading.evidence) == (False, told)


def test_the_dead_check_asks_all_at_once(asker: Asker) -> None:
    asker.town.refusing = dict.fromkeys(NAMES, "unknown_kid")
    reading = asker.check("jwks.old_refused_everywhere", kid="old")
    assert (reading.passed, reading.evidence) == (True, "8 of 8 gateways refuse old and accept new")
    del asker.town.refusing["gateway-6"]
    asker.town.refusing["gateway-1"] = "wrong_audience"
    reading = asker.check("jwks.old_refused_everywhere", kid="old")
    told = "gateway-1 refuses it, but for another reason (wrong_audience), gateway-6 STILL accepts it"
    assert (reading.passed, reading.evidence) == (False, f"6 of 8 gateways refuse old and accept new; {told}")
    asker.town.deleted = True
    told = "8 of 8 gateways refuse old and accept new (8 judged by their lists of keys only)"
    assert asker.check("jwks.old_refused_everywhere", kid="old").evidence == told


def test_counters_are_read_at_once(asker: Asker) -> None:
    fact, p = asker.ready(asker.catalog.fact("jwks.cache_ttl"))
    known = fact.read(p, asker.run)
    assert (known.value, known.source) == (407, "cache_ttl_seconds of gateway-7, the longest of 8 gateways")
    sensor, p = asker.ready(asker.catalog.sensor("gateways.kid_last_seen"), kid="old")
    assert sensor.last_seen(p, asker.run).by == ("gateway-7",)
    rate = asker.check("gateways.success_rate")
    assert rate.value == 0.9
    assert rate.evidence.endswith("; ".join(f"gateway-{i} refused 1" for i in range(5)))
    fresh = asker.check("gateways.caches_fresh")
    assert not fresh.passed
    assert [one.partition(":")[0] for one in fresh.evidence.split("; ")] == NAMES


def test_the_first_gateway_in_order_that_cannot_answer_is_the_one_told_of(asker: Asker) -> None:
    asker.town.broken = {"gateway-6": 404, "gateway-3": 502}
    with pytest.raises(Transient, match="answered 502"):
        asker.check("gateways.caches_fresh")
    asker.town.broken = {"gateway-6": 502, "gateway-3": 404}
    with pytest.raises(Permanent, match="answered 404"):
        asker.check("jwks.canary_accepted_everywhere", kid="old")


def test_access_is_looked_at_everywhere_at_once(asker: Asker) -> None:
    client = asker.catalog.probe("gateways.caches_fresh").client
    assert client.access(("gateway: admin",), asker.run) == ()
    asker.town.viewers, asker.town.broken = {"gateway-1"}, {"gateway-4": 502}
    assert client.access(("gateway: admin",), asker.run) == ("gateway: admin",)
    asker.town.viewers, asker.town.broken = {"gateway-4"}, {"gateway-1": 502}
    with pytest.raises(Transient, match="answered 502"):
        client.access(("gateway: admin",), asker.run)


# --- the way of asking ------------------------------------------------------------------------------------------------


def test_no_more_than_sixteen_are_asked_at_once_and_answers_come_in_order() -> None:
    names = [str(i) for i in range(2 * MOST_AT_ONCE)]
    meeting, lock, under_way, most = threading.Barrier(MOST_AT_ONCE, timeout=SOON), threading.Lock(), 0, 0

    def ask(name: str) -> int:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        meeting.wait()
        with lock:
            under_way -= 1
        return int(name) ** 2

    assert list(ask_each(names, ask)) == [(name, int(name) ** 2) for name in names]
    assert most == MOST_AT_ONCE == 16
    assert list(ask_each([], ask)) == []


def test_the_first_error_in_order_is_raised_and_nothing_goes_on_behind_it() -> None:
    failed, lock, under_way = threading.Event(), threading.Lock(), 0

    def ask(name: str) -> str:
        nonlocal under_way
        with lock:
            under_way += 1
        try:
            if name == "c":
                failed.set()
                raise Permanent("c is wrong", "put it right")
            if name == "b":
                assert failed.wait(SOON)
                raise Transient("b may pass")
            return name
        finally:
            with lock:
                under_way -= 1

    answers = ask_each(list("abcdefgh"), ask)
    assert next(answers) == ("a", "a")
    with pytest.raises(Transient, match="b may pass"):
        next(answers)
    assert under_way == 0
