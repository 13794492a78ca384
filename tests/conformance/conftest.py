"""Finds the cases of every adapter, and plays each scene with each of them."""

from __future__ import annotations

from typing import Any

import pytest

from bot.catalog import Catalog
from bot.contracts.adapter import Effect, Operation
from tests.conformance.cluster_stage import use_cluster
from tests.conformance.kit import ANSWERS, cases


def catalog() -> Catalog:
    """A catalog that is only asked for classes."""

    def no_secrets() -> Any:
        raise AssertionError("nothing is built here")

    return Catalog({}, no_secrets)


def chosen() -> dict[str, list[Any]]:
    """The cases for each fixture that a scene may ask for."""
    known = catalog()
    every = cases()
    operations, watchers, effects = [], [], {}
    for case in every:
        part = known.part(case.word)
        assert part is not None, f"{case.word} has a case but is not there"
        if issubclass(part, Operation):
            operations.append(case)
            effects[case.word] = part.effect
        else:
            watchers.append(case)
    undoable = [case for case in operations if effects[case.word] is not Effect.DESTROYS]
    spoiled = {
        name: [(case, answer) for case in group if case.network for answer in ANSWERS]
        for name, group in {"operation": operations, "undoable": undoable, "watcher": watchers, "case": every}.items()
    }
    return {
        "case": every,
        "operation": operations,
        "watcher": watchers,
        "undoable": undoable,
        "creating": [case for case in operations if effects[case.word] is Effect.CREATES],
        "destroying": [case for case in operations if effects[case.word] is Effect.DESTROYS],
        "networked": [case for case in every if case.network],
        "credentialed": [case for case in every if case.credentials],
        "spoiled_operation": spoiled["operation"],
        "spoiled_undo": spoiled["undoable"],
        "spoiled_watcher": spoiled["watcher"],
        "ending": [
            *((case, "well") for case in every),
            *((case, "denied") for case in every if case.credentials),
            *spoiled["case"],
        ],
    }


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each scene the cases that it is for."""
    for name, values in chosen().items():
        if name in metafunc.fixturenames:
            marked = [pytest.param(value, marks=_marks(value)) for value in values]
            ids = ["-".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in values]
            metafunc.parametrize(name, marked, ids=ids)


def _marks(value: Any) -> list[pytest.MarkDecorator]:
    case = value[0] if isinstance(value, tuple) else value
    # A word's scenes stay on one worker, which makes the world that they share once; the words are spread.
    return [pytest.mark.cluster, pytest.mark.xdist_group(case.word)] if case.cluster else []


@pytest.fixture(autouse=True)
def control_plane(request: pytest.FixtureRequest) -> None:
    """The control plane behind the stages of a case that is played on one."""
    if request.node.get_closest_marker("cluster"):
        use_cluster(request.getfixturevalue("cert_manager"), request.getfixturevalue("tmp_path_factory"))


@pytest.fixture(scope="session")
def parts() -> Catalog:
    """The catalog."""
    return catalog()
