"""Many at once: two hundred clicks in one moment, one person who types without end, threads that begin together."""

from __future__ import annotations

import threading

import pytest
from sample_app import Bot, card, web_client

from playground.workspace import Workspace, together


def test_two_hundred_people_click_at_once(ws: Workspace, bot: Bot) -> None:
    people = ws.add_people(200, channels=["ops"], groups=["platform"])
    assert len(web_client(ws).usergroups_users_list(usergroup="S0PLATFORM")["users"]) == 203
    ts = web_client(ws).chat_postMessage(channel="C0OPS", text="asks", blocks=card())["ts"]
    rush = ws.crowd.click(people, ts, "rotate:reject")
    bodies = bot.of_type("block_actions")
    assert len(rush.deliveries) == 200
    assert rush.acked + sum(rush.errors.values()) == 200
    assert {body["user"]["id"] for body in bodies} == {delivery.user for delivery in rush.deliveries}
    first_ack = min(one.attempts[0].acked_at or 1e12 for one in rush.deliveries)
    under_way = [one for one in rush.deliveries if one.attempts[0].at <= first_ack]
    assert len(under_way) > 100, "they do not wait for one another"


def test_one_person_types_without_end(ws: Workspace, bot: Bot) -> None:
    rush = ws.crowd.type("alice", "ops", lambda number: f"/rotate help {number}", 1000)
    assert rush.acked == 1000, rush.errors
    assert 0 < rush.ack(0.5) <= rush.ack(0.99) <= rush.ack() < 3
    assert len({body["text"] for body in bot.seen if body.get("command")}) == 1000
    assert rush.seconds < 60


def test_commands_can_be_spread_evenly(ws: Workspace, bot: Bot) -> None:
    rush = ws.crowd.type("alice", "ops", "/rotate help", 10, per_second=50)
    assert rush.acked == 10
    assert rush.seconds >= 9 / 50


def test_without_the_app_nothing_is_acknowledged(ws: Workspace) -> None:
    rush = ws.crowd.type("alice", "ops", "/rotate help", 5)
    assert (rush.acked, rush.errors, rush.ack()) == (0, {"not_connected": 5}, float("inf"))


def test_together_begins_at_once_and_tells_what_came() -> None:
    inside = threading.Barrier(8, timeout=5)

    def meet(number: int) -> int:
        inside.wait()
        return number

    assert together(*[lambda number=number: meet(number) for number in range(8)]) == list(range(8))
    with pytest.raises(ZeroDivisionError):
        together(lambda: 1, lambda: 1 // 0)
