"""Sends one notice: an answer to a person, the form that waits for a plan, or word in the thread of a card."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from bot.contracts.command import Answer
from bot.core.errors import Permanent, Transient
from bot.core.incident import Incident
from bot.engine.arrivals import route
from bot.engine.recipients import Recipients
from bot.engine.worker import of_json
from bot.slack import forms
from bot.slack.answers import answer, refusal
from bot.slack.api import SlackApi, SlackRefused
from bot.slack.blocks import section
from bot.slack.budget import Budget
from bot.slack.cards import Message
from bot.slack.completion import StepEnder
from bot.slack.deliveries import user_of
from bot.slack.identity import Identity
from bot.slack.incident_place import lose_channel
from bot.slack.names import Roster
from bot.slack.outcomes import Dropped, Forwarded, Later, Outcome, Shown, after, may_be_posted
from bot.slack.places import BAD_BLOCKS, CLOSED, direct, find, post, whisper
from bot.slack.reminders import draw, reminds
from bot.slack.revocation import revoke
from bot.slack.text import MOST_TEXT, escape, sentence
from bot.slack.threads import COPY, main_card
from bot.store.database import Database
from bot.store.records import NoticeRow

FORM_TRIES = 8
MOST_FAILURES = 30
ROOM_TRIES = 10
"""For how many seconds word of an incident waits for its channel, before it goes to the thread of the card."""


class Teller:
    """Sends notices. `with_form` names the words whose answer goes into the modal that was opened for it."""

    def __init__(
        self,
        database: Database,
        api: SlackApi,
        identity: Identity,
        budget: Budget,
        names: Roster,
        with_form: Callable[[], Collection[str]],
        ender: StepEnder,
        recipients: Callable[[], Recipients],
    ) -> None:
        self._recipients = recipients
        self._ender = ender
        self._database = database
        self._api = api
        self._identity = identity
        self._budget = budget
        self._names = names
        self._with_form = with_form

    def tell(self, row: NoticeRow) -> Outcome:
        """Send it once; say what became of it."""
        if row.failures > MOST_FAILURES:
            return Dropped(f"given up after {row.failures} failures: {row.note}"[:300])
        if row.payload.get("execution"):
            return self._ender.tell(row)
        reached = route(self._recipients, row.payload)
        if reached is not None:
            known = bool(reached.to) or not reached.finding
            return Forwarded(reached.to) if known else Dropped(f"nobody can be told: {reached.finding}"[:300])
        try:
            if not row.person:
                return self._announce(row)
            return self._answer(row)
        except SlackRefused as error:
            if error.error in CLOSED | {"user_not_found", "user_disabled", "user_not_visible"}:
                return Dropped(error.error)
            return after(error, "chat.postMessage", row.failures, self._budget)
        except (Transient, Permanent) as error:
            return after(error, "chat.postMessage", row.failures, self._budget)

    # --- to one person ------------------------------------------------------------------------------------------------

    def _answer(self, row: NoticeRow) -> Outcome:
        if reminds(row.payload):
            return self._to_person(row, self._reminder(row))
        said = _read(row.payload, row.text)
        form = str(row.payload.get("form") or "")
        if form and row.payload.get("word") in self._with_form():
            filled = self._fill(row, form, said)
            if filled is not None:
                return filled
        return self._to_person(row, answer(said) if said.good else refusal(said.text))

    def _fill(self, row: NoticeRow, form: str, said: Answer) -> Outcome | None:
        """Put the plan or the refusal into the modal; None when the modal is not there (any more)."""
        if said.draft is not None:
            if said.draft.plan.emergency:
                view = revoke(said.draft, row.channel, form)
            else:
                view = forms.start(said.draft, row.channel, self._names)
        elif not said.good:
            view = forms.problem(said.text)
        else:
            return None
        try:
            self._api.call("views.update", external_id=form, view=view)
        except SlackRefused as error:
            if error.error == "not_found" and row.failures < FORM_TRIES:
                return Later(0.25, "the modal is not open yet", failed=True)
            if error.error not in {"not_found", "hash_conflict", "view_too_large", "invalid_arguments"} | BAD_BLOCKS:
                raise
            return None
        return Shown("")

    def _to_person(self, row: NoticeRow, message: Message) -> Outcome:
        named = row.person.startswith(COPY)
        user = self._names.user(row.person.removeprefix(COPY)) if named else user_of(row.person)
        if not user:
            return Dropped("no Slack account is known")
        if row.channel and not named and not row.channel.startswith("D"):
            try:
                whisper(self._api, row.channel, user, message)
                return Shown("")
            except SlackRefused as error:
                if error.error not in CLOSED:
                    raise
        place = direct(self._api, user)
        wait = self._budget.post(place)
        if wait:
            return Later(wait, row.note)
        return self._post_once(row, place, message, "")

    def _reminder(self, row: NoticeRow) -> Message:
        with self._database.read() as reader:
            return draw(reader, row.payload, row.text)

    # --- to everybody -------------------------------------------------------------------------------------------------

    def _announce(self, row: NoticeRow) -> Outcome:
        """Into the channel of the incident, else into the thread of the rotation's card and shown in its channel."""
        text = escape(sentence(row.text), MOST_TEXT)
        message = Message(text, [section(escape(sentence(row.text), 2800))])
        if reminds(row.payload):
            message = self._reminder(row)
        number = row.payload.get("rotation")
        incident, cards, first = None, [], None
        if isinstance(number, int):
            with self._database.read() as reader:
                incident = reader.incident(number) if row.payload.get("incident") else None
                cards = reader.drawings(number)
                first = reader.next_said(number) if incident is not None else None
        if incident is not None and not incident.place and not incident.place_note and row.failures < ROOM_TRIES:
            return Later(1.0, "waits for the incident's channel", failed=True)
        if first is not None and first < row.id:
            return Later(0.5, row.note)  # in the order in which it happened
        if incident is not None and incident.place:
            said = self._in_channel(row, incident, message)
            if said is not None:
                return said
        card = main_card(cards)
        place, thread = (card.place, card.ts) if card is not None else (row.channel, "")
        if card is not None and not thread and row.failures < 10:
            return Later(1.0, "waits for the card", failed=True)
        if not place:
            return Dropped("no channel is declared")
        wait = self._budget.post(place)
        if wait:
            return Later(wait, row.note)
        return self._post_once(row, place, message, thread)

    def _in_channel(self, row: NoticeRow, incident: Incident, message: Message) -> Outcome | None:
        """None where the channel is closed: then it is said on the card's thread, as everything after it."""
        wait = self._budget.post(incident.place)
        if wait:
            return Later(wait, row.note)
        try:
            return self._post_once(row, incident.place, message, "")
        except SlackRefused as error:
            if error.error not in CLOSED:
                raise
            lose_channel(self._database, incident.number, error.error)
            return None

    def _post_once(self, row: NoticeRow, place: str, message: Message, thread: str) -> Outcome:
        metadata = {"event_type": "rotation_notice", "event_payload": {"notice": row.key}}
        message = Message(message.text, message.blocks, metadata)
        home = self._identity.workspace
        if may_be_posted(row):
            if home is None:
                return Later(1.0, "nobody knows yet who we are in Slack, so what was posted cannot be looked for")
            found = find(self._api, place, metadata, home.bot_user, thread=thread)
            if found:
                return Shown(found)
        broadcast = bool(row.payload.get("broadcast"))
        return Shown(post(self._api, place, message, thread=thread, broadcast=broadcast))


def _read(payload: Mapping[str, Any], text: str) -> Answer:
    """The stored answer; the text alone when a newer or older version wrote it."""
    try:
        return of_json(payload)
    except (KeyError, TypeError, ValueError):
        return Answer(text)
