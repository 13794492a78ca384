"""Bad input and broken surroundings: one clear sentence with the way out, the right exit code, and nothing changed."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import textwrap
from pathlib import Path

import pytest

from tests.cli.conftest import Installation

BROKEN_RUNBOOK = """\
runbook: broken
summary: A runbook with five mistakes.
author: alice
inputs:
  service: {type: adress}
rollback_within: soon
before: [access]
steps:
  - id: make
    do: identity.publish_keys
    with: {service: "${{ inputs.service }}"}
  - id: use
    do: identity.promote_key
    with: {kid: "${{ steps.mak.kid }}", service: "${{ inputs.service }}"}
  - id: make
    wait: 1h
"""


def check(text: str, *wanted: str) -> None:
    """Says all of it, and is no traceback."""
    assert "Traceback" not in text
    for part in wanted:
        assert part in text, f"{part!r} is not in:\n{text}"


def audit_rows(installation: Installation) -> list[str]:
    done = installation.keyturn("audit", "export")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_no_settings(tmp_path: Path) -> None:
    done = Installation(tmp_path).keyturn("serve")
    assert done.returncode == 2
    check(done.stderr, "keyturn.yml is not there", "keyturn init")


def test_a_missing_token_is_named_before_anything_is_touched(installation: Installation) -> None:
    done = installation.keyturn("serve")
    assert done.returncode == 1
    check(done.stderr, "SLACK_BOT_TOKEN is not set", "OAuth & Permissions")
    assert not (installation.folder / "keyturn.db").exists()
    installation.variables["SLACK_BOT_TOKEN"] = "xoxb-0"
    check(installation.keyturn("serve").stderr, "SLACK_APP_TOKEN is not set", "connections:write")
    installation.variables["KEYTURN_TRANSPORT"] = "http"
    check(installation.keyturn("serve").stderr, "SLACK_SIGNING_SECRET is not set")


def test_a_wrong_token_is_not_shown(installation: Installation) -> None:
    installation.variables["SLACK_BOT_TOKEN"] = "hunter2-hunter2"
    done = installation.keyturn("serve")
    assert done.returncode == 2
    check(done.stderr, "SLACK_BOT_TOKEN", "it begins with xoxb-")
    assert "hunter2" not in done.stderr + done.stdout


def test_every_mistake_of_the_settings_at_once(installation: Installation) -> None:
    installation.rewrite(
        {
            "runbook: identity-es256": "runbook: identity-es265",
            "owner: platform": "owner: platfrom",
            "expires: 24h": "expires: a day",
            "may: [start, tick": "may: [begin, tick",
        }
    )
    done = installation.keyturn("serve")
    assert done.returncode == 2
    check(
        done.stderr,
        "4 mistakes",
        "did you mean identity-es256",
        "did you mean platform",
        "expires",
        "must be one of see, start",
    )
    assert len(re.findall(r"keyturn\.yml:\d+: ", done.stderr)) == 4


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("sqlite:////proc/keyturn.db", "cannot be created"),
        ("sqlite:///nowhere/keyturn.db", "cannot be created"),
        ("sqlite:///keyturn.yml", "is not a database"),
        ("sqlite:///", "SQLite needs a file"),
        ("mysql://localhost/keyturn", "KEYTURN_DATABASE_URL"),
        ("postgresql://keyturn:hunter2@127.0.0.1:1/keyturn", "cannot be reached"),
    ],
)
def test_a_database_that_cannot_be_used(installation: Installation, url: str, wanted: str) -> None:
    installation.variables["KEYTURN_DATABASE_URL"] = url
    done = installation.keyturn("run", "status")
    assert done.returncode in (1, 2)
    check(done.stderr, wanted)
    assert "hunter2" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_an_empty_database_is_migrated_on_request(installation: Installation) -> None:
    done = installation.keyturn("run", "status")
    assert done.returncode == 1
    check(done.stderr, "The database is empty.", "keyturn migrate")
    assert installation.keyturn("migrate").returncode == 0
    check(installation.keyturn("migrate").stdout, "up to date")


def test_a_newer_schema_is_left_alone(migrated: Installation) -> None:
    path = migrated.variables["KEYTURN_DATABASE_URL"].removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for words in (("run", "status"), ("migrate",), ("apply", "--yes"), ("audit", "export")):
        done = migrated.keyturn(*words)
        assert done.returncode == 1
        check(done.stderr, "9999", "newer version of keyturn")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_a_runbook_with_five_mistakes(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text(BROKEN_RUNBOOK)
    done = Installation(tmp_path).keyturn("lint", "broken.yaml")
    assert done.returncode == 1
    check(done.stdout, "did you mean", "publish_key")
    lines = {int(line) for line in re.findall(r"^broken\.yaml:(\d+): error", done.stdout, re.MULTILINE)}
    assert {5, 6, 10, 14, 15} <= lines, done.stdout


def test_lint_for_machines(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text(BROKEN_RUNBOOK)
    done = Installation(tmp_path).keyturn("lint", "--json", "broken.yaml", "nowhere.yaml")
    assert done.returncode == 1
    found = json.loads(done.stdout)["findings"]
    assert {finding["file"] for finding in found} == {"broken.yaml", "nowhere.yaml"}
    assert all({"line", "rule", "severity", "message", "hint"} <= set(finding) for finding in found)


def test_words_that_cannot_be_done(migrated: Installation) -> None:
    """A word with an effect is answered by a worker, so one runs beside it here."""
    spoken = {
        "stauts R-7": "Did you mean status",
        "status R-7": "R-7",
        "start identity-singing": "identity-signing",
        'start "identity-signing': "quote",
        "start identity-signing --raeson x": "--reason",
        "approve": "approve",
    }
    worker = migrated.start("worker")
    try:
        for words, wanted in spoken.items():
            done = migrated.keyturn("run", words)
            assert done.returncode in (1, 2), done.stdout
            check(done.stderr, wanted)
    finally:
        worker.terminate()
        _, log = worker.communicate(timeout=30)
    assert "Traceback" not in log
    events = [json.loads(line)["event"] for line in audit_rows(migrated)]
    assert not [event for event in events if event.startswith(("rotation.", "step.", "vote."))]


def test_a_secret_typed_is_neither_stored_nor_repeated(migrated: Installation) -> None:
    secret = "ghp_" + "a1B2" * 9
    done = migrated.keyturn("run", f'start identity-signing --reason "{secret}"')
    assert done.returncode == 2
    check(done.stderr, "looks like a GitHub token", "Treat it as leaked")
    assert secret not in done.stdout + done.stderr
    assert not any(secret in row for row in audit_rows(migrated))
    path = Path(migrated.variables["KEYTURN_DATABASE_URL"].removeprefix("sqlite:///"))
    stored = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    assert secret.encode() not in stored


def test_without_a_worker_the_words_are_kept(migrated: Installation) -> None:
    done = migrated.keyturn("run", "start identity-signing", "--wait", "0.2")
    assert done.returncode == 1
    check(done.stderr, "Stored as intent", "keyturn serve")


def test_a_taken_port_stops_the_start(migrated: Installation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        migrated.variables["KEYTURN_HTTP"] = f"127.0.0.1:{taken.getsockname()[1]}"
        done = migrated.keyturn("worker")
    assert done.returncode == 1
    check(done.stderr, "cannot be listened on", "KEYTURN_HTTP")


def test_a_second_worker_on_sqlite_is_refused(migrated: Installation) -> None:
    first = migrated.start("worker")
    try:
        answer = migrated.keyturn("run", "start nothing")  # answered: the first one works
        assert "nothing" in answer.stderr
        second = migrated.keyturn("worker")
    finally:
        first.terminate()
        first.communicate(timeout=30)
    assert second.returncode == 1
    check(second.stderr, "PostgreSQL")


def test_init_overwrites_nothing(installation: Installation) -> None:
    before = {path: path.read_bytes() for path in installation.folder.rglob("*") if path.is_file()}
    done = installation.keyturn("init")
    assert done.returncode == 1
    check(done.stderr, "already", "keyturn init FOLDER")
    assert {path: path.read_bytes() for path in installation.folder.rglob("*") if path.is_file()} == before


def test_init_where_nobody_can_write(tmp_path: Path) -> None:
    done = Installation(tmp_path).keyturn("init", "/proc/keyturn")
    assert done.returncode == 1
    check(done.stderr, "cannot be written", "keyturn init FOLDER")


def test_an_invalid_adapter_stops_the_start(migrated: Installation) -> None:
    text = textwrap.dedent("""\
        adapters:
          identify: {}
    """)
    migrated.rewrite({"adapters:\n": text})
    done = migrated.keyturn("worker")
    assert done.returncode == 2
    check(done.stderr, "adapters.identify", "did you mean identity")
