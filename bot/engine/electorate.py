"""Who may vote on a rotation, asked when it counts: live membership, what was frozen at the request, and signatures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from bot.contracts.command import Call
from bot.contracts.people import Directory
from bot.core.ballot import Ballot
from bot.core.errors import Refused, Transient
from bot.core.policy import Membership, Person, Policy, Target, Verdict
from bot.core.rotation import Rotation
from bot.engine.signers import Signed, Signers

ON_THE_HOST = "cli"
PATIENCE = timedelta(minutes=1)
"""For so long an escalation waits for Slack to say who is in its groups; then it goes out without."""


class Electorate:
    """Answers who may vote, and checks what they signed."""

    def __init__(self, policy: Policy, directory: Directory, signers: Signers) -> None:
        self._policy = policy
        self._directory = directory
        self.signers = signers

    def frozen(self, target: Target, requester: str, word: str, now: datetime) -> Mapping[str, str] | None:
        """Who may approve as of now: person -> why. None where every member may, or a group cannot be read."""
        found = self._policy.eligible(target, self._members(target), word, now=now, requester_id=requester)
        return None if found.open else dict(found.people)

    def widened(self, rotation: Rotation, target: Target, now: datetime, stage: int) -> Mapping[str, str] | None:
        """Who may approve once a stage of the escalation is called: who might before, and whom it names.

        Nobody else comes in: a group that was edited since the request stays as it was then. Raises `Transient` while
        Slack may yet say who is in the groups of the stage.
        """
        rule = self._policy.rule(target, rotation.plan.word)
        stages = rule.escalation[stage - 1 : stage]
        if rotation.eligible is None or not stages:
            return rotation.eligible
        only = replace(self._policy, rules=(replace(rule, who=stages[0].who, escalation=()),))
        asker, groups = rotation.plan.requester, self._members(target)
        found = only.eligible(target, groups, rotation.plan.word, now=now, requester_id=asker)
        due = rotation.asked_at + timedelta(seconds=rotation.plan.escalation[stage - 1]["after"])
        if found.unknown and now < due + PATIENCE:
            raise Transient(f"Slack did not say who is in {', '.join(found.unknown)}", delay=timedelta(seconds=1))
        return None if found.everyone else {**found.people, **rotation.eligible}

    def _members(self, target: Target) -> Membership:
        """Live, and as remembered for a few minutes where Slack cannot be asked."""
        names = self._policy.needed_groups(target)
        live = self._directory.groups(names)
        unknown = [name for name in names if live.get(name) is None]
        return {**live, **self._directory.remembered(unknown)} if unknown else live

    def verdict(self, call: Call, rotation: Rotation, target: Target, now: datetime, *, signed: bool) -> Verdict:
        """Whether this person's vote counts, on membership read now.

        Where Slack cannot be asked, a signed vote on an emergency counts by the membership that was frozen at the
        request: the signature says who it is, and nobody can have joined the group since.
        """
        asker = rotation.amendment.requester if rotation.amendment else rotation.plan.requester
        word = "skip" if rotation.amendment and not rotation.amendment.undoes else rotation.plan.word
        votes = () if rotation.amendment else rotation.votes
        taken = [name for vote in votes for name in (vote.person, vote.instead_of) if name]
        taken += [rotation.glass.by] if rotation.glass else []

        def may(groups: Membership) -> Verdict:
            return self._policy.may_approve(
                call.person, target, asker, call.channel, groups, word, now=now, stage=rotation.escalated, taken=taken
            )

        groups = self._directory.groups(self._policy.needed_groups(target))
        verdict = may(groups)
        known = rotation.eligible or {}
        if verdict.code == "group-unknown" and signed and rotation.plan.emergency and call.person.id in known:
            then = may({name: _then(known, name) if found is None else found for name, found in groups.items()})
            if then.allowed:
                return replace(then, because=f"{then.because} at the request; Slack could not be asked")
        return verdict

    def signature(self, call: Call, rotation: Rotation, vote: str) -> Signed | None:
        """The verified signature of the vote; None where none was handed over and none is needed.

        Raises `Refused` for a signature that is wrong, and on the command line for one that is missing.
        """
        armored = call.flags.get("signature", "")
        if armored:
            return self.signers.verify(ballot(call, rotation, vote), armored, call.person.id)
        if call.surface == ON_THE_HOST:
            raise Refused(
                f"A vote on the command line counts only with your SSH signature. On your own machine, run: "
                f"{ballot(call, rotation, vote).command()}",
                code="unsigned",
            )
        return None

    def double(self, person: Person, voters: Collection[str]) -> bool:
        """Whether one of the voters is this person under another account."""
        return any(self._policy.same_person(person, voter) for voter in voters)


def _then(eligible: Mapping[str, str], group: str) -> frozenset[str]:
    """Who was in a group when it was frozen."""
    return frozenset(person for person, why in eligible.items() if why == f"member of {group}")


def ballot(call: Call, rotation: Rotation, vote: str) -> Ballot:
    """What a vote on the plan that the person saw has to have signed."""
    plan = rotation.plan
    return Ballot(
        rotation.id, plan.credential, plan.environment, call.bound.get("digest", ""), call.bound.get("nonce", ""), vote
    )
