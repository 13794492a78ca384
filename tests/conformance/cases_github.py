"""The cases of GitHub's issues."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from adapters import github
from tests.conformance.kit import Case, Stage
from tests.stand_ins.github import GitHub
from tests.stand_ins.stand_in import REFERENCE, door_to, stage_on

TOKEN = "github_pat_conformance_5f1e"


def opened(service: GitHub) -> int:
    return sum(issue["state"] == "open" and "keyturn:" in issue["body"] for issue in service.issues.values())


def closed(service: GitHub) -> int:
    return int(service.issues[1]["state"] == "closed")


@contextmanager
def repository(effects: Callable[[GitHub], int], **params: Any) -> Iterator[Stage]:
    secrets = door_to(TOKEN)
    with GitHub(TOKEN) as service:
        service.add("somebody else's", labels=["credential-rotation"])
        entry = {"api": service.address, "token": REFERENCE}
        client = github.Client(github.Config.model_validate({"repositories": {"acme/ops": entry}}), secrets)
        given = {"repository": "acme/ops", **params}
        yield stage_on(service, client, given, secrets, partial(effects, service), service.snapshot)


CASES = [
    Case("github.open_issue", partial(repository, opened, title="Rotate", body="R-7 revokes it", labels=["security"])),
    Case("github.comment", partial(repository, lambda service: len(service.comments), number=1, text="Disabled.")),
    Case("github.close_issue", partial(repository, closed, number=1)),
]
