"""Callers of a credential are refused: told once, with the way on; past its date its incident opens by itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from bot.app import Bot, build_engine, prepare
from bot.catalog import Catalog
from bot.contracts.command import Call, Need
from bot.core.errors import Invalid, Permanent
from bot.core.policy import PersonKind
from bot.engine.alarms import Alarms, measured
from bot.engine.arrivals import recipients
from bot.settings import Settings, read_environment, read_settings
from bot.setup.doctor import _look_at_alarm
from bot.setup.permissions import wanted
from bot.store.records import AuditRow
from bot.store.tables import CREDENTIAL, NOTICE
from tests.engine.test_expiry import RUNBOOK

MINUTE = timedelta(minutes=1)
SETTINGS = """\
people:
  alice: {{os: alice, slack: U0ALICE}}
  bob: {{os: bob, slack: U0BOB}}
roles:
  operators: {{who: [alice, bob], may: [see, start, advance, cancel, rollback, revoke]}}
policies:
  - {{approvers: 1, from: [bob]}}
channels: {{default: C0OPS}}
credentials:
  - name: door-key
    environment: production
    class: key
    owner: alice
    runbook: by-hand
    cadence: 90d
    alarm: {{check: http.healthy, with: {{url: "{address}/door"}}, for: 5m}}
runbooks: [runbooks]
adapters: {{http: {{allowed: ["{host}"], private: [127.0.0.0/8]}}}}
"""


@dataclass
class Door:
    """A real server that lets callers in or refuses them."""

    status: int = 200
    came: threading.Event = field(default_factory=threading.Event)
    server: Any = field(default=None)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            door.came.set()
            self.send_response(door.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    door.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=door.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield door
    door.server.shutdown()
    door.server.server_close()
    thread.join(5)


def settings_for(door: Door, folder: Path, before: str = "", after: str = "") -> Settings:
    """The settings, with one text in place of another."""
    (folder / "runbooks").mkdir(exist_ok=True)
    (folder / "runbooks" / "by-hand.yaml").write_text(RUNBOOK)
    environ = {"KEYTURN_DATABASE_URL": f"sqlite:///{folder / 'keyturn.db'}", "KEYTURN_KEYS": str(folder / "keys")}
    text = SETTINGS.format(address=door.address, host=door.address.removeprefix("http://"))
    if before:
        assert before in text
        text = text.replace(before, after)
    return read_settings(text, read_environment(environ), file="keyturn.yml", folder=folder)


class Guard:
    """An engine that nobody has started, and its alarms, looked at by hand."""

    def __init__(self, settings: Settings) -> None:
        self.database = prepare(settings)
        self.engine = build_engine(settings, self.database)
        self.alarms = self.life(settings)

    def life(self, settings: Settings, route: tuple[str, ...] = (), channel: str = "C0OPS") -> Alarms:
        """Those of one replica."""
        engine = self.engine
        finder = partial(recipients, self.database, settings.policy, engine.people, settings.channels, route)
        secrets: Any = None
        measure = partial(measured, engine.catalog, secrets)
        opens = engine.board.expired_by_itself
        return Alarms(self.database, settings.alarms, measure, opens, finder, lambda row: channel)

    def look(self, minutes: float, *alarms: Alarms) -> None:
        """So long, twice a minute."""
        for _ in range(round(minutes * 2)):
            self.database.clock.advance(MINUTE / 2)
            for one in alarms or (self.alarms,):
                one.turn()

    def dates(self, **values: Any) -> None:
        with self.database.begin() as tx:
            tx.connection.execute(update(CREDENTIAL).values(**values))

    def notices(self) -> list[tuple[str, str]]:
        with self.database.read() as reader:
            rows = reader.connection.execute(NOTICE.select().order_by(NOTICE.c.id))
            return [(row.person or row.channel, row.text) for row in rows]

    def audit(self, event: str) -> list[AuditRow]:
        with self.database.read() as reader:
            return list(reversed(reader.history(event=event, limit=100)))


@pytest.fixture
def settings(door: Door, tmp_path: Path) -> Settings:
    return settings_for(door, tmp_path)


@pytest.fixture
def guard(settings: Settings) -> Iterator[Guard]:
    guard = Guard(settings)
    yield guard
    guard.database.close()


def test_refusals_are_told_once_and_so_is_their_end(guard: Guard, door: Door) -> None:
    guard.dates(next_due=guard.database.now() + timedelta(days=40), last_rotated_at=guard.database.now())
    guard.look(3)
    door.status = 401
    guard.look(5)
    assert guard.notices() == [], "nobody hears before it lasts"
    guard.look(30)
    told = guard.notices()
    assert [to for to, _ in told] == ["@alice", "C0OPS"]
    for part in ("Callers of door-key (production) are refused, for 5m now", "answered 401, 200 expected",
                 "It is due on", "no rotation of it is open", "expired door-key@production"):  # fmt: skip
        assert part in told[0][1]
    (row,) = guard.audit("credential.calls-refused")
    assert (row.credential, row.detail["told"], row.detail["environment"]) == (
        "door-key",
        ["@alice", "C0OPS"],
        "production",
    )
    door.status = 200
    guard.look(5)
    over = guard.notices()[2:]
    assert [to for to, _ in over] == ["@alice", "C0OPS"]
    assert "are let in again, after 35m" in over[0][1]
    assert len(guard.audit("credential.calls-accepted")) == 1
    with guard.database.read() as reader:
        assert reader.open_expiry("door-key", "production") is None


def test_what_comes_and_goes_is_no_alarm(guard: Guard, door: Door) -> None:
    for _ in range(5):
        door.status = 401
        guard.look(4)
        door.status = 200
        guard.look(1)
    assert guard.notices() == []


def test_past_its_date_its_incident_opens_by_itself(guard: Guard, door: Door) -> None:
    """The inventory knows no expiry of it, only that it should have been rotated."""
    guard.dates(next_due=guard.database.now(), last_rotated_at=guard.database.now() - timedelta(days=91))
    door.status = 401
    guard.look(10)
    with guard.database.read() as reader:
        number = reader.open_expiry("door-key", "production")
        assert number is not None
        opened = reader.rotation(number)
    assert opened is not None
    assert "its callers are refused: " in opened.plan.reason
    told = [text for to, text in guard.notices() if to == "@alice" and "are refused, for" in text]
    assert len(told) == 1
    assert f"R-{number} is the incident of its expiry" in told[0]
    guard.look(30)
    with guard.database.read() as reader:
        assert reader.open_expiry("door-key", "production") == number
        assert [one.number for one in reader.rotations(limit=10)] == [number], "one incident"


def test_a_rotation_under_way_is_named_and_opens_no_incident_of_a_cadence(guard: Guard, door: Door) -> None:
    person = guard.engine.settings.policy.resolve_person("os:alice", kind=PersonKind.MEMBER)
    boxes = ("access", "incidents", "rollback-plan", "notified", "dashboard", "contacts")
    call = Call("start", Need.START, person, ("door-key",), {"reason": "due"}, confirmed=True, ticked=boxes)
    answer = guard.engine.board.words()["start"].run(call, guard.engine.board)
    guard.dates(next_due=guard.database.now(), last_rotated_at=guard.database.now() - timedelta(days=91))
    door.status = 401
    guard.look(6)
    with guard.database.read() as reader:
        assert reader.open_expiry("door-key", "production") is None
    (text,) = [text for to, text in guard.notices() if to == "@alice" and "are refused" in text]
    assert f"R-{answer.rotation} is rotating it" in text
    assert f"status R-{answer.rotation}" in text


def test_several_replicas_tell_once(guard: Guard, settings: Settings, door: Door) -> None:
    others = [guard.life(settings) for _ in range(2)]
    door.status = 401
    guard.look(20, guard.alarms, *others)
    assert [to for to, _ in guard.notices()] == ["@alice", "C0OPS"]
    assert len(guard.audit("credential.calls-refused")) == 1


def test_a_restart_forgets_nothing(guard: Guard, settings: Settings, door: Door) -> None:
    door.status = 401
    guard.look(3)
    guard.alarms = guard.life(settings)
    guard.look(2.5)
    assert [to for to, _ in guard.notices()] == ["@alice", "C0OPS"]
    guard.alarms = guard.life(settings)
    guard.look(10)
    assert len(guard.notices()) == 2


def test_what_cannot_be_seen_is_neither(
    guard: Guard, settings: Settings, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    door.server.shutdown()
    door.server.server_close()
    guard.look(20)
    assert guard.notices() == []
    said = [row for row in caplog.messages if "the alarm of door-key (production) cannot be looked at" in row]
    assert len(said) == 1
    (alarm,) = settings.alarms
    guard.look(60 * 12)
    assert [to for to, _ in guard.notices()] == ["@alice", "C0OPS"]
    assert "could not be looked at for 12h" in guard.notices()[0][1]
    guard.look(60)
    assert len(guard.audit("credential.alarm-unseen")) == 1
    found = _look_at_alarm(guard.engine.catalog, alarm)
    assert (found.step, found.state) == ("alarm", "wrong")
    assert "cannot be looked at" in found.text


def test_the_doctor_looks_too(guard: Guard, settings: Settings, door: Door) -> None:
    (alarm,) = settings.alarms
    assert "answered 200" in _look_at_alarm(guard.engine.catalog, alarm).text
    door.status = 401
    assert "Its callers are refused" in _look_at_alarm(guard.engine.catalog, alarm).advice


def test_a_bot_looks_by_itself(settings: Settings, door: Door) -> None:
    bot = Bot(settings, slack=False)
    bot.engine.start()
    try:
        assert door.came.wait(30)
    finally:
        bot.engine.stop()


def test_where_the_owner_is_not_there_the_whole_route_hears(guard: Guard, settings: Settings, door: Door) -> None:
    guard.dates(owner_override="nobody")
    door.status = 401
    guard.alarms = guard.life(settings, route=("bob",))
    guard.look(6)
    assert [to for to, _ in guard.notices()] == ["@bob", "C0OPS"]


def test_what_nobody_can_be_told_is_told_when_somebody_can(guard: Guard, settings: Settings, door: Door) -> None:
    guard.dates(owner_override="nobody")
    door.status = 401
    guard.alarms = guard.life(settings, channel="")
    guard.look(20)
    assert (guard.notices(), guard.audit("credential.calls-refused")) == ([], [])
    guard.dates(next_due=guard.database.now(), last_rotated_at=guard.database.now() - timedelta(days=91))
    guard.look(1)
    with guard.database.read() as reader:
        assert reader.open_expiry("door-key", "production") is not None, "its incident pages whoever is there"
    before = len(guard.notices())
    guard.alarms = guard.life(settings)
    guard.look(1)
    assert [(to, "are refused" in text) for to, text in guard.notices()[before:]] == [("C0OPS", True)]


def test_an_incident_that_cannot_be_opened_keeps_nobody_from_hearing(
    guard: Guard, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(row: Any, reason: str) -> bool:
        raise Permanent("the plan cannot be made", "")

    guard.dates(next_due=guard.database.now(), last_rotated_at=guard.database.now() - timedelta(days=91))
    monkeypatch.setattr(guard.alarms, "_open", broken)
    door.status = 401
    guard.look(6)
    assert [to for to, _ in guard.notices()] == ["@alice", "C0OPS"]


def test_a_mistake_of_an_adapter_is_told_without_its_text(
    guard: Guard, settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, p: Any, run: Any) -> Any:
        raise ValueError("hunter2")

    monkeypatch.setattr("adapters.http.Healthy.measure", broken)
    guard.look(1)
    (alarm,) = settings.alarms
    found = _look_at_alarm(guard.engine.catalog, alarm)
    for said in (caplog.text, f"{found.text} {found.advice}"):
        assert "ValueError" in said
        assert "mistake of the adapter" in said
        assert "hunter2" not in said


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("http.healthy", "http.healty", "no adapter offers the probe 'http.healty' (did you mean http.healthy?"),
        ("http.healthy", "http.post", "no adapter offers the probe 'http.post'"),
        ("url:", "ulr:", "http.healthy takes no 'ulr' (did you mean url?"),
        ("/door", "/ door", "http.healthy: the parameters do not fit: url: "),
        ("/door", "/${{ inputs.door }}", "http.healthy: "),
        ("5m", "0s", "longer than 0s"),
        ("5m", "2d", "at most 24h"),
    ],
)
def test_mistakes_in_it_are_told(door: Door, tmp_path: Path, before: str, after: str, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        Bot(settings_for(door, tmp_path, before, after), slack=False)
    assert any(said in one and "keyturn.yml:16" in one for one in caught.value.problems), caught.value.problems


def test_its_permissions_are_asked_for(door: Door, tmp_path: Path) -> None:
    check = '{check: prometheus.auth_failures, with: {server: main, failures: "x_total", below: 5}}'
    text = f'{{check: http.healthy, with: {{url: "{door.address}/door"}}, for: 5m}}'
    settings = settings_for(door, tmp_path, text, check)
    secrets: Any = None
    found = wanted(settings, Catalog(settings.declared.adapters, lambda: secrets))
    assert found["prometheus"] == {"prometheus: query": ("door-key@production",)}
