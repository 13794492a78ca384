"""GitHub's issues: found again by their marker, closed and opened only by who did it, silent about secrets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from adapters import github
from adapters._web import Answer
from bot.contracts.adapter import Absent, Present, Run
from bot.core.errors import Permanent, Transient
from tests.conformance.kit import Stage, run_of
from tests.stand_ins.github import GitHub
from tests.stand_ins.stand_in import REFERENCE, door_to

TOKEN = "github_pat_of_the_bot_5f1e"
TICKET = {"title": "Rotate checkout", "body": "R-7 revokes it."}


@pytest.fixture
def service() -> Iterator[GitHub]:
    """A repository."""
    with GitHub(TOKEN) as one:
        yield one


class Bench:
    """The adapter as the engine uses it."""

    def __init__(self, service: GitHub, token: str = TOKEN) -> None:
        self.secrets = door_to(token)
        entry = {"api": service.address, "token": REFERENCE}
        self.client = github.Client(github.Config.model_validate({"repositories": {"acme/ops": entry}}), self.secrets)

    def run(self, token: str = "keyturn-R-7-ticket-0a1b2c3d") -> Run:
        return run_of(Stage(client=self.client, params={}, secrets=self.secrets), token)

    def ready(self, kind: Any, **params: Any) -> tuple[Any, Any]:
        return kind(self.client), kind.Params.model_validate({"repository": "acme/ops", **params})

    def do(self, kind: Any, token: str = "keyturn-R-7-ticket-0a1b2c3d", **params: Any) -> Any:
        operation, p = self.ready(kind, **params)
        return operation.ensure(p, self.run(token))


def test_a_ticket(service: GitHub) -> None:
    made = Bench(service).do(github.OpenIssue, **TICKET, labels=["severity:high", "credential-rotation"])
    issue = service.issues[made["number"]]
    assert made["url"] == issue["html_url"]
    assert [label["name"] for label in issue["labels"]] == ["credential-rotation", "severity:high"]
    assert issue["body"].startswith("R-7 revokes it.")
    assert "severity:high" in service.labels


def test_it_is_found_behind_others_and_pages(service: GitHub) -> None:
    bench = Bench(service)
    made = bench.do(github.OpenIssue, **TICKET)
    for i in range(70):
        service.add(f"other {i}", labels=["credential-rotation"])
        service.add(f"noise {i}", labels=["bug"])
    operation, p = bench.ready(github.OpenIssue, **TICKET)
    assert operation.observe(p, bench.run()) == Present(made)
    assert service.calls["GET /repos/{owner}/{name}/issues"] == 4
    assert isinstance(operation.observe(p, bench.run("keyturn-R-8-ticket-99999999")), Absent)


def test_what_others_write_is_not_taken_for_ours(service: GitHub) -> None:
    bench = Bench(service)
    marker = "<!-- keyturn:keyturn-R-7-ticket-0a1b2c3d -->"
    service.add("no label", marker, ["bug"])
    service.add("a pull request", marker, ["credential-rotation"], pull_request={"url": "x"})
    operation, p = bench.ready(github.OpenIssue, title="x", body=f"{marker} @acme/everyone")
    assert isinstance(operation.observe(p, bench.run()), Absent)
    body = service.issues[operation.ensure(p, bench.run("keyturn-R-9-ticket-11111111"))["number"]]["body"]
    assert marker not in body
    assert "@acme" not in body
    assert isinstance(operation.observe(p, bench.run()), Absent)


def test_what_a_person_closed_stays_closed(service: GitHub) -> None:
    bench = Bench(service)
    operation, p = bench.ready(github.OpenIssue, **TICKET)
    made = operation.ensure(p, bench.run())
    service.issues[made["number"]].update(state="closed", state_reason="completed")
    assert operation.observe(p, bench.run()) == Present(made)
    operation.undo(p, bench.run(), made)
    assert service.issues[made["number"]]["state_reason"] == "completed"
    service.deleted.add(made["number"])
    operation.undo(p, bench.run(), made)
    number = service.add("closed by a person", state="closed", state_reason="completed")
    close, p = bench.ready(github.CloseIssue, number=number)
    assert close.ensure(p, bench.run()) == {"number": number, "changed": False}
    for outputs in ({"number": number, "changed": False}, {}):
        close.undo(p, bench.run(), outputs)
        assert service.issues[number]["state"] == "closed"


def test_closing_leaves_the_text_as_it_was(service: GitHub) -> None:
    bench = Bench(service)
    number = service.add("theirs", "their text")
    close, p = bench.ready(github.CloseIssue, number=number, reason="not_planned")
    close.ensure(p, bench.run())
    assert (service.issues[number]["state"], service.issues[number]["state_reason"]) == ("closed", "not_planned")
    close.undo(p, bench.run(), {})
    assert (service.issues[number]["state"], service.issues[number]["body"]) == ("open", "their text")
    service.deleted.add(number)
    with pytest.raises(Permanent, match="deleted"):
        close.ensure(p, bench.run())


def test_a_comment_goes_again_from_among_many(service: GitHub) -> None:
    bench = Bench(service)
    number = service.add("theirs")
    for i in range(65):
        bench.do(github.Comment, f"keyturn-R-7-c{i}-0a1b2c3d", number=number, text=f"comment {i}")
    operation, p = bench.ready(github.Comment, number=number, text="comment 64")
    token = "keyturn-R-7-c64-0a1b2c3d"
    assert isinstance(operation.observe(p, bench.run(token)), Present)
    operation.undo(p, bench.run(token), {})
    assert len(service.comments) == 64
    assert not any("c64-" in one["body"] for one in service.comments.values())


def test_a_token_that_cannot_label_leaves_nothing_behind(service: GitHub) -> None:
    service.may_label = False
    bench = Bench(service)
    with pytest.raises(Permanent, match="label") as caught:
        bench.do(github.OpenIssue, **TICKET)
    assert "Triage" in caught.value.hint
    assert [issue["state"] for issue in service.issues.values()] == ["closed"]
    assert bench.client.access(github.WRITE, bench.run()) == github.WRITE


@pytest.mark.parametrize("about", [{"archived": True}, {"has_issues": False}])
def test_a_repository_that_takes_no_issues(service: GitHub, about: dict[str, Any]) -> None:
    service.about = about
    bench = Bench(service)
    assert bench.client.access(github.WRITE, bench.run()) == github.WRITE
    if "has_issues" in about:
        with pytest.raises(Permanent, match="410") as caught:
            bench.do(github.OpenIssue, **TICKET)
        assert caught.value.hint


def test_only_repositories_that_are_listed_and_seen(service: GitHub) -> None:
    bench = Bench(service)
    with pytest.raises(Permanent, match="not configured"):
        bench.do(github.OpenIssue, **{**TICKET, "repository": "acme/other"})
    entry = {"api": service.address, "token": REFERENCE}
    config = github.Config.model_validate({"repositories": {"acme/hidden": entry}})
    bench.client = github.Client(config, bench.secrets)
    with pytest.raises(Permanent, match="404") as caught:
        bench.do(github.OpenIssue, **{**TICKET, "repository": "acme/hidden"})
    assert "token" in caught.value.hint


@pytest.mark.parametrize("name", ["acme", "acme/..", "acme/.", "../ops", "a/b/c", "acme/ops?x", "-a/b", "a/"])
def test_names_of_repositories(name: str) -> None:
    with pytest.raises(ValidationError):
        github.Config.model_validate({"repositories": {name: {"token": "env:TOKEN"}}})


def test_texts(service: GitHub) -> None:
    made = Bench(service).do(github.OpenIssue, title="a\nb\u202e " + "x" * 500, body="long " * 10_000)
    issue = service.issues[made["number"]]
    assert issue["title"].startswith("a b ")
    assert (len(issue["title"]), issue["title"][-1]) == (200, "…")
    assert 20_000 < len(issue["body"]) < 20_200
    for field in ("title", "body"):
        with pytest.raises(ValidationError) as caught:
            Bench(service).do(github.OpenIssue, **{**TICKET, field: "the token is xoxb-1234567890-abcdefghij"})
        assert "1234567890" not in str(caught.value)


# --- answers ----------------------------------------------------------------------------------------------------------


def judge(status: int, headers: dict[str, str] | None = None, body: Any = None) -> Answer:
    response = httpx.Response(status, headers=headers, json={} if body is None else body)
    return github._Api("GitHub", github.HINT)._judge(response, response.content, "GitHub", ())


RESET = "Sat, 21 Nov 2026 10:00:00 GMT", "1795255500"


@pytest.mark.parametrize(
    ("status", "headers", "message", "seconds"),
    [
        (403, {"retry-after": "30", "x-ratelimit-remaining": "12"}, "", 30),
        (429, {"retry-after": "7"}, "", 7),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": RESET[1], "date": RESET[0]}, "", 300),
        (403, {}, "You have exceeded a secondary rate limit", 60),
        (429, {}, "", 60),
        (403, {"retry-after": "999999999999"}, "", 3600),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1", "date": "nonsense"}, "", 1),
    ],
)
def test_rate_limits(status: int, headers: dict[str, str], message: str, seconds: float) -> None:
    with pytest.raises(Transient) as caught:
        judge(status, headers, {"message": message})
    assert caught.value.delay == timedelta(seconds=seconds)


def test_a_limit_without_a_date_ends_by_our_own_clock() -> None:
    with pytest.raises(Transient) as caught:
        judge(403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + 100)})
    assert 90 < caught.value.delay.total_seconds() <= 100


@pytest.mark.parametrize("status", [301, 401, 403, 404, 410, 422])
def test_refusals_have_hints(status: int) -> None:
    with pytest.raises(Permanent, match=str(status)) as caught:
        judge(status, {"x-ratelimit-remaining": "4000"}, {"message": "hunter2"})
    assert caught.value.hint
    assert "hunter2" not in str(caught.value)


def test_a_complaint_names_the_field_and_nothing_else() -> None:
    with pytest.raises(Permanent, match=r"\(title missing_field\)"):
        judge(422, body={"errors": [{"resource": "Issue", "field": "title", "code": "missing_field"}]})
    for errors in ([{"field": "<!channel>", "code": "x"}], ["text"], [], None, [{"field": "a" * 99, "code": "b"}]):
        with pytest.raises(Permanent, match="422: it refused"):
            judge(422, body={"errors": errors})


@pytest.mark.parametrize("body", [[1], [{"number": "x"}], {"number": 1}, ["a"]])
def test_lists_of_something_else(body: Any) -> None:
    with pytest.raises(Transient, match="cannot be understood"):
        judge(200, body=body).read(github._Issues)
