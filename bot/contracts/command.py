"""What a word of `/rotate` is made of. A command file holds a docstring (its help), `need`, and `run(call, rotations)`.

A module in `commands/` declares:

* its docstring: the first line is the one-line help, the rest the long help;
* `usage`: the arguments, such as `"approve R-7"`;
* `need`: the right that policy checks for the credential in question;
* `at_once` (default False): True for a word that only reads the database, answered in the acknowledgement. All other
  words are stored and run by a worker;
* `flags` (default none): name -> help; a flag's help that ends in `(yes or no)` takes no value;
* `reason` (default False): True when a click on its button has to ask for a reason first;
* `run(call, rotations) -> Answer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from bot.contracts.inventory import (
    CredentialPage,
    CredentialView,
    Filters,
    Finding,
    Forecast,
    Inventory,
    Overlaps,
    Told,
    Week,
)
from bot.core.events import Event
from bot.core.incident import Incident
from bot.core.plan import Plan
from bot.core.policy import Need, Person
from bot.core.review import Moment, Question
from bot.core.rotation import Box, Rotation

__all__ = [
    "Answer",
    "Call",
    "Chart",
    "Command",
    "CredentialPage",
    "CredentialView",
    "Draft",
    "Filters",
    "Finding",
    "Forecast",
    "HistoryLine",
    "IncidentView",
    "Incidents",
    "Inventory",
    "Need",
    "Overlaps",
    "Person",
    "Rotations",
    "RunbookView",
    "Summary",
    "Suspect",
    "Table",
    "Told",
    "Week",
]


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a word: typed, clicked, submitted in a form, or on the command line."""

    word: str
    need: Need
    person: Person
    args: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    channel: str = ""
    surface: str = "slack"
    """`slack`, `cli` or `workflow`."""
    bound: Mapping[str, str] = field(default_factory=dict)
    """`digest` and `nonce` of the plan that the person saw, from the button, the form, or the moment of receipt."""
    confirmed: bool = False
    """True when a form was submitted (or `--yes` given): the plan was seen."""
    ticked: tuple[str, ...] = ()
    """Boxes of the checklist that the person ticked in the form."""
    intent: int = 0
    """Number of the stored intent, 0 for words answered at once."""
    execution: str = ""
    """The step of a workflow that waits for the outcome."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows for people; every row has as many cells as there are columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    newest_last: bool = False
    """Where there is no room for all rows, the last ones are shown instead of the first."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Numbers that people would rather look at than read; each series has as many values as there are categories."""

    title: str
    categories: tuple[str, ...]
    series: tuple[tuple[str, tuple[float, ...]], ...]
    """Name and values of each; bars are stacked."""
    x_label: str
    y_label: str
    told: str
    """What it shows, in a sentence, for those who cannot see it."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan as it is shown before anybody starts it."""

    plan: Plan
    boxes: tuple[Box, ...]
    expected_end: datetime
    """When the rotation proper is expected to be promoted, if nothing holds it."""
    retired_by: datetime | None
    warnings: tuple[str, ...] = ()
    """Findings that do not forbid the start: permissions that could not be checked, a freeze, an old runbook."""
    waits: Mapping[str, str] = field(default_factory=dict)
    """Step id -> its wait or window, with formula and source: `24h = max(...)`."""
    orders: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of a revocation: order -> {outage, exposure} in sentences."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a word says back. Slack shows it to the person alone; the command line prints it."""

    text: str
    """Full sentences, plain text; whoever draws it escapes it."""
    table: Table | None = None
    draft: Draft | None = None
    rotation: int | None = None
    """Number of the rotation in question; whoever draws it may show its card."""
    data: Any = None
    """The same for machines (`--json`)."""
    good: bool = True
    """False when it found problems (exit code 1)."""
    charts: tuple[Chart, ...] = ()
    """Shown where pictures can be shown; what is said and the table are enough without them."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A rotation in a list."""

    number: int
    credential: str
    environment: str
    state: str
    overlap: str
    requester: str
    created_at: datetime
    ended_at: datetime | None
    outcome: str
    step: str = ""
    """Title of the current step."""


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One row of the audit, for people."""

    seq: int
    at: datetime
    event: Event | str
    actor: str
    rotation: str
    credential: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunbookView:
    """A runbook in a list."""

    name: str
    summary: str
    credentials: tuple[str, ...]
    problems: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """A credential whose expiry may be what blocks production."""

    name: str
    environment: str
    kind: str
    shows: str
    """How an expiry of its class shows."""
    expires_at: datetime | None
    next_due: datetime | None
    reading: str = ""
    """What the checks of its runbook say now, of the first few; empty where there are none, or nobody may ask."""


@dataclass(frozen=True, slots=True)
class IncidentView:
    """An incident with everything that is shown of it."""

    incident: Incident
    rotation: Rotation
    questions: tuple[Question, ...]
    timeline: tuple[Moment, ...]
    summary: str
    """What affected callers have to know; several lines of plain text."""
    links: tuple[str, ...] = ()
    """Addresses of its tickets."""


class Incidents(Protocol):
    """The use cases of incidents; they refuse as those of rotations do."""

    def view(self, call: Call, text: str) -> IncidentView:
        """How the incident of this emergency stands."""
        ...

    def hand_over(self, call: Call, text: str, role: str, who: str) -> Incident:
        """Give a role (`commander`, `scribe`) to a person: a mention, `@bob`, or `me`."""
        ...

    def note(self, call: Call, text: str, said: str) -> Incident:
        """Write something down for the timeline."""
        ...

    def answer(self, call: Call, text: str, question: str, said: str) -> Incident:
        """Answer a question of the review."""
        ...

    def mend(self, call: Call, text: str, said: str) -> Incident:
        """Say what was changed so that the reminder works."""
        ...

    def close(self, call: Call, text: str) -> Incident:
        """Close it, once it is over, reviewed and mended."""
        ...


class Rotations(Protocol):
    """The use cases. Each checks `call.need` for the credential in question and records what it decides.

    All raise `Refused` with one sentence and the way out; nothing has changed then.
    """

    @property
    def incidents(self) -> Incidents:
        """What belongs to the incidents of emergencies."""
        ...

    @property
    def inventory(self) -> Inventory:
        """What belongs to credentials and their reminders."""
        ...

    def find(self, call: Call, text: str) -> Rotation:
        """The rotation that `R-7`, `7` or a credential's name (its newest rotation) stands for."""
        ...

    def credential(self, call: Call, name: str) -> CredentialView:
        """The credential of this name (`name` or `name@environment`); close matches in the refusal."""
        ...

    def credentials(self, call: Call, *, limit: int = 50, offset: int = 0) -> Sequence[CredentialView]:
        """What the person may see, by due date."""
        ...

    def recent(self, call: Call, *, only_open: bool, requested: bool = False, limit: int = 20) -> Sequence[Summary]:
        """Rotations that the person may see, newest first; those that are `requested` wait for approvals."""
        ...

    def history(self, call: Call, text: str, *, limit: int = 100) -> Sequence[HistoryLine]:
        """The audit of a rotation or a credential, oldest first."""
        ...

    def runbooks(self, call: Call) -> Sequence[RunbookView]:
        """Every runbook, and which credentials use it."""
        ...

    def words(self) -> Mapping[str, Command]:
        """Every word there is."""
        ...

    def draft(self, call: Call, credential: str, reason: str) -> Draft:
        """Plan without touching anything: facts read, permissions and probes checked."""
        ...

    def start(self, call: Call, credential: str, reason: str) -> Rotation:
        """Plan again, compare with `call.bound['digest']` if given, and open the rotation."""
        ...

    def revocation(self, call: Call, credential: str, reason: str, order: str) -> Draft:
        """Plan an emergency revocation in an order (empty: the runbook's own), without touching anything."""
        ...

    def revoke(self, call: Call, credential: str, reason: str, order: str) -> Rotation:
        """Plan again, compare as `start` does, and ask for the revocation."""
        ...

    def expired(self, call: Call, credential: str, symptom: str) -> Rotation:
        """Open the incident of a credential that expired in use; nothing is changed by that."""
        ...

    def suspects(self, call: Call, symptom: str, *, limit: int = 10) -> Sequence[Suspect]:
        """Which credentials a symptom may come from, the likeliest first; expired ones before others."""
        ...

    def break_glass(self, call: Call, text: str, reason: str) -> Rotation:
        """Contain on one person's signature, where policy allows it."""
        ...

    def vote(self, call: Call, text: str, *, approve: bool, reason: str = "") -> Rotation:
        """Count an approval or a rejection."""
        ...

    def tick(self, call: Call, text: str, box: str, evidence: str = "") -> Rotation:
        """Vouch for a box of the checklist."""
        ...

    def advance(self, call: Call, text: str, evidence: str = "", step: str = "") -> Rotation:
        """Confirm a manual gate, or look again now. Refused when `step` is given and no longer the current one."""
        ...

    def retry(self, call: Call, text: str, reason: str = "") -> Rotation:
        """Try a failed step again."""
        ...

    def skip(self, call: Call, text: str, reason: str, step: str = "") -> Rotation:
        """Skip the current step, or ask a second person whether to; `step` as for `advance`."""
        ...

    def cancel(self, call: Call, text: str, reason: str) -> Rotation:
        """Withdraw a request of which nothing was done."""
        ...

    def rollback(self, call: Call, text: str, reason: str) -> Rotation:
        """Put everything back."""
        ...

    def trouble(self, call: Call, text: str, branch: str) -> str:
        """Run a branch of the runbook's troubleshooting for the failed step; returns what was found or done."""
        ...


class Command(Protocol):
    """A module in `commands/`."""

    __doc__: str | None
    usage: str
    need: Need

    @staticmethod
    def run(call: Call, rotations: Rotations) -> Answer: ...
