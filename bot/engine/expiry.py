"""The incident of a credential that expired in use: opened, recovered by an ordinary rotation, told to its callers."""

from __future__ import annotations

import secrets as random
from datetime import timedelta

from bot.core import expiry
from bot.core import incident as core
from bot.core.decide import decide
from bot.core.errors import Refused
from bot.core.events import Entry, Event
from bot.core.plan import DESTROYS, Plan
from bot.core.review import INTEGRITY, review, unanswered
from bot.core.rotation import FINISHED, Advanced, Happening, Kept, Opened, Rotation, Stage
from bot.engine.arrivals import tell_callers
from bot.engine.incident_facts import facts_of, recovery_of, summary_of
from bot.store.reading import Reader
from bot.store.records import CredentialRow
from bot.store.writing import Transaction

LOOK_AGAIN = timedelta(minutes=5)
"""How often a step that destroys looks whether the incident is closed."""


def may_open_expiry(reader: Reader, name: str, environment: str) -> None:
    """Refuse a second incident of the same credential, with the one that there is."""
    revocation = reader.open_rotation(name, environment, "revoke")
    if revocation is not None:
        raise Refused(
            f"{revocation.id} is already revoking {name}, and that emergency is its one incident; follow it with: "
            f"status {revocation.id}.",
            code="already-open",
        )
    number = reader.open_expiry(name, environment)
    if number is not None:
        raise Refused(
            f"R-{number} is already the incident of {name}; go on with it: incident R-{number}.", code="already-open"
        )


def open_expiry(tx: Transaction, plan: Plan, channel: str) -> Rotation:
    """The incident's own rotation. It changes nothing and begins at once, so nobody has to approve it."""
    may_open_expiry(tx, plan.credential, plan.environment)
    opened = Opened(tx.next_number(), plan, random.token_hex(8), channel, ())
    rotation = tx.save(None, decide(None, opened, tx.now))
    for form in ("card", "log"):
        tx.add_drawing(rotation.number, form, rotation.channel, rotation.version, urgent=True)
    return rotation


def kept(tx: Transaction, rotation: Rotation, step: int) -> Kept | None:
    """Why a step may not begin: it destroys what an open incident wants kept. A revocation waits for nothing."""
    planned, run = rotation.plan.steps[step], rotation.steps[step]
    if planned.effect != DESTROYS or run.undoing or rotation.plan.emergency:
        return None
    number = tx.open_expiry(rotation.plan.credential, rotation.plan.environment)
    if number is None:
        return None
    why = f"kept for the audit until the incident of R-{number} is closed"
    return Kept(step, run.attempt, tx.now + LOOK_AGAIN, why)


def check_stage(reader: Reader, rotation: Rotation | None, event: Happening) -> None:
    """Refuse to confirm a stage of an incident that is not done. What else is wrong with it, `decide` says."""
    if rotation is None or not rotation.plan.expiry or not isinstance(event, Advanced):
        return
    i = rotation.current
    if i is None or rotation.steps[i].stage is not Stage.ASKING:
        return
    stage = rotation.plan.steps[i].id
    if event.step in ("", stage):
        expiry.may_pass(rotation.id, rotation.plan.credential, stage, standing_of(reader, rotation))


def standing_of(reader: Reader, rotation: Rotation) -> expiry.Standing:
    """What is done of an incident, as data show it."""
    incident = reader.incident(rotation.number)
    if incident is None:
        return expiry.Standing()
    found = recovery_of(reader, rotation)
    promoted = found is not None and found.promoted_at is not None
    return expiry.Standing(
        unanswered=unanswered(review(incident, facts_of(reader, rotation))),
        integrity=incident.answer(INTEGRITY) is not None,
        recovered_by=found.id if found is not None and promoted else "",
        under_way=found.id if found is not None and not promoted else "",
    )


def dates_of(row: CredentialRow | None) -> expiry.Dates | None:
    """What the inventory holds now of what reminding needs."""
    if row is None:
        return None
    return expiry.Dates(row.owner, row.owner_finding, row.next_due, row.remind_at)


def follow_expiry(tx: Transaction, before: Rotation | None, after: Rotation) -> tuple[Rotation, Rotation] | None:
    """A replacement in use passes the stage that waits for it; the last stage tells affected callers.

    Returns the incident's rotation as it was and is, where this changed it.
    """
    if after.plan.expiry:
        _tell_callers(tx, before, after)
        return _pass_recovery(tx, after)
    if before is None or before.promoted_at is not None or after.promoted_at is None:
        return None
    number = tx.open_expiry(after.plan.credential, after.plan.environment)
    found = tx.rotation(number) if number is not None else None
    return _pass_recovery(tx, found) if found is not None else None


def _pass_recovery(tx: Transaction, rotation: Rotation) -> tuple[Rotation, Rotation] | None:
    i = rotation.current
    if i is None or rotation.plan.steps[i].id != expiry.RECOVER or rotation.steps[i].stage is not Stage.ASKING:
        return None
    found = recovery_of(tx, rotation)
    if found is None or found.promoted_at is None:
        return None
    said = f"{found.id} put a replacement into use at {found.promoted_at:%Y-%m-%d %H:%M} UTC"
    return rotation, tx.save(rotation, decide(rotation, Advanced(core.BOT, said, expiry.RECOVER), tx.now))


def _tell_callers(tx: Transaction, before: Rotation | None, after: Rotation) -> None:
    """Once: below the card of the incident, in the channel of the credential, and in every channel of its callers."""
    i = after.plan.index(expiry.COMMUNICATE)
    if before is None or i is None or after.steps[i].stage is not Stage.DONE or before.steps[i].stage in FINISHED:
        return
    incident = tx.incident(after.number)
    if incident is None:
        return
    text, key = summary_of(tx, incident, after), f"callers-{after.number}"
    payload = {"rotation": after.number, "broadcast": True}
    if not tx.add_notice(key, "", after.channel, text, payload, urgent=True):
        return
    rows = tx.credential(after.plan.credential, after.plan.environment)
    others = [str(one) for one in (rows[0].detail.get("callers") or () if rows else ()) if one != after.channel]
    for other in others:
        tell_callers(tx, after, f"{key}-{other}", other, text)
    detail = {"text": text, "channels": [one for one in (after.channel, *others) if one]}
    tx.audit(Entry(Event.CALLERS_TOLD, after.steps[i].by, after.id, after.plan.credential, detail))
