"""Everything that can go wrong between Slack and the app, and how a Bolt app comes through it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.error import URLError

import pytest
from sample_app import Bot, web_client
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler

from playground.workspace import Workspace


def test_an_app_that_is_slow_or_absent_is_reported_to_the_person(
    ws: Workspace, make_bot: Callable[[Workspace], Bot]
) -> None:
    assert ws.type("alice", "ops", "/rotate help").error == "not_connected"
    assert ws.notices("alice") == ["/rotate failed because the app did not respond"]
    bot = make_bot(ws)
    bot.hold.clear()
    started = time.monotonic()
    assert ws.type("alice", "ops", "/rotate slow").error == "timeout"
    assert time.monotonic() - started > 2.9
    assert ws.notices("alice")[-1] == '/rotate failed with the error "operation_timeout"'
    bot.hold.set()


def test_a_duplicate_has_the_same_envelope(ws: Workspace, bot: Bot) -> None:
    ws.faults.duplicate("/rotate")
    ws.type("alice", "ops", "/rotate help")
    ws.wait_for(lambda: len([body for body in bot.seen if body.get("command")]) == 2)
    first, second = [body for body in bot.seen if body.get("command")]
    assert first["trigger_id"] == second["trigger_id"]
    ws.type("alice", "ops", "/rotate help")
    assert len([body for body in bot.seen if body.get("command")]) == 3


def test_late_and_reordered_deliveries(ws: Workspace, bot: Bot) -> None:
    ws.faults.delay(0.3, "/rotate")
    started = time.monotonic()
    assert ws.type("alice", "ops", "/rotate one").acked
    assert time.monotonic() - started >= 0.3
    ws.faults.reorder(2, "/rotate")
    both = [ws.type("alice", "ops", f"/rotate {word}", wait=False) for word in ("two", "three")]
    assert all(one.wait().acked for one in both)
    assert sorted(both, key=lambda one: one.attempts[0].acked_at or 0)[0] is both[1]


def test_a_lost_acknowledgement_brings_the_event_again_with_its_number(ws: Workspace, bot: Bot) -> None:
    numbers: list[Any] = []

    def note(request: Any, next: Callable[[], None]) -> None:
        numbers.append(request.headers.get("x-slack-retry-num"))
        next()

    bot.app.middleware(note)
    ws.faults.lose_ack("app_mention", times=2)
    said = ws.say("alice", "ops", "@keyturn hello")
    ws.wait_for(lambda: [one for one in ws.deliveries if one.type == "app_mention" and one.acked])
    (delivery,) = [one for one in ws.deliveries if one.type == "app_mention"]
    assert [attempt.error for attempt in delivery.attempts] == ["timeout", "timeout", ""]
    assert numbers == [["0"], ["1"], ["2"]]
    assert len({attempt.envelope_id for attempt in delivery.attempts}) == 3
    assert len({body["event_id"] for body in bot.of_type("app_mention")}) == 1
    ws.wait_for(lambda: len(ws.thread("ops", said.ts)) == 3)


def test_a_socket_that_dies_before_the_acknowledgement(ws: Workspace, bot: Bot) -> None:
    ws.faults.drop_before_ack("app_mention")
    ws.say("alice", "ops", "@keyturn hello")
    ws.wait_for(lambda: [one for one in ws.deliveries if one.type == "app_mention" and one.done.done()], 15)
    (delivery,) = [one for one in ws.deliveries if one.type == "app_mention"]
    assert delivery.attempts[0].error == "socket_closed"


def test_dropped_and_recycled_sockets_are_replaced(ws: Workspace, bot: Bot) -> None:
    ws.faults.recycle_sockets("warning")
    ws.wait_for(lambda: len(ws.calls_to("apps.connections.open")) == 2, 10)
    ws.wait_for(lambda: [one.leaving for one in ws.sockets.sockets] == [False], 10)
    assert ws.type("alice", "ops", "/rotate help").acked
    ws.faults.drop_sockets()
    ws.wait_for(lambda: len(ws.calls_to("apps.connections.open")) == 3, 10)
    ws.wait_connected()
    assert ws.type("alice", "ops", "/rotate help").acked
    assert ws.complaints == []


def test_a_frozen_socket_takes_nothing(ws: Workspace, bot: Bot) -> None:
    ws.faults.freeze_sockets()
    assert ws.type("alice", "ops", "/rotate help").error in {"timeout", "socket_closed"}
    assert [body for body in bot.seen if body.get("command")] == []


def test_each_payload_goes_to_one_of_several_sockets(ws: Workspace, make_bot: Callable[[Workspace], Bot]) -> None:
    bots = [make_bot(ws), make_bot(ws)]
    ws.wait_connected(2)
    for number in range(6):
        ws.type("alice", "ops", f"/rotate {number}")
    shares = Counter(index for index, bot in enumerate(bots) for body in bot.seen if body.get("command"))
    assert shares == {0: 3, 1: 3}


def test_spoiled_web_api_calls(ws: Workspace, client: WebClient) -> None:
    ws.faults.web("chat.postMessage", error="internal_error")
    with pytest.raises(SlackApiError, match="internal_error"):
        client.chat_postMessage(channel="C0OPS", text="one")
    ws.faults.web("chat.postMessage", status=503)
    with pytest.raises(SlackApiError, match="upstream trouble"):
        client.chat_postMessage(channel="C0OPS", text="two")
    ws.faults.web("*", status=429, retry_after=7)
    with pytest.raises(SlackApiError) as failure:
        client.auth_test()
    assert failure.value.response.headers["retry-after"] == "7"
    assert ws.messages("ops") == []
    patient = web_client(ws)
    patient.retry_handlers.append(RateLimitErrorRetryHandler(max_retry_count=1))
    ws.faults.web("chat.postMessage", status=429, retry_after=1)
    assert patient.chat_postMessage(channel="C0OPS", text="three")["ok"]


def test_a_cut_connection_leaves_the_work_undone_or_done(ws: Workspace, client: WebClient) -> None:
    client.retry_handlers.clear()
    ws.faults.web("chat.postMessage", cut="before")
    with pytest.raises((URLError, ConnectionError, OSError)):
        client.chat_postMessage(channel="C0OPS", text="never said")
    assert ws.messages("ops") == []
    ws.faults.web("chat.postMessage", cut="after")
    with pytest.raises((URLError, ConnectionError, OSError)):
        client.chat_postMessage(channel="C0OPS", text="said")
    assert [one.text for one in ws.messages("ops")] == ["said"]


def test_a_call_that_hangs(ws: Workspace, client: WebClient) -> None:
    ws.faults.web("auth.test", hang=30)
    client.timeout = 1
    client.retry_handlers.clear()
    with pytest.raises((URLError, TimeoutError)):
        client.auth_test()


@pytest.mark.parametrize("how", ["503", "cut"])
def test_the_whole_of_slack_goes_down_and_comes_back(ws: Workspace, bot: Bot, how: Any) -> None:
    ws.faults.down(how)
    ws.wait_for(lambda: not ws.sockets.sockets)
    with pytest.raises((SlackApiError, URLError, OSError)):
        web_client(ws).auth_test()
    ws.faults.up()
    ws.wait_connected(timeout=15)
    assert ws.type("alice", "ops", "/rotate help").acked


def test_waiting_is_woken_by_changes_and_tells_what_it_saw(ws: Workspace) -> None:
    timer = threading.Timer(0.1, lambda: ws.say("alice", "ops", "at last"))
    timer.start()
    assert ws.wait_for(lambda: ws.messages("ops"), 5)[0].text == "at last"
    with pytest.raises(TimeoutError, match="at last"):
        ws.wait_for(lambda: ws.messages("security"), 0.1, "a word in security")
