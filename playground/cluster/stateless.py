"""Stateless tokens of the consumers: a kid, a payload and an HMAC. Standard library only, since each pod loads it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping

VALID = "ok"
UNKNOWN_KID, BAD_SIGNATURE, EXPIRED, MALFORMED = "unknown_kid", "bad_signature", "expired", "malformed"
KEY = "key."
ACTIVE = "active"


def keys_of(secret: Mapping[str, bytes]) -> dict[str, bytes]:
    """The keys of a Secret by version: `key.v2` is the key of v2."""
    return {name.removeprefix(KEY): value for name, value in secret.items() if name.startswith(KEY)}


def sign(kid: str, key: bytes, subject: str, now: float, life: float) -> str:
    """A token that is good for `life` seconds from now."""
    payload = json.dumps({"sub": subject, "iat": now, "exp": now + life}, separators=(",", ":")).encode()
    body = f"{kid}.{_encode(payload)}"
    return f"{body}.{_encode(_mac(key, body))}"


def verify(token: str, keys: Mapping[str, bytes], now: float) -> str:
    """`ok`, or why it is refused."""
    try:
        kid, payload, signature = token.split(".")
        given = _decode(signature)
        expires = float(json.loads(_decode(payload))["exp"])
    except (ValueError, KeyError, TypeError):
        return MALFORMED
    if kid not in keys:
        return UNKNOWN_KID
    if not hmac.compare_digest(_mac(keys[kid], f"{kid}.{payload}"), given):
        return BAD_SIGNATURE
    return VALID if now < expires else EXPIRED


def kid_of(token: str) -> str:
    """The version of the key that a token says it was signed with."""
    return token.partition(".")[0]


def _mac(key: bytes, body: str) -> bytes:
    return hmac.new(key, body.encode(), hashlib.sha256).digest()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
