"""kill -9 at every boundary: the same end as an undisturbed run, for both credentials, on both databases."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.kill.boundaries import to_visit
from tests.kill.harness import Harness, Verdict, harness

CREDENTIALS = [
    pytest.param(name, marks=pytest.mark.xdist_group(f"kill-{name}"))
    for name in ("identity-signing", "billing-api-key")
]
pytestmark = [pytest.mark.kill, pytest.mark.timeout(900)]
SAMPLE = int(os.environ.get("KEYTURN_KILL_SAMPLE", "3" if os.environ.get("KEYTURN_REQUIRE_REAL_PARTS") else "8"))
"""On PostgreSQL an experiment takes seconds: every third boundary in CI, every eighth elsewhere, all in a soak."""
Fresh = Callable[[], str]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """In memory where that exists: a killed process loses nothing that a disk would have kept for it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="kill-", dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def killer(folder: Path) -> Iterator[Harness]:
    with harness(folder) as made:
        yield made


@pytest.fixture
def fresh_sqlite(sqlite_template: Path, folder: Path) -> Fresh:
    def fresh() -> str:
        for file in folder.glob("k.db*"):
            file.unlink()
        shutil.copyfile(sqlite_template, folder / "k.db")
        return f"sqlite:///{folder}/k.db"

    return fresh


@pytest.fixture
def fresh_postgres(postgres_server: postgres.Server) -> Iterator[Fresh]:
    made: list[str] = []

    def fresh() -> str:
        for name in made:
            postgres_server.drop(name)
        made[:] = [f"kill_{os.getpid()}_{id(made)}"]
        return postgres_server.create(made[0])

    yield fresh
    for name in made:
        postgres_server.drop(name)


def visit(
    killer: Harness, fresh: Fresh, credential: str, every: int = 1, **more: str
) -> tuple[Verdict, dict[str, list[str]]]:
    """An undisturbed run, then one killed at each boundary of it; what went wrong, by boundary."""
    calm = killer.run(fresh(), credential, **more)
    assert calm.problems == []
    wrong: dict[str, list[str]] = {}
    for number in to_visit(calm.crossings)[::every]:
        try:
            verdict = killer.run(fresh(), credential, die_at=number, **more)
        except AssertionError as error:
            wrong[calm.crossings[number - 1]] = [str(error)[-600:]]
            continue
        problems = verdict.problems + ([] if verdict.state == calm.state else [f"ended as {verdict.state}"])
        if problems:
            wrong[calm.crossings[number - 1]] = problems
    return calm, wrong


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_every_boundary_on_sqlite(killer: Harness, fresh_sqlite: Fresh, credential: str) -> None:
    calm, wrong = visit(killer, fresh_sqlite, credential)
    assert calm.state["overlap"] == "retired"
    assert wrong == {}


@pytest.mark.realparts
@pytest.mark.parametrize("credential", CREDENTIALS)
def test_every_boundary_on_postgresql(killer: Harness, fresh_postgres: Fresh, credential: str) -> None:
    calm, wrong = visit(killer, fresh_postgres, credential, SAMPLE)
    assert calm.state["overlap"] == "retired"
    assert wrong == {}


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_a_rollback_survives_kills_too(killer: Harness, fresh_sqlite: Fresh, credential: str) -> None:
    calm, wrong = visit(killer, fresh_sqlite, credential, 4, roll_back_at="quiet")
    assert calm.state["state"] == "rolled_back"
    assert wrong == {}


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_a_naive_engine_fails(killer: Harness, fresh_sqlite: Fresh, credential: str) -> None:
    """The control: an engine that repeats without looking must be caught, or the judge is blind."""
    calm = killer.run(fresh_sqlite(), credential, naive=True)
    assert calm.problems == []
    effects = [
        number
        for number, name in enumerate(calm.crossings, start=1)
        if "/after POST" in name and ("rotate" in name or name.endswith("api-keys"))
    ]
    assert effects
    for number in effects:
        try:
            verdict = killer.run(fresh_sqlite(), credential, die_at=number, naive=True)
        except AssertionError:
            continue
        assert verdict.problems, calm.crossings[number - 1]
