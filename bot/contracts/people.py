"""Who somebody is, and who is in a group, asked when it counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from bot.core.policy import Person


class Directory(Protocol):
    """Live knowledge of people. The Slack room implements it; the command line has one from the settings alone."""

    def person(self, account: str) -> Person:
        """The person behind an account (`slack:T1/U1`, `os:alice`), looked up now.

        Somebody who cannot be looked up comes back with kind `unknown`, which policy refuses.
        """
        ...

    def groups(self, names: Collection[str]) -> Mapping[str, frozenset[str] | None]:
        """Members (person ids) of each group, read live and coalesced; None where that failed."""
        ...

    def remembered(self, names: Collection[str]) -> Mapping[str, frozenset[str] | None]:
        """The same without asking anybody: what was read lately, None for the rest. For words answered at once."""
        ...

    def known(self, account: str) -> Person | None:
        """The person as last seen, without asking anybody; None when nothing recent is known."""
        ...
