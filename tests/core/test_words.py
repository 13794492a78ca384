"""What people type is read the way they meant it, or refused in one sentence with the way out."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import Refused
from bot.core.words import LONGEST, Mention, Typed, advice, close_to, parse, rotation_number, shown, visible

KNOWN = {
    "start": {"reason": "Why now.", "yes": "Do not ask again (yes or no).", "json": "For machines (yes or no)"},
    "status": {},
    "approve": {"signature": "Of the plan."},
    "help": {},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Typed("help")),
        ("  \t\n", Typed("help")),
        ("status R-7", Typed("status", ("R-7",))),
        ("STATUS r-7", Typed("status", ("r-7",))),
        ('start key --reason "weekly rotation"', Typed("start", ("key",), {"reason": "weekly rotation"})),
        ("start key --reason=weekly", Typed("start", ("key",), {"reason": "weekly"})),
        ('start key --reason="a b=c"', Typed("start", ("key",), {"reason": "a b=c"})),
        ("start key --reason 'a \"b\" c'", Typed("start", ("key",), {"reason": 'a "b" c'})),
        ("start key --reason “it’s time”", Typed("start", ("key",), {"reason": "it’s time"})),
        ("start key —reason=„so nicht“", Typed("start", ("key",), {"reason": "so nicht"})),
        ("start key –reason «à la fin»", Typed("start", ("key",), {"reason": "à la fin"})),
        ('start key --reason "mixed ends”', Typed("start", ("key",), {"reason": "mixed ends"})),
        ("start key --reason ‘don’t wait’", Typed("start", ("key",), {"reason": "don’t wait"})),
        (
            "start key --REASON x --json --yes=yes",
            Typed("start", ("key",), {"reason": "x", "json": "yes", "yes": "yes"}),
        ),
        ("start don't", Typed("start", ("don't",))),
        ("start -- --reason x", Typed("start", ("--reason", "x"))),
        ('start "--reason" x', Typed("start", ("--reason", "x"))),
        ("start - x", Typed("start", ("-", "x"))),
        ("start a&lt;b &amp;c", Typed("start", ("a<b", "&c"))),
        ("start key --reason a&gt;b", Typed("start", ("key",), {"reason": "a>b"})),
    ],
)
def test_parse(text: str, expected: Typed) -> None:
    assert parse(text, KNOWN) == expected


def test_mentions_stand_apart() -> None:
    line = "start key <@U123|bob> <@W9> <#C1|ops> <!subteam^S1|@sec on call> <!here> @bob.smith"
    found = parse(line, KNOWN)
    assert found.args == ("key",)
    assert found.mentions == (
        Mention("user", "U123", "bob"),
        Mention("user", "W9"),
        Mention("channel", "C1", "ops"),
        Mention("group", "S1", "@sec on call"),
        Mention("special", "here"),
        Mention("name", "bob.smith"),
    )


@pytest.mark.parametrize("who", ["@bob", "<@U0BOB|bob>", "<!subteam^S0SEC|@sec>"])
def test_somebody_who_is_mentioned_is_meant_where_a_word_gives_to_somebody(who: str) -> None:
    known = {"own": {"to": "whose it is", "back": "back (yes or no)"}, "start": {"reason": "why"}}
    assert parse(f"own key {who}", known).flags == {"to": who}
    assert parse(f"own key --to alice {who}", known).flags == {"to": "alice"}
    assert parse(f"own key {who} {who}", known).flags == {}
    assert parse(f"start key {who}", known).flags == {}


def test_what_was_typed_to_look_like_a_mention_is_none() -> None:
    assert parse("start &lt;@U1&gt;", KNOWN) == Typed("start", ("<@U1>",))
    assert parse('start "<@U1>"', KNOWN).mentions == ()


@pytest.mark.parametrize(
    ("text", "code", "wanted"),
    [
        ("strat key", "unknown-word", "Did you mean start or status?"),
        ("frobnicate", "unknown-word", "See what there is with: help."),
        ("start key --raeson x", "unknown-flag", "Did you mean --reason?"),
        ("start key --zzz x", "unknown-flag", "start takes --json, --reason, --yes."),
        ("status --zzz", "unknown-flag", "status takes none."),
        ("start key --reason", "bad-flag", "--reason needs a value"),
        ("start key --reason --json", "bad-flag", "--reason needs a value"),
        ("start key --reason ''", "bad-flag", "--reason is empty"),
        ("start key --reason=", "bad-flag", "--reason is empty"),
        ("start key --reason a --reason b", "bad-flag", "stands there twice"),
        ("start key --json=no", "bad-flag", "takes no value"),
        ("start key -r x", "bad-flag", "two dashes"),
        ('start key --reason "abc', "open-quote", "never closed"),
        ("start key “abc", "open-quote", "never closed"),
        ("start " + "x " * 80, "too-long", "quotes"),
        ("start " + "x" * LONGEST, "too-long", "shorten"),
    ],
)
def test_mistakes_get_one_sentence_with_the_way_out(text: str, code: str, wanted: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(text, KNOWN)
    assert caught.value.code == code
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


def test_answers_show_what_hides() -> None:
    with pytest.raises(Refused) as caught:
        parse("sta\u202ert\u200b\x07 x", KNOWN)
    assert "sta\\u202ert\\u200b\\u0007" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("R-7", 7),
        ("r-7", 7),
        ("R7", 7),
        ("#7", 7),
        (" 7 ", 7),
        ("R-0042", 42),
        ("999999999", 999_999_999),
        ("0", None),
        ("R-0", None),
        ("-7", None),
        ("R--7", None),
        ("7a", None),
        ("identity-signing", None),
        ("", None),
        ("9999999999", None),
        ("٧", None),
        ("R-7; drop", None),
    ],
)
def test_rotation_number(text: str, expected: int | None) -> None:
    assert rotation_number(text) == expected


def test_advice() -> None:
    assert close_to("Identity-Sining", ["identity-signing", "billing-api-key"]) == ["identity-signing"]
    assert close_to("zzz", ["identity-signing"]) == []
    assert advice("zzz", []) == "See what there is with: help."


def test_shown_is_short() -> None:
    assert shown("x" * 100) == "“" + "x" * 39 + "…”"
    assert shown("a\x00b") == "“a\\u0000b”"
    assert visible("\U000e0041") == "\\U000e0041"
    assert visible("Grüße, 你好 👋 — ok") == "Grüße, 你好 👋 — ok"


@given(st.text(max_size=200))
def test_nothing_invisible_is_left(text: str) -> None:
    assert not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in visible(text))


@given(st.text(alphabet=st.sampled_from(list("start-=\"'“”’‘«»<@#!|>&; \tRreason7")), max_size=80))
def test_any_line_is_read_or_refused(text: str) -> None:
    refused = None
    found = Typed("help")
    try:
        found = parse(text, KNOWN)
    except Refused as error:
        refused = error
    assert refused is None or (refused.code and len(str(refused)) < 400)
    assert found.word in KNOWN
    assert set(found.flags) <= set(KNOWN[found.word])


_word = st.text(alphabet="abcdefghij-._", min_size=1, max_size=10).filter(lambda text: not text.startswith(("-", ".")))


@given(st.lists(_word, max_size=5), st.text(alphabet="abc xyz,.!?'", min_size=1, max_size=40).filter(str.strip))
def test_quoting_keeps_arguments_and_reasons_whole(args: list[str], reason: str) -> None:
    for opening, closing in (('"', '"'), ("“", "”")):
        found = parse(f"start {' '.join(args)} --reason {opening}{reason}{closing}", KNOWN)
        assert found.args == tuple(args)
        assert found.flags == {"reason": reason}
