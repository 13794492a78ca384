"""The Home tab: what waits for my approval, what runs, my credentials by due date, and what Slack does not allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bot.contracts.command import CredentialView, Finding, Summary
from bot.slack.blocks import Block, Page, context, header, section, sections
from bot.slack.credential_forms import buttons
from bot.slack.text import code, date, escape

MOST_LINES = 20
MOST_WAITING, MOST_FINDINGS, MOST_BUTTONS = 10, 10, 3


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
    mine: bool = True
    """Whether the credentials are this person's own; else they are everybody's."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Of all credentials: how many stand how."""
    findings: Sequence[Finding] = ()
    more_running: bool = False
    """Whether more are open than are shown."""
    more_asked: bool = False
    """Whether older requests may wait, which nobody has looked through."""


def home(board: Board) -> dict[str, Any]:
    """The view to publish. Every part has a bound of its own, so that the whole stays within Slack's."""
    page = Page("home")
    if board.refused:
        page.add(section(escape(board.refused, 1000)))
        return {"type": "home", "blocks": page.fit()}
    page.add(
        header("Waiting for your approval"),
        *_lines(
            [_request(one, urgent=one.number in board.urgent) for one in board.waiting],
            "Nothing waits for your approval.",
            MOST_WAITING,
        ),
        rank=0,
    )
    if board.more_asked:
        page.add(context("_Older requests may wait too: only the newest were looked through._"), rank=1)
    running = [_open(one) for one in board.running]
    page.add(header("Open rotations"), *_lines(running, "No rotation is open."), rank=1)
    if board.more_running:
        page.add(context("_More are open: `/rotate status`_"), rank=1)
    page.add(*_credentials(board), rank=2)
    if board.findings:
        told = [
            f"{code(one.credential)}{_where(one)} · {escape(one.text, 250)}" for one in board.findings[:MOST_FINDINGS]
        ]
        more = "_All of them: `/rotate list --findings`_"
        page.add(header("Needs somebody"), *sections(told, 3), context(more), rank=3)
    if board.counts:
        page.add(header("All credentials"), *sections(_standing(board.counts), 1), rank=3)
    for line in board.missing[:10]:
        page.add(context(f"_{escape(line, 300)}_"), rank=1)
    page.add(
        context(
            "Start with `/rotate start &lt;credential&gt;` or just `/rotate`; `/rotate forecast` looks ahead, "
            "`/rotate help` explains the words."
        ),
        rank=1,
    )
    return {"type": "home", "blocks": page.fit()}


def _credentials(board: Board) -> list[Block]:
    """By due date; what is late or soon comes with its next actions, the first few of them."""
    title = "Your credentials by due date" if board.mine else "Credentials by due date"
    nothing = "No credential that you may see has a due date."
    pressing = [one for one in board.credentials if one.standing in PRESSING and not one.open_rotation]
    led = pressing[:MOST_BUTTONS] if board.mine else []
    made: list[Block] = [header(title)]
    for one in led:
        made += [section(_credential(one)), buttons(one.name, one.environment)]
    rest = [_credential(one) for one in board.credentials if one not in led]
    if rest or not led:
        made += _lines(rest, nothing)
    return made


def _where(one: Finding) -> str:
    return f" in {escape(one.environment, 60)}" if one.environment else ""


def _standing(counts: Mapping[str, int]) -> list[str]:
    """How all of them stand, as bars and as numbers."""
    total = sum(counts.values())
    if not total:
        return ["None is declared."]
    lines = []
    for name, said in _STANDINGS.items():
        number = counts.get(name, 0)
        if not number:
            continue
        width = max(round(number / total * 20), 1)
        lines.append(f"`{('█' * width).ljust(20, '·')}` *{number}* {said}")
    return lines


PRESSING = ("expired", "overdue", "soon")
_STANDINGS = {
    "expired": "expired",
    "overdue": "overdue",
    "soon": "due soon",
    "fine": "fine",
    "unknown": "without a date",
}


def _lines(lines: Sequence[str], nothing: str, most: int = MOST_LINES) -> list[Block]:
    if not lines:
        return [section(nothing)]
    shown = list(lines[:most])
    if len(lines) > most:
        shown.append(f"_and {len(lines) - most} more_")
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
    if one.standing in ("overdue", "expired"):
        due = f"*{one.standing}*, {due}"
    last = f" · last rotated {date(one.last_rotated_at)}" if one.last_rotated_at else " · never rotated by keyturn"
    open_one = f" · R-{one.open_rotation} is open" if one.open_rotation else ""
    note = f" ({escape(one.snooze_note, 200)})" if one.snooze_note else ""
    snoozed = f" · snoozed until {date(one.snoozed_until)}{note}" if one.snoozed_until else ""
    given = f" · {escape(one.whose, 120)}" if one.owner != one.declared_owner else ""
    return f"{code(one.name)} in {escape(one.environment, 60)} · {due}{last}{open_one}{given}{snoozed}"
