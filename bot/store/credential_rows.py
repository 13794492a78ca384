"""Credentials read many at a time: plain columns, decoded here and not by a type for every cell."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from sqlalchemy import BigInteger, Text, type_coerce

from bot.store.columns import Json, Moment, Span, moment
from bot.store.records import CredentialRow
from bot.store.tables import CREDENTIAL

_MOMENTS, _SPANS, _JSON = (
    tuple(i for i, column in enumerate(CREDENTIAL.c) if isinstance(column.type, kind)) for kind in (Moment, Span, Json)
)


def _plain(column: Any) -> Any:
    if isinstance(column.type, Moment | Span):
        return type_coerce(column, BigInteger).label(column.name)
    return type_coerce(column, Text).label(column.name) if isinstance(column.type, Json) else column


PLAIN = tuple(_plain(column) for column in CREDENTIAL.c)
"""What to select for `credentials`."""


def credentials(rows: Iterable[Any]) -> list[CredentialRow]:
    """Rows of `PLAIN` as credentials."""
    found = []
    for row in rows:
        values = list(row)
        for i in _MOMENTS:
            if values[i] is not None:
                values[i] = moment(values[i])
        for i in _SPANS:
            if values[i] is not None:
                values[i] = timedelta(microseconds=values[i])
        for i in _JSON:
            if values[i] is not None:
                values[i] = {} if values[i] == "{}" else json.loads(values[i])
        found.append(CredentialRow(*values))
    return found
