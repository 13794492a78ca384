"""Says what people must not miss: a step that needs them, a request that waits, and the end."""

from __future__ import annotations

from bot.core.rotation import Overlap, Rotation, Stage, State
from bot.core.runbook import Section
from bot.core.safety import what_is_left
from bot.engine.approvers import tell_approvers
from bot.engine.arrivals import tell_owner
from bot.engine.expiry import follow_expiry
from bot.engine.incidents import follow_emergency, of_incident
from bot.engine.judge import USED_AT
from bot.engine.paging import end_failure, page_failure
from bot.store.writing import Transaction

BOT = "keyturn"
FAILED = frozenset({"held", "rolled-back", "abandoned"})
"""What nobody sees who did not start it: of an automatic rotation its owner is told."""


def announce(tx: Transaction, before: Rotation | None, after: Rotation) -> None:
    """Add notices, copies of the card, the incident and its errands, in the transaction that made the change."""
    if after.plan.has_incident:
        follow_emergency(tx, before, after)  # the line of a step comes before what follows from it
    told = _told(before, after)
    if told is not None:
        what, text = told
        payload = {"rotation": after.number, "broadcast": True, **of_incident(before, after)}
        urgent = after.plan.has_incident
        tx.add_notice(f"{what}-{after.number}-{after.version}", "", after.channel, text, payload, urgent=urgent)
        if after.plan.requester == BOT and what in FAILED:
            text = f"The automatic rotation needs you: {text}"
            tell_owner(tx, after, f"automatic-{what}-{after.number}-{after.version}", text)
            page_failure(tx, after, what)
    if after.plan.requester == BOT:
        end_failure(tx, before, after)
    tell_approvers(tx, before, after)
    passed = follow_expiry(tx, before, after)
    if passed is not None:
        announce(tx, *passed)


def warn_of_use(tx: Transaction, rotation: Rotation) -> bool:
    """The grace ends soon, and sensors still see the old credential in use: whoever uses it has to be moved.

    False where no sensor has seen it lately, so that there is nobody to look for.
    """
    i = rotation.current
    if i is None or rotation.overlap_deadline is None or USED_AT not in rotation.steps[i].progress:
        return False
    plan = rotation.plan
    text = (
        f"{rotation.id} ({plan.credential}, {plan.environment}): the grace ends on "
        f"{rotation.overlap_deadline:%Y-%m-%d %H:%M} UTC, and the old credential is still in use. "
        f"{rotation.steps[i].evidence} Find who still uses it: trace its users, or restart those that kept it."
    )
    payload = {"rotation": rotation.number, "broadcast": True}
    tx.add_notice(f"grace-{rotation.number}", "", rotation.channel, text, payload)
    tell_owner(tx, rotation, f"grace-{rotation.number}-owner", text)
    return True


def remind_overlap(tx: Transaction, rotation: Rotation) -> None:
    """The old credential is still valid past the day by which it was to be retired: its owner hears as well."""
    i = rotation.current
    step = rotation.plan.steps[i].title if i is not None else "its last step"
    text = (
        f"{rotation.id} ({rotation.plan.credential}, {rotation.plan.environment}) is past its deadline: the old "
        f"credential is still valid. It waits at: {step}. {rotation.steps[i].evidence if i is not None else ''}"
    ).strip()
    key, payload = f"overdue-{rotation.number}-{tx.now:%Y%m%d}", {"rotation": rotation.number, "broadcast": True}
    if rotation.channel:
        tx.add_notice(key, "", rotation.channel, text, payload)
    tell_owner(tx, rotation, f"{key}-owner", text)


def _told(before: Rotation | None, after: Rotation) -> tuple[str, str] | None:
    name = f"{after.id} ({after.plan.credential}, {after.plan.environment})"
    i = after.current
    run = after.steps[i] if i is not None else None
    was = before.steps[i].stage if before is not None and i is not None else None
    if i is not None and run is not None and run.stage is not was:
        title = after.plan.steps[i].title
        if run.stage is Stage.HELD:
            said = " ".join(_sentence(part) for part in (run.problem, run.hint, what_is_left(after)) if part)
            return "held", f"{name} is held at {title}: {said}"
        if run.stage is Stage.ASKING:
            return "asking", f"{name} asks: {run.evidence}"
    if before is not None and before.state is not after.state:
        if after.state is State.ROLLED_BACK:
            return "rolled-back", f"{name} is rolled back; the old credential is in use again. {after.outcome}"
        if after.state is State.REQUESTED:
            return "asked-again", f"{name} needs approval again: {after.outcome or 'its plan changed'}"
        if after.state is State.ABANDONED:
            return "abandoned", f"{name} was abandoned: {after.outcome}"
        if after.state is State.PROMOTED and after.plan.emergency and after.is_over:
            return "revoked", f"{name} is done: the suspected credential is revoked and replaced.{_unproved(after)}"
    if before is not None and before.overlap is not after.overlap and after.overlap is Overlap.RETIRED:
        told = _unproved(after, Section.RETIRE)
        return "retired", f"{name} is done: the old credential is retired{told or ' and refused everywhere.'}"
    return None


def _unproved(rotation: Rotation, section: Section | None = None) -> str:
    """Which steps were skipped, so that nothing is claimed without its proof."""
    skipped = [
        planned.title
        for planned, each in zip(rotation.plan.steps, rotation.steps, strict=True)
        if each.stage is Stage.SKIPPED and section in (None, planned.section)
    ]
    if not skipped:
        return ""
    return f"{',' if section else ' That is'} without proof of: {'; '.join(skipped)}."


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
