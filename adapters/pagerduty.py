"""PagerDuty: page somebody, acknowledge and resolve, by Events API v2; the same step never pages twice."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from adapters._fields import Address, Name, Reference
from adapters._web import Answer, Shape, Web
from adapters._words import Line
from bot.contracts.adapter import Absent, Effect, Model, Observed, Operation, Outputs, Run, Secrets
from bot.core.errors import Permanent, Transient
from bot.core.secret import SecretReference
from bot.core.suspicion import looks_like_secret

HINT = "check routing_key under adapters.pagerduty.integrations: the key of an Events API v2 integration, 32 characters"
NOBODY = "keyturn-access-check"
"""An alert that is never triggered: resolving it changes nothing, and a wrong routing key is refused."""
SEND = ("pagerduty: send events",)
_KEY = re.compile(rb"[A-Za-z0-9]{32}")
_WORDS = re.compile(r"[A-Za-z0-9 '._(),:-]{1,160}")

Alert = Annotated[str, Field(pattern=r"^[!-~]{1,255}$")]
"""The key of an alert, as `trigger` returns it."""


class Integration(Model):
    """One integration of a service; `api` is https://events.eu.pagerduty.com for accounts in Europe."""

    api: Address = "https://events.pagerduty.com"
    routing_key: Reference


class Config(Model):
    """Integrations by name; no other service is ever paged."""

    integrations: dict[Name, Integration] = Field(default_factory=dict)


class _Taken(Shape):
    status: Literal["success"]
    dedup_key: str


class _Refused(Shape):
    errors: list[str] = Field(default_factory=list)


class Client:
    """Sends events to the configured integrations."""

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self._integrations, self._secrets = config.integrations, secrets
        self._web = Web("PagerDuty", HINT)

    def access(self, permissions: Collection[str], run: Run) -> Collection[str]:
        """All permissions where a routing key is refused; asked by resolving an alert that does not exist."""
        if not self._integrations:
            raise Permanent("no integration is configured", "list it under adapters.pagerduty.integrations")
        if not permissions:
            return ()
        try:
            for name in self._integrations:
                self.send(run, name, "resolve", NOBODY)
        except Permanent:
            return tuple(permissions)
        return ()

    def send(self, run: Run, integration: str, action: str, alert: str, more: Mapping[str, Any] | None = None) -> None:
        """Send one event. Sending it again changes nothing, so that a lost answer is `Transient`."""
        if integration not in self._integrations:
            raise Permanent(
                f"the integration {integration} is not configured", "list it under adapters.pagerduty.integrations"
            )
        known = self._integrations[integration]
        key = self._secrets.read(SecretReference.parse(known.routing_key)).reveal()
        if not _KEY.fullmatch(key):
            raise Permanent(f"the routing key of {integration} is none", HINT)
        event = {"routing_key": key.decode(), "event_action": action, "dedup_key": alert, **(more or {})}
        answer = self._web.call(run, "POST", f"{known.api}/v2/enqueue", body=event, expect=(400,))
        if answer.status == 400:
            raise _refused(answer)
        if answer.read(_Taken).dedup_key != alert:
            raise Transient(f"{answer.place} took another event than ours")


def _refused(answer: Answer) -> Permanent:
    said = (answer.read(_Refused).errors or [""])[0]
    plain = _WORDS.fullmatch(said) and not looks_like_secret(said)
    hint = HINT if not plain or "key" in said.lower() else "correct the runbook"
    return Permanent(f"{answer.place} refused the event{f': {said}' if plain else ''}", hint)


# --- operations -------------------------------------------------------------------------------------------------------


class Trigger(Operation):
    """Page whoever is on call; undone, the alert is resolved.

    The step's token is the alert's key: sent again it is the same alert, as long as nobody has resolved it.
    """

    effect = Effect.CREATES
    permissions = SEND
    outputs = ("alert",)

    class Params(Model):
        integration: Name
        summary: Line
        """One line, the first thing that is read; at most 200 characters."""
        source: Line = "keyturn"
        """What is affected: a credential, a service."""
        severity: Literal["critical", "error", "warning", "info"] = "critical"
        details: Annotated[dict[Name, Line], Field(default_factory=dict, max_length=20)]
        link: Address | None = None
        """Where to read on, such as the incident's runbook."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        # Events cannot be looked up; sending the same one again harms nobody.
        return Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        payload = {"summary": p.summary, "source": p.source, "severity": p.severity}
        event: dict[str, Any] = {"client": "keyturn", "payload": {**payload, "custom_details": dict(p.details)}}
        if p.link is not None:
            event["links"] = [{"href": p.link, "text": "Read on"}]
        self.client.send(run, p.integration, "trigger", run.token, event)
        return {"alert": run.token}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        # Resolving what was never triggered is ignored, so nothing has to be known.
        self.client.send(run, p.integration, "resolve", run.token)


class Acknowledge(Operation):
    """Say that somebody is at work on an alert; that cannot be taken back, and need not be."""

    effect = Effect.CHANGES
    permissions = SEND
    outputs = ("alert",)

    class Params(Model):
        integration: Name
        alert: Alert

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        return Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        self.client.send(run, p.integration, "acknowledge", p.alert)
        return {"alert": p.alert}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        """Nothing: the alert stays with whoever has it."""


class Resolve(Operation):
    """Resolve an alert. Undoing leaves it so: to page again is a step of its own, for somebody is woken by it."""

    effect = Effect.CHANGES
    permissions = SEND
    outputs = ("alert",)

    class Params(Model):
        integration: Name
        alert: Alert

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        return Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        self.client.send(run, p.integration, "resolve", p.alert)
        return {"alert": p.alert}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        """Nothing: nobody is paged by a rollback."""
