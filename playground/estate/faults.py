"""Faults on demand: answers that go wrong for the next calls of a path, and switches that change behaviour."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

KINDS = ("drop", "lose", "status", "throttle", "hang", "garbage")


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong.

    Kinds: `drop` cuts the connection before any work, `lose` does the work and then cuts the connection, `status`
    answers `status` without doing the work, `throttle` answers 429 with Retry-After, `hang` gives no answer for
    `seconds` (None: until cleared) and then cuts, `garbage` answers 200 with a body that is no JSON and does no work.
    The first `skip` calls that match are let pass.
    """

    kind: str
    path: str = "*"
    method: str = "*"
    times: int | None = 1
    skip: int = 0
    status: int = 500
    retry_after: float = 30.0
    seconds: float | None = None
    fired: int = 0
    released: threading.Event = field(default_factory=threading.Event, repr=False)

    def matches(self, method: str, path: str) -> bool:
        """Whether it still has calls to spoil, and this is one of them; `path` is a glob."""
        spent = self.times is not None and self.fired >= self.times
        return not spent and self.method in ("*", method) and fnmatchcase(path, self.path)

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        shown = ("kind", "path", "method", "times", "skip", "status", "retry_after", "seconds", "fired")
        return {name: getattr(self, name) for name in shown}


class Faults:
    """The fault board of one program. Switches are declared with their resting value, which also fixes their type."""

    def __init__(self, switches: Mapping[str, Any] | None = None) -> None:
        self._rest = dict(switches or {})
        self._switches = dict(self._rest)
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, kind: str, path: str = "*", method: str = "*", times: int | None = 1, **more: Any) -> Fault:
        """Spoil the next `times` calls (None: all) whose method and path match; see `Fault` for the kinds."""
        if kind not in KINDS:
            raise ValueError(f"no fault is called {kind!r}; there are {', '.join(KINDS)}")
        fault = Fault(kind, path, method, times, **more)
        with self._lock:
            self._faults.append(fault)
        return fault

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that spoils this call, if any; counts it."""
        with self._lock:
            for fault in self._faults:
                if fault.matches(method, path):
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.fired += 1
                    return fault
        return None

    def turn(self, switch: str, value: Any = True) -> None:
        """Set a switch; the value must be of the type of its resting value."""
        if switch not in self._rest:
            raise ValueError(f"no switch is called {switch!r}; there are {', '.join(sorted(self._rest))}")
        kind = type(self._rest[switch])
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise ValueError(f"switch {switch!r} takes a {kind.__name__}")
        self._switches[switch] = value

    def value(self, switch: str) -> Any:
        """What a switch is set to."""
        return self._switches[switch]

    def clear(self) -> None:
        """Heal everything: hanging calls are let go, switches return to rest."""
        with self._lock:
            for fault in self._faults:
                fault.released.set()
            self._faults.clear()
            self._switches = dict(self._rest)

    def describe(self) -> dict[str, Any]:
        """Faults and switches as JSON."""
        with self._lock:
            return {"faults": [fault.describe() for fault in self._faults], "switches": dict(self._switches)}

    def apply(self, body: Mapping[str, Any]) -> None:
        """Take what `POST /faults` was sent: {"switch": name, "value": v} or {"kind": …, "path": …, …}.

        Raises ValueError where the body makes no sense.
        """
        if "switch" in body:
            self.turn(str(body["switch"]), body.get("value", True))
            return
        known = {"kind": str, "path": str, "method": str, "times": int, "skip": int, "status": int}
        numbers = ("retry_after", "seconds")
        for name, value in body.items():
            expected = (int, float) if name in numbers else known.get(name)
            if expected is None:
                raise ValueError(f"unknown field {name!r}")
            if name in (*numbers, "times") and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, expected):
                raise ValueError(f"field {name!r} has the wrong type")
        if "kind" not in body:
            raise ValueError("say a kind or a switch")
        if not 400 <= body.get("status", 500) <= 599:
            raise ValueError("status must be an error status")
        self.add(**body)
