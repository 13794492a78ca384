"""How single values of `keyturn.yml` are written: ids, names, durations, moments, hours, zones."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from bot.core import duration, schedule
from bot.core.document import close

SlackPerson = Annotated[str, StringConstraints(pattern=r"^(?:T[A-Z0-9]+/)?[UW][A-Z0-9]+$")]
SlackGroup = Annotated[str, StringConstraints(pattern=r"^S[A-Z0-9]+$")]
SlackChannel = Annotated[str, StringConstraints(pattern=r"^[CG][A-Z0-9]+$")]
SlackTeam = Annotated[str, StringConstraints(pattern=r"^[TE][A-Z0-9]+$")]
PersonName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,60}$")]
Label = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,60}$")]
OsUser = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_.-]{0,31}\$?$")]
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:Z|[+-][0-9]{2}:[0-9]{2})?)?$"
_OPENS = r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]$"
_CLOSES = r"^(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"
WORD = r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$"
PREFIX = r"^[a-z0-9][a-z0-9_-]{0,19}$"
_PATH = r"(?:[!#-;=?-\[\]-z~]|\{runbook\})*"
PAGES = rf"^https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?/{_PATH}\{{runbook\}}{_PATH}$"

MISTAKES = {
    r"^(?:T[A-Z0-9]+/)?[UW][A-Z0-9]+$": "write a Slack member id such as U0123ABCD (their profile, Copy member ID)",
    r"^S[A-Z0-9]+$": "write a Slack user group's id such as S0123ABCD",
    r"^[CG][A-Z0-9]+$": "write a channel's id such as C0123ABCD (at the end of the channel's details)",
    r"^[TE][A-Z0-9]+$": "write the workspace's id such as T0123ABCD",
    r"^[a-z][a-z0-9._-]{0,60}$": "write a name of small letters, digits, dots, dashes and underscores",
    r"^[a-z][a-z0-9-]{0,60}$": "write a name of small letters, digits and dashes",
    r"^[a-z_][a-z0-9_.-]{0,31}\$?$": "write a user name of this machine",
    _DATE: "write a date such as 2026-12-20, which counts whole, or 2026-12-20 17:00",
    _OPENS: "write an hour such as 09:30",
    _CLOSES: "write an hour such as 16:30; 24:00 is the end of the day",
    WORD: "write an adapter's word such as github.open_issue",
    PREFIX: "write up to 20 small letters, digits, dashes and underscores",
    PAGES: "write an http or https address with {runbook} for the name, such as https://git.example.com/{runbook}.md",
}
"""Pattern -> what to write instead, for the messages."""


def listed(value: Any) -> Any:
    """One name stands for a list of one."""
    return [value] if isinstance(value, str) else value


def read_span(value: Any) -> Any:
    """A duration with its unit."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError("write a duration with its unit, such as 24h or 90d")
    return duration.parse(value)


def _cadence(value: Any) -> Any:
    return value if isinstance(value, timedelta) else schedule.parse_cadence(value if isinstance(value, str) else "")


def by_environment(value: Any) -> Any:
    """One value stands for all environments."""
    return value if isinstance(value, dict) else {"default": value}


def _dated(text: str) -> str:
    try:
        year = (date if len(text) == len("2026-12-20") else datetime).fromisoformat(text).year
    except ValueError:
        raise ValueError("there is no such day or hour") from None
    if not 2000 <= year < 2200:
        raise ValueError("the year lies between 2000 and 2199")
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = close(name, available_timezones())
        raise ValueError(f"there is no time zone of this name; {near or 'write one such as Europe/Berlin'}") from None
    return name


def _long_enough(span: timedelta) -> timedelta:
    if span <= timedelta(0):
        raise ValueError("it must be longer than 0s")
    return span


def boxed(span: timedelta) -> timedelta:
    """More than nothing, and a day at most."""
    if not timedelta(0) < span <= timedelta(days=1):
        raise ValueError("it must be longer than 0s and at most 24h")
    return span


Span = Annotated[timedelta, BeforeValidator(read_span)]
Some = Annotated[timedelta, BeforeValidator(read_span), AfterValidator(_long_enough)]
Moment = Annotated[str, StringConstraints(pattern=_DATE), AfterValidator(_dated)]
Opens = Annotated[str, StringConstraints(pattern=_OPENS)]
Closes = Annotated[str, StringConstraints(pattern=_CLOSES)]
Zone = Annotated[str, StringConstraints(max_length=60), AfterValidator(_zone)]
Cadence = Annotated[timedelta, BeforeValidator(_cadence)]
Names = Annotated[list[str], BeforeValidator(listed)]
Labels = Annotated[list[Label], BeforeValidator(listed)]


class Day(StrEnum):
    """Days of the week."""

    MONDAY = "mon"
    TUESDAY = "tue"
    WEDNESDAY = "wed"
    THURSDAY = "thu"
    FRIDAY = "fri"
    SATURDAY = "sat"
    SUNDAY = "sun"
