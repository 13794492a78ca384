"""What the app signs in with."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from playground.workspace.seed import APP_ID


@dataclass(frozen=True)
class Tokens:
    """What the app signs in with; worth something in this workspace only."""

    bot: str
    app: str
    signing_secret: str

    @classmethod
    def new(cls) -> Tokens:
        """Fresh ones."""
        return cls(
            f"xoxb-{secrets.randbelow(10**12):012d}-{secrets.token_hex(12)}",
            f"xapp-1-{APP_ID}-{secrets.randbelow(10**12):012d}-{secrets.token_hex(16)}",
            secrets.token_hex(16),
        )

    def __repr__(self) -> str:
        return "Tokens(...)"
