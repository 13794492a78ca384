"""What Slack delivers becomes an intent here: checked, stored, acknowledged. No Web API call comes before an ack."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from slack_bolt import Ack, App, BoltRequest, BoltResponse
from slack_bolt.middleware import Middleware

from bot.contracts.command import Call, Need, Rotations
from bot.contracts.people import Directory
from bot.core.errors import Ambiguous, KeyturnError, Refused
from bot.core.suspicion import looks_like_secret
from bot.core.words import rotation_number
from bot.engine.intake import AGAIN, FOREIGN, Heard, Intake, Receipt
from bot.slack import forms, incident_forms
from bot.slack.acks import ack_with, said, subject
from bot.slack.answers import answer, refusal
from bot.slack.api import SlackApi, SlackRefused
from bot.slack.buttons import Bound, read_action, typed_for
from bot.slack.cards import Message
from bot.slack.choices import choices
from bot.slack.credential_forms import ACTION, WITH_FORM, form, target
from bot.slack.deliveries import (
    STEP_RUN,
    Body,
    Malformed,
    account_of,
    clean,
    click_key,
    command_key,
    enterprise_of,
    event_key,
    form_id,
    ident,
    stamp,
    team_of,
    user_of,
    within,
)
from bot.slack.flood import Flood
from bot.slack.identity import Identity
from bot.slack.lane import Lane
from bot.slack.places import direct
from bot.slack.signing import CONFIRMS, needs_signature, sign
from bot.slack.submissions import Submissions
from bot.slack.text import count
from bot.slack.workflows import Workflows
from bot.store.database import Database

log = logging.getLogger(__name__)
NOT_STORED = (
    "keyturn could not store what you asked for, so nothing was done. Try again in a minute; if it goes on, its host "
    "has the log."
)
BUTTONED = frozenset({"card", "status", "review"})
"""Forms of our messages that carry buttons."""
OF_NOBODY = frozenset({"subteam_members_changed", STEP_RUN})
"""Events that may name nobody who did it."""
_OURS = re.compile(r"rotate:.*")
Read = TypeVar("Read")
_MENTION = re.compile(r"<@[UW][A-Z0-9]+(?:\|[^<>]*)?>")


class NotStored(Exception):
    """The intent is not durable, so the delivery must not be acknowledged."""


class _Guard(Middleware):
    """A middleware that Bolt calls without looking up named arguments: every delivery passes it."""

    def __init__(self, judge: Callable[[Body, Callable[[], BoltResponse]], BoltResponse]) -> None:
        self._judge = judge

    def process(self, *, req: BoltRequest, resp: BoltResponse, next: Callable[[], BoltResponse]) -> BoltResponse:
        """Let it through, or answer."""
        return self._judge(req.body, next)


class Listeners:
    """The handlers of every surface; `attach` gives them to a Bolt app."""

    def __init__(
        self,
        intake: Intake,
        rotations: Rotations,
        directory: Directory,
        database: Database,
        commands: Callable[[], Mapping[str, Any]],
        identity: Identity,
        lane: Lane,
        quick: SlackApi,
        flood: Flood,
        home_opened: Callable[[str], None],
        group_changed: Callable[[str], None],
    ) -> None:
        self._intake = intake
        self._rotations = rotations
        self._directory = directory
        self._database = database
        self._commands = commands
        self._identity = identity
        self._lane = lane
        self._quick = quick
        self._flood = flood
        self._home_opened = home_opened
        self._group_changed = group_changed

    def attach(self, app: App) -> None:
        """Register every listener and the error path."""
        app.use(_Guard(self._guard))
        app.command("/rotate")(self._command)
        app.action(_OURS)(self._click)
        app.action(ACTION)(self._about_credential)
        Submissions(self._hear, self._tell, self._checked).attach(app)
        Workflows(self._hear, self._turn_away, self._rotations, self._lane, self._quick).attach(app)
        app.action(re.compile(".*"))(self._foreign_click)
        app.options(forms.CHOICE_FIELD)(self._options)
        app.event("app_home_opened")(self._home)
        app.event("app_mention")(self._mentioned)
        app.event("subteam_members_changed")(self._regrouped)
        app.error(self._failed)

    # --- before every listener ----------------------------------------------------------------------------------------

    def _guard(self, body: Body, next: Callable[[], BoltResponse]) -> BoltResponse:
        """Only our workspace, only so fast; anything else is counted, acknowledged and dropped."""
        try:
            account = account_of(body)
        except Malformed:
            if within(body, "event", "type") not in OF_NOBODY:
                return BoltResponse(status=200, body="")
            account = f"slack:{team_of(body)}/{within(body, 'event', 'type')}"
        home = self._identity.workspace
        if home is None:
            return BoltResponse(status=503, body="")  # not yet known whether this is our workspace
        foreign = team_of(body) != home.team and not (home.enterprise and enterprise_of(body) == home.enterprise)
        if foreign:
            self._flood.refuse(account, FOREIGN)
            return said(body, "This keyturn belongs to another workspace, so nothing was done.")
        wait = self._flood.admit(account)
        if wait and within(body, "event", "type") == STEP_RUN:
            return BoltResponse(status=503, body="")  # a workflow waits for it, so that Slack may bring it again
        if wait:
            return said(body, f"That was too fast, so nothing was done; try again in {count(int(wait), 'second')}.")
        return next()

    def _failed(self, error: Exception, body: dict[str, Any]) -> BoltResponse:
        """No ack without a commit: Slack says that the app failed, and the lane says what to do."""
        if isinstance(error, Malformed):
            return BoltResponse(status=200, body="")
        place = error.__class__.__name__
        log.error("a delivery was not acknowledged: %s", error if isinstance(error, NotStored) else place)
        self._tell(body, NOT_STORED)
        return BoltResponse(status=503, body="")

    # --- slash commands -----------------------------------------------------------------------------------------------

    def _command(self, ack: Ack, body: dict[str, Any]) -> None:
        account, key, channel = account_of(body), command_key(body), ident(body.get("channel_id"))
        trigger = str(body.get("trigger_id", ""))
        text = clean(body.get("text"))
        if not text.strip():
            ack()
            self._open(account, trigger, forms.pick(channel), warm=True)
            return
        heard = Heard(key=key, account=account, text=text, channel=channel, form=form_id(key))
        asked = self._form_for(heard)
        if asked is not None:
            ack()
            self._open(account, trigger, asked)
            return
        try:
            receipt = self._hear(heard)
        except Refused as error:
            ack_with(ack, refusal(str(error)))
            return
        if receipt.answer is not None:
            ack_with(ack, answer(receipt.answer))
            return
        ack()
        if self._has_form(receipt.word) and "yes" not in self._typed_flags(heard):
            self._open(account, trigger, forms.skeleton(subject(text), heard.form))

    def _typed_flags(self, heard: Heard) -> Mapping[str, str]:
        return self._intake.read(heard).flags

    def _has_form(self, word: str) -> bool:
        return bool(getattr(self._commands().get(word), "form", False))

    # --- buttons ------------------------------------------------------------------------------------------------------

    def _click(self, ack: Ack, body: dict[str, Any], action: dict[str, Any]) -> None:
        account, key = account_of(body), click_key(body, action)
        channel = ident(within(body, "channel", "id")) or ident(within(body, "container", "channel_id"))
        try:
            word, about, command, bound = self._checked(account, channel, lambda: self._button(action))
            self._checked(account, channel, lambda: self._own_card(body, bound, channel), bound.rotation)
            modal = self._asked_first(account, word, command, about, bound, channel)
            if modal is not None:
                ack()
                self._open(account, str(body.get("trigger_id", "")), modal)
                return
            args, flags = typed_for(word, about, bound.rotation)
            form = form_id(key) if self._has_form(word) else ""
            binds = {} if form else bound.as_mapping()  # a plan is shown anew, whatever stood above the button
            heard = Heard(key, account, word=word, args=args, flags=flags, channel=channel, bound=binds, form=form)
            receipt = self._hear(heard)
        except Refused as error:
            ack()
            self._tell(body, str(error))
            return
        ack()
        if receipt.answer is not None:
            self._show(account, channel, answer(receipt.answer))
        elif form:
            self._open(account, str(body.get("trigger_id", "")), forms.skeleton(bound.rotation, form))

    def _about_credential(self, ack: Ack, body: dict[str, Any], action: dict[str, Any]) -> None:
        """A button of a reminder: it opens a form, or says a word that decides nothing by itself."""
        account, key = account_of(body), click_key(body, action)
        channel = ident(within(body, "channel", "id")) or ident(within(body, "container", "channel_id"))
        trigger = str(body.get("trigger_id", ""))
        word = str(action.get("action_id", "")).partition(":")[2]
        try:
            about = self._checked(account, channel, lambda: target(clean(action.get("value"))))
            if word not in ("start", "plan"):
                ack()
                self._open(account, trigger, form(word, about, channel))
                return
            heard = Heard(key, account, word=word, args=(about,), channel=channel, form=form_id(key))
            self._hear(heard)
        except Refused as error:
            ack()
            self._tell(body, str(error))
            return
        ack()
        if self._has_form(word):
            self._open(account, trigger, forms.skeleton(about, heard.form))

    def _form_for(self, heard: Heard) -> forms.View | None:
        """The form of a word that was typed with nothing but a credential; None where it is to be heard as it is."""
        try:
            typed = self._intake.read(heard)
            if typed.word in WITH_FORM and len(typed.args) == 1 and not typed.flags and not typed.mentions:
                return None if looks_like_secret(heard.text) else form(typed.word, typed.args[0], heard.channel)
        except Refused:
            pass  # it is refused again where it is heard, with its audit row
        return None

    def _button(self, action: Body) -> tuple[str, str, Any, Bound]:
        """What a button says: the word, its argument, its command, the plan. Raises `Refused` where it is not ours."""
        word, about = read_action(str(action.get("action_id", "")))
        bound = Bound.read(clean(action.get("value")))
        command = self._commands().get(word)
        if command is None:
            raise Refused("This button is of another version of keyturn; use the words: /rotate help.", "gone")
        return word, about, command, bound

    def _asked_first(
        self, account: str, word: str, command: Any, about: str, bound: Bound, channel: str
    ) -> forms.View | None:
        """The modal that a click opens before anything is stored: for a signature, a reason, or a text."""
        vote, reason = getattr(command, "sign", ""), bool(getattr(command, "reason", False))
        if vote:
            with self._database.read() as reader:
                rotation = reader.rotation(rotation_number(bound.rotation) or 0)
            person = self._directory.known(account)
            if rotation is not None and rotation.unconfirmed and person and person.id == rotation.plan.requester:
                vote = CONFIRMS
            if rotation is not None and needs_signature(rotation, vote):
                return sign(rotation, word, vote, bound, channel, reason=reason)
        if reason:
            return forms.reason(word, bound, channel)
        if word == "incident" and about in incident_forms.ASKED:
            return incident_forms.say(about, bound, channel)
        return None

    def _own_card(self, body: Body, bound: Bound, channel: str) -> None:
        """A button counts on a message that we drew for that rotation, and nowhere else: others may look alike."""
        ts, number = stamp(within(body, "container", "message_ts")), rotation_number(bound.rotation) or 0
        with self._database.read() as reader:
            drawing = reader.drawing_at(channel, ts) if channel and ts else None
            if drawing is not None and drawing.rotation == number:
                return
            # Posted a moment ago, or Slack's answer was lost: without its name, nothing tells it from a look-alike.
            cards = [one for one in reader.drawings(number) if one.form in BUTTONED and one.place == channel]
        if drawing is None and not all(one.ts for one in cards):
            raise Refused(
                f"The card of {bound.rotation} is being posted right now; click it once more in a moment.",
                code="card-pending",
            )
        raise Refused(
            f"This is not the card that keyturn keeps for {bound.rotation}, so nothing was done; use its own card, "
            f"or type: /rotate status {bound.rotation}.",
            code="foreign-card",
        )

    def _foreign_click(self, ack: Ack, body: dict[str, Any]) -> None:
        ack()

    # --- choosing a credential ---------------------------------------------------------------------------------------

    def _options(self, ack: Ack, body: dict[str, Any]) -> None:
        """Credentials that match what was typed; only those that the person may see."""
        person = self._directory.known(account_of(body))
        if person is None:
            ack(options=[])
            return
        call = Call("list", Need.SEE, person)
        found = [
            (one.name, one.environment, f"due {one.next_due:%Y-%m-%d}" if one.next_due else "not scheduled")
            for one in choices(self._rotations, call, clean(body.get("value")))
        ]
        ack(options=forms.options(found)["options"])

    # --- events -------------------------------------------------------------------------------------------------------

    def _home(self, ack: Ack, body: dict[str, Any]) -> None:
        ack()
        if within(body, "event", "tab") in (None, "home"):
            self._home_opened(account_of(body))

    def _regrouped(self, ack: Ack, body: dict[str, Any]) -> None:
        """A user group has other members: what is remembered of it is out of date."""
        ack()
        self._group_changed(ident(within(body, "event", "subteam_id")))

    def _mentioned(self, ack: Ack, body: dict[str, Any]) -> None:
        """In a thread no slash command works: questions are answered by the lane, since they store nothing."""
        event = body["event"]
        account, key, channel = account_of(body), event_key(body), ident(event.get("channel"))
        if event.get("bot_id") or not channel:
            ack()
            return
        text = _MENTION.sub(" ", clean(event.get("text")), count=1).strip() or "help"
        heard = Heard(key, account, text=text, channel=channel)
        thread = stamp(event.get("thread_ts")) or stamp(event.get("ts"))
        ack()

        def job() -> None:
            self._directory.person(account)
            said = self._read_only(heard)
            if said is not None:
                self._post_ephemeral(account, channel, said, thread)

        self._lane.submit(job)

    def _read_only(self, heard: Heard) -> Message | None:
        """The answer to a question; None when it was stored, and is answered in the channel."""
        try:
            typed = self._intake.read(heard)
            if not getattr(self._commands()[typed.word], "at_once", False):
                raise Refused(f"In a thread I only answer questions; type: /rotate {typed.word} …", code="mention")
            receipt = self._intake.hear(heard)
        except Refused as error:
            return refusal(str(error))
        return answer(receipt.answer) if receipt.answer is not None else None

    # --- shared -------------------------------------------------------------------------------------------------------

    def _hear(self, heard: Heard) -> Receipt:
        """Store it. A commit of which nobody knows is asked for again: the key makes it one."""
        try:
            try:
                receipt = self._intake.hear(heard)
            except Ambiguous:
                return self._intake.hear(heard)
        except Refused:
            raise
        except KeyturnError as error:
            raise NotStored(str(error)) from None
        if not receipt.fresh:
            self._flood.refuse(heard.account, AGAIN)
        return receipt

    def _turn_away(self, execution: str, account: str, error: Refused) -> None:
        try:
            self._intake.turn_away(execution, account, error)
        except KeyturnError as failure:
            raise NotStored(str(failure)) from None

    def _checked(self, account: str, channel: str, read: Callable[[], Read], about: str = "") -> Read:
        """What somebody sent as ours, read. Raises `Refused` for what no card or form of ours holds, audited."""
        try:
            return read()
        except Refused as error:
            try:
                self._intake.refused(account, error, about, channel=channel)
            except KeyturnError as failure:
                raise NotStored(str(failure)) from None
            raise

    def _open(self, account: str, trigger: str, view: forms.View, *, warm: bool = False) -> None:
        def job() -> None:
            if warm:
                self._directory.person(account)
            try:
                self._quick.call("views.open", trigger_id=trigger, view=view)
            except SlackRefused as error:
                if error.error not in ("duplicate_external_id", "expired_trigger_id", "exchanged_trigger_id"):
                    raise
                log.info("a modal was not opened: %s", error.error)

        if not self._lane.submit(job):
            log.warning("a modal was not opened: too many at once")

    def _tell(self, body: Mapping[str, Any], text: str) -> None:
        """Say something to the person who did it, after the ack, as far as possible."""
        try:
            account = account_of(body)
        except Malformed:
            return
        channel = ident(body.get("channel_id")) or ident(within(body, "channel", "id"))
        self._show(account, channel, refusal(text))

    def _show(self, account: str, channel: str, said: Message) -> None:
        if channel:
            self._lane.submit(lambda: self._post_ephemeral(account, channel, said))
        else:  # a button of the Home tab: there is no channel to whisper in
            self._lane.submit(lambda: self._post_directly(account, said))

    def _post_directly(self, account: str, said: Message) -> None:
        place = direct(self._quick, user_of(account))
        self._quick.call("chat.postMessage", channel=place, text=said.text, blocks=said.blocks)

    def _post_ephemeral(self, account: str, channel: str, said: Message, thread: str = "") -> None:
        self._quick.call(
            "chat.postEphemeral",
            channel=channel,
            user=user_of(account),
            text=said.text,
            blocks=said.blocks,
            thread_ts=thread or None,
        )
