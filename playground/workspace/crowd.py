"""Many at once: hundreds who click in the same moment, one who types without end, and how quickly each was heard."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from playground.workspace.records import Delivery, Message, View

if TYPE_CHECKING:
    from playground.workspace.workspace import Workspace

Done = TypeVar("Done")


@dataclass(frozen=True)
class Rush:
    """What became of many deliveries; `seconds` from the first sending to the last answer."""

    deliveries: tuple[Delivery, ...]
    seconds: float

    @property
    def acked(self) -> int:
        """How many were acknowledged in time."""
        return sum(one.acked for one in self.deliveries)

    @property
    def errors(self) -> Counter[str]:
        """The others, by what went wrong."""
        return Counter(one.error for one in self.deliveries if not one.acked)

    def ack(self, share: float = 1.0) -> float:
        """Seconds within which this share of the acknowledgements came: 0.5 is the median, 1.0 the slowest."""
        took = sorted(
            one.attempts[-1].acked_at - one.attempts[-1].at
            for one in self.deliveries
            if one.attempts and one.attempts[-1].acked_at is not None
        )
        return took[min(len(took) - 1, int(share * len(took)))] if took else float("inf")


class Crowd:
    """Acts of many people, or of one who does not stop."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def click(self, users: Sequence[str], where: Message | View | str, action_id: str, value: Any = None) -> Rush:
        """Everybody presses the same button, and all of it is under way before anything is awaited."""
        began = time.monotonic()
        with self._workspace.state.lock:
            sent = [self._workspace.click(user, where, action_id, value, force=True, wait=False) for user in users]
        return _awaited(sent, began)

    def type(
        self,
        user: str,
        channel: str,
        text: str | Callable[[int], str],
        count: int,
        *,
        at_once: int = 100,
        per_second: float | None = None,
    ) -> Rush:
        """One person sends `count` slash commands, `at_once` of them unanswered at a time, as fast as that goes.

        `text` is the whole command, or a function of its number. `per_second` spreads them evenly.
        """
        room, began = threading.Semaphore(at_once), time.monotonic()
        sent = []
        for number in range(count):
            if per_second:
                time.sleep(max(0.0, began + number / per_second - time.monotonic()))
            room.acquire()
            words = text if isinstance(text, str) else text(number)
            delivery = self._workspace.type(user, channel, words, wait=False)
            delivery.done.add_done_callback(lambda done: room.release())
            sent.append(delivery)
        return _awaited(sent, began)


def _awaited(sent: list[Delivery], began: float) -> Rush:
    for delivery in sent:
        delivery.wait(60)
    return Rush(tuple(sent), time.monotonic() - began)


def together(*acts: Callable[[], Done]) -> list[Done]:
    """Do everything in the same moment, each in a thread of its own. What came of each; raises what one raised."""
    barrier = threading.Barrier(len(acts))

    def act(do: Callable[[], Done]) -> Done:
        barrier.wait()
        return do()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(act, acts))
