"""A bot that does not pace itself, for workspaces that set no limits: stories take seconds instead of minutes.

That it keeps to Slack's limits has tests of its own, with the pace it has.
"""

from __future__ import annotations

import pytest

from bot.slack import budget

PACE = {name: getattr(budget, name) / 20 for name in ("POST_SECONDS", "CARD_SECONDS", "LOG_SECONDS")}


def hurry(patch: pytest.MonkeyPatch, *, edits: bool = False) -> None:
    """Until the patch is undone, for every bot in this process. `edits` as well only in short stories: a card that is
    drawn more often than people can read has soon used up its edits of a minute."""
    for name in PACE if edits else ["POST_SECONDS"]:
        patch.setattr(budget, name, PACE[name])
