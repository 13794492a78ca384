"""The workspace as one object: opened in a thread, driven by tests, watched until something has happened."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import uvicorn

from playground.workspace.acts import Acts
from playground.workspace.control import PageControl
from playground.workspace.courier import RETRY_DELAYS, Carrier, Courier
from playground.workspace.crowd import Crowd
from playground.workspace.faults import Faults
from playground.workspace.forms import NotAccepted, named
from playground.workspace.intruder import Intruder
from playground.workspace.limits import RateLimits
from playground.workspace.methods import HANDLERS
from playground.workspace.office import Office
from playground.workspace.places import NotVisible, Place
from playground.workspace.records import Call, Delivery, Execution, Message, View
from playground.workspace.seed import TEAM_ID, App, Seed
from playground.workspace.server import Server
from playground.workspace.signed import SignedHttp
from playground.workspace.sockets import SocketMode
from playground.workspace.state import State
from playground.workspace.tokens import Tokens
from playground.workspace.transports import Transports, recording
from playground.workspace.webapi import Api

Found = TypeVar("Found")
Json = dict[str, Any]


class Workspace(Office):
    """A Slack workspace that listens on loopback. Use `Workspace.start(...)`, best in a `with` statement."""

    def __init__(
        self,
        seed: Seed | Mapping[str, Any] | None = None,
        *,
        app: App | None = None,
        port: int = 0,
        tokens: Tokens | None = None,
        request_url: str | None = None,
        rate_factor: float = 1.0,
        retry_delays: Sequence[float] = RETRY_DELAYS,
        strip_url: str | None = None,
    ) -> None:
        self.tokens = tokens or Tokens.new()
        self.faults = Faults()
        self._transports = Transports()
        state = State(Seed.of(seed), app or App())
        self.rate_limits = RateLimits(state.now, rate_factor)
        self.sockets = SocketMode(state, self._transports)
        self.http = SignedHttp(state, request_url, self.tokens.signing_secret) if request_url else None
        carrier: Carrier = self.http or self.sockets
        acts = Acts(state, self.send, lambda: f"{self.url}response/{TEAM_ID}")
        super().__init__(state, acts)
        self.intruder, self.crowd = Intruder(self), Crowd(self)
        self._courier = Courier(state, self.faults, carrier, acts.settle, retry_delays)
        self.api = Api(
            state,
            self.rate_limits,
            self.tokens.bot,
            self.tokens.app,
            self.sockets.new_url,
            lambda: self.url,
            HANDLERS,
        )
        self._strip_url = strip_url
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.sockets.base_url = f"ws://127.0.0.1:{self.port}"
        self._server: uvicorn.Server | None = None
        self._face: Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name="workspace", daemon=True)

    # --- opening and closing ---

    @classmethod
    def start(
        cls,
        seed: Seed | Mapping[str, Any] | None = None,
        *,
        manifest: str | Path | Mapping[str, Any] | None = None,
        scopes: Iterable[str] | None = None,
        events: Iterable[str] | None = None,
        declined: Iterable[str] = (),
        port: int = 0,
        tokens: Tokens | None = None,
        request_url: str | None = None,
        rate_factor: float = 1.0,
        retry_delays: Sequence[float] = RETRY_DELAYS,
        strip_url: str | None = None,
    ) -> Workspace:
        """Open a workspace in a thread of this process.

        `manifest` is a path or a parsed manifest; `scopes` and `events` replace what it says, `declined` are optional
        scopes that the admin refused. `request_url` switches from Socket Mode to signed HTTP. `rate_factor` 0
        switches the rate limits off. `retry_delays` are the seconds before each repetition of an event.
        """
        app = App()
        if isinstance(manifest, Mapping):
            app = App.from_manifest(manifest, declined=declined)
        elif manifest is not None:
            app = App.read(manifest, declined=declined)
        if scopes is not None:
            app = replace(app, scopes=frozenset(scopes))
        if events is not None:
            app = replace(app, events=frozenset(events))
        workspace = cls(
            seed,
            app=app,
            port=port,
            tokens=tokens,
            request_url=request_url,
            rate_factor=rate_factor,
            retry_delays=retry_delays,
            strip_url=strip_url,
        )
        workspace._thread.start()
        if not workspace._opened.wait(10):
            raise TimeoutError("the workspace did not open")
        return workspace

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = self._courier.loop = asyncio.get_running_loop()
        self.faults.on_sockets = lambda what: self._on_loop(self.sockets.spoil, what)
        control = PageControl(self)
        server = self._face = Server(
            state=self.state,
            api=self.api,
            sockets=self.sockets,
            faults=self.faults,
            transports=self._transports,
            control=control,
            strip_url=self._strip_url,
        )
        self.state.listeners.append(lambda: self._on_loop(control.wake))
        config = uvicorn.Config(
            server.app,
            http=recording(self._transports),
            ws="websockets-sansio",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        serving = asyncio.ensure_future(self._server.serve(sockets=[self._listener]))
        while not self._server.started and not serving.done():
            await asyncio.sleep(0.005)
        self._opened.set()
        try:
            await serving
        finally:
            if self.http is not None:
                await self.http.close()

    def _on_loop(self, do: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(do, *arguments)

    def close(self) -> None:
        """Close the workspace; every connection is cut."""
        self.sockets.closed = True
        self.faults.clear()
        if self._loop is not None and self._server is not None and self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._let_go(), self._loop).result(5)
            self._server.should_exit = True
        self._thread.join(10)
        self._listener.close()

    async def _let_go(self) -> None:
        """End whatever waits, so that the server has nothing to wait for."""
        if self._face is not None:
            self._face.closing.set()
        await self._courier.stop()
        self.sockets.spoil("drop")

    def run(self) -> None:
        """Stay open until interrupted, for the standalone process."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, delivery: Delivery) -> Delivery:
        """Put a payload on its way to the app."""
        return self._courier.send(delivery)

    def run_on_loop(self, work: Coroutine[Any, Any, Found], timeout: float = 10.0) -> Found:
        """Do something on the workspace's own loop and wait for it."""
        if self._loop is None:
            raise RuntimeError("the workspace is not open")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    # --- what the app needs ---

    @property
    def app(self) -> App:
        """The installed app, with the scopes that it has now."""
        return self.state.app

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def api_url(self) -> str:
        """What the app gets as SLACK_API_URL."""
        return f"{self.url}api/"

    @property
    def bot_token(self) -> str:
        """SLACK_BOT_TOKEN."""
        return self.tokens.bot

    @property
    def app_token(self) -> str:
        """SLACK_APP_TOKEN."""
        return self.tokens.app

    @property
    def signing_secret(self) -> str:
        """SLACK_SIGNING_SECRET."""
        return self.tokens.signing_secret

    def environment(self) -> dict[str, str]:
        """The app's environment variables."""
        return {
            "SLACK_API_URL": self.api_url,
            "SLACK_BOT_TOKEN": self.bot_token,
            "SLACK_APP_TOKEN": self.app_token,
            "SLACK_SIGNING_SECRET": self.signing_secret,
        }

    def verify_request_url(self, timeout: float = 5.0) -> bool:
        """Slack's handshake with the request URL."""
        if self.http is None:
            raise RuntimeError("this workspace has no request URL")
        return self.run_on_loop(self.http.verify(), timeout)

    # --- what a person does, and the app's acknowledgement awaited ---

    def type(self, user: str, channel: str, text: str, *, thread_ts: str | None = None, wait: bool = True) -> Delivery:
        """Type a slash command. Waits for the acknowledgement, or for Slack's own refusal."""
        with self.state.changing():
            delivery = self.acts.command(self.state.user(user), self.place(user, channel), text, thread_ts)
        return self._awaited(delivery, wait)

    def say(self, user: str, channel: str, text: str, *, thread_ts: str | None = None) -> Message:
        """Write a message; `@keyturn` as the channel is the direct message with the app."""
        with self.state.changing():
            return self.acts.say(self.state.user(user), self.place(user, channel), text, thread_ts)

    def click(
        self,
        user: str,
        where: Message | View | str,
        action_id: str,
        value: Any = None,
        *,
        block_id: str = "",
        force: bool = False,
        wait: bool = True,
    ) -> Delivery:
        """Press a button, or choose `value` in a menu outside an input.

        `where` is a message, its ts, a view, `modal` (the person's top one) or `home`. Options are named by value or
        text, people and channels by id or name. `force` presses what this person is not shown, and what is gone from
        the message by now but stood on the snapshot given as `where`: a click that comes too late.
        """
        person, place = self.state.user(user), self.find(user, where)
        seen = where if force and isinstance(where, Message) else None
        self._ask_for_options(user, place, action_id, value)
        with self.state.changing():
            delivery = self.acts.click(person, place, action_id, value, block_id=block_id, force=force, seen=seen)
        return self._awaited(delivery, wait)

    def suggest(self, user: str, where: Message | View | str, action_id: str, query: str = "") -> list[Json]:
        """Type into an external select; the options that the app offers."""
        person = self.state.user(user)
        self._awaited(self.acts.suggest(person, self.find(user, where), action_id, query), True)
        return list(self.acts.suggested.get((person.id, action_id), []))

    def fill(self, user: str, values: Mapping[str, Any], *, view: View | str = "modal") -> None:
        """Enter values into a view, by action_id or nested by block_id. Raises NotAccepted."""
        place = self.find(user, view)
        for action_id, value in named(values):
            self._ask_for_options(user, place, action_id, value)
        if not isinstance(place, View):
            raise NotVisible("only views can be filled in")
        with self.state.changing():
            self.acts.fill(self.state.user(user), place, values)

    def submit(self, user: str, values: Mapping[str, Any] | None = None, *, wait: bool = True) -> Delivery:
        """Fill in and submit the person's top modal. Raises NotAccepted where Slack's client would not send it."""
        if values:
            self.fill(user, values)
        view = self.find(user, "modal")
        if not isinstance(view, View):
            raise NotVisible("there is no modal")
        with self.state.changing():
            delivery = self.acts.submit(self.state.user(user), view)
        return self._awaited(delivery, wait)

    def close_view(self, user: str, *, everything: bool = False) -> list[Delivery]:
        """Close the person's top modal, or all of them."""
        with self.state.changing():
            told = self.acts.close(self.state.user(user), everything=everything)
        return [self._awaited(one, True) for one in told]

    def open_home(self, user: str, *, wait: bool = True) -> Delivery | None:
        """Open the app's Home tab; None where the app does not listen for that."""
        delivery = self.acts.open_home(self.state.user(user))
        return self._awaited(delivery, wait) if delivery else None

    def run_step(self, user: str, step: str, inputs: Mapping[str, str], *, wait: bool = True) -> Execution:
        """Run a step as a workflow does; `user` is empty for a workflow that nobody started."""
        with self.state.changing():
            person = self.state.user(user) if user else None
            execution, delivery = self.acts.run_step(person, step, inputs)
        self._awaited(delivery, wait)
        return execution

    def shortcut(
        self, user: str, callback_id: str, message: Message | str | None = None, *, wait: bool = True
    ) -> Delivery:
        """Use a message shortcut, or a global one."""
        place = self.find(user, message) if message is not None else None
        target = place if isinstance(place, Message) else None
        return self._awaited(self.acts.shortcut(self.state.user(user), callback_id, target), wait)

    def _awaited(self, delivery: Delivery, wait: bool) -> Delivery:
        return delivery.wait(60) if wait else delivery

    def _ask_for_options(self, user: str, place: Place, action_id: str, value: Any) -> None:
        """Let the app suggest before a person picks from an external select, as the client does."""
        element = next((one for one in place.elements if one["action_id"] == action_id), None)
        if element is None or not element["type"].endswith("external_select") or not value:
            return
        person = self.state.user(user).id
        for one in value if isinstance(value, (list, tuple)) else [value]:
            known = self.acts.suggested.get((person, action_id), [])
            wanted = one.get("value") if isinstance(one, dict) else one
            if not any(wanted in {option["value"], option["text"]["text"]} for option in known):
                shortest = element.get("min_query_length", 3)
                self.suggest(user, place, action_id, str(wanted) if len(str(wanted)) >= shortest else "")

    # --- what is there ---

    @property
    def calls(self) -> list[Call]:
        """Every Web API call so far, response URLs included as `response_url`."""
        with self.state.lock:
            return list(self.state.calls)

    def calls_to(self, method: str) -> list[Call]:
        """Every call of one method."""
        return [call for call in self.calls if call.method == method]

    @property
    def deliveries(self) -> list[Delivery]:
        """Every payload that was sent to the app so far."""
        with self.state.lock:
            return list(self.state.deliveries)

    @property
    def complaints(self) -> list[str]:
        """What the app did against Slack's protocol without Slack telling it."""
        with self.state.lock:
            return list(self.state.complaints)

    def wait_for(self, predicate: Callable[[], Found], timeout: float = 5.0, what: str = "") -> Found:
        """The first truthy answer of `predicate`, asked at every change. Raises TimeoutError with what is there."""
        deadline = time.monotonic() + timeout
        with self.state.changed:
            while True:
                found = predicate()
                if found:
                    return found
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"{what or 'it'} did not happen within {timeout} s\n{self.describe()}")
                self.state.changed.wait(left)

    def wait_connected(self, sockets: int = 1, timeout: float = 10.0) -> None:
        """Wait until the app has so many sockets open."""
        self.wait_for(lambda: len(self.sockets.sockets) >= sockets, timeout, f"{sockets} socket(s)")

    def later(self, seconds: float) -> None:
        """Let the workspace's clock jump ahead: triggers and response URLs expire, rate limits refill."""
        with self.state.changing():
            self.state.offset += seconds


__all__ = ["NotAccepted", "NotVisible", "Tokens", "Workspace"]
