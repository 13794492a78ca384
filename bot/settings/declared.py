"""What `keyturn.yml` may say: the models of each section, before they are compared with each other."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from bot.core import duration, schedule
from bot.core.policy import Need
from bot.core.runbook import Model

SlackPerson = Annotated[str, StringConstraints(pattern=r"^(?:T[A-Z0-9]+/)?[UW][A-Z0-9]+$")]
SlackGroup = Annotated[str, StringConstraints(pattern=r"^S[A-Z0-9]+$")]
SlackChannel = Annotated[str, StringConstraints(pattern=r"^[CG][A-Z0-9]+$")]
SlackTeam = Annotated[str, StringConstraints(pattern=r"^[TE][A-Z0-9]+$")]
PersonName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,60}$")]
Label = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,60}$")]
OsUser = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_.-]{0,31}\$?$")]

MISTAKES = {
    r"^(?:T[A-Z0-9]+/)?[UW][A-Z0-9]+$": "write a Slack member id such as U0123ABCD (their profile, Copy member ID)",
    r"^S[A-Z0-9]+$": "write a Slack user group's id such as S0123ABCD",
    r"^[CG][A-Z0-9]+$": "write a channel's id such as C0123ABCD (at the end of the channel's details)",
    r"^[TE][A-Z0-9]+$": "write the workspace's id such as T0123ABCD",
    r"^[a-z][a-z0-9._-]{0,60}$": "write a name of small letters, digits, dots, dashes and underscores",
    r"^[a-z][a-z0-9-]{0,60}$": "write a name of small letters, digits and dashes",
    r"^[a-z_][a-z0-9_.-]{0,31}\$?$": "write a user name of this machine",
}
"""Pattern -> what to write instead, for the messages."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _span(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError("write a duration with its unit, such as 24h or 90d")
    return duration.parse(value)


def _cadence(value: Any) -> Any:
    return value if isinstance(value, timedelta) else schedule.parse_cadence(value if isinstance(value, str) else "")


def _by_environment(value: Any) -> Any:
    return value if isinstance(value, dict) else {"default": value}


Span = Annotated[timedelta, BeforeValidator(_span)]
Cadence = Annotated[timedelta, BeforeValidator(_cadence)]
Names = Annotated[list[str], BeforeValidator(_listed)]
Labels = Annotated[list[Label], BeforeValidator(_listed)]


class PersonEntry(Model):
    """A human, and the accounts that are theirs."""

    slack: Annotated[list[SlackPerson], BeforeValidator(_listed)] = Field(default_factory=list)
    """Their Slack accounts."""
    os: OsUser | None = None
    """Their user name on the host of `keyturn run`."""
    name: str = Field(default="", max_length=100)
    """How cards call them."""

    @model_validator(mode="after")
    def _reachable(self) -> PersonEntry:
        if not self.slack and not self.os:
            raise ValueError("give the person's accounts: slack: U…, os: …, or both")
        return self


class GroupEntry(Model):
    """A Slack user group, read live, or a list of people."""

    slack: SlackGroup | None = None
    """A user group; its members are read whenever it counts."""
    members: Annotated[list[PersonName], BeforeValidator(_listed)] | None = None
    """The people themselves, instead."""

    @model_validator(mode="after")
    def _one(self) -> GroupEntry:
        if (self.slack is None) == (self.members is None):
            raise ValueError("give either slack: S… or members: [...]")
        return self


class RoleEntry(Model):
    """Who may what, and where."""

    who: Names = Field(min_length=1)
    """People, groups, `owner` or `everyone`."""
    may: Annotated[list[Need], BeforeValidator(_listed)] = Field(min_length=1)
    """Rights. Everybody in the workspace may `see`."""
    environments: Labels = Field(default_factory=list)
    """Only for these; none means all."""
    classes: Labels = Field(default_factory=list)
    """Only for credentials of these classes; none means all."""
    channels: Names = Field(default_factory=list)
    """Only when said in these; none means anywhere."""


class PolicyEntry(Model):
    """A rule for environments, classes and words. The first that names approvers and fits is the one that holds."""

    environments: Labels = Field(default_factory=list)
    """Only for these; none means all."""
    classes: Labels = Field(default_factory=list)
    """Only for credentials of these classes; none means all."""
    words: Annotated[list[Need], BeforeValidator(_listed)] = Field(default_factory=list)
    """Only for these, such as `skip`; none means all that need an approval."""
    approvers: int | None = Field(default=None, ge=0, le=10)
    """How many people besides the requester; 0 only for `start` in development."""
    from_: Names = Field(default_factory=list, alias="from")
    """Who may approve."""
    expires: Span = timedelta(hours=24)
    """How long a request waits for its approvals."""
    minimum_overlap: Span | None = None
    """How long the old credential must stay valid beside the new one."""
    warn_before: Span | None = None
    """How long before the end of an overlap its owner hears that the old credential is still in use."""

    @property
    def approves(self) -> bool:
        """Whether the entry is an approval rule."""
        return self.approvers is not None or bool(self.from_)


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
    cadences: dict[Label, Annotated[dict[Label, Cadence], BeforeValidator(_by_environment)]] = Field(
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
