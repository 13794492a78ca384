"""Who approved, who may, why, until when, and who is called next: what a card says of consent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from bot.core.policy import counted
from bot.core.rotation import Rotation, State, Vote
from bot.slack.names import Names
from bot.slack.text import code, count, cut, date, escape, span

MOST_APPROVERS = 30
MOST_VOTES = 10


def consent_lines(rotation: Rotation, names: Names) -> list[str]:
    """Votes with their reasons and signatures, those who may still vote, and what happens when nobody does."""
    lines = _votes(rotation, names)
    if rotation.state is not State.REQUESTED:
        return lines
    plan = rotation.plan
    if rotation.unconfirmed:
        asker = names.mention(plan.requester)
        lines.append(f"*Not signed yet* {asker} asked on the command line and has to sign it there too")
    if not rotation.missing_approvals:
        return lines
    lines.append(_who_may(rotation, names))
    if plan.signed:
        lines.append("*Signature* an approval counts only when it is signed with the approver's own SSH key")
    lines.append(f"*Until* {date(rotation.expires_at)}; it lapses then unless {_missing(rotation)} came")
    following = _called_next(rotation)
    if following:
        lines.append(following)
    return lines


def glass_lines(rotation: Rotation, names: Names) -> list[str]:
    """Loudly: who contained alone, until when, and what happens then."""
    glass = rotation.glass
    if glass is None:
        return []
    who = names.mention(glass.by)
    lines = [
        f"*Glass broken: {who} contains {code(rotation.plan.credential, 150)} alone* since {date(glass.at)}, signed "
        f"with {code(glass.key, 80)}: {escape(glass.reason, 400)}"
    ]
    if rotation.state is State.REQUESTED:
        lines.append(
            f"*It is put back at {date(glass.until)}* unless somebody other than {who} approves before. Nothing that "
            "cannot be undone is done until then."
        )
    lines.append("Somebody else has to close the review of this.")
    return lines


def _votes(rotation: Rotation, names: Names) -> list[str]:
    counts = counted([(vote.person, vote.instead_of) for vote in rotation.votes])
    lines, so_far = [], 0
    for vote, counts_too in zip(rotation.votes, counts, strict=True):
        so_far += counts_too
        told = f"{so_far} of {rotation.plan.approvers}" if counts_too else "not counted, as they vote themselves"
        lines.append(f"*Approved* by {names.mention(vote.person)}{_because(vote, names)} at {date(vote.at)}, {told}")
    return lines[:MOST_VOTES]


def _because(vote: Vote, names: Names) -> str:
    parts = [escape(vote.because, 150)] if vote.because else []
    if vote.instead_of:
        parts.append(f"in place of {names.mention(vote.instead_of)}")
    if vote.key:
        parts.append(f"signed with {code(vote.key, 80)}")
    return f" ({'; '.join(parts)})" if parts else ""


def _missing(rotation: Rotation) -> str:
    return count(rotation.missing_approvals, "more approval")


def _who_may(rotation: Rotation, names: Names) -> str:
    """The people, as membership stood at the request, each with the reason; the groups where nothing was frozen."""
    plan, eligible = rotation.plan, rotation.eligible
    needed = f"*Who may approve* ({rotation.counted_votes} of {plan.approvers} so far)"
    if eligible is None:
        listed = escape(", ".join(plan.approve_from), 300)
        return f"{needed} {listed or 'every member but the requester'}"
    voted = {vote.person for vote in rotation.votes}
    open_to = [(person, why) for person, why in eligible.items() if person not in voted]
    if not open_to:
        return f"{needed} nobody at the moment; somebody has to be added to {escape(', '.join(plan.approve_from), 200)}"
    named = names.mention if plan.emergency else names.spoken  # only an emergency calls everybody at once
    shown = [f"{named(person)} ({escape(why, 80)})" for person, why in open_to[:MOST_APPROVERS]]
    left = len(open_to) - len(shown)
    return f"{needed} {', '.join(shown)}" + (f" and {left} more" if left else "") + ", as of the request"


def _called_next(rotation: Rotation) -> str:
    plan, at = rotation.plan, rotation.calls_at
    told = ""
    if rotation.escalated:
        told = f"*Called so far* {', '.join(_called(stage) for stage in plan.escalation[: rotation.escalated])}. "
    if at is None:
        return f"{told}Nobody else is called before it lapses" if plan.escalation else told.strip()
    if rotation.escalated < len(plan.escalation):
        stage = plan.escalation[rotation.escalated]
        if (at - rotation.created_at).total_seconds() >= stage["after"]:
            return f"{told}*Called next* {_called(stage)} at {date(at)}"
        after = span(timedelta(seconds=stage["after"]))
        return f"{told}*Reminded* at {date(at)}; *called next* {_called(stage)} after {after}"
    return f"{told}*Reminded* at {date(at)}"


def _called(stage: Mapping[str, Any]) -> str:
    who = escape(cut(", ".join(str(name) for name in stage.get("to") or ()), 200), 220) or "the next ones"
    return f"{who}{' (paged)' if stage.get('page') else ''}"
