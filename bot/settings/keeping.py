"""From what settings say of reminders, discoveries and automatic rotations to what the engine goes by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from datetime import time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from bot.contracts.adapter import Part, Probe
from bot.core import duration
from bot.core.automatic import Automatic
from bot.core.discovered import Find
from bot.core.document import Document, Location, Problem, close
from bot.core.errors import KeyturnError
from bot.core.lint import Vocabulary
from bot.core.policy import Need
from bot.core.reminders import Rules, Stage, Tiers
from bot.core.rules import Target, fits
from bot.engine.scope import parameters
from bot.settings.declared import Declared, PolicyEntry
from bot.settings.fields import Day
from bot.settings.keeping_entries import DiscoveryEntry

CHANNEL = "channel"
_ID = re.compile(r"[CG][A-Z0-9]+")


class Dated(Target, Protocol):
    """A credential as settings declare it."""

    @property
    def cadence(self) -> timedelta | None:
        """How often it is rotated."""


def rules_of(declared: Declared) -> Rules:
    """Tiers, working hours, escalation and routes."""
    entry = declared.reminders
    zones = {name: one.timezone for name, one in declared.people.items()}
    zones |= {name: one.timezone for name, one in declared.groups.items()}
    return Rules(
        tiers=tuple(
            Tiers(tuple(one.before), frozenset(one.environments), frozenset(one.classes)) for one in entry.tiers
        ),
        escalation=_usual_escalation(declared)
        if entry.escalate is None
        else tuple(
            Stage(one.within, tuple(one.to), one.page, frozenset(one.environments), frozenset(one.classes))
            for one in entry.escalate
        ),
        opens=time.fromisoformat(entry.hours.from_),
        closes=time.fromisoformat(entry.hours.to.replace("24:00", "00:00")),
        days=frozenset(list(Day).index(day) for day in entry.hours.days),
        zone=ZoneInfo(entry.hours.timezone),
        zones={name: ZoneInfo(zone) for name, zone in zones.items() if zone is not None},
        route=route_of(declared),
        digest=entry.digest,
        again=entry.again,
    )


def route_of(declared: Declared) -> tuple[str, ...]:
    """Who hears of what nobody owns: what is declared, else the channel, and then whoever approves revocations."""
    if declared.reminders.unowned is not None:
        return tuple(declared.reminders.unowned)
    return tuple(dict.fromkeys([CHANNEL, *(name for policy, found in _on_call(declared) for name in found)]))


def _usual_escalation(declared: Declared) -> tuple[Stage, ...]:
    """Channel, group, pager: as far as policies name a group that is on call, and settings a pager."""
    found = [Rules().escalation[0]]
    pages = declared.incidents.page is not None
    for policy, groups in _on_call(declared):
        where = frozenset(policy.environments), frozenset(policy.classes)
        found.append(Stage(timedelta(days=3), groups, False, *where))
        found.append(Stage(timedelta(days=1), (CHANNEL, *groups), pages, *where))
    return (*found, *Rules().escalation[1:])


def _on_call(declared: Declared) -> Iterator[tuple[PolicyEntry, tuple[str, ...]]]:
    """Groups that have to answer when something is revoked, and the policy that says so."""
    for policy in declared.policies:
        groups = tuple(name for name in policy.from_ if name in declared.groups)
        if Need.REVOKE in policy.words and groups:
            yield policy, groups


def route_warnings(document: Document, declared: Declared) -> Iterator[Problem]:
    """A route that ends with a channel: what nobody owns is then nobody's in the end."""
    if not (declared.credentials or declared.discovery):
        return
    if not {*declared.people, *declared.groups} & set(route_of(declared)):
        message = "what has no owner is told to a channel alone: nobody is on call for it"
        hint = "end the route with people or a group: unowned: [channel, sec-oncall]"
        yield document.problem(("reminders", "unowned"), message, hint)


def automatic_of(declared: Declared) -> tuple[Automatic, ...]:
    """Rules that say whether rotations start by themselves."""
    return tuple(
        Automatic(
            bool(entry.automatic),
            entry.ask_ahead or Automatic().ask_ahead,
            frozenset(entry.environments),
            frozenset(entry.classes),
        )
        for entry in declared.policies
        if entry.automatic is not None
    )


def finds_of(declared: Declared) -> tuple[Find, ...]:
    """What is listed regularly."""
    return tuple(
        Find(discovery_name(entry), entry.find, entry.environment, entry.with_, entry.owner, entry.every)
        for entry in declared.discovery
    )


def channels_of(declared: Declared) -> dict[str, str]:
    """Channels by their names, and the channel of each group that has one."""
    found = dict(declared.channels)
    for name, group in declared.groups.items():
        if group.channel:
            found[name] = declared.channels.get(group.channel, group.channel)
    return found


def discovery_name(entry: DiscoveryEntry) -> str:
    """Under which name its rounds are kept."""
    return entry.name or f"{entry.find}@{entry.environment}"


def keeping_problems(document: Document, declared: Declared) -> Iterator[Problem]:
    """Names that are nobody's, discoveries of the same name, rules that start what waits for nobody."""
    yield from _places(document, declared)
    yield from _discoveries(document, declared)
    for number, stage in enumerate(declared.reminders.escalate or ()):
        if stage.page and declared.incidents.page is None:
            at: Location = ("reminders", "escalate", number, "page")
            yield document.problem(at, "there is nothing to page with", "add incidents: {page: {do: ...}}")
    for number, policy in enumerate(declared.policies):
        if policy.ask_ahead is not None and not policy.automatic:
            at = ("policies", number, "ask_ahead")
            yield document.problem(at, "it says how early to ask, and starts nothing", "add automatic: true")


def _places(document: Document, declared: Declared) -> Iterator[Problem]:
    known = {*declared.channels, CHANNEL, *declared.people, *declared.groups}
    listed: list[tuple[Location, list[str]]] = [(("reminders", "unowned"), declared.reminders.unowned or [])]
    for number, stage in enumerate(declared.reminders.escalate or ()):
        listed.append((("reminders", "escalate", number, "to"), stage.to))
    for at, names in listed:
        for to in names:
            if to not in known and not _ID.fullmatch(to):
                yield document.problem(at, f"{to!r} is no person, group or channel", close(to, known))
    for name, group in declared.groups.items():
        if group.channel and group.channel not in declared.channels and not _ID.fullmatch(group.channel):
            at = ("groups", name, "channel")
            yield document.problem(at, f"{group.channel!r} is no channel", close(group.channel, declared.channels))


def _discoveries(document: Document, declared: Declared) -> Iterator[Problem]:
    people = {*declared.people, *declared.groups}
    names = Counter(discovery_name(entry) for entry in declared.discovery)
    for number, entry in enumerate(declared.discovery):
        if names[discovery_name(entry)] > 1:
            message = f"two discoveries are called {discovery_name(entry)}"
            yield document.problem(("discovery", number), message, "give each a name:")
        if entry.owner and entry.owner not in people:
            at: Location = ("discovery", number, "owner")
            yield document.problem(at, f"{entry.owner!r} is no person and no group", close(entry.owner, people))


def idle_discoveries(document: Document, declared: Declared, known: Collection[str]) -> Iterator[Problem]:
    """Discoveries that no adapter offers; `known` are the words of all of them."""
    for number, entry in enumerate(declared.discovery):
        if entry.find not in known:
            at: Location = ("discovery", number, "find")
            yield document.problem(at, f"no adapter discovers {entry.find!r}", close(entry.find, known))


class Offer(Vocabulary, Protocol):
    """What adapters offer, with the classes behind the words."""

    def part(self, word: str) -> type[Part] | None: ...


def idle_alarms(document: Document, declared: Declared, offer: Offer) -> Iterator[Problem]:
    """Alarms whose check is no probe that an adapter offers, or is given what does not fit it."""
    for number, entry in enumerate(declared.credentials):
        if entry.alarm is None:
            continue
        at: Location = ("credentials", number, "alarm")
        word = entry.alarm.check
        part = offer.part(word)
        if part is None or not issubclass(part, Probe):
            near = [one for one in offer.close(word) if issubclass(offer.part(one) or Part, Probe)]
            yield document.problem((*at, "check"), f"no adapter offers the probe {word!r}", close(word, near))
            continue
        names = {field.alias or name for name, field in part.Params.model_fields.items()}
        unknown = sorted(set(entry.alarm.with_) - names)
        for name in unknown:
            yield document.problem((*at, "with", name), f"{word} takes no {name!r}", close(name, names))
        try:
            parameters(part.Params, {}, entry.alarm.with_, {})
        except KeyturnError as error:
            if not unknown:
                hint = "docs/reference/adapters.md has what it takes"
                yield document.problem((*at, "with"), f"{word}: {error}", hint)


def idle_tiers(document: Document, rules: Rules, credentials: Iterable[Dated]) -> Iterator[Problem]:
    """Tiers that no credential of a class ever gets before its cadence ends, since they are half of it or longer."""
    halves: dict[tuple[int, str], timedelta] = {}
    for one in credentials:
        number = next((i for i, entry in enumerate(rules.tiers) if fits(entry, one)), None)
        if number is not None and one.cadence is not None:
            key = number, one.kind
            halves[key] = max(halves.get(key, timedelta(0)), one.cadence / 2)
    for (number, kind), half in halves.items():
        for place, span in enumerate(rules.tiers[number].before):
            if span >= half:
                at: Location = ("reminders", "tiers", number, "before", place)
                message = f"{duration.show(span)} never comes for {kind}, whose cadence is {duration.show(2 * half)}"
                yield document.problem(at, message, "a tier is shorter than half of what the credential lives")
