"""Modals and the Home tab."""

from __future__ import annotations

import secrets
from typing import Any

from playground.workspace.blocks import check_view, too_large
from playground.workspace.content import with_ids
from playground.workspace.methods.registry import Json, serves
from playground.workspace.payloads import initial_state, view_object
from playground.workspace.records import Trigger, View
from playground.workspace.shapes import Surface
from playground.workspace.state import MOST_VIEWS, State
from playground.workspace.webapi import Api, Refusal


def read_view(state: State, view: Any, expected: Surface, *, replacing: str | None = None) -> Json:
    """A view's body after the checks, its blocks and elements named. Raises Refusal."""
    if too_large(view):
        raise Refusal("view_too_large")
    if problems := check_view(view, expected):
        raise Refusal("invalid_arguments", *(str(problem) for problem in problems))
    external_id = view.get("external_id")
    everything = [*state.views.values(), *state.homes.values()]
    if external_id and any(one.body.get("external_id") == external_id and one.id != replacing for one in everything):
        raise Refusal("duplicate_external_id")
    return {**view, "blocks": with_ids(view["blocks"])}


def new_hash(state: State) -> str:
    """A view's version, in Slack's form."""
    return f"{int(state.now())}.{secrets.token_hex(4)}"


def exchange(api: Api, given: Json) -> Trigger:
    """Use a trigger up. Raises Refusal where it is unknown, late or used."""
    trigger_id = given.get("trigger_id") or given.get("interactivity_pointer")
    if not trigger_id:
        raise Refusal("invalid_arguments", "[ERROR] missing required field: trigger_id")
    trigger = api.state.triggers.get(trigger_id)
    if trigger is None:
        raise Refusal("invalid_trigger_id")
    if trigger.used:
        raise Refusal("exchanged_trigger_id")
    if api.state.now() > trigger.expires:
        raise Refusal("expired_trigger_id")
    trigger.used = True
    return trigger


def show(state: State, user: str, body: Json, channel: str | None, *, on_top: bool) -> View:
    """Open a modal: on top of the person's stack, or in place of it."""
    if not on_top:
        state.drop_views(user)
    stack = state.stack(user)
    if len(stack) >= MOST_VIEWS:
        raise Refusal("push_limit_reached")
    view_id = state.fresh("V")
    view = View(
        id=view_id,
        user=user,
        body=body,
        hash=new_hash(state),
        root_id=stack[0].id if stack else view_id,
        previous_id=stack[-1].id if stack else None,
        entered=initial_state(body["blocks"]),
        channel=channel,
    )
    state.views[view_id] = view
    state.stacks.setdefault(user, []).append(view_id)
    state.views_changed(user)
    return view


def replace(state: State, view: View, body: Json) -> None:
    """Show another body in a view; what the person entered stays where block and action ids stay."""
    fresh = initial_state(body["blocks"])
    for block_id, actions in fresh.items():
        for action_id, value in actions.items():
            before = view.entered.get(block_id, {}).get(action_id)
            if before is not None and before["type"] == value["type"]:
                actions[action_id] = before
    view.body, view.entered, view.hash, view.errors, view.waiting = body, fresh, new_hash(state), {}, False
    state.views_changed(view.user)


@serves("views.open")
def open_view(api: Api, given: Json) -> Json:
    """Open a modal. From inside a modal it goes on top of it."""
    trigger = api.state.triggers.get(given.get("trigger_id", ""))
    body = read_view(api.state, given["view"], "modal")
    inside = bool(trigger and trigger.view and trigger.view in api.state.stacks.get(trigger.user, ()))
    if trigger and inside and len(api.state.stack(trigger.user)) >= MOST_VIEWS:
        raise Refusal("push_limit_reached")
    trigger = exchange(api, given)
    return {"view": view_object(show(api.state, trigger.user, body, trigger.channel, on_top=inside))}


@serves("views.push")
def push_view(api: Api, given: Json) -> Json:
    """Put a modal on top of the one in which something was done."""
    body = read_view(api.state, given["view"], "modal")
    known = api.state.triggers.get(given.get("trigger_id", ""))
    if known and (not known.view or known.view not in api.state.stacks.get(known.user, ())):
        raise Refusal("not_found")
    if known and len(api.state.stack(known.user)) >= MOST_VIEWS:
        raise Refusal("push_limit_reached")
    trigger = exchange(api, given)
    return {"view": view_object(show(api.state, trigger.user, body, trigger.channel, on_top=True))}


@serves("views.update")
def update_view(api: Api, given: Json) -> Json:
    """Change an open modal, or a Home tab."""
    if not given.get("view_id") and not given.get("external_id"):
        raise Refusal("invalid_arguments", "[ERROR] missing required field: view_id")
    everything = [*api.state.views.values(), *api.state.homes.values()]
    view = next(
        (
            one
            for one in everything
            if one.id == given.get("view_id")
            or (given.get("external_id") and one.body.get("external_id") == given["external_id"])
        ),
        None,
    )
    if view is None:
        raise Refusal("not_found")
    if given.get("hash") and given["hash"] != view.hash:
        raise Refusal("hash_conflict")
    body = read_view(api.state, given["view"], view.body["type"], replacing=view.id)
    replace(api.state, view, body)
    return {"view": view_object(view)}


@serves("views.publish")
def publish_view(api: Api, given: Json) -> Json:
    """Show a person's Home tab."""
    if not api.state.app.home_tab:
        raise Refusal("not_enabled")
    user = api.state.users.get(given["user_id"])
    if user is None or user.is_bot or user.deleted:
        raise Refusal("invalid_arguments", "[ERROR] invalid `user_id`")
    home = api.state.homes.get(user.id)
    if given.get("hash") and (home is None or given["hash"] != home.hash):
        raise Refusal("hash_conflict")
    body = read_view(api.state, given["view"], "home", replacing=home.id if home else None)
    if home is None:
        view_id = api.state.fresh("V")
        home = View(view_id, user.id, body, new_hash(api.state), view_id, entered=initial_state(body["blocks"]))
        api.state.homes[user.id] = home
        api.state.views_changed(user.id)
    else:
        replace(api.state, home, body)
    return {"view": view_object(home)}
