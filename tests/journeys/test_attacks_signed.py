"""Attacks on votes that need a signature: stolen sessions, forged and borrowed signatures, accounts of the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bot.core.rotation import State
from bot.engine.intake import Heard
from tests.journeys.siege import Siege, Standing
from tests.ssh import need_ssh_keygen

pytestmark = pytest.mark.journey
Forger = Callable[[Siege, Standing], str]
SIGNATURES: dict[str, tuple[str, str, Forger]] = {
    "somebody else's key": ("bob", "unknown-signer", lambda t, s: t.tokens["mallory"].sign(t.ballot(s.revocation))),
    "another approver's key": ("bob", "unknown-signer", lambda t, s: t.tokens["carol"].sign(t.ballot(s.revocation))),
    "a guest with the approver's": ("gus", "unknown-signer", lambda t, s: t.tokens["bob"].sign(t.ballot(s.revocation))),
    "another rotation": ("bob", "bad-signature", lambda t, s: t.tokens["bob"].sign(t.ballot(s.ordinary))),
    "another number": (
        "bob",
        "bad-signature",
        lambda t, s: t.tokens["bob"].sign(replace(t.ballot(s.revocation), rotation="R-999")),
    ),
    "another plan": (
        "bob",
        "bad-signature",
        lambda t, s: t.tokens["bob"].sign(replace(t.ballot(s.revocation), plan="sha256:" + "0" * 64)),
    ),
    "another nonce": (
        "bob",
        "bad-signature",
        lambda t, s: t.tokens["bob"].sign(replace(t.ballot(s.revocation), nonce="0" * 16)),
    ),
    "another vote": ("bob", "bad-signature", lambda t, s: t.tokens["bob"].sign(t.ballot(s.revocation, "break-glass"))),
    "another environment": (
        "bob",
        "bad-signature",
        lambda t, s: t.tokens["bob"].sign(replace(t.ballot(s.revocation), environment="staging")),
    ),
    "made for git": ("bob", "bad-signature", lambda t, s: t.tokens["bob"].sign(t.ballot(s.revocation), "git")),
    "not touched": ("bob", "bad-signature", lambda t, s: t.tokens["bob"].sign(t.ballot(s.revocation), flags=0)),
}


@pytest.mark.parametrize("how", SIGNATURES)
def test_a_forged_signature_counts_for_nothing(standing: Standing, how: str) -> None:
    need_ssh_keygen()
    user, code, forge = SIGNATURES[how]
    town, number = standing.town, standing.revocation
    armored = " ".join(forge(town, standing).split("\n"))
    with town.repelled(user, code, about=f"R-{number}"):
        town.type(user, f'approve R-{number} --signature "{armored}"')


def test_what_is_no_signature_is_not_stored(standing: Standing) -> None:
    town, number = standing.town, standing.revocation
    armored = town.tokens["bob"].sign(town.ballot(number)).split("\n")
    cut = " ".join([armored[0], armored[1], armored[-2]])
    with town.repelled("bob", "bad-signature", about=""):
        town.type("bob", f'approve R-{number} --signature "{cut}"')


def test_a_stolen_session_alone_cannot_revoke(standing: Standing) -> None:
    """Whoever holds Bob's session in Slack, and not his key: by a word, and by the form that the button opens."""
    need_ssh_keygen()
    town, number = standing.town, standing.revocation
    with town.repelled("bob", "unsigned", about=f"R-{number}"):
        town.type("bob", f"approve R-{number}")
    town.workspace.click("bob", standing.card(number), "rotate:approve")
    town.modal("bob", "Sign your approval")
    with town.repelled("bob", "unknown-signer", about=f"R-{number}"):
        town.workspace.submit("bob", {"signature": town.tokens["mallory"].sign(town.ballot(number))})


def test_an_edited_signing_form_counts_for_nothing(standing: Standing) -> None:
    """Bob signs what he is shown; the form says on its way that it was for something else."""
    need_ssh_keygen()
    town, bound, other = standing.town, standing.town.bound(standing.revocation), standing.town.bound(standing.ordinary)
    genuine = town.tokens["bob"].sign(town.ballot(standing.revocation))
    for hidden, code, about in (
        ("everything", "bad-form", ""),
        (f"approve {other} C0OPS", "bad-signature", other.rotation),
        (f"approve {replace(bound, digest=other.digest)} C0OPS", "bad-signature", bound.rotation),
        (f"contain {bound} C0OPS", "usage", bound.rotation),
    ):
        town.workspace.click("bob", standing.card(standing.revocation), "rotate:approve")
        town.modal("bob", "Sign your approval")
        town.workspace.fill("bob", {"signature": genuine})
        draft = town.workspace.intruder.draft_submit("bob", edited={"private_metadata": hidden})
        with town.repelled("bob", code, about=about):
            town.workspace.intruder.send(draft)
        if town.workspace.view("bob") is not None:  # refused at once
            town.workspace.close_view("bob", everything=True)


@pytest.mark.parametrize("account", ["os:bob", "os:root", "os:mallory"])
def test_a_vote_on_the_command_line_needs_a_signature(standing: Standing, account: str) -> None:
    """An account of the bot's host is no approver, whatever is approved."""
    town = standing.town
    assert town.bot is not None
    for number in (standing.ordinary, standing.revocation):
        with town.repelled(account, "unsigned", about=f"R-{number}"):
            words = Heard(f"{account}-{number}", account, text=f"approve R-{number}", surface="cli")
            town.bot.engine.intake.hear(words)


def test_a_forged_signature_on_the_command_line_counts_for_nothing(standing: Standing) -> None:
    need_ssh_keygen()
    town, number = standing.town, standing.revocation
    assert town.bot is not None
    for forger, code, vote in (
        ("mallory", "unknown-signer", "approve"),
        ("carol", "unknown-signer", "approve"),
        ("bob", "bad-signature", "reject"),
    ):
        armored = town.tokens[forger].sign(town.ballot(number, vote))
        with town.repelled("os:bob", code, about=f"R-{number}"):
            heard = Heard(f"cli-{forger}", "os:bob", f"approve R-{number}", flags={"signature": armored}, surface="cli")
            town.bot.engine.intake.hear(heard)


def test_a_signature_counts_once_and_for_one_request(siege: Siege) -> None:
    """The control of all of the above: a genuine one counts. What the audit and Slack show of it counts no more."""
    need_ssh_keygen()
    first = siege.revoke()
    armored = " ".join(siege.tokens["bob"].sign(siege.ballot(first)).split("\n"))
    siege.ask("bob", f'approve R-{first} --signature "{armored}"', "is counted")
    siege.wait(first, lambda r: r.state is not State.REQUESTED)
    siege.ask("carol", f'approve R-{first} --signature "{armored}"', "is not one of “carol”")
    siege.ask("bob", f'approve R-{first} --signature "{armored}"', f"R-{first} was already approved by bob")
    second = siege.revoke(credential="billing-api-key")
    seen = siege.ask("bob", f'approve R-{second} --signature "{armored}"', "is not of this vote").words
    siege.tells_nothing(seen)
    assert siege.rotation(second).votes == ()
    assert [row.actor for row in siege.audit() if row.event == "vote.counted"] == ["bob"]
