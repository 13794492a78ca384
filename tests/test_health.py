"""`/healthz`, `/readyz` and `/metrics`, asked over HTTP."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bot.core.errors import Permanent, Transient
from bot.engine.timers import Timers
from bot.health import Health
from bot.settings import Bind
from bot.store.database import Database
from tests.engine.keeping_stage import DAY, Keep


class Room:
    """As much of Slack's room as health looks at."""

    def __init__(self) -> None:
        self.is_connected = True

    def connected(self) -> bool:
        return self.is_connected

    def seconds_since_frame(self) -> float | None:
        return 1.5

    def wsgi(self) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]] | None:
        def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"slack heard " + environ["wsgi.input"].read()]

        return answer


class Served:
    """A running server and a way to ask it."""

    def __init__(self, database: Database) -> None:
        self.room: Any = Room()
        self.timers = Timers(database, "health-test")
        self.health = Health(Bind("127.0.0.1", 0), database, self.room, self.timers)
        self.health.start()

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.health.port}{path}", data=body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def served(database: Database) -> Iterator[Served]:
    served = Served(database)
    yield served
    served.health.stop()


def test_a_stop_ends_its_threads(sqlite_database: Database) -> None:
    before = set(threading.enumerate())
    served = Served(sqlite_database)
    assert served.ask("/healthz")[0] == 200
    served.health.stop()
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(10)
    assert not [thread.name for thread in left if thread.is_alive()]


def test_alive_and_ready(served: Served) -> None:
    assert served.ask("/healthz")[0] == 200
    status, body = served.ask("/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True, "problems": []})


def test_not_ready_says_why(served: Served) -> None:
    served.room.is_connected = False
    served.timers.fenced.set()
    status, body = served.ask("/readyz")
    assert status == 503
    assert json.loads(body)["problems"] == ["another worker has taken over", "no connection to Slack"]
    assert served.ask("/healthz")[0] == 200


def test_metrics_are_prometheus_and_name_no_credential(served: Served) -> None:
    status, text = served.ask("/metrics")
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {"keyturn_rotations", "keyturn_audit_rows", "keyturn_slack_silent_seconds"} <= set(families)
    assert all(name.startswith("keyturn_") for name in families)
    labels = {label for family in families.values() for sample in family.samples for label in sample.labels}
    assert labels <= {"state", "version"}


def test_metrics_say_how_old_what_a_discovery_saw_is(sqlite_database: Database) -> None:
    keep = Keep(sqlite_database)
    keep.discover()
    keep.database.clock.advance(DAY)
    keep.system.breaks = (0, Transient("the system is away"))
    for _ in range(2):
        keep.discover()
    served = Served(keep.database)
    try:
        families = {one.name: one for one in text_string_to_metric_families(served.ask("/metrics")[1])}
    finally:
        served.health.stop()
    (failures,) = families["keyturn_discovery_failures"].samples
    (age,) = families["keyturn_discovery_age_seconds"].samples
    assert failures.labels == age.labels == {"discovery": keep.find.name}
    assert failures.value == 2
    assert DAY.total_seconds() <= age.value < 2 * DAY.total_seconds()


def test_other_pages_and_methods(served: Served) -> None:
    assert served.ask("/")[0] == 404
    assert served.ask("/metrics", "POST", b"x")[0] == 405
    assert served.ask("/slack/events", "POST", b"hello") == (200, "slack heard hello")


def test_too_large_a_body_is_refused(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.health.port, timeout=10)
    connection.putrequest("POST", "/slack/events")
    connection.putheader("Content-Length", "1100000")
    connection.endheaders()  # refused for what it announces, before any of it is sent
    assert connection.getresponse().status == 413
    connection.close()


def test_many_at_once_are_all_answered(served: Served) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(served.ask("/readyz")[0])) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [200] * 32


@pytest.mark.parametrize("bind", ["taken", "nowhere"])
def test_an_address_that_cannot_be_had(sqlite_database: Database, bind: str) -> None:
    timers = Timers(sqlite_database, "health-test")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        host, port = ("127.0.0.1", taken.getsockname()[1]) if bind == "taken" else ("nowhere.invalid", 8080)
        with pytest.raises(Permanent, match=re.escape(f"{host}:{port} cannot be listened on")):
            Health(Bind(host, port), sqlite_database, None, timers)
