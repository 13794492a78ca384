"""`keyturn audit`, and the keys that sign it, from first start to tampering."""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from bot.app import make_sealer, prepare
from bot.core.errors import Permanent
from bot.keys import PRIVATE, has_keys, make_keys
from bot.settings import Settings, load_settings
from tests.cli.conftest import Installation


@pytest.fixture
def settings(migrated: Installation) -> Settings:
    folder = migrated.folder
    migrated.variables |= {"KEYTURN_CONFIG": str(folder / "keyturn.yml"), "KEYTURN_KEYS": str(folder / "keys")}
    return load_settings(migrated.variables)


def seal(settings: Settings) -> None:
    """What a start and a stop leave behind."""
    database = prepare(settings)
    make_sealer(settings.environment, database).stop()
    database.close()


def test_the_audit_verifies_and_its_export_is_the_chain(migrated: Installation, settings: Settings) -> None:
    seal(settings)
    done = migrated.keyturn("audit", "verify", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["sound"]
    assert report["signatures"] == report["witnessed"] == 1
    assert report["unsigned"] == 0
    rows = [json.loads(line) for line in migrated.keyturn("audit", "export").stdout.splitlines()]
    assert [row["seq"] for row in rows] == list(range(1, report["rows"] + 1))
    assert all(later["prev"] == earlier["hash"] for earlier, later in itertools.pairwise(rows))
    assert migrated.keyturn("audit", "export", "--since", "1").stdout.count("\n") == len(rows) - 1


def test_a_changed_row_is_found(migrated: Installation, settings: Settings) -> None:
    seal(settings)
    with sqlite3.connect(settings.environment.database_url.removeprefix("sqlite:///")) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
        for name in names:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE audit SET actor = 'mallory' WHERE seq = 1")
    done = migrated.keyturn("audit", "verify")
    assert done.returncode == 1
    assert "does NOT verify" in done.stdout
    assert "row 1" in done.stdout


def test_an_auditor_needs_no_private_key(migrated: Installation, settings: Settings) -> None:
    seal(settings)
    (settings.environment.keys / PRIVATE).unlink()
    assert migrated.keyturn("audit", "verify").returncode == 0


def test_a_first_start_makes_the_keys(settings: Settings) -> None:
    shutil.rmtree(settings.environment.keys)
    seal(settings)
    assert has_keys(settings.environment.keys)


def test_an_audit_that_was_signed_does_not_get_a_new_key(settings: Settings) -> None:
    seal(settings)
    shutil.rmtree(settings.environment.keys)
    database = prepare(settings)
    with pytest.raises(Permanent, match="keys are not in"):
        make_sealer(settings.environment, database)
    make_keys(settings.environment.keys)
    with pytest.raises(Permanent, match="signed with a key that is not in"):
        make_sealer(settings.environment, database)
    database.close()


def test_an_older_copy_of_the_database_does_not_start(migrated: Installation, settings: Settings) -> None:
    path = Path(settings.environment.database_url.removeprefix("sqlite:///"))
    older = path.with_name("older.db")
    prepare(settings).close()
    with sqlite3.connect(path) as source, sqlite3.connect(older) as target:
        source.backup(target)
    migrated.rewrite({"expires: 24h": "expires: 48h"})
    seal(load_settings(migrated.variables))
    migrated.variables["KEYTURN_DATABASE_URL"] = f"sqlite:///{older}"
    done = migrated.keyturn("worker")
    assert done.returncode == 1
    assert "which the witness has seen" in done.stderr
    assert "Restore the newest copy" in done.stderr
