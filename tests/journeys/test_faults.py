"""When the estate misbehaves: what is held, what helps, what is undone by itself, and that nothing is doubled."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from bot.core.rotation import Overlap, Rotation, Stage, State
from playground.estate.identity import AUDIENCE, ISSUER
from playground.estate.secret_files import current_version
from tests.journeys.conftest import TownOpener
from tests.journeys.town import BRISK, Town, held

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]
KEYS = "/api/v1/admin/keys"
API_KEYS = "/api/v1/admin/api-keys"


def finish(town: Town, number: int) -> Rotation:
    """Wait for the end; a held step is a failure."""
    done = town.wait(number, lambda r: r.is_over or held(r), 60)
    assert done.overlap is Overlap.RETIRED, town.tell(number)
    return done


def holds(town: Town, number: int, step: str, timeout: float = 30.0) -> Rotation:
    """Wait until this step is held."""
    town.wait(number, lambda _: town.stage(number, step) is Stage.HELD, timeout)
    return town.rotation(number)


def retry(town: Town, number: int) -> None:
    """Press the card's button, and wait until it was heard."""
    before = town.events(number).count("step.released")
    town.click("erin", number, "retry")
    town.until(lambda: town.events(number).count("step.released") > before, lambda: town.tell(number), 10)


def test_a_failing_promotion_is_held_with_what_helps_and_goes_on_when_healed(town: Town) -> None:
    old = town.estate.signing_kid()
    town.estate.identity.faults.turn("promote_fails")
    number = town.start()
    town.approve(number)
    for failures in range(1, 6):
        town.wait(number, lambda r, f=failures: any(run.failures == f for run in r.steps))
        town.ask("erin", f"advance R-{number}", "goes on from here")
    holds(town, number, "promote")
    card = town.shows(
        number, "is held at", "*Problem* at Sign new tokens with the new key", "answered 500", "*What helps*"
    )
    branches = ["cache-age", "refresh-caches", "restart-gateways", "key-encryption", "no-keys"]
    assert [f"rotate:fix:{branch}" for branch in branches] == [one for one in card.buttons if ":fix:" in one]
    assert {"rotate:retry", "rotate:rollback"} <= set(card.buttons)
    town.until(lambda: "is held at Sign new tokens" in town.log(number), "the notice that everybody gets")
    assert town.estate.signing_kid() == old

    seen = len(town.workspace.ephemerals("erin"))
    town.click("erin", number, "fix:key-encryption")
    town.told("erin", "good:", seen)
    assert "trouble.outcome" in town.events(number)
    town.estate.heal()
    retry(town, number)
    finish(town, number)
    assert town.estate.signing_kid() != old
    assert len(town.estate.identity.keys.all()) == 2


def test_what_is_retried_after_healing_can_be_hurried_by_text(town: Town) -> None:
    fault = town.estate.identity.faults.add("status", f"{KEYS}/*/promote", "POST", times=1)
    number = town.start()
    town.approve(number)
    town.wait(number, lambda r: any(run.failures for run in r.steps))
    assert fault.fired == 1
    town.shows(number, "*Not yet* at Sign new tokens", "failure 1 of 6")
    town.ask("erin", f"retry R-{number}", "is tried again")
    finish(town, number)


def test_a_gateway_that_lags_is_waited_for_and_refreshing_its_cache_helps(town: Town) -> None:
    town.estate.gateway("gateway-2").faults.turn("lagging")
    number = town.start()
    town.approve(number)
    holds(town, number, "learn", 60)
    town.shows(number, "is held at", "2 of 3 gateways accept", "gateway-2 (unknown_kid)", "*What helps*")
    seen = len(town.workspace.ephemerals("erin"))
    town.click("erin", number, "fix:cache-age")
    assert "this is the trouble" in town.told("erin", "gateway-2", seen).words
    town.click("erin", number, "fix:refresh-caches")
    town.told("erin", "gateway-2: done", seen)
    town.estate.heal()
    retry(town, number)
    finish(town, number)


def test_a_gateway_that_ignores_removal_is_found_by_the_dead_check(town: Town) -> None:
    town.estate.gateway("gateway-3").faults.turn("ignores_removal")
    number = town.start()
    town.approve(number)
    blocked = holds(town, number, "dead", 60)
    assert (blocked.state, blocked.overlap) == (State.PROMOTED, Overlap.BLOCKED)
    town.shows(number, "retiring the old one is held", "gateway-3 STILL accepts it", "*What helps*")
    assert "overlap.blocked" in town.events(number)
    seen = len(town.workspace.ephemerals("erin"))
    town.ask("erin", f'skip R-{number} --reason "nobody will notice"', "needs a second person")
    assert town.rotation(number).amendment is not None, "one person alone skipped the dead check"
    town.told("erin", "needs a second person", seen)
    town.estate.heal()
    retry(town, number)
    finish(town, number)


def test_a_brownout_that_breaks_logins_is_undone_by_itself(open_town: TownOpener) -> None:
    """A forgotten job holds a token of many days; it calls only after the proof of quiet."""
    town = open_town(estate={**BRISK, "clients": 2, "jwks_max_age": 900})
    old = town.estate.signing_kid()
    now = int(town.estate.clock.now())
    claims: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 30 * 86400, "jti": "night"}
    token, kid = town.estate.identity.keys.sign({**claims, "sub": "night-job", "scope": "read"})
    assert kid == old
    number = town.start()
    town.approve(number)
    ended = threading.Event()
    job = threading.Thread(target=_night_job, args=(town, old, token, ended))
    job.start()
    try:
        blocked = holds(town, number, "disable", 60)
    finally:
        ended.set()
        job.join()
    assert blocked.overlap is Overlap.BLOCKED
    assert town.estate.identity.keys.get(old)["state"] == "previous", "the old key was not enabled again"
    events = [
        (row.event, row.detail.get("result")) for row in town.audit(number) if row.detail.get("step") == "disable"
    ]
    assert ("step.outcome", "backing-out") in events
    assert ("undo.outcome", "undone") in events
    town.shows(number, "retiring the old one is held", "It was undone; nothing is broken")
    answers = [_call(gateway.address, token) for gateway in town.estate.gateways]
    town.until(lambda: all(_call(g.address, token) == 200 for g in town.estate.gateways), f"tokens again: {answers}")


def _night_job(town: Town, kid: str, token: str, ended: threading.Event) -> None:
    while not ended.wait(0.002):
        if town.estate.identity.keys.get(kid)["state"] == "disabled":
            _call(town.estate.gateways[0].address, token)


def _call(address: str, token: str) -> int:
    return httpx.get(f"{address}/api/v1/findings", headers={"Authorization": f"Bearer {token}"}).status_code


def test_a_key_store_that_is_down_holds_before_anything_is_done(town: Town) -> None:
    number = town.start()
    town.estate.identity.faults.turn("key_store_down")
    town.approve(number)
    town.wait(number, lambda r: town.stage(number, "key-store") in (Stage.WAITING, Stage.HELD))
    holds(town, number, "key-store", 60)
    town.shows(number, "is held at", "The key store that encrypts signing keys answers", "*What helps*")
    assert len(town.estate.identity.keys.all()) == 1
    seen = len(town.workspace.ephemerals("erin"))
    town.click("erin", number, "fix:key-encryption")
    town.told("erin", "this is the trouble", seen)
    town.estate.heal()
    retry(town, number)
    finish(town, number)


ONCE = [
    ("lose", {}),
    ("status", {"status": 500}),
    ("throttle", {"retry_after": 0.5}),
]
CALLS = [
    ("identity-signing", f"{KEYS}/rotate"),
    ("identity-signing", f"{KEYS}/*/promote"),
    ("identity-signing", f"{KEYS}/*/disable"),
    ("billing-api-key", API_KEYS),
    ("billing-api-key", f"{API_KEYS}/*/disable"),
]


@pytest.mark.parametrize(("kind", "more"), ONCE, ids=[kind for kind, _ in ONCE])
def test_each_change_meets_a_fault_and_nothing_is_doubled(town: Town, kind: str, more: dict[str, Any]) -> None:
    """Both credentials at once; every changing call of theirs goes wrong once, the whole way through."""
    numbers = [town.start("alice"), town.start("dave", "billing-api-key")]
    old_kid, folder = town.estate.signing_kid(), town.estate.secrets_directory / "billing"
    first = current_version(folder)
    faults = [town.estate.identity.faults.add(kind, path, "POST", times=1, **more) for _, path in CALLS]
    faults.append(town.estate.identity.faults.add(kind, f"{API_KEYS}/*", "DELETE", times=1, **more))
    for number in numbers:
        town.approve(number)
    for number in numbers:
        _hurry(town, number)
        finish(town, number)
    assert [fault.fired for fault in faults] == [1] * len(faults)
    states = sorted(key["state"] for key in town.estate.identity.keys.all())
    assert states == ["current", "disabled"]
    assert town.estate.signing_kid() != old_kid
    keys = town.estate.identity.api_keys.all("billing")
    assert len(keys) == 1, "an orphan was left, or the old one lives on"
    assert current_version(folder) != first
    for number in numbers:
        intents = [row.detail["step"] for row in town.audit(number) if row.event == "step.intent"]
        assert len(intents) > len(set(intents)), "no step was tried again"


def _hurry(town: Town, number: int) -> None:
    """Backoffs are real seconds; look again at once wherever a failure waits."""

    def over() -> bool:
        rotation = town.rotation(number)
        if rotation.is_over or held(rotation):
            return True
        if any(run.stage is Stage.WAITING and run.failures for run in rotation.steps):
            town.type("erin", f"advance R-{number}")
        return False

    town.until(over, lambda: town.tell(number), 60, every=0.1)


def test_a_429_is_respected(open_town: TownOpener) -> None:
    town = open_town(estate={**BRISK, "rate": 600.0})
    fault = town.estate.identity.faults.add("throttle", f"{KEYS}/rotate", "POST", times=1, retry_after=20)
    number = town.start()
    town.approve(number)
    waits = town.wait(number, lambda r: any(run.failures for run in r.steps))
    run = next(run for p, run in zip(waits.plan.steps, waits.steps, strict=True) if p.id == "publish")
    with town.database.read() as reader:
        now = reader.now
    assert run.due_at is not None
    assert 15 * 600 < (run.due_at - now).total_seconds() <= 20 * 600, "Retry-After is real seconds"
    assert fault.fired == 1
    assert "answered 429" in run.problem


def test_a_call_that_hangs_is_given_up_and_looked_after(town: Town) -> None:
    fault = town.estate.identity.faults.add("hang", API_KEYS, "POST", times=1)
    number = town.start("dave", "billing-api-key")
    town.approve(number)
    town.wait(number, lambda r: any(run.failures for run in r.steps), 30)
    assert fault.fired == 1
    town.shows(number, "*Not yet*", "did not answer in time")
    _hurry(town, number)
    finish(town, number)
    assert len(town.estate.identity.api_keys.all("billing")) == 1
