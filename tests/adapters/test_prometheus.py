"""Prometheus: what a real one counts, and that whatever it cannot tell is never good."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from adapters import prometheus
from bot.contracts.adapter import Probe, Reading
from bot.core.errors import KeyturnError, Permanent, Transient
from bot.core.runbook import Expect
from bot.engine.judge import judge
from tests.conformance.kit import Stage, run_of
from tests.stand_ins.prometheus import Prometheus
from tests.stand_ins.prometheus_server import Running, found, running
from tests.stand_ins.stand_in import REFERENCE, door_to

TOKEN = "prometheus-proxy-token-5f1e"
OVER = 5.0


def measure(kind: type[Probe], address: str, token: bool = False, **params: Any) -> Reading:
    """Measure as the engine does."""
    secrets = door_to(TOKEN)
    server = {"url": address, **({"bearer_token": REFERENCE} if token else {})}
    client = prometheus.Client(prometheus.Config.model_validate({"servers": {"main": server}}), secrets)
    p = kind.Params.model_validate({"server": "main", **params})
    return kind(client).measure(p, run_of(Stage(client=client, params={}, secrets=secrets)))


# --- a real one -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    """A Prometheus that has been watching for longer than the window."""
    if found() is None:
        pytest.skip("Prometheus is not installed")
    with running() as one:
        one.until(f"last_over_time(up[1m] offset {OVER:.0f}s)")
        yield one


@pytest.fixture
def real(server: Running) -> Running:
    """The same one, with an empty page."""
    server.page.counters.clear()
    server.page.up = True
    server.until("up == 1")
    return server


def grow(real: Running, **counters: tuple[float, float]) -> None:
    """Let Prometheus see counters at a first value, and then at a second."""
    series = {f'{name.rpartition("_")[0]}{{code="{name.rpartition("_")[2]}"}}': pair for name, pair in counters.items()}
    for moment in (0, 1):
        real.page.counters.update({name: pair[moment] for name, pair in series.items()})
        real.seen()


@pytest.mark.realparts
def test_the_rate_of_a_window(real: Running) -> None:
    grow(real, a_total_200=(7000, 7990), a_total_500=(100, 110))
    params = {"good": 'a_total{code!~"5.."}', "total": "a_total", "over": 60}
    reading = measure(prometheus.SuccessRate, real.address, **params, above=0.9)
    assert reading.value == pytest.approx(0.99, abs=0.002)
    assert reading.passed
    assert "2 series" in reading.evidence
    assert judge(reading, Expect.model_validate({"above": "98%"})).holds
    assert judge(reading, Expect.model_validate({"above": "99.9%", "hold_below": "99.5%"})).stop
    assert measure(prometheus.SuccessRate, real.address, **params, above=0.995).passed is False
    errors = {"bad": 'a_total{code="500"}', "total": "a_total", "over": 60}
    reading = measure(prometheus.ErrorRate, real.address, **errors, below=0.05)
    assert reading.passed
    assert reading.value == pytest.approx(0.99, abs=0.002)
    assert measure(prometheus.ErrorRate, real.address, **errors, below=0.001).passed is False


@pytest.mark.realparts
def test_a_series_that_is_born_with_failures_counts(real: Running) -> None:
    """`increase` does not see the value that a series begins with."""
    grow(real, b_total_200=(0, 50))
    params = {"failures": 'b_total{code="401"}', "total": "b_total", "below": 40, "over": OVER}
    assert measure(prometheus.AuthFailures, real.address, **params).passed
    real.page.counters['b_total{code="401"}'] = 50
    real.seen()
    reading = measure(prometheus.AuthFailures, real.address, **params)
    assert reading.passed is False, reading
    assert reading.evidence.startswith("50 failures")
    share = measure(
        prometheus.SuccessRate, real.address, good='b_total{code="200"}', total='b_total{code=~"200|401"}', over=OVER
    )
    assert share.value is not None
    assert share.value < 0.75


@pytest.mark.realparts
def test_without_samples_nothing_is_told(real: Running) -> None:
    def refused(kind: type[Probe], match: str, **params: Any) -> None:
        with pytest.raises(Transient, match=match):
            measure(kind, real.address, over=OVER, **params)

    refused(prometheus.SuccessRate, "no instance is counting", good="none", total="none")
    refused(prometheus.AuthFailures, "no instance is counting", failures="none", below=5)
    refused(prometheus.SuccessRate, "no samples", query="sum(none)")
    refused(prometheus.SuccessRate, "no samples", query="scalar(vector(0)) / 0")
    refused(prometheus.SuccessRate, "no samples", query="vector(1) / 0")
    grow(real, c_total_200=(0, 0))
    refused(prometheus.SuccessRate, "no request was counted", good="c_total", total="c_total")
    grow(real, c_total_200=(0, 9))
    refused(prometheus.SuccessRate, "no samples of what is good", good='c_total{code="204"}', total="c_total")
    assert measure(prometheus.SuccessRate, real.address, good="c_total", total="c_total", over=OVER).value == 1
    real.page.up = False
    real.until("up == 0")
    refused(prometheus.SuccessRate, "no instance is counting", good="c_total", total="c_total")
    refused(prometheus.AuthFailures, "no instance is counting", failures="c_total", below=1000)


@pytest.mark.realparts
def test_ready_queries(real: Running) -> None:
    grow(real, d_total_200=(0, 90), d_total_500=(0, 10))
    query = 'sum(increase(d_total{code="200"}[$over])) / sum(increase(d_total[$over]))'
    assert measure(prometheus.SuccessRate, real.address, query=query, over=60).value == pytest.approx(0.9, abs=0.01)
    assert measure(prometheus.ErrorRate, real.address, query="vector(0.25)", below=0.5).value == 0.75
    assert measure(prometheus.AuthFailures, real.address, query="3", below=4).passed
    for bad, match in {
        "sum(": "parse error",
        "d_total": "2 series",
        "d_total[5m]": "one number is needed",
        "'word'": "one number is needed",
        "vector(87)": "no share",
    }.items():
        with pytest.raises(Permanent, match=match) as caught:
            measure(prometheus.SuccessRate, real.address, query=bad)
        assert caught.value.hint


# --- answers that a real one gives too seldom -------------------------------------------------------------------------


@pytest.fixture
def stand_in() -> Iterator[Prometheus]:
    """A stand-in behind a proxy that wants a token."""
    with Prometheus(TOKEN) as service:
        yield service


def rate(stand_in: Prometheus) -> Reading:
    return measure(prometheus.SuccessRate, stand_in.address, token=True, good="g", total="t")


def test_one_question_by_form_with_the_token(stand_in: Prometheus) -> None:
    assert rate(stand_in).value == 0.999
    assert len(stand_in.asked) == 1
    assert stand_in.asked[0]["timeout"] == "10s"


@pytest.mark.parametrize("number", ["NaN", "+Inf", "-1"])
def test_a_number_that_is_none_is_no_rate(stand_in: Prometheus, number: str) -> None:
    for name in ("part", "total"):
        stand_in.numbers = {"part": "1", "total": "1", "instances": "1", name: number}
        with pytest.raises(Transient):
            rate(stand_in)


@pytest.mark.parametrize(
    "said", ["<!channel>\u202e\nreplica 2 is away", "xoxb-" + "1234567890-abcdefghij", "a " * 4000]
)
def test_a_warning_means_that_something_may_be_missing(stand_in: Prometheus, said: str) -> None:
    stand_in.more = {"warnings": [said]}
    with pytest.raises(Transient, match="incomplete") as caught:
        rate(stand_in)
    told = str(caught.value)
    assert len(told) < 500
    assert told.isprintable()
    assert "xoxb" not in told


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "throttle", "retry_after": 9}, Transient),
        ({"kind": "status", "status": 503}, Transient),
        ({"kind": "status", "status": 401}, Permanent),
        ({"kind": "status", "status": 404}, Permanent),
        ({"kind": "status", "status": 422}, Permanent),
        ({"kind": "garbage"}, Transient),
    ],
)
def test_other_answers(stand_in: Prometheus, fault: dict[str, Any], error: type[KeyturnError]) -> None:
    stand_in.faults.add(**fault)
    with pytest.raises(error) as caught:
        rate(stand_in)
    if isinstance(caught.value, Permanent):
        assert caught.value.hint
    elif fault["kind"] == "throttle":
        assert caught.value.delay == timedelta(seconds=9)  # type: ignore[attr-defined]  # it is a Transient


def test_more_of_a_part_than_of_the_whole(stand_in: Prometheus) -> None:
    stand_in.numbers = {"part": "1001", "total": "1000", "instances": "1"}
    assert rate(stand_in).value == 1
    stand_in.numbers = {"part": "1200", "total": "1000", "instances": "1"}
    with pytest.raises(Permanent, match="no share"):
        rate(stand_in)


def test_only_servers_that_are_listed(stand_in: Prometheus) -> None:
    with pytest.raises(Permanent, match="not configured") as caught:
        measure(prometheus.SuccessRate, stand_in.address, server="other", query="1")
    assert "adapters.prometheus" in caught.value.hint
    assert stand_in.asked == []


@pytest.mark.parametrize(
    "good",
    ["a[5m])) or vector(1) #", "a or b", 'a{b="c"} or vector(1)', 'a{b="c\\"}', "a{b=c}", "a#", "1", "", "a" * 1001],
)
def test_a_selector_stays_a_selector(good: str) -> None:
    with pytest.raises(ValidationError):
        prometheus.SuccessRate.Params.model_validate({"server": "main", "good": good, "total": "t"})


@pytest.mark.parametrize("good", ["a", "a:b_total", "a{}", 'a{b="c",d!~"5..|4[0-9]",}', '{__name__=~"a|b", c="}\\""}'])
def test_selectors(good: str) -> None:
    prometheus.SuccessRate.Params.model_validate({"server": "main", "good": good, "total": "t"})


@pytest.mark.parametrize(
    "params",
    [{}, {"good": "a"}, {"total": "a"}, {"good": "a", "total": "b", "query": "1"}, {"good": "a", "query": "1"}],
)
def test_selectors_or_a_query(params: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        prometheus.SuccessRate.Params.model_validate({"server": "main", **params})
