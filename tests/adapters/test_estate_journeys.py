"""Whole rotations by the adapters alone, in the order of the runbooks, while clients are at work: nobody fails."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.adapters.conftest import Bench

Until = Callable[..., None]


def failures(bench: Bench) -> int:
    return int(bench.estate.stats()["clients"]["failures_total"])


def test_the_signing_key_is_rotated(busy: Bench, until: Until) -> None:
    clock, old = busy.estate.clock, busy.fact("identity.signing_kid")
    overlap = busy.fact("identity.token_life") + busy.fact("jwks.cache_ttl")
    new = busy.do("identity.publish_key")["kid"]
    until(lambda: busy.check("jwks.canary_accepted_everywhere", kid=new).passed)
    assert busy.do("identity.promote_key", kid=new, old=old) == {"kid": new, "previous": old}

    def quiet() -> bool:
        sightings = [busy.seen(f"{name}.kid_last_seen", kid=old) for name in ("gateways", "clients")]
        last = max((seen.at or seen.since).timestamp() for seen in sightings)
        return clock.now() > last + overlap

    until(quiet)
    busy.do("identity.disable_key", kid=old)
    until(lambda: busy.check("jwks.old_refused_everywhere", kid=old).passed)
    assert busy.check("gateways.success_rate", over=3600).value == 1.0
    assert failures(busy) == 0


def test_an_api_key_is_rotated(busy: Bench, until: Until) -> None:
    clock, old = busy.estate.clock, busy.fact("identity.current_api_key", client="billing")
    version = busy.fact("secret_files.current_version", path="billing")
    made = busy.do(
        "identity.create_api_key",
        client="billing",
        to="secret_files:billing",
        scope="read,write",
        expires_in=90 * 86400,
    )
    assert busy.check("identity.api_key_works", client="billing", secret=made["secret"]).passed
    busy.do("secret_files.point", path="billing", version=made["version"], expected=version)
    until(lambda: busy.check("clients.uses_api_key", client="billing", key_id=made["key_id"]).passed)

    def quiet() -> bool:
        words = ("identity.api_key_last_used", "clients.api_key_last_seen")
        sightings = [busy.seen(word, key_id=old) for word in words]
        return clock.now() > max((seen.at or seen.since).timestamp() for seen in sightings) + 1800

    until(quiet)
    busy.do("identity.disable_api_key", key_id=old)
    assert busy.check("identity.api_key_refused", client="billing", secret=f"secret_files:billing#{version}").passed
    busy.do("identity.delete_api_key", key_id=old)
    assert busy.check("identity.api_key_refused", client="billing", secret=f"secret_files:billing#{version}").passed
    busy.do("secret_files.remove", path="billing", version=version)
    before = busy.estate.stats()["clients"]["logins_total"]
    until(lambda: busy.estate.stats()["clients"]["logins_total"] > before + 20)
    assert busy.check("clients.success_rate", over=3600).value == 1.0
    assert failures(busy) == 0
    assert os.listdir(busy.estate.secrets_directory / "billing" / "versions") == [made["version"]]


def test_a_rollback_fails_nobody_either(busy: Bench, until: Until) -> None:
    old = busy.fact("identity.signing_kid")
    published = busy.do("identity.publish_key")
    new = published["kid"]
    until(lambda: busy.check("jwks.canary_accepted_everywhere", kid=new).passed)
    promoted = busy.do("identity.promote_key", kid=new, old=old)
    until(lambda: new in busy.estate.stats()["clients"]["by_kid"])
    busy.undo("identity.promote_key", promoted, kid=new, old=old)
    busy.undo("identity.publish_key", published)
    assert busy.fact("identity.signing_kid") == old
    before = busy.estate.stats()["clients"]["logins_total"]
    until(lambda: busy.estate.stats()["clients"]["logins_total"] > before + 100)
    assert failures(busy) == 0
