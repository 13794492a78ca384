"""The modal in which people say something of an incident: a note, an answer for the review, what was changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bot.core.errors import Refused
from bot.core.incident import LONGEST_TEXT
from bot.core.review import ASKS, INTEGRITY
from bot.slack import forms
from bot.slack.blocks import Block, option, plain_text, section, text_input
from bot.slack.buttons import Bound
from bot.slack.text import code

SAY, TEXT_FIELD, QUESTION_FIELD = "rotate-say", "text", "question"
ASKED: Mapping[str, tuple[str, str, str]] = {
    "note": ("Note", "What happened?", "Note it"),
    "answer": ("Review", "The answer", "Answer"),
    "fixed": ("What was changed", "What was changed, so that the reminder works from now on?", "Say so"),
}
"""What is asked for: title, question, and what the button says."""
_QUESTIONS = {**ASKS, INTEGRITY: "Is the integrity of data at risk?"}


@dataclass(frozen=True, slots=True)
class SayNote:
    """What the form remembers: what it asks for, and of which incident."""

    about: str
    bound: Bound
    channel: str

    def __str__(self) -> str:
        return f"{self.about} {self.bound} {self.channel or '-'}"

    @classmethod
    def read(cls, text: str) -> SayNote:
        """Read it back; raises `Refused` for what no form of ours says."""
        note = forms.ReasonNote.read(text)
        if note.word not in ASKED:
            raise Refused("This form is not one of keyturn's; use the incident's own message.", code="bad-form")
        return cls(note.word, note.bound, note.channel)

    def flags(self, text: str, question: str) -> dict[str, str]:
        """As the word `incident` takes them."""
        return {"answer": question, "text": text} if self.about == "answer" else {self.about: text}


def say(about: str, bound: Bound, channel: str) -> forms.View:
    """Asks for a text; for the review also which question it answers."""
    title, asks, submit = ASKED[about]
    note = SayNote(about, bound, channel if forms.is_channel(channel) else "-")
    blocks: list[Block] = [section(f"This is about the incident of {code(bound.rotation)}.")]
    if about == "answer":
        choices = [option(name, question) for name, question in _QUESTIONS.items()]
        field: Block = {
            "type": "input",
            "block_id": QUESTION_FIELD,
            "label": plain_text("Question", 2000),
            "element": {"type": "static_select", "action_id": forms.CHOICE_FIELD, "options": choices},
        }
        blocks.append(field)
    hint = "It stands in the timeline and in the audit. Never type a secret."
    blocks.append(text_input(TEXT_FIELD, asks, most=LONGEST_TEXT, hint=hint, multiline=True))
    return forms.modal(title, blocks, submit=submit, callback=SAY, note=str(note))


def is_question(text: object) -> bool:
    """Whether it is a question of the review."""
    return isinstance(text, str) and re.fullmatch(r"[a-z]{1,40}", text) is not None and text in _QUESTIONS
