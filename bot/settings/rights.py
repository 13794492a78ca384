"""From declared people, groups, roles, policies and delegates to the policy that decides."""

from __future__ import annotations

from collections.abc import Iterable

from bot.core.policy import ApprovalRule, Delegate, Escalation, Membership, Person, Policy, Role, Who
from bot.settings.calendar import moment_of
from bot.settings.declared import Declared

SPECIAL = ("everyone", "owner")
"""Words that stand where a person or a group may be named."""


def policy_of(declared: Declared) -> Policy:
    """The policy; names that are neither people nor groups are left out here and reported by the checks."""
    people = tuple(
        Person(
            id=name,
            name=entry.name or name,
            slack_ids=frozenset(account.rpartition("/")[2] for account in entry.slack),
            os_user=entry.os or "",
        )
        for name, entry in declared.people.items()
    )
    roles = tuple(
        Role(
            name=name,
            who=who_of(declared, entry.who),
            may=frozenset(entry.may),
            environments=frozenset(entry.environments),
            classes=frozenset(entry.classes),
            channels=frozenset(declared.channels.get(channel, channel) for channel in entry.channels),
        )
        for name, entry in declared.roles.items()
    )
    rules = tuple(
        ApprovalRule(
            count=1 if entry.approvers is None else entry.approvers,
            who=who_of(declared, entry.from_),
            expires=entry.within,
            environments=frozenset(entry.environments),
            classes=frozenset(entry.classes),
            words=frozenset(word.value for word in entry.words),
            escalation=tuple(Escalation(one.after, who_of(declared, one.to), one.page) for one in entry.escalate),
            remind=entry.remind,
            signed=entry.signature == "required",
            break_glass=entry.break_glass,
            private=entry.private,
        )
        for entry in declared.policies
        if entry.approves
    )
    delegates = tuple(
        Delegate(entry.for_, entry.to, moment_of(entry.until, last=True))
        for entry in declared.delegates
        if entry.for_ in declared.people and entry.to in declared.people
    )
    return Policy(people, frozenset(declared.groups), roles, rules, delegates)


def who_of(declared: Declared, names: Iterable[str]) -> Who:
    """People and groups by name, and the two special words."""
    listed = list(names)
    return Who(
        people=frozenset(name for name in listed if name in declared.people),
        groups=frozenset(name for name in listed if name in declared.groups),
        owner="owner" in listed,
        everyone="everyone" in listed,
    )


def membership_of(declared: Declared) -> Membership:
    """Members of the groups that are listed in the file; None where Slack keeps them."""
    return {
        name: frozenset(group.members) if group.members is not None else None for name, group in declared.groups.items()
    }
