"""What a person does in the workspace, and what Slack makes of it: commands, messages, clicks, modals, the Home tab."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from playground.workspace import payloads
from playground.workspace.answers import Answers
from playground.workspace.elements import options_of
from playground.workspace.escaping import encode
from playground.workspace.forms import NotAccepted, entry, is_empty
from playground.workspace.places import (
    NotVisible,
    Place,
    container_of,
    conversation_of,
    element_of,
    must_be_in,
    must_be_ours,
    must_see,
)
from playground.workspace.records import Delivery, Execution, Kind, Message, ResponseUrl, View
from playground.workspace.seed import BOT_USER, TEAM_ID, User
from playground.workspace.state import RESPONSE_URL_SECONDS, Conversation, State
from playground.workspace.steps import read_inputs

Json = dict[str, Any]
_EVENT_SCOPES = {
    "app_mention": "app_mentions:read",
    "message.im": "im:history",
    "message.channels": "channels:history",
    "message.groups": "groups:history",
    "subteam_members_changed": "usergroups:read",
    "subteam_updated": "usergroups:read",
    "user_change": "users:read",
    "member_joined_channel": "channels:read",
    "member_left_channel": "channels:read",
    "channel_archive": "channels:read",
    "channel_rename": "channels:read",
}


class Acts:
    """Every method is one thing that a person does; deliveries are on their way when it returns."""

    def __init__(
        self,
        state: State,
        send: Callable[[Delivery], Delivery],
        response_base: Callable[[], str],
    ) -> None:
        self.state = state
        self._send = send
        self._response_base = response_base
        self.suggested: dict[tuple[str, str], list[Json]] = {}
        self.chosen: dict[tuple[str, str], dict[str, dict[str, Json]]] = {}
        self.answers = Answers(state)

    # --- words ---

    def command(
        self,
        user: User,
        conversation: Conversation,
        text: str,
        thread_ts: str | None = None,
        *,
        unchecked: bool = False,
    ) -> Delivery:
        """Type a slash command. What Slack itself refuses comes back settled, with an error; `unchecked` is sent."""
        if not unchecked:
            must_be_in(user, conversation)
        word, _, rest = text.strip().partition(" ")
        known = next((one for one in self.state.app.commands if one.command == word), None)
        refusal = ""
        if known is None or user.team_id != TEAM_ID or "commands" not in self.state.app.scopes:
            refusal = f'"{word}" is not a valid command.'
        elif thread_ts:
            refusal = f'"{word}" is not supported in threads. Sorry!'
        elif conversation.is_archived:
            refusal = "You cannot send messages to an archived channel."
        if known is None or (refusal and not unchecked):
            self.state.notice(user.id, refusal, conversation.id)
            return _settled("slash_commands", {"command": word, "text": rest}, user.id, word, refusal)
        rest = rest.strip()
        rest = encode(self.state, rest, labels=True) if known.should_escape else rest
        with self.state.changing():
            trigger = self.state.trigger(user.id, channel=conversation.id)
            url = self._response_url(user, conversation)
            payload = payloads.command(user, conversation, word, rest, trigger.id, url)
        return self._send(Delivery("slash_commands", payload, user.id, word, answerable=True))

    def say(self, user: User, conversation: Conversation, text: str, thread_ts: str | None = None) -> Message:
        """Write a message; the app hears of it when it subscribed to such events."""
        must_be_in(user, conversation)
        if conversation.is_archived:
            raise NotVisible(f"#{conversation.name} is archived")
        if conversation.is_im and BOT_USER in conversation.members and not self._takes_messages():
            raise NotVisible("the app takes no messages")
        written = encode(self.state, text, labels=False)
        message = self.state.put(Message(conversation.id, self.state.stamp(), user.id, written, thread_ts=thread_ts))
        body: Json = {
            "type": "message",
            "user": user.id,
            "ts": message.ts,
            "client_msg_id": secrets.token_hex(16),
            "text": written,
            "team": user.team_id,
            "channel": conversation.id,
            "event_ts": message.ts,
        }
        if thread_ts:
            body["thread_ts"] = thread_ts
        if BOT_USER not in conversation.members:
            return message
        if f"<@{BOT_USER}>" in written and not conversation.is_im:
            self.event({**body, "type": "app_mention"}, "app_mention")
        kind = {"im": "im", "mpim": "mpim", "groups": "groups", "channels": "channels"}[conversation.scope]
        channel_type = {"im": "im", "mpim": "mpim", "groups": "group", "channels": "channel"}[conversation.scope]
        self.event({**body, "channel_type": channel_type}, f"message.{kind}")
        return message

    def event(self, body: Json, name: str = "") -> Delivery | None:
        """Tell the app of an event, when it subscribed to it and may hear it."""
        name = name or body["type"]
        scope = _EVENT_SCOPES.get(name)
        if name not in self.state.app.events or (scope and scope not in self.state.app.scopes):
            return None
        body.setdefault("event_ts", self.state.stamp())
        payload = payloads.event(self.state, body)
        return self._send(Delivery("events_api", payload, str(body.get("user", "")), name))

    def open_home(self, user: User) -> Delivery | None:
        """Open the app's Home tab."""
        body: Json = {
            "type": "app_home_opened",
            "user": user.id,
            "channel": self.state.direct(user.id, BOT_USER).id,
            "tab": "home",
        }
        home = self.state.homes.get(user.id)
        if home is not None:
            body["view"] = payloads.view_object(home)
        return self.event(body)

    def run_step(self, user: User | None, step: str, inputs: Mapping[str, str]) -> tuple[Execution, Delivery]:
        """Run a step of the app as a workflow does; nobody runs a scheduled one. Raises NotVisible, NotAccepted."""
        declared = self.state.app.steps.get(step)
        if declared is None:
            raise NotVisible(f"the app offers no step {step}")
        given = dict(read_inputs(declared, inputs, user))
        execution = Execution(self.state.fresh("Fx"), step, user.id if user else "", f"xwfp-{secrets.token_hex(24)}")
        self.state.executions[execution.id] = execution
        delivery = self.event(payloads.step_run(self.state, execution, declared, given))
        if delivery is None:
            raise NotVisible("the app does not listen for function_executed")
        return execution, delivery

    def shortcut(self, user: User, callback_id: str, message: Message | None = None) -> Delivery:
        """Use a shortcut: on a message, or a global one."""
        kind = "message" if message else "global"
        if not any((one.kind, one.callback_id) == (kind, callback_id) for one in self.state.app.shortcuts):
            raise NotVisible(f"the app has no {kind} shortcut {callback_id}")
        body: Json = {
            **payloads.common(self.state, user),
            "type": "message_action" if message else "shortcut",
            "action_ts": self.state.stamp(),
            "callback_id": callback_id,
        }
        channel = None
        if message:
            conversation = self.state.conversations[message.channel]
            must_see(self.state, user, message)
            channel = conversation.id
            body |= {
                "channel": {"id": conversation.id, "name": payloads.channel_name(conversation)},
                "message_ts": message.ts,
                "message": payloads.message_object(self.state, message),
                "response_url": self._response_url(user, conversation, message),
            }
        with self.state.changing():
            body["trigger_id"] = self.state.trigger(user.id, channel=channel).id
        return self._send(Delivery("interactive", body, user.id, callback_id))

    # --- elements ---

    def click(
        self,
        user: User,
        place: Place,
        action_id: str,
        value: Any = None,
        *,
        block_id: str = "",
        force: bool = False,
        seen: Place | None = None,
        unchecked: bool = False,
    ) -> Delivery:
        """Press a button or choose something outside an input.

        `force` also presses what this person is not shown; `seen` is what stood on a screen that was out of date;
        `unchecked` lets anybody press, wherever it stands.
        """
        if not unchecked:
            must_see(self.state, user, place)
            must_be_ours(place)
        element = element_of(user, seen or place, action_id, value, block_id, force=force)
        action = self._action(user, place, element, value)
        body: Json = {
            "type": "block_actions",
            **payloads.common(self.state, user),
            **container_of(self.state, place),
            "actions": [action],
        }
        conversation = conversation_of(self.state, place)
        with self.state.changing():
            view_id = place.id if isinstance(place, View) else None
            trigger = self.state.trigger(user.id, view=view_id, channel=conversation.id if conversation else None)
            body["trigger_id"] = trigger.id
            if isinstance(place, Message) and conversation:
                body["state"] = {"values": self._message_state(user, place)}
                body["response_url"] = self._response_url(user, conversation, place)
        if not self.state.app.interactivity:
            self.state.notice(user.id, "This app is not configured to handle interactive responses.")
            return _settled("interactive", body, user.id, action_id, "interactivity is off")
        return self._send(Delivery("interactive", body, user.id, action_id))

    def suggest(self, user: User, place: Place, action_id: str, query: str = "") -> Delivery:
        """Type into an external select; what the app answers is offered from then on."""
        must_see(self.state, user, place)
        element = element_of(user, place, action_id, None, "", force=False)
        if not element["type"].endswith("external_select"):
            raise NotVisible(f"{action_id} asks the app for nothing")
        if len(query) < element.get("min_query_length", 3):
            raise NotAccepted({element["block_id"]: f"type at least {element.get('min_query_length', 3)} characters"})
        body: Json = {
            "type": "block_suggestion",
            **payloads.common(self.state, user),
            **container_of(self.state, place),
            "action_id": element["action_id"],
            "block_id": element["block_id"],
            "value": query,
        }
        return self._send(Delivery("interactive", body, user.id, f"suggest {action_id}", answerable=True))

    # --- modals ---

    def fill(self, user: User, view: View, values: Mapping[str, Any]) -> None:
        """Enter values into a view: by action_id, or nested by block_id. Raises NotAccepted."""
        errors: dict[str, str] = {}
        flat = _flatten(view, values)
        for element in view.elements:
            key = (element["block_id"], element["action_id"])
            if key not in flat:
                continue
            try:
                made = entry(self.state, element, flat.pop(key), lambda one: self._offered(user, view, one))
            except NotAccepted as refusal:
                errors |= refusal.errors
                continue
            view.entered.setdefault(key[0], {})[key[1]] = made
            view.errors.pop(key[0], None)
        if flat:
            raise NotVisible(f"the view has no {', '.join(sorted(key[1] for key in flat))}")
        if errors:
            raise NotAccepted(errors)

    def submit(self, user: User, view: View) -> Delivery:
        """Press the modal's submit button. Raises NotAccepted while required fields are empty."""
        if self.state.stack(user.id)[-1:] != [view]:
            raise NotVisible("only the top view can be submitted")
        if not view.body.get("submit"):
            raise NotVisible("the view has no submit button")
        missing = {
            block["block_id"]: "Please complete this required field."
            for block in view.blocks
            if block["type"] == "input"
            and not block.get("optional")
            and is_empty(view.entered.get(block["block_id"], {}).get(block["element"]["action_id"]))
        }
        if missing:
            raise NotAccepted(missing)
        with self.state.changing():
            view.errors, view.waiting = {}, True
            body: Json = {
                "type": "view_submission",
                **payloads.common(self.state, user),
                "trigger_id": self.state.trigger(user.id, view=view.id, channel=view.channel).id,
                "view": payloads.view_object(view),
                "response_urls": self._view_response_urls(user, view),
            }
            self.state.views_changed(user.id)
        return self._send(Delivery("interactive", body, user.id, view.callback_id, answerable=True))

    def close(self, user: User, *, everything: bool = False) -> list[Delivery]:
        """Close the top modal, or all of them; the app hears of those that asked for it."""
        stack = self.state.stack(user.id)
        if not stack:
            raise NotVisible(f"{user.name} has no modal open")
        everything = everything or bool(stack[-1].body.get("clear_on_close"))
        closed = self.state.drop_views(user.id) if everything else [self.state.pop_view(user.id)]
        sent = []
        for view in closed:
            if view.body.get("notify_on_close"):
                body: Json = {
                    "type": "view_closed",
                    **payloads.common(self.state, user),
                    "view": payloads.view_object(view),
                    "is_cleared": everything,
                }
                sent.append(self._send(Delivery("interactive", body, user.id, view.callback_id)))
        return sent

    # --- inside ---

    def _takes_messages(self) -> bool:
        return self.state.app.messages_tab and not self.state.app.messages_tab_read_only

    def _offered(self, user: User, place: Place, element: Json) -> list[Json]:
        if element["type"].endswith("external_select"):
            initial = element.get("initial_options") or [element.get("initial_option")]
            return [*self.suggested.get((user.id, element["action_id"]), []), *(one for one in initial if one)]
        return options_of(element)

    def _action(self, user: User, place: Place, element: Json, value: Any) -> Json:
        action: Json = {
            name: element[name]
            for name in ("type", "action_id", "block_id", "placeholder", "confirm")
            if name in element
        }
        action["action_ts"] = self.state.stamp()
        if element["type"] in {"button", "icon_button"}:
            return action | {name: element[name] for name in ("text", "value", "style", "url") if name in element}
        if element["type"] == "overflow":
            chosen = [one for one in element["options"] if value in {one["value"], one["text"]["text"]}]
            if not chosen:
                raise NotAccepted({element["block_id"]: f"{value} is not among the options"})
            return action | {"selected_option": chosen[0]}
        made = entry(self.state, element, value, lambda one: self._offered(user, place, one))
        if isinstance(place, View):
            place.entered.setdefault(element["block_id"], {})[element["action_id"]] = made
        else:
            mine = self.chosen.setdefault((place.ts, user.id), {})
            mine.setdefault(element["block_id"], {})[element["action_id"]] = made
        return action | made

    def _message_state(self, user: User, message: Message) -> Json:
        values = payloads.initial_state(message.blocks)
        for block_id, actions in self.chosen.get((message.ts, user.id), {}).items():
            if block_id in values:
                values[block_id] |= {name: one for name, one in actions.items() if name in values[block_id]}
        return values

    def _response_url(self, user: User, conversation: Conversation, message: Message | None = None) -> str:
        made = ResponseUrl(
            secrets.token_urlsafe(18),
            user.id,
            conversation.id,
            self.state.now() + RESPONSE_URL_SECONDS,
            message.ts if message else None,
            message.thread_ts if message else None,
        )
        self.state.response_urls[made.key] = made
        return f"{self._response_base()}/{made.key}"

    def _view_response_urls(self, user: User, view: View) -> list[Json]:
        """A response URL for each conversation that was chosen in a select that asks for one."""
        made = []
        for element in view.elements:
            if not element.get("response_url_enabled"):
                continue
            value = view.entered.get(element["block_id"], {}).get(element["action_id"], {})
            channel = value.get("selected_conversation") or value.get("selected_channel")
            if channel:
                url = self._response_url(user, self.state.conversations[channel])
                made.append(
                    {
                        "block_id": element["block_id"],
                        "action_id": element["action_id"],
                        "channel_id": channel,
                        "response_url": url,
                    }
                )
        return made

    def settle(self, delivery: Delivery) -> None:
        """What happens in the workspace once a delivery was acknowledged, or given up."""
        if delivery.acked and delivery.type == "block_suggestion":
            options = self.answers.options(delivery)
            self.suggested[(delivery.user, delivery.payload["action_id"])] = options
        else:
            self.answers.settle(delivery)


def _settled(kind: Kind, payload: Json, user: str, label: str, error: str) -> Delivery:
    done: Future[Delivery] = Future()
    delivery = Delivery(kind, payload, user, label, error=error, done=done)
    done.set_result(delivery)
    return delivery


def _flatten(view: View, values: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    """Values by (block_id, action_id), from either way of naming them."""
    blocks: dict[str, set[str]] = {block["block_id"]: set() for block in view.blocks}
    for element in view.elements:
        blocks[element["block_id"]].add(element["action_id"])
    by_action = {element["action_id"]: element["block_id"] for element in view.elements}
    flat: dict[tuple[str, str], Any] = {}
    for name, value in values.items():
        if name in blocks and isinstance(value, Mapping) and value and set(value) <= blocks[name]:
            flat |= {(name, action): one for action, one in value.items()}
        elif name in by_action:
            flat[(by_action[name], name)] = value
        elif name in blocks:
            action = next(one["action_id"] for one in view.elements if one["block_id"] == name)
            flat[(name, action)] = value
        else:
            flat[("", name)] = value
    return flat
