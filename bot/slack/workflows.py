"""Steps of workflows: each run becomes an intent of the person who runs it, or is turned away with a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from slack_bolt import Ack, App

from bot.contracts.command import Call, Need, Rotations
from bot.core.errors import Refused
from bot.core.policy import Person, PersonKind
from bot.engine.intake import WORKFLOW, Heard, Receipt
from bot.slack.api import SlackApi
from bot.slack.choices import choices
from bot.slack.deliveries import Body, Malformed, clean, runner_of, team_of, within
from bot.slack.lane import Lane
from bot.slack.text import plain

_EXECUTION = re.compile(r"Fx[A-Z0-9]{2,60}")
_ANY_MEMBER = Person("", kind=PersonKind.MEMBER)
"""Slack does not say who builds a workflow, so that only what every member may see is offered."""


class Workflows:
    """The handlers of `function_executed`. `hear` stores; `turn_away` ends a step that cannot be heard."""

    def __init__(
        self,
        hear: Callable[[Heard], Receipt],
        turn_away: Callable[[str, str, Refused], None],
        rotations: Rotations,
        lane: Lane,
        quick: SlackApi,
    ) -> None:
        self._hear = hear
        self._turn_away = turn_away
        self._rotations = rotations
        self._lane = lane
        self._quick = quick

    def attach(self, app: App) -> None:
        """Give the handlers to a Bolt app."""
        app.function("rotate_credential", auto_acknowledge=False)(self._rotate)
        app.function("credential_status", auto_acknowledge=False)(self._status)
        app.function("credential_choices", auto_acknowledge=False)(self._choices)

    def _rotate(self, ack: Ack, body: dict[str, Any]) -> None:
        """Ask for a rotation, as the form of `start` does when it is submitted."""
        reason = _given(body, "reason")
        self._ask(ack, body, "start", {"reason": reason} if reason else {})

    def _status(self, ack: Ack, body: dict[str, Any]) -> None:
        self._ask(ack, body, "status", {})

    def _ask(self, ack: Ack, body: dict[str, Any], word: str, flags: Mapping[str, str]) -> None:
        execution, user = execution_of(body), runner_of(body)
        account = f"slack:{team_of(body)}/{user or 'workflow'}"
        try:
            if not user:
                raise Refused(
                    "No person runs this workflow, so nothing was done: start it from a link or a button, so that "
                    "Slack says who asks.",
                    code="no-person",
                )
            credential = _given(body, "credential")
            if not credential.strip():
                raise Refused("The step names no credential; choose one in Workflow Builder.", code="usage")
            self._hear(
                Heard(
                    key=f"step:{execution}",
                    account=account,
                    word=word,
                    args=(credential,),
                    flags=flags,
                    surface=WORKFLOW,
                    confirmed=True,
                    form=execution,
                )
            )
        except Refused as error:
            self._turn_away(execution, account, error)
        ack()

    def _choices(self, ack: Ack, body: dict[str, Any]) -> None:
        """Only for whoever builds a workflow: the lane answers, and an answer that is lost is asked for again."""
        execution = execution_of(body)
        query = _given(body, "query")
        ack()

        def job() -> None:
            options = [
                {"text": {"type": "plain_text", "text": plain(f"{one.name} ({one.environment})", 75)}, "value": value}
                for one in choices(self._rotations, Call("list", Need.SEE, _ANY_MEMBER), query)
                if len(value := f"{one.name}@{one.environment}") <= 150
            ]
            self._quick.call("functions.completeSuccess", function_execution_id=execution, outputs={"options": options})

        self._lane.submit(job)


def execution_of(body: Body) -> str:
    """Which run of a step it is. Raises `Malformed`."""
    found = within(body, "event", "function_execution_id")
    if not isinstance(found, str) or not _EXECUTION.fullmatch(found):
        raise Malformed("a step without its execution")
    return found


def _given(body: Body, name: str) -> str:
    return clean(within(body, "event", "inputs", name))[:2000]
