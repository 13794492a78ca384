"""mrkdwn and markdown become trees in which text stays text, whatever it holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from playground.workspace import Seed
from playground.workspace.escaping import encode
from playground.workspace.markdown import parse as parse_markdown
from playground.workspace.markup import Node, parse, pings, plain
from playground.workspace.seed import App
from playground.workspace.state import State


def text_of(nodes: list[Node]) -> str:
    return "".join(node.get("s", "\n" if node["t"] == "br" else text_of(node.get("c", []))) for node in nodes)


def kinds(nodes: list[Node]) -> list[str]:
    return [node["t"] for node in nodes]


def test_styles_links_mentions_and_dates() -> None:
    nodes = parse(
        "*bold* _it_ ~no~ `code` <https://x.example|here> <@U0BOB> <#C0OPS|ops> <!here> <!subteam^S1|@sec> :key:"
    )
    found = [kind for kind in kinds(nodes) if kind != "text"]
    assert found == ["bold", "italic", "strike", "code", "link", "user", "channel", "broadcast", "group", "emoji"]
    (date,) = parse("<!date^1795190400^{date_short_pretty} {time}|2026-11-20 15:00 UTC>")
    assert date == {
        "t": "date",
        "at": 1795190400,
        "format": "{date_short_pretty} {time}",
        "url": None,
        "fallback": "2026-11-20 15:00 UTC",
    }
    assert kinds(parse("&gt; quoted\nnot")) == ["quote", "text"]
    assert kinds(parse("```\n*not bold*\n```")) == ["pre"]
    assert kinds(parse("snake_case_name 2*3*4 a~b")) == ["text"]


def test_hostile_text_stays_text() -> None:
    assert parse("<javascript:alert(1)|click>") == [{"t": "text", "s": "<javascript:alert(1)|click>"}]
    assert parse("&lt;!channel&gt;") == [{"t": "text", "s": "<!channel>"}]
    assert list(pings("&lt;!channel&gt; `<!here>`")) == []
    assert list(pings("<!channel> <@U0BOB> <!subteam^S0X>")) == ["channel", "U0BOB", "S0X"]
    assert plain("<!channel> *x*") == [{"t": "text", "s": "<!channel> *x*"}]
    assert parse("<script>alert(1)</script>") == [{"t": "text", "s": "<script>alert(1)</script>"}]
    assert all(node["t"] != "link" for node in parse("https://x.example", verbatim=True))


@given(st.text(alphabet=st.sampled_from("a*_~`<>&;|@#!^:{}\n é1"), max_size=60))
def test_any_text_survives_escaping_and_parsing(text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert list(pings(escaped)) == []
    parse(text)
    parse_markdown(text)


def test_markdown() -> None:
    nodes = parse_markdown(
        "# Head\ntext **b** [l](https://x.example)\n- [x] done\n- open\n\n> q\n\n```py\ncode\n```\n---"
    )
    assert kinds(nodes) == ["heading", "paragraph", "list", "quote", "pre", "rule"]
    assert nodes[2]["c"][0]["done"] is True
    assert [node["ordered"] for node in parse_markdown("1. a\n2. b\n- c")] == [True, False]
    assert text_of(parse_markdown("[x](javascript:alert)")) == "[x](javascript:alert)"


def test_what_a_person_types_reaches_the_app_escaped() -> None:
    state = State(Seed.of(None), App())
    typed = "cancel @bob, #ops @sec-oncall @here @nobody. a<b & https://x.example/?q=1"
    assert encode(state, typed, labels=True) == (
        "cancel <@U0BOB|bob>, <#C0OPS|ops> <!subteam^S0SECONCALL|@sec-oncall> <!here> @nobody. "
        "a&lt;b &amp; <https://x.example/?q=1>"
    )
    assert encode(state, "hi @bob.", labels=False) == "hi <@U0BOB>."
    assert encode(state, "mail alice@bob.example", labels=True) == "mail alice@bob.example"
