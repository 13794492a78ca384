"""Modals come back: what was entered becomes an intent, or an error beside the field that it is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from slack_bolt import Ack, App

from bot.core.errors import Refused
from bot.core.suspicion import looks_like_secret
from bot.engine.intake import SIGNATURE, Heard, Receipt
from bot.slack import forms
from bot.slack.credential_forms import FORM, GROUP, CredentialNote, Wrong, typed
from bot.slack.deliveries import account_of, clean, click_key, form_id, ident, view_key
from bot.slack.incident_forms import QUESTION_FIELD, SAY, TEXT_FIELD, SayNote, is_question
from bot.slack.revocation import ORDER_FIELD, REVOKE, RevokeNote
from bot.slack.signing import SIGN, SIGNATURE_FIELD, SignNote

Tell = Callable[[Mapping[str, Any], str], None]
Read = TypeVar("Read")
REASON_BY_WORD = {"own": GROUP}
"""The field beside which a refusal stands, where a form has no reason."""


class Check(Protocol):
    """Reads what somebody sent as ours; what is not is refused and audited."""

    def __call__(self, account: str, channel: str, read: Callable[[], Read], /) -> Read: ...


class Submissions:
    """The handlers of every modal. `hear` stores what was asked for; `tell` says something to one person."""

    def __init__(self, hear: Callable[[Heard], Receipt], tell: Tell, check: Check) -> None:
        self._hear = hear
        self._tell = tell
        self._check = check

    def attach(self, app: App) -> None:
        """Give the handlers to a Bolt app."""
        for callback, handler in (
            (forms.PICK, self._picked),
            (forms.START, self._started),
            (forms.REASON, self._reasoned),
            (REVOKE, self._revoked),
            (SIGN, self._signed),
            (SAY, self._said),
        ):
            app.view(callback)(handler)
        app.view(FORM)(self._about_credential)
        app.action(forms.CHOOSE_ORDER)(self._ordered)

    def _picked(self, ack: Ack, body: dict[str, Any], view: dict[str, Any]) -> None:
        """A credential was chosen: plan it, and show the plan in the same modal."""
        account, key = account_of(body), view_key(body)
        entered = forms.entered(view)
        chosen, reason = entered.get(forms.CREDENTIAL_FIELD, ""), entered.get(forms.REASON_FIELD, "")
        if not isinstance(chosen, str) or not chosen:
            ack(response_action="errors", errors={forms.CREDENTIAL_FIELD: "Choose a credential from the list."})
            return
        form = form_id(key)
        note = str(view.get("private_metadata") or "")
        heard = Heard(
            key,
            account,
            word="start",
            args=(clean(chosen),),
            flags={"reason": clean(reason)} if reason else {},
            channel=ident(note),
            form=form,
        )
        try:
            self._hear(heard)
        except Refused as error:
            ack(response_action="errors", errors={forms.REASON_FIELD: _short(error)})
            return
        ack(response_action="update", view=forms.skeleton(clean(chosen), form))

    def _started(self, ack: Ack, body: dict[str, Any], view: dict[str, Any]) -> None:
        """The plan was seen and the form submitted: ask for the rotation."""
        account, key = account_of(body), view_key(body)
        entered = forms.entered(view)
        ticked = entered.get(forms.BOXES_FIELD, ())
        reason = clean(entered.get(forms.REASON_FIELD, ""))
        try:
            note = self._check(account, "", lambda: forms.StartNote.read(hidden_in(view)))
            heard = Heard(
                key,
                account,
                word="start",
                args=(note.target,),
                flags={"reason": reason} if reason else {},
                channel=note.channel,
                bound={"digest": note.digest, "reason": note.reason},
                confirmed=True,
                ticked=tuple(clean(box) for box in ticked) if isinstance(ticked, tuple) else (),
            )
            self._hear(heard)
        except Refused as error:
            ack(response_action="errors", errors={forms.REASON_FIELD: _short(error)})
            return
        ack(response_action="clear")

    def _ordered(self, ack: Ack, body: dict[str, Any], action: dict[str, Any]) -> None:
        """The other order was chosen in the form of a revocation: its plan comes into the same modal."""
        account, view = account_of(body), body.get("view")
        option = action.get("selected_option")
        order = clean(option.get("value")) if isinstance(option, Mapping) else ""
        ack()
        try:
            note = self._check(account, "", lambda: RevokeNote.read(hidden_in(view)))
            heard = Heard(
                click_key(body, action),
                account,
                word="revoke",
                args=(note.shown.target,),
                flags={"order": order} | ({"reason": note.shown.reason} if note.shown.reason else {}),
                channel=note.shown.channel,
                form=note.form,
            )
            self._hear(heard)
        except Refused as error:
            self._tell(body, str(error))

    def _revoked(self, ack: Ack, body: dict[str, Any], view: dict[str, Any]) -> None:
        """The emergency plan was seen and the form submitted: ask for the second person."""
        account, key = account_of(body), view_key(body)
        entered = forms.entered(view)
        reason, chosen = clean(entered.get(forms.REASON_FIELD, "")), entered.get(ORDER_FIELD)
        field = forms.REASON_FIELD
        try:
            note = self._check(account, "", lambda: RevokeNote.read(hidden_in(view)))
            if not reason.strip():
                raise Refused("Say what is suspected, and why.", code="reason-missing")
            if chosen is not None and chosen != note.order:
                field = ORDER_FIELD
                raise Refused(
                    f"The plan above is still the one for {note.order}. Wait until it shows the other one, or choose "
                    f"{note.order} again.",
                    code="stale-plan",
                )
            heard = Heard(
                key,
                account,
                word="revoke",
                args=(note.shown.target,),
                flags={"reason": reason, "order": note.order},
                channel=note.shown.channel,
                bound={"digest": note.shown.digest, "reason": note.shown.reason},
                confirmed=True,
            )
            self._hear(heard)
        except Refused as error:
            ack(response_action="errors", errors={field: _short(error)})
            return
        ack(response_action="clear")

    def _reasoned(self, ack: Ack, body: dict[str, Any], view: dict[str, Any]) -> None:
        """A word that needs a reason got it."""
        account, key = account_of(body), view_key(body)
        reason = clean(forms.entered(view).get(forms.REASON_FIELD, ""))
        try:
            note = self._check(account, "", lambda: forms.ReasonNote.read(hidden_in(view)))
            if not reason.strip():
                raise Refused("Write a reason; it stands on the card and in the audit.", code="reason-missing")
            heard = Heard(
                key,
                account,
                word=note.word,
                args=(note.bound.rotation,),
                flags={"reason": reason},
                channel=note.channel,
                bound=note.bound.as_mapping(),
            )
            self._hear(heard)
        except Refused as error:
            ack(response_action="errors", errors={forms.REASON_FIELD: _short(error)})
            return
        ack(response_action="clear")

    def _signed(self, ack: Ack, body: dict[str, Any], view: dict[str, Any]) -> None:
        """A vote came back with its signature, which is read strictly; whose it is, a worker finds out."""
        account, key = account_of(body), view_key(body)
        entered = forms.entered(view)
        reason, signature = (clean(entered.get(field, "")) for field in (forms.REASON_FIELD, SIGNATURE_FIELD))
        field = forms.REASON_FIELD if looks_like_secret(reason) else SIGNATURE_FIELD
        try:
            note = self._check(account, "", lambda: SignNote.read(hidden_in(view)))
            if not signature.strip():
                raise Refused("Run the command above on your own machine and paste what it prints.", code="unsigned")
            heard = Heard(
                key,
                account,
                word=note.word,
                args=(note.bound.rotation,),
                flags={SIGNATURE: signature} | ({"reason": reason} if reason else {}),
                channel=note.channel,
                bound=note.bound.as_mapping(),
            )
            self._hear(heard)
        except Refused as error:
            ack(response_action="errors", errors={field: _short(error)})
            return
        ack(response_action="clear")

    def _said(self, ack: Ack, body: dict[str, Any], view: dict[str, Any]) -> None:
        """Somebody noted something in an incident, or answered a question of its review."""
        account, key = account_of(body), view_key(body)
        entered = forms.entered(view)
        text, question = clean(entered.get(TEXT_FIELD, "")), entered.get(QUESTION_FIELD, "")
        try:
            note = self._check(account, "", lambda: SayNote.read(hidden_in(view)))
            if not text.strip():
                raise Refused("Write something; it stands in the timeline and in the audit.", code="text-missing")
            if note.about == "answer" and not is_question(question):
                ack(response_action="errors", errors={QUESTION_FIELD: "Choose the question that it answers."})
                return
            heard = Heard(
                key,
                account,
                word="incident",
                args=(note.bound.rotation,),
                flags=note.flags(text, clean(question)),
                channel=note.channel,
                bound=note.bound.as_mapping(),
            )
            self._hear(heard)
        except Refused as error:
            ack(response_action="errors", errors={TEXT_FIELD: _short(error)})
            return
        ack(response_action="clear")

    def _about_credential(self, ack: Ack, body: dict[str, Any], view: dict[str, Any]) -> None:
        """Snooze, owner or a rotation by hand: read strictly, because people paste the wrong thing into fields."""
        account, key = account_of(body), view_key(body)
        entered = {name: clean(value) for name, value in forms.entered(view).items() if isinstance(value, str)}
        word = str(view.get("callback_id") or "").removeprefix("credential-")
        field = REASON_BY_WORD.get(word, forms.REASON_FIELD)
        try:
            note = self._check(account, "", lambda: CredentialNote.read(hidden_in(view)))
            said, args, flags = typed(word, note, entered)
            field = next((name for name, value in entered.items() if looks_like_secret(value)), field)
            self._hear(Heard(key, account, word=said, args=args, flags=flags, channel=note.channel))
        except Wrong as wrong:
            ack(response_action="errors", errors={wrong.field: str(wrong)[:300]})
            return
        except Refused as error:
            ack(response_action="errors", errors={field: _short(error)})
            return
        ack(response_action="clear")


def hidden_in(view: Any) -> str:
    """What a view remembers without showing it."""
    return str((view if isinstance(view, Mapping) else {}).get("private_metadata") or "")


def _short(error: Refused) -> str:
    return str(error)[:300]
