"""A secret shows itself to nobody but the one call that reveals it."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import Refused
from bot.core.secret import HIDDEN, Secret, SecretReference

VALUE = "hunter2-very-secret"


def test_every_way_of_showing_hides_it(caplog: pytest.LogCaptureFixture) -> None:
    @dataclass
    class Holder:
        secret: Secret

    secret = Secret(VALUE)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").warning("%s %r %s", secret, secret, Holder(secret))
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>40}", f"{[secret]}", repr(Holder(secret)), caplog.text]
    assert all(VALUE not in text and HIDDEN in text for text in shown)


def test_it_is_revealed_on_purpose_only() -> None:
    assert Secret(VALUE).reveal() == VALUE.encode()
    assert Secret(VALUE.encode()).reveal_text() == VALUE
    assert Secret(VALUE) == Secret(VALUE.encode())
    assert Secret(VALUE) != Secret("other")
    assert Secret(VALUE) != VALUE


@pytest.mark.parametrize("leak", [pickle.dumps, iter, json.dumps, hash, list])
def test_it_cannot_be_stored_or_taken_apart(leak: object) -> None:
    with pytest.raises(TypeError) as caught:
        leak(Secret(VALUE))  # type: ignore[operator]  # every one of these is a function
    assert VALUE not in "".join(traceback.format_exception(caught.value))


def test_copies_are_the_same_secret() -> None:
    secret = Secret(VALUE)
    assert copy.deepcopy({"a": secret})["a"] is secret
    assert copy.copy(secret) is secret


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("secret_files:checkout/api-key#v3", ("secret_files", "checkout/api-key", "v3")),
        ("aws_secrets:aegis/jwt#AWSPENDING", ("aws_secrets", "aegis/jwt", "AWSPENDING")),
        ("env:ADMIN_TOKEN", ("env", "ADMIN_TOKEN", "")),
        ("file:/run/secrets/admin", ("file", "/run/secrets/admin", "")),
    ],
)
def test_references_read_and_write_the_same(text: str, parts: tuple[str, str, str]) -> None:
    found = SecretReference.parse(text)
    assert (found.store, found.path, found.version) == parts
    assert str(found) == text
    assert found.at("v9").version == "v9"


@pytest.mark.parametrize(
    "text", ["", "x", ":", "a:", "A:b", "a:b#", "a:../b", "a:b/../c", "a:b c", "a:b#c#d", "a:b\n", "a:b\x00", VALUE]
)
def test_what_is_no_reference_is_refused_and_not_echoed(text: str) -> None:
    with pytest.raises(Refused) as caught:
        SecretReference.parse(text)
    assert len(text) < 4 or text not in str(caught.value)


@given(st.text(max_size=100))
def test_any_text_is_a_reference_that_writes_itself_or_refused(text: str) -> None:
    try:
        found = SecretReference.parse(text)
    except Refused:
        return
    assert str(found) == text
