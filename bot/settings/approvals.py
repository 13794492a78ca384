"""Checks what the settings say of approvals: rules, escalations, delegates, errands; warns of what is odd."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from bot.core.document import Document, Location, Problem, close
from bot.core.policy import WITHOUT_APPROVAL, Membership, Need, Policy
from bot.settings.calendar import freeze_of
from bot.settings.declared import Declared, PolicyEntry
from bot.settings.rights import SPECIAL, membership_of

_JUDGED = (Need.START, Need.SKIP, Need.REVOKE)
"""Words that need an approval."""


@dataclass(frozen=True, slots=True)
class _Target:
    """A credential as policy sees it."""

    name: str
    environment: str
    kind: str
    owner: str


def approval_problems(document: Document, declared: Declared, policy: Policy, *, complete: bool) -> list[Problem]:
    """Rules that contradict themselves, and credentials that nobody could start or approve.

    The latter is judged only where the settings are `complete`: a name with a typo is a mistake of its own.
    """
    found: list[Problem] = []
    for index, rule in enumerate(declared.policies):
        at: Location = ("policies", index)
        found += [*_counts(document, at, rule), *_times(document, at, rule), *_means(document, at, rule, declared)]
    found += [*_delegates(document, declared), *_freezes(document, declared)]
    if complete:
        found += _hopeless(document, declared, policy)
    return found


def warnings_of(document: Document, declared: Declared, policy: Policy, now: datetime) -> list[Problem]:
    """What holds but may not be meant: approvals that only an escalation brings, and what is over."""
    found: list[Problem] = []
    members = membership_of(declared)
    for index, target in enumerate(_targets(declared)):
        for word in _JUDGED:
            if (why := policy.late(target, members, word)) and _asks(policy, target, members, word):
                where = document.problem(("credentials", index, "name"), f"{_called(target)}: {why}", "see `escalate:`")
                found.append(where)
        if _revocable(declared) and not _asks(policy, target, members, Need.REVOKE):
            message = f"{_called(target)}: nobody may revoke it"
            found.append(document.problem(("credentials", index, "name"), message, "give a role `may: revoke`"))
    ends = {(one.absent, one.stands_in): one.until for one in policy.delegates if not one.holds(now)}
    for index, delegate in enumerate(declared.delegates):
        if (delegate.for_, delegate.to) in ends:
            message = f"{delegate.to} stood in for {delegate.for_} until {delegate.until}, which is over"
            found.append(document.problem(("delegates", index, "until"), message, "remove the entry"))
    for index, freeze in enumerate(declared.freezes):
        if freeze_of(freeze).end <= now:
            message = f"the freeze {freeze.name} ended on {freeze.to}"
            found.append(document.problem(("freezes", index, "to"), message, "remove the entry"))
    return found


def errand_problems(document: Document, declared: Declared, known: Collection[str]) -> list[Problem]:
    """Errands whose operation no adapter offers; `known` are the words of all operations."""
    errands = {"ticket": declared.incidents.ticket, "page": declared.incidents.page}
    return [
        document.problem(("incidents", name, "do"), f"no adapter offers {errand.do!r}", close(errand.do, known))
        for name, errand in errands.items()
        if errand is not None and errand.do not in known
    ]


def _counts(document: Document, at: Location, rule: PolicyEntry) -> Iterator[Problem]:
    if rule.approvers != 0:
        return
    at = (*at, "approvers")
    if rule.environments != [WITHOUT_APPROVAL]:
        message = f"approvers: 0 is allowed for environments: [{WITHOUT_APPROVAL}] alone"
        yield document.problem(at, message, "write approvers: 1, or limit the rule")
    if not rule.words or set(rule.words) - {Need.START}:
        message = "approvers: 0 is allowed for words: [start] alone; skipping and revoking need a second person"
        yield document.problem(at, message, "add words: [start]")


def _times(document: Document, at: Location, rule: PolicyEntry) -> Iterator[Problem]:
    before = None
    for index, one in enumerate(rule.escalate):
        where = (*at, "escalate", index, "after")
        if before is not None and one.after <= before:
            yield document.problem(where, "each escalation comes later than the one before it", "put them in order")
        if one.after >= rule.within:
            yield document.problem(where, "the request has expired by then", "escalate earlier, or raise `expires:`")
        before = one.after
    if rule.remind is not None and rule.remind >= rule.within:
        where = (*at, "remind")
        yield document.problem(where, "the request has expired by then", "remind earlier, or raise `expires:`")


def _means(document: Document, at: Location, rule: PolicyEntry, declared: Declared) -> Iterator[Problem]:
    """What a rule counts on and the settings do not have."""
    for index, one in enumerate(rule.escalate):
        if one.page and declared.incidents.page is None:
            hint = "add incidents: {page: {do: ...}}"
            yield document.problem((*at, "escalate", index, "page"), "there is nothing to page with", hint)
    if rule.signature == "required" and not declared.signers:
        hint = "add signers: allowed_signers"
        yield document.problem((*at, "signature"), "no keys are known to check signatures with", hint)
    if rule.break_glass is not None and not declared.signers:
        message = "breaking the glass takes a signature, and no keys are known"
        yield document.problem((*at, "break_glass"), message, "add signers: allowed_signers")
    for key, given in (("break_glass", rule.break_glass is not None), ("private", rule.private)):
        if given and rule.words and Need.REVOKE not in rule.words:
            yield document.problem((*at, key), f"{key} is for the word revoke", "add it to `words:`, or remove the key")


def _delegates(document: Document, declared: Declared) -> Iterator[Problem]:
    for index, entry in enumerate(declared.delegates):
        for key, name in (("for", entry.for_), ("to", entry.to)):
            if name not in declared.people:
                hint = "name a person" if name in (*declared.groups, *SPECIAL) else close(name, declared.people)
                yield document.problem(("delegates", index, key), f"{name!r} is not among the people", hint)
        if entry.for_ == entry.to:
            message = f"{entry.to} cannot stand in for themselves"
            yield document.problem(("delegates", index, "to"), message, "name somebody else")


def _freezes(document: Document, declared: Declared) -> Iterator[Problem]:
    for index, entry in enumerate(declared.freezes):
        if freeze_of(entry).start >= freeze_of(entry).end:
            at = ("freezes", index, "to")
            yield document.problem(at, f"{entry.name} ends before it begins", "put the later day here")


def _hopeless(document: Document, declared: Declared, policy: Policy) -> Iterator[Problem]:
    members = membership_of(declared)
    for index, target in enumerate(_targets(declared)):
        for word in _JUDGED:
            granted = word is Need.START or any(word in role.may for role in declared.roles.values())
            if word is Need.REVOKE:
                granted = _asks(policy, target, members, word)  # what nobody may revoke is odd, but no contradiction
            if granted and (why := policy.hopeless(target, members, word)):
                hint = "add people to a role or to `from:` of a policy"
                yield document.problem(("credentials", index, "name"), f"{_called(target)}: {why}", hint)


def _targets(declared: Declared) -> Iterator[_Target]:
    for entry in declared.credentials:
        yield _Target(entry.name, entry.environment, entry.class_, entry.owner)


def _asks(policy: Policy, target: _Target, members: Membership, word: Need) -> bool:
    starters = policy.granted_to(word, target, members)
    return bool(starters.people) or starters.open


def _revocable(declared: Declared) -> bool:
    return any(Need.REVOKE in role.may for role in declared.roles.values())


def _called(target: _Target) -> str:
    return f"{target.name} ({target.environment})"
