"""What can go wrong between Slack and the app, each switched on by a test and used up as it happens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from playground.workspace.records import Delivery

Cut = Literal["before", "after"]
Outage = Literal["503", "cut"]


@dataclass
class WebFault:
    """The next `left` calls of a method (`*` is any) go wrong in this way; None is all of them."""

    method: str
    left: int | None
    error: str = ""
    status: int = 0
    retry_after: int = 0
    hang: float = 0.0
    cut: Cut | None = None
    done: bool = False
    channel: str = ""
    fired: int = 0


@dataclass
class Moment:
    """Something that happens around the next `left` calls of a method."""

    method: str
    do: Callable[[], object]
    left: int
    after: bool


@dataclass
class DeliveryFault:
    """The next `left` deliveries of a type (empty is any) go wrong in this way."""

    what: Literal["duplicate", "delay", "drop_before_ack", "lose_ack"]
    type: str
    left: int
    seconds: float = 0.0


@dataclass
class _Shuffle:
    type: str
    size: int
    waiting: list[asyncio.Event] = field(default_factory=list)


class Faults:
    """The switchboard. Every switch can be thrown from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._web: list[WebFault] = []
        self._moments: list[Moment] = []
        self._deliveries: list[DeliveryFault] = []
        self._shuffle: _Shuffle | None = None
        self.outage: Outage | None = None
        self.on_sockets: Callable[[str], None] = lambda what: None

    # --- switches for the Web API ---

    def web(
        self,
        method: str = "*",
        *,
        times: int | None = 1,
        error: str = "",
        status: int = 0,
        retry_after: int = 0,
        hang: float = 0.0,
        cut: Cut | None = None,
        done: bool = False,
        channel: str = "",
    ) -> WebFault:
        """Spoil the next calls of a method, or all of them (`times` None), until `clear()`.

        `error` answers ok:false; `status` an HTTP status (429 with `retry_after`, in seconds); `hang` holds the
        answer back so many seconds; `cut` breaks the connection before the work is done, or after. With `done` the
        work is done although the answer is an error. `channel`, an id, spoils only calls about that channel.
        """
        fault = WebFault(method, times, error, status, retry_after, hang, cut, done, channel)
        with self._lock:
            self._web.append(fault)
        return fault

    def at(self, method: str, do: Callable[[], object], *, times: int = 1, after: bool = False) -> None:
        """Do something at the very moment of the next calls of a method: before the answer is made up, or after.

        `do` runs while the caller waits, on the thread that serves everybody: it must not wait for anything itself.
        """
        with self._lock:
            self._moments.append(Moment(method, do, times, after))

    def down(self, how: Outage = "503") -> None:
        """Take the whole of Slack down until `up()`: no call is answered, no socket stays open."""
        self.outage = how
        self.on_sockets("drop")

    def up(self) -> None:
        """End the outage."""
        self.outage = None

    # --- switches for deliveries ---

    def duplicate(self, type: str = "", *, times: int = 1) -> None:
        """Deliver the next ones twice, the same envelope both times."""
        self._add("duplicate", type, times)

    def delay(self, seconds: float, type: str = "", *, times: int = 1) -> None:
        """Deliver the next ones late."""
        self._add("delay", type, times, seconds)

    def drop_before_ack(self, type: str = "", *, times: int = 1) -> None:
        """Deliver the next ones, and cut the socket before an acknowledgement can come back."""
        self._add("drop_before_ack", type, times)

    def lose_ack(self, type: str = "", *, times: int = 1) -> None:
        """Deliver the next ones and never hear the acknowledgement."""
        self._add("lose_ack", type, times)

    def reorder(self, count: int = 2, type: str = "") -> None:
        """Hold the next deliveries back until there are `count`, then deliver the last one first."""
        with self._lock:
            self._shuffle = _Shuffle(type, count)

    # --- switches for sockets ---

    def drop_sockets(self) -> None:
        """Cut every socket, without a word."""
        self.on_sockets("drop")

    def recycle_sockets(self, reason: Literal["warning", "refresh_requested"] = "refresh_requested") -> None:
        """Ask every socket to be replaced, as Slack does every few hours."""
        self.on_sockets(reason)

    def freeze_sockets(self) -> None:
        """Leave every socket half open: nothing goes in or out, not even a pong."""
        self.on_sockets("freeze")

    def clear(self) -> None:
        """Switch everything off."""
        with self._lock:
            self._web.clear()
            self._moments.clear()
            self._deliveries.clear()
            shuffle, self._shuffle = self._shuffle, None
            self.outage = None
        if shuffle:
            for event in shuffle.waiting:
                event.set()

    def apply(self, what: str, options: dict[str, Any]) -> None:
        """Throw a switch by name, for the control surface. Raises LookupError, TypeError."""
        known: dict[str, Callable[..., object]] = {
            "web": self.web,
            "down": self.down,
            "up": self.up,
            "duplicate": self.duplicate,
            "delay": self.delay,
            "drop_before_ack": self.drop_before_ack,
            "lose_ack": self.lose_ack,
            "reorder": self.reorder,
            "drop_sockets": self.drop_sockets,
            "recycle_sockets": self.recycle_sockets,
            "freeze_sockets": self.freeze_sockets,
            "clear": self.clear,
        }
        if what not in known:
            raise LookupError(f"there is no fault {what}")
        known[what](**options)

    # --- what the server asks ---

    def next_web(self, method: str, channel: str = "") -> WebFault | None:
        """The fault that meets this call, used up by one."""
        with self._lock:
            for fault in self._web:
                if fault.method not in {"*", method} or fault.left == 0 or fault.channel not in {"", channel}:
                    continue
                fault.fired += 1
                if fault.left is not None:
                    fault.left -= 1
                return fault
        return None

    def pass_moment(self, method: str, *, after: bool) -> None:
        """Do what was to happen around this call."""
        with self._lock:
            met = [one for one in self._moments if one.method == method and one.after == after and one.left > 0]
            for moment in met:
                moment.left -= 1
        for moment in met:
            moment.do()

    def next_delivery(self, delivery: Delivery) -> list[DeliveryFault]:
        """The faults that meet this delivery, each used up by one."""
        met = []
        with self._lock:
            for fault in self._deliveries:
                if fault.type in {"", delivery.type, delivery.kind} and fault.left > 0:
                    fault.left -= 1
                    met.append(fault)
        return met

    async def take_turn(self, delivery: Delivery) -> None:
        """Wait here while deliveries are being reordered."""
        with self._lock:
            shuffle = self._shuffle
            if shuffle is None or shuffle.type not in {"", delivery.type, delivery.kind}:
                return
            mine = asyncio.Event()
            shuffle.waiting.append(mine)
            if len(shuffle.waiting) >= shuffle.size:
                self._shuffle = None
                for event in reversed(shuffle.waiting):
                    event.set()
        await mine.wait()

    def _add(
        self,
        what: Literal["duplicate", "delay", "drop_before_ack", "lose_ack"],
        type: str,
        times: int,
        seconds: float = 0.0,
    ) -> None:
        with self._lock:
            self._deliveries.append(DeliveryFault(what, type, times, seconds))
