"""What a start does to the inventory: everything is looked at anew when the rules changed, and not otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

from bot.core.automatic import Automatic
from bot.core.reminders import Rules, Stage
from bot.core.windows import Calendar
from bot.engine.keeping import mark_of
from bot.engine.reminders import Setting

PRINTS = "from tests.engine.test_keeping import a_setting, mark_of; print(mark_of(a_setting()))"


def a_setting(*more: str) -> Setting:
    """Rules that hold for several environments and classes."""
    some = frozenset({"production", "staging", "development", *more})
    stages = (Stage(timedelta(days=1), ("security",), environments=some, classes=frozenset({"tls", "api-key", "jwt"})),)
    return Setting(Rules(escalation=stages), (Automatic(environments=some),), Calendar())


def test_the_same_rules_are_the_same_in_every_process() -> None:
    marks = {
        subprocess.run(
            [sys.executable, "-c", PRINTS],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in range(1, 5)
    }
    assert marks == {mark_of(a_setting())}


def test_other_rules_are_told_apart() -> None:
    assert mark_of(a_setting("test")) != mark_of(a_setting())
    assert mark_of(Setting(Rules(again=timedelta(days=2)))) != mark_of(Setting())
