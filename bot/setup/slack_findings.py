"""What the doctor finds in Slack: tokens, scopes, clock, groups, channels, people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from bot.core.errors import Refused
from bot.core.policy import PersonKind
from bot.engine.directory import DeclaredPeople
from bot.settings import Settings, Transport
from bot.setup.findings import Finding, good, note, skipped, wrong
from bot.slack.checkup import Checkup, Token
from bot.slack.identity import Identity
from bot.slack.people import SlackPeople

SLOW, LATE = timedelta(seconds=10), timedelta(minutes=4)
"""Slack's signatures count for five minutes; a clock that is off by seconds already shows wrong times on cards."""
_LATER = ("scopes", "clock", "socket", "groups", "channels", "people")
_REINSTALL = "Paste manifest.yml into the app's page App Manifest, then Install App, Reinstall to Workspace."
_NO_TOKEN = (
    "invalid_auth",
    "not_authed",
    "account_inactive",
    "token_revoked",
    "token_expired",
    "not_allowed_token_type",
)

_UNFIT = {
    PersonKind.GUEST: "is a guest",
    PersonKind.BOT: "is a bot",
    PersonKind.DEACTIVATED: "is deactivated",
    PersonKind.STRANGER: "is of another workspace",
    PersonKind.UNKNOWN: "is not known to Slack",
}


def look_at_slack(settings: Settings) -> Iterator[Finding]:
    """Everything that can be asked with the tokens of the environment."""
    environment = settings.environment
    try:
        environment.require_slack()
    except Refused as error:
        yield wrong("tokens", str(error), "Put it into the environment, such as keyturn.env.")
    if environment.bot_token is None:
        yield from (skipped(step, "there is no bot token") for step in _LATER)
        return
    checkup = Checkup(environment.bot_token, environment.slack_api_url)
    token = checkup.bot_token()
    if token.error:
        yield _bad_token(token.error)
        yield from (skipped(step, "Slack does not answer to the bot token") for step in _LATER)
        return
    team = settings.declared.slack.team
    if team and team != token.team:
        advice = "Correct slack.team in keyturn.yml, or use the other workspace's token."
        text = f"SLACK_BOT_TOKEN belongs to {token.team} ({token.team_name}), and the settings name {team}"
        yield wrong("tokens", text, advice)
    else:
        yield good("tokens", f"SLACK_BOT_TOKEN is {token.bot_user} in {token.team_name} ({token.team})")
    yield from _scopes(token)
    yield _clock(token)
    yield _socket(settings, checkup)
    yield from _groups(settings, checkup)
    yield from _channels(settings, checkup, token)
    yield from _people(settings, checkup, token)


def _bad_token(error: str) -> Finding:
    if error in _NO_TOKEN:
        advice = "Copy the Bot User OAuth Token (xoxb-…) from the app's page OAuth & Permissions."
        return wrong("tokens", f"Slack does not accept SLACK_BOT_TOKEN ({error})", advice)
    return wrong("tokens", f"Slack did not answer ({error})", "Check the network, proxies and SLACK_API_URL.")


def _scopes(token: Token) -> Iterator[Finding]:
    needed = [scope for scope in token.missing if not scope.optional]
    for scope in needed:
        yield wrong("scopes", f"{scope.name} is not granted. {scope.why}", _REINSTALL)
    for scope in token.missing:
        if scope.optional:
            yield note("scopes", f"{scope.name} is not granted. {scope.why}", scope.without)
    if not token.missing:
        yield good("scopes", f"all {len(token.granted)} are granted")


def _clock(token: Token) -> Finding:
    if token.skew is None:
        return note("clock", "Slack's answer had no date to compare with", "Keep the clock right with NTP.")
    way = "behind" if token.skew < timedelta(0) else "ahead"
    off = f"this machine's clock is {abs(token.skew.total_seconds()):.0f} s {way}"
    if abs(token.skew) >= LATE:
        return wrong("clock", off, "Set it right with NTP: Slack's signatures count for five minutes only.")
    if abs(token.skew) >= SLOW:
        return note("clock", off, "Set it right with NTP: due times and cards are off by as much.")
    return good("clock", "within ten seconds of Slack's")


def _socket(settings: Settings, checkup: Checkup) -> Finding:
    environment = settings.environment
    if environment.transport is Transport.HTTP:
        return note(
            "socket", "HTTP: Slack comes to you", "Open the app's page Event Subscriptions: it must say Verified."
        )
    if environment.app_token is None:
        return skipped("socket", "there is no app token")
    error = checkup.app_token(environment.app_token)
    if not error:
        return good("socket", "SLACK_APP_TOKEN opens Socket Mode")
    advice = "Make one on the app's page Basic Information, App-Level Tokens, with the scope connections:write."
    if error == "forbidden_team":
        advice = "Switch Socket Mode on in the app's page Socket Mode, or set KEYTURN_TRANSPORT=http."
    return wrong("socket", f"Slack does not open a socket with SLACK_APP_TOKEN ({error})", advice)


def _groups(settings: Settings, checkup: Checkup) -> Iterator[Finding]:
    for name, group in sorted(settings.groups_of_slack.items()):
        error, count = checkup.group(group)
        if error == "missing_scope":
            yield skipped("groups", "the scope usergroups:read is missing")
            return
        if error:
            advice = "Copy the group's id from its menu in Slack, Copy group ID, into keyturn.yml."
            yield wrong("groups", f"{name} ({group}): {error}", advice)
        elif count < 2:
            yield note("groups", f"{name} ({group}) has {count} members", "One person alone cannot start and approve.")
        else:
            yield good("groups", f"{name} ({group}): {count} members")


def _channels(settings: Settings, checkup: Checkup, token: Token) -> Iterator[Finding]:
    used = {entry.channel for entry in settings.credentials if entry.channel}
    names = {channel: name for name, channel in settings.declared.channels.items()}
    for channel in sorted(used | set(names)):
        label = f"{names[channel]} ({channel})" if channel in names else channel
        error = checkup.channel(channel)
        if not error:
            yield good("channels", f"{label}: keyturn is a member")
        elif error == "missing_scope":
            advice = "Invite keyturn there to be sure; channels:history would let it look."
            yield note("channels", f"{label} cannot be looked at without channels:history", advice)
        elif error == "not_in_channel" and "chat:write.public" in token.granted:
            advice = "Say /invite @keyturn there, so that lost cards can be found again."
            yield note("channels", f"{label}: keyturn is not a member, and may post all the same", advice)
        elif error == "not_in_channel":
            yield wrong("channels", f"{label}: keyturn is not a member", "Say /invite @keyturn there.")
        else:
            advice = "Correct its id in keyturn.yml; into a private channel keyturn has to be invited."
            yield wrong("channels", f"{label}: {error}", advice)


def _people(settings: Settings, checkup: Checkup, token: Token) -> Iterator[Finding]:
    if any(scope.name == "users:read" for scope in token.missing):
        yield skipped("people", "the scope users:read is missing")
        return
    identity = Identity(checkup.api)
    identity.learn()
    people = SlackPeople(checkup.api, settings.policy, identity, {}, DeclaredPeople(settings.policy, settings.members))
    found = 0
    for declared in settings.policy.people:
        for account in sorted(declared.slack_ids):
            kind = people.person(f"slack:{token.team}/{account}").kind
            if kind is PersonKind.MEMBER:
                found += 1
            else:
                advice = "Correct people in keyturn.yml: only full members of the workspace count."
                yield wrong("people", f"{declared.id} ({account}) {_UNFIT[kind]}", advice)
    if found:
        yield good("people", f"{found} accounts are members of the workspace")
