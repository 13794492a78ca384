"""GitHub issues: a ticket for a rotation, comments on it, and closing it; found again by a marker in the text."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Literal

import httpx
from pydantic import AfterValidator, Field, field_validator

from adapters._fields import Address, Reference
from adapters._web import LONGEST_DELAY, Answer, Shape, Web
from adapters._words import Line, Text, harmless
from bot.contracts.adapter import Absent, Effect, Model, Observed, Operation, Outputs, Present, Run, Secrets
from bot.core.errors import Ambiguous, Permanent, Transient
from bot.core.secret import Secret, SecretReference

HINT = "check token under adapters.github.repositories; it needs Issues: read and write for this repository"
LABEL = "credential-rotation"
"""On every issue of ours; issues are looked for among those that have it."""
PER_PAGE = 30
MOST_PAGES = 5
"""Pages of issues that are looked through, newest first: one of ours is among the newest when its answer was lost."""
MOST_COMMENT_PAGES = 40
HEADERS = {
    "Accept": "application/vnd.github+json",
    "X-GitHub-Api-Version": "2022-11-28",
    "User-Agent": "keyturn",
}
BREAK = "\u200b"
"""A space without width: behind it an @ mentions nobody."""
WRITE = ("github: issues write",)


def _named(text: str) -> str:
    if not text.partition("/")[2].strip("."):
        raise ValueError("write owner/name")
    return text


Repository = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$"), AfterValidator(_named)
]
Label = Annotated[str, Field(pattern=r"^[^,\x00-\x1f]{1,50}$"), AfterValidator(harmless)]
Number = Annotated[int, Field(ge=1)]
Reason = Literal["completed", "not_planned"]


class Entry(Model):
    """One repository; `api` differs for GitHub Enterprise."""

    api: Address = "https://api.github.com"
    token: Reference


class Config(Model):
    """Repositories by `owner/name`; no other is ever touched."""

    repositories: dict[Repository, Entry] = Field(default_factory=dict)


class Issue(Shape):
    """An issue as GitHub shows it."""

    number: int
    html_url: str
    state: Literal["open", "closed"]
    state_reason: str | None = None
    body: str | None = None
    labels: list[str] = Field(default_factory=list)
    pull_request: Any = None

    @field_validator("labels", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return (
            [one.get("name") if isinstance(one, dict) else one for one in value] if isinstance(value, list) else value
        )

    def holds(self, marker: str) -> bool:
        """Whether this marker was written into it."""
        return self.pull_request is None and marker in (self.body or "")


class Remark(Shape):
    """A comment as GitHub shows it."""

    id: int
    html_url: str
    body: str | None = None


class _Issues(Shape):
    items: list[Issue]
    more: bool


class _Remarks(Shape):
    items: list[Remark]
    more: bool


class _About(Shape):
    archived: bool = False
    has_issues: bool = True
    permissions: dict[str, bool] | None = None


class _Api(Web):
    """GitHub's ways over HTTP: lists in pages, rate limits that look like refusals, 404 for what may not be seen."""

    def _judge(self, response: httpx.Response, raw: bytes, place: str, expect: Collection[int]) -> Answer:
        status = response.status_code
        wait = _limit(response, raw) if status in (403, 429) else None
        if wait is not None:
            raise Transient(f"{place} answered {status}: our rate is limited", wait)
        if status not in expect:
            if status == 404:
                raise Permanent(f"{place} answered 404: it is not there, or this token may not see it", HINT)
            if status == 410:
                raise Permanent(f"{place} answered 410: gone, or the repository has no issues", "turn its issues on")
            if status == 422:
                raise Permanent(f"{place} answered 422{_complaint(raw)}: it refused the content", "correct the runbook")
        if status == 200 and raw.lstrip().startswith(b"["):
            raw = b'{"items": %s, "more": %s}' % (raw, b"true" if "next" in response.links else b"false")
        return super()._judge(response, raw, place, expect)


def _limit(response: httpx.Response, raw: bytes) -> timedelta | None:
    """How long a limited rate wants us to wait; None when the answer is a plain refusal."""
    headers = response.headers
    after, left, reset = (
        headers.get(name, "") for name in ("retry-after", "x-ratelimit-remaining", "x-ratelimit-reset")
    )
    if after.isascii() and after.isdigit():
        return timedelta(seconds=min(int(after[:9]), LONGEST_DELAY))
    if left == "0" and reset.isascii() and reset.isdigit():
        return timedelta(seconds=min(max(int(reset[:12]) - _clock(headers.get("date")), 1.0), LONGEST_DELAY))
    secondary = b"secondary rate limit" in raw[:2000].lower()
    return timedelta(seconds=60) if response.status_code == 429 or secondary or left == "0" else None


def _clock(date: str | None) -> float:
    """GitHub's own time, as its limits end by that clock."""
    try:
        return parsedate_to_datetime(date or "").timestamp()
    except (ValueError, TypeError):
        return time.time()


def _complaint(raw: bytes) -> str:
    """Which field GitHub complains about, if its answer says so in plain words."""
    try:
        told = json.loads(raw)["errors"][0]
        words = f"{told['field']} {told['code']}"
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return f" ({words})" if len(words) < 60 and words.replace("_", "").replace(" ", "").isalnum() else ""


class Client:
    """Speaks to the API of the configured repositories."""

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self._repositories, self._secrets = config.repositories, secrets
        self._web = _Api("GitHub", HINT)

    def access(self, permissions: Collection[str], run: Run) -> Collection[str]:
        """All permissions where a repository cannot take labelled issues from us.

        Tokens of an app's installation do not say what they may do; for them it is enough to see the repository.
        """
        if not self._repositories:
            raise Permanent("no repository is configured", "list it under adapters.github.repositories")
        for name in self._repositories:
            try:
                about = self._call(run, "GET", name, "").read(_About)
                installed = self._token(name).reveal().startswith(b"ghs_")
            except Permanent:
                return tuple(permissions)
            rights = about.permissions
            may = installed or rights is None or any(rights.get(right) for right in ("triage", "push", "admin"))
            if about.archived or not about.has_issues or not may:
                return tuple(permissions)
        return ()

    # --- issues -------------------------------------------------------------------------------------------------------

    def find(self, run: Run, repository: str, marker: str) -> Issue | None:
        """The issue with this marker among the newest that have our label."""
        query = f"issues?labels={LABEL}&state=all&sort=created&direction=desc&per_page={PER_PAGE}"
        for page in range(1, MOST_PAGES + 1):
            found = self._call(run, "GET", repository, f"{query}&page={page}").read(_Issues)
            for issue in found.items:
                if issue.holds(marker):
                    return issue
            if not found.more:
                break
        return None

    def issue(self, run: Run, repository: str, number: int) -> Issue | None:
        """One issue; None when it was deleted."""
        answer = self._call(run, "GET", repository, f"issues/{number}", expect=(410,))
        return None if answer.status == 410 else answer.read(Issue)

    def open(self, run: Run, repository: str, content: Mapping[str, Any]) -> Issue:
        """A new issue. One whose labels GitHub dropped in silence is closed again, for it could not be found later."""
        issue = self._call(run, "POST", repository, "issues", content).read(Issue)
        if LABEL not in {label.casefold() for label in issue.labels}:
            self.change(run, repository, issue.number, {"state": "closed", "state_reason": "not_planned"})
            raise Permanent("GitHub did not take the label of the issue", "the token's owner needs the Triage role")
        return issue

    def change(self, run: Run, repository: str, number: int, what: Mapping[str, Any]) -> Issue:
        """Change some fields of an issue."""
        return self._call(run, "PATCH", repository, f"issues/{number}", what).read(Issue)

    # --- comments -----------------------------------------------------------------------------------------------------

    def comments(self, run: Run, repository: str, number: int) -> Iterator[Remark]:
        """All comments of an issue, oldest first; raises `Ambiguous` when there are too many to look through."""
        for page in range(1, MOST_COMMENT_PAGES + 1):
            path = f"issues/{number}/comments?per_page={PER_PAGE}&page={page}"
            found = self._call(run, "GET", repository, path).read(_Remarks)
            yield from found.items
            if not found.more:
                return
        raise Ambiguous(f"issue {number} has too many comments to look through", "look for ours at its end")

    def comment(self, run: Run, repository: str, number: int, body: str) -> Remark:
        """A new comment."""
        return self._call(run, "POST", repository, f"issues/{number}/comments", {"body": body}).read(Remark)

    def erase(self, run: Run, repository: str, comment: int) -> None:
        """Delete a comment; quiet when it is gone."""
        self._call(run, "DELETE", repository, f"issues/comments/{comment}", expect=(404,))

    def _token(self, repository: str) -> Secret:
        return self._secrets.read(SecretReference.parse(self._known(repository).token))

    def _known(self, repository: str) -> Entry:
        if repository not in self._repositories:
            raise Permanent(
                f"the repository {repository} is not configured", "list it under adapters.github.repositories"
            )
        return self._repositories[repository]

    def _call(
        self,
        run: Run,
        method: str,
        repository: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        expect: Collection[int] = (),
    ) -> Answer:
        url = f"{self._known(repository).api}/repos/{repository}{f'/{path}' if path else ''}"
        token = self._token(repository)
        return self._web.call(run, method, url, token=token, body=body, headers=HEADERS, expect=expect)


def _marker(run: Run, word: str = "") -> str:
    return f"<!-- keyturn{word}:{run.token} -->"


def _signed(text: str, marker: str) -> str:
    """The text with our marker; nobody is mentioned and no other marker can be in it."""
    silent = text.replace("<!--", f"<!{BREAK}--").replace("@", f"@{BREAK}")
    return f"{silent}\n\n{marker}"


# --- operations -------------------------------------------------------------------------------------------------------


class OpenIssue(Operation):
    """Open an issue with the label `credential-rotation`; undone, it is closed as not planned."""

    effect = Effect.CREATES
    permissions = WRITE
    outputs = ("number", "url")

    class Params(Model):
        repository: Repository
        title: Line
        body: Text
        labels: Annotated[list[Label], Field(default_factory=list, max_length=10)]
        """More labels; GitHub makes those that are not there yet."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        issue = self.client.find(run, p.repository, _marker(run))
        return Absent() if issue is None or _dropped(issue) else Present(self._outputs(issue))

    def ensure(self, p: Params, run: Run) -> Outputs:
        issue = self.client.find(run, p.repository, _marker(run))
        if issue is None:
            labels = list(dict.fromkeys([LABEL, *p.labels]))
            content = {"title": p.title, "body": _signed(p.body, _marker(run)), "labels": labels}
            issue = self.client.open(run, p.repository, content)
        elif _dropped(issue):
            issue = self.client.change(run, p.repository, issue.number, {"state": "open", "state_reason": "reopened"})
        return self._outputs(issue)

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        number = outputs.get("number")
        if isinstance(number, int):
            issue = self.client.issue(run, p.repository, number)
        else:
            issue = self.client.find(run, p.repository, _marker(run))
        if issue is not None and issue.state == "open":
            closed = {"state": "closed", "state_reason": "not_planned"}
            self.client.change(run, p.repository, issue.number, closed)

    def _outputs(self, issue: Issue) -> Outputs:
        return {"number": issue.number, "url": issue.html_url}


class Comment(Operation):
    """Comment on an issue; undone, the comment is deleted."""

    effect = Effect.CREATES
    permissions = WRITE
    outputs = ("comment", "url")

    class Params(Model):
        repository: Repository
        number: Number
        text: Text

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        remark = self._find(p, run)
        return Absent() if remark is None else Present(self._outputs(remark))

    def ensure(self, p: Params, run: Run) -> Outputs:
        remark = self._find(p, run)
        if remark is None:
            remark = self.client.comment(run, p.repository, p.number, _signed(p.text, _marker(run)))
        return self._outputs(remark)

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        remark = self._find(p, run)
        if remark is not None:
            self.client.erase(run, p.repository, remark.id)

    def _find(self, p: Params, run: Run) -> Remark | None:
        remarks = self.client.comments(run, p.repository, p.number)
        return next((remark for remark in remarks if _marker(run) in (remark.body or "")), None)

    def _outputs(self, remark: Remark) -> Outputs:
        return {"comment": remark.id, "url": remark.html_url}


class CloseIssue(Operation):
    """Close an issue; undone, it is open again if it was this step that closed it, which a marker in its text says."""

    effect = Effect.CHANGES
    permissions = WRITE
    outputs = ("number", "changed")

    class Params(Model):
        repository: Repository
        number: Number
        reason: Reason = "completed"

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        issue = self._issue(p, run)
        return Absent() if issue.state == "open" else Present(self._outputs(issue, run))

    def ensure(self, p: Params, run: Run) -> Outputs:
        issue = self._issue(p, run)
        if issue.state == "open":
            body = f"{_without(issue.body or '', self._mark(run))}{self._mark(run)}"
            closed = {"state": "closed", "state_reason": p.reason, "body": body}
            issue = self.client.change(run, p.repository, p.number, closed)
        return self._outputs(issue, run)

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        issue = self.client.issue(run, p.repository, p.number)
        if issue is not None and issue.state == "closed" and issue.holds(self._mark(run)):
            body = _without(issue.body or "", self._mark(run))
            opened = {"state": "open", "state_reason": "reopened", "body": body}
            self.client.change(run, p.repository, p.number, opened)

    def _issue(self, p: Params, run: Run) -> Issue:
        issue = self.client.issue(run, p.repository, p.number)
        if issue is None:
            raise Permanent(f"issue {p.number} was deleted", "skip this step; there is nothing to close")
        return issue

    def _mark(self, run: Run) -> str:
        return f"\n{_marker(run, '-closed')}"

    def _outputs(self, issue: Issue, run: Run) -> Outputs:
        return {"number": issue.number, "changed": issue.holds(self._mark(run))}


def _without(body: str, mark: str) -> str:
    return body.replace(mark, "")


def _dropped(issue: Issue) -> bool:
    return issue.state == "closed" and issue.state_reason == "not_planned"
