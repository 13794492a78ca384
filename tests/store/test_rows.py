"""Every rotation comes back from the database as it went in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from bot.core.decide import Decision
from bot.core.errors import Permanent
from bot.core.plan import canonical
from bot.core.rotation import Amendment, Box, Overlap, Rotation, Stage, State, StepRun, Vote
from bot.store.clock import Clock
from bot.store.columns import json_bytes, micros, moment, plain
from bot.store.database import Database
from bot.store.rows import plan_row, read_plan
from tests.store import samples

moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # bounds
words = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=12)
some = st.none() | moments
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
mappings = st.dictionaries(words, values, max_size=3)
steps = st.builds(
    StepRun,
    st.sampled_from(Stage),
    st.integers(0, 99),
    st.integers(0, 99),
    st.booleans(),
    st.booleans(),
    words,
    some,
    some,
    some,
    mappings,
    mappings,
    words,
    words,
    words,
    st.booleans(),
    words,
)
_names = count()


@st.composite
def rotations(draw: st.DrawFn) -> Rotation:
    """Any rotation, also ones that `decide` would not make."""
    retire = draw(st.integers(0, 2))
    the_plan = samples.plan(f"credential-{next(_names)}", steps=draw(st.integers(1, 3)), retire=retire)
    overlap = draw(st.sampled_from(Overlap))
    return Rotation(
        number=0,
        plan=the_plan,
        nonce=draw(words),
        state=draw(st.sampled_from(State)),
        steps=tuple(draw(steps) for _ in the_plan.steps),
        created_at=draw(moments),
        expires_at=draw(moments),
        overlap=overlap,
        overlap_deadline=None if overlap is Overlap.NONE else draw(some),
        votes=tuple(draw(st.lists(st.builds(Vote, words, words, moments), max_size=2))),
        boxes=tuple(draw(st.lists(st.builds(Box, words, st.booleans(), words, words), max_size=2))),
        amendment=draw(
            st.none() | st.builds(Amendment, st.just(0), words, words, words, words, moments, st.integers(0, 9))
        ),
        channel=draw(words),
        started_at=draw(some),
        promoted_at=draw(some),
        ended_at=draw(some),
        next_due=draw(some),
        outcome=draw(words),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rotations(), st.data())
def test_a_rotation_comes_back_as_it_was_saved(database: Database, first: Rotation, data: st.DataObject) -> None:
    with database.begin() as transaction:
        first = replace(first, number=transaction.next_number())
        saved = transaction.save(None, Decision(first, ()))
    with database.read() as reader:
        assert reader.rotation(first.number) == replace(first, version=1) == saved

    runs = tuple(data.draw(steps) for _ in first.steps)
    ended = data.draw(st.sampled_from(State))
    second = replace(saved, steps=runs, state=ended, amendment=None, outcome=data.draw(words))
    with database.begin() as transaction:
        loaded = transaction.rotation(first.number)
        again = transaction.save(loaded, Decision(second, ()))
    with database.read() as reader:
        assert reader.rotation(first.number) == again == replace(second, version=2)


@given(moments)
def test_a_time_is_kept_to_the_microsecond(at: datetime) -> None:
    assert moment(micros(at)) == at


@given(values)
def test_json_is_written_as_plans_are_hashed(value: object) -> None:
    assert json_bytes(value) == canonical(value)


@given(st.text())
def test_any_text_can_be_stored(value: str) -> None:
    assert json.loads(json_bytes(value)) == value
    kept = plain(value)
    kept.encode()
    assert "\x00" not in kept
    assert plain(kept) == kept


def test_text_that_no_database_takes_is_stored_with_replacements(database: Database) -> None:
    with database.begin() as transaction:
        hostile = {"text": "a\ud800\x00b"}
        row, _ = transaction.add_intent("k\x00", "start", "p\ud800", "C", "slash", "", hostile)
    with database.read() as reader:
        stored = reader.intent(row.number)
    assert stored is not None
    assert stored.person.startswith("p\ufffd")
    assert stored.payload == hostile


def test_a_plan_is_stored_under_the_hash_of_its_bytes() -> None:
    the_plan = samples.plan()
    row = plan_row(the_plan)
    read = read_plan(row["digest"], row["body"])
    assert read == the_plan
    assert (read.digest, read.content_hash) == (the_plan.digest, the_plan.content_hash)
    other = json_bytes(the_plan.to_json() | {"later": 1})  # as a version that wrote more would have stored it
    name = "sha256:" + hashlib.sha256(other).hexdigest()
    read = read_plan(name, other)
    assert read.content_hash == name
    assert read.digest != the_plan.digest  # people approved those bytes, whatever this version would write


def test_a_plan_that_was_edited_in_the_database_is_refused(sqlite_database: Database) -> None:
    rotation = samples.request(sqlite_database, "edited-plan")
    edited = "replace(CAST(body AS TEXT), 'payments', 'attacker')"
    for value in (f"CAST({edited} AS BLOB)", edited):
        with sqlite_database.engine.begin() as connection:
            connection.execute(text("DROP TRIGGER IF EXISTS plan_no_update"))
            connection.execute(text(f"UPDATE plan SET body = {value}"))
        with sqlite_database.read() as reader, pytest.raises(Permanent, match="does not match its digest"):
            reader.rotation(rotation.number)


def test_a_plan_of_an_unknown_format_is_refused_with_advice(sqlite_database: Database) -> None:
    body = json_bytes(samples.plan().to_json() | {"format": 99})
    with pytest.raises(Permanent) as caught:
        read_plan("sha256:" + hashlib.sha256(body).hexdigest(), body)
    assert "keyturn version" in caught.value.hint


def test_the_clock_turns_database_time_into_engine_time() -> None:
    anchor = datetime(2026, 1, 1, tzinfo=UTC)
    clock = Clock(1440, anchor)
    assert clock.at(anchor + timedelta(minutes=1)) == anchor + timedelta(days=1)
    assert clock.real(timedelta(days=1)) == 60
    assert clock.real(timedelta(days=-1)) == 0
    clock.advance(timedelta(hours=1))
    assert clock.at(anchor) == anchor + timedelta(hours=1)
    with pytest.raises(ValueError, match="anchor"):
        Clock(2)
