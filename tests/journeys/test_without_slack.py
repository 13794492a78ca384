"""Slack is away: two people revoke from the bot's host with their signatures, and Slack is caught up afterwards."""

from __future__ import annotations

import getpass
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from bot.core.ballot import Ballot
from bot.core.rotation import Rotation, State
from bot.engine.intake import Heard
from bot.slack.buttons import bound_to
from playground.workspace.records import Message
from playground.workspace.seed import BOT_USER
from playground.workspace.state import Conversation
from tests.journeys.conftest import TownOpener
from tests.journeys.town import BRISK, ROOT, Town, clean_environment, held
from tests.ssh import Key, SoftwareToken, need_ssh_keygen

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]
NUMBER, SUSPECTED = 1, "identity-signing"
ELSEWHERE = ("unshare", "--user")
"""Runs a program as the host's user `nobody`, who may read and write what we may."""
NOBODY = "nobody"
WEB = httpx.Client(trust_env=False, timeout=10)


class Host:
    """The bot's host, at which alice and bob sit as two of its users, each with a key of their own."""

    def __init__(self, open_town: TownOpener, approvers: Sequence[str]) -> None:
        self.signers: dict[str, SoftwareToken | Key] = {}
        self._approvers = list(approvers)
        self.town: Town = open_town(estate={**BRISK, "rate": 1200.0}, change=self._arm, begin=False)
        folder = self.town.folder
        self.signers = {
            "alice": Key.make(folder, "alice-key"),
            "bob": Key.make(folder, "bob-key"),
            "mallory": SoftwareToken("ed25519"),
        }
        (folder / "allowed_signers").write_text(
            "".join(f"{name} {self.signers[name].public}\n" for name in ("alice", "bob"))
        )
        (folder / "allowed_signers").chmod(0o644)
        self.town.begin()

    def _arm(self, settings: dict[str, Any]) -> None:
        settings["people"]["alice"]["os"] = getpass.getuser()
        settings["people"]["bob"]["os"] = NOBODY
        settings["roles"]["operators"]["who"].append("alice")
        settings["signers"] = "allowed_signers"
        settings["policies"].insert(
            0, {"words": ["revoke"], "from": self._approvers, "expires": "30d", "signature": "required"}
        )

    # --- what people type ---------------------------------------------------------------------------------------------

    def keyturn(self, person: str, *words: str) -> subprocess.CompletedProcess[str]:
        """`keyturn …` as a process of this person's."""
        before = () if person == "alice" else ELSEWHERE
        return subprocess.run(
            [*before, sys.executable, "-m", "bot", *words],
            env=clean_environment() | self.town.environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def revoke(self) -> None:
        """Alice asks for it; nothing is done yet."""
        asked = self.keyturn("alice", "run", f'revoke {SUSPECTED} --reason "seen in a public log" --yes')
        assert asked.returncode == 0, asked.stderr
        assert "you have to sign what you asked for" in asked.stdout
        assert self.rotation.unconfirmed

    def sign_as_told(self, person: str, vote: str) -> str:
        """An unsigned vote is refused with a command; that command, on the person's machine, makes the block."""
        refused = self.keyturn(person, "run", f"approve R-{NUMBER}")
        assert refused.returncode == 1, refused
        told = re.search(r"keyturn approve .*", refused.stderr)
        assert told is not None, refused.stderr
        words = shlex.split(told[0])[1:]
        assert words == shlex.split(self.ballot(vote).command())[1:]
        key = self.signers[person]
        assert isinstance(key, Key)
        signed = self.keyturn(person, *words, "--key", str(key.path), "--yes")
        assert signed.returncode == 0, signed.stderr
        return signed.stdout

    def sign(self, key: str, vote: str = "approve") -> str:
        """A signature of the vote by somebody's key."""
        return self.signers[key].sign(self.ballot(vote))

    def ballot(self, vote: str) -> Ballot:
        """What has to be signed."""
        plan, bound = self.rotation.plan, bound_to(self.rotation)
        return Ballot(f"R-{NUMBER}", SUSPECTED, plan.environment, bound.digest, bound.nonce, vote)

    def approve(self, person: str, block: str) -> str:
        """Hand a signature over that counts; the answer."""
        file = self.town.folder / f"{person}.sig"
        file.write_text(block)
        done = self.keyturn(person, "run", f"approve R-{NUMBER}", "--signature", str(file))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refuse(self, person: str, block: str, code: str) -> None:
        """Hand a signature over that does not count, as the command line does; nothing has changed, the audit says why.

        `code` is what refuses it.
        """
        before, bot = self.rotation, self.town.bot
        assert bot is not None
        heard = Heard(
            key=f"cli-{block[-60:-40]}-{person}-{code}",
            account=f"os:{getpass.getuser() if person == 'alice' else NOBODY}",
            text=f"approve R-{NUMBER}",
            flags={"signature": block},
            surface="cli",
        )
        number = bot.engine.intake.hear(heard).number

        def answered() -> dict[str, Any] | None:
            with self.town.database.read() as reader:
                row = reader.intent(number)
            return dict(row.answer) if row is not None and row.answer else None

        answer = self.town.until(answered, "an answer", 15)
        assert not answer["good"], answer
        assert self.town.audit(NUMBER)[-1].detail["code"] == code, answer
        assert self.rotation == before

    # --- what became of it --------------------------------------------------------------------------------------------

    @property
    def rotation(self) -> Rotation:
        return self.town.rotation(NUMBER)

    def untouched(self) -> bool:
        """Whether nothing at all was done yet."""
        return self.rotation.state is State.REQUESTED and not any(run.touched for run in self.rotation.steps)

    def stolen(self) -> dict[str, str]:
        """For every gateway, a token that somebody signed with the suspected key."""
        identity = self.town.estate.identity
        old = self.town.estate.signing_kid()
        return {
            gateway.address: identity.keys.sign_canary(old, identity._claims(f"canary:{gateway.name}", 1e8))
            for gateway in self.town.estate.gateways
        }

    def ends(self, stolen: dict[str, str], old: str) -> Rotation:
        """While Slack is still away: everything is done, the suspected key is refused, and the incident is open."""
        town = self.town
        done = town.wait(NUMBER, lambda r: r.is_over or held(r), 60)
        assert done.state is State.PROMOTED, town.tell(NUMBER)
        assert town.workspace.faults.outage is not None
        states = {key["kid"]: key["state"] for key in town.estate.identity.keys.all()}
        assert states == {old: "disabled", town.estate.signing_kid(): "current"}
        assert accepted(stolen) == [401, 401, 401]
        with town.database.read() as reader:
            incident = reader.incident(NUMBER)
        assert incident is not None
        assert (incident.opened_by, incident.place, incident.is_open) == ("alice", "", True)
        assert rooms(town) == [], "Slack was not away"
        return done


def accepted(stolen: dict[str, str]) -> list[int]:
    """What each gateway answers to a token of the suspected key."""
    return [
        WEB.get(f"{address}/canary", headers={"Authorization": f"Bearer {token}"}).status_code
        for address, token in stolen.items()
    ]


def rooms(town: Town) -> list[Conversation]:
    """The channels that the bot has made."""
    with town.workspace.state.lock:
        found = list(town.workspace.state.conversations.values())
    return [one for one in found if one.creator == BOT_USER and not one.is_im]


def caught_up(host: Host) -> Conversation:
    """One channel, one card, one status, and every message once and in order; the channel."""
    town = host.town
    made = town.until(lambda: rooms(town), lambda: town.tell(NUMBER), 40)[0]

    def said() -> list[Message]:
        return town.workspace.messages(made.name)

    town.until(lambda: any("(identity-signing, production) is done" in one.text for one in said()), told(said), 40)
    town.until(lambda: any("For everybody who used it" in one.words for one in said()), told(said), 40)
    town.until(lambda: len(town.workspace.pins(made.name)) == 1, "a pinned status")
    card = town.shows(NUMBER, "is revoked and replaced since", timeout=40)
    assert card.buttons == []

    def log() -> list[Message]:
        return town.workspace.thread("ops", card.ts)

    def asked() -> list[Message]:  # beside the card where that was not drawn yet
        found = {one.ts: one for one in (*log(), *town.workspace.messages("ops")) if "asks to revoke" in one.text}
        return [one for one in found.values() if one.ts != card.ts]

    town.until(lambda: asked(), told(log), 40)
    assert len(asked()) == 1
    threads = [one.text for one in log()]
    assert len(threads) == len(set(threads)), f"something was said twice: {threads}"
    assert len(rooms(town)) == 1
    texts = [one.text for one in said() if one.user == BOT_USER]
    lines = [text for text in texts if re.search(r": done\b", text)]
    titles = [step.title for step in host.rotation.plan.steps]
    assert [line.split(": done")[0] for line in lines] == titles
    assert len(texts) == len(set(texts)), f"something was said twice: {texts}"
    order = [first(texts, "begins, asked for by alice and approved by bob"), *(first(texts, one) for one in titles)]
    assert order == sorted(order), texts
    forms = [(one.metadata or {}).get("event_payload", {}).get("form") for one in said()]
    assert sorted(form for form in forms if form) == ["review", "status", "timeline"]
    (status,) = town.workspace.pins(made.name)
    assert "OVER, REVIEW OPEN" in status.words
    return made


def told(said: Any) -> Any:
    return lambda: str([one.text for one in said()])


def first(texts: list[str], part: str) -> int:
    """Where it was said."""
    return next(i for i, text in enumerate(texts) if part in text)


def need_two_users() -> None:
    """Skip the test where one user of the machine cannot start a program as another."""
    try:
        done = subprocess.run([*ELSEWHERE, "id", "-un"], capture_output=True, text=True, check=False)
    except OSError:
        pytest.skip("unshare is not installed: nobody else can use the command line")
    if done.stdout.strip() != NOBODY:
        pytest.skip("user namespaces are not allowed here: nobody else can use the command line")


@pytest.fixture(autouse=True)
def surroundings() -> None:
    """What is needed on this machine."""
    need_ssh_keygen()
    need_two_users()


def test_slack_goes_away_before_the_request(open_town: TownOpener) -> None:
    host = Host(open_town, ["bob", "sec-oncall"])
    town, old, stolen = host.town, host.town.estate.signing_kid(), host.stolen()
    assert accepted(stolen) == [200, 200, 200]
    town.workspace.faults.down()
    host.revoke()
    mine = host.sign_as_told("alice", "request")
    host.refuse("bob", mine, "bad-signature")
    host.approve("alice", mine)
    assert not host.rotation.unconfirmed
    host.refuse("alice", mine, "bad-signature")
    host.refuse("alice", host.sign("alice"), "own-request")
    host.refuse("bob", host.sign("alice"), "unknown-signer")
    host.refuse("bob", host.sign("mallory"), "unknown-signer")
    assert host.untouched()
    assert len(town.estate.identity.keys.all()) == 1
    host.approve("bob", host.sign_as_told("bob", "approve"))
    host.ends(stolen, old)

    town.workspace.faults.up()
    caught_up(host)
    town.workspace.wait_connected(timeout=40)
    town.ask("carol", f"status R-{NUMBER}", "suspected")


def test_slack_goes_away_before_the_approval(open_town: TownOpener) -> None:
    """Who was in the group when it was asked for still counts, with a signature, although Slack cannot be asked."""
    host = Host(open_town, ["sec-oncall"])
    town, old, stolen = host.town, host.town.estate.signing_kid(), host.stolen()
    host.revoke()
    card = town.shows(NUMBER, "asks to revoke", "Not signed yet")
    town.until(lambda: copies(town, "bob"), "a copy of the card for Bob")
    town.workspace.faults.down("cut")
    yes = host.sign("bob")
    assert "still has to sign what they asked for" in host.approve("bob", yes)
    host.refuse("bob", yes, "double-vote")
    host.refuse("bob", host.sign("bob", "request"), "bad-signature")
    host.refuse("alice", host.sign("bob", "request"), "unknown-signer")
    host.refuse("alice", host.sign("mallory", "request"), "unknown-signer")
    assert host.untouched()
    host.approve("alice", host.sign("alice", "request"))
    host.ends(stolen, old)
    stale = town.card(NUMBER)
    assert stale is not None
    assert "is revoked" not in stale.words, "Slack was not away"

    town.workspace.faults.up()
    caught_up(host)
    found = town.card(NUMBER)
    assert found is not None
    assert found.ts == card.ts
    for person in ("bob", "carol"):
        copy = end_of_copy(town, person)
        assert copies(town, person) == [copy]


def end_of_copy(town: Town, person: str) -> Message:
    """A person's copy of the card, once it says that all is done."""

    def look() -> Message | None:
        return next((one for one in copies(town, person) if "is revoked" in one.words), None)

    return town.until(look, f"the copy of {person}", 20)


def copies(town: Town, person: str) -> list[Message]:
    """Cards in a person's direct messages."""
    wanted = {"rotation": f"R-{NUMBER}", "form": "card"}
    found = town.workspace.direct_messages(person)
    return [one for one in found if (one.metadata or {}).get("event_payload") == wanted]
