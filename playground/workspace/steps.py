"""Steps of workflows as the manifest declares them: what may go in, and what has to come out."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from playground.workspace.forms import NotAccepted
from playground.workspace.seed import User

Json = dict[str, Any]
USER_CONTEXT = "slack#/types/user_context"
OPTIONS = "slack#/types/options_select"
MOST_OPTIONS = 100


def read_inputs(declared: Json, given: Mapping[str, str], user: User | None) -> Iterator[tuple[str, Any]]:
    """The inputs of a run. Who runs it is filled in here, and cannot be given. Raises NotAccepted."""
    parameters: Json = declared.get("input_parameters") or {}
    if strange := set(given) - {name for name, one in parameters.items() if one["type"] != USER_CONTEXT}:
        raise NotAccepted({name: "is no input that a builder can fill in" for name in strange})
    for name, one in parameters.items():
        if one["type"] == USER_CONTEXT:
            if user is not None:
                yield name, {"id": user.id, "secret": secrets.token_hex(8)}
        elif name in given:
            yield name, given[name]
        elif one.get("is_required"):
            raise NotAccepted({name: "is required"})


def wrong_outputs(declared: Json, outputs: Json) -> list[str]:
    """What is wrong with the outputs of a step that says it is done."""
    parameters: Json = declared.get("output_parameters") or {}
    problems = [f"{name} is not an output of this step" for name in outputs if name not in parameters]
    for name, one in parameters.items():
        if name not in outputs:
            problems += [f"{name} is missing"] if one.get("is_required") else []
        elif one["type"] == "string" and not isinstance(outputs[name], str):
            problems.append(f"{name} must be a string")
        elif one["type"] == OPTIONS and not _are_options(outputs[name]):
            problems.append(f"{name} must be at most {MOST_OPTIONS} options")
    return problems


def _are_options(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MOST_OPTIONS and all(_is_option(one) for one in value)


def _is_option(one: Any) -> bool:
    text = one.get("text") if isinstance(one, dict) else None
    if not isinstance(text, dict) or text.get("type") != "plain_text" or not isinstance(text.get("text"), str):
        return False
    return 0 < len(text["text"]) <= 75 and isinstance(one.get("value"), str) and len(one["value"]) <= 150
