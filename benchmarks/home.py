"""One Home tab with ten thousand credentials, beside the queries that nobody could do without."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from benchmarks.figures import Bar, Report, paired, timed
from bot.app import Bot
from bot.contracts.people import Directory
from bot.settings import read_environment, read_settings
from bot.slack.api import SlackApi
from bot.slack.budget import Budget
from bot.slack.home import home
from bot.slack.homes import Homes
from bot.store.records import Declared

CREDENTIALS = 10_000
SETTINGS = """\
people: {alice: {os: alice}}
policies: [{approvers: 1}]
credentials: []
runbooks: []
"""
QUERIES = (
    "SELECT * FROM credential WHERE removed_at IS NULL AND owner = 'alice' AND next_due IS NOT NULL "
    "ORDER BY next_due, name LIMIT 20",
    "SELECT standing, count(*) FROM (SELECT CASE WHEN expires_at <= 0 THEN 'expired' WHEN next_due IS NULL THEN "
    "'unknown' ELSE 'fine' END AS standing FROM credential WHERE removed_at IS NULL) AS c GROUP BY standing",
    "SELECT number FROM rotation WHERE state IN ('requested', 'running') ORDER BY number DESC LIMIT 60",
)


def homes(*, quick: bool) -> Report:
    """Build the view again and again, without the few seconds for which counts are kept."""
    folder = Path(tempfile.mkdtemp(prefix="keyturn-home-"))
    try:
        return _measured(folder, 500 if quick else CREDENTIALS, 3 if quick else 60)
    finally:
        shutil.rmtree(folder)


def _measured(folder: Path, credentials: int, rounds: int) -> Report:
    environ = {"KEYTURN_DATABASE_URL": f"sqlite:///{folder / 'keyturn.db'}", "KEYTURN_KEYS": str(folder / "keys")}
    settings = read_settings(SETTINGS, read_environment(environ), file="keyturn.yml", folder=folder)
    bot = Bot(settings, slack=False)
    try:
        _fill(bot, credentials)
        people: Directory = bot.engine.people
        api = SlackApi("none", "http://127.0.0.1:1/")
        tabs = Homes(api, bot.engine.board, people, settings.policy, lambda: None, Budget(), lambda: clock[0])
        clock = [0.0]

        def build() -> None:
            clock[0] += 60.0
            home(tabs.board("os:alice"))

        def floor() -> None:
            with bot.database.read() as reader:
                for query in QUERIES:
                    reader.connection.exec_driver_sql(query).all()

        laps = [(timed(floor) * 1000, timed(build) * 1000) for _ in range(rounds)]
        figure = paired("p50 of one view", "ms", [one for one, _ in laps], [one for _, one in laps], Bar(4.0))
        note = "counts and findings are read anew each time here; a bot keeps them for some seconds"
        return Report(f"Home with {credentials} credentials (floor: its three queries, unread)", [figure], [note])
    finally:
        bot.database.close()


def _fill(bot: Bot, credentials: int) -> None:
    rows = [
        Declared(f"key-{n:05}", "production", "key", "alice" if n % 50 == 0 else f"team-{n % 40}", "by-hand")
        for n in range(credentials)
    ]
    with bot.database.begin() as tx:
        tx.apply_credentials(rows)
        for n in range(credentials):
            tx.update_credential(f"key-{n:05}", "production", next_due=tx.now + timedelta(hours=n % 2000))
