"""A small emergency in a real database: a revocation of two steps, decided and announced as the engine does it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from bot.core.decide import decide
from bot.core.plan import Plan, PlannedStep
from bot.core.rotation import Began, Done, Ended, Opened, Outcome, Rotation, Voted
from bot.core.runbook import CheckStep, DoStep, Section
from bot.engine.announce import announce
from bot.store.database import Database
from bot.store.records import Declared, NoticeRow
from bot.store.tables import NOTICE
from tests.store import samples

ELIGIBLE = {"bob": "member of sec-oncall", "carol": "member of sec-oncall"}
STAGES = (
    {"after": 300, "to": ["platform-oncall"], "page": True},
    {"after": 900, "to": ["director"], "page": False},
)


def plan(**changes: Any) -> Plan:
    """Contain first; the containment is one step that can be undone."""
    steps = (
        PlannedStep(Section.EMERGENCY, DoStep(id="disable", title="Disable it", do="identity.disable_key"), "changes"),
        PlannedStep(Section.EMERGENCY, CheckStep(id="refused", title="It is refused", check="jwks.refused")),
    )
    values: dict[str, Any] = {
        "steps": steps,
        "requester": "alice",
        "word": "revoke",
        "order": "contain-first",
        "contained": 1,
        "approve_within": timedelta(minutes=30),
        "escalation": STAGES,
        "remind": timedelta(minutes=2),
        "break_glass": timedelta(hours=1),
        "reason": "seen in a public log",
        "counts_old": False,
    }
    return replace(samples.plan("identity-signing"), **{**values, **changes})


class Calamity:
    """Decides, saves and announces. `now` of a step is the database's, unless `after` moves it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.number = 0

    def declare(self, **dates: Any) -> None:
        """The credential in the inventory."""
        row = Declared(
            "identity-signing", "production", "signing-key", "dave", "identity-es256", timedelta(days=90), {}, {}
        )
        with self.database.begin() as tx:
            tx.apply_credentials([row])
            if dates:
                tx.update_credential("identity-signing", "production", **dates)

    def ask(self, the_plan: Plan | None = None, **more: Any) -> Rotation:
        """Somebody asks for the revocation."""
        with self.database.begin() as tx:
            self.number = tx.next_number()
            asked = Opened(self.number, the_plan or plan(), "nonce-00", "C0OPS", (), **{"eligible": ELIGIBLE, **more})
            saved = tx.save(None, decide(None, asked, tx.now))
            tx.add_drawing(self.number, "card", "C0OPS", 1, urgent=True)
            announce(tx, None, saved)
        return saved

    def happen(self, event: Any, after: timedelta = timedelta(0)) -> Rotation:
        """One event, that long after now."""
        with self.database.begin() as tx:
            before = tx.rotation(self.number)
            assert before is not None
            saved = tx.save(before, decide(before, event, tx.now + after))
            announce(tx, before, saved)
        return saved

    def vote(self, person: str = "bob", **changes: Any) -> Rotation:
        """A vote on what stands there now."""
        rotation = self.rotation()
        bound = {"digest": rotation.plan.digest, "nonce": rotation.nonce}
        return self.happen(replace(Voted(person, True, "member of sec-oncall", **bound), **changes))

    def step(self, outcome: Outcome | None = None) -> Rotation:
        """Begin the current step, and end it."""
        rotation = self.rotation()
        i = rotation.current
        assert i is not None
        self.happen(Began(i, rotation.steps[i].attempt, "w"))
        return self.happen(Ended(i, rotation.steps[i].attempt, "w", outcome or Done({}, "seen by all")))

    def rotation(self) -> Rotation:
        """As it is stored."""
        with self.database.read() as reader:
            found = reader.rotation(self.number)
        assert found is not None
        return found

    def notices(self) -> list[NoticeRow]:
        """Every message that was asked for, the oldest first."""
        with self.database.read() as reader:
            return [NoticeRow(*row) for row in reader.connection.execute(NOTICE.select().order_by(NOTICE.c.id))]

    def errands(self) -> list[str]:
        """Keys of the errands."""
        with self.database.read() as reader:
            return [row.key for row in reader.errands(self.number)]

    def copies(self) -> list[str]:
        """Where the card is shown besides its channel."""
        with self.database.read() as reader:
            return sorted(row.place for row in reader.drawings(self.number) if row.place.startswith("@"))
