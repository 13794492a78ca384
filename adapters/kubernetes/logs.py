"""Errors in the logs of pods: structured lines whose fields match are counted; no line is ever shown or kept."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from adapters.kubernetes.client import Client, Found
from adapters.kubernetes.names import InNamespace, Selector
from adapters.kubernetes.permissions import Placed
from adapters.kubernetes.places import Place
from adapters.kubernetes.said import said
from bot.contracts.adapter import Probe, Reading, Run
from bot.core import duration
from bot.core.errors import Permanent, Transient

MOST_PODS = 100
MOST_BYTES = 8 * 1024 * 1024
_LOGFMT = re.compile(r'([A-Za-z_][A-Za-z0-9_.-]*)=("(?:[^"\\]|\\.)*"|\S*)')
_KLOG = re.compile(r"([IWEF])[0-9]{4} [0-9:.]+ +[0-9]+ [^\s\]]+:[0-9]+\]")
_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "fatal"}

Value = str | int | bool
Where = Annotated[dict[str, Value | list[Value]], Field(min_length=1, max_length=10)]


def _errors() -> dict[str, Value | list[Value]]:
    return {"level": ["error", "fatal", "critical", "panic"]}


class LogErrors(Placed, Probe):
    """Fewer log lines than `below` whose fields match `where`, in all pods that the labels select.

    Lines are JSON, logfmt or klog. Others, and such as have none of the fields that are looked at, are not counted, and
    told; where there are only such, nothing is claimed.
    """

    permissions = ("pods: list", "pods/log: get")

    class Params(InNamespace):
        selector: Selector
        over: Annotated[float, Field(ge=1, le=7 * 86400)] = 300.0
        """Seconds."""
        below: Annotated[int, Field(ge=1)]
        where: Where | Literal["auth", "handshake"] = Field(default_factory=_errors)
        """Fields and the values that they must have, such as `{level: error, status: [401, 403]}`.

        `auth`: an answer 401 or 403, or words that say that somebody was not let in. `handshake`: words that say that
        a certificate was not trusted, or that no encrypted connection came about.
        """

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        place = Place(p.cluster, "pods", p.namespace)
        pods = self.client.all(run, place, labels=p.selector)
        if not pods:
            return Reading(f"no pod in {p.namespace} has the labels {p.selector}", passed=False)
        if len(pods) > MOST_PODS:
            raise Permanent(f"{len(pods)} pods match, at most {MOST_PODS} are read", "narrow the labels")
        judge = judge_of(p.where)
        matched, unread, mute, total, loud = 0, 0, 0, 0, []
        for pod in pods:
            here = 0
            for line in self._lines(replace(place, name=str(pod["metadata"].get("name"))), run, pod, p.over):
                total += 1
                fields = fields_of(line)
                found = judge(fields) if fields is not None else None
                unread += fields is None
                mute += fields is not None and found is None
                here += found is True
            matched += here
            loud += [f"{said(pod['metadata'].get('name'), 100)} {here}"] if here else []
        if total and unread == total:
            return Reading(f"none of {total} lines is JSON, logfmt or klog, so nothing can be told", passed=False)
        if total and unread + mute == total:
            return Reading(
                f"none of {total} lines has the fields that are looked at; nothing can be told", passed=False
            )
        told = f"{matched} of {total} lines over {duration.show(timedelta(seconds=p.over))} match, in {len(pods)} pods"
        told += f"; {unread} lines could not be read" if unread else ""
        told += f"; {mute} lines have none of the fields" if mute else ""
        return Reading(f"{told}; {', '.join(loud[:5])}" if loud else told, passed=matched < p.below)

    def _lines(self, place: Place, run: Run, pod: Found, over: float) -> Iterator[str]:
        """Every line of every container, and of those that ended within the time and were started again."""
        status = pod.get("status") or {}
        for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            state, last = one.get("state") or {}, (one.get("lastState") or {}).get("terminated")
            query = {"container": str(one.get("name")), "sinceSeconds": str(math.ceil(over))}
            query |= {"limitBytes": str(MOST_BYTES)}
            if state.get("running") or state.get("terminated"):
                yield from self._read(place, run, query)
            if last and _recent(last.get("finishedAt"), run, over):
                yield from self._read(place, run, {**query, "previous": "true"})

    def _read(self, place: Place, run: Run, query: Mapping[str, str]) -> Iterator[str]:
        raw = self.client.text(run, place.part("log"), query)
        if raw is None:
            raise Transient(f"{place} has gone while its log was read")
        if len(raw) >= MOST_BYTES:
            raise Permanent(f"the log of {place} is longer than {MOST_BYTES} bytes", "look at a shorter time")
        yield from (line for line in raw.decode("utf-8", "replace").splitlines() if line.strip())


def _recent(text: Any, run: Run, over: float) -> bool:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return True
    return (run.now - (at if at.tzinfo else at.replace(tzinfo=UTC))).total_seconds() <= over


def fields_of(line: str) -> Mapping[str, Any] | None:
    """The fields of a structured line, None when it has no structure."""
    text = line.strip()
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None
    if klog := _KLOG.match(text):
        said_of_it = text[klog.end() :].strip()
        return {**_pairs(said_of_it), "level": _LEVELS[klog[1]], "msg": said_of_it}
    pairs = _pairs(text)
    return pairs if len(pairs) >= 2 else None


def _pairs(text: str) -> dict[str, str]:
    return {name: value.strip('"') for name, value in _LOGFMT.findall(text)}


_STATUS = (
    *("status", "status_code", "statusCode", "code", "http_status", "response.status", "res.status"),
    *("http.status", "http.status_code", "http.response.status_code"),
)
_WORDS = ("msg", "message", "error", "err", "reason", "event")
_REFUSED = re.compile(
    r"unauthori[sz]ed|unauthenticated|forbidden|(?:authentication|authorization) failed"
    r"|(?:unable|failed) to authenticate",
    re.IGNORECASE,
)
_NOT_TRUSTED = re.compile(
    r"handshake|x509|bad certificate|unknown (?:certificate )?authority|certificate (?:verify failed|has expired)"
    r"|certificate is (?:not|un)",
    re.IGNORECASE,
)
Judge = Callable[[Mapping[str, Any]], bool | None]


def judge_of(where: Where | str) -> Judge:
    """Says of a line's fields whether it counts; None where it has none of the fields that would tell."""
    if where == "auth":
        return refuses
    if where == "handshake":
        return lambda fields: _speaks(fields, _NOT_TRUSTED)
    assert isinstance(where, dict)
    names = tuple(where)

    def judge(fields: Mapping[str, Any]) -> bool | None:
        return matches(fields, where) if any(_field(fields, name) is not None for name in names) else None

    return judge


def refuses(fields: Mapping[str, Any]) -> bool | None:
    """Whether a line tells that somebody was not let in; None where it has neither a status nor words."""
    answers = [name for name in _STATUS if _field(fields, name) is not None]
    if any(matches(fields, {name: [401, 403]}) for name in answers):
        return True
    return _speaks(fields, _REFUSED) if not answers else bool(_speaks(fields, _REFUSED))


def _speaks(fields: Mapping[str, Any], words: re.Pattern[str]) -> bool | None:
    """Whether one of its texts has such words; None where it has no text."""
    texts = [fields[name] for name in _WORDS if isinstance(fields.get(name), str)]
    return any(words.search(text) for text in texts) if texts else None


def _field(fields: Mapping[str, Any], name: str) -> Any:
    """A field by its name, or by the names that lead to it."""
    found: Any = fields
    for part in [name] if name in fields else name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def matches(fields: Mapping[str, Any], where: Mapping[str, Value | list[Value]]) -> bool:
    """Whether every field has one of its values; texts are compared without regard to case."""
    for name, wanted in where.items():
        found = _field(fields, name)
        among = wanted if isinstance(wanted, list) else [wanted]
        if found is None or str(found).casefold() not in {str(one).casefold() for one in among}:
            return False
    return True
