"""Runbooks are read whole or refused with every mistake, each with its line; YAML can do nothing but hold data."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.document import DEEPEST, LARGEST, read
from bot.core.errors import Invalid
from bot.core.runbook import AskStep, CheckStep, DoStep, Kind, QuietStep, WaitStep, kind_of, words_of
from bot.core.runbook_file import load, loads, schema
from bot.core.runbook_input import Input

GOOD = """\
runbook: small
summary: A small runbook for the tests.
inputs:
  life: {type: duration, default: 1h}
rollback_within: 10m
steps:
  - {id: make, do: identity.publish_key, with: {service: x}}
  - id: learn
    wait: "${{ inputs.life }}"
    until: {check: jwks.key_served, with: {kid: "${{ steps.make.kid }}"}}
  - {id: good, check: gateways.success_rate, expect: {above: 99.9%, hold_below: 99%, over: 1h}}
  - {id: sure, ask: Did somebody look at the dashboard?}
retire:
  - {id: quiet, quiet: gateways.kid_last_seen, for: 1h, at_least: 24h}
  - {id: off, do: identity.disable_key, watch: {check: gateways.success_rate, for: 10m}}
emergency: {order: replace-first, steps: [make, {id: again, do: identity.publish_key}]}
"""


def problems(text: str) -> list[str]:
    with pytest.raises(Invalid) as caught:
        loads(text, "small.yaml")
    return list(caught.value.problems)


def test_a_good_runbook_is_read_with_lines_and_hash(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(GOOD)
    loaded = load(path)
    runbook = loaded.runbook
    assert [type(step) for step in runbook.steps] == [DoStep, WaitStep, CheckStep, AskStep]
    assert [kind_of(step) for step in runbook.retire] == [Kind.QUIET, Kind.DO]
    assert isinstance(runbook.retire[0], QuietStep)
    assert runbook.retire[0].quiet == ["gateways.kid_last_seen"]
    assert runbook.steps[2].expect.above == pytest.approx(0.999)
    assert loaded.sha256 == hashlib.sha256(GOOD.encode()).hexdigest()
    assert (loaded.line("steps", 1, "until", "with", "kid"), loaded.line("steps", 0)) == (10, 7)
    assert loaded.line("steps", 1, "nothing", "of", "it") == 8
    assert loaded.line() == 1
    assert loaded.name == "small"
    assert words_of(runbook.retire[1]) == ((Kind.DO, "identity.disable_key"), (Kind.CHECK, "gateways.success_rate"))
    assert runbook.step("again") is not None
    assert runbook.step("nowhere") is None


def test_five_mistakes_are_five_lines() -> None:
    text = (
        GOOD.replace("summary:", "sumary:")
        .replace("10m\n", "10 minutes\n", 1)
        .replace("do: identity.pub", "doo: identity.pub", 1)
    )
    text = text.replace("type: duration", "type: duratoin").replace("above:", "abov:")
    found = problems(text)
    wanted = [
        (2, "did you mean summary?"),
        (4, "did you mean duration?"),
        (5, "not a duration"),
        (7, "did you mean do?"),
    ]
    wanted.append((11, "did you mean above?"))
    for line, hint in wanted:
        assert any(entry.startswith(f"small.yaml:{line}: ") and hint in entry for entry in found), (line, hint, found)


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("id: learn", "id: make"), 8, "stands twice, first in line 7"),
        (("id: again", "id: quiet"), 16, "stands twice, first in line 14"),
        (("id: make", "id: Make It"), 7, "small letters, digits and dashes"),
        (("identity.publish_key, with", "publish, with"), 7, "adapter.word"),
        (('"${{ inputs.life }}"', '"${{ inputs.life() }}"'), 9, "only max"),
        (('"${{ inputs.life }}"', '"${{ inputs.life"'), 9, "never closed"),
        (("for: 1h, at_least", "for: 1 month, at_least"), 14, "not a duration"),
        (("quiet: gateways.kid_last_seen", "quiet: []"), 14, "must not be empty"),
        (("order: replace-first", "order: replace-frist"), 16, "did you mean replace-first?"),
        (("steps: [make,", "steps: [7,"), 16, "a step is a mapping"),
        (("99.9%", "990%"), 11, "a ratio lies between"),
        (("99.9%", "9x%"), 11, "write a percentage"),
        (("hold_below: 99%", "hold_below: 99.99%"), 11, "hold_below must not be greater"),
        (("default: 1h", "default: soon"), 4, "write a duration such as"),
        (("  life:", "  the-life:"), 4, "small letters, digits and underscores"),
        (("- {id: sure, ask:", "- {id: sure, wait: 1h, ask:"), 12, "this one says wait and ask"),
        (("- {id: sure, ask: Did somebody look at the dashboard?}", "- sure"), 12, "a step is a mapping"),
        (("runbook: small", "runbook: small\nbefore: [acces]"), 2, "'acces' is not a box"),
        (("runbook: small", "runbook: small\nfacts: {a: {read: x.y, bound: at_most}}"), 2, "give at_most together"),
        (("runbook: small", "runbook: small\ntrouble: [{id: a, when: b}]"), 2, "say what helps"),
        (
            ("runbook: small", "runbook: small\ntrouble: [{id: a, when: b, check: a.b, do: a.b}]"),
            2,
            "make two branches",
        ),
        (("runbook: small", "runbook: small\nreplaced: {odl: x}"), 2, "odl"),
    ],
)
def test_mistakes_have_line_and_advice(change: tuple[str, str], line: int, message: str) -> None:
    assert change[0] in GOOD
    found = problems(GOOD.replace(*change, 1))
    assert any(entry.startswith(f"small.yaml:{line}: ") and message in entry for entry in found), found


EMERGENCY = """\
emergency:
  order: replace-first
  steps:
    - make
    - {id: again, do: identity.publish_key}
    - {id: stop, do: identity.disable_key}
  otherwise:
    - stop
    - again
    - make
  contained: stop
  costs:
    contain-first: {outage: A few seconds., exposure: None at all.}
"""


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("    - {id: again, do: ", "    - {id: again, doo: "), 20, "did you mean do?"),
        (("    - {id: stop, do: ", "    - {id: stop, doo: "), 21, "did you mean do?"),
        (("    - make\n    - {id: again", "    - Make It\n    - {id: again"), 19, "small letters, digits and dashes"),
        (("    - stop\n", "    - {id: stop, do: identity.disable_key}\n"), 23, "put the step into steps:"),
        (("    - again\n", "    - 7\n"), 24, "put the step into steps:"),
        (("    - again\n    - make\n", "    - Make It\n"), 24, "small letters, digits and dashes"),
        (("  otherwise:\n    - stop\n    - again\n    - make\n", "  otherwise: stop\n"), 22, "must be a list"),
        (("contained: stop", "contained: [stop]"), 26, "must be a text"),
        (("    contain-first:", "    contain-frist:"), 28, "must be one of replace-first, contain-first"),
        (("outage: A few seconds., ", ""), 28, "add outage: ..."),
        (("outage: A few seconds.", "outage: ''"), 28, "is too short"),
        (("  contained:", "  containd:"), 26, "did you mean contained?"),
    ],
)
def test_mistakes_of_an_emergency_stand_in_their_line(change: tuple[str, str], line: int, message: str) -> None:
    good = GOOD[: GOOD.index("emergency:")] + EMERGENCY
    loads(good, "small.yaml")
    assert change[0] in good
    (found,) = problems(good.replace(*change, 1))
    assert found.startswith(f"small.yaml:{line}: "), found
    assert message in found


@pytest.mark.parametrize("text", ["", "[]", "just text", "3", "- a"])
def test_a_file_that_is_no_mapping(text: str) -> None:
    assert problems(text) == ["small.yaml:1: a runbook is a mapping (start with runbook: <name>)"]


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(8)
)
HOSTILE: list[Any] = [
    "a: !!python/object/apply:os.system [id]",
    "a: !!python/name:os.system",
    "!!python/object/new:subprocess.Popen [[id]]",
    "a: !ENV HOME",
    "a: !include /etc/passwd",
    "a: !!binary aGk=",
    "a: !!set {a}",
    "a: !!timestamp 2026-01-01",
    "a: !!int 3",
    "!!map/x {}",
    "? !evil a\n: 1",
    "a: 1\na: 2",
    "a: {b: 1, b: 2}",
    "<<: {a: 1}",
    "x: &x {a: 1}\ny:\n  <<: *x",
    "a: &a [*a]",
    "a: *nowhere",
    "? [a, b]\n: 1",
    "? {a: b}\n: 1",
    "a: ${{ b }}: c",
    "a: {${{ b }}}",
    "a: [1",
    "a: 'x",
    "a: b: c",
    "\ta: b",
    "a: \x00",
    "a: \ud800",
    "a: \x07",
    "--- a\n--- b",
    "[" * 100_000,
    "{" * 5_000,
    "a: " + "[" * (DEEPEST + 5) + "]" * (DEEPEST + 5),
    "- " * 3_000,
    BOMB,
    "a: &a x\nb: [" + "*a," * 30_000 + "]",
    "x" * (LARGEST + 1),
    "a: |\n" + " " * LARGEST,
    "%YAML 9.9\n---\na: 1\n%",
    "&a : *a : x",
    "@a",
    "`a`",
    "a: @b",
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_yaml_is_refused(number: int) -> None:
    with pytest.raises(Invalid) as caught:
        read(HOSTILE[number], "f")
    assert all(problem.startswith("f:") and len(problem) < 500 for problem in caught.value.problems)


def test_values_are_plain() -> None:
    text = """\
a: 1
b: 1.5
c: true
d: ~
e: yes
f: 012
g: 2026-01-01
h: '1'
i: 1e400
j: .inf
k: 1_000
l: 12:30
m:
n: -3
"""
    found = read(text, "f")
    values = [1, 1.5, True, None, "yes", 12, "2026-01-01", "1", "1e400", ".inf", "1_000", "12:30", None, -3]
    assert found.data == dict(zip("abcdefghijklmn", values, strict=True))
    assert found.line(("g",)) == 7


def test_aliases_of_plain_values_are_read() -> None:
    assert read("a: &x [1, 2]\nb: *x\n", "f").data == {"a": [1, 2], "b": [1, 2]}
    assert read("", "f").data is None


@given(st.text(max_size=200))
def test_any_text_is_data_or_invalid(text: str) -> None:
    try:
        found = read(text, "f").data
    except Invalid:
        return
    assert isinstance(found, str | int | float | bool | list | dict | type(None))


def test_files(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(GOOD)
    with pytest.raises(Invalid, match="give both the same name"):
        load(other)
    other.write_bytes(b"runbook: a\nsummary: \xff\n")
    with pytest.raises(Invalid, match=r"other.yaml:2: this is not UTF-8"):
        load(other)
    other.write_bytes(b"x" * (LARGEST + 1))
    with pytest.raises(Invalid, match="larger than 256 KiB"):
        load(other)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing.yaml")


def test_schema_describes_every_section() -> None:
    found = schema()
    assert {"runbook", "inputs", "facts", "with", "steps", "retire", "emergency", "trouble"} <= set(found["properties"])
    assert found["additionalProperties"] is False


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("text", ["a b"], ["", " \n", "x" * 501, 3, "${{ inputs.a }}", "a\u202eb", None, ["a"]]),
        ("name", ["gw-1.x_y"], ["a b", "-a", "a/b", "", 3]),
        (
            "url",
            ["https://a.example/x", "http://127.0.0.1:80"],
            [
                "ftp://a",
                "a",
                "https://",
                "https://u:p@h",
                "http://h?x=1",
                "http://h#f",
                "http://h:99999",
                "http://[::1",
                "h t",
                3,
            ],
        ),
        ("duration", ["1h"], [60, "60", "1 month", None]),
        ("list", [["a", "b"]], [[], "a", ["a", "a"], [1], [""]]),
        ("reference", ["secret_files:a/b#v1"], ["x", "hunter2 hunter2", 3]),
        ("number", [1, 2.5, 0], ["1", True, float("nan"), float("inf"), None]),
    ],
)
def test_inputs_check_their_type(kind: Any, good: list[Any], bad: list[Any]) -> None:
    declared = Input(type=kind)
    assert declared.required
    for value in good:
        declared.check(value)
    for value in bad:
        with pytest.raises(ValueError) as caught:
            declared.check(value)
        assert "hunter2" not in str(caught.value)
