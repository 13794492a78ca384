"""Makes an incident's channel what it should be, one small step per turn, each saved before and after Slack is asked.

Whatever Slack refuses is noted and left out; without a channel the incident is followed in the thread of the card.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from bot.contracts.people import Directory
from bot.core.decide import Stale
from bot.core.errors import Permanent, Transient
from bot.core.events import Entry, Event
from bot.core.incident import BOT, Incident
from bot.core.incident_rules import Incidents
from bot.core.rotation import Rotation
from bot.slack.api import SlackApi, SlackRefused
from bot.slack.budget import Budget
from bot.slack.identity import Identity
from bot.slack.incident_cards import topic
from bot.slack.incident_place import channel_name, follow_in_thread
from bot.slack.names import Roster
from bot.slack.outcomes import Dropped, Later, Outcome, Shown, after
from bot.slack.threads import GIVEN_UP, main_card
from bot.store.database import Database
from bot.store.records import DrawingRow

MOST_NAMES_TRIED = 3
MOST_AT_ONCE = 30
MOST_INVITED = 200
MOST_PAGES = 20
AGAIN = Later(0.0)
"""There is more to do, at the next turn."""
_TOKEN_GONE = frozenset({"invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive"})
"""Refusals that are about the installation, not about the channel: they may pass."""
_OF_A_PERSON = frozenset(
    {
        "user_not_found",
        "cant_invite",
        "cant_invite_self",
        "already_in_channel",
        "user_is_restricted",
        "ura_max_channels",
        "no_external_invite_permission",
        "invitee_cant_see_channel",
        "org_user_not_in_team",
        "user_disabled",
    }
)
_CHANNEL_GONE = frozenset({"is_archived", "channel_not_found", "not_in_channel"})


class IncidentRoom:
    """Reconciles one channel from the incident's row. `rules` are the settings; `groups` the names that are groups."""

    def __init__(
        self,
        database: Database,
        api: SlackApi,
        identity: Identity,
        budget: Budget,
        names: Roster,
        directory: Directory,
        rules: Incidents,
        groups: Collection[str],
    ) -> None:
        self._database = database
        self._api = api
        self._identity = identity
        self._budget = budget
        self._names = names
        self._directory = directory
        self._rules = rules
        self._groups = frozenset(groups)

    def draw(self, row: DrawingRow) -> Outcome:
        """Do the next thing that is missing; `Shown` when nothing is."""
        with self._database.read() as reader:
            rotation, incident = reader.rotation(row.rotation), reader.incident(row.rotation)
            drawings = reader.drawings(row.rotation)
        if rotation is None or incident is None:
            return Dropped("there is no such incident")
        try:
            if not incident.place and not incident.place_note:
                return self._open(row, incident, drawings)
            return self._furnish(row, rotation, incident, drawings) or Shown("", row.wanted)
        except Stale:
            return AGAIN  # somebody changed the incident meanwhile: look anew
        except (Transient, Permanent) as error:
            return after(error, getattr(error, "method", "conversations.create"), row.failures, self._budget)

    # --- the channel itself -------------------------------------------------------------------------------------------

    def _open(self, row: DrawingRow, incident: Incident, drawings: list[DrawingRow]) -> Outcome:
        """Make the channel, or find the one that an earlier try made without our hearing of it."""
        room = dict(incident.room)
        attempt = int(room.get("attempt", 1))
        name = channel_name(self._rules.prefix, incident, attempt)
        wait = self._budget.call("conversations.create")
        if wait:
            return Later(wait)
        asked = bool(room.get("asked"))
        incident = self._save(incident, room={**room, "attempt": attempt, "name": name, "asked": True})
        try:
            found = self._api.call("conversations.create", name=name, is_private=incident.private)
        except SlackRefused as error:
            if error.error in _TOKEN_GONE:
                raise
            if error.error == "name_taken":
                return self._taken(row, incident, name, drawings, asked=asked)
            return self._without(incident, drawings, f"Slack made no channel ({error.error})")
        except Transient as error:
            return after(error, "conversations.create", row.failures, self._budget)
        channel = found.get("channel")
        place = str(channel.get("id") or "") if isinstance(channel, Mapping) else ""
        if not place:
            return self._without(incident, drawings, "Slack named no channel")
        return self._settle(incident, place, name)

    def _taken(
        self, row: DrawingRow, incident: Incident, name: str, drawings: list[DrawingRow], *, asked: bool
    ) -> Outcome:
        """The name is taken: by ourselves, where an earlier try may have made it, or by somebody else."""
        if asked:
            try:
                ours = self._ours(name, private=incident.private)
            except SlackRefused as error:
                told = f"a channel {name} exists, and Slack does not say whose it is ({error.error})"
                return self._without(incident, drawings, told)
            except Transient as error:
                return after(error, "conversations.list", row.failures, self._budget)
            if ours:
                return self._settle(incident, ours, name)
        attempt = int(incident.room.get("attempt", 1))
        if attempt >= MOST_NAMES_TRIED:
            return self._without(incident, drawings, f"the names {name} and those before it are taken")
        self._save(incident, room={**incident.room, "attempt": attempt + 1, "asked": False})
        return AGAIN

    def _ours(self, name: str, *, private: bool) -> str:
        """The id of the channel of that name that this bot made; empty where somebody else made it."""
        home = self._identity.workspace
        cursor = ""
        for _ in range(MOST_PAGES):
            found = self._api.call(
                "conversations.list",
                types="private_channel" if private else "public_channel",
                exclude_archived=True,
                limit=1000,
                cursor=cursor or None,
            )
            for one in found.get("channels") or ():
                if isinstance(one, Mapping) and one.get("name") == name:
                    mine = home is not None and one.get("creator") == home.bot_user
                    return str(one.get("id") or "") if mine else ""
            cursor = str((found.get("response_metadata") or {}).get("next_cursor") or "")
            if not cursor:
                break
        return ""

    def _settle(self, incident: Incident, place: str, name: str) -> Outcome:
        """The channel is there: from now on everything is said in it."""
        entry = Entry(Event.INCIDENT_PLACE, BOT, incident.id, incident.credential, {"place": name, "channel": place})
        with self._database.begin() as tx:
            tx.add_drawing(incident.number, "status", place, 1, urgent=True)
            tx.save_incident(incident, replace(incident, place=place, place_note=""), entry)
        return AGAIN

    def _without(self, incident: Incident, drawings: list[DrawingRow], why: str) -> Outcome:
        """No channel: the thread of the card takes its place."""
        with self._database.begin() as tx:
            follow_in_thread(tx, incident, drawings, why)
        return AGAIN

    # --- what is in it ------------------------------------------------------------------------------------------------

    def _furnish(
        self, row: DrawingRow, rotation: Rotation, incident: Incident, drawings: list[DrawingRow]
    ) -> Outcome | None:
        """The next thing that is missing; None when nothing is."""
        place = self._place(incident, drawings)
        if place and not any(one.form == "status" and one.place == place for one in drawings):
            with self._database.begin() as tx:
                tx.add_drawing(incident.number, "status", place, 1, urgent=True)
            return AGAIN
        if place and (rotation.is_over or not incident.is_open):
            forms = {one.form for one in drawings if one.place == place}
            if not {"timeline", "review"} <= forms:
                with self._database.begin() as tx:
                    for form in ("timeline", "review"):
                        tx.add_drawing(incident.number, form, place, 1)
                return AGAIN
        if not incident.place:
            return None
        for step in (self._topic, self._groups_read, self._invite, self._pin, self._bookmark, self._runbook):
            outcome = step(row, rotation, incident, drawings)
            if outcome is not None:
                return outcome
        return None

    @staticmethod
    def _place(incident: Incident, drawings: list[DrawingRow]) -> str:
        card = main_card(drawings)
        return incident.place or (card.place if card is not None else "")

    def _topic(self, row: DrawingRow, rotation: Rotation, incident: Incident, _: list[DrawingRow]) -> Outcome | None:
        wanted = topic(rotation, incident, self._names)
        if incident.room.get("topic") == wanted or _refused(incident, "conversations.setTopic"):
            return None
        return self._call(
            row, incident, "conversations.setTopic", {"topic": wanted}, channel=incident.place, topic=wanted
        )

    def _groups_read(
        self, row: DrawingRow, rotation: Rotation, incident: Incident, _: list[DrawingRow]
    ) -> Outcome | None:
        """Who is in the groups that are invited, read once and kept."""
        named = [rotation.plan.owner if one == "owner" else one for one in self._rules.invite]
        wanted = [one for one in named if one in self._groups]
        known = incident.room.get("groups")
        missing = [one for one in wanted if one not in (known if isinstance(known, Mapping) else {})]
        if not missing:
            return None
        read = self._directory.groups(missing)
        found = {name: sorted(members) for name, members in read.items() if members is not None}
        if not found and row.failures < 5:
            return Later(5.0, "a group that is to be invited cannot be read", failed=True)
        found |= {name: [] for name in missing if name not in found}
        self._save(incident, room={**incident.room, "groups": {**(known or {}), **found}})
        return AGAIN

    def _invite(self, row: DrawingRow, rotation: Rotation, incident: Incident, _: list[DrawingRow]) -> Outcome | None:
        if _refused(incident, "conversations.invite"):
            return None
        invited = dict(incident.room.get("invited") or {})
        missing = [user for user in self._guests(rotation, incident) if user not in invited][:MOST_INVITED]
        if not missing:
            return None
        singly = bool(incident.room.get("singly"))
        some = missing[: 1 if singly else MOST_AT_ONCE]
        wait = self._budget.call("conversations.invite")
        if wait:
            return Later(wait)
        try:
            found = self._api.call("conversations.invite", channel=incident.place, users=",".join(some), force=True)
        except SlackRefused as error:
            if error.error in _CHANNEL_GONE - {"not_in_channel"}:
                return self._lost(incident, error)
            if error.error in _OF_A_PERSON and len(some) > 1:
                self._save(incident, room={**incident.room, "singly": True})
            elif error.error in _OF_A_PERSON:
                told = "" if error.error == "already_in_channel" else error.error
                self._save(incident, room={**incident.room, "invited": {**invited, some[0]: told}})
            else:
                return self._note_refusal(incident, error)
            return AGAIN
        except Transient as error:
            return after(error, "conversations.invite", row.failures, self._budget)
        problems = {
            str(one.get("user")): str(one.get("error") or "refused")
            for one in found.get("errors") or ()
            if isinstance(one, Mapping) and one.get("error") != "already_in_channel"
        }
        self._save(incident, room={**incident.room, "invited": {**invited, **{u: problems.get(u, "") for u in some}}})
        return AGAIN

    def _guests(self, rotation: Rotation, incident: Incident) -> list[str]:
        """Slack ids of everybody who belongs there, each once: those who lead first."""
        groups = incident.room.get("groups") or {}
        people = [incident.commander, incident.scribe, incident.opened_by, incident.solo]
        people += [vote.person for vote in rotation.votes]
        people += list(rotation.eligible or ())
        for name in self._rules.invite:
            one = rotation.plan.owner if name == "owner" else name
            people += groups.get(one, []) if one in self._groups else [one]
        return list(dict.fromkeys(user for person in people if person and (user := self._names.user(person))))

    def _pin(
        self, row: DrawingRow, rotation: Rotation, incident: Incident, drawings: list[DrawingRow]
    ) -> Outcome | None:
        found = next((one for one in drawings if one.form == "status" and one.place == incident.place), None)
        if found is None or found.drawn >= GIVEN_UP or _refused(incident, "pins.add"):
            return None
        if not found.ts:
            return Later(1.0, "waits for the status message")
        if incident.room.get("pinned") == found.ts:
            return None
        return self._call(
            row, incident, "pins.add", {"pinned": found.ts}, fine="already_pinned",
            channel=incident.place, timestamp=found.ts,
        )  # fmt: skip

    def _bookmark(
        self, row: DrawingRow, rotation: Rotation, incident: Incident, drawings: list[DrawingRow]
    ) -> Outcome | None:
        """A bookmark to the card, below which the history is."""
        card = main_card(drawings)
        if card is None or not card.ts or incident.room.get("bookmark") or _refused(incident, "bookmarks.add"):
            return None
        link = str(incident.room.get("link") or "")
        if not link:
            if _refused(incident, "chat.getPermalink"):
                return None
            return self._link(row, incident, card)
        title = f"Card and history of {incident.id}"
        return self._call(
            row, incident, "bookmarks.add", {"bookmark": title},
            channel_id=incident.place, title=title, type="link", link=link,
        )  # fmt: skip

    def _runbook(self, row: DrawingRow, rotation: Rotation, incident: Incident, _: list[DrawingRow]) -> Outcome | None:
        """A bookmark to the runbook, where the settings say at which address people read it."""
        name = rotation.plan.page or rotation.plan.runbook
        link = self._rules.address_of(name)
        if not link or incident.room.get("runbook") or _refused(incident, "bookmarks.add"):
            return None
        return self._call(
            row, incident, "bookmarks.add", {"runbook": link},
            channel_id=incident.place, title=f"Runbook {name}", type="link", link=link,
        )  # fmt: skip

    def _link(self, row: DrawingRow, incident: Incident, card: DrawingRow) -> Outcome:
        try:
            found = self._api.call("chat.getPermalink", channel=card.place, message_ts=card.ts)
        except SlackRefused as error:
            return self._note_refusal(incident, error)
        except Transient as error:
            return after(error, "chat.getPermalink", row.failures, self._budget)
        link = str(found.get("permalink") or "")
        if not link.startswith("https://") and not link.startswith("http://"):
            return self._note_refusal(incident, SlackRefused("chat.getPermalink", "no_link"))
        self._save(incident, room={**incident.room, "link": link})
        return AGAIN

    # --- shared -------------------------------------------------------------------------------------------------------

    def _call(
        self,
        row: DrawingRow,
        incident: Incident,
        method: str,
        done: Mapping[str, Any],
        fine: str = "",
        **arguments: Any,
    ) -> Outcome:
        """Call once, and note in the room that it is done, or that Slack does not allow it."""
        wait = self._budget.call(method)
        if wait:
            return Later(wait)
        try:
            self._api.call(method, **arguments)
        except SlackRefused as error:
            if error.error in _CHANNEL_GONE - {"not_in_channel"}:
                return self._lost(incident, error)
            if error.error != fine:
                return self._note_refusal(incident, error)
        except Transient as error:
            return after(error, method, row.failures, self._budget)
        self._save(incident, room={**incident.room, **done})
        return AGAIN

    def _note_refusal(self, incident: Incident, error: SlackRefused) -> Outcome:
        if error.error in _TOKEN_GONE:
            raise error
        refused = {**(incident.room.get("refused") or {}), error.method: error.error}
        self._save(incident, room={**incident.room, "refused": refused})
        return AGAIN

    def _lost(self, incident: Incident, error: SlackRefused) -> Outcome:
        """Somebody archived or deleted the channel: go on in the thread of the card."""
        with self._database.begin() as tx:
            follow_in_thread(tx, incident, tx.drawings(incident.number), f"its channel is closed ({error.error})")
        return AGAIN

    def _save(self, incident: Incident, *, room: Mapping[str, Any]) -> Incident:
        with self._database.begin() as tx:
            return tx.save_incident(incident, replace(incident, room=room))


def _refused(incident: Incident, method: str) -> bool:
    return method in (incident.room.get("refused") or {})
