"""Which workspace the bot belongs to, and what it may do there; learnt once from `auth.test`."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.errors import Permanent
from bot.slack.api import SlackApi, SlackRefused


@dataclass(frozen=True, slots=True)
class Workspace:
    """The workspace and the bot in it."""

    team: str
    bot_user: str
    enterprise: str = ""


class Identity:
    """`workspace` is None until Slack has answered once. `expected` is the team that the settings name, if they do."""

    def __init__(self, api: SlackApi, expected: str = "") -> None:
        self._api = api
        self._expected = expected
        self.workspace: Workspace | None = None

    def learn(self) -> Workspace:
        """Ask Slack. Raises `Permanent` for a token that is no good or of another workspace, `Transient` otherwise."""
        try:
            found = self._api.call("auth.test")
        except SlackRefused as error:
            raise Permanent(
                f"Slack does not accept SLACK_BOT_TOKEN ({error.error}).",
                "Copy the Bot User OAuth Token from the app's page OAuth & Permissions, and start again.",
            ) from None
        team = str(found.get("team_id") or "")
        if self._expected and team != self._expected:
            raise Permanent(
                f"SLACK_BOT_TOKEN belongs to the workspace {team}, but the settings name {self._expected}.",
                "Correct slack.team in keyturn.yml, or use the other workspace's token.",
            )
        self.workspace = Workspace(team, str(found.get("user_id") or ""), str(found.get("enterprise_id") or ""))
        return self.workspace
