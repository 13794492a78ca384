"""People and user groups."""

from __future__ import annotations

from playground.workspace.methods.registry import Json, page, serves
from playground.workspace.payloads import group_object, user_object
from playground.workspace.seed import TEAM_ID
from playground.workspace.webapi import Api, Refusal


@serves("users.info")
def info(api: Api, given: Json) -> Json:
    """One person, a stranger of a shared channel included."""
    user = api.state.users.get(given["user"])
    if user is None:
        raise Refusal("user_not_found")
    return {"user": user_object(api.state, user, email=api.has("users:read.email"))}


@serves("users.list")
def members(api: Api, given: Json) -> Json:
    """Everybody of this workspace, the deactivated included."""
    everybody = [user for user in api.state.users.values() if user.team_id == TEAM_ID]
    some, metadata = page(everybody, given, usual=1000)
    email = api.has("users:read.email")
    shown = [user_object(api.state, user, email=email) for user in some]
    return {"members": shown, "cache_ts": int(api.state.now()), "response_metadata": metadata}


@serves("users.lookupByEmail")
def lookup(api: Api, given: Json) -> Json:
    """The person behind an e-mail address; the deactivated are not found."""
    wanted = given["email"].lower()
    for user in api.state.users.values():
        if user.email.lower() == wanted and not user.deleted and user.team_id == TEAM_ID:
            return {"user": user_object(api.state, user, email=True)}
    raise Refusal("users_not_found")


@serves("usergroups.list")
def groups(api: Api, given: Json) -> Json:
    """The user groups."""
    shown = [
        group_object(group, users=given.get("include_users", False), count=given.get("include_count", False))
        for group in api.state.groups.values()
        if given.get("include_disabled") or not group.disabled
    ]
    return {"usergroups": shown}


@serves("usergroups.users.list")
def group_members(api: Api, given: Json) -> Json:
    """Who is in a user group now; people who were deactivated are not."""
    group = api.state.groups.get(given["usergroup"])
    if group is None or (group.disabled and not given.get("include_disabled")):
        raise Refusal("no_such_subteam")
    return {"users": [user for user in group.users if not api.state.users[user].deleted]}
