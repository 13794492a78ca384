"""What a token says of itself, unchecked: whether it holds is for the API server to say."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bot.core.errors import Permanent
from bot.core.secret import Secret


def claims_of(value: Secret) -> Mapping[str, Any]:
    """What a token says of itself, unchecked; raises `Permanent` when it is none."""
    try:
        part = value.reveal().split(b".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    except (ValueError, IndexError):
        claims = None
    if not isinstance(claims, dict) or not isinstance(claims.get("exp"), int | float):
        raise Permanent("this is no token with an end (exp)", "name the entry that holds a service-account token")
    return claims


def end_of(value: Secret) -> datetime | None:
    """When a value ends by itself, if it is a token that says so; None for any other value."""
    try:
        return datetime.fromtimestamp(claims_of(value)["exp"], UTC)
    except (Permanent, ValueError, OverflowError, OSError, RecursionError):
        return None
