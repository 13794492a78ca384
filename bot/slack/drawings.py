"""Draws one row: loads the rotation, makes the message, posts it or edits it, and says what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bot.contracts.command import HistoryLine
from bot.core.errors import Permanent, Transient
from bot.core.incident import Incident
from bot.core.rotation import Rotation
from bot.engine.incident_facts import view_of
from bot.slack import incident_cards
from bot.slack.api import SlackApi, SlackRefused
from bot.slack.budget import COPIED, Budget
from bot.slack.cards import MOST_LOG_LINES, Message, Scene, card, log
from bot.slack.completion import StepEnder
from bot.slack.identity import Identity
from bot.slack.incident_place import lose_channel
from bot.slack.incident_room import IncidentRoom
from bot.slack.names import Roster
from bot.slack.outcomes import Dropped, Elsewhere, Gone, Later, Outcome, Shown, after, may_be_posted
from bot.slack.places import CLOSED, direct, find, post, update
from bot.slack.threads import COPY, counts, is_counting, main_card, parent_of
from bot.store.database import Database
from bot.store.reading import Reader
from bot.store.records import DrawingRow

MISSING = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
MOST_FAILURES = 200
OF_INCIDENT = frozenset({"status", "timeline", "review"})


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a message is to show, made of state as it stands now."""

    rotation: Rotation
    message: Message
    parent: str
    """In whose thread it is; empty for none."""
    version: int
    """What is noted as drawn. One less than it is while targets finish, so that it is drawn again soon."""
    targets: Mapping[int, tuple[int, int]]
    form: str
    """As the budget knows it: a copy is edited less often than the card itself."""


class Drawer:
    """Draws cards and logs from state."""

    def __init__(
        self,
        database: Database,
        api: SlackApi,
        identity: Identity,
        budget: Budget,
        names: Roster,
        room: IncidentRoom,
        ender: StepEnder,
    ) -> None:
        self._room = room
        self._ender = ender
        self._counted: dict[int, tuple[int, Mapping[int, tuple[int, int]]]] = {}
        """Drawing -> what was shown last of targets that were finishing."""
        self._database = database
        self._api = api
        self._identity = identity
        self._budget = budget
        self._names = names

    def draw(self, row: DrawingRow) -> Outcome:
        """Bring one message up to date."""
        if row.form == "room":
            return self._room.draw(row)
        if row.form == "step":
            return self._ender.draw(row)
        if row.failures > MOST_FAILURES:
            return Dropped(f"given up after {row.failures} failures: {row.note}"[:300])
        if row.place.startswith(COPY):
            return self._copy(row)
        seen = self._look(row)
        if not isinstance(seen, _Seen):
            return seen
        if row.ts:
            return self._edit(row, seen)
        return self._post(row, seen)

    def _look(self, row: DrawingRow) -> _Seen | Outcome:
        """Load what the message shows, and make it."""
        with self._database.read() as reader:
            rotation = reader.rotation(row.rotation)
            if rotation is None:
                return Dropped("there is no such rotation")
            scene = Scene(self._names, reader.audit_head().short, counts(reader, rotation))
            incident = reader.incident(row.rotation) if rotation.plan.has_incident else None
            drawings = reader.drawings(row.rotation)
            parent = parent_of(row, drawings, incident)
            if parent is None and not row.ts:
                return Later(1.0, "waits for its card")
            if row.form in ("card", "log"):
                message = self._card(reader, row, rotation, scene)
            elif incident is None:
                return Dropped("there is no such incident")
            else:
                message = _of_incident(reader, row, rotation, incident, scene)
        counting = row.form != "log" and is_counting(rotation, scene.targets)
        shown = rotation.version if row.form in ("card", "log") else row.wanted
        main = main_card(drawings)
        form = COPIED if row.form == "card" and main is not None and main.id != row.id else row.form
        return _Seen(rotation, message, parent or "", shown - counting, scene.targets if counting else {}, form)

    def _card(self, reader: Reader, row: DrawingRow, rotation: Rotation, scene: Scene) -> Message:
        if row.form == "card":
            return card(rotation, scene)
        rows = reader.history(rotation=rotation.id, limit=MOST_LOG_LINES + 1)
        lines = [
            HistoryLine(one.seq, one.at, one.event, one.actor, one.rotation, one.credential, one.detail)
            for one in reversed(rows)
        ]
        return log(rotation, lines, scene)

    def _copy(self, row: DrawingRow) -> Outcome:
        """A copy for one person: into their direct message, which is kept up to date as the card is."""
        user = self._names.user(row.place.removeprefix(COPY))
        if not user:
            return Dropped(f"{row.place} has no Slack account here"[:300])
        try:
            place = direct(self._api, user)
        except SlackRefused as error:
            return Dropped(f"{row.place} gets no direct messages ({error.error})"[:300])
        except (Transient, Permanent) as error:
            return after(error, "conversations.open", row.failures, self._budget)
        return Elsewhere(place, "a copy for an approver") if place else Dropped("Slack named no direct message")

    def _edit(self, row: DrawingRow, seen: _Seen) -> Outcome:
        if seen.targets and self._counted.get(row.id) == (seen.version, seen.targets):
            return Later(1.0)  # targets are finishing, none has since
        wait = self._budget.edit(row.id, seen.form, urgent=row.urgent)
        if wait:
            return Later(wait)
        try:
            update(self._api, row.place, row.ts, seen.message)
        except SlackRefused as error:
            if error.error in MISSING:
                return Gone(f"Slack said {error.error}")
            if error.error in CLOSED:
                return self._elsewhere(row, seen.rotation, error)
            return after(error, "chat.update", row.failures, self._budget)
        except (Transient, Permanent) as error:
            return after(error, "chat.update", row.failures, self._budget)
        self._counted.pop(row.id, None)
        if seen.targets:
            self._counted[row.id] = (seen.version, seen.targets)
        return Shown(row.ts, seen.version)

    def _post(self, row: DrawingRow, seen: _Seen) -> Outcome:
        if not row.place:
            return self._elsewhere(row, seen.rotation, None)
        try:
            if may_be_posted(row):
                if self._identity.workspace is None:
                    return Later(1.0, "nobody knows yet who we are in Slack, so what was posted cannot be looked for")
                found = self._find(row, seen)
                if found:
                    return Shown(found)  # drawn as of nothing: it is edited next
            wait = self._budget.post(row.place)
            if wait:
                return Later(wait, row.note)
            return Shown(post(self._api, row.place, seen.message, thread=seen.parent), seen.version)
        except SlackRefused as error:
            if error.error in CLOSED:
                return self._elsewhere(row, seen.rotation, error)
            return after(error, "chat.postMessage", row.failures, self._budget)
        except (Transient, Permanent) as error:
            return after(error, "chat.postMessage", row.failures, self._budget)

    def _find(self, row: DrawingRow, seen: _Seen) -> str:
        """An earlier try died or heard no answer: look before posting again."""
        home = self._identity.workspace
        if home is None:
            return ""
        return find(self._api, row.place, seen.message.metadata, home.bot_user, thread=seen.parent)

    def _elsewhere(self, row: DrawingRow, rotation: Rotation, error: SlackRefused | None) -> Outcome:
        """The channel does not take it: the requester gets it as a direct message, with a note why."""
        if error is not None and row.form in OF_INCIDENT:
            lose_channel(self._database, row.rotation, error.error)
            return Dropped(f"the incident's channel is closed ({error.error})")
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


def _of_incident(reader: Reader, row: DrawingRow, rotation: Rotation, incident: Incident, scene: Scene) -> Message:
    if row.form == "status":
        return incident_cards.status(rotation, incident, scene, reader.now)
    view = view_of(reader, incident, rotation)
    if row.form == "timeline":
        return incident_cards.timeline(rotation, view.timeline)
    ending = incident_cards.Ending(view.summary, view.timeline, view.questions)
    return incident_cards.review(rotation, incident, ending, scene.names)
