"""GitHub's issues as its REST API publishes them: versions, pages, labels that make themselves, refusals by field."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from playground.estate.server import Problem, Reply, Request, Route
from tests.stand_ins.stand_in import StandIn

ISSUE = {"title": str, "body": str, "labels": list, "assignees": list, "milestone": int}
CHANGE = {**ISSUE, "state": str, "state_reason": str}
REASONS = {"open": {"reopened", None}, "closed": {"completed", "not_planned", "duplicate", None}}


class GitHub(StandIn):
    """One repository, `acme/ops`, with issues. `may_label` is whether the token's owner has the Triage role."""

    def __init__(self, token: str) -> None:
        super().__init__("github", token)
        self.issues: dict[int, dict[str, Any]] = {}
        self.comments: dict[int, dict[str, Any]] = {}
        self.labels: set[str] = {"bug"}
        self.deleted: set[int] = set()
        self.may_label = True
        self.about: dict[str, Any] = {}
        self._numbers = itertools.count(1)

    def routes(self) -> Sequence[Route]:
        """The part of the API that is used."""
        base = "/repos/{owner}/{name}"
        table = (
            ("GET", "", self._about),
            ("GET", "/issues", self._list),
            ("POST", "/issues", self._open),
            ("GET", "/issues/{number}", self._show),
            ("PATCH", "/issues/{number}", self._change),
            ("GET", "/issues/{number}/comments", self._list_comments),
            ("POST", "/issues/{number}/comments", self._comment),
            ("DELETE", "/issues/comments/{id}", self._erase),
        )
        return [Route(method, base + path, self._guarded(handler)) for method, path, handler in table]

    def snapshot(self) -> Any:
        """Everything there is."""
        return repr((self.issues, self.comments, sorted(self.labels)))

    def add(self, title: str, body: str = "", labels: Sequence[str] = (), **more: Any) -> int:
        """Somebody else's issue."""
        number = next(self._numbers)
        url = f"https://github.example/acme/ops/issues/{number}"
        shown = [{"id": i, "name": label} for i, label in enumerate(labels)]
        known = {"number": number, "title": title, "body": body, "state": "open", "state_reason": None}
        self.issues[number] = {**known, "html_url": url, "labels": shown, **more}
        self.labels.update(labels)
        return number

    def _guarded(self, handler: Any) -> Any:
        def answer(request: Request) -> Reply:
            headers = request.headers
            if not headers.get("User-Agent"):
                raise Problem(403, "forbidden", "say who you are")
            if headers.get("Accept") != "application/vnd.github+json":
                raise Problem(415, "unsupported", "accept application/vnd.github+json")
            if headers.get("X-GitHub-Api-Version") != "2022-11-28":
                raise Problem(400, "bad_version", "no such version")
            if not self.admits(request.bearer()):
                return Reply(401, {"message": "Bad credentials", "documentation_url": "https://docs", "status": "401"})
            if f"{request.parts['owner']}/{request.parts['name']}" != "acme/ops":
                return self._missing()
            reply: Reply = handler(request)
            return reply

        return answer

    def _missing(self) -> Reply:
        return Reply(404, {"message": "Not Found", "documentation_url": "https://docs", "status": "404"})

    def _invalid(self, field: str, code: str = "invalid", resource: str = "Issue") -> Reply:
        errors = [{"resource": resource, "field": field, "code": code}]
        return Reply(422, {"message": "Validation Failed", "errors": errors, "documentation_url": "https://docs"})

    def _about(self, _: Request) -> Reply:
        rights = {"admin": False, "push": False, "triage": self.may_label, "pull": True}
        about = {"full_name": "acme/ops", "archived": False, "has_issues": True, "permissions": rights}
        return Reply(200, {**about, **self.about})

    def _paged(self, request: Request, rows: list[dict[str, Any]]) -> Reply:
        size, page = int(request.query.get("per_page", "30")), int(request.query.get("page", "1"))
        assert 1 <= size <= 100
        headers = {}
        if len(rows) > size * page:
            headers["Link"] = f'<{self.address}{request.path}?page={page + 1}>; rel="next"'
        return Reply(200, rows[size * (page - 1) : size * page], headers)

    def _list(self, request: Request) -> Reply:
        known = {"labels", "state", "sort", "direction", "per_page", "page"}
        if set(request.query) - known:
            raise Problem(500, "unknown", "the stand-in does not know this field")
        state, wanted = (
            request.query.get("state", "open"),
            set(filter(None, request.query.get("labels", "").split(","))),
        )
        rows = [
            issue
            for issue in self.issues.values()
            if state in ("all", issue["state"]) and wanted <= {label["name"] for label in issue["labels"]}
        ]
        rows.sort(key=lambda issue: -issue["number"] if request.query.get("direction", "desc") == "desc" else 1)
        return self._paged(request, rows)

    def _open(self, request: Request) -> Reply:
        if not self.about.get("has_issues", True):
            return Reply(410, {"message": "Issues are disabled for this repo", "documentation_url": "https://docs"})
        sent = request.json()
        wrong = self._wrong(sent, ISSUE)
        if wrong is not None:
            return wrong
        if not sent.get("title"):
            return self._invalid("title", "missing_field")
        labels = sent.get("labels", []) if self.may_label else []
        return Reply(201, self.issues[self.add(sent["title"], sent.get("body", ""), labels)])

    def _wrong(self, sent: dict[str, Any], fields: dict[str, type]) -> Reply | None:
        for name, value in sent.items():
            if name not in fields or not isinstance(value, fields[name]):
                return self._invalid(name)
        for name, most in (("title", 256), ("body", 65536)):
            if len(sent.get(name, "")) > most:
                return self._invalid(name, "too_long")
        if any(not label or len(label) > 50 or "," in label for label in sent.get("labels", [])):
            return self._invalid("name", resource="Label")
        return None

    def _show(self, request: Request) -> Reply:
        return self._with(request, lambda issue: Reply(200, issue))

    def _with(self, request: Request, then: Any) -> Reply:
        number = int(request.parts["number"])
        if number in self.deleted:
            return Reply(410, {"message": "This issue was deleted", "documentation_url": "https://docs"})
        if number not in self.issues:
            return self._missing()
        reply: Reply = then(self.issues[number])
        return reply

    def _change(self, request: Request) -> Reply:
        def change(issue: dict[str, Any]) -> Reply:
            sent = request.json()
            wrong = self._wrong(sent, CHANGE)
            if wrong is not None:
                return wrong
            state = sent.get("state", issue["state"])
            if state not in REASONS:
                return self._invalid("state")
            if sent.get("state_reason") not in REASONS[state]:
                return self._invalid("state_reason")
            issue.update(sent)
            if "state" in sent:
                issue["state_reason"] = sent.get("state_reason") or {"closed": "completed"}.get(state)
            return Reply(200, issue)

        return self._with(request, change)

    def _list_comments(self, request: Request) -> Reply:
        def rows(issue: dict[str, Any]) -> Reply:
            return self._paged(request, [one for one in self.comments.values() if one["issue"] == issue["number"]])

        return self._with(request, rows)

    def _comment(self, request: Request) -> Reply:
        def comment(issue: dict[str, Any]) -> Reply:
            sent = request.json()
            if set(sent) != {"body"} or not isinstance(sent["body"], str) or not sent["body"]:
                return self._invalid("body", "missing_field", "IssueComment")
            number = next(self._numbers) + 1000
            url = f"{issue['html_url']}#issuecomment-{number}"
            self.comments[number] = {"id": number, "html_url": url, "body": sent["body"], "issue": issue["number"]}
            return Reply(201, self.comments[number])

        return self._with(request, comment)

    def _erase(self, request: Request) -> Reply:
        if self.comments.pop(int(request.parts["id"]), None) is None:
            return self._missing()
        return Reply(204, None)
