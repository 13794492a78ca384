"""Prometheus: success rates, error rates and counts of failures, asked in PromQL; what it cannot tell never passes."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator

from adapters._fields import Address, Name, Reference
from adapters._web import LONGEST_CALL, Answer, Shape, Web
from bot.contracts.adapter import Model, Probe, Reading, Run, Secrets
from bot.core import duration
from bot.core.errors import Permanent, Transient
from bot.core.secret import SecretReference
from bot.core.suspicion import looks_like_secret

HINT = "check url and bearer_token under adapters.prometheus.servers, and that the token may query"
LONGEST_TOLD = 300
SLACK = 0.01
"""How far a share may lie above 1: two counters are extrapolated to the ends of the window one by one."""

_STRING = r'"(?:[^"\\\n]|\\[^\n])*"'
_MATCHER = rf"\s*[a-zA-Z_][a-zA-Z0-9_]*\s*(?:=~|!~|!=|=)\s*{_STRING}\s*"
_SELECTOR = re.compile(
    rf"(?:[a-zA-Z_:][a-zA-Z0-9_:]*(?:\{{(?:{_MATCHER}(?:,{_MATCHER})*,?\s*)?\}})?|\{{{_MATCHER}(?:,{_MATCHER})*,?\s*\}})"
)


def _selector(text: str) -> str:
    if not _SELECTOR.fullmatch(text):
        raise ValueError(
            'write one selector of a counter, such as http_requests_total{code=~"5.."}; anything more goes into query'
        )
    return text


def _printable(text: str) -> str:
    if not all(letter.isprintable() or letter in "\n\t" for letter in text):
        raise ValueError("a query has no control characters")
    return text


Selector = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_selector)]
"""A selector of counters. It cannot become another expression, whatever an input puts into it."""

Query = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_printable)]
"""A whole PromQL expression with one number for an answer; `$over` in it stands for the window."""

Seconds = Annotated[float, Field(ge=1, le=7 * 86400)]
Ratio = Annotated[float, Field(gt=0, le=1)]


class Server(Model):
    """One Prometheus, or what answers its API; the token is for the proxy in front of it."""

    url: Address
    bearer_token: Reference | None = None


class Config(Model):
    """Prometheus servers by name; no other address is ever contacted."""

    servers: dict[Name, Server] = Field(default_factory=dict)


class Sample(Shape):
    """One number of a vector, with its labels."""

    metric: dict[str, str]
    value: tuple[float, float]


class _Data(Shape):
    result_type: Annotated[str, Field(alias="resultType")]
    result: list[Any]


class _Answered(Shape):
    status: str
    data: _Data
    warnings: list[str] | None = None


class _Problem(Shape):
    error: str = ""


class Client:
    """Sends queries to the configured servers."""

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self._servers, self._secrets = config.servers, secrets
        self._web = Web("Prometheus", HINT)

    def access(self, permissions: Collection[str], run: Run) -> Collection[str]:
        """Which permissions are missing: all of them where a server does not let us query."""
        if not self._servers:
            raise Permanent("no Prometheus is configured", "list it under adapters.prometheus.servers")
        try:
            for name in self._servers:
                self.ask(run, name, "vector(1)")
        except Permanent:
            return tuple(permissions)
        return ()

    def ask(self, run: Run, server: str, query: str) -> list[Sample]:
        """The vector that the query gives now; a scalar is a vector of one.

        Raises `Transient` when the answer may be incomplete, `Permanent` with Prometheus' own words for a bad query.
        """
        if server not in self._servers:
            raise Permanent(f"the Prometheus {server} is not configured", "list it under adapters.prometheus.servers")
        known = self._servers[server]
        token = known.bearer_token and self._secrets.read(SecretReference.parse(known.bearer_token))
        patience = max(1, math.ceil(min(LONGEST_CALL, run.remaining())))
        form = {"query": query, "timeout": f"{patience}s"}
        url = f"{known.url}/api/v1/query"
        answer = self._web.call(run, "POST", url, token=token or None, form=form, expect=(400, 422))
        if answer.status in (400, 422):
            raise _refused(answer)
        found = answer.read(_Answered)
        if found.status != "success":
            raise Transient(f"{answer.place} gave an answer that cannot be understood")
        if found.warnings:
            raise Transient(f"{answer.place} warns that its answer may be incomplete: {_tell(found.warnings[0])}")
        return _samples(found.data, answer.place)


def _refused(answer: Answer) -> Permanent:
    said = answer.read(_Problem).error
    return Permanent(f"{answer.place} refused the query: {_tell(said)}", "correct the query in the runbook")


def _samples(data: _Data, place: str) -> list[Sample]:
    if data.result_type not in ("vector", "scalar"):
        raise Permanent(f"{place} gave a {_tell(data.result_type)}, one number is needed", "query an instant vector")
    raw = data.result if data.result_type == "vector" else [{"metric": {}, "value": data.result}]
    try:
        return [Sample.model_validate(one) for one in raw]
    except ValidationError:
        raise Transient(f"{place} gave an answer that cannot be understood") from None


def _tell(said: str) -> str:
    """What a server says, fit to be shown: one line, cut, and left out when it might hold a secret."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in said[:5000]).split())
    if not line or looks_like_secret(line):
        return "(its words are not repeated)"
    return line if len(line) <= LONGEST_TOLD else line[: LONGEST_TOLD - 1] + "…"


# --- counting ---------------------------------------------------------------------------------------------------------


def counted(selector: str, over: float) -> str:
    """PromQL for how much counters grew within the window.

    `increase` alone does not see the value that a new series begins with, such as the first 50 refusals of an instance
    that never refused before. Such a series counts whole, provided that Prometheus was there to notice that it is new.
    """
    window, before = _window(over), _window(max(over, 300))
    new = f"{selector} unless last_over_time({selector}[{before}] offset {window})"
    watched = f"count(last_over_time(up[{before}] offset {window}))"
    return f"sum({new} and on() {watched} or increase({selector}[{window}]))"


def _window(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _together(**queries: str) -> str:
    """One query for several numbers, so that all are of the same instant."""
    return " or ".join(f'label_replace({query}, "keyturn", "{name}", "", "")' for name, query in queries.items())


@dataclass(frozen=True, slots=True)
class Counts:
    """Growth of two counters within a window; None where Prometheus has nothing. `instances` have samples now."""

    part: float | None
    total: float | None
    instances: int


def _count(client: Client, run: Run, server: str, part: str, total: str, over: float) -> Counts:
    query = _together(part=counted(part, over), total=counted(total, over), instances=f"count({total})")
    found: Mapping[str, float] = {
        sample.metric.get("keyturn", ""): sample.value[1] for sample in client.ask(run, server, query)
    }
    instances = found.get("instances", 0.0)
    return Counts(_real(found.get("part")), _real(found.get("total")), round(instances))


def _real(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def _number(client: Client, run: Run, server: str, query: str, over: float) -> float:
    """The one number that a ready query gives; `Transient` when there is none, or none that is a number."""
    samples = client.ask(run, server, query.replace("$over", _window(over)))
    if len(samples) > 1:
        raise Permanent(f"the query gives {len(samples)} series, one number is needed", "aggregate it, as sum(…) does")
    value = _real(samples[0].value[1]) if samples else None
    if value is None:
        raise Transient(f"{server} has no samples for the query, so nothing can be told")
    return value


def _share(client: Client, run: Run, p: Any, part: str | None, word: str) -> tuple[float, str]:
    """A share from 0 to 1 and the evidence for it."""
    span = _show(p.over)
    if part is None or p.total is None:
        share = _number(client, run, p.server, p.query, p.over)
        told = f"{p.server} gives {share:.3%} {word}"
    else:
        counts = _count(client, run, p.server, part, p.total, p.over)
        if not counts.instances or not counts.total:
            why = "no request was counted" if counts.instances else "no instance is counting now"
            raise Transient(f"{p.server}: {why} over {span}, so there is no rate")
        if counts.part is None:
            raise Transient(f"{p.server} has no samples of what is {word}, so there is no rate")
        share = counts.part / counts.total
        told = f"{counts.part:.0f} of {counts.total:.0f} {word} over {span}, {counts.instances} series"
    if share > 1 + SLACK:
        raise Permanent(f"{p.server} gives {share:g}, which is no share", "the part must be counted in the total too")
    return min(share, 1.0), told


def _show(seconds: float) -> str:
    return duration.show(timedelta(seconds=seconds))


def _either(ready: str | None, *selectors: str | None) -> None:
    wanted = [selector is not None for selector in selectors]
    if any(wanted) if ready is not None else not all(wanted):
        raise ValueError("give either selectors of counters, or a ready query")


# --- probes -----------------------------------------------------------------------------------------------------------


class SuccessRate(Probe):
    """The share of requests that went well: `good` of `total`, or what `query` gives from 0 to 1.

    Judged by `expect`, or by `above`. No request, no samples or an answer that may be incomplete is no success.
    """

    permissions = ("prometheus: query",)

    class Params(Model):
        server: Name
        good: Selector | None = None
        """Counters of what went well, such as `http_requests_total{code!~"5.."}`."""
        total: Selector | None = None
        """Counters of everything."""
        query: Query | None = None
        over: Seconds = 300.0
        """Seconds."""
        above: Ratio | None = None

        @model_validator(mode="after")
        def _one_way(self) -> Any:
            _either(self.query, self.good, self.total)
            return self

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        share, told = _share(self.client, run, p, p.good, "good")
        return Reading(told, passed=None if p.above is None else share > p.above or share == 1, value=share)


class ErrorRate(Probe):
    """The share of requests that failed: `bad` of `total`, or what `query` gives from 0 to 1.

    Judged by `below`. `expect` bounds what did not fail, as everywhere: `{above: 99.9%}` allows errors below 0.1%.
    """

    permissions = ("prometheus: query",)

    class Params(Model):
        server: Name
        bad: Selector | None = None
        """Counters of what failed; without a series of them nothing can be told, so choose one that starts at 0."""
        total: Selector | None = None
        """Counters of everything."""
        query: Query | None = None
        over: Seconds = 300.0
        """Seconds."""
        below: Ratio | None = None

        @model_validator(mode="after")
        def _one_way(self) -> Any:
            _either(self.query, self.bad, self.total)
            return self

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        share, told = _share(self.client, run, p, p.bad, "failed")
        return Reading(told, passed=None if p.below is None else share < p.below, value=1 - share)


class AuthFailures(Probe):
    """Fewer failures than `below` within the window: growth of the counters `failures`, or what `query` gives.

    A counter that is born with its first failure has no series before it. Name in `total` what the same instances
    always count; while they do, no such series means no failure. Without `total` it means that nothing can be told.
    """

    permissions = ("prometheus: query",)

    class Params(Model):
        server: Name
        failures: Selector | None = None
        total: Selector | None = None
        query: Query | None = None
        over: Seconds = 300.0
        """Seconds."""
        below: Annotated[float, Field(gt=0, le=1e9)]

        @model_validator(mode="after")
        def _one_way(self) -> Any:
            _either(self.query, self.failures)
            if self.query is not None and self.total is not None:
                raise ValueError("total goes with failures, not with a query")
            return self

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        if p.failures is None:
            failures = _number(self.client, run, p.server, p.query or "", p.over)
            return self._reading(p, failures)
        counts = _count(self.client, run, p.server, p.failures, p.total or p.failures, p.over)
        if not counts.instances:
            raise Transient(f"{p.server}: no instance is counting now, so nothing can be told")
        if counts.part is None and counts.total is None:
            raise Transient(f"{p.server} has too few samples yet, so nothing can be told")
        return self._reading(p, counts.part or 0.0)

    def _reading(self, p: Params, failures: float) -> Reading:
        told = f"{failures:.0f} failures over {_show(p.over)}, fewer than {p.below:g} allowed"
        return Reading(told, passed=failures < p.below)
