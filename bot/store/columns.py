"""How columns hold times, JSON and text from anywhere: microseconds since 1970 in UTC, and canonical JSON as text."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import BigInteger, Dialect, Index, Table, Text, text
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def micros(moment: datetime) -> int:
    """Microseconds since 1970, exactly; the form in which both databases keep a time."""
    return (moment - EPOCH) // _TICK


def moment(value: int) -> datetime:
    """The time that `micros` wrote."""
    return EPOCH + timedelta(microseconds=value)


def json_bytes(value: Any) -> bytes:
    """The canonical bytes of `bot.core.plan.canonical`; a lone surrogate from outside is written as its escape."""
    return _encode(value).encode("utf-8", "backslashreplace")


def plain(value: str) -> str:
    """The same text without what a database cannot hold: NUL and lone surrogates become a replacement character."""
    if value.isascii():
        return value.replace("\x00", "\ufffd") if "\x00" in value else value
    return value.replace("\x00", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")


class Moment(TypeDecorator[datetime]):
    """A time in UTC, exact to the microsecond, as a 64-bit integer."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Write it."""
        return None if value is None else micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Read it."""
        return None if value is None else moment(value)


class Span(TypeDecorator[timedelta]):
    """A duration in microseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> int | None:
        """Write it."""
        return None if value is None else value // _TICK

    def process_result_value(self, value: int | None, dialect: Dialect) -> timedelta | None:
        """Read it."""
        return None if value is None else timedelta(microseconds=value)


class Json(TypeDecorator[Any]):
    """JSON as canonical text. None is the database's NULL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Write it."""
        return None if value is None else json_bytes(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Read it."""
        return None if value is None else json.loads(value)


class Words(TypeDecorator[str]):
    """Text from anywhere; what a database cannot hold is replaced."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Write it."""
        return None if value is None else plain(value)


class Name(Words):
    """Text that is compared and sorted by its bytes on both databases."""

    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """PostgreSQL would sort by the server's language otherwise."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Text(collation="C"))
        return dialect.type_descriptor(Text())


def partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index of some rows only."""
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


def table(model: type[SQLModel]) -> Table:
    """The Core table of a model."""
    return cast("Table", model.__table__)  # type: ignore[attr-defined]  # set by SQLModel's metaclass
