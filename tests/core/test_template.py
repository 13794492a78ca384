"""Expressions look values up and add durations, and do nothing else, whatever is written into them."""

from __future__ import annotations

import string
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core import duration
from bot.core.errors import Permanent
from bot.core.template import (
    LONGEST_EXPRESSION,
    Reference,
    TemplateError,
    evaluate,
    evaluate_span,
    is_expression,
    moments,
    references,
)

SCOPE: dict[str, Any] = {
    "inputs": {"cache": "15m", "life": 3600, "gateways": ["a", "b"], "name": "x", "none": None, "on": True, "map": {}},
    "facts": {"ttl": 900.5},
    "steps": {"old-key": {"kid": "k-1"}},
    "credential": {"name": "signing", "environment": "production", "owner": "sec", "class": "key"},
    "rotation": {"id": "R-7"},
    "each": "gw1",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("}} {{ $", "}} {{ $"),
        ("${{ inputs.gateways }}", ["a", "b"]),
        ("${{inputs.life}}", 3600),
        ("${{ inputs.none }}", None),
        ("${{ inputs.on }}", True),
        ("${{ steps.old-key.kid }}", "k-1"),
        ("${{ each }}", "gw1"),
        ("store:${{ credential.name }}/${{ rotation.id }}#v1", "store:signing/R-7#v1"),
        ("${{ inputs.life }}s", "3600s"),
        ("${{ inputs.cache + inputs.life }}", "1h 15m"),
        ("${{ 1h - inputs.cache }}", "45m"),
        ("${{ (1h + 1h) - (30m + 30m) }}", "1h"),
        ("${{ max(inputs.cache, facts.ttl, 1m) }}", "15m 500ms"),
        ("${{ min(inputs.cache, 1d) + 1s }}", "15m 1s"),
        ("${{ seconds(inputs.cache + 1h30m) }}", 6300),
        ("${{ seconds(facts.ttl) }}", 900.5),
        ("x ${{ inputs.cache + 5m }}", "x 20m"),
        ("${{\n inputs.cache\t}}", "15m"),
    ],
)
def test_evaluate(text: str, expected: Any) -> None:
    found = evaluate({"deep": [text]}, SCOPE)["deep"][0]
    assert found == expected
    assert type(found) is type(expected)


def test_other_json_stays_as_it_is() -> None:
    value = {"a": [1, 2.5, None, True, {"b": "c"}]}
    assert evaluate(value, SCOPE) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15m", timedelta(minutes=15)),
        ("${{ inputs.cache }}", timedelta(minutes=15)),
        ("${{ inputs.life }}", timedelta(hours=1)),
        ("${{ max(inputs.cache, inputs.life) - 5m + 1d }}", timedelta(days=1, minutes=55)),
        ("${{ inputs.life }}s", timedelta(hours=1)),
        (90, timedelta(seconds=90)),
    ],
)
def test_evaluate_span(text: str | int, expected: timedelta) -> None:
    assert evaluate_span(text, SCOPE) == expected


@pytest.mark.parametrize(
    "text",
    [
        "${{ inputs.name }}",
        "${{ inputs.gateways }}",
        "${{ inputs.on }}",
        "${{ inputs.none + 1h }}",
        "${{ 1m - 1h }}",
        "soon",
        "${{ inputs.map }}",
        float("nan"),
        float("inf"),
        1e300,
        -1,
        True,
    ],
)
def test_what_is_no_duration_is_refused(text: Any) -> None:
    with pytest.raises(TemplateError):
        evaluate_span(text, SCOPE)


NOON = "2026-03-01T12:00:00+00:00"


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        ("${{ until(facts.ends) }}", "2026-03-01T10:00:00+00:00", timedelta(hours=2)),
        ("${{ until(facts.ends) }}", "2026-03-01T12:00:00+01:00", timedelta(hours=1)),
        ("${{ until(facts.ends) }}", "2026-03-01T11:59:58.100000+00:00", timedelta(seconds=2)),
        ("${{ until(facts.ends) }}", "2026-03-02T12:00:00+00:00", timedelta(0)),
        ("${{ max(until(facts.ends), 1d) + 1h }}", "2026-03-01T10:00:00+00:00", timedelta(hours=25)),
    ],
)
def test_until_a_moment(text: str, now: str, expected: timedelta) -> None:
    scope = {"facts": {"ends": NOON}, "now": datetime.fromisoformat(now)}
    assert evaluate_span(text, scope) == expected


@pytest.mark.parametrize(
    ("text", "scope", "said"),
    [
        ("${{ until(facts.ends) }}", {"facts": {"ends": NOON}}, r"until\(facts.ends\) is not known here"),
        ("${{ until(facts.ends) }}", {"facts": {"ends": "2026-03-01T12:00:00"}}, "facts.ends is no moment"),
        ("${{ until(facts.ends) }}", {"facts": {"ends": 90}}, "facts.ends is no moment"),
        ("${{ until(1h) }}", {}, "something else than one moment"),
        ("${{ until(facts.a, facts.b) }}", {}, "something else than one moment"),
        ("${{ until(facts.a - 1h) }}", {}, "something else than one moment"),
        ("${{ until(max(facts.a)) }}", {}, "something else than one moment"),
    ],
)
def test_what_is_no_moment_is_refused(text: str, scope: Any, said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        evaluate_span(text, scope)


def test_moments_are_what_stands_in_until() -> None:
    value = ["${{ max(until(facts.a), facts.b) + (until(facts.c)) }}", "${{ facts.d }}"]
    assert [str(found) for found in moments(value)] == ["facts.a", "facts.c"]
    assert [str(found) for found in references(value)] == ["facts.a", "facts.b", "facts.c", "facts.d"]


def test_references_are_listed_once_in_order() -> None:
    value = [
        "${{ max(inputs.a, facts.b - 1h) }} ${{ steps.x-y.z }}",
        {"k": "${{ inputs.a + (each + credential.name) }}"},
    ]
    assert [str(found) for found in references(value)] == [
        "inputs.a",
        "facts.b",
        "steps.x-y.z",
        "each",
        "credential.name",
    ]
    assert references("no ${ or {{ }} here") == []
    assert Reference("steps", "a", "b") in references("${{ steps.a.b }}")


def test_is_expression() -> None:
    assert is_expression({"a": ["${{ each }}"]})
    assert not is_expression({"a": ["each", 1, None]})


def test_values_are_looked_up_once() -> None:
    scope = {"inputs": {"evil": "${{ steps.a.secret }}", "list": ["x", {"y": "${{ each }}"}]}}
    for text in ("${{ inputs.evil }}", "a ${{ inputs.evil }}", "${{ inputs.list }}"):
        with pytest.raises(TemplateError, match="holds an expression"):
            evaluate(text, scope)


def test_errors_name_places_and_never_values() -> None:
    scope = {"inputs": {"token": "hunter2-hunter2"}}
    for text in (
        "${{ inputs.token + 1h }}",
        "${{ inputs.tokens }}",
        "${{ inputs.token.x }}",
        "${{ max(inputs.token) }}",
    ):
        with pytest.raises(TemplateError) as caught:
            evaluate(text, scope)
        assert "hunter2" not in f"{caught.value} {caught.value.hint} {caught.value!r}"
        assert caught.value.hint
    assert issubclass(TemplateError, Permanent)
    assert issubclass(TemplateError, ValueError)


def test_a_text_around_needs_a_scalar() -> None:
    for name in ("gateways", "none", "on", "map"):
        with pytest.raises(TemplateError, match="cannot stand inside a text"):
            evaluate(f"x${{{{ inputs.{name} }}}}", SCOPE)


_CODE = [
    "__import__('os').system('id')",
    "().__class__.__bases__[0].__subclasses__()",
    "inputs.__class__",
    "inputs._private",
    "inputs.name.__class__",
    "inputs['name']",
    "inputs.name[0]",
    "inputs.name()",
    "inputs.gateways.append",
    "inputs",
    "steps.old-key",
    "steps",
    "steps.old-key.kid.upper",
    "credential",
    "credential.password",
    "rotation",
    "rotation.token",
    "each.name",
    "env.HOME",
    "secrets.token",
    "self",
    "globals()",
    "eval('1')",
    "exec('1')",
    "open('/etc/passwd')",
    "lambda: 1",
    "1 + 1",
    "1h * 2",
    "1h / 2",
    "1h ** 2",
    "2 * inputs.cache",
    "'a' + 'b'",
    '"a"',
    "f'{inputs}'",
    "inputs.cache if 1 else 2",
    "inputs.cache or 1h",
    "inputs.cache and 1h",
    "not inputs.on",
    "inputs.cache == 1h",
    "inputs.cache > 1h",
    "inputs.cache | upper",
    "inputs.cache; 1h",
    "inputs.cache, 1h",
    "inputs.cache\x00",
    "inputs.cache #",
    "$(id)",
    "`id`",
    "$HOME",
    "{% for x in y %}",
    "{{ 7*7 }}",
    "${7*7}",
    "#{7*7}",
    "<%= 7*7 %>",
    "@java.lang.Runtime",
    "T(java.lang.Runtime)",
    "range(10)",
    "max()",
    "max(1h",
    "max 1h",
    "max(1h,)",
    "max(,1h)",
    "seconds(1h, 2h)",
    "seconds()",
    "sum(1h)",
    "max.x(1h)",
    "abs(1h)",
    "print(1h)",
    "- 1h",
    "+ 1h",
    "1h -",
    "1h + + 1h",
    "1h 1h",
    "1h + (1h",
    "1h)",
    ")",
    "(",
    "()",
    ",",
    ".",
    "..",
    "inputs.",
    ".inputs",
    "inputs..name",
    "inputs.name.",
    "inputs.cache-inputs.life",
    "inputs.1",
    "1month",
    "1y",
    "1.h",
    "1e3s",
    "0x10s",
    "１h",
    "ｉnputs.name",
    "inputs.nаme",
    "inputs.name\u200b",
    "inputs.\u202ename",
    "\ufeffinputs.name",
    "inputs/name",
    "inputs:name",
    "inputs->name",
    "inputs::name",
    "inputs?.name",
    "inputs!name",
    "inputs.*",
    "*",
    "%s",
    "\\x41",
    "inputs.name\\",
    "99999999d",
    "9" * 300 + "d",
    "inputs." + "a" * 500,
    "(" * 50 + "1h" + ")" * 50,
    "max(" * 40 + "1h" + ")" * 40,
    "1h+" * 200 + "1h",
    "",
    " ",
    "\t\n",
]
_WRAPS = ["${{{{ {} }}}}", "before ${{{{ {} }}}} after"]


@pytest.mark.parametrize(
    "payload", [wrap.format(code.replace("{", "{").replace("}", "}")) for code in _CODE for wrap in _WRAPS]
)
def test_hostile_payloads_are_refused(payload: str) -> None:
    with pytest.raises(TemplateError):
        references(payload)
    with pytest.raises(TemplateError):
        evaluate(payload, SCOPE)


def test_there_are_two_hundred_payloads() -> None:
    assert len({wrap.format(code) for code in _CODE for wrap in _WRAPS}) >= 200


@pytest.mark.parametrize(
    "text", ["${{", "${{ inputs.name", "${{ inputs.name }", "x ${{ ${{ each }}", "${{ ${{ each }} }}"]
)
def test_unclosed_and_nested_openings_are_refused(text: str) -> None:
    with pytest.raises(TemplateError):
        evaluate(text, SCOPE)


def test_limits() -> None:
    with pytest.raises(TemplateError, match="characters"):
        references("${{ " + "1h + " * LONGEST_EXPRESSION + "1h }}")
    with pytest.raises(TemplateError, match="longer"):
        references("${{ each }}" * 5000)
    deep: Any = "x"
    for _ in range(40):
        deep = [deep]
    with pytest.raises(TemplateError, match="deep"):
        evaluate(deep, SCOPE)
    with pytest.raises(TemplateError, match="values"):
        evaluate(["x"] * 6000, SCOPE)


def test_an_object_in_the_scope_is_never_opened() -> None:
    class Trap:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError("attributes are not looked up")

    with pytest.raises(TemplateError):
        evaluate("${{ steps.a.b }}", {"steps": {"a": Trap()}})


@given(st.text(max_size=200))
def test_text_without_an_opening_is_never_changed(text: str) -> None:
    if "${{" not in text:
        assert evaluate(text, {}) == text


@given(st.text(alphabet=string.ascii_letters + string.digits + " .+-(),_${}'\"[]*", max_size=80))
def test_anything_inside_gives_a_value_or_a_template_error(text: str) -> None:
    try:
        found = evaluate("${{ " + text + " }}", SCOPE)
    except TemplateError:
        return
    assert isinstance(found, str | int | float | list | dict | bool | type(None))


_SPANS = st.integers(min_value=0, max_value=86_400 * 30)


@given(_SPANS, _SPANS, _SPANS)
def test_sums_are_the_sums_of_seconds(a: int, b: int, c: int) -> None:
    scope = {"inputs": {"a": a, "b": duration.show(timedelta(seconds=b)), "c": c}}
    total = timedelta(seconds=a + b - c)
    if total >= timedelta(0):
        assert evaluate_span("${{ inputs.a + inputs.b - inputs.c }}", scope) == total
    assert evaluate_span("${{ max(inputs.a, inputs.b, inputs.c) }}", scope) == timedelta(seconds=max(a, b, c))
    assert evaluate_span("${{ min(inputs.a, inputs.b) }}", scope) == timedelta(seconds=min(a, b))
    assert evaluate("${{ seconds(inputs.b) }}", scope) == b


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=10,
    )
)
def test_a_whole_expression_keeps_the_value(value: Any) -> None:
    if "${{" not in str(value):
        assert evaluate("${{ steps.a.b }}", {"steps": {"a": {"b": value}}}) == value
