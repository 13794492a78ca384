"""Draws one row: loads the rotation, makes the message, posts it or edits it, and says what became of it."""

from __future__ import annotations

from bot.contracts.command import HistoryLine
from bot.core.errors import Permanent, Transient
from bot.core.rotation import Rotation
from bot.slack.api import SlackApi, SlackRefused
from bot.slack.budget import Budget
from bot.slack.cards import MOST_LOG_LINES, Message, Scene, card, log
from bot.slack.identity import Identity
from bot.slack.names import Roster
from bot.slack.outcomes import LOST, Dropped, Elsewhere, Gone, Later, Outcome, Shown, after
from bot.slack.places import CLOSED, direct, find, post, update
from bot.store.database import Database
from bot.store.records import DrawingRow

MISSING = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
MOST_FAILURES = 200


class Drawer:
    """Draws cards and logs from state."""

    def __init__(self, database: Database, api: SlackApi, identity: Identity, budget: Budget, names: Roster) -> None:
        self._database = database
        self._api = api
        self._identity = identity
        self._budget = budget
        self._names = names

    def draw(self, row: DrawingRow) -> Outcome:
        """Bring one message up to date."""
        if row.failures > MOST_FAILURES:
            return Dropped(f"given up after {row.failures} failures: {row.note}"[:300])
        with self._database.read() as reader:
            rotation = reader.rotation(row.rotation)
            if rotation is None:
                return Dropped("there is no such rotation")
            scene = Scene(self._names, reader.audit_head().short)
            drawings = reader.drawings(row.rotation)
            rows = reader.history(rotation=rotation.id, limit=MOST_LOG_LINES + 1) if row.form == "log" else []
        if row.form == "log":
            lines = [
                HistoryLine(one.seq, one.at, one.event, one.actor, one.rotation, one.credential, one.detail)
                for one in reversed(rows)
            ]
            parent = next((one.ts for one in drawings if one.form == "card" and one.place == row.place), "")
            if not parent:
                return Later(1.0, "waits for its card")
            message = log(rotation, lines, scene)
        else:
            parent, message = "", card(rotation, scene)
        if row.ts:
            return self._edit(row, rotation, message)
        return self._post(row, rotation, message, parent)

    def _edit(self, row: DrawingRow, rotation: Rotation, message: Message) -> Outcome:
        wait = self._budget.edit(row.id, row.form, urgent=row.urgent)
        if wait:
            return Later(wait)
        try:
            update(self._api, row.place, row.ts, message)
        except SlackRefused as error:
            if error.error in MISSING:
                return Gone(f"Slack said {error.error}")
            if error.error in CLOSED:
                return self._elsewhere(row, rotation, error)
            return after(error, "chat.update", row.failures, self._budget)
        except (Transient, Permanent) as error:
            return after(error, "chat.update", row.failures, self._budget)
        return Shown(row.ts, rotation.version)

    def _post(self, row: DrawingRow, rotation: Rotation, message: Message, parent: str) -> Outcome:
        if not row.place:
            return self._elsewhere(row, rotation, None)
        try:
            if row.claimed_until is not None or row.note == LOST:
                found = self._find(row, message, parent)
                if found:
                    return Shown(found)  # drawn as of nothing: it is edited next
            wait = self._budget.post(row.place)
            if wait:
                return Later(wait, row.note)
            return Shown(post(self._api, row.place, message, thread=parent), rotation.version)
        except SlackRefused as error:
            if error.error in CLOSED:
                return self._elsewhere(row, rotation, error)
            return after(error, "chat.postMessage", row.failures, self._budget)
        except (Transient, Permanent) as error:
            return after(error, "chat.postMessage", row.failures, self._budget)

    def _find(self, row: DrawingRow, message: Message, parent: str) -> str:
        """An earlier try died or heard no answer: look before posting again."""
        home = self._identity.workspace
        return find(self._api, row.place, message.metadata, home.bot_user, thread=parent) if home else ""

    def _elsewhere(self, row: DrawingRow, rotation: Rotation, error: SlackRefused | None) -> Outcome:
        """The channel does not take it: the requester gets it as a direct message, with a note why."""
        why = f"{row.place} does not take messages ({error.error})" if error else "no channel is declared"
        if row.place.startswith("D"):
            return Dropped(why)
        user = self._names.user(rotation.plan.requester)
        if not user:
            return Dropped(f"{why}, and {rotation.plan.requester} has no Slack account here"[:300])
        try:
            place = direct(self._api, user)
        except SlackRefused as refused:
            return Dropped(f"{why}, and no direct message either ({refused.error})"[:300])
        except (Transient, Permanent) as failed:
            return after(failed, "conversations.open", row.failures, self._budget)
        return Elsewhere(place, why) if place else Dropped(why)
