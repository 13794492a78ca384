"""kill -9 at every boundary: the same end as an undisturbed run, for both credentials, on both databases."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.kill.boundaries import to_visit
from tests.kill.harness import Harness, Verdict, harness

pytestmark = [pytest.mark.kill, pytest.mark.timeout(900)]
CREDENTIALS = ("identity-signing", "billing-api-key")
Fresh = Callable[[], str]


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    with harness(tmp_path_factory.mktemp("kill")) as made:
        yield made


@pytest.fixture
def fresh_sqlite(sqlite_template: Path, tmp_path: Path) -> Fresh:
    def fresh() -> str:
        path = tmp_path / "k.db"
        for file in tmp_path.glob("k.db*"):
            file.unlink()
        shutil.copyfile(sqlite_template, path)
        return f"sqlite:///{path}"

    return fresh


@pytest.fixture
def fresh_postgres(postgres_server: postgres.Server) -> Iterator[Fresh]:
    made: list[str] = []

    def fresh() -> str:
        for name in made:
            postgres_server.drop(name)
        made[:] = [f"kill_{id(made)}"]
        return postgres_server.create(made[0])

    yield fresh
    for name in made:
        postgres_server.drop(name)


def visit_all(killer: Harness, fresh: Fresh, credential: str, **more: str) -> tuple[Verdict, dict[str, list[str]]]:
    """An undisturbed run, then one killed at each boundary of it; what went wrong, by boundary."""
    calm = killer.run(fresh(), credential, **more)
    assert calm.problems == []
    wrong: dict[str, list[str]] = {}
    for number in to_visit(calm.crossings):
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
    calm, wrong = visit_all(killer, fresh_sqlite, credential)
    assert calm.state["overlap"] == "retired"
    assert wrong == {}
