"""What `keyturn.yml` may say: the models of each section, before they are compared with each other."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from bot.core.alarm import LASTS
from bot.core.policy import Need
from bot.core.runbook_input import Model
from bot.settings.fields import (
    PAGES,
    PREFIX,
    WORD,
    Cadence,
    Closes,
    Day,
    Label,
    Labels,
    Moment,
    Names,
    Opens,
    OsUser,
    PersonName,
    SlackChannel,
    SlackGroup,
    SlackPerson,
    SlackTeam,
    Some,
    Span,
    Zone,
    boxed,
    by_environment,
    listed,
    read_span,
)
from bot.settings.keeping_entries import DiscoveryEntry, RemindersEntry


class PersonEntry(Model):
    """A human, and the accounts that are theirs."""

    slack: Annotated[list[SlackPerson], BeforeValidator(listed)] = Field(default_factory=list)
    """Their Slack accounts."""
    os: OsUser | None = None
    """Their user name on the host of `keyturn run`."""
    name: str = Field(default="", max_length=100)
    """How cards call them."""
    timezone: Zone | None = None
    """Whose clock their working hours go by, instead of that of `reminders`."""

    @model_validator(mode="after")
    def _reachable(self) -> PersonEntry:
        if not self.slack and not self.os:
            raise ValueError("give the person's accounts: slack: U…, os: …, or both")
        return self


class GroupEntry(Model):
    """A Slack user group, read live, or a list of people."""

    slack: SlackGroup | None = None
    """A user group; its members are read whenever it counts."""
    members: Annotated[list[PersonName], BeforeValidator(listed)] | None = None
    """The people themselves, instead."""
    channel: str | None = None
    """Where the group hears. Without it: in the channel of the credential's cards of what it owns, and each member
    in a message where it is called because nobody acts."""
    timezone: Zone | None = None
    """Whose clock its working hours go by, instead of that of `reminders`."""

    @model_validator(mode="after")
    def _one(self) -> GroupEntry:
        if (self.slack is None) == (self.members is None):
            raise ValueError("give either slack: S… or members: [...]")
        return self


class RoleEntry(Model):
    """Who may what, and where."""

    who: Names = Field(min_length=1)
    """People, groups, `owner` or `everyone`."""
    may: Annotated[list[Need], BeforeValidator(listed)] = Field(min_length=1)
    """Rights. Everybody in the workspace may `see`."""
    environments: Labels = Field(default_factory=list)
    """Only for these; none means all."""
    classes: Labels = Field(default_factory=list)
    """Only for credentials of these classes; none means all."""
    channels: Names = Field(default_factory=list)
    """Only when said in these; none means anywhere."""


class EscalationEntry(Model):
    """Who else may approve once a request has waited so long."""

    after: Some
    """Since the request; each later entry later, and all before it expires."""
    to: Names = Field(min_length=1)
    """People, groups, `owner` or `everyone`; they are asked as well, nobody is taken out."""
    page: bool = False
    """Whether they are paged too, as `incidents.page` says."""


class PolicyEntry(Model):
    """A rule for environments, classes and words.

    The first that fits and says something of approvals is the one that holds for them.
    """

    environments: Labels = Field(default_factory=list)
    """Only for these; none means all."""
    classes: Labels = Field(default_factory=list)
    """Only for credentials of these classes; none means all."""
    words: Annotated[list[Need], BeforeValidator(listed)] = Field(default_factory=list)
    """Only for these, such as `skip`; none means all that need an approval."""
    approvers: int | None = Field(default=None, ge=0, le=10)
    """How many people besides the requester, 1 if nothing is said; 0 only for `start` in development."""
    from_: Names = Field(default_factory=list, alias="from")
    """Who may approve."""
    expires: Some | None = None
    """How long a request waits for its approvals: 24h if nothing is said, 30m in a rule for `revoke` alone."""
    remind: Some | None = None
    """How often those who may approve are reminded meanwhile; once, after half of the time, if nothing is said."""
    escalate: list[EscalationEntry] = Field(default_factory=list)
    """Who else is asked when nobody approves."""
    signature: Literal["required", "optional"] = "optional"
    """Whether an approval needs an SSH signature by a key of `signers`."""
    break_glass: Annotated[timedelta, BeforeValidator(read_span), AfterValidator(boxed)] | None = None
    """To revoke: for how long one person with a signature may contain alone. Not at all unless given."""
    private: bool = False
    """To revoke: whether the incident's channel is private."""
    minimum_overlap: Span | None = None
    """How long the old credential must stay valid beside the new one."""
    reviewed_runbook: bool = False
    """Whether nothing starts by a runbook that nobody but its author has read as it stands; to revoke only warns."""
    warn_before: Span | None = None
    """How long before the end of an overlap its owner hears that the old credential is still in use."""
    automatic: bool | None = None
    """Whether the bot starts these rotations by itself, at the last opening of their window before they are due."""
    ask_ahead: Span | None = None
    """How much earlier it asks for the approvals that they need; the request waits so much longer than `expires`."""

    @property
    def approves(self) -> bool:
        """Whether the entry is an approval rule."""
        lists = self.from_ or self.escalate or self.signature == "required" or self.private
        spans = (self.approvers, self.expires, self.remind, self.break_glass)
        return bool(lists) or any(part is not None for part in spans)

    @property
    def within(self) -> timedelta:
        """How long a request waits."""
        alone = self.words == [Need.REVOKE]
        return self.expires if self.expires is not None else timedelta(minutes=30) if alone else timedelta(hours=24)


class DelegateEntry(Model):
    """Somebody who approves in place of somebody else, as one and the same vote."""

    for_: PersonName = Field(alias="for")
    """Who is away."""
    to: PersonName
    """Who stands in wherever they may approve, but not for their requests, and not for those they stand in for."""
    until: Moment
    """The last day, or the last moment; in UTC unless it says otherwise."""


class WindowEntry(Model):
    """Hours in which ordinary rotations may begin. Without one that fits they may at any time."""

    name: Label
    environments: Labels = Field(default_factory=list)
    """Only for these; none means all."""
    classes: Labels = Field(default_factory=list)
    """Only for credentials of these classes; none means all."""
    days: Annotated[list[Day], BeforeValidator(listed)] = Field(default_factory=lambda: list(Day), min_length=1)
    """The days on which it opens."""
    from_: Opens = Field(default="00:00", alias="from")
    """When it opens."""
    to: Closes = "24:00"
    """When it closes; an hour not after `from` is one of the next day."""
    timezone: Zone = "UTC"
    """Whose clock is meant, such as Europe/Berlin."""


class FreezeEntry(Model):
    """Days on which no ordinary rotation begins, but for what is due before they end."""

    name: str = Field(min_length=1, max_length=60)
    environments: Labels = Field(default_factory=list)
    """Only for these; none means all."""
    classes: Labels = Field(default_factory=list)
    """Only for credentials of these classes; none means all."""
    from_: Moment = Field(alias="from")
    """The first day, or the first moment."""
    to: Moment
    """The last day, or the moment at which it ends."""
    timezone: Zone = "UTC"
    """Whose days are meant."""
    reason: str = Field(default="", max_length=200)
    """For the people whom it holds up."""


class ErrandEntry(Model):
    """An adapter's operation, run once for an incident."""

    do: Annotated[str, StringConstraints(pattern=WORD)]
    """Its word; [adapters](adapters.md) has them."""
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    """What it has to be given."""


class IncidentsEntry(Model):
    """What happens beside the steps when something is revoked."""

    channel_prefix: Annotated[str, StringConstraints(pattern=PREFIX)] = "inc"
    """What the names of the channels begin with."""
    invite: Names = Field(default_factory=list)
    """Who is invited besides those who asked and approved: people, groups or `owner`."""
    nudge: Some = timedelta(minutes=15)
    """After how long a silence the channel is asked for an update."""
    runbooks: Annotated[str, StringConstraints(pattern=PAGES, max_length=500)] | None = None
    """Where people read the runbooks; the channel has a bookmark to the one that is run."""
    ticket: ErrandEntry | None = None
    """Opens the ticket."""
    page: ErrandEntry | None = None
    """Pages people."""


class AlarmEntry(Model):
    """A check that holds while those who use a credential are let in; it is made twice a minute."""

    check: Annotated[str, StringConstraints(pattern=WORD)]
    """The word of a probe, such as `prometheus.auth_failures`; [adapters](adapters.md) has them."""
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    """What it has to be given, its bound included."""
    for_: Annotated[timedelta, BeforeValidator(read_span), AfterValidator(boxed)] = Field(default=LASTS, alias="for")
    """How long it fails before owner and channel hear. Past its date, its expiry's incident opens then as well."""


class CredentialEntry(Model):
    """A credential of the inventory."""

    name: Label
    """Unique in its environment."""
    environment: Label
    class_: Label = Field(alias="class")
    """What kind it is: policies and cadences go by it."""
    owner: str = Field(min_length=1, max_length=80)
    """A person or a group."""
    runbook: Label
    """The procedure that rotates it."""
    inputs: dict[str, Any] = Field(default_factory=dict)
    """What the runbook has to be given."""
    cadence: Cadence | None = None
    """How often, instead of what its class says."""
    channel: str | None = None
    """Where its cards go, instead of the channel `default`."""
    callers: list[str] = Field(default_factory=list, max_length=20)
    """Channels of those who use it. When it has expired in use, they hear what replaces it and if data are at risk."""
    alarm: AlarmEntry | None = None
    """How refusals of those who use it are noticed."""
    max_valid: int = Field(default=2, ge=2, le=10)
    """How many versions may be valid at the same time; keys that only verify do not count."""


class ClockEntry(Model):
    """The engine's clock. `rate` other than 1 belongs to playgrounds and tests."""

    rate: float = Field(default=1.0, gt=0, le=1_000_000, allow_inf_nan=False)
    """How much faster than real time."""
    anchor: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Unix seconds from which time runs at `rate`."""


class SlackEntry(Model):
    """The workspace."""

    team: SlackTeam | None = None
    """Its id; a token of another workspace is refused."""
    edits_per_minute: int = Field(default=50, ge=1, le=1000)
    """The budget for edits of cards; emergencies come first."""


class Declared(Model):
    """`keyturn.yml`."""

    people: dict[PersonName, PersonEntry] = Field(default_factory=dict)
    """Humans, each with all accounts that are theirs."""
    groups: dict[PersonName, GroupEntry] = Field(default_factory=dict)
    """Who approves, owns and operates."""
    channels: dict[Label, SlackChannel] = Field(default_factory=dict)
    """Names for channels; `default` is where cards go."""
    roles: dict[Label, RoleEntry] = Field(default_factory=dict)
    """Who may do what, and where."""
    policies: list[PolicyEntry] = Field(default_factory=list)
    """How many have to approve what, and who; also how long overlaps last at least."""
    delegates: list[DelegateEntry] = Field(default_factory=list)
    """Who stands in for whom."""
    windows: list[WindowEntry] = Field(default_factory=list)
    """When ordinary rotations may begin."""
    freezes: list[FreezeEntry] = Field(default_factory=list)
    """When they may not."""
    signers: str | None = Field(default=None, min_length=1, max_length=1000)
    """OpenSSH's allowed_signers file with people's public keys, counted from this file; principals are their names."""
    incidents: IncidentsEntry = IncidentsEntry()
    """The channel, the ticket and the pager of a revocation."""
    reminders: RemindersEntry = RemindersEntry()
    """When owners are reminded, and who hears when they do not act."""
    discovery: list[DiscoveryEntry] = Field(default_factory=list)
    """What is listed, so that the inventory is complete."""
    cadences: dict[Label, Annotated[dict[Label, Cadence], BeforeValidator(by_environment)]] = Field(
        default_factory=dict
    )
    """How often, by class and environment: `{signing-key: {production: 30d}}`, or `{api-key: 90d}` for all of them."""
    credentials: list[CredentialEntry] = Field(default_factory=list)
    """The inventory."""
    adapters: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")], dict[str, Any]] = Field(
        default_factory=dict
    )
    """Configuration by adapter; [adapters](adapters.md) has the keys of each."""
    runbooks: Names = Field(default_factory=list)
    """Folders with runbooks of your own, counted from the file; one of the same name replaces a shipped one."""
    clock: ClockEntry = ClockEntry()
    slack: SlackEntry = SlackEntry()
    version: Literal[1] = 1
    """Of this format."""
