"""Escaping, cutting and dates."""

from __future__ import annotations

import html
import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slack.text import code, count, cut, date, escape, plain, sentence, short_hash, span, utc, visible


@given(st.text(), st.integers(min_value=1, max_value=400))
def test_escaped_text_has_no_markup_no_hidden_characters_and_fits(text: str, most: int) -> None:
    shown = escape(text, most)
    assert len(shown) <= most
    assert "<" not in shown
    assert ">" not in shown
    assert all(part.startswith(("amp;", "lt;", "gt;")) for part in shown.split("&")[1:])
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown)


@given(st.text(alphabet="abc<>& "))
def test_short_plain_text_comes_back_after_unescaping(text: str) -> None:
    assert html.unescape(escape(text, 5000)) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<!channel>", "&lt;!channel&gt;"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb", "a\\u200bb"),
        ("a\x00b\x1b", "a\\x00b\\x1b"),
        ("a\nb", "a b"),
        ("\U000e0041", "\\U000e0041"),
        ("grün 日本", "grün 日本"),
    ],
)
def test_what_cannot_be_seen_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_a_cut_text_says_so_and_never_cuts_an_entity() -> None:
    assert escape("aaaa&&&&", 10) == "aaaa&amp;…"
    assert escape("&&", 10) == "&amp;&amp;"
    assert cut("abcdef", 4) == "abc…"
    assert cut("abc", 0) == ""


def test_a_back_quote_does_not_end_a_name() -> None:
    assert code("a`b*c*") == "`a'b*c*`"
    assert code("") == "`-`"


def test_times_have_a_fallback_in_utc() -> None:
    moment = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
    assert date(moment) == "<!date^1795186800^{date_short_pretty} {time}|2026-11-20 15:00 UTC>"
    assert utc(moment) == "2026-11-20 15:00 UTC"


def test_small_words() -> None:
    assert (count(1, "step"), count(2, "step"), count(2, "person", "people")) == ("1 step", "2 steps", "2 people")
    assert span(timedelta(hours=1, minutes=15, milliseconds=20)) == "1h 15m"
    assert sentence("It failed") == "It failed."
    assert sentence("Why?") == "Why?"
    assert sentence("") == ""
    assert short_hash("sha256:" + "a" * 64) == "a" * 12
    assert plain("a\u202e", 3) == "a\\…"
    assert visible("") == ""
