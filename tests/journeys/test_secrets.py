"""No secret anywhere: marked values are planted, both rotations fail at every call first, and all is searched."""

from __future__ import annotations

import base64
import json
import secrets as random
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from bot.core.rotation import Overlap, Stage
from playground.estate import Estate
from tests.journeys.conftest import TownOpener
from tests.journeys.search import leaks
from tests.journeys.town import BRISK, Process, Town, held

pytestmark = [pytest.mark.journey, pytest.mark.timeout(240)]
MARKED = f'Adm"in+To/ken=\\{random.token_hex(16)}%&'
ADMIN = "/api/v1/admin"
KINDS = ("status", "garbage", "lose")
"""In this order: what is lost was done, so that nothing calls for it again."""
PATHS = (
    (f"{ADMIN}/health", "GET"),
    (f"{ADMIN}/keys/rotate", "POST"),
    ("/.well-known/jwks.json", "GET"),
    (f"{ADMIN}/keys/*/canary", "POST"),
    (f"{ADMIN}/keys/*/promote", "POST"),
    (f"{ADMIN}/keys/*/disable", "POST"),
    (f"{ADMIN}/api-keys", "POST"),
    (f"{ADMIN}/api-keys/*/disable", "POST"),
    (f"{ADMIN}/api-keys/*", "DELETE"),
)


def test_the_searcher_finds_every_form() -> None:
    """The control: whatever is planted is found, wherever it stands in its surroundings."""
    value = f'p/l+a=n"t\\{random.token_hex(12)}'
    planted = {
        "raw": value,
        "first half": value[: len(value) // 2],
        "second half": value[len(value) // 2 :],
        "reversed": value[::-1],
        "hex": value.encode().hex(),
        "url": quote(value, safe=""),
        "json": json.dumps({"a": value}),
    }
    for shift in range(3):
        around = b"x" * shift + value.encode() + b"yz"
        planted[f"base64 at {shift}"] = base64.b64encode(around).decode()
        planted[f"base64url at {shift}"] = base64.urlsafe_b64encode(around).decode()
    for form, text in planted.items():
        found = list(leaks({"it": value}, {"there": b"before " + text.encode() + b" after"}))
        assert f"it, {form}, in there" in found, form
    assert not list(leaks({"it": value}, {"there": random.token_hex(5000).encode()}))


class Treasury:
    """Collects every secret that comes into being while the estate runs."""

    def __init__(self, estate: Estate) -> None:
        self.found: dict[str, str] = {"admin token": estate.admin_token, "viewer token": estate.viewer_token}
        for path in estate.secrets_directory.glob("*/versions/*/value"):
            self.found[f"API key {path.parent.parent.parent.name}"] = path.read_text().strip()
        self._lock = threading.Lock()
        create, sign_canary = estate.identity.api_keys.create, estate.identity.keys.sign_canary

        def created(*arguments: Any) -> Any:
            key, value = create(*arguments)
            self._keep(f"new API key {key['id']}", value)
            return key, value

        def signed(kid: str, claims: dict[str, Any]) -> str:
            token = sign_canary(kid, claims)
            # Head and body hold what is public anyway; what opens something is the signature.
            self._keep(f"canary {len(self.found)}", token.rsplit(".", 1)[1])
            return token

        estate.identity.api_keys.create = created  # type: ignore[method-assign]  # overheard, not changed
        estate.identity.keys.sign_canary = signed  # type: ignore[method-assign]  # overheard, not changed

    def _keep(self, name: str, value: str) -> None:
        with self._lock:
            self.found[name] = value


def test_no_secret_leaves_its_place(open_town: TownOpener, tmp_path: Path) -> None:
    """A bot with all its logs on, both credentials, every call failing in three ways before it works."""
    ground = tmp_path / "estate"
    ground.mkdir(mode=0o700)
    (ground / "admin-token").write_text(MARKED)
    (ground / "admin-token").chmod(0o600)
    town = open_town(estate={**BRISK, "directory": ground}, begin=False)
    assert town.estate.admin_token == MARKED
    treasury = Treasury(town.estate)
    bot = town.run("serve", KEYTURN_LOG_LEVEL="debug").wait_ready()
    town.workspace.wait_connected()
    numbers = [town.start("alice"), town.start("dave", "billing-api-key")]
    faults = []
    for path, method in PATHS:
        faults.append(town.estate.identity.faults.add("status", path, method, times=1, status=401))
        faults += [town.estate.identity.faults.add(kind, path, method, times=1) for kind in KINDS]
    for number in numbers:
        town.approve(number)
    seen: dict[str, bytes] = {}
    for number in numbers:
        _push(town, number, bot, seen)
    unfired = [fault.describe() for fault in faults if not fault.fired]
    assert not unfired, unfired
    assert sum(name.startswith("canary") for name in treasury.found) >= 6
    assert sum(name.startswith("new API key") for name in treasury.found) >= 1
    told = {name: value for name, value in treasury.found.items()} | _tokens_of_slack(town)
    sinks = _sinks(town, bot) | seen
    assert b"slack_sdk" in sinks["the log"], "nothing was logged at the level debug"
    assert b"identity-signing" in sinks["keyturn.db"] + sinks["keyturn.db-wal"]
    assert list(leaks(told, sinks)) == []


def _tokens_of_slack(town: Town) -> dict[str, str]:
    workspace = town.workspace
    return {
        "bot token": workspace.bot_token,
        "app token": workspace.app_token,
        "signing secret": workspace.signing_secret,
    }


def _push(town: Town, number: int, bot: Process, seen: dict[str, bytes]) -> None:
    """Try again whenever it is held or backs off, until the end."""
    deadline = time.monotonic() + 150
    while not (rotation := town.rotation(number)).is_over:
        assert time.monotonic() < deadline, town.tell(number)
        assert rotation.current is not None
        run = rotation.steps[rotation.current]
        if held(rotation) or (run.stage is Stage.WAITING and run.failures):
            seen[f"metrics while {rotation.id} is {rotation.state} at version {rotation.version}"] = _metrics(bot)
            town.type(("erin", "carol", "bob", "alice")[rotation.version % 4], f"retry R-{number}")
        time.sleep(0.15)
    assert rotation.overlap is Overlap.RETIRED, town.tell(number)


def _metrics(bot: Process) -> bytes:
    with urllib.request.urlopen(f"{bot.url}/metrics", timeout=5) as answer:
        body: bytes = answer.read()
    return body


def _sinks(town: Town, bot: Process) -> dict[str, bytes]:
    """Every place outside of the stores that the bot writes to or shows."""
    calls = [(call.method, call.arguments) for call in town.workspace.calls]
    process = Path(f"/proc/{bot.popen.pid}")
    found = {
        "the log": bot.log.read_bytes(),
        "Slack": repr(calls).encode() + json.dumps([arguments for _, arguments in calls], default=str).encode(),
        "the arguments": (process / "cmdline").read_bytes(),
        "the metrics": _metrics(bot),
        "the audit": town.keyturn("audit", "export").stdout.encode(),
        "the history": town.keyturn("run", "history identity-signing", "--json").stdout.encode(),
    }
    return found | {path.name: path.read_bytes() for path in town.folder.glob("keyturn.db*") if path.is_file()}
