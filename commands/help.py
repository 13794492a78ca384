"""Explain the words.

`help` lists every word; `help start` explains one of them.
"""

from __future__ import annotations

import difflib
import inspect

from bot.contracts.command import Answer, Call, Command, Need, Rotations, Table
from bot.core.errors import Refused

usage = "help [word]"
need = Need.SEE
at_once = True


def run(call: Call, rotations: Rotations) -> Answer:
    """Show all words, or one at length."""
    words = rotations.words()
    if not call.args:
        rows = tuple((command.usage, _first_line(command)) for _, command in sorted(words.items()))
        return Answer(
            "keyturn rotates credentials by runbook. A rotation needs a second person, every step is proven, and the "
            "audit keeps all of it.",
            table=Table(("write", "to"), rows),
            data={name: command.usage for name, command in words.items()},
        )
    word = call.args[0].casefold()
    if word not in words:
        close = difflib.get_close_matches(word, words, n=1)
        advice = f"did you mean {close[0]}?" if close else "help lists every word."
        raise Refused(f"There is no word like that; {advice}", code="unknown-word")
    command = words[word]
    flags = getattr(command, "flags", {})
    table = Table(("flag", "means"), tuple((f"--{name}", text) for name, text in flags.items())) if flags else None
    rest = inspect.cleandoc(command.__doc__ or "")
    return Answer(f"{rest}\n\nWrite: {command.usage}", table=table, data={"usage": command.usage})


def _first_line(command: Command) -> str:
    return (command.__doc__ or "").strip().partition("\n")[0].rstrip(".")
