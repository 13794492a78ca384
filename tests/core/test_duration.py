"""Durations are written and read by people, and never mean anything else than they say."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.duration import LONGEST, limited, parse, show


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15m", timedelta(minutes=15)),
        (" 1h30m ", timedelta(hours=1, minutes=30)),
        ("1d 1h", timedelta(days=1, hours=1)),
        ("2w", timedelta(weeks=2)),
        ("500ms", timedelta(milliseconds=500)),
        ("1.5h", timedelta(hours=1, minutes=30)),
        ("0s", timedelta(0)),
        ("365d", timedelta(days=365)),
    ],
)
def test_parse(text: str, expected: timedelta) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "15",
        "m",
        "15 minutes",
        "1 month",
        "1mo",
        "1y",
        "-1h",
        "1h-",
        "1h,",
        "1,5h",
        "1_0m",
        "１h",
        "٣h",
        "1h" * 60,
        "9" * 400 + "d",
        "4000d",
        "1e3s",
        "0x1s",
        "inf",
        "nan s",
        "1h\x00",
        "1h\u200b",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write for example|longer than"):
        parse(text)


@given(st.integers(min_value=0, max_value=int(LONGEST.total_seconds() * 1000)))
def test_what_is_shown_reads_back(millis: int) -> None:
    value = timedelta(milliseconds=millis)
    assert parse(show(value)) == value


def test_show() -> None:
    assert show(timedelta(days=1, hours=1)) == "1d 1h"
    assert show(timedelta(0)) == "0s"
    assert show(-timedelta(minutes=5)) == "-5m"


def test_limited() -> None:
    assert limited(timedelta(hours=1)) == timedelta(hours=1)
    for wrong in (timedelta(seconds=-1), LONGEST + timedelta(seconds=1)):
        with pytest.raises(ValueError, match="ten years"):
            limited(wrong)
