"""Who may vote on a rotation, asked when it counts: live membership, what was frozen at the request, and signatures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from bot.contracts.command import Call
from bot.contracts.people import Directory
from bot.core.ballot import Ballot
from bot.core.errors import Refused
from bot.core.policy import Person, Policy, Target, Verdict
from bot.core.rotation import Rotation
from bot.engine.signers import Signed, Signers

ON_THE_HOST = "cli"


class Electorate:
    """Answers who may vote, and checks what they signed."""

    def __init__(self, policy: Policy, directory: Directory, signers: Signers) -> None:
        self._policy = policy
        self._directory = directory
        self.signers = signers

    def frozen(
        self, target: Target, requester: str, word: str, now: datetime, *, stage: int = 0
    ) -> Mapping[str, str] | None:
        """Who may approve as of now: person -> why. None where every member may, or a group cannot be read."""
        groups = self._directory.groups(self._policy.needed_groups(target))
        found = self._policy.eligible(target, groups, word, now=now, stage=stage, requester_id=requester)
        return None if found.open else dict(found.people)

    def verdict(self, call: Call, rotation: Rotation, target: Target, now: datetime, *, signed: bool) -> Verdict:
        """Whether this person's vote counts, on membership read now.

        Where Slack cannot be asked, a signed vote on an emergency counts by the membership that was frozen at the
        request: the signature says who it is, and nobody can have joined the group since.
        """
        asker = rotation.amendment.requester if rotation.amendment else rotation.plan.requester
        word = "skip" if rotation.amendment and rotation.amendment.step >= 0 else rotation.plan.word
        votes = () if rotation.amendment else rotation.votes
        taken = [name for vote in votes for name in (vote.person, vote.instead_of) if name]
        verdict = self._policy.may_approve(
            call.person,
            target,
            asker,
            call.channel,
            self._directory.groups(self._policy.needed_groups(target)),
            word,
            now=now,
            stage=rotation.escalated,
            taken=taken,
        )
        known = rotation.eligible or {}
        if verdict.code == "group-unknown" and signed and rotation.plan.emergency and call.person.id in known:
            return Verdict(True, f"{known[call.person.id]} at the request; Slack could not be asked")
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


def ballot(call: Call, rotation: Rotation, vote: str) -> Ballot:
    """What a vote on the plan that the person saw has to have signed."""
    plan = rotation.plan
    return Ballot(
        rotation.id, plan.credential, plan.environment, call.bound.get("digest", ""), call.bound.get("nonce", ""), vote
    )
