"""Lines of an allowed_signers file: what counts, what is left out, and what lint says about it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.allowed_signers import PRINCIPAL, read
from tests.ssh import string


def public(number: int = 1, kind: str = "ssh-ed25519") -> str:
    return f"{kind} {base64.b64encode(string(kind.encode()) + string(bytes([number]) * 32)).decode()}"


ONE, TWO = public(1), public(2)
PEOPLE = ("alice", "bob")
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "given"),
    [
        (f"bob {ONE}", f"bob {ONE}"),
        (f"  bob\t{ONE}   bob's \"laptop  ", f"bob {ONE}"),
        (f"bob,bob@example.com {ONE}\r", f"bob,bob@example.com {ONE}"),
        (f'bob namespaces="git,rotation@*" {ONE}', f'bob namespaces="git,rotation@*" {ONE}'),
        (f'bob Valid-Before="20270101",namespaces="*" {ONE}', f'bob valid-before="20270101",namespaces="*" {ONE}'),
        (f'bob valid-after="202601010000Z" {ONE} x', f'bob valid-after="202601010000Z" {ONE}'),
    ],
)
def test_a_sound_line_is_handed_on_without_what_does_not_matter(line: str, given: str) -> None:
    contents = read(f"# signers\n\n{line}\n")
    assert [line.text() for line in contents.usable()] == [given]
    assert not contents.problems
    assert contents.lines[0].number == 3


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"* {ONE}", "pattern"),
        (f"bo? {ONE}", "pattern"),
        (f"alice,!bob {ONE}", "pattern"),
        (f"bob,,alice {ONE}", "no name"),
        (f'"bob" {ONE}', "no name"),
        (f"-bob {ONE}", "no name"),
        (f"bоb {ONE}", "no name"),  # a Cyrillic о
        (f"bob cert-authority {ONE}", "cert-authority"),
        (f'bob namespaces="rotation@keyturn",cert-authority {ONE}', "cert-authority"),
        (f"bob no-touch-required {ONE}", "not taken"),
        (f'bob namespaces="a",namespaces="b" {ONE}', "not taken"),
        (f'bob namespaces="" {ONE}', "namespaces"),
        (f"bob namespaces=a {ONE}", "options"),
        (f'bob valid-before="tomorrow" {ONE}', "no date"),
        (f'bob valid-before="20261399" {ONE}', "no date"),
        ("bob", "no key"),
        ("bob ssh-ed25519", "cut off"),
        (f"bob {ONE[:-9]}", "cut off"),
        (f"bob ssh-rsa {ONE.split()[1]}", "cut off"),
        (f"bob {public(1, 'ssh-dss')}", "no key of a type"),
        (f"bob {public(1, 'ssh-ed25519-cert-v01@openssh.com')}", "no key of a type"),
        (ONE, "no key of a type"),
        ('"', "nothing but a quote"),
        (f"@revoked {'x'}", "revokes no key"),
    ],
)
def test_a_line_that_could_mean_more_is_left_out_and_named(line: str, why: str) -> None:
    contents = read(f"{line}\nalice {TWO}\n")
    assert [line.text() for line in contents.usable()] == [f"alice {TWO}"], "the other lines still count"
    (problem,) = contents.problems
    assert problem.startswith("line 1: ")
    assert why in problem


@pytest.mark.parametrize("line", [f"@revoked {ONE}", f"@revoked * {ONE} lost laptop"])
def test_a_revoked_key_is_out_wherever_it_stands(line: str) -> None:
    assert read(f"bob {ONE}\nalice {TWO}\n{line}\n").usable()[0].principals == ("alice",)
    assert len(read(f"{line}\nbob {ONE}\nalice {TWO}\n").usable()) == 1


def test_a_key_that_two_people_share_counts_for_neither() -> None:
    contents = read(f"bob {ONE}\nalice {ONE}\nalice {TWO}\n")
    assert [line.text() for line in contents.usable(PEOPLE)] == [f"alice {TWO}"]
    assert len(read(f"bob,bob@example.com {ONE}\n").usable(PEOPLE)) == 1
    assert "alice and bob share the key SHA256:" in " ".join(contents.look(PEOPLE, (), None))


def test_lint_names_what_is_wrong_and_says_what_to_do() -> None:
    text = f'bbo {public(3)}\nbob namespaces="git" {ONE}\nalice valid-before="20261120" {TWO}\ncarol* {public(4)}\n'
    found = read(text).look(PEOPLE, ("alice", "bob"), NOW)
    assert "line 4" in found[0]
    assert "bbo is no declared person; did you mean bob?" in found[1]
    assert 'namespaces="rotation@keyturn"' in found[2]
    assert "no longer valid" in found[3]
    assert [line.partition(" ")[0] for line in found[4:]] == ["alice", "bob"]
    assert not read(f"bob {ONE}\nalice {TWO}\n").look(PEOPLE, PEOPLE, NOW)
    assert not read(f'bob valid-before="20261122" {ONE}\n').look(PEOPLE, ("bob",), NOW)


@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [
        ("rotation@keyturn", True),
        ("git,rotation@keyturn", True),
        ("rotation@*", True),
        ("rotation?keyturn", True),
        ("*,!rotation@keyturn", False),
        ("git", False),
        ("rotation.keyturn", False),
    ],
)
def test_namespaces_are_patterns(patterns: str, allowed: bool) -> None:
    found = read(f'bob namespaces="{patterns}" {ONE}\n').look(PEOPLE, (), None)
    assert bool(found) is not allowed


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader_or_makes_a_pattern(text: str) -> None:
    for line in read(f"{text}\nbob {text}\n{text} {ONE}\nbob {text} {ONE}\n").lines:
        assert all(PRINCIPAL.fullmatch(name) for name in line.principals)
        assert "\n" not in line.text()
        assert line.text().isascii()
