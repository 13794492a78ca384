"""The courier: takes payloads to the app by whichever way it is connected, tries events again, gives up on the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import uuid4

from playground.workspace.faults import Faults
from playground.workspace.records import Attempt, Delivery
from playground.workspace.sockets import Carried
from playground.workspace.state import State

RETRY_DELAYS = (0.0, 60.0, 300.0)
"""Seconds before the second, third and fourth attempt of an event."""


class Carrier(Protocol):
    """A way to the app: sockets, or its request URL."""

    async def carry(
        self, delivery: Delivery, envelope_id: str, retry: int, reason: str, *, drop: bool = False
    ) -> Carried:
        """One attempt."""


class Courier:
    """Deliveries under way. `settle` sees each one when it is over, before anybody who waits for it does."""

    def __init__(
        self,
        state: State,
        faults: Faults,
        carrier: Carrier,
        settle: Callable[[Delivery], None],
        retry_delays: Sequence[float] = RETRY_DELAYS,
    ) -> None:
        self.state = state
        self.faults = faults
        self.carrier = carrier
        self.settle = settle
        self.retry_delays = tuple(retry_delays)
        self.loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, delivery: Delivery) -> Delivery:
        """Put a delivery on its way; safe from any thread."""
        with self.state.changing():
            self.state.deliveries.append(delivery)
        if self.loop is None:
            raise RuntimeError("the workspace is not open")
        self.loop.call_soon_threadsafe(self._start, delivery)
        return delivery

    def _start(self, delivery: Delivery) -> None:
        task = asyncio.ensure_future(self._deliver(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Give up whatever is still under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await self._attempts(delivery)
        finally:
            if not delivery.acked and not delivery.error:
                delivery.error = "stopped"
            self.settle(delivery)
            with self.state.changing():
                if not delivery.done.done():
                    delivery.done.set_result(delivery)

    async def _attempts(self, delivery: Delivery) -> None:
        reason = ""
        delays = (0.0, *self.retry_delays) if delivery.kind == "events_api" else (0.0,)
        for number, seconds in enumerate(delays):
            if seconds:
                await asyncio.sleep(seconds)
            carried = await self._attempt(delivery, number, reason)
            if carried.ok:
                delivery.acked, delivery.answer, delivery.error = True, carried.payload, ""
                return
            delivery.error = reason = carried.reason
            if reason == "no_retry":
                return

    async def _attempt(self, delivery: Delivery, number: int, reason: str) -> Carried:
        met = {fault.what: fault for fault in self.faults.next_delivery(delivery)}
        if "delay" in met:
            await asyncio.sleep(met["delay"].seconds)
        await self.faults.take_turn(delivery)
        envelope_id = str(uuid4())
        attempt = Attempt(self.state.now(), envelope_id, "")
        with self.state.changing():
            delivery.attempts.append(attempt)
        if self.faults.outage is not None:
            with self.state.changing():
                attempt.error = "not_connected"
            return Carried(False, reason="not_connected")
        copies = 2 if "duplicate" in met else 1
        results = await asyncio.gather(
            *(
                self.carrier.carry(delivery, envelope_id, number, reason, drop="drop_before_ack" in met)
                for _ in range(copies)
            )
        )
        carried = next((one for one in results if one.ok), results[0])
        if "lose_ack" in met and carried.ok:
            carried = Carried(False, reason="timeout", via=carried.via)
        with self.state.changing():
            attempt.via, attempt.error = carried.via, carried.reason
            attempt.acked_at = self.state.now() if carried.ok else None
        return carried
