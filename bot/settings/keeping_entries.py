"""What `keyturn.yml` may say of reminders and discoveries."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from bot.core.reminders import AGAIN
from bot.core.runbook_input import Model
from bot.settings.fields import WORD, Closes, Day, Label, Labels, Names, Opens, Some, Span, Zone, listed


def _a_day(span: timedelta) -> timedelta:
    if span < timedelta(days=1):
        raise ValueError("reminders are repeated once a day at most: write 1d or more")
    return span


class TiersEntry(Model):
    """How long before they are due owners are reminded."""

    before: list[Some] = Field(min_length=1, max_length=12)
    """Such as `[30d, 7d, 1d]`. Those longer than half of a credential's life are left out."""
    environments: Labels = Field(default_factory=list)
    """Only for these; none means all."""
    classes: Labels = Field(default_factory=list)
    """Only for credentials of these classes; none means all."""


class HoursEntry(Model):
    """When people are reminded, where there is time for that."""

    from_: Opens = Field(default="09:00", alias="from")
    """When they begin to work."""
    to: Closes = "17:00"
    """When they stop."""
    days: Annotated[list[Day], BeforeValidator(listed)] = Field(default_factory=lambda: list(Day)[:5], min_length=1)
    """The days on which they work."""
    timezone: Zone = "UTC"
    """Whose clock is meant, where the owner has none of their own."""


class CallEntry(Model):
    """Who else hears of a credential that nobody acts on."""

    within: Span
    """When so little time is left; `0s` is when it is due."""
    to: Names = Field(default_factory=list)
    """`channel` (that of its cards), people, groups, or channels by their names."""
    page: bool = False
    """Whether somebody is paged too, as `incidents.page` says."""
    environments: Labels = Field(default_factory=list)
    """Only for these; none means all."""
    classes: Labels = Field(default_factory=list)
    """Only for credentials of these classes; none means all."""

    @model_validator(mode="after")
    def _someone(self) -> CallEntry:
        if not self.to and not self.page:
            raise ValueError("say who hears of it: to: [...], page: true, or both")
        return self


class RemindersEntry(Model):
    """Reminders of what expires."""

    tiers: list[TiersEntry] = Field(default_factory=list)
    """The first that fits a credential holds; 30, 14, 7, 3 and 1 days if none does."""
    hours: HoursEntry = HoursEntry()
    """Working hours."""
    escalate: list[CallEntry] | None = None
    """Who else hears of it. If nothing is said: in the last 7 days the channel of its cards, in the last 3 the groups
    that a policy for `revoke` names in `from:`, in the last both of them and the pager of `incidents.page`."""
    again: Annotated[Some, AfterValidator(_a_day)] = AGAIN
    """How often owners hear again of what has expired or is overdue; a day at least."""
    unowned: Names | None = Field(default=None, min_length=1)
    """Who hears instead of an owner who cannot be reached: the first of them who can be, and with each message after
    that the next one as well. The channel of its cards and then those groups if nothing is said."""
    digest: bool = True
    """Whether every owner gets a digest each month."""


class DiscoveryEntry(Model):
    """Something that is listed regularly, so that nothing expires which nobody has declared."""

    find: Annotated[str, StringConstraints(pattern=WORD)]
    """An adapter's discovery; [adapters](adapters.md) has them."""
    environment: Label
    """Where what it lists belongs."""
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    """What it has to be given."""
    name: Label | None = None
    """Unique; its word and environment if nothing is said."""
    owner: str = Field(default="", max_length=80)
    """A person or a group: who owns what is found, where its system names neither a person nor a group from here."""
    every: Some = timedelta(hours=6)
    """How often."""
