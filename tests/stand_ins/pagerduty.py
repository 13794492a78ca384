"""PagerDuty's Events API v2 as it is published: one address, three actions, alerts by their dedup_key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from playground.estate.server import Problem, Reply, Request, Route
from tests.stand_ins.stand_in import StandIn

SEVERITIES = ("critical", "error", "warning", "info")
PAYLOAD = ("summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details")
EVENT = ("routing_key", "event_action", "dedup_key", "payload", "images", "links", "client", "client_url")


class PagerDuty(StandIn):
    """One integration. `alerts` are the states by dedup_key, `events` what was accepted."""

    def __init__(self, routing_key: str) -> None:
        super().__init__("pagerduty", routing_key)
        self.alerts: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []

    def routes(self) -> Sequence[Route]:
        """The one address there is."""
        return (Route("POST", "/v2/enqueue", self._enqueue),)

    def _enqueue(self, request: Request) -> Reply:
        if request.headers.get("Content-Type") != "application/json":
            raise Problem(415, "unsupported", "send application/json")
        event = request.json()
        errors = self._errors(event)
        if errors:
            return Reply(400, {"status": "invalid event", "message": "Event object is invalid", "errors": errors})
        self.events.append(json.loads(request.body))
        key, action = event["dedup_key"], event["event_action"]
        state = self.alerts.get(key)
        if action == "trigger":
            # An alert that is open takes the event in; a resolved one is another alert.
            self.alerts[key] = state if state in ("triggered", "acknowledged") else "triggered"
        elif state in ("triggered", "acknowledged"):
            self.alerts[key] = "acknowledged" if action == "acknowledge" else "resolved"
        return Reply(202, {"status": "success", "message": "Event processed", "dedup_key": key})

    def _errors(self, event: dict[str, Any]) -> list[str]:
        key, action = event.get("routing_key"), event.get("event_action")
        errors = [f"'{name}' is unknown" for name in event if name not in EVENT]
        if not isinstance(key, str) or len(key) != 32:
            errors.append("Length of 'routing_key' is incorrect (should be 32 characters)")
        elif not self.admits(key):
            errors.append("Invalid routing key")
        if action not in ("trigger", "acknowledge", "resolve"):
            errors.append("'event_action' is invalid")
        dedup = event.get("dedup_key")
        if not isinstance(dedup, str) or not 0 < len(dedup) <= 255:
            errors.append("'dedup_key' is invalid")
        if action == "trigger":
            payload = event.get("payload")
            errors += self._payload_errors(payload) if isinstance(payload, dict) else ["'payload' is missing or blank"]
        return errors

    def _payload_errors(self, payload: dict[str, Any]) -> list[str]:
        errors = [f"'payload.{name}' is unknown" for name in payload if name not in PAYLOAD]
        for name, most in (("summary", 1024), ("source", 1024)):
            value = payload.get(name)
            if not isinstance(value, str) or not 0 < len(value) <= most:
                errors.append(f"'payload.{name}' is missing or blank")
        if payload.get("severity") not in SEVERITIES:
            errors.append("'payload.severity' is invalid (must be critical, warning, error or info)")
        if not isinstance(payload.get("custom_details", {}), dict):
            errors.append("'payload.custom_details' is invalid")
        return errors
