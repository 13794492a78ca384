"""A town under siege: its approvers' keys, signed requests, and what every attack must leave as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.app import Bot
from bot.core.ballot import Ballot
from bot.settings import read_environment, read_settings
from bot.slack.buttons import Bound, bound_to
from bot.store.records import AuditRow
from playground.estate import Estate
from playground.launch import free_port
from playground.workspace import Workspace
from playground.workspace.records import Message
from playground.workspace.seed import Seed, User, default_seed, id_for
from tests.journeys.town import ROOT, Town
from tests.ssh import SoftwareToken

APPROVERS = ("bob", "carol")
"""Who may approve a revocation; each has a security key."""
OUTSIDERS = {
    "guest": "kind-guest",
    "single-channel guest": "kind-guest",
    "deactivated": "kind-deactivated",
    "bot": "kind-bot",
    "workflow bot": "kind-bot",
    "other workspace": "kind-stranger",
}
"""Kinds of accounts that may never vote, and what refuses them; each is in the approvers' group and in the channel."""
PATIENT = 10_000.0
"""How many deliveries one person may send at once where the pace is not what is tested."""


class Siege(Town):
    """A town whose revocations want a signature, and in which Alice has a second account."""

    def __init__(
        self, folder: Path, workspace: Workspace, estate: Estate, database_url: str, *, paced: bool = False
    ) -> None:
        self._paced = paced
        self.tokens = {name: SoftwareToken("ed25519") for name in (*APPROVERS, "mallory")}
        signers = folder / "allowed_signers"
        signers.write_text("".join(f"{name} {self.tokens[name].public}\n" for name in APPROVERS))
        signers.chmod(0o644)
        super().__init__(folder, workspace, estate, database_url, change=_armed)
        if workspace.http is not None:
            port = workspace.http.url.rpartition(":")[2].partition("/")[0]
            self.environ |= {"KEYTURN_TRANSPORT": "http", "KEYTURN_HTTP": f"127.0.0.1:{port}"}

    def begin(self) -> Bot:
        """Start the bot; people may be as fast as tests are, unless the pace is what is tested."""
        config = Path(self.environ["KEYTURN_CONFIG"])
        environment = read_environment(self.environ)
        self.bot = Bot(read_settings(config.read_text(), environment, file=str(config), folder=self.folder))
        assert self.bot.room is not None
        if not self._paced:
            self.bot.room._flood._person = (PATIENT, PATIENT)
        self.bot.start()
        if self.workspace.http is None:
            self.workspace.wait_connected()
        return self.bot

    # --- what is open -------------------------------------------------------------------------------------------------

    def request(self, user: str = "alice", credential: str = "identity-signing", reason: str = "weekly") -> int:
        """Ask for a rotation, whose boxes nobody ticks; its number when its card is known."""
        return self._opened(user, f'start {credential} --reason "{reason}" --yes')

    def revoke(self, user: str = "alice", credential: str = "identity-signing") -> int:
        """Ask for a revocation; its number when its card is known."""
        return self._opened(user, f'revoke {credential} --reason "seen in a log" --yes')

    def _opened(self, user: str, words: str) -> int:
        known = set(self.numbers())
        self.type(user, words)

        def look() -> int | None:
            return next(iter(set(self.numbers()) - known), None)

        number = self.until(look, lambda: f"{words}: {[one.words for one in self.workspace.ephemerals(user)]}", 15)
        self.until(lambda: self.card(number), lambda: self.tell(number), 15)
        return number

    def bound(self, number: int) -> Bound:
        """What the buttons of its card carry now."""
        return bound_to(self.rotation(number))

    def ballot(self, number: int, vote: str = "approve") -> Ballot:
        """What an approver of it has to sign."""
        plan, bound = self.rotation(number).plan, self.bound(number)
        return Ballot(f"R-{number}", plan.credential, plan.environment, bound.digest, bound.nonce, vote)

    # --- what became of an attack -------------------------------------------------------------------------------------

    def everything(self) -> tuple[Any, ...]:
        """All that an attack must leave as it is: every rotation, and every key of the estate."""
        rotations = [(number, self.rotation(number)) for number in self.numbers()]
        return rotations, self.estate.identity.keys.all(), self.estate.identity.api_keys.all()

    def numbers(self) -> list[int]:
        """The numbers of all rotations, oldest first."""
        with self.database.read() as reader:
            return sorted(row.number for row in reader.rotations(limit=100))

    def floods(self) -> list[tuple[str, dict[str, Any]]]:
        """Source and detail of what is in the audit of floods and forgeries, with what was counted until now."""
        assert self.bot is not None
        assert self.bot.room is not None
        self.bot.room._report_floods(now=True)
        return [(row.actor, dict(row.detail)) for row in self.audit() if row.event == "intent.flood"]

    def newest(self) -> int:
        """The number of the newest row of the audit."""
        return self.audit()[-1].seq

    def since(self, seq: int, *events: str) -> list[AuditRow]:
        """Rows of the audit that are newer, of these events."""
        with self.database.read() as reader:
            return [row for row in reader.audit_rows(seq) if not events or row.event in events]

    @contextmanager
    def repelled(self, user: str, code: str, *, about: str, times: int = 1) -> Iterator[list[AuditRow]]:
        """An attack: it changes nothing, its refusals are in the audit with who, what and why, and others are served.

        `user` is a person of the workspace, or an account such as `os:bob`; `about` is the rotation that the rows have
        to name. Yields the list into which they are put.
        """
        before, seq = self.everything(), self.newest()
        who = user if ":" in user else f"/{id_for('U', user)}"
        rows: list[AuditRow] = []
        yield rows

        def look() -> bool:
            refused = [row for row in self.since(seq, "intent.refused") if row.detail["code"] == code]
            rows[:] = [row for row in refused if row.actor.endswith(who)]
            return len(rows) >= times

        def seen() -> str:
            return f"{code} of {user}: {[(row.event, row.actor, dict(row.detail)) for row in self.since(seq)]}"

        self.until(look, seen, 15)
        assert len(rows) == times
        assert {row.rotation for row in rows} == {about}, "the rows say what it was about"
        for row in rows:
            if ":" not in user:  # who sits at the bot's host is shown the ballot, which is no secret
                self.tells_nothing(str(row.detail.get("because", "")))
        assert not self.since(seq, "vote.counted", "rotation.requested", "rotation.approved", "step.intent")
        assert self.everything() == before
        self.unharmed()

    def tells_nothing(self, answer: str) -> None:
        """An answer that names neither what a vote is bound to nor who else could vote."""
        for number in self.numbers():
            bound = self.bound(number)
            assert bound.nonce not in answer
            assert bound.digest.removeprefix("sha256:")[:12] not in answer
        assert len(answer) < 500
        assert not any(name in answer.casefold() for name in ("u0bob", "u0carol", "carol", "dave"))

    def unharmed(self, user: str = "erin") -> None:
        """Somebody else is served at once."""
        before = len(self.workspace.ephemerals(user))
        asked = self.workspace.type(user, "ops", "/rotate help")
        assert asked.acked, asked.error
        if not asked.answer:  # nobody knew who this is, so that a worker asks Slack first
            self.told(user, "start", before)


def _armed(settings: dict[str, Any]) -> None:
    settings["people"]["alice"]["slack"].append("U0ALICE2")
    settings["people"]["bob"]["os"] = "bob"
    settings["roles"]["operators"]["may"].append("revoke")
    settings["signers"] = "allowed_signers"
    settings["policies"].insert(
        0,
        {
            "environments": ["production"],
            "words": ["revoke"],
            "approvers": 1,
            "from": ["sec-oncall"],
            "expires": "30m",
            "signature": "required",
        },
    )


def seed() -> Seed:
    """The usual people, and Alice's second account, which somebody put into the approvers' group."""
    people = default_seed()
    people.users.append(User("alice2", "Alice at Work"))
    next(group for group in people.groups if group.handle == "sec-oncall").members += ["alice2", "alice"]
    next(channel for channel in people.channels if channel.name == "ops").members.append("alice2")
    return people


@contextmanager
def besieged(folder: Path, template: Path, *, http: bool = False, paced: bool = False) -> Iterator[Siege]:
    """A running town. `paced` keeps the limits of what one person may send."""
    (folder / "keyturn.db").write_bytes(template.read_bytes())
    port = free_port() if http else 0
    with ExitStack() as opened:
        estate = opened.enter_context(Estate.start(rate=1.0, clients=0))
        workspace = opened.enter_context(
            Workspace.start(
                seed(),
                manifest=ROOT / ("manifest-http.yml" if http else "manifest.yml"),
                rate_factor=0.0,
                request_url=f"http://127.0.0.1:{port}/slack/events" if http else None,
            )
        )
        town = Siege(folder, workspace, estate, f"sqlite:///{folder / 'keyturn.db'}", paced=paced)
        opened.callback(town.close)
        town.begin()
        yield town


@dataclass(frozen=True)
class Standing:
    """A town with two open requests that every attack must leave as they are."""

    town: Siege
    ordinary: int
    revocation: int

    def card(self, number: int) -> Message:
        """The card of one of them."""
        card = self.town.card(number)
        assert card is not None
        return card
