"""What the doctor finds, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum


class State(StrEnum):
    """How it stands with one thing that was looked at."""

    GOOD = "good"
    NOTE = "note"
    """It works; something is missing that one may want."""
    WRONG = "wrong"
    SKIPPED = "skipped"
    """It could not be looked at, because of something that is wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found, and what to do about it."""

    step: str
    state: State
    text: str
    advice: str = ""


def good(step: str, text: str) -> Finding:
    """All is well."""
    return Finding(step, State.GOOD, text)


def note(step: str, text: str, advice: str) -> Finding:
    """It works, with a limit."""
    return Finding(step, State.NOTE, text, advice)


def wrong(step: str, text: str, advice: str) -> Finding:
    """It does not work; `advice` says what to do."""
    return Finding(step, State.WRONG, text, advice)


def skipped(step: str, why: str) -> Finding:
    """Not looked at."""
    return Finding(step, State.SKIPPED, f"not looked at: {why}")


def show(findings: Sequence[Finding], *, as_json: bool) -> int:
    """Print them; the exit code is 1 when something is wrong."""
    problems = sum(finding.state is State.WRONG for finding in findings)
    if as_json:
        print(json.dumps({"good": not problems, "findings": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            print(f"{finding.state:8}{finding.step:13}{finding.text}")
            if finding.advice:
                print(f"{'':21}→ {finding.advice}")
        left = sum(finding.state is State.SKIPPED for finding in findings)
        skips = f"; {left} could not be looked at" if left else ""
        verdict = f"{problems} problem{'' if problems == 1 else 's'} found" if problems else "Everything is in order"
        print(f"{verdict}{skips}.")
    return 1 if problems else 0
