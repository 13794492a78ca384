"""The Home tab: what waits for my approval, what runs, my credentials by due date, and what Slack does not allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bot.contracts.command import CredentialView, Summary
from bot.slack.blocks import Block, Page, context, header, section, sections
from bot.slack.text import code, count, date, escape

MOST_LINES = 20


@dataclass(frozen=True, slots=True)
class Board:
    """What one person's Home tab shows."""

    waiting: Sequence[Summary]
    """Requests that this person may still approve."""
    running: Sequence[Summary]
    credentials: Sequence[CredentialView]
    missing: Sequence[str] = ()
    """Sentences about features that lack a scope."""
    refused: str = ""
    """Why this person sees nothing."""
    urgent: frozenset[int] = frozenset()
    """Numbers of those that revoke."""


def home(board: Board) -> dict[str, Any]:
    """The view to publish."""
    page = Page("home")
    if board.refused:
        page.add(section(escape(board.refused, 1000)))
        return {"type": "home", "blocks": page.fit()}
    page.add(
        header("Waiting for your approval"),
        *_lines(
            [_request(one, urgent=one.number in board.urgent) for one in board.waiting],
            "Nothing waits for your approval.",
        ),
        rank=0,
    )
    page.add(header("Open rotations"), *_lines([_open(one) for one in board.running], "No rotation is open."), rank=1)
    due = [_credential(one) for one in board.credentials]
    page.add(header("Credentials by due date"), *_lines(due, "No credential that you may see is declared."), rank=2)
    for line in board.missing[:10]:
        page.add(context(f"_{escape(line, 300)}_"), rank=1)
    page.add(
        context(
            "Start with `/rotate start <credential>` or just `/rotate`; `/rotate help` explains the words.".replace(
                "<", "&lt;"
            ).replace(">", "&gt;")
        ),
        rank=1,
    )
    return {"type": "home", "blocks": page.fit()}


def _lines(lines: Sequence[str], nothing: str) -> list[Block]:
    if not lines:
        return [section(nothing)]
    shown = list(lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        shown.append(f"_and {count(len(lines) - MOST_LINES, 'more')}_")
    return sections(shown, 4)


def _request(one: Summary, *, urgent: bool) -> str:
    emergency = "*EMERGENCY* revocation " if urgent else ""
    return (
        f"{emergency}*R-{one.number}* {code(one.credential)} in {escape(one.environment, 60)}, asked for by "
        f"{escape(one.requester, 80)} at {date(one.created_at)}: `/rotate approve R-{one.number}` or its card"
    )


def _open(one: Summary) -> str:
    state = one.state.replace("_", " ")
    if one.state == "promoted":
        state = "in use, old one " + ("held" if one.overlap == "blocked" else "being retired")
    step = f" · {escape(one.step, 150)}" if one.step else ""
    return f"*R-{one.number}* {code(one.credential)} in {escape(one.environment, 60)} · {escape(state, 60)}{step}"


def _credential(one: CredentialView) -> str:
    due = f"due {date(one.next_due)}" if one.next_due else "not scheduled"
    last = f" · last rotated {date(one.last_rotated_at)}" if one.last_rotated_at else " · never rotated by keyturn"
    open_one = f" · R-{one.open_rotation} is open" if one.open_rotation else ""
    return f"{code(one.name)} in {escape(one.environment, 60)} · {due}{last}{open_one}"
