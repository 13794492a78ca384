"""Reminders as Slack shows them: from ids, as the inventory stands when they are sent, inside Slack's limits."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest

from bot.contracts.inventory import Filters
from bot.slack.blocks import MOST_BLOCKS
from bot.slack.cards import Message
from bot.slack.reminders import draw, reminds
from bot.store.database import Database
from tests.engine.keeping_stage import DAY, MONDAY, PRODUCTION, Keep, declared


@pytest.fixture
def keep(sqlite_database: Database) -> Keep:
    return Keep(sqlite_database)


def drawn(keep: Keep, number: int = 0) -> Message:
    row = keep.notices()[number]
    assert reminds(row.payload)
    with keep.database.read() as reader:
        return draw(reader, row.payload, row.text)


def test_a_reminder_names_the_next_action(keep: Keep) -> None:
    keep.declare(declared("key"))
    keep.rotated("key", MONDAY - 60 * DAY)
    keep.turn()
    message = drawn(keep)
    buttons = [one for block in message.blocks if block["type"] == "actions" for one in block["elements"]]
    assert [(one["action_id"], one["value"]) for one in buttons] == [
        (f"credential:{word}", f"key@{PRODUCTION}") for word in ("start", "snooze", "not-mine", "plan")
    ]
    assert "key (production) is due on 2027-02-03" in message.text


def test_it_says_what_was_done_since_it_was_written(keep: Keep) -> None:
    keep.declare(declared("key"), declared("gone"))
    for name in ("key", "gone"):
        keep.rotated(name, MONDAY - 60 * DAY)
    keep.turn()
    keep.rotated("key")
    with keep.database.begin() as tx:
        tx.connection.exec_driver_sql("UPDATE credential SET removed_at = 1 WHERE name = 'gone'")
    keep.turn()
    said = json.dumps(drawn(keep).blocks)
    assert "was replaced meanwhile" in said
    assert "no longer in the inventory" in said


def test_hundreds_of_credentials_fit_into_one_message(keep: Keep) -> None:
    keep.declare(*(declared(f"key-{i:03}-{'x' * 50}") for i in range(300)))
    for i in range(300):
        keep.rotated(f"key-{i:03}-{'x' * 50}", MONDAY - 60 * DAY)
    keep.turn()
    message = drawn(keep)
    assert len(message.blocks) <= MOST_BLOCKS["message"]
    assert "300 credentials need a rotation" in json.dumps(message.blocks)
    assert "and 270 more: `/rotate list --owner alice --expiring" in json.dumps(message.blocks)
    assert all(len(block["text"]["text"]) <= 3000 for block in message.blocks if block["type"] == "section")


def test_the_lists_that_a_message_names_show_all_that_it_tells(keep: Keep) -> None:
    """Some of each owner's are left out of the message to the channel, and the last are due weeks after the first."""
    many = [declared(f"key-{i:03}", ("alice", "bob")[i % 2]) for i in range(80)]
    keep.declare(*many, declared("later", "alice"))
    for i, one in enumerate(many):
        keep.rotated(one.name, MONDAY - 88 * DAY - timedelta(minutes=i))
    keep.rotated("later", MONDAY - 62 * DAY)
    keep.turn()
    number, row = next((i, row) for i, row in enumerate(keep.notices()) if row.person == "@alice")
    words = json.dumps(drawn(keep, number).blocks)
    (ahead,) = re.findall(r"and 11 more: `/rotate list --owner alice --expiring (\d+)d`", words)
    filters = Filters(within=int(ahead) * DAY, owner="alice")
    found = {one.name for one in keep.desk.search(keep.call(), filters, limit=100).rows}
    assert found == {name for name, _, _ in keep.told()} - {one.name for one in many if one.owner == "bob"}
    assert "later" in found
    assert row.payload["reminder"]["count"] == 41
    (channel,) = [i for i, one in enumerate(keep.notices()) if one.channel == "C0TEAM"]
    shared = json.dumps(drawn(keep, channel).blocks)
    assert re.search(r"--owner alice --expiring \d+d` and `/rotate list --owner bob --expiring \d+d`", shared)


def test_what_is_merged_into_a_message_is_in_its_lists_too(keep: Keep) -> None:
    keep.declare(*(declared(f"key-{i:03}") for i in range(40)), declared("last"))
    for i in range(40):
        keep.rotated(f"key-{i:03}", MONDAY - 60 * DAY)
    keep.rotated("last", MONDAY - 59 * DAY)
    keep.turn()
    keep.pass_days(1)
    (row,) = keep.notices()
    assert row.payload["reminder"]["count"] == 41
    (ahead,) = re.findall(
        r"and 11 more: `/rotate list --owner alice --expiring (\d+)d`", json.dumps(drawn(keep).blocks)
    )
    filters = Filters(within=int(ahead) * DAY, owner="alice")
    assert "last" in {one.name for one in keep.desk.search(keep.call(), filters, limit=100).rows}


def test_markup_of_a_name_stays_text(keep: Keep) -> None:
    keep.declare(declared("key", owner="<!channel>"))
    keep.rotated("key", MONDAY - 60 * DAY)
    keep.turn()
    assert "<!channel>" not in json.dumps(drawn(keep).blocks)


@pytest.mark.parametrize("broken", [{}, {"items": 7}, {"items": [{}], "count": "x"}, {"items": [{"credential": 1}]}])
def test_what_cannot_be_read_is_said_by_its_text(keep: Keep, broken: dict[str, object]) -> None:
    with keep.database.read() as reader:
        message = draw(reader, {"reminder": broken}, "key is due")
    assert message.text == "key is due."


def test_a_digest_counts_and_lists(keep: Keep) -> None:
    keep.declare(declared("key"), declared("fine"))
    keep.rotated("key", MONDAY - 85 * DAY)
    keep.rotated("fine")
    keep.turn()
    keep.owners.turn()
    number = next(i for i, row in enumerate(keep.notices()) if row.key.startswith("digest-"))
    said = json.dumps(drawn(keep, number).blocks)
    assert "2 credentials, 2027-01" in said
    assert "1 soon" in said
    assert str((MONDAY + 5 * DAY + timedelta(0)).year) in said
