"""Signed HTTP delivery to a Bolt app: signatures, forms and JSON, url_verification, retries."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from endpoint import Endpoint, bolt
from sample_app import card
from slack_sdk.signature import SignatureVerifier

from playground.workspace import Workspace


@pytest.fixture
def ws(start: Callable[..., Workspace], endpoint: Endpoint) -> Workspace:
    return start(request_url=endpoint.url)


def test_bolt_accepts_the_signatures(ws: Workspace, endpoint: Endpoint) -> None:
    app = bolt(ws, endpoint)
    app.command("/rotate")(lambda ack, command: ack(f"heard {command['text']}"))
    app.action("rotate:reject")(lambda ack, respond: (ack(), respond("no")))
    app.event("app_mention")(lambda say: say("hello"))
    assert ws.verify_request_url()
    assert ws.type("alice", "ops", "/rotate help").acked
    assert [one.text for one in ws.ephemerals("alice")] == ["heard help"]
    app.client.chat_postMessage(channel="C0OPS", text="card", blocks=card())
    ws.click("alice", ws.messages("ops")[0], "rotate:reject")
    ws.wait_for(lambda: [one for one in ws.ephemerals("alice") if one.text == "no"])
    ws.say("bob", "ops", "@keyturn hi")
    ws.wait_for(lambda: [one for one in ws.messages("ops") if one.text == "hello"])
    assert ws.complaints == []


def test_the_signature_covers_the_body(ws: Workspace, endpoint: Endpoint) -> None:
    ws.type("alice", "ops", "/rotate help")
    headers, body = endpoint.requests[-1]
    verifier = SignatureVerifier(ws.signing_secret)
    assert verifier.is_valid_request(body, headers)
    assert not verifier.is_valid_request(body + b"x", headers)
    assert not SignatureVerifier("another").is_valid_request(body, headers)
    assert headers["content-type"] == "application/x-www-form-urlencoded"


def test_events_are_json_and_tried_again(ws: Workspace, endpoint: Endpoint) -> None:
    statuses = [500, 500, 200]
    endpoint.answer = lambda headers, body: (statuses.pop(0), {}, "")
    ws.say("alice", "ops", "@keyturn hello")
    delivery = ws.deliveries[-1].wait()
    assert delivery.acked
    assert [headers.get("x-slack-retry-num") for headers, _ in endpoint.requests] == [None, "1", "2"]
    assert endpoint.requests[1][0]["x-slack-retry-reason"] == "http_error"
    assert json.loads(endpoint.requests[0][1])["event"]["type"] == "app_mention"


def test_an_app_can_ask_for_no_more_attempts(ws: Workspace, endpoint: Endpoint) -> None:
    endpoint.answer = lambda headers, body: (500, {"x-slack-no-retry": "1"}, "")
    ws.say("alice", "ops", "@keyturn hello")
    assert ws.deliveries[-1].wait().error == "no_retry"
    assert len(endpoint.requests) == 1


def test_errors_and_a_dead_endpoint_are_shown_to_the_person(ws: Workspace, endpoint: Endpoint) -> None:
    endpoint.answer = lambda headers, body: (500, {}, "")
    ws.type("alice", "ops", "/rotate help")
    assert ws.notices("alice") == ['/rotate failed with the error "http_service_error"']
    endpoint.close()
    ws.type("alice", "ops", "/rotate help")
    assert ws.notices("alice")[-1] == "/rotate failed because the app did not respond"
    assert not ws.verify_request_url()


def test_nothing_is_posted_while_slack_is_down(start: Callable[..., Workspace], endpoint: Endpoint) -> None:
    ws = start(request_url=endpoint.url, retry_delays=(0.5, 2.0, 5.0))
    ws.faults.down()
    assert ws.type("alice", "ops", "/rotate help").error == "not_connected"
    ws.say("alice", "ops", "@keyturn hello")
    delivery = ws.deliveries[-1]
    assert endpoint.requests == []
    ws.wait_for(lambda: delivery.attempts and delivery.attempts[0].error)
    ws.faults.up()
    assert delivery.wait().acked, "an event is tried again"
    assert endpoint.requests[0][0]["x-slack-retry-num"] == str(len(delivery.attempts) - 1)
