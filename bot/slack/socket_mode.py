"""Socket Mode: one connection by slack_sdk's builtin client, opened in the background, watched, renewed."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException

from slack_bolt import App
from slack_bolt.adapter.socket_mode.builtin import SocketModeHandler
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError

from bot.core.secret import Secret
from bot.slack.api import quiet_logger

log = logging.getLogger(__name__)
CONCURRENCY = 8
"""Listeners only write to the database; more threads than that would wait for each other."""
PING_SECONDS = 3.0
SILENT_SECONDS = 5 * PING_SECONDS
"""Without a pong for so long the connection is half open and is replaced."""
WATCH_SECONDS = 1.0
LONGEST_RETRY = 30.0


class SlackSocket:
    """`heard` is called when a connection is greeted by Slack, from the client's own thread."""

    def __init__(self, app: App, app_token: Secret, url: str, heard: Callable[[], None]) -> None:
        self._heard = heard
        self._stopping = threading.Event()
        self._last = time.time()
        client = WebClient(base_url=url, timeout=10, retry_handlers=[], logger=quiet_logger())
        self._handler = SocketModeHandler(
            app,
            app_token.reveal_text(),
            logger=quiet_logger(),
            web_client=client,
            ping_interval=PING_SECONDS,
            receive_buffer_size=16384,
            concurrency=CONCURRENCY,
        )
        self._handler.client.on_message_listeners.append(self._on_message)
        self._thread = threading.Thread(target=self._keep, name="slack-socket", daemon=True)

    def start(self) -> None:
        """Connect in the background, again and again until Slack is there, and keep the connection alive."""
        self._thread.start()

    def stop(self) -> None:
        """Take nothing new, finish and acknowledge what is in hand, close the connection."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(15)
        client = self._handler.client
        client.closed = True
        client.auto_reconnect_enabled = client.default_auto_reconnect_enabled = False
        client.current_session_state.terminated = True
        client.message_queue.put(None)  # wakes the thread that waits for messages, so that it sees the end
        client.message_processor.shutdown()  # type: ignore[no-untyped-call]  # slack_sdk leaves it untyped
        client.message_workers.shutdown(wait=True)
        session = client.current_session
        if session is not None and session.sock is not None:
            with suppress(OSError):  # already gone
                session.sock.shutdown(socket.SHUT_RDWR)  # wakes the reader, which would wait for three seconds
        client.close()

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return bool(self._handler.client.is_connected())

    def seconds_since_frame(self) -> float:
        """Since Slack last said anything, pongs included."""
        session = self._handler.client.current_session
        pong = session.last_ping_pong_time if session is not None else None
        return max(0.0, time.time() - max(self._last, pong or 0.0))

    def _keep(self) -> None:
        """Connect, then look every second whether the connection lives: the client alone needs half a minute."""
        client = self._handler.client
        pause = 0.0
        while not self._stopping.wait(pause):
            if self._lives():
                pause = WATCH_SECONDS
                continue
            try:
                client.connect_to_new_endpoint(force=True)
                self._last = time.time()
                pause = WATCH_SECONDS
                continue
            except SlackApiError as error:
                word = error.response.get("error") if isinstance(error.response.data, dict) else "no answer"
                log.error("Slack does not open a socket (%s); is SLACK_APP_TOKEN right?", str(word)[:60])
            except (OSError, HTTPException, SlackClientError, ValueError) as error:  # nothing was opened
                log.warning("no connection to Slack: %s", type(error).__name__)
            pause = min(LONGEST_RETRY, max(WATCH_SECONDS, pause * 2))

    def _lives(self) -> bool:
        session = self._handler.client.current_session
        if session is None or not session.is_active():
            return False
        return session.consecutive_check_state_error_count == 0 and self.seconds_since_frame() < SILENT_SECONDS

    def _on_message(self, message: str) -> None:
        self._last = time.time()
        if '"hello"' in message[:200]:
            self._heard()
