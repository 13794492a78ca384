"""What a person enters: a value for an element, checked as Slack's own clients check it before they send anything."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from playground.workspace.elements import ELEMENTS
from playground.workspace.state import State

Json = dict[str, Any]
Offer = Callable[[Json], list[Json]]
"""The options that an element offers now; for external selects, what the app suggested."""


class NotAccepted(Exception):
    """Slack's client would not let the person do this; `errors` names the fields by block_id."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{block}: {text}" for block, text in errors.items()))
        self.errors = dict(errors)


def entry(state: State, element: Json, value: Any, offer: Offer) -> Json:
    """The state value of an element after a person entered `value`. Raises NotAccepted.

    Options may be named by their value or their text, people and channels by id or name.
    """
    kind, block_id = element["type"], element["block_id"]
    key = ELEMENTS[kind].state
    try:
        return {"type": kind, key: _value(state, element, value, offer)}
    except (KeyError, ValueError) as error:
        raise NotAccepted({block_id: str(error.args[0])}) from error


def _value(state: State, element: Json, value: Any, offer: Offer) -> Any:
    kind = element["type"]
    if value is None or value == "" or value == []:
        return [] if kind.startswith("multi_") or kind == "checkboxes" else None
    if kind.startswith("multi_") or kind == "checkboxes":
        several = value if isinstance(value, (list, tuple)) else [value]
        if len(several) > element.get("max_selected_items", math.inf):
            raise ValueError(f"no more than {element['max_selected_items']} can be chosen")
        return [_single(state, element, one, offer) for one in several]
    if kind in {"plain_text_input", "email_text_input", "url_text_input", "number_input"}:
        return _typed(element, str(value))
    return _single(state, element, value, offer)


def _single(state: State, element: Json, value: Any, offer: Offer) -> Any:
    kind = element["type"].removeprefix("multi_")
    if kind in {"static_select", "external_select", "radio_buttons", "checkboxes", "overflow"}:
        return _option(offer(element), value)
    if kind == "users_select":
        return state.user(str(value)).id
    if kind in {"conversations_select", "channels_select"}:
        return state.channel(str(value)).id
    if kind == "datepicker":
        return _matching(r"\d{4}-\d\d-\d\d", value, "a date")
    if kind == "timepicker":
        return _matching(r"([01]\d|2[0-3]):[0-5]\d", value, "a time")
    if kind == "datetimepicker":
        return int(value)
    raise ValueError(f"a {kind} takes no value")


def _option(offered: list[Json], value: Any) -> Json:
    wanted = value.get("value") if isinstance(value, dict) else value
    for option in offered:
        if wanted in {option["value"], option["text"]["text"]}:
            return option
    raise ValueError(f"{wanted} is not among the options")


def _matching(pattern: str, value: Any, what: str) -> str:
    if not re.fullmatch(pattern, str(value)):
        raise ValueError(f"{value} is not {what}")
    return str(value)


def _typed(element: Json, text: str) -> str:
    kind = element["type"]
    if kind == "plain_text_input":
        if len(text) < element.get("min_length", 0):
            raise ValueError(f"Please enter at least {element['min_length']} characters.")
        if len(text) > element.get("max_length", 3000):
            raise ValueError(f"Please enter at most {element.get('max_length', 3000)} characters.")
    if kind == "email_text_input" and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text):
        raise ValueError("Please enter a valid email address.")
    if kind == "url_text_input" and not re.match(r"https?://\S+$", text):
        raise ValueError("Please enter a valid URL.")
    if kind == "number_input":
        pattern = r"-?\d+(\.\d+)?" if element["is_decimal_allowed"] else r"-?\d+"
        if not re.fullmatch(pattern, text):
            raise ValueError("Please enter a valid number.")
        if "min_value" in element and float(text) < float(element["min_value"]):
            raise ValueError(f"Please enter a number of at least {element['min_value']}.")
        if "max_value" in element and float(text) > float(element["max_value"]):
            raise ValueError(f"Please enter a number of at most {element['max_value']}.")
    return text


def is_empty(value: Json | None) -> bool:
    """Whether a state value holds nothing."""
    return value is None or all(one in (None, "", []) for name, one in value.items() if name != "type")


def named(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Values by their innermost names, from either way of giving them."""
    flat: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping) and "value" not in value:
            flat += list(value.items())
        else:
            flat.append((name, value))
    return flat
