"""What the app's acknowledgements do: replies to commands, the next step of a modal, options, or Slack's own error."""

from __future__ import annotations

from typing import Any

from playground.workspace.content import read_content
from playground.workspace.elements import OPTION, OPTION_GROUP
from playground.workspace.methods.views import read_view, replace, show
from playground.workspace.records import Delivery, Message, View
from playground.workspace.seed import BOT_USER
from playground.workspace.shapes import Walk, many, shape
from playground.workspace.state import State
from playground.workspace.webapi import Refusal

Json = dict[str, Any]
TROUBLE = "We had some trouble connecting. Try again?"


class Answers:
    """Reads what came back with an acknowledgement."""

    def __init__(self, state: State) -> None:
        self.state = state

    def settle(self, delivery: Delivery) -> None:
        """Do what the acknowledgement says, or show the person that the app did not respond."""
        with self.state.changing():
            try:
                if not delivery.acked:
                    self._failed(delivery)
                elif delivery.kind == "slash_commands":
                    self._command(delivery)
                elif delivery.type == "view_submission":
                    self._submission(delivery)
            except Refusal as refusal:
                detail = refusal.answer.get("response_metadata", {}).get("messages", [])
                self.state.complain(f"{delivery.label}: the acknowledgement was refused: {refusal.error} {detail}")
                self.state.notice(delivery.user, TROUBLE)
                self._release(delivery)

    def _failed(self, delivery: Delivery) -> None:
        if delivery.kind == "events_api" or delivery.error == "stopped":
            return
        if delivery.kind == "slash_commands":
            word = delivery.payload["command"]
            why = {
                "timeout": f'{word} failed with the error "operation_timeout"',
                "http_error": f'{word} failed with the error "http_service_error"',
            }.get(delivery.error, f"{word} failed because the app did not respond")
            self.state.notice(delivery.user, why, delivery.payload["channel_id"])
            return
        if delivery.type == "view_submission":
            self.state.notice(delivery.user, TROUBLE)
            self._release(delivery)
        elif delivery.type != "view_closed":
            self.state.notice(delivery.user, "This app responded with an error: it did not answer in time.")

    def _release(self, delivery: Delivery) -> None:
        view = self.state.views.get(delivery.payload.get("view", {}).get("id", ""))
        if view is not None:
            view.waiting = False
            self.state.views_changed(view.user)

    def _command(self, delivery: Delivery) -> None:
        answer = delivery.answer
        if not answer:
            return
        known = {"text", "blocks", "response_type", "attachments", "mrkdwn", "unfurl_links", "unfurl_media"}
        if unknown := set(answer) - known:
            self.state.complain(f"{delivery.label}: the acknowledgement has unknown fields: {sorted(unknown)}")
        content = read_content(answer)
        public = answer.get("response_type") == "in_channel"
        self.state.put(
            Message(
                channel=delivery.payload["channel_id"],
                ts=self.state.stamp(),
                user=BOT_USER,
                text=content.text,
                blocks=content.blocks,
                attachments=content.attachments,
                only_for=None if public else delivery.user,
                from_app=True,
            )
        )

    def _submission(self, delivery: Delivery) -> None:
        view = self.state.views.get(delivery.payload["view"]["id"])
        if view is None:
            return
        action = delivery.answer.get("response_action")
        if not delivery.answer:
            self._close(view)
        elif action == "clear":
            self.state.drop_views(view.user)
        elif action == "errors":
            self._errors(delivery, view)
        elif action == "update":
            replace(self.state, view, read_view(self.state, delivery.answer.get("view"), "modal", replacing=view.id))
        elif action == "push":
            body = read_view(self.state, delivery.answer.get("view"), "modal")
            show(self.state, view.user, body, view.channel, on_top=True)
            view.waiting = False
        else:
            raise Refusal("invalid_arguments", f"unknown response_action {action}")

    def _close(self, view: View) -> None:
        stack = self.state.stacks.get(view.user, [])
        while stack and view.id in stack:
            self.state.pop_view(view.user)

    def _errors(self, delivery: Delivery, view: View) -> None:
        errors = delivery.answer.get("errors")
        inputs = {block["block_id"] for block in view.blocks if block["type"] == "input"}
        if not isinstance(errors, dict) or not errors or set(errors) - inputs:
            raise Refusal("invalid_arguments", "errors must name input blocks of the view by block_id")
        view.errors = {block: str(text) for block, text in errors.items()}
        view.waiting = False
        self.state.views_changed(view.user)

    def options(self, delivery: Delivery) -> list[Json]:
        """The options that an acknowledgement offers; none, with a complaint, when they are not valid."""
        walk = Walk("modal")
        check = shape({}, {"options": many(OPTION, 0, 100), "option_groups": many(OPTION_GROUP, 0, 100)})
        check(walk, delivery.answer, "")
        if walk.problems or not ({"options", "option_groups"} & set(delivery.answer)):
            self.state.complain(f"{delivery.label}: bad options: {'; '.join(map(str, walk.problems)) or 'none'}")
            return []
        grouped = [one for group in delivery.answer.get("option_groups") or () for one in group["options"]]
        return [*(delivery.answer.get("options") or ()), *grouped]
