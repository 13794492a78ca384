"""Errors in the logs of pods: structured lines whose fields match are counted; no line is ever shown or kept."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
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

    Lines are JSON, logfmt or klog; others are not counted, and told. Where no line can be read, nothing is claimed.
    """

    permissions = ("pods: list", "pods/log: get")

    class Params(InNamespace):
        selector: Selector
        over: Annotated[float, Field(ge=1, le=7 * 86400)] = 300.0
        """Seconds."""
        below: Annotated[int, Field(ge=1)]
        where: Where | Literal["auth"] = Field(default_factory=_errors)
        """Fields and the values that they must have, such as `{level: error, status: [401, 403]}`.

        `auth`: an answer 401 or 403, or words that say that somebody was not let in.
        """

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        place = Place(p.cluster, "pods", p.namespace)
        pods = self.client.all(run, place, labels=p.selector)
        if not pods:
            return Reading(f"no pod in {p.namespace} has the labels {p.selector}", passed=False)
        if len(pods) > MOST_PODS:
            raise Permanent(f"{len(pods)} pods match, at most {MOST_PODS} are read", "narrow the labels")
        matched, unread, total, loud = 0, 0, 0, []
        for pod in pods:
            here = 0
            for line in self._lines(replace(place, name=str(pod["metadata"].get("name"))), run, pod, p.over):
                total += 1
                fields = fields_of(line)
                unread += fields is None
                here += fields is not None and (refuses(fields) if p.where == "auth" else matches(fields, p.where))
            matched += here
            loud += [f"{said(pod['metadata'].get('name'), 100)} {here}"] if here else []
        if total and unread == total:
            return Reading(f"none of {total} lines is JSON, logfmt or klog, so nothing can be told", passed=False)
        told = f"{matched} of {total} lines over {duration.show(timedelta(seconds=p.over))} match, in {len(pods)} pods"
        told += f"; {unread} lines could not be read" if unread else ""
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
        return {"level": _LEVELS[klog[1]]}
    pairs = {name: value.strip('"') for name, value in _LOGFMT.findall(text)}
    return pairs if len(pairs) >= 2 else None


_STATUS = ("status", "status_code", "statusCode", "code", "http_status", "response.status", "res.status")
_WORDS = ("msg", "message", "error", "err", "reason", "event")
_REFUSED = re.compile(
    r"unauthori[sz]ed|unauthenticated|forbidden|(?:authentication|authorization) failed", re.IGNORECASE
)


def refuses(fields: Mapping[str, Any]) -> bool:
    """Whether a line tells that somebody was not let in."""
    if any(matches(fields, {name: [401, 403]}) for name in _STATUS):
        return True
    return any(isinstance(fields.get(name), str) and _REFUSED.search(fields[name]) for name in _WORDS)


def matches(fields: Mapping[str, Any], where: Mapping[str, Value | list[Value]]) -> bool:
    """Whether every field has one of its values; texts are compared without regard to case."""
    for name, wanted in where.items():
        found: Any = fields
        for part in [name] if name in fields else name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        among = wanted if isinstance(wanted, list) else [wanted]
        if found is None or str(found).casefold() not in {str(one).casefold() for one in among}:
            return False
    return True
