"""A Prometheus that answers every query with the same numbers; its faults and tokens are what it is for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from playground.estate.server import Problem, Reply, Request, Route
from tests.stand_ins.stand_in import StandIn


class Prometheus(StandIn):
    """Answers `/api/v1/query` with `numbers`, `more` beside them."""

    def __init__(self, token: str) -> None:
        super().__init__("prometheus", token)
        self.numbers: dict[str, str] = {"part": "999", "total": "1000", "instances": "2"}
        self.more: dict[str, Any] = {}
        self.asked: list[dict[str, str]] = []

    def routes(self) -> Sequence[Route]:
        """The one address of the API that is used."""
        return (Route("POST", "/api/v1/query", self._query),)

    def _query(self, request: Request) -> Reply:
        if not self.admits(request.bearer()):
            raise Problem(401, "unauthorized", "who are you")
        if request.headers.get("Content-Type") != "application/x-www-form-urlencoded":
            raise Problem(415, "unsupported", "send a form")
        form = request.form()
        if set(form) != {"query", "timeout"}:
            return Reply(400, {"status": "error", "errorType": "bad_data", "error": "unexpected fields"})
        self.asked.append(form)
        now = time.time()
        named = "keyturn" in form["query"]
        result = [
            {"metric": {"keyturn": name} if named else {}, "value": [now, number]}
            for name, number in (self.numbers if named else {"": "0.999"}).items()
        ]
        body = {"status": "success", "data": {"resultType": "vector", "result": result}}
        return Reply(200, {**body, **self.more})
