"""Looks for secrets where none may be: raw, in pieces, backwards, and in every usual encoding."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from urllib.parse import quote


def forms(value: str) -> Mapping[str, bytes]:
    """Every form in which this value would still be a leak, by name."""
    raw = value.encode()
    half = len(raw) // 2
    made = {
        "raw": raw,
        "first half": raw[:half],
        "second half": raw[half:],
        "reversed": raw[::-1],
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "url": quote(value, safe="").encode(),
        "json": json.dumps(value)[1:-1].encode(),
        "utf-16": value.encode("utf-16-le"),
    }
    for shift in range(3):
        made[f"base64 at {shift}"] = _inner(base64.b64encode, raw, shift)
        made[f"base64url at {shift}"] = _inner(base64.urlsafe_b64encode, raw, shift)
    return made


def _inner(encode: type[bytes] | object, raw: bytes, shift: int) -> bytes:
    """What stands in the base64 of any text in which `raw` begins at this remainder of three."""
    coded = encode(b"\0" * shift + raw)  # type: ignore[operator]  # one of two functions of the standard library
    first = -(-shift * 8 // 6)
    last = (shift + len(raw)) * 8 // 6
    found: bytes = coded[first:last]
    return found


def leaks(secrets: Mapping[str, str], sinks: Mapping[str, bytes]) -> Iterator[str]:
    """`admin token, base64 at 1, in the log`, for each find."""
    for name, value in secrets.items():
        for form, wanted in forms(value).items():
            for sink, held in sinks.items():
                if wanted in held:
                    yield f"{name}, {form}, in {sink}"
