"""Credentials to choose from in a list that is typed into: those due next first, and then what has no date."""

from __future__ import annotations

from datetime import timedelta

from bot.contracts.command import Call, CredentialView, Filters, Rotations

MOST_CHOICES = 100
"""Slack shows no more."""
EVER = timedelta(days=3660)


def choices(rotations: Rotations, call: Call, typed: str) -> list[CredentialView]:
    """Those that the caller may see with this in their names; `name@environment` narrows it to an environment."""
    name, _, environment = typed.strip().partition("@")
    found: dict[tuple[str, str], CredentialView] = {}
    for filters in (Filters(within=EVER, text=name), Filters(text=name)):
        page = rotations.inventory.search(call, filters, limit=MOST_CHOICES)
        for one in page.rows:
            if one.environment.casefold().startswith(environment.casefold()):
                found.setdefault((one.name, one.environment), one)
    return list(found.values())[:MOST_CHOICES]
