"""Block Kit's limits, one by one, and what a full example of everything passes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from playground.workspace.blocks import check_blocks, check_view, too_large, weight

Json = dict[str, Any]


def plain(text: str) -> Json:
    return {"type": "plain_text", "text": text}


def mrkdwn(text: str) -> Json:
    return {"type": "mrkdwn", "text": text}


def option(value: str, text: str = "Option") -> Json:
    return {"text": plain(text), "value": value}


def button(**more: Any) -> Json:
    return {"type": "button", "action_id": "go", "text": plain("Go"), **more}


def section(**more: Any) -> Json:
    return {"type": "section", "text": mrkdwn("words"), **more}


def actions(*elements: Json) -> Json:
    return {"type": "actions", "elements": list(elements)}


def select(**more: Any) -> Json:
    return {"type": "static_select", "action_id": "pick", "options": [option("a"), option("b")], **more}


def field(element: Json, **more: Any) -> Json:
    return {"type": "input", "block_id": "in", "label": plain("Label"), "element": element, **more}


TEXT = {"type": "plain_text_input", "action_id": "text"}
CONFIRM = {"title": plain("Sure?"), "text": plain("Really"), "confirm": plain("Yes"), "deny": plain("No")}
RICH = {
    "type": "rich_text",
    "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": "x", "style": {"bold": True}}]}],
}
GOOD = [
    section(accessory=button(confirm=CONFIRM, style="danger", visible_to_user_ids=["U0BOB"])),
    section(fields=[mrkdwn("a"), plain("b")]),
    {"type": "header", "text": plain("Head")},
    {"type": "divider"},
    {
        "type": "context",
        "elements": [mrkdwn("a"), {"type": "image", "image_url": "https://x.example/a", "alt_text": "a"}],
    },
    actions(button(), {**button(), "action_id": "other"}, select()),
    {"type": "image", "image_url": "https://x.example/a.png", "alt_text": "a"},
    {"type": "markdown", "text": "**bold**"},
    RICH,
    {"type": "table", "rows": [[{"type": "raw_text", "text": "a"}, {"type": "raw_number", "value": 1}]]},
    {"type": "card", "title": mrkdwn("t"), "actions": [button()]},
    {"type": "carousel", "elements": [{"type": "card", "title": mrkdwn("t")}]},
    {"type": "container", "title": plain("t"), "child_blocks": [section()], "is_collapsible": True},
    {
        "type": "plan",
        "title": "p",
        "tasks": [{"type": "task_card", "task_id": "1", "title": "t", "status": "complete"}],
    },
    field(TEXT),
]

BAD_MESSAGES = [
    ("an unknown block", [{"type": "sections"}], "unsupported type: sections", "/blocks/0/type"),
    ("no type", [{}], "missing required field: type", "/blocks/0"),
    ("an unknown field", [section(colour="red")], "invalid additional property: colour", "/blocks/0"),
    ("an empty section", [{"type": "section"}], "at least one of `text`", "/blocks/0"),
    ("a long section", [section(text=mrkdwn("x" * 3001))], "less than 3001", "/blocks/0/text/text"),
    ("an empty text", [section(text=mrkdwn(""))], "more than 0", "/blocks/0/text/text"),
    ("eleven fields", [section(fields=[mrkdwn("x")] * 11)], "no more than 10", "/blocks/0/fields"),
    ("a long field", [section(fields=[mrkdwn("x" * 2001)])], "less than 2001", "/blocks/0/fields/0/text"),
    (
        "mrkdwn in a header",
        [{"type": "header", "text": mrkdwn("x")}],
        "unsupported type: mrkdwn",
        "/blocks/0/text/type",
    ),
    ("a long header", [{"type": "header", "text": plain("x" * 151)}], "less than 151", "/blocks/0/text/text"),
    (
        "eleven in a context",
        [{"type": "context", "elements": [mrkdwn("x")] * 11}],
        "no more than 10",
        "/blocks/0/elements",
    ),
    (
        "26 actions",
        [actions(*[{**button(), "action_id": str(n)} for n in range(26)])],
        "no more than 25",
        "/blocks/0/elements",
    ),
    ("no actions", [actions()], "at least 1", "/blocks/0/elements"),
    ("a long button", [actions(button(text=plain("x" * 76)))], "less than 76", "/blocks/0/elements/0/text/text"),
    ("a long value", [actions(button(value="x" * 2001))], "less than 2001", "/blocks/0/elements/0/value"),
    ("a long action id", [actions(button(action_id="x" * 256))], "less than 256", "/blocks/0/elements/0/action_id"),
    ("a long label", [actions(button(accessibility_label="x" * 76))], "less than 76", "/blocks/0/elements/0"),
    ("a gold button", [actions(button(style="gold"))], "valid enum value", "/blocks/0/elements/0/style"),
    ("a script for a link", [actions(button(url="javascript:alert(1)"))], "a URL", "/blocks/0/elements/0/url"),
    ("the same action twice", [actions(button(), button())], "already exists", "/blocks/0"),
    ("the same block id twice", [section(block_id="a"), section(block_id="a")], "block_id a already exists", "/blocks"),
    ("one option in a menu", [actions({"type": "overflow", "options": [option("a")]})], "at least 2", "/blocks/0"),
    (
        "six options in a menu",
        [actions({"type": "overflow", "options": [option(str(n)) for n in range(6)]})],
        "no more than 5",
        "/blocks/0",
    ),
    ("101 options", [actions(select(options=[option(str(n)) for n in range(101)]))], "no more than 100", "/blocks/0"),
    (
        "options and groups",
        [actions(select(option_groups=[{"label": plain("g"), "options": [option("a")]}]))],
        "either",
        "/blocks/0",
    ),
    ("a strange initial option", [actions(select(initial_option=option("z")))], "match one of", "/blocks/0"),
    ("two options of one value", [actions(select(options=[option("a"), option("a")]))], "unique", "/blocks/0"),
    ("a long option", [actions(select(options=[option("a", "x" * 76)]))], "less than 76", "/blocks/0"),
    ("a long option value", [actions(select(options=[option("x" * 151)]))], "less than 151", "/blocks/0"),
    ("a long confirm", [actions(button(confirm={**CONFIRM, "title": plain("x" * 101)}))], "less than 101", "/blocks/0"),
    (
        "no alt text",
        [{"type": "image", "image_url": "https://x.example"}],
        "missing required field: alt_text",
        "/blocks/0",
    ),
    (
        "two image sources",
        [{"type": "image", "alt_text": "a", "image_url": "https://x.example", "slack_file": {"id": "F1"}}],
        "either",
        "/blocks/0",
    ),
    ("two tables", [GOOD[9], copy.deepcopy(GOOD[9])], "only_one_table_allowed", "/blocks"),
    (
        "101 rows",
        [{"type": "table", "rows": [[{"type": "raw_text", "text": "a"}]] * 101}],
        "no more than 100",
        "/blocks/0/rows",
    ),
    (
        "21 cells",
        [{"type": "table", "rows": [[{"type": "raw_text", "text": "a"}] * 21]}],
        "no more than 20",
        "/blocks/0/rows",
    ),
    ("two long markdowns", [{"type": "markdown", "text": "x" * 7000}] * 2, "less than 12001", "/blocks"),
    ("an alert in a message", [{"type": "alert", "text": plain("x")}], "unsupported type: alert", "/blocks/0/type"),
    ("a text input in actions", [actions(TEXT)], "unsupported type: plain_text_input", "/blocks/0/elements/0/type"),
    ("a button in an input", [field(button())], "unsupported type: button", "/blocks/0/element/type"),
    (
        "a title in a collapsed container",
        [{"type": "container", "child_blocks": [section()]}],
        "at least one of",
        "/blocks/0",
    ),
    ("a bad date", [actions({"type": "datepicker", "initial_date": "21.11.2026"})], "a date", "/blocks/0"),
    ("51 blocks", [{"type": "divider"}] * 51, "no more than 50", "/blocks"),
    ("no array", {"type": "divider"}, "must be an array", "/blocks"),
    (
        "an unknown state of a task",
        [{"type": "task_card", "task_id": "1", "title": "t", "status": "odd"}],
        "valid enum",
        "/blocks/0",
    ),
    (
        "a rich text of nothing known",
        [{"type": "rich_text", "elements": [{"type": "rich_text_poem"}]}],
        "unsupported",
        "/blocks/0",
    ),
]


def test_everything_good_passes() -> None:
    assert check_blocks(GOOD, "message") == []


@pytest.mark.parametrize(
    ("blocks", "message", "pointer"), [case[1:] for case in BAD_MESSAGES], ids=[c[0] for c in BAD_MESSAGES]
)
def test_refused_in_messages(blocks: Any, message: str, pointer: str) -> None:
    problems = check_blocks(blocks, "message")
    assert any(message in one.message and one.pointer.startswith(pointer) for one in problems), problems


def modal(**more: Any) -> Json:
    return {"type": "modal", "title": plain("Title"), "submit": plain("Go"), "blocks": [field(TEXT)], **more}


BAD_VIEWS = [
    ("a long title", modal(title=plain("x" * 25)), "less than 25", "/view/title"),
    ("a long submit", modal(submit=plain("x" * 25)), "less than 25", "/view/submit"),
    ("no title", {"type": "modal", "blocks": []}, "missing required field: title", "/view"),
    ("an input without submit", {**modal(), "submit": None}, "`submit` is required", "/view"),
    ("much metadata", modal(private_metadata="x" * 3001), "less than 3001", "/view/private_metadata"),
    ("a long callback id", modal(callback_id="x" * 256), "less than 256", "/view/callback_id"),
    ("101 blocks", modal(blocks=[{"type": "divider"}] * 101), "no more than 100", "/view/blocks"),
    ("a message's block", modal(blocks=[GOOD[9]]), "unsupported type: table", "/view/blocks/0"),
    ("an unknown field", modal(state={}), "invalid additional property: state", "/view"),
    ("no view type", {"title": plain("x")}, "missing required field: type", "/view"),
    (
        "bounds of an input",
        modal(blocks=[field({**TEXT, "min_length": 9, "max_length": 3})]),
        "min_length",
        "/view/blocks/0",
    ),
    ("a long hint", modal(blocks=[field(TEXT, hint=plain("x" * 2001))]), "less than 2001", "/view/blocks/0/hint"),
    ("a long placeholder", modal(blocks=[field({**TEXT, "placeholder": plain("x" * 151)})]), "less than 151", "/view"),
    (
        "11 radio buttons",
        modal(blocks=[field({"type": "radio_buttons", "options": [option(str(n)) for n in range(11)]})]),
        "no more than 10",
        "/view",
    ),
]


@pytest.mark.parametrize(
    ("view", "message", "pointer"), [case[1:] for case in BAD_VIEWS], ids=[c[0] for c in BAD_VIEWS]
)
def test_refused_in_views(view: Json, message: str, pointer: str) -> None:
    problems = check_view(view, "modal")
    assert any(message in one.message and one.pointer.startswith(pointer) for one in problems), problems


def test_good_views_pass_and_kinds_do_not_mix() -> None:
    assert (
        check_view(
            modal(blocks=[field(TEXT), {"type": "alert", "text": mrkdwn("careful"), "level": "warning"}]), "modal"
        )
        == []
    )
    assert check_view({"type": "home", "blocks": [section()]}, "home") == []
    assert check_view({"type": "home", "blocks": []}, "modal")
    assert check_view({"type": "home", "title": plain("x"), "blocks": []}, "home")
    assert too_large(modal(blocks=[section(text=mrkdwn("é" * 2000))] * 90))
    assert not too_large(modal())


def test_the_whole_of_a_message_has_a_weight() -> None:
    assert weight([section(text=mrkdwn("x" * 3000))] * 4) < 13_200
    assert weight([section(text=mrkdwn("x" * 3000))] * 5) > 13_200


def test_slack_says_what_is_wrong(client: WebClient) -> None:
    with pytest.raises(SlackApiError) as failure:
        client.chat_postMessage(channel="C0OPS", text="x", blocks=[section(text=mrkdwn("x" * 3001)), {"type": "poem"}])
    assert failure.value.response["error"] == "invalid_blocks"
    assert failure.value.response["response_metadata"]["messages"] == [
        "[ERROR] must be less than 3001 characters [json-pointer:/blocks/0/text/text]",
        "[ERROR] unsupported type: poem [json-pointer:/blocks/1/type]",
    ]
    with pytest.raises(SlackApiError, match="msg_blocks_too_long"):
        client.chat_postMessage(channel="C0OPS", text="x", blocks=[section(text=mrkdwn("x" * 3000))] * 5)
    with pytest.raises(SlackApiError) as failure:
        client.blocks_validate(blocks=[{"type": "poem"}])
    assert failure.value.response["errors"][0]["pointer"] == "/0/type"
    assert client.blocks_validate(view=modal())["ok"]
    with pytest.raises(SlackApiError, match="invalid_arguments"):
        client.blocks_validate(blocks=[], view=modal())
