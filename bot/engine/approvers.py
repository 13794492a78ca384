"""Tells those who may approve: copies of the card, reminders, escalations, and requests to skip or undo."""

from __future__ import annotations

from collections.abc import Iterable

from bot.core.rotation import Rotation, State
from bot.store.writing import Transaction

MOST_TOLD = 30
"""People who get a message of their own; where more may approve, the channel has to do."""


def tell_approvers(tx: Transaction, before: Rotation | None, after: Rotation) -> None:
    """Ask, remind and escalate, each once, as the change demands."""
    if before is None:
        if after.plan.emergency and after.state is State.REQUESTED:
            _ask(tx, after)
        return
    if after.state is State.REQUESTED and after.escalated > before.escalated:
        _escalate(tx, before, after)
    elif after.state is State.REQUESTED and after.called_at != before.called_at:
        _remind(tx, after)
    if after.amendment is not None and (before.amendment is None or before.amendment.nonce != after.amendment.nonce):
        _ask_amendment(tx, after)


def copy_card(tx: Transaction, rotation: Rotation, people: Iterable[str]) -> None:
    """The card as a direct message to each of them, kept up to date like the one in the channel."""
    for person in list(people)[:MOST_TOLD]:
        tx.add_drawing(rotation.number, "card", f"@{person}", rotation.version, urgent=rotation.plan.emergency)


def _ask(tx: Transaction, rotation: Rotation) -> None:
    """Somebody asks to revoke: the channel hears it at once, and everybody who may approve gets the card."""
    plan = rotation.plan
    needs = "It needs a second person's approval" if plan.approvers < 2 else f"It needs {plan.approvers} approvals"
    text = (
        f"{plan.requester} asks to revoke {plan.credential} in {plan.environment} ({rotation.id}, {plan.order}): "
        f"{plan.reason}. {needs} by {_time(rotation)}."
    )
    _to_channel(tx, rotation, "asked", text)
    copy_card(tx, rotation, sorted(rotation.eligible or ()))


def _remind(tx: Transaction, rotation: Rotation) -> None:
    missing = rotation.missing_approvals
    text = (
        f"{_name(rotation)} waits for {missing} approval{'s' if missing > 1 else ''} until {_time(rotation)}; you may "
        f"approve it."
    )
    people = _waited_for(rotation)
    if not _to_people(tx, rotation, "remind", people, text):
        _to_channel(tx, rotation, "remind", text.replace("; you may approve it", ""))


def _escalate(tx: Transaction, before: Rotation, after: Rotation) -> None:
    stage = after.plan.escalation[before.escalated]
    asked = ", ".join(stage["to"])
    known, earlier = after.eligible, before.eligible or {}
    added = sorted(name for name in known or {} if name not in earlier)
    who = f" ({', '.join(added[:10])})" if added else ""
    paged = " They are paged." if stage.get("page") else ""
    text = f"Nobody has approved {_name(after)} yet. Now {asked}{who} may approve it too, until {_time(after)}.{paged}"
    _to_channel(tx, after, f"escalated-{after.escalated}", text)
    people = _waited_for(after)
    if known is not None:
        copy_card(tx, after, people)
        _to_people(tx, after, f"escalated-{after.escalated}", people, f"{text} You are one of those who may.")
    if stage.get("page") and after.plan.emergency and not after.unconfirmed:
        tx.add_errand(
            f"page-{after.number}-stage-{after.escalated}", after.number, "page", {"why": f"{asked} have to approve"}
        )


def _ask_amendment(tx: Transaction, rotation: Rotation) -> None:
    amendment = rotation.amendment
    assert amendment is not None
    what = "put back all of" if amendment.undoes else f"skip “{rotation.plan.steps[amendment.step].title}” of"
    text = (
        f"{amendment.requester} asks to {what} {_name(rotation)}: {amendment.reason}. A second person has to agree by "
        f"{amendment.expires_at:%H:%M} UTC."
    )
    key = f"amendment-{amendment.nonce}"
    people = sorted(name for name in rotation.eligible or () if name != amendment.requester)
    if rotation.plan.emergency:
        _to_channel(tx, rotation, key, text)
        copy_card(tx, rotation, people)
    _to_people(tx, rotation, key, people, text)


def _waited_for(rotation: Rotation) -> list[str]:
    """Who may approve and has not."""
    voted = {vote.person for vote in rotation.votes}
    return sorted(name for name in rotation.eligible or () if name not in voted)


def _to_people(tx: Transaction, rotation: Rotation, what: str, people: list[str], text: str) -> bool:
    """A direct message to each; False when there is nobody, or there are too many."""
    if not 0 < len(people) <= MOST_TOLD:
        return False
    payload = {"rotation": rotation.number}
    for person in people:
        key = f"{what}-{rotation.number}-{rotation.version}-{person}"
        tx.add_notice(key, f"@{person}", "", text, payload, urgent=rotation.plan.emergency)
    return True


def _to_channel(tx: Transaction, rotation: Rotation, what: str, text: str) -> None:
    payload = {"rotation": rotation.number, "broadcast": True}
    key = f"{what}-{rotation.number}-{rotation.version}"
    tx.add_notice(key, "", rotation.channel, text, payload, urgent=rotation.plan.emergency)


def _name(rotation: Rotation) -> str:
    does = "the revocation of " if rotation.plan.emergency else ""
    return f"{does}{rotation.plan.credential} in {rotation.plan.environment} ({rotation.id})"


def _time(rotation: Rotation) -> str:
    return f"{rotation.expires_at:%Y-%m-%d %H:%M} UTC"
