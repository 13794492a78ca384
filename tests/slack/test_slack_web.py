"""Requests over HTTP: only Slack's own run a handler; everything else is refused without a word, and counted."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import random
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.slack.conftest import House, Opener

PATH = "/slack/events"
Request = tuple[dict[str, str], bytes]


@pytest.fixture
def house(open_house: Opener) -> House:
    return open_house(transport="http", start=False)


def sign(house: House, body: bytes, moment: str) -> str:
    secret = house.workspace.signing_secret.encode()
    return "v0=" + hmac.new(secret, b"v0:" + moment.encode() + b":" + body, hashlib.sha256).hexdigest()


def send(house: House, body: bytes, headers: dict[str, str], method: str = "POST", path: str = PATH) -> int:
    """Through the WSGI application, as the server calls it; the status."""
    front = house.room.wsgi()
    assert front is not None
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "203.0.113.9",
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": headers.get("content-type", "application/x-www-form-urlencoded"),
        "wsgi.input": io.BytesIO(body),
        **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()},
    }
    seen: list[str] = []

    def start_response(status: str, _: Any, *__: Any) -> None:
        seen.append(status)

    b"".join(front(environ, start_response))
    return int(seen[-1].split()[0])


def command(house: House, text: str = "status", trigger: str = "1.2.3") -> bytes:
    return urlencode(
        {
            "team_id": "T0KEYTURN",
            "user_id": "U0BOB",
            "channel_id": "C0OPS",
            "command": "/rotate",
            "text": text,
            "trigger_id": trigger,
        }
    ).encode()


def signed(house: House, body: bytes, moment: str | None = None) -> dict[str, str]:
    moment = moment or str(int(time.time()))
    return {"x-slack-request-timestamp": moment, "x-slack-signature": sign(house, body, moment)}


def stored(house: House) -> int:
    with house.bot.database.engine.connect() as connection:
        return int(
            connection.exec_driver_sql(
                "SELECT (SELECT count(*) FROM intent) + (SELECT count(*) FROM audit)"
            ).scalar_one()
        )


def test_what_slack_signed_is_heard_and_a_replay_changes_nothing(house: House) -> None:
    house.room._identity.learn()
    body = command(house, 'start door-key --reason "x"')
    headers = signed(house, body)
    assert send(house, body, headers) == 200
    after = stored(house)
    assert send(house, body, headers) == 200
    assert stored(house) == after


@pytest.mark.parametrize(
    "change",
    [
        {"x-slack-request-timestamp": "yesterday"},
        {"x-slack-request-timestamp": ""},
        {"x-slack-request-timestamp": "-1"},
        {"x-slack-request-timestamp": "1" * 40},
        {"x-slack-request-timestamp": "١٢٣"},
        {"x-slack-signature": ""},
        {"x-slack-signature": "v0="},
        {"x-slack-signature": "v0=" + "0" * 64},
        {"x-slack-signature": "v1=" + "0" * 64},
        {"x-slack-signature": "v0=" + "ß" * 64},
    ],
)
def test_a_header_that_is_not_slacks_is_401(house: House, change: dict[str, str]) -> None:
    body = command(house)
    before = stored(house)
    assert send(house, body, {**signed(house, body), **change}) == 401
    assert stored(house) == before


@pytest.mark.parametrize("age", [301, 86_400, -61, -86_400])
def test_the_past_and_the_future_are_401(house: House, age: int) -> None:
    body = command(house)
    assert send(house, body, signed(house, body, str(int(time.time()) - age))) == 401


def test_other_methods_paths_and_sizes(house: House) -> None:
    body = command(house)
    assert send(house, body, signed(house, body), method="GET") == 405
    assert send(house, body, signed(house, body), path="/slack/other") == 404
    large = b"x" * 1_048_577
    assert send(house, large, signed(house, large)) == 413


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"payload=%7B", "application/x-www-form-urlencoded"),
        (b"payload=[]", "application/x-www-form-urlencoded"),
        (b"", "application/x-www-form-urlencoded"),
        (b'{"type": "event_callback"}', "application/json"),
    ],
)
def test_signed_nonsense_is_no_error_of_ours(house: House, body: bytes, kind: str) -> None:
    house.room._identity.learn()
    before = stored(house)
    assert send(house, body, {**signed(house, body), "content-type": kind}) < 500
    assert stored(house) == before


def test_slacks_handshake_is_answered(house: House) -> None:
    house.room._identity.learn()
    body = json.dumps({"type": "url_verification", "challenge": "abc", "token": "t"}).encode()
    assert send(house, body, {**signed(house, body), "content-type": "application/json"}) == 200


def mutate(request: Request, dice: random.Random) -> Request:
    """Change the headers or the body somehow."""
    headers, body = dict(request[0]), bytearray(request[1])
    moments = ["", "x", "1e9", " 1", "0x1", "nan", "9" * 99]
    tricks: list[Callable[[], object]] = [
        lambda: body.__setitem__(dice.randrange(len(body)), dice.randrange(256)),
        lambda: body.insert(dice.randrange(len(body)), dice.randrange(256)),
        lambda: body.pop(dice.randrange(len(body))),
        lambda: headers.update(
            {"x-slack-signature": headers["x-slack-signature"][:-1] + dice.choice("0123456789abcdefg")}
        ),
        lambda: headers.update({"x-slack-request-timestamp": str(int(time.time()) - dice.randrange(-9999, 9999))}),
        lambda: headers.update({"x-slack-request-timestamp": dice.choice(moments)}),
        lambda: headers.pop(dice.choice(sorted(headers))),
    ]
    dice.choice(tricks)()
    return headers, bytes(body)


def test_twenty_thousand_forged_requests_run_nothing_and_break_nothing(house: House) -> None:
    dice = random.Random(20261121)
    body = command(house, "approve R-1")
    original = (signed(house, body), body)
    before = stored(house)
    statuses = set()
    tried = 0
    for _ in range(20_000):
        headers, changed = mutate(original, dice)
        if (headers, changed) == original:
            continue
        tried += 1
        statuses.add(send(house, changed, headers))
    assert statuses == {401}
    assert stored(house) == before
    house.room.stop()
    rows = [one for one in house.audit() if one[0] == "intent.flood"]
    assert rows == [("intent.flood", "http:203.0.113.9")]
    assert tried > 19_000
