"""Block Kit, as strict as Slack: every block, the surfaces that take it, and the limits of messages and views."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from playground.workspace.elements import ID, IMAGE_FIELDS, URL, element_in, plain, words
from playground.workspace.rich import rich_text
from playground.workspace.shapes import (
    Check,
    Problem,
    Rule,
    Surface,
    Walk,
    any_of_fields,
    choice,
    flag,
    kinds,
    many,
    one_of_fields,
    shape,
    text,
)

MOST_BLOCKS: dict[Surface, int] = {"message": 50, "modal": 100, "home": 100}
MOST_CHARACTERS = 13_200
"""Of all blocks of a message together; beyond it Slack answers msg_blocks_too_long (measured, not documented)."""
BLOCK_WEIGHT = 16
"""What the container of one block or element counts towards MOST_CHARACTERS."""
MOST_VIEW_BYTES = 250_000
MOST_MARKDOWN = 12_000

_EVERYWHERE = frozenset[Surface]({"message", "modal", "home"})
_MESSAGES = frozenset[Surface]({"message"})
BLOCKS: dict[str, tuple[Check, frozenset[Surface]]] = {}


def _block(
    kind: str,
    required: Mapping[str, Check] | None = None,
    optional: Mapping[str, Check] | None = None,
    *rules: Rule,
    surfaces: frozenset[Surface] = _EVERYWHERE,
) -> None:
    check = shape({"type": choice(kind), **(required or {})}, {"block_id": ID, **(optional or {})}, *rules)
    BLOCKS[kind] = (check, surfaces)


def _unique_actions(walk: Walk, value: Mapping[str, Any], at: str) -> None:
    """No two elements of one block share an action_id."""
    held = [*(value.get("elements") or ()), value.get("accessory"), value.get("element"), *(value.get("actions") or ())]
    ids = [one["action_id"] for one in held if isinstance(one, dict) and one.get("action_id")]
    for repeated in sorted({one for one in ids if ids.count(one) > 1}):
        walk.refuse(f"`action_id` {repeated} already exists for another element in this block", at)


def _modal_only_files(walk: Walk, value: Mapping[str, Any], at: str) -> None:
    if value.get("dispatch_action") and value["element"]["type"] == "file_input":
        walk.refuse("dispatch_action is not allowed for file_input", at)


def _children(walk: Walk, value: Any, at: str) -> None:
    """The blocks inside a container."""
    allowed = {kind for kind in BLOCKS if kind not in {"container", "carousel", "input", "alert"}}
    many(_known_block(frozenset(allowed)), 1, 10)(walk, value, at)


def _collapsing(walk: Walk, value: Mapping[str, Any], at: str) -> None:
    if value.get("default_collapsed") and not value.get("is_collapsible"):
        walk.refuse("default_collapsed needs is_collapsible", at)
    if value.get("has_header_divider") and value.get("is_collapsible"):
        walk.refuse("has_header_divider cannot be set when is_collapsible is true", at)


def _even_rows(walk: Walk, value: Mapping[str, Any], at: str) -> None:
    if len({len(row) for row in value["rows"]}) > 1:
        walk.refuse("all rows must have the same number of cells", f"{at}/rows")


_CELL = kinds(
    {
        "raw_text": shape({"type": text(20), "text": text(3000)}),
        "raw_number": shape({"type": text(20), "value": lambda w, v, a: None}, {"text": text(100)}),
        "rich_text": rich_text,
    },
    "table cell",
)
_COLUMN = shape({}, {"align": choice("left", "center", "right"), "is_wrapped": flag})
_ICON = element_in("icon")

_block(
    "section",
    {},
    {
        "text": words(3000),
        "fields": many(words(2000), 1, 10),
        "accessory": element_in("section"),
        "expand": flag,
    },
    any_of_fields("text", "fields"),
)
_block("divider")
_block("header", {"text": plain(150)})
_block(
    "image", {"alt_text": text(2000)}, {**IMAGE_FIELDS, "title": plain(2000)}, one_of_fields("image_url", "slack_file")
)
_block("actions", {"elements": many(element_in("actions"), 1, 25)}, {}, _unique_actions)


def _context_item(walk: Walk, value: Any, at: str) -> None:
    """A text or an image of a context block."""
    if isinstance(value, dict) and value.get("type") == "image":
        element_in("context")(walk, value, at)
    else:
        words(3000)(walk, value, at)


_block("context", {"elements": many(_context_item, 1, 10)})
_block(
    "context_actions", {"elements": many(element_in("context_actions"), 1, 5)}, {}, _unique_actions, surfaces=_MESSAGES
)
_block(
    "input",
    {"label": plain(2000), "element": element_in("input")},
    {"hint": plain(2000), "optional": flag, "dispatch_action": flag},
    _modal_only_files,
)
_block("markdown", {"text": text(MOST_MARKDOWN)}, surfaces=_MESSAGES)
BLOCKS["rich_text"] = (rich_text, _EVERYWHERE)
_block(
    "table",
    {"rows": many(many(_CELL, 1, 20), 1, 100)},
    {"column_settings": many(lambda w, v, a: None if v is None else _COLUMN(w, v, a), 1, 20)},
    _even_rows,
    surfaces=_MESSAGES,
)
_block(
    "video",
    {"alt_text": text(2000), "title": plain(200), "thumbnail_url": URL, "video_url": URL},
    {
        "author_name": text(50),
        "description": plain(200),
        "provider_icon_url": URL,
        "provider_name": text(50),
        "title_url": URL,
    },
)
_block(
    "alert",
    {"text": words(3000)},
    {"level": choice("default", "info", "warning", "error", "success")},
    surfaces=frozenset({"modal"}),
)
_CARD: dict[str, Check] = {
    "hero_image": _ICON,
    "icon": _ICON,
    "title": words(150),
    "subtitle": words(150),
    "body": words(200),
    "actions": many(element_in("card"), 1, 5),
}
_block("card", {}, _CARD, any_of_fields("hero_image", "title", "body", "actions"), _unique_actions)
_block(
    "carousel",
    {"elements": many(lambda w, v, a: BLOCKS["card"][0](w, v, a), 1, 10)},
    {},
    surfaces=frozenset({"message", "home"}),
)
_block(
    "container",
    {"child_blocks": _children},
    {
        "title": plain(150),
        "rich_text_title": rich_text,
        "subtitle": words(150),
        "width": choice("narrow", "standard", "wide", "full"),
        "icon": _ICON,
        "is_collapsible": flag,
        "default_collapsed": flag,
        "has_header_divider": flag,
    },
    any_of_fields("title", "rich_text_title"),
    _collapsing,
    surfaces=_MESSAGES,
)
_LABEL = text(20)


def _number(walk: Walk, value: Any, at: str) -> None:
    """Any finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        walk.refuse("must be a number", at)


def _positive(walk: Walk, value: Any, at: str) -> None:
    _number(walk, value, at)
    if isinstance(value, int | float) and value <= 0:
        walk.refuse("must be more than 0", at)


def _matching_series(walk: Walk, value: Mapping[str, Any], at: str) -> None:
    """Series have names of their own, and one value for every category, in its order."""
    categories, names = value["axis_config"]["categories"], [one["name"] for one in value["series"]]
    if len(set(names)) < len(names):
        walk.refuse("series names must be unique", f"{at}/series")
    if len(set(categories)) < len(categories):
        walk.refuse("categories must be unique", f"{at}/axis_config/categories")
    for index, one in enumerate(value["series"]):
        if [point["label"] for point in one["data"]] != categories:
            walk.refuse("data labels must match the axis categories", f"{at}/series/{index}/data")


_POINT = shape({"label": _LABEL, "value": _number})
_SERIES = shape({"name": _LABEL, "data": many(_POINT, 1, 20)})
_AXES = shape({"categories": many(_LABEL, 1, 20)}, {"x_label": text(50), "y_label": text(50)})


def _axis_chart(kind: str) -> Check:
    return shape({"type": choice(kind), "series": many(_SERIES, 1, 12), "axis_config": _AXES}, {}, _matching_series)


_PIE = shape({"type": choice("pie"), "segments": many(shape({"label": _LABEL, "value": _positive}), 1, 12)})
_block(
    "data_visualization",
    {
        "title": text(50),
        "chart": kinds({"pie": _PIE, **{kind: _axis_chart(kind) for kind in ("bar", "line", "area")}}, "chart"),
    },
    surfaces=_MESSAGES,
)
MOST_CHARTS = 2

_SOURCE = shape({"type": choice("url"), "url": URL, "text": text(200)})
_block(
    "task_card",
    {"task_id": text(255), "title": text(255), "status": choice("pending", "in_progress", "complete", "error")},
    {"details": rich_text, "output": rich_text, "sources": many(_SOURCE, 1, 20)},
    surfaces=_MESSAGES,
)
_block(
    "plan",
    {"title": text(255)},
    {"tasks": many(lambda w, v, a: BLOCKS["task_card"][0](w, v, a), 1, 50)},
    surfaces=_MESSAGES,
)


def _known_block(allowed: frozenset[str]) -> Check:
    """A block of one of these kinds that the walk's surface takes."""

    def check(walk: Walk, value: Any, at: str) -> None:
        known = {kind: BLOCKS[kind][0] for kind in allowed if walk.surface in BLOCKS[kind][1]}
        kinds(known, "block")(walk, value, at)

    return check


def check_blocks(blocks: Any, surface: Surface, at: str = "/blocks") -> list[Problem]:
    """Everything that is wrong with the blocks of a message or a view."""
    walk = Walk(surface)
    many(_known_block(frozenset(BLOCKS)), 0, MOST_BLOCKS[surface])(walk, blocks, at)
    if not isinstance(blocks, list):
        return walk.problems
    found = [block for block in blocks if isinstance(block, dict)]
    ids = [block["block_id"] for block in found if isinstance(block.get("block_id"), str)]
    for repeated in sorted({one for one in ids if ids.count(one) > 1}):
        walk.refuse(f"block_id {repeated} already exists", at)
    if sum(block.get("type") == "table" for block in found) > 1:
        walk.refuse("only_one_table_allowed", at)
    if sum(block.get("type") == "data_visualization" for block in found) > MOST_CHARTS:
        walk.refuse(f"no more than {MOST_CHARTS} data_visualization blocks allowed", at)
    if sum(len(str(block.get("text", ""))) for block in found if block.get("type") == "markdown") > MOST_MARKDOWN:
        walk.refuse(f"markdown blocks must be less than {MOST_MARKDOWN + 1} characters together", at)
    return walk.problems


def weight(value: Any) -> int:
    """How many characters Slack counts for the blocks of a message: their texts, and something for each container."""
    if isinstance(value, list):
        return sum(weight(one) for one in value)
    if not isinstance(value, dict):
        return 0
    own = sum(
        len(one) for name, one in value.items() if isinstance(one, str) and name in {"text", "alt_text", "fallback"}
    )
    return own + (BLOCK_WEIGHT if "type" in value else 0) + sum(weight(one) for one in value.values())


_MODAL = shape(
    {"type": choice("modal"), "title": plain(24), "blocks": lambda w, v, a: None},
    {
        "submit": plain(24),
        "close": plain(24),
        "private_metadata": text(3000, 0),
        "callback_id": text(255, 0),
        "external_id": text(255, 0),
        "clear_on_close": flag,
        "notify_on_close": flag,
        "submit_disabled": flag,
    },
)
_HOME = shape(
    {"type": choice("home"), "blocks": lambda w, v, a: None},
    {"private_metadata": text(3000, 0), "callback_id": text(255, 0), "external_id": text(255, 0)},
)
_VIEW = kinds({"modal": _MODAL, "home": _HOME}, "view")


def check_view(view: Any, expected: Surface | None = None, at: str = "/view") -> list[Problem]:
    """Everything that is wrong with a view; `expected` is the only type that the method takes."""
    kind = view.get("type") if isinstance(view, dict) else None
    surface: Surface = "home" if kind == "home" else "modal"
    walk = Walk(surface)
    _VIEW(walk, view, at)
    if expected is not None and kind in {"modal", "home"} and kind != expected:
        walk.refuse(f"must be a {expected} view", f"{at}/type")
    if isinstance(view, dict) and "blocks" in view:
        walk.problems += check_blocks(view["blocks"], surface, f"{at}/blocks")
        if surface == "modal" and not view.get("submit") and any(True for _ in inputs(view["blocks"])):
            walk.refuse("`submit` is required for modals containing an `input` block", at)
    return walk.problems


def too_large(view: Mapping[str, Any]) -> bool:
    """Whether a view is beyond Slack's 250 KB."""
    return len(json.dumps(view, ensure_ascii=False).encode()) > MOST_VIEW_BYTES


def inputs(blocks: Any) -> Iterator[dict[str, Any]]:
    """The input blocks among blocks."""
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict) and block.get("type") == "input":
            yield block


def held(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The elements that a block holds, down into cards and containers."""
    candidates: Sequence[Any] = [
        block.get("accessory"),
        block.get("element"),
        *(block.get("elements") or ()),
        *(block.get("actions") or ()),
    ]
    for one in candidates:
        if isinstance(one, dict) and one.get("type") == "card":
            yield from held(one)
        elif isinstance(one, dict) and "type" in one:
            yield one
    for child in block.get("child_blocks") or ():
        yield from held(child)
