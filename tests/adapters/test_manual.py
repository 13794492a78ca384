"""What people make by hand: ids are kept, values are refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from adapters import manual

PARAMS = manual.Record.Params


def test_ids_and_tickets_are_kept() -> None:
    for reference in ("OPS-1234", "key-2026-11", "https://tickets.example/OPS-1234", "apikey 3 of 4"):
        assert PARAMS(what="made a key in the console", reference=reference).reference == reference


@pytest.mark.parametrize(
    "value",
    [
        "ghp_" + "a1B2" * 9,
        "sk-ant-" + "a1B2c3D4" * 4,
        "-----BEGIN PRIVATE KEY-----",
        "password: hunter2hunter2",
        "q8Zr2mXv9TbL4kWc7NdYp3Hs",
        "two\nlines",
        "\u202etxet",
        "",
        "x" * 301,
    ],
)
def test_values_are_refused_and_not_quoted(value: str) -> None:
    for field in ("what", "reference"):
        with pytest.raises(ValidationError) as caught:
            PARAMS.model_validate({"what": "made a key", "reference": "OPS-1", field: value})
        assert len(value) < 8 or value not in str(caught.value)
