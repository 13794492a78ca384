"""What people do by hand, in consoles and portals without an API: recorded, never carried out."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from pydantic import AfterValidator, Field

from bot.contracts.adapter import Effect, Model, Observed, Operation, Outputs, Present, Run, Secrets
from bot.core.suspicion import looks_like_secret


def _harmless(text: str) -> str:
    kind = looks_like_secret(text)
    if kind is not None:
        raise ValueError(f"this looks like {kind}; give the id of what was made, never its value")
    if not text.isprintable():
        raise ValueError("write one line of plain text")
    return text


Line = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_harmless)]


class Config(Model):
    """Nothing to configure."""


class Client:
    """Contacts nobody."""

    def __init__(self, config: Config, secrets: Secrets) -> None:
        """Keep nothing."""

    def access(self, permissions: Collection[str], run: Run) -> Collection[str]:
        """People have their own permissions."""
        return ()


class Record(Operation):
    """Keep what a person made by hand: a public id, a ticket, an address. Later steps refer to it by `reference`."""

    effect = Effect.READS
    outputs = ("what", "reference")

    class Params(Model):
        what: Line
        """What was done, in a few words."""
        reference: Line
        """Its public id."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        return Present({"what": p.what, "reference": p.reference})

    def ensure(self, p: Params, run: Run) -> Outputs:
        return {"what": p.what, "reference": p.reference}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        """Nothing: whoever did it by hand undoes it by hand."""
