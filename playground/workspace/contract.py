"""The Web API as one table: what each method takes, the scopes it needs, how often it may be called, how it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["string", "bool", "int", "ts", "blocks", "object", "array", "view", "ids"]

_COMMON = """account_inactive fatal_error internal_error invalid_arg_name invalid_arguments invalid_auth invalid_json
    invalid_post_type json_not_object missing_scope no_permission not_allowed_token_type not_authed ratelimited
    request_timeout service_unavailable team_access_not_granted token_expired token_revoked"""
COMMON_ERRORS = frozenset(_COMMON.split())
"""What any method may answer."""

PER_MINUTE = {"2": 20, "3": 50, "4": 100, "plenty": 600}
"""Calls per minute, workspace and app, by tier; `post` (one per second and channel) is counted by channel."""


@dataclass(frozen=True)
class Argument:
    """One argument of a method."""

    name: str
    kind: Kind = "string"
    required: bool = False


@dataclass(frozen=True)
class Method:
    """One Web API method. `scopes` are alternatives: one opens the door, the channel's kind may ask for more."""

    name: str
    arguments: tuple[Argument, ...]
    scopes: tuple[str, ...]
    tier: str
    errors: frozenset[str]
    as_app: bool = False
    """Called with the app-level token instead of the bot's."""
    json: bool = True

    def argument(self, name: str) -> Argument | None:
        """The argument of that name, if the method has one."""
        return next((argument for argument in self.arguments if argument.name == name), None)

    def may_answer(self, error: str) -> bool:
        """Whether Slack documents this error for the method."""
        return error in self.errors or error in COMMON_ERRORS


METHODS: dict[str, Method] = {}


def _method(
    name: str,
    arguments: str = "",
    *,
    scopes: str = "",
    tier: str,
    errors: str = "",
    as_app: bool = False,
    json: bool = True,
) -> None:
    """Add a row: arguments are written `name`, `name!` when required, `name:kind` when not a string."""
    parsed = []
    for word in arguments.split():
        plain, _, kind = word.rstrip("!").partition(":")
        parsed.append(Argument(plain, kind or "string", word.endswith("!")))  # type: ignore[arg-type]  # a Kind by spelling
    METHODS[name] = Method(
        name, tuple(parsed), tuple(scopes.split()), tier, frozenset(errors.split()), as_app=as_app, json=json
    )


_READ = "channels:read groups:read im:read mpim:read"
_HISTORY = "channels:history groups:history im:history mpim:history"
_BODY = "text blocks:blocks attachments:array markdown_text metadata:object"
_FACE = "username icon_emoji icon_url link_names:bool parse mrkdwn:bool unfurl_links:bool unfurl_media:bool"
_BAD_BODY = """no_text msg_too_long msg_blocks_too_long invalid_blocks invalid_blocks_format invalid_attachments
    too_many_attachments markdown_text_conflict attachment_payload_limit_exceeded"""
_BAD_METADATA = "invalid_metadata_format invalid_metadata_schema metadata_too_large"

_method("auth.test", tier="plenty")
_method(
    "apps.connections.open",
    scopes="connections:write",
    tier="3",
    as_app=True,
    errors="forbidden_team insecure_request missing_args",
)
_method("team.info", "team domain", scopes="team:read", tier="3", errors="team_not_found", json=False)
_method("blocks.validate", "blocks message view", tier="plenty", errors="invalid_blocks invalid_view invalid_message")

_method(
    "chat.postMessage",
    f"channel! {_BODY} thread_ts:ts reply_broadcast:bool {_FACE} as_user:bool",
    scopes="chat:write",
    tier="post",
    errors=f"""channel_not_found is_archived not_in_channel restricted_action cannot_reply_to_message
    messages_tab_disabled as_user_not_supported restricted_action_read_only_channel user_not_found
    rate_limited {_BAD_BODY} {_BAD_METADATA}""",
)
_method(
    "chat.update",
    f"channel! ts:ts! {_BODY} as_user:bool link_names:bool parse reply_broadcast:bool file_ids:ids",
    scopes="chat:write",
    tier="3",
    errors=f"""channel_not_found message_not_found cant_update_message edit_window_closed is_inactive update_failed
    {_BAD_BODY} {_BAD_METADATA}""",
)
_method(
    "chat.delete",
    "channel! ts:ts! as_user:bool",
    scopes="chat:write",
    tier="3",
    errors="channel_not_found message_not_found cant_delete_message",
)
_method(
    "chat.postEphemeral",
    "channel! user! text blocks:blocks attachments:array markdown_text thread_ts:ts username icon_emoji icon_url "
    "link_names:bool parse as_user:bool",
    scopes="chat:write",
    tier="4",
    errors=f"""channel_not_found is_archived user_not_in_channel not_in_channel restricted_action messages_tab_disabled
    cannot_reply_to_message {_BAD_BODY}""",
)
_method(
    "chat.getPermalink",
    "channel! message_ts:ts!",
    tier="plenty",
    errors="channel_not_found message_not_found",
    json=False,
)

_VIEW_ERRORS = "duplicate_external_id view_too_large"
_TRIGGER_ERRORS = "exchanged_trigger_id expired_trigger_id invalid_trigger_id push_limit_reached"
_method(
    "views.open",
    "trigger_id interactivity_pointer view:view!",
    tier="4",
    errors=f"{_VIEW_ERRORS} {_TRIGGER_ERRORS}",
)
_method(
    "views.push",
    "trigger_id interactivity_pointer view:view!",
    tier="4",
    errors=f"{_VIEW_ERRORS} {_TRIGGER_ERRORS} not_found",
)
_method(
    "views.update",
    "view_id external_id hash view:view!",
    tier="4",
    errors=f"{_VIEW_ERRORS} hash_conflict not_found",
)
_method("views.publish", "user_id! hash view:view!", tier="4", errors=f"{_VIEW_ERRORS} hash_conflict not_enabled")

_method(
    "users.info",
    "user! include_locale:bool",
    scopes="users:read",
    tier="4",
    errors="user_not_found user_not_visible",
    json=False,
)
_method(
    "users.list",
    "cursor limit:int include_locale:bool team_id",
    scopes="users:read",
    tier="2",
    errors="invalid_cursor limit_required",
    json=False,
)
_method(
    "users.lookupByEmail",
    "email!",
    scopes="users:read.email",
    tier="3",
    errors="users_not_found",
    json=False,
)
_method(
    "usergroups.list",
    "include_count:bool include_disabled:bool include_users:bool team_id",
    scopes="usergroups:read",
    tier="2",
    errors="plan_upgrade_required",
    json=False,
)
_method(
    "usergroups.users.list",
    "usergroup! include_disabled:bool team_id",
    scopes="usergroups:read",
    tier="2",
    errors="no_such_subteam plan_upgrade_required",
    json=False,
)

_ENDED = "function_execution_not_found execution_not_in_running_state access_denied"
_method(
    "functions.completeSuccess",
    "function_execution_id! outputs:object!",
    tier="3",
    errors=f"{_ENDED} parameter_validation_failed",
)
_method("functions.completeError", "function_execution_id! error!", tier="3", errors=_ENDED)

_BAD_NAME = """invalid_name invalid_name_maxlength invalid_name_punctuation invalid_name_required
    invalid_name_specials"""
_WRONG_KIND = "method_not_supported_for_channel_type"
_method(
    "conversations.info",
    "channel! include_locale:bool include_num_members:bool",
    scopes=_READ,
    tier="3",
    errors="channel_not_found",
    json=False,
)
_method(
    "conversations.list",
    "cursor exclude_archived:bool limit:int team_id types",
    scopes=_READ,
    tier="2",
    errors="invalid_cursor invalid_limit invalid_types",
    json=False,
)
_method(
    "conversations.members",
    "channel! cursor limit:int",
    scopes=_READ,
    tier="4",
    errors="channel_not_found invalid_cursor invalid_limit fetch_members_failed",
    json=False,
)
_method(
    "conversations.open",
    "channel users:ids return_im:bool prevent_creation:bool",
    scopes="im:write mpim:write",
    tier="3",
    errors="""channel_not_found users_list_not_supplied user_not_found user_disabled user_not_visible too_many_users
    not_enough_users invalid_user_combination method_not_supported_for_channel_type""",
)
_method(
    "conversations.join",
    "channel!",
    scopes="channels:join",
    tier="3",
    errors="channel_not_found is_archived method_not_supported_for_channel_type",
)
_method(
    "conversations.create",
    "name! is_private:bool team_id",
    scopes="channels:manage groups:write",
    tier="2",
    errors=f"name_taken restricted_action no_channel cannot_create_channel {_BAD_NAME}",
)
_method(
    "conversations.invite",
    "channel! users:ids! force:bool",
    scopes="channels:manage groups:write channels:write.invites groups:write.invites",
    tier="3",
    errors="""channel_not_found is_archived not_in_channel no_user user_not_found cant_invite cant_invite_self
    already_in_channel user_is_restricted ura_max_channels method_not_supported_for_channel_type
    no_external_invite_permission invitee_cant_see_channel org_user_not_in_team external_channel_migrating""",
)
_method(
    "conversations.setTopic",
    "channel! topic!",
    scopes="channels:manage groups:write channels:write.topic groups:write.topic im:write mpim:write",
    tier="2",
    errors=f"channel_not_found is_archived not_in_channel too_long user_is_restricted {_WRONG_KIND}",
)
_method(
    "conversations.setPurpose",
    "channel! purpose!",
    scopes="channels:manage groups:write channels:write.topic groups:write.topic im:write mpim:write",
    tier="2",
    errors=f"channel_not_found is_archived not_in_channel too_long user_is_restricted {_WRONG_KIND}",
)
_method(
    "conversations.archive",
    "channel!",
    scopes="channels:manage groups:write",
    tier="2",
    errors=f"""channel_not_found already_archived not_in_channel cant_archive_general cant_archive_required
    restricted_action {_WRONG_KIND}""",
)
_method(
    "conversations.unarchive",
    "channel!",
    scopes="channels:manage groups:write",
    tier="2",
    # Slack does not list not_in_channel here, and answers it to every bot token.
    errors=f"channel_not_found not_archived user_is_restricted not_in_channel {_WRONG_KIND}",
)
_method(
    "conversations.rename",
    "channel! name!",
    scopes="channels:manage groups:write",
    tier="2",
    errors=f"""channel_not_found is_archived name_taken not_authorized not_in_channel user_is_restricted
    {_WRONG_KIND} {_BAD_NAME}""",
)
_method(
    "conversations.kick",
    "channel! user",
    scopes="channels:manage groups:write",
    tier="3",
    errors=f"""channel_not_found user_not_found not_in_channel cant_kick_self cant_kick_from_general not_supported
    restricted_action user_is_restricted {_WRONG_KIND}""",
)
_method(
    "conversations.leave",
    "channel!",
    scopes="channels:manage groups:write",
    tier="3",
    errors=f"channel_not_found is_archived cant_leave_general last_member user_is_restricted {_WRONG_KIND}",
)
_method(
    "conversations.history",
    "channel! cursor include_all_metadata:bool inclusive:bool latest:ts limit:int oldest:ts",
    scopes=_HISTORY,
    tier="3",
    errors="channel_not_found not_in_channel invalid_cursor invalid_ts_latest invalid_ts_oldest",
)
_method(
    "conversations.replies",
    "channel! ts:ts! cursor include_all_metadata:bool inclusive:bool latest:ts limit:int oldest:ts",
    scopes=_HISTORY,
    tier="3",
    errors="channel_not_found not_in_channel thread_not_found invalid_cursor invalid_ts_latest invalid_ts_oldest",
)

_method(
    "pins.add",
    "channel! timestamp:ts",
    scopes="pins:write",
    tier="2",
    errors="""channel_not_found message_not_found not_in_channel already_pinned no_item_specified too_many_pins
    bad_timestamp restricted_action not_pinnable permission_denied""",
)
_method("pins.list", "channel!", scopes="pins:read", tier="2", errors="channel_not_found restricted_action", json=False)
_method(
    "pins.remove",
    "channel! timestamp:ts",
    scopes="pins:write",
    tier="2",
    errors="channel_not_found message_not_found no_item_specified not_pinned bad_timestamp permission_denied",
)
_BAD_BOOKMARK = "channel_not_found access_denied permission_denied not_implemented invalid_bookmark_type"
_method(
    "bookmarks.add",
    "channel_id! title! type! link emoji entity_id access_level parent_id",
    scopes="bookmarks:write",
    tier="2",
    errors=f"""{_BAD_BOOKMARK} invalid_link invalid_emoji too_many_bookmarks invalid_entity_id invalid_parent_type
    parent_with_link""",
)
_method(
    "bookmarks.edit",
    "channel_id! bookmark_id! title link emoji",
    scopes="bookmarks:write",
    tier="2",
    errors=f"{_BAD_BOOKMARK} not_found invalid_link invalid_emoji restricted_action parent_with_link",
)
_method("bookmarks.list", "channel_id!", scopes="bookmarks:read", tier="3", errors=_BAD_BOOKMARK, json=False)
_method(
    "bookmarks.remove",
    "channel_id! bookmark_id! quip_section_id",
    scopes="bookmarks:write",
    tier="2",
    errors=f"{_BAD_BOOKMARK} not_found",
)
_method(
    "reactions.add",
    "channel! name! timestamp:ts!",
    scopes="reactions:write",
    tier="3",
    errors="""channel_not_found message_not_found already_reacted invalid_name is_archived bad_timestamp
    too_many_emoji too_many_reactions not_reactable""",
)
