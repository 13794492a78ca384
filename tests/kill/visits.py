"""Visits of boundaries: an undisturbed run, then a kill at each of its boundaries, and what is wrong after each."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.kill.harness import Harness, Recording, Unreached


def kill(killer: Harness, calm: Recording, number: int) -> list[str]:
    """What is wrong after a kill at this boundary, compared with the undisturbed run."""
    try:
        verdict = killer.kill(calm, number)
    except AssertionError as error:
        return [f"{type(error).__name__}: {str(error)[-600:]}"]
    ended = [] if verdict.state == calm.verdict.state else [f"ended as {verdict.state}"]
    more, less = verdict.told - calm.verdict.told, calm.verdict.told - verdict.told
    told = [f"told too often {dict(more)}, not told {dict(less)}"] if more or less else []
    more, less = verdict.done - calm.verdict.done, calm.verdict.done - verdict.done
    done = [f"done too often {dict(more)}, not done {dict(less)}"] if more or less else []
    return verdict.problems + ended + told + done


def visit(
    killer: Harness, story: str, every: int, also: Callable[[str], bool] = lambda name: False
) -> tuple[Recording, dict[str, list[str]]]:
    """An undisturbed run, then one killed at each boundary of it; what went wrong, by boundary.

    Or at every so many, from any of the first on, so that run after run meets all; and at those that `also` names.
    """
    calm = killer.record(story)
    assert calm.verdict.problems == []
    wrong: dict[str, list[str]] = {}
    first = random.SystemRandom().randrange(max(1, min(every, len(calm.crossings))))
    for number, crossing in enumerate(calm.crossings):
        if number % every != first and not also(crossing):
            continue
        # Once more: a busy machine can starve the estate's own threads, but a defect fails at its boundary each time.
        found = kill(killer, calm, number) and kill(killer, calm, number)
        if found:
            wrong[crossing] = found
    return calm, wrong


def check_caught(killer: Harness, story: str, effect: Callable[[str], bool]) -> None:
    """Fail unless a naive engine, which repeats without looking, is caught at every crossing that is an effect."""
    calm = killer.record(story, naive=True)
    assert calm.verdict.problems == []
    effects = [number for number, name in enumerate(calm.crossings) if effect(name)]
    assert effects
    for number in effects:
        try:
            verdict = killer.kill(calm, number)
        except Unreached:
            raise
        except AssertionError:
            continue
        assert verdict.problems or verdict.done != calm.verdict.done, calm.crossings[number]
