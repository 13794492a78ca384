"""The modal in which a person hands over the SSH signature that their vote needs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bot.core.ballot import Ballot
from bot.core.rotation import Rotation
from bot.slack import forms
from bot.slack.blocks import Block, context, section, text_input
from bot.slack.buttons import Bound
from bot.slack.text import code, escape, span

SIGN, SIGNATURE_FIELD = "rotate-sign", "signature"
MOST_SIGNATURE = 3000
"""What a field of Slack's takes; only RSA keys of more than 4096 bits need more, and sign on the command line."""
CONFIRMS = "request"
"""What the requester's own signature says, where they asked on the command line."""
_TITLES = {
    "approve": ("Sign your approval", "Approve"),
    "break-glass": ("Contain alone", "Contain now"),
    CONFIRMS: ("Sign your request", "Confirm"),
}


@dataclass(frozen=True, slots=True)
class SignNote:
    """What the form remembers: the word, and what its button was bound to."""

    word: str
    bound: Bound
    channel: str

    def __str__(self) -> str:
        return f"{self.word} {self.bound} {self.channel or '-'}"

    @classmethod
    def read(cls, text: str) -> SignNote:
        """Read it back; raises `Refused` for what no form of ours says."""
        note = forms.ReasonNote.read(text)
        return cls(note.word, note.bound, note.channel)


def needs_signature(rotation: Rotation, vote: str) -> bool:
    """Whether a click on a word that casts this vote has to ask for a signature."""
    return vote in ("break-glass", CONFIRMS) or rotation.plan.signed


def sign(rotation: Rotation, word: str, vote: str, bound: Bound, channel: str, *, reason: bool) -> forms.View:
    """Shows what to run on one's own machine, and takes what it prints. Raises `Refused` for an edited button."""
    plan = rotation.plan
    ballot = Ballot(rotation.id, plan.credential, plan.environment, bound.digest, bound.nonce, vote)
    title, submit = _TITLES.get(vote, ("Sign it", "Hand over"))
    note = SignNote(word, bound, channel if forms.is_channel(channel) else "-")
    blocks = [section(*_opening(rotation, vote)), section("Run this on your own machine:"), *_command(ballot)]
    if reason:
        blocks.append(forms.reason_input("", "Why can a second person not be waited for?"))
    hint = f"From {_BEGIN} to the end. Never paste a private key; it would be refused, and count as leaked."
    field = text_input(SIGNATURE_FIELD, "What it printed", most=MOST_SIGNATURE, hint=hint, multiline=True)
    blocks += [field, context("Longer signatures go in on the command line of the bot's host.")]
    return forms.modal(title, blocks, submit=submit, callback=SIGN, note=str(note))


_BEGIN = "-----BEGIN SSH SIGNATURE-----"


def _opening(rotation: Rotation, vote: str) -> list[str]:
    plan = rotation.plan
    what = f"{code(plan.credential, 150)} in {escape(plan.environment, 60)}"
    if vote == "break-glass" and plan.break_glass is not None:
        return [
            f"You are about to contain {what} *alone* ({rotation.id}). Everybody concerned is told at once.",
            f"It is put back in {span(plan.break_glass)} unless somebody else approves, and somebody else has to "
            "close its review.",
        ]
    if vote == CONFIRMS:
        return [f"You asked for {rotation.id} on the command line, for {what}. It counts once you have signed it."]
    if rotation.amendment is not None:
        wanted = "undo all of" if rotation.amendment.undoes else "skip a step of"
        return [f"You are about to agree to {wanted} {rotation.id}, {what}. It counts only with your SSH signature."]
    deed = "the revocation" if plan.emergency else "the rotation"
    return [f"You are about to approve {deed} of {what} ({rotation.id}). It counts only with your SSH signature."]


def _command(ballot: Ballot) -> list[Block]:
    """The whole command; a back quote or a fence cannot be in it, since every field of a ballot has a strict form."""
    text = re.sub(r"`", "'", ballot.command())
    return [section(f"```{escape(text, 2500)}```")]
