"""What people ask for comes in here: checked, stored with its audit row. Nothing here waits or calls out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bot.contracts.command import Answer, Call, Need, Rotations
from bot.contracts.people import Directory
from bot.core.ballot import look_at, parse_signature
from bot.core.errors import Permanent, Refused
from bot.core.events import Entry, Event
from bot.core.suspicion import looks_like_secret
from bot.core.words import Typed, parse, rotation_number
from bot.store.database import Database
from bot.store.reading import Reader

SIGNATURE = "signature"
"""The flag under which a signature travels."""
WORKFLOW = "workflow"
"""The surface of a workflow's step: its answer goes back to the workflow, so that it is always stored first."""
AGAIN, FOREIGN = "again", "foreign"
"""Why a delivery was not listened to, as floods are counted, beside its pace."""
TOO_FAST = "too fast"
_WHY = {AGAIN: "delivered before", FOREIGN: "of another workspace"}


@dataclass(frozen=True, slots=True)
class Heard:
    """One thing that a person did: typed words, clicked a button, submitted a form."""

    key: str
    """Names the delivery; the second one with the same key changes nothing."""
    account: str
    """`slack:T1/U1` or `os:alice`."""
    text: str = ""
    """What was typed after the command; empty when `word` says it."""
    word: str = ""
    args: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    """Beside those in `text`. `signature` is a field of its own, read strictly; nobody types it as a flag."""
    channel: str = ""
    surface: str = "slack"
    bound: Mapping[str, str] = field(default_factory=dict)
    confirmed: bool = False
    ticked: tuple[str, ...] = ()
    form: str = ""
    """External id of a modal that was opened for the answer; of a workflow's step, its execution."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of it: an answer now, or the number under which it is stored."""

    answer: Answer | None = None
    number: int = 0
    fresh: bool = True
    word: str = ""


BOUND = frozenset({"approve", "reject", "contain"})
"""Words that consent to a plan: typed, they mean the plan that stands there at the moment of receipt."""


class Intake:
    """The door. `rotations` is used for words that only read."""

    def __init__(
        self,
        database: Database,
        commands: Callable[[], Mapping[str, Any]],
        rotations: Rotations,
        directory: Directory,
    ) -> None:
        self._database = database
        self._commands = commands
        self._rotations = rotations
        self._directory = directory

    def read(self, heard: Heard) -> Typed:
        """What the person means, without storing anything. Raises `Refused` with the way out."""
        commands = self._commands()
        if heard.word:
            typed = Typed(word=heard.word, args=heard.args, flags=dict(heard.flags))
        else:
            flags = {word: getattr(command, "flags", {}) for word, command in commands.items()}
            typed = parse(heard.text, flags)
            typed = replace(typed, flags={**typed.flags, **heard.flags})
        if typed.word not in commands:
            raise Refused(f"There is no word {typed.word[:40]!r}; see them all with: help.", code="unknown-word")
        return typed

    def hear(self, heard: Heard) -> Receipt:
        """Answer a word that only reads, or store the intent. When this returns, what was asked for is durable.

        Raises `Refused` with one sentence for the person, audited where it matters; nothing was stored then.
        Raises `Permanent` when the database cannot be written: do not acknowledge.
        """
        self._refuse_secrets(heard)
        typed = self._read_signature(heard, self.read(heard))
        command = self._commands()[typed.word]
        if getattr(command, "at_once", False) and heard.surface != WORKFLOW:
            person = self._directory.known(heard.account)
            if person is not None:
                call = Call(typed.word, command.need, person, typed.args, typed.flags, heard.channel, heard.surface)
                return Receipt(answer=command.run(call, self._rotations), word=typed.word)
        return self._store(heard, typed)

    def refused(
        self, account: str, error: Refused, about: str = "", *, surface: str = "slack", channel: str = ""
    ) -> None:
        """Audit what was refused before it could be heard: a button or a form that is none of ours, or was edited."""
        detail = {"code": error.code, "because": str(error), "surface": surface, "channel": channel}
        with self._database.begin() as tx:
            tx.audit(Entry(Event.REFUSED, account, rotation=about, detail=detail))

    def turn_away(self, execution: str, account: str, error: Refused) -> None:
        """End a workflow's step that could not be heard: its workflow is told why, once."""
        detail = {"code": error.code, "because": str(error), "surface": WORKFLOW}
        with self._database.begin() as tx:
            if tx.add_notice(step_key(execution), "", "", str(error), {"execution": execution, "error": str(error)}):
                tx.audit(Entry(Event.REFUSED, account, detail=detail))

    def flooded(self, source: str, count: int) -> None:
        """One audit row for many refused requests of one source, which may be named after why: `foreign slack:…`."""
        why, _, account = source.rpartition(" ")
        with self._database.begin() as tx:
            tx.audit(Entry(Event.FLOOD, account, detail={"refused": count, "why": _WHY.get(why, why) or TOO_FAST}))

    def forged(self, source: str, count: int, why: str) -> None:
        """One audit row for many requests that were not Slack's."""
        with self._database.begin() as tx:
            tx.audit(Entry(Event.FLOOD, source, detail={"forged": count, "why": why}))

    @staticmethod
    def _newest(reader: Reader, args: tuple[str, ...]) -> int | None:
        """The rotation that a credential's name stands for, as the use cases will find it too."""
        name, _, environment = args[0].partition("@") if args else ("", "", "")
        found = reader.newest_rotation(name, environment or None) if name else None
        return found.number if found is not None else None

    def _store(self, heard: Heard, typed: Typed) -> Receipt:
        subject = rotation_number(typed.args[0]) if typed.args else None
        with self._database.begin(quiet=True) as tx:
            bound = dict(heard.bound)
            if not bound and typed.word in BOUND:
                meant = subject if subject is not None else self._newest(tx, typed.args)
                bound = dict(tx.binding(meant) or {}) if meant is not None else {}
            payload = {
                "args": list(typed.args),
                "flags": dict(typed.flags),
                "bound": bound,
                "confirmed": heard.confirmed or typed.flags.get("yes") == "yes",
                "ticked": list(heard.ticked),
                "form": heard.form,
            }
            row, fresh = tx.add_intent(
                key=heard.key,
                word=typed.word,
                person=heard.account,
                channel=heard.channel,
                surface=heard.surface,
                subject=f"R-{subject}" if subject is not None else " ".join(typed.args[:1]),
                payload=payload,
            )
            if fresh:
                detail = {
                    "intent": row.number,
                    "word": typed.word,
                    "args": list(typed.args),
                    "flags": _named(typed.flags),
                    "surface": heard.surface,
                    "channel": heard.channel,
                    "plan": bound.get("digest", ""),
                }
                rotation = f"R-{subject}" if subject is not None else ""
                tx.audit(Entry(Event.INTENT, heard.account, rotation=rotation, detail=detail))
        return Receipt(number=row.number, fresh=fresh, word=typed.word)

    def _read_signature(self, heard: Heard, typed: Typed) -> Typed:
        """The same with its signature in canonical form. Raises `Refused` for what is none, audited, not stored."""
        given = typed.flags.get(SIGNATURE, "")
        rest = {name: value for name, value in typed.flags.items() if name != SIGNATURE}
        if not given.strip():
            return replace(typed, flags=rest)
        try:
            return replace(typed, flags={**rest, SIGNATURE: parse_signature(given)})
        except Refused as error:
            with self._database.begin() as tx:
                detail = {"code": error.code, "field": SIGNATURE, "surface": heard.surface}
                tx.audit(Entry(Event.REFUSED, heard.account, detail=detail))
            raise

    def _refuse_secrets(self, heard: Heard) -> None:
        # a signature has a reader of its own, which is stricter
        flags = [value for name, value in heard.flags.items() if name != SIGNATURE]
        for text in (heard.text, *heard.args, *flags):
            kind = looks_like_secret(text)
            if kind is None:
                continue
            detail = {"code": "secret-typed", "kind": kind, "surface": heard.surface}
            with self._database.begin() as tx:
                tx.audit(Entry(Event.REFUSED, heard.account, detail=detail))
            raise Refused(
                f"That looks like {kind}, so I did not keep it. Treat it as leaked: delete your message if it is "
                f"visible and rotate it. Values go in on a terminal, never in Slack.",
                code="secret-typed",
            )


def step_key(execution: str) -> str:
    """The key of the one notice that may end a workflow's step."""
    return f"step-{execution}"


def _named(flags: Mapping[str, str]) -> dict[str, str]:
    """For the audit of an intent: of a signature the key's name, because the vote's own row holds all of it."""
    return {name: look_at(value).fingerprint if name == SIGNATURE else value for name, value in flags.items()}


def need_of(command: Any) -> Need:
    """The right that a command module declares; raises `Permanent` for a module that declares none."""
    need = getattr(command, "need", None)
    if not isinstance(need, Need):
        raise Permanent(f"{getattr(command, '__name__', 'a command')} declares no need", "add need = Need.…")
    return need
