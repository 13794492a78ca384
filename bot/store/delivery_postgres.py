"""Delivery on PostgreSQL: Procrastinate's queue, filled in our transactions, emptied by its worker in a thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from bot.contracts.delivery import Leg
from bot.core.errors import Permanent
from bot.store.crew import Crew
from bot.store.faults import explain

if TYPE_CHECKING:
    from procrastinate import App

    from bot.store.database import Database

log = logging.getLogger(__name__)
QUEUE = "keyturn"
TASK = "keyturn.leg"
INTENT_FIRST = 10
"""Priority of intents, for which a person waits; higher comes first, steps have 0."""
KEPT_HOURS = 14 * 24
_CLEAN = 3600.0


class PostgresDelivery:
    """Any number of replicas. Job rows hold ids only, and nothing that could not be rebuilt from our own rows."""

    def __init__(
        self, database: Database, *, heartbeat: float = 5.0, dead_after: float = 30.0, poll: float = 2.0
    ) -> None:
        self._database = database
        self.heartbeat = heartbeat
        self.dead_after = dead_after
        """Seconds without a heartbeat after which another replica's jobs are delivered again."""
        self.poll = poll
        """Seconds between two looks for jobs whose notification was missed."""
        self._sender: App | None = None
        self._crew: Crew | None = None
        self._thread: Thread | None = None
        self._stopping = Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: asyncio.Task[None] | None = None

    def enqueue(self, connection: Any, leg: Leg) -> None:
        """Defer the leg on the connection of the transaction (a `Transaction`)."""
        procrastinate = _library()
        if self._sender is None:
            self._sender = procrastinate.App(connector=procrastinate.SyncPsycopgConnector())
        raw = connection.connection.connection.driver_connection
        task = self._sender.configure_task(
            TASK, queue=QUEUE, connection=raw, priority=INTENT_FIRST if leg.step is None else 0
        )
        try:
            task.defer(number=leg.number, step=leg.step, attempt=leg.attempt)
        except procrastinate.exceptions.ConnectorException as error:
            raise explain(error.__cause__ or error) from None

    def start(self, run: Callable[[Leg], None], workers: int) -> None:
        """Begin to take jobs; the connection is made again whenever it breaks."""
        _library()
        for name in ("procrastinate", "psycopg.pool"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._stopping.clear()
        self._crew = Crew(run, workers)
        self._thread = Thread(target=lambda: asyncio.run(self._serve(workers)), name="delivery", daemon=True)
        self._thread.start()

    def stop(self, within: float) -> None:
        """Take no more jobs, and wait for those under way; what does not end is delivered to another replica later."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stopping.set()
        self._cancel()
        thread.join(within)
        if thread.is_alive():
            log.warning("some steps are still running; another replica looks at them")
            self._cancel()
            thread.join(2)
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.stop(0)

    def _cancel(self) -> None:
        loop, worker = self._loop, self._worker
        if loop is not None and worker is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(worker.cancel)

    async def _serve(self, workers: int) -> None:
        self._loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            self._worker = asyncio.create_task(self._work(workers))
            if self._stopping.is_set():
                self._worker.cancel()
            try:
                await self._worker
            except asyncio.CancelledError:
                return
            except Exception as error:  # noqa: BLE001  # whatever ended it, it is started again; messages stay out
                log.warning("the job queue was interrupted (%s); connecting again", type(error).__name__)
            if not self._stopping.is_set():
                await asyncio.sleep(0.5)

    async def _work(self, workers: int) -> None:
        """One life of Procrastinate's worker, until it is cancelled or its connection breaks."""
        app = self._make_app()
        async with app.open_async():
            keeper = asyncio.create_task(self._keep(app))
            try:
                await app.run_worker_async(
                    queues=[QUEUE],
                    concurrency=workers,
                    install_signal_handlers=False,
                    fetch_job_polling_interval=self.poll,
                    update_heartbeat_interval=self.heartbeat,
                    stalled_worker_timeout=self.dead_after,
                )
            finally:
                keeper.cancel()
                with suppress(asyncio.CancelledError):
                    await keeper

    def _make_app(self) -> App:
        procrastinate = _library()
        engine = self._database.engine
        _, arguments = engine.dialect.create_connect_args(engine.url)
        arguments["application_name"] = "keyturn-delivery"
        connector = procrastinate.PsycopgConnector(kwargs=arguments, min_size=1, max_size=4, timeout=10)
        app: App = procrastinate.App(connector=connector)

        async def carry(number: int, step: int | None = None, attempt: int = 0) -> None:
            await self._carry(Leg(number, step, attempt))

        app.task(name=TASK, queue=QUEUE)(carry)
        return app

    async def _carry(self, leg: Leg) -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def settle() -> None:
            if not done.done():
                done.set_result(None)

        def ended() -> None:
            with suppress(RuntimeError):  # the loop was stopped before this leg ended
                loop.call_soon_threadsafe(settle)

        assert self._crew is not None
        self._crew.put(leg, ended)
        await done

    async def _keep(self, app: App) -> None:
        """Deliver again what a dead replica had taken, and forget old jobs."""
        procrastinate = _library()
        jobs = app.job_manager
        clean_at = 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                stalled = await jobs.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=self.dead_after)
                for job in stalled:
                    with suppress(procrastinate.exceptions.ConnectorException):  # another replica was quicker
                        await jobs.retry_job(job, retry_at=datetime.now(UTC))
                if loop.time() >= clean_at:
                    await jobs.delete_old_jobs(
                        KEPT_HOURS, queue=QUEUE, include_failed=True, include_cancelled=True, include_aborted=True
                    )
                    clean_at = loop.time() + _CLEAN
            except procrastinate.exceptions.ConnectorException as error:
                log.warning("could not look after the job queue: %s", type(error.__cause__ or error).__name__)
            await asyncio.sleep(self.heartbeat)


def _library() -> Any:
    try:
        import procrastinate
    except ModuleNotFoundError:
        raise Permanent(
            "keyturn is installed without its PostgreSQL part.", 'Install it with: pip install "keyturn[postgres]".'
        ) from None
    return procrastinate
