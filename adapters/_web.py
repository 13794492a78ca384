"""What adapters that speak JSON over HTTP share: one client, capped time and size, errors that say what to do."""

from __future__ import annotations

import base64
import functools
import json
import math
import re
import ssl
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from bot.contracts.adapter import Run
from bot.core.errors import Permanent, Transient
from bot.core.secret import Secret

LONGEST_CALL = 10.0
LARGEST_ANSWER = 1024 * 1024
LONGEST_DELAY = 3600.0
MOST_AT_ONCE = 16
_CODE = re.compile(r"[a-z][a-z0-9_]{0,59}")


class Shape(BaseModel):
    """What we read of an answer; more may be in it."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


@functools.cache
def _authorities() -> ssl.SSLContext:
    return ssl.create_default_context()


def open_http() -> httpx.Client:
    """A client that trusts the machine's certificate authorities, read once for all: that takes longer than a call.

    It keeps no idle connections: one that died meanwhile would look like a lost answer. It keeps no cookies either: a
    session made with a new credential must not let an old one in.
    """
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(trust_env=False, limits=limits, verify=_authorities(), cookies=cookies)


S = TypeVar("S", bound=Shape)
Found = TypeVar("Found")


def ask_each(names: Collection[str], ask: Callable[[str], Found]) -> Iterator[tuple[str, Found]]:
    """Each name with what `ask` finds for it, in their order; up to 16 are asked at the same time.

    Raises what the first of them in that order raised, as if they had been asked one by one. Who stops early, or meets
    an error, waits for the calls that are under way; the others are not made any more.
    """
    pool = ThreadPoolExecutor(max_workers=min(MOST_AT_ONCE, len(names)) or 1, thread_name_prefix="ask")
    try:
        yield from zip(names, pool.map(ask, names), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, the JSON object that came with it, and its error code if that is a plain word."""

    status: int
    body: Mapping[str, Any] = field(repr=False)
    code: str
    place: str

    def read(self, shape: type[S]) -> S:
        """The body in the shape expected; `Transient` when it is something else, since proxies make such answers up."""
        try:
            return shape.model_validate(self.body)
        except ValidationError:
            raise Transient(f"{self.place} gave an answer that cannot be understood") from None


class Web:
    """Calls one kind of system. Nothing is sent twice, no redirect is followed, no answer is believed beyond its shape.

    Every failure is `Transient` when it may pass by itself, a lost answer included: the engine looks before it repeats.
    `hint` says what to do when the system refuses our credentials.
    """

    def __init__(self, what: str, hint: str) -> None:
        self._what, self._hint = what, hint
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None

    def get(self, run: Run, url: str, *, token: Secret | None = None, expect: Collection[int] = ()) -> Answer:
        """Read something."""
        return self.call(run, "GET", url, token=token, expect=expect)

    def call(
        self,
        run: Run,
        method: str,
        url: str,
        *,
        token: Secret | None = None,
        basic: tuple[str, Secret] | None = None,
        body: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        expect: Collection[int] = (),
    ) -> Answer:
        """Send one request. Answers with a status of `expect` come back as they are, other errors are raised."""
        parts = urlsplit(url)
        place = f"{self._what} at {parts.hostname}{f':{parts.port}' if parts.port else ''}"
        sent = {"Accept": "application/json", **(headers or {}), **self._credentials(token, basic, place)}
        timeout = min(LONGEST_CALL, run.remaining())
        try:
            with self._client().stream(
                method, url, json=body, data=form, headers=sent, timeout=timeout, follow_redirects=False
            ) as response:
                raw = b""
                for chunk in response.iter_bytes():
                    raw += chunk
                    run.remaining()
                    if len(raw) > LARGEST_ANSWER:
                        raise Transient(f"{place} gave an answer of more than {LARGEST_ANSWER} bytes")
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise Transient(f"{place} cannot be reached") from None
        except httpx.TimeoutException:
            raise Transient(f"{place} did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL):
            raise Transient(f"the answer of {place} was lost") from None
        return self._judge(response, raw, place, expect)

    def _judge(self, response: httpx.Response, raw: bytes, place: str, expect: Collection[int]) -> Answer:
        status = response.status_code
        parsed = _parse(raw)
        said = parsed.get("error") if parsed else None
        code = said if isinstance(said, str) and _CODE.fullmatch(said) else ""
        told = f"{place} answered {status}{f' ({code})' if code else ''}"
        if status in expect or 200 <= status < 300:
            if parsed is None:
                raise Transient(f"{place} gave an answer that cannot be understood")
            return Answer(status, parsed, code, place)
        if status == 429 or status >= 500:
            raise Transient(told, _delay(response.headers.get("Retry-After")))
        if status == 401:
            raise Permanent(f"{told}: our credentials were refused", self._hint)
        if status == 403:
            raise Permanent(f"{told}: our credentials do not allow this", self._hint)
        if 300 <= status < 400:
            raise Permanent(f"{told}: redirects are not followed", "configure the address that it really has")
        raise Permanent(told, "look at the system itself; it refused what the runbook asked for")

    def _credentials(self, token: Secret | None, basic: tuple[str, Secret] | None, place: str) -> dict[str, str]:
        if token is not None:
            value = token.reveal()
            # A header that cannot be sent would be quoted in an exception.
            if not value or not re.fullmatch(rb"[!-~]+", value):
                raise Permanent(f"the token for {place} is empty or holds blanks", self._hint)
            return {"Authorization": f"Bearer {value.decode('ascii')}"}
        if basic is not None:
            user, secret = basic
            coded = base64.b64encode(user.encode() + b":" + secret.reveal()).decode()
            return {"Authorization": f"Basic {coded}"}
        return {}

    def _client(self) -> httpx.Client:
        with self._lock:
            if self._http is None:
                self._http = open_http()
            return self._http


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(raw) if raw else {}
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _delay(header: str | None) -> timedelta:
    try:
        seconds = float(header or "")
    except ValueError:
        seconds = 5.0
    return timedelta(seconds=min(max(seconds, 0.0), LONGEST_DELAY) if math.isfinite(seconds) else 5.0)
