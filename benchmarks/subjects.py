"""What is measured over the wire, each in a process of its own: `python -m benchmarks.subjects <kind> <json>`.

A subject prints one line of JSON when it is ready, answers `rows` on standard input with how many it has stored, and
ends with its input.
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slack_bolt import Ack, App
from slack_bolt.adapter.socket_mode.builtin import SocketModeHandler
from slack_bolt.adapter.wsgi import SlackRequestHandler
from slack_sdk import WebClient
from waitress.server import create_server

from benchmarks.deliveries import ALICE, CARD_TS, CHANNEL, SECRET, TEAM
from bot.health import THREADS

Rows = Callable[[], int]


class Row:
    """One committed row per delivery, on one connection: what durability costs by itself."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE delivery (key TEXT PRIMARY KEY, body TEXT)")
        self._turn = threading.Lock()

    def store(self, key: str, body: dict[str, Any]) -> None:
        """Commit it."""
        said = json.dumps({"key": key, "user": body.get("user_id") or body["user"]["id"], "text": "x" * 250})
        with self._turn:
            self._connection.execute("INSERT INTO delivery VALUES (?, ?)", (key, said))

    def count(self) -> int:
        """How many."""
        with self._turn:
            return int(self._connection.execute("SELECT count(*) FROM delivery").fetchone()[0])


def bolt(given: dict[str, Any], *, before_response: bool, row: bool) -> tuple[int, Rows]:
    """Bolt by itself, acknowledging `/rotate` and clicks."""
    store = Row(Path(given["folder"]) / "row.db") if row else None
    app = App(
        token="xoxb-benchmark",
        signing_secret=SECRET,
        client=WebClient(token="xoxb-benchmark", base_url=given["api"]),
        token_verification_enabled=False,
        process_before_response=before_response,
    )

    def command(ack: Ack, body: dict[str, Any]) -> None:
        if store is not None:
            store.store(body["trigger_id"], body)
        ack()

    def clicked(ack: Ack, body: dict[str, Any]) -> None:
        if store is not None:
            store.store(body["actions"][0]["action_ts"], body)
        ack()

    app.command("/rotate")(command)
    app.action(re.compile("rotate:.*"))(clicked)
    rows: Rows = store.count if store is not None else lambda: 0
    if given["transport"] == "http":
        server: Any = create_server(SlackRequestHandler(app), host="127.0.0.1", port=0, threads=THREADS)
        threading.Thread(target=server.run, daemon=True).start()
        return int(server.effective_port), rows
    client = WebClient(base_url=given["api"])
    handler: Any = SocketModeHandler(app, "xapp-benchmark", web_client=client)
    handler.connect()
    return 0, rows


SETTINGS = f"""\
people:
  alice: {{slack: {ALICE}}}
  bob: {{slack: U0BOB}}
groups:
  sec-oncall: {{members: [bob]}}
channels: {{default: {CHANNEL}}}
roles:
  operators: {{who: everyone, may: [see, start]}}
policies:
  - {{approvers: 1, from: [sec-oncall]}}
credentials:
  - {{name: identity-signing, environment: production, class: key, owner: alice, runbook: by-hand, cadence: 7d}}
runbooks: [runbooks]
slack: {{team: {TEAM}}}
"""
RUNBOOK = """\
runbook: by-hand
summary: A rotation that people do with their own hands.
author: platform
rollback_within: 10m
before: [notified]
steps:
  - {id: first, ask: "Is the new one in use?"}
"""


def keyturn(given: dict[str, Any], *, worker: bool) -> tuple[int, Rows]:
    """The real room and intake on a fresh database; with `worker`, everything that a bot has."""
    from bot.app import build_engine, prepare
    from bot.engine.directory import DeclaredPeople
    from bot.health import Health
    from bot.settings import read_environment, read_settings
    from bot.settings.environment import Bind
    from bot.slack.flood import Flood
    from bot.slack.people import SlackPeople
    from bot.slack.room import Room

    folder = Path(given["folder"])
    (folder / "runbooks").mkdir()
    (folder / "runbooks" / "by-hand.yaml").write_text(RUNBOOK)
    environment = read_environment(
        {
            "SLACK_BOT_TOKEN": "xoxb-benchmark",
            "SLACK_APP_TOKEN": "xapp-benchmark",
            "SLACK_SIGNING_SECRET": SECRET,
            "SLACK_API_URL": given["api"],
            "KEYTURN_DATABASE_URL": f"sqlite:///{folder / 'keyturn.db'}",
            "KEYTURN_KEYS": str(folder / "keys"),
            "KEYTURN_TRANSPORT": given["transport"],
        }
    )
    settings = read_settings(SETTINGS, environment, file="keyturn.yml", folder=folder)
    database = prepare(settings)
    draw_card(database)
    people = SlackPeople.build(settings, DeclaredPeople(settings.policy, settings.members))
    engine = build_engine(settings, database, people)
    much = (1e9, 1e9)
    room = Room(settings, engine.intake, database, people, engine.board, flood=Flood(much, much))
    if worker:
        engine.start()
    room.start()
    people.person(f"slack:{TEAM}/{ALICE}")  # as if alice had done something a minute ago
    health = Health(Bind("127.0.0.1", 0), database, room, engine.timers)
    health.start()

    def rows() -> int:
        with database.engine.connect() as connection:
            counted = "SELECT (SELECT count(*) FROM intent), (SELECT count(*) FROM audit WHERE event = ?)"
            intents, audited = connection.exec_driver_sql(counted, ("intent.received",)).one()
        assert intents == audited, f"{intents} intents and {audited} rows in the audit"
        return int(intents)

    return health.port, rows


def draw_card(database: Any) -> None:
    """A requested rotation R-1 whose card stands in the channel, so that a click on it counts."""
    from benchmarks.rotations import requested

    with database.begin() as tx:
        rotation = tx.save(None, requested(1, "identity-signing", tx.now))
        drawing = tx.add_drawing(rotation.number, "card", CHANNEL, rotation.version)
        tx.drawn(drawing, CARD_TS, rotation.version)


KINDS: dict[str, Callable[[dict[str, Any]], tuple[int, Rows]]] = {
    "floor": lambda given: bolt(given, before_response=True, row=True),
    "bare": lambda given: bolt(given, before_response=True, row=False),
    "stock": lambda given: bolt(given, before_response=False, row=False),
    "keyturn": lambda given: keyturn(given, worker=False),
    "keyturn-at-work": lambda given: keyturn(given, worker=True),
}


def main() -> None:
    """Be a subject."""
    logging.disable(logging.WARNING)
    port, rows = KINDS[sys.argv[1]](json.loads(sys.argv[2]))
    print(json.dumps({"port": port}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"rows": rows()}), flush=True)
    import os

    os._exit(0)


if __name__ == "__main__":
    main()
