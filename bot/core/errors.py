"""Errors, named after what the caller does next."""

from __future__ import annotations

from datetime import timedelta


class KeyturnError(Exception):
    """Any error that keyturn raises on purpose. Messages never hold a secret value: they are stored and shown."""


class Transient(KeyturnError):
    """Try again after `delay`: a rate limit, a timeout before the effect, a server that is restarting."""

    def __init__(self, message: str, delay: timedelta = timedelta(seconds=5)) -> None:
        super().__init__(message)
        self.delay = delay


class Underway(Transient):
    """An undo has done its part, and what it began takes its time: look again after `delay`, nothing has failed."""


class Permanent(KeyturnError):
    """Trying again cannot help until somebody acts; `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Ambiguous(KeyturnError):
    """Nobody can tell whether the effect happened; a person decides on the `evidence`."""

    def __init__(self, message: str, evidence: str = "") -> None:
        super().__init__(message)
        self.evidence = evidence


class Refused(KeyturnError):
    """What was asked is not done. `code` is for the audit, the message is one sentence with the way out."""

    def __init__(self, message: str, code: str = "refused") -> None:
        super().__init__(message)
        self.code = code


class Invalid(KeyturnError):
    """A file or an input with mistakes; `problems` lists all of them, each with its place and a hint."""

    def __init__(self, what: str, problems: tuple[str, ...]) -> None:
        super().__init__(f"{what}: " + "; ".join(problems))
        self.what = what
        self.problems = problems
