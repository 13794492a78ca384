"""`/healthz`, `/readyz`, `/metrics`, and Slack's requests in HTTP mode, on one WSGI server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector
from waitress.server import MultiSocketServer, create_server

from bot import __version__
from bot.core.errors import KeyturnError, Permanent
from bot.store.database import Database

if TYPE_CHECKING:
    from bot.engine.timers import Timers
    from bot.settings import Bind
    from bot.slack.room import Room
    from bot.store.seal import Sealer

StartResponse = Callable[..., Any]
THREADS = 16
STOP_SECONDS = 2.0
"""How long a stop waits for what is being answered."""
LARGEST_BODY = 1_048_576


class Figures(Collector):
    """Reads the database at each scrape. No credential is named."""

    def __init__(self, database: Database, room: Room | None, sealer: Sealer | None) -> None:
        self._database = database
        self._room = room
        self._sealer = sealer

    def collect(self) -> Iterator[Any]:
        """The metrics, in Prometheus' naming."""
        yield InfoMetricFamily("keyturn_build", "Version that runs.", value={"version": __version__})
        with self._database.read() as reader:
            counts = reader.counts()
            head = reader.audit_head()
            now, discoveries = reader.now, reader.discoveries()
        failures = GaugeMetricFamily(
            "keyturn_discovery_failures", "How often a discovery failed in a row.", labels=["discovery"]
        )
        age = GaugeMetricFamily(
            "keyturn_discovery_age_seconds", "Since a discovery listed everything last.", labels=["discovery"]
        )
        for one in discoveries:
            failures.add_metric([one.name], one.failures)
            if one.completed_at is not None:
                age.add_metric([one.name], (now - one.completed_at).total_seconds())
        yield from (failures, age)
        rotations = GaugeMetricFamily("keyturn_rotations", "Rotations by state.", labels=["state"])
        for state, count in sorted(counts.rotations.items()):
            rotations.add_metric([state], count)
        yield rotations
        overlaps = GaugeMetricFamily("keyturn_overlaps", "Overlaps by state.", labels=["state"])
        for state, count in sorted(counts.overlaps.items()):
            overlaps.add_metric([state], count)
        yield overlaps
        for name, text, value in (
            ("keyturn_credentials", "Credentials in the inventory.", counts.credentials),
            ("keyturn_credentials_overdue", "Credentials past their due date.", counts.overdue),
            ("keyturn_intents_open", "Things asked for that are not answered yet.", counts.intents),
            ("keyturn_messages_unsent", "Slack messages that still have to be sent or redrawn.", counts.messages),
            ("keyturn_audit_rows", "Rows of the audit chain.", head.seq),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        if self._sealer is not None:
            text = "Rows of the audit that are signed and that the witness has not got yet."
            yield GaugeMetricFamily("keyturn_audit_rows_unwitnessed", text, self._sealer.unwitnessed)
        silent = self._room.seconds_since_frame() if self._room is not None else None
        if silent is not None:
            yield GaugeMetricFamily("keyturn_slack_silent_seconds", "Since Slack's socket last said anything.", silent)


class Health:
    """The server. It runs in threads of its own and holds no state."""

    def __init__(
        self, bind: Bind, database: Database, room: Room | None, timers: Timers, sealer: Sealer | None = None
    ) -> None:
        self._database = database
        self._room = room
        self._timers = timers
        registry = CollectorRegistry()
        registry.register(Figures(database, room, sealer))
        self._metrics = make_wsgi_app(registry)
        self._slack = room.wsgi() if room is not None else None
        self._server = _listen(self, bind)
        self._thread = threading.Thread(target=self._serve, name="health", daemon=True)
        self._stopping = threading.Event()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        several = isinstance(self._server, MultiSocketServer)
        return int(self._server.effective_listen[0][1] if several else self._server.effective_port)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving: what is being answered is given a moment, and its threads end."""
        self._stopping.set()
        self._server.task_dispatcher.shutdown(timeout=STOP_SECONDS)
        self._server.close()

    def _serve(self) -> None:
        try:
            self._server.run()
        except OSError:  # its sockets were closed while it waited for them
            if not self._stopping.is_set():
                raise

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """WSGI: three pages, and Slack's own path when Slack comes by HTTP."""
        path = environ.get("PATH_INFO", "")
        if path == "/slack/events" and self._slack is not None:
            answer: Iterable[bytes] = self._slack(environ, start_response)
            return answer
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            return _say(start_response, "405 Method Not Allowed", {"error": "GET only"})
        if path == "/healthz":
            return _say(start_response, "200 OK", {"alive": True, "version": __version__})
        if path == "/readyz":
            problems = self.problems()
            status = "503 Service Unavailable" if problems else "200 OK"
            return _say(start_response, status, {"ready": not problems, "problems": problems})
        if path == "/metrics":
            try:
                found: Iterable[bytes] = self._metrics(environ, start_response)
            except KeyturnError:
                return _say(start_response, "503 Service Unavailable", {"error": "the database does not answer"})
            return found
        return _say(start_response, "404 Not Found", {"error": "there are /healthz, /readyz and /metrics"})

    def problems(self) -> list[str]:
        """What keeps the bot from its work right now."""
        found = []
        try:
            self._database.check_schema()
        except KeyturnError as error:
            found.append(str(error))
        if self._timers.fenced.is_set():
            found.append("another worker has taken over")
        if self._room is not None and not self._room.connected():
            found.append("no connection to Slack")
        return found


def _listen(application: Health, bind: Bind) -> Any:
    """The server on its address; raises `Permanent` when that cannot be listened on."""
    try:
        return create_server(
            application,
            host=bind.host,
            port=bind.port,
            threads=THREADS,
            max_request_body_size=LARGEST_BODY,
            ident="keyturn",
            clear_untrusted_proxy_headers=True,
        )
    except (OSError, ValueError) as error:  # waitress raises ValueError for a host that it cannot resolve
        why = error.strerror if isinstance(error, OSError) else "there is no such host"
        raise Permanent(
            f"{bind.host}:{bind.port} cannot be listened on ({why}).", "Choose another address in KEYTURN_HTTP."
        ) from None


def _say(start_response: StartResponse, status: str, body: dict[str, Any]) -> list[bytes]:
    text = json.dumps(body).encode()
    start_response(
        status,
        [("Content-Type", "application/json"), ("Content-Length", str(len(text))), ("Cache-Control", "no-store")],
    )
    return [text]
