"""Block Kit pieces that stay inside Slack's limits whatever is put into them, and the fitting of a whole message.

Every builder cuts what is too long, so a caller can be careless about lengths but not about escaping: arguments
called `lines` are mrkdwn made of `text.escape`, `text.code` and `text.date`; everything else is plain text and may hold
anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bot.slack.text import count, plain

Block = dict[str, Any]
Element = dict[str, Any]

MOST_BLOCKS = {"message": 50, "modal": 100, "home": 100}
MOST_CHARACTERS = 10_000
"""Of all blocks of a message together; Slack's own limit is near 13 200 and not documented."""
MOST_VIEW_CHARACTERS = 40_000
MOST_SECTION = 2_900
BLOCK_WEIGHT = 40
"""Counted for each block and element beside its text."""


def plain_text(value: str, most: int) -> Element:
    """A plain_text object; never empty, because Slack refuses that."""
    return {"type": "plain_text", "text": plain(value, most) or "-", "emoji": False}


def mrkdwn(lines: Sequence[str], most: int = MOST_SECTION) -> Element:
    """A mrkdwn object of whole lines: those that do not fit are counted in a last line."""
    return {"type": "mrkdwn", "text": _packed(lines, most), "verbatim": True}


def _packed(lines: Sequence[str], most: int) -> str:
    kept: list[str] = []
    room = most - 30
    for index, line in enumerate(lines):
        if len(line) + 1 > room:
            left = len(lines) - index
            kept.append(f"_and {count(left, 'more line')}_")
            break
        kept.append(line)
        room -= len(line) + 1
    return "\n".join(kept) or "-"


def header(value: str) -> Block:
    """A headline."""
    return {"type": "header", "text": plain_text(value, 150)}


def section(*lines: str, accessory: Element | None = None) -> Block:
    """A paragraph of mrkdwn lines."""
    block: Block = {"type": "section", "text": mrkdwn(lines)}
    if accessory is not None:
        block["accessory"] = accessory
    return block


def sections(lines: Sequence[str], most: int) -> list[Block]:
    """Lines spread over as many sections as they need, at most `most`; what is left over is counted."""
    made: list[Block] = []
    rest = list(lines)
    while rest and len(made) < most:
        if len(made) == most - 1:
            made.append(section(*rest))
            break
        size, taken = 0, 0
        while taken < len(rest) and size + len(rest[taken]) + 1 <= MOST_SECTION - 30:
            size += len(rest[taken]) + 1
            taken += 1
        taken = max(1, taken)
        made.append(section(*rest[:taken]))
        rest = rest[taken:]
    return made


def context(*lines: str) -> Block:
    """Small print."""
    return {"type": "context", "elements": [mrkdwn([line]) for line in lines[:10]]}


def divider() -> Block:
    """A line across."""
    return {"type": "divider"}


def button(
    label: str, action: str, value: str, *, spoken: str, style: str = "", confirm: Mapping[str, str] | None = None
) -> Element:
    """A button. `spoken` is what a screen reader says, so it names the thing: "Approve rotation R-7 of …"."""
    made: Element = {
        "type": "button",
        "text": plain_text(label, 75),
        "action_id": action[:255],
        "value": value[:2000],
        "accessibility_label": plain(spoken, 75),
    }
    if style:
        made["style"] = style
    if confirm:
        made["confirm"] = {
            "title": plain_text(confirm["title"], 100),
            "text": plain_text(confirm["text"], 300),
            "confirm": plain_text(confirm["yes"], 30),
            "deny": plain_text(confirm["no"], 30),
        }
    return made


def actions(*elements: Element) -> Block:
    """A row of buttons."""
    return {"type": "actions", "elements": list(elements[:25])}


def text_input(
    block_id: str,
    label: str,
    *,
    most: int,
    hint: str = "",
    initial: str = "",
    placeholder: str = "",
    optional: bool = False,
    multiline: bool = False,
) -> Block:
    """A field to type into; its action id is `value`."""
    element: Element = {"type": "plain_text_input", "action_id": "value", "max_length": most, "multiline": multiline}
    if initial:
        element["initial_value"] = plain(initial, most)
    if placeholder:
        element["placeholder"] = plain_text(placeholder, 150)
    block: Block = {
        "type": "input",
        "block_id": block_id,
        "label": plain_text(label, 2000),
        "element": element,
        "optional": optional,
    }
    if hint:
        block["hint"] = plain_text(hint, 2000)
    return block


def checkboxes(block_id: str, label: str, options: Sequence[tuple[str, str, str]], *, optional: bool = True) -> Block:
    """Boxes to tick: (value, text, description) each, at most ten."""
    shown = [option(value, words, description) for value, words, description in options[:10]]
    return {
        "type": "input",
        "block_id": block_id,
        "label": plain_text(label, 2000),
        "optional": optional,
        "element": {"type": "checkboxes", "action_id": "value", "options": shown},
    }


def option(value: str, label: str, description: str = "") -> Element:
    """One choice of a select or of checkboxes; the value must fit as it is, being an id."""
    made: Element = {"text": plain_text(label, 75), "value": value[:150]}
    if description:
        made["description"] = plain_text(description, 75)
    return made


def weigh(value: Any) -> int:
    """How much of a message's allowance some blocks take."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return (BLOCK_WEIGHT if "type" in value else 0) + sum(weigh(one) for one in _texts(value))
    if isinstance(value, Iterable):
        return sum(weigh(one) for one in value)
    return 0


def _texts(block: Mapping[str, Any]) -> Iterator[Any]:
    for name, value in block.items():
        if isinstance(value, Mapping | list) or name in ("text", "alt_text", "accessibility_label"):
            yield value


class Page:
    """Blocks in the order of reading, each with a rank; when they do not fit, the highest ranks are left out first."""

    def __init__(self, surface: str = "message") -> None:
        self.surface = surface
        self._blocks: list[tuple[int, Block]] = []

    def add(self, *blocks: Block, rank: int = 1) -> None:
        """Add blocks; rank 0 is never left out, so it is for what has a bound of its own."""
        self._blocks.extend((rank, block) for block in blocks)

    def fit(self) -> list[Block]:
        """The blocks, within the number and the characters that Slack takes."""
        most_blocks = MOST_BLOCKS[self.surface]
        most_characters = MOST_CHARACTERS if self.surface == "message" else MOST_VIEW_CHARACTERS
        weights = [weigh(block) for _, block in self._blocks]
        kept = set(range(len(self._blocks)))
        total = sum(weights)
        order = sorted(kept, key=lambda index: (self._blocks[index][0], index), reverse=True)
        for index in order:
            if len(kept) < most_blocks and total <= most_characters - 200:
                break
            if self._blocks[index][0] == 0:
                break
            kept.discard(index)
            total -= weights[index]
        shown = [block for index, (_, block) in enumerate(self._blocks) if index in kept]
        left_out = len(self._blocks) - len(shown)
        if left_out:
            shown.append(context(f"_{count(left_out, 'part')} left out because Slack takes no longer messages._"))
        return shown[:most_blocks]
