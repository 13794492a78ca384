"""What becomes of reminders on their way: when one arrived, and who hears instead of a place that takes none.

A reminder that nobody got was not told: its tiers are looked at anew, and go to the next of the route.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from bot.contracts.people import Directory
from bot.core.events import Entry, Event
from bot.core.policy import Policy
from bot.core.rotation import Rotation
from bot.engine.recipients import Reached, Recipient, Recipients
from bot.store.database import Database
from bot.store.reading import Reader
from bot.store.records import NoticeRow, ReminderRow
from bot.store.writing import Transaction

CLOSED_FOR = timedelta(days=1)
"""How long a place that did not take a message gets no others; then it is tried again."""
OWNER = "owner"
CALLERS = "callers"
KINDS = ("reminder", "digest", "alert", OWNER, CALLERS)
"""What is sent to whom a credential concerns, rather than to who asked for something."""
LISTED = 30
"""Credentials that one row of the audit names; it counts the others."""


@dataclass(frozen=True, slots=True)
class Concerns:
    """Whom word of something that went wrong concerns, so that the next hears where they take none."""

    name: str
    """The owner; empty where it has none."""
    credential: str
    environment: str
    channel: str
    """Where its cards go."""
    heard: bool = False
    """Whether that channel reads it anyway."""


def arrived(tx: Transaction, row: NoticeRow) -> None:
    """Slack has taken it. In the transaction that notes so, and only in the first."""
    told = _told(row.payload)
    if told is not None:
        names = sorted({str(item.get("credential", "")) for item in told.get("items", ())})
        detail = {
            "to": _to(row),
            "notice": row.key,
            "credentials": names[:LISTED],
            "count": told.get("count", len(names)),
        }
        places = {str(item.get("environment", "")) for item in told.get("items", ())}
        if len(places) == 1:
            detail["environment"] = places.pop()
        tx.audit(Entry(Event.DELIVERED, "keyturn", credential=names[0] if len(names) == 1 else "", detail=detail))


def undelivered(tx: Transaction, row: NoticeRow, why: str) -> None:
    """Slack takes it neither now nor later. In the transaction that gives it up, and only in the first.

    Whatever was told in it and in no other message is told anew, as if it had never been: the place is known as closed
    by then, and the next of the route hears of it.
    """
    if not any(isinstance(row.payload.get(kind), Mapping) for kind in KINDS):
        return
    to = _to(row)
    tx.close_place(to, why)
    if to.startswith("@"):
        tx.note_owner(to[1:], f"Slack takes no messages for {to[1:]} ({why}).")
    told = tx.told_in(row.key)
    others = set(tx.arrivals({key for one in told for key in one.notice.split() if key != row.key}))
    anew = [one for one in told if not others.intersection(one.notice.split())]
    for name, environment in sorted({(one.credential, one.environment) for one in told}):
        mine = [one for one in told if (one.credential, one.environment) == (name, environment)]
        detail = {
            "environment": environment,
            "tiers": [one.tier for one in mine],
            "to": to,
            "why": why,
            "notice": row.key,
            "again": any(one in anew for one in mine),
        }
        tx.audit(Entry(Event.UNDELIVERED, "keyturn", credential=name, detail=detail))
    tx.untell(anew)
    about = row.payload.get("alert") or row.payload.get(OWNER)
    if isinstance(about, Mapping):
        detail = {"environment": str(about.get("environment", "")), "to": to, "why": why, "notice": row.key}
        tx.audit(Entry(Event.UNDELIVERED, "keyturn", credential=str(about.get("credential", "")), detail=detail))
    callers = row.payload.get(CALLERS)
    if isinstance(callers, Mapping):
        _callers_missed(tx, row, callers, why)
    owner = row.payload.get(OWNER)
    if isinstance(owner, Mapping) and owner.get("routed"):
        again = {**row.payload, OWNER: {**owner, "routed": False, "round": owner["round"] + 1}}
        tx.add_notice(f"{row.key}/again", row.person, row.channel, row.text, again, urgent=row.urgent)


def tell_callers(tx: Transaction, rotation: Rotation, key: str, channel: str, text: str) -> None:
    """Tell a channel of those who use a credential; its incident hears where that channel takes no messages."""
    about = {"rotation": rotation.number, "credential": rotation.plan.credential, "channel": rotation.channel}
    tx.add_notice(key, "", channel, text, {CALLERS: about}, urgent=True)


def _callers_missed(tx: Transaction, row: NoticeRow, about: Mapping[str, Any], why: str) -> None:
    text = f"The callers in {row.channel} were not told what this meant ({why}): tell them in another way."
    payload = {"rotation": about["rotation"], "incident": True, "broadcast": True}
    tx.add_notice(f"{row.key}/missed", "", about["channel"], text, payload, urgent=True)
    detail = {"to": row.channel, "why": why, "notice": row.key}
    tx.audit(Entry(Event.CALLERS_MISSED, "keyturn", f"R-{about['rotation']}", about["credential"], detail))


def tell_owner(tx: Transaction, rotation: Rotation, key: str, text: str) -> None:
    """Have the owner of its credential told, or who hears instead; that is looked up when it is sent.

    The channel of the rotation reads it anyway, so that it is not sent there twice.
    """
    plan = rotation.plan
    concerns = Concerns(plan.owner, plan.credential, plan.environment, rotation.channel, heard=True)
    tx.add_notice(key, f"@{plan.owner}" if plan.owner else "", "", text, {OWNER: _owned(concerns, key)})


def tell(
    tx: Transaction,
    key: str,
    to: Sequence[Recipient],
    text: str,
    concerns: Concerns,
    payload: Mapping[str, Any] | None = None,
    *,
    urgent: bool = False,
) -> bool:
    """Tell those who were looked up already; the next hears where one of them takes no message. False: told before."""
    return _send(tx, to, text, {**(payload or {}), OWNER: _owned(concerns, key)}, urgent=urgent)


def recipients(
    database: Database, policy: Policy, directory: Directory, channels: Mapping[str, str], route: Collection[str]
) -> Recipients:
    """Lookups for one turn, without the places that took nothing lately."""
    with database.read() as reader:
        closed = reader.closed_places(reader.now - CLOSED_FOR)
    return Recipients(policy, directory, channels, route, closed)


def route(finder: Callable[[], Recipients], payload: Mapping[str, Any]) -> Reached | None:
    """Who hears what an owner has to hear; None where that is settled, or it is for somebody else."""
    owner = payload.get(OWNER)
    if not isinstance(owner, Mapping) or owner.get("routed"):
        return None
    channel = str(owner["channel"])
    reached = finder().owner(str(owner["name"]), channel)
    if not reached.to or not owner["heard"]:
        return reached
    return Reached(tuple(one for one in reached.to if one.channel != channel), "")


def forward(tx: Transaction, row: NoticeRow, to: Sequence[Recipient]) -> None:
    """Send it to each of them, in the transaction that settles the notice which they were looked up for."""
    _send(tx, to, row.text, row.payload, urgent=row.urgent)


def _owned(concerns: Concerns, key: str) -> dict[str, Any]:
    return {**asdict(concerns), "key": key, "round": 0, "routed": False}


def _send(tx: Transaction, to: Sequence[Recipient], text: str, payload: Mapping[str, Any], *, urgent: bool) -> bool:
    """Except to whom it went in an earlier round, or by another replica, and was not given up. Returns whether it was
    news to anybody."""
    owner, news = payload[OWNER], False
    for one in to:
        keys = [f"{owner['key']}/{one.name}" + (f"/{number}" if number else "") for number in range(owner["round"] + 1)]
        if not tx.arrivals(keys):
            routed = {**payload, OWNER: {**owner, "routed": True}}
            news = tx.add_notice(keys[-1], one.person, one.channel, text, routed, urgent=urgent) or news
    return news


def delivery(reader: Reader, told: Sequence[ReminderRow]) -> list[str]:
    """One phrase for each reminder: what it was, to whom it went, and whether it arrived there."""
    found = reader.arrivals({key for one in told for key in one.notice.split()})
    phrases = []
    for one in told:
        at = [found.get(key) for key in one.notice.split()]
        seen = [moment for moment in at if moment is not None]
        state = f"delivered on {min(seen):%Y-%m-%d %H:%M} UTC" if seen else "not delivered yet"
        said = f"{one.tier} on {one.told_at:%Y-%m-%d %H:%M} UTC to {', '.join(one.told)}"
        phrases.append(f"{said}, {state}" if at else said)
    return phrases


def failures(reader: Reader, name: str, environment: str, since: datetime | None) -> list[str]:
    """One phrase for each place that a reminder of this credential did not arrive at, the oldest first."""
    rows = reader.history(credential=name, event=Event.UNDELIVERED, limit=LISTED)
    mine = [row for row in rows if row.detail.get("environment") == environment and (since is None or row.at >= since)]
    return [f"to {row.detail['to']} on {row.at:%Y-%m-%d %H:%M} UTC ({row.detail['why']})" for row in reversed(mine)]


def _told(payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = payload.get("reminder")
    return found if isinstance(found, Mapping) else None


def _to(row: NoticeRow) -> str:
    return row.person or row.channel
