"""Block Kit's small parts: texts, options, confirm dialogs, and every element that goes into a block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from playground.workspace.shapes import (
    Check,
    Rule,
    Walk,
    choice,
    flag,
    kinds,
    many,
    matching,
    one_of_fields,
    shape,
    text,
    whole,
)


def plain(most: int) -> Check:
    """A plain_text object."""
    return kinds({"plain_text": shape({"type": text(20), "text": text(most)}, {"emoji": flag})}, "text object")


def words(most: int) -> Check:
    """A text object, plain_text or mrkdwn."""
    return kinds(
        {
            "plain_text": shape({"type": text(20), "text": text(most)}, {"emoji": flag}),
            "mrkdwn": shape({"type": text(20), "text": text(most)}, {"verbatim": flag}),
        },
        "text object",
    )


ID = text(255)
URL = matching(r"https?://\S{1,2990}|slack://\S+|mailto:\S+", "a URL of up to 3000 characters")
USER = matching(r"[UW][A-Z0-9]{2,}", "a user id")
CHANNEL = matching(r"[CDG][A-Z0-9]{2,}", "a channel id")
DATE = matching(r"\d{4}-\d\d-\d\d", "a date YYYY-MM-DD")
TIME = matching(r"([01]\d|2[0-3]):[0-5]\d", "a time HH:mm")

CONFIRM = shape(
    {"title": plain(100), "text": words(300), "confirm": plain(30), "deny": plain(30)},
    {"style": choice("primary", "danger")},
)
OPTION = shape({"text": plain(75), "value": text(150)}, {"description": plain(75)})
RICH_OPTION = shape({"text": words(75), "value": text(150)}, {"description": words(75)})
LINK_OPTION = shape({"text": plain(75), "value": text(150)}, {"description": plain(75), "url": URL})
OPTION_GROUP = shape({"label": plain(75), "options": many(OPTION, 1, 100)})
DISPATCH = shape({"trigger_actions_on": many(choice("on_enter_pressed", "on_character_entered"), 1, 2)})
FILTER = shape(
    {},
    {
        "include": many(choice("im", "mpim", "private", "public"), 1, 4),
        "exclude_external_shared_channels": flag,
        "exclude_bot_users": flag,
    },
)
SLACK_FILE = shape({}, {"id": text(255), "url": URL}, one_of_fields("id", "url"))


def options_of(element: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every option of an element, its groups flattened."""
    grouped = [option for group in element.get("option_groups") or () for option in group.get("options") or ()]
    return list(element.get("options") or ()) + grouped


def _known_initial(walk: Walk, value: Mapping[str, Any], at: str) -> None:
    """Initial options must be among the options, exactly; no two options share a value."""
    offered = options_of(value)
    initial = value.get("initial_options") or ([value["initial_option"]] if value.get("initial_option") else [])
    for one in initial:
        if one not in offered:
            walk.refuse("initial option must match one of the options exactly", at)
    values = [option["value"] for option in offered]
    if len(set(values)) != len(values):
        walk.refuse("option values must be unique", at)


def _bounded(low: str, high: str) -> Rule:
    def rule(walk: Walk, value: Mapping[str, Any], at: str) -> None:
        if value.get(low) is not None and value.get(high) is not None and float(value[low]) > float(value[high]):
            walk.refuse(f"{low} must not be greater than {high}", at)

    return rule


@dataclass(frozen=True)
class Element:
    """An element: its shape, the blocks that may hold it, and the key under which its state reports a choice."""

    check: Check
    where: frozenset[str]
    state: str = ""


ELEMENTS: dict[str, Element] = {}


def _element(
    kind: str,
    where: str,
    required: Mapping[str, Check] | None = None,
    optional: Mapping[str, Check] | None = None,
    *rules: Rule,
    state: str = "",
    input_like: bool = True,
) -> None:
    extra: dict[str, Check] = {"action_id": ID, "confirm": CONFIRM}
    if input_like:
        extra |= {"focus_on_load": flag, "placeholder": plain(150)}
    check = shape({"type": text(40), **(required or {})}, {**extra, **(optional or {})}, *rules)
    ELEMENTS[kind] = Element(check, frozenset(where.split()), state)


_ANYWHERE = "section actions input"
_STYLE = choice("primary", "danger")
_CHOICES = {"options": many(OPTION, 1, 100), "option_groups": many(OPTION_GROUP, 1, 100)}
_NUMBER = matching(r"-?\d+(\.\d+)?", "a number, as a string")

_element(
    "button",
    "section actions card",
    {"text": plain(75)},
    {
        "url": URL,
        "value": text(2000, 0),
        "style": _STYLE,
        "accessibility_label": text(75),
        "visible_to_user_ids": many(USER, 1, 100),
    },
    input_like=False,
)
_element(
    "icon_button",
    "context_actions",
    {"icon": text(50), "text": plain(75)},
    {"value": text(2000), "accessibility_label": text(75), "visible_to_user_ids": many(USER, 1, 100)},
    input_like=False,
)
_element("overflow", "section actions", {"options": many(LINK_OPTION, 2, 5)}, input_like=False)
_element(
    "static_select",
    _ANYWHERE,
    {},
    {**_CHOICES, "initial_option": OPTION},
    one_of_fields("options", "option_groups"),
    _known_initial,
    state="selected_option",
)
_element(
    "multi_static_select",
    "section input",
    {},
    {**_CHOICES, "initial_options": many(OPTION, 1, 100), "max_selected_items": whole(1, 100)},
    one_of_fields("options", "option_groups"),
    _known_initial,
    state="selected_options",
)
_element(
    "external_select",
    _ANYWHERE,
    {},
    {"initial_option": OPTION, "min_query_length": whole(0, 100)},
    state="selected_option",
)
_element(
    "multi_external_select",
    "section input",
    {},
    {"initial_options": many(OPTION, 1, 100), "min_query_length": whole(0, 100), "max_selected_items": whole(1, 100)},
    state="selected_options",
)
_element("users_select", _ANYWHERE, {}, {"initial_user": USER}, state="selected_user")
_element(
    "multi_users_select",
    "section input",
    {},
    {"initial_users": many(USER, 1, 100), "max_selected_items": whole(1, 100)},
    state="selected_users",
)
_element(
    "conversations_select",
    _ANYWHERE,
    {},
    {
        "initial_conversation": CHANNEL,
        "default_to_current_conversation": flag,
        "response_url_enabled": flag,
        "filter": FILTER,
    },
    state="selected_conversation",
)
_element(
    "multi_conversations_select",
    "section input",
    {},
    {
        "initial_conversations": many(CHANNEL, 1, 100),
        "default_to_current_conversation": flag,
        "max_selected_items": whole(1, 100),
        "filter": FILTER,
    },
    state="selected_conversations",
)
_element(
    "channels_select",
    _ANYWHERE,
    {},
    {"initial_channel": CHANNEL, "response_url_enabled": flag},
    state="selected_channel",
)
_element(
    "multi_channels_select",
    "section input",
    {},
    {"initial_channels": many(CHANNEL, 1, 100), "max_selected_items": whole(1, 100)},
    state="selected_channels",
)
_element("datepicker", _ANYWHERE, {}, {"initial_date": DATE}, state="selected_date")
_element("timepicker", _ANYWHERE, {}, {"initial_time": TIME, "timezone": text(100)}, state="selected_time")
_element(
    "datetimepicker",
    "actions input",
    {},
    {"initial_date_time": whole(1_000_000_000, 9_999_999_999)},
    state="selected_date_time",
)
_element(
    "checkboxes",
    _ANYWHERE,
    {"options": many(RICH_OPTION, 1, 10)},
    {"initial_options": many(RICH_OPTION, 1, 10)},
    _known_initial,
    state="selected_options",
)
_element(
    "radio_buttons",
    _ANYWHERE,
    {"options": many(RICH_OPTION, 1, 10)},
    {"initial_option": RICH_OPTION},
    _known_initial,
    state="selected_option",
)
_element(
    "plain_text_input",
    "input",
    {},
    {
        "initial_value": text(3000, 0),
        "multiline": flag,
        "min_length": whole(0, 3000),
        "max_length": whole(1, 3000),
        "dispatch_action_config": DISPATCH,
    },
    _bounded("min_length", "max_length"),
    state="value",
)
_element(
    "email_text_input", "input", {}, {"initial_value": text(255), "dispatch_action_config": DISPATCH}, state="value"
)
_element(
    "url_text_input", "input", {}, {"initial_value": text(3000), "dispatch_action_config": DISPATCH}, state="value"
)
_element(
    "number_input",
    "input",
    {"is_decimal_allowed": flag},
    {"initial_value": _NUMBER, "min_value": _NUMBER, "max_value": _NUMBER, "dispatch_action_config": DISPATCH},
    _bounded("min_value", "max_value"),
    state="value",
)

IMAGE_FIELDS: dict[str, Check] = {"image_url": URL, "slack_file": SLACK_FILE}
ELEMENTS["image"] = Element(
    shape({"type": text(20), "alt_text": text(2000)}, IMAGE_FIELDS, one_of_fields("image_url", "slack_file")),
    frozenset({"section", "context", "icon"}),
)


def element_in(block: str) -> Check:
    """An element that this kind of block may hold."""
    return kinds({kind: one.check for kind, one in ELEMENTS.items() if block in one.where}, f"element of {block}")
