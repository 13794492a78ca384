"""The identity adapter: drift is refused, orphans are cleared, facts stand still, rights are told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from adapters import identity
from bot.contracts.adapter import Absent, Present, Unclear
from bot.core.errors import Ambiguous, Permanent, Transient
from bot.core.secret import Secret, SecretReference
from playground.estate.secret_files import read_current
from tests.adapters.conftest import Bench


def state(bench: Bench, kid: str) -> str:
    return str(bench.estate.identity.keys.get(kid)["state"])


def published(bench: Bench) -> tuple[str, str]:
    return bench.estate.signing_kid(), bench.do("identity.publish_key", "keyturn-R-7-publish-1")["kid"]


# --- signing keys -----------------------------------------------------------------------------------------------------


def test_promotion_stops_when_somebody_else_has_promoted(bench: Bench) -> None:
    old, new = published(bench)
    other = bench.estate.identity.keys.rotate("somebody")[0]["kid"]
    bench.estate.identity.keys.promote(other)
    with pytest.raises(Permanent, match=f"{other} signs, not {old}") as caught:
        bench.do("identity.promote_key", kid=new, old=old)
    assert caught.value.hint
    with pytest.raises(Permanent, match="neither"):
        bench.undo("identity.promote_key", {}, kid=new, old=old)
    assert bench.estate.signing_kid() == other


def test_promotion_of_a_key_that_is_gone_or_disabled_is_unclear(bench: Bench) -> None:
    old, new = published(bench)
    operation, p = bench.operation("identity.promote_key", kid=new, old=old)
    bench.estate.identity.keys.disable(new)
    assert isinstance(operation.observe(p, bench.run()), Unclear)
    with pytest.raises(Permanent, match="key_disabled"):
        operation.ensure(p, bench.run())
    bench.estate.identity.keys.delete(new)
    assert isinstance(operation.observe(p, bench.run()), Unclear)


def test_a_published_key_that_was_disabled_is_not_used(bench: Bench) -> None:
    _, new = published(bench)
    bench.estate.identity.keys.disable(new)
    operation, p = bench.operation("identity.publish_key")
    assert isinstance(operation.observe(p, bench.run("keyturn-R-7-publish-1")), Unclear)
    with pytest.raises(Permanent, match="disabled"):
        operation.ensure(p, bench.run("keyturn-R-7-publish-1"))


def test_a_rolled_back_key_is_deleted_only_if_it_never_signed(bench: Bench) -> None:
    old, new = published(bench)
    keys = bench.estate.identity.keys
    keys.promote(new)
    with pytest.raises(Permanent, match="signs tokens"):
        bench.undo("identity.publish_key", {}, "keyturn-R-7-publish-1")
    keys.sign({"sub": "somebody"})
    bench.undo("identity.promote_key", {}, kid=new, old=old)
    bench.undo("identity.publish_key", {}, "keyturn-R-7-publish-1")
    assert state(bench, new) == "previous", "its tokens live to their end"

    unused = bench.do("identity.publish_key", "keyturn-R-8-publish-1")["kid"]
    keys.promote(unused)
    keys.promote(old)
    bench.undo("identity.publish_key", {}, "keyturn-R-8-publish-1")
    assert [key["kid"] for key in keys.all()] == [old, new]


def test_the_signing_key_cannot_be_disabled(bench: Bench) -> None:
    with pytest.raises(Permanent, match="key_is_current"):
        bench.do("identity.disable_key", kid=bench.estate.signing_kid())


def test_in_an_emergency_the_signing_key_goes_first_and_comes_back_where_that_is_undone(bench: Bench) -> None:
    old = bench.estate.signing_kid()
    disabled = bench.do("identity.disable_key", kid=old, emergency=True)
    assert disabled == {"kid": old, "changed": True}
    new = bench.do("identity.publish_key", "keyturn-R-9-publish-1")["kid"]
    with pytest.raises(Permanent, match=f"no key signs, not {old}"):
        bench.do("identity.promote_key", kid=new, old=old)
    bench.do("identity.promote_key", kid=new, old=old, emergency=True)
    assert (bench.estate.signing_kid(), state(bench, old)) == (new, "disabled")

    for _ in range(2):
        bench.undo("identity.promote_key", {}, kid=new, old=old, emergency=True)
        assert (bench.estate.signing_kid(), state(bench, new)) == (old, "previous")
    bench.undo("identity.publish_key", {}, "keyturn-R-9-publish-1")
    for _ in range(2):
        bench.undo("identity.disable_key", disabled, kid=old, emergency=True)
    assert [(key["kid"], key["state"]) for key in bench.estate.identity.keys.all()] == [(old, "current")]


def test_a_containment_is_put_back_so_that_the_key_signs_again(bench: Bench) -> None:
    old = bench.estate.signing_kid()
    outputs = bench.do("identity.disable_key", kid=old, emergency=True)
    for _ in range(2):
        bench.undo("identity.disable_key", outputs, kid=old, emergency=True)
        assert bench.estate.signing_kid() == old


def test_a_containment_is_put_back_behind_a_key_that_signs_by_then(bench: Bench) -> None:
    old = bench.estate.signing_kid()
    outputs = bench.do("identity.disable_key", kid=old, emergency=True)
    other = bench.estate.identity.keys.rotate("somebody")[0]["kid"]
    bench.estate.identity.keys.promote(other)
    bench.undo("identity.disable_key", outputs, kid=old, emergency=True)
    assert (bench.estate.signing_kid(), state(bench, old)) == (other, "previous")


def test_undo_leaves_disabled_what_somebody_else_disabled(bench: Bench) -> None:
    old, new = published(bench)
    bench.estate.identity.keys.promote(new)
    bench.estate.identity.keys.disable(old)
    outputs = bench.do("identity.disable_key", kid=old)
    assert outputs == {"kid": old, "changed": False}
    bench.undo("identity.disable_key", outputs, kid=old)
    assert state(bench, old) == "disabled"

    key = bench.estate.identity.api_keys.all("billing")[0]["id"]
    bench.estate.identity.api_keys.switch(key, False)
    outputs = bench.do("identity.disable_api_key", key_id=key)
    bench.undo("identity.disable_api_key", outputs, key_id=key)
    assert not bench.estate.identity.api_keys.get(key)["enabled"]


def test_a_key_that_is_gone_is_unclear_to_disable(bench: Bench) -> None:
    for word, params in (("disable_key", {"kid": "nobody"}), ("disable_api_key", {"key_id": "nobody"})):
        operation, p = bench.operation(f"identity.{word}", **params)
        assert isinstance(operation.observe(p, bench.run()), Unclear)
        with pytest.raises(Permanent, match="nobody"):
            operation.ensure(p, bench.run())


def test_bootstrap_only_without_keys(bench: Bench) -> None:
    with pytest.raises(Permanent, match="has a signing key already"):
        bench.do("identity.bootstrap_key")
    with bench.estate.identity._lock, bench.estate.identity._db:
        bench.estate.identity._db.execute("DELETE FROM signing_keys")
    with pytest.raises(Permanent, match="no key signs"):
        bench.fact("identity.signing_kid")
    made = bench.do("identity.bootstrap_key")["kid"]
    assert bench.fact("identity.signing_kid") == made


# --- API keys ---------------------------------------------------------------------------------------------------------

CREATE = {"client": "billing", "to": "secret_files:billing", "scope": "read,write", "expires_in": 90 * 86400}


def test_a_key_goes_straight_into_its_store_and_works(bench: Bench) -> None:
    outputs = bench.do("identity.create_api_key", **CREATE)
    reference = SecretReference.parse(outputs["secret"])
    assert (reference.path, reference.version) == ("billing", outputs["version"])
    folder = bench.estate.secrets_directory / "billing" / "versions" / outputs["version"]
    assert (folder / "id").read_text() == outputs["key_id"]
    current = read_current(bench.estate.secrets_directory / "billing")
    assert current is not None
    assert current.version == "v1", "nobody reads it yet"
    assert bench.check("identity.api_key_works", client="billing", secret=outputs["secret"]).passed
    refused = bench.check("identity.api_key_refused", client="billing", secret=outputs["secret"])
    assert (refused.passed, "STILL accepted" in refused.evidence) == (False, True)
    bench.do("identity.disable_api_key", key_id=outputs["key_id"])
    assert bench.check("identity.api_key_refused", client="billing", secret=outputs["secret"]).passed
    assert not bench.check("identity.api_key_works", client="billing", secret=outputs["secret"]).passed


def test_a_key_that_clients_may_have_taken_outlives_the_undoing(bench: Bench) -> None:
    outputs = bench.do("identity.create_api_key", **CREATE)
    left = bench.undo("identity.create_api_key", outputs, relied_on=True, **CREATE)
    assert left is not None
    assert f"{outputs['key_id']} stays enabled and stored" in left
    assert bench.check("identity.api_key_works", client="billing", secret=outputs["secret"]).passed
    assert bench.undo("identity.create_api_key", outputs, **CREATE) is None
    assert outputs["key_id"] not in {key["id"] for key in bench.estate.identity.api_keys.all("billing")}


def test_a_lost_answer_leaves_an_orphan_that_is_cleared(bench: Bench) -> None:
    identity_service = bench.estate.identity
    identity_service.faults.add("lose", "/api/v1/admin/api-keys", "POST")
    with pytest.raises(Transient, match="lost"):
        bench.do("identity.create_api_key", **CREATE)
    assert identity_service.calls["POST /api/v1/admin/api-keys"] == 1, "sent once"
    orphan = identity_service.api_keys.all("billing")[-1]["id"]
    operation, p = bench.operation("identity.create_api_key", **CREATE)
    assert isinstance(operation.observe(p, bench.run()), Absent)
    outputs = operation.ensure(p, bench.run())
    assert [key["id"] for key in identity_service.api_keys.all("billing")][1:] == [outputs["key_id"]]
    assert outputs["key_id"] != orphan
    assert operation.observe(p, bench.run()) == Present(outputs)


def test_a_key_that_cannot_be_stored_is_taken_back(bench: Bench) -> None:
    before = bench.estate.identity.api_keys.all()
    folder = bench.estate.secrets_directory / "billing" / "versions"
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("a file where a folder should be")
    with pytest.raises(Permanent):
        bench.do("identity.create_api_key", **CREATE)
    assert bench.estate.identity.api_keys.all() == before


class ForgetfulStore:
    """A store that answers well and keeps something else."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def read(self, reference: SecretReference) -> Secret:
        return Secret("something else") if reference.store == "secret_files" else self._inner.read(reference)

    def find(self, reference: SecretReference, marker: str) -> SecretReference | None:
        return None

    def put(self, reference: SecretReference, value: Secret, *, marker: str, label: str = "") -> SecretReference:
        return reference.at("v9")

    def discard(self, reference: SecretReference) -> None:
        self._inner.discard(reference)


def test_a_store_that_keeps_something_else_is_noticed(bench: Bench) -> None:
    before = bench.estate.identity.api_keys.all()
    operation, p = bench.operation("identity.create_api_key", **CREATE)
    run = bench.run()
    object.__setattr__(run, "secrets", ForgetfulStore(run.secrets))
    with pytest.raises(Ambiguous, match="does not hold what was written"):
        operation.ensure(p, run)
    assert bench.estate.identity.api_keys.all() == before


class LosingStore:
    """The store behind it keeps all; the answer to one call of `word` is lost, `stored` or not."""

    def __init__(self, inner: Any, word: str, *, stored: bool) -> None:
        self._inner, self._word, self._stored = inner, word, stored

    def __getattr__(self, word: str) -> Any:
        real = getattr(self._inner, word)
        if word != self._word:
            return real

        def losing(reference: SecretReference, *args: Any, **more: Any) -> Any:
            if reference.store != "secret_files":
                return real(reference, *args, **more)
            self._word = ""
            if self._stored:
                real(reference, *args, **more)
            raise Transient("the answer of the store was lost")

        return losing


@pytest.mark.parametrize(("word", "stored"), [("put", True), ("put", False), ("read", True)])
def test_a_store_whose_answer_is_lost_holds_one_version_at_the_end(bench: Bench, word: str, stored: bool) -> None:
    versions = bench.estate.secrets_directory / "billing" / "versions"
    before, keys = {path.name for path in versions.iterdir()}, bench.estate.identity.api_keys
    mine = {key["id"] for key in keys.all()}
    operation, p = bench.operation("identity.create_api_key", **CREATE)
    run = bench.run()
    object.__setattr__(run, "secrets", LosingStore(run.secrets, word, stored=stored))
    with pytest.raises(Transient, match="lost"):
        operation.ensure(p, run)
    outputs = operation.ensure(p, run)
    assert bench.check("identity.api_key_works", client="billing", secret=outputs["secret"]).passed
    assert {path.name for path in versions.iterdir()} - before == {outputs["version"]}
    assert {key["id"] for key in keys.all()} - mine == {outputs["key_id"]}


def test_undoing_right_after_a_lost_answer_of_the_store_leaves_nothing(bench: Bench) -> None:
    versions = bench.estate.secrets_directory / "billing" / "versions"
    before, keys = {path.name for path in versions.iterdir()}, bench.estate.identity.api_keys.all()
    operation, p = bench.operation("identity.create_api_key", **CREATE)
    run = bench.run()
    object.__setattr__(run, "secrets", LosingStore(run.secrets, "put", stored=True))
    with pytest.raises(Transient, match="lost"):
        operation.ensure(p, run)
    assert operation.undo(p, bench.run(), {}) is None
    assert {path.name for path in versions.iterdir()} == before
    assert bench.estate.identity.api_keys.all() == keys


def test_two_stored_keys_of_one_step_are_for_a_person(bench: Bench) -> None:
    token = "keyturn-R-7-step-0a1b2c3d"
    for _ in range(2):
        key, value = bench.estate.identity.api_keys.create("billing", token, "read", None)
        bench.secrets.put(
            SecretReference.parse("secret_files:billing"), Secret(value), marker=f"{token}-{key['id']}", label=key["id"]
        )
    operation, p = bench.operation("identity.create_api_key", **CREATE)
    assert isinstance(operation.observe(p, bench.run()), Unclear)
    with pytest.raises(Ambiguous):
        operation.ensure(p, bench.run())


def test_the_destination_names_no_version(bench: Bench) -> None:
    with pytest.raises(Permanent, match="names a version"):
        bench.do("identity.create_api_key", **{**CREATE, "to": "secret_files:billing#v2"})


def test_only_a_disabled_key_is_deleted(bench: Bench) -> None:
    key = bench.estate.identity.api_keys.all("billing")[0]["id"]
    with pytest.raises(Permanent, match="is enabled"):
        bench.do("identity.delete_api_key", key_id=key)
    bench.do("identity.disable_api_key", key_id=key)
    bench.do("identity.delete_api_key", key_id=key)
    assert not bench.estate.identity.api_keys.all("billing")


def test_the_current_key_stands_still_while_a_new_one_is_tried(bench: Bench) -> None:
    old = bench.estate.identity.api_keys.all("billing")[0]["id"]
    assert bench.fact("identity.current_api_key", client="billing") == old, "the only one, if nobody has used it yet"
    outputs = bench.do("identity.create_api_key", **CREATE)
    bench.check("identity.api_key_works", client="billing", secret=outputs["secret"])
    assert bench.fact("identity.current_api_key", client="billing") == old
    assert bench.fact("identity.current_api_key", rotation="R-8", client="billing") == outputs["key_id"]
    bench.estate.identity.api_keys.switch(old, False)
    with pytest.raises(Permanent, match="no enabled key"):
        bench.fact("identity.current_api_key", client="billing")


def test_the_key_in_use_is_the_one_whose_value_is_current(bench: Bench) -> None:
    """Also after a rollback that left the new one enabled: it was used last, and nobody uses it."""
    old, given = (
        bench.estate.identity.api_keys.all("billing")[0]["id"],
        {"client": "billing", "at": "secret_files:billing"},
    )
    outputs = bench.do("identity.create_api_key", **CREATE)
    bench.check("identity.api_key_works", client="billing", secret=outputs["secret"])
    assert bench.fact("identity.current_api_key", rotation="R-8", **given) == old
    bench.do("secret_files.point", path="billing", version=outputs["version"])
    assert bench.fact("identity.current_api_key", rotation="R-8", **given) == outputs["key_id"]


def test_several_unused_keys_are_not_guessed_among(bench: Bench) -> None:
    bench.estate.identity.api_keys.create("billing", "by hand", "read", None)
    with pytest.raises(Permanent, match="2 enabled keys, none of them used"):
        bench.fact("identity.current_api_key", client="billing")


def test_a_refused_try_is_a_use_too(bench: Bench) -> None:
    key = bench.estate.identity.api_keys.all("billing")[0]["id"]
    assert bench.seen("identity.api_key_last_used", key_id=key).at is None
    bench.estate.identity.api_keys.switch(key, False)
    bench.check("identity.api_key_refused", client="billing", secret="secret_files:billing#v1")
    sighting = bench.seen("identity.api_key_last_used", key_id=key)
    assert sighting.at is not None
    assert sighting.at > sighting.since
    assert sighting.by == ("billing",)
    with pytest.raises(Permanent, match="nobody"):
        bench.seen("identity.api_key_last_used", key_id="nobody")


# --- the service ------------------------------------------------------------------------------------------------------


def test_health_says_which_part_is_away(bench: Bench) -> None:
    assert bench.check("identity.key_store_healthy").passed
    bench.estate.identity.faults.turn("key_store_down")
    reading = bench.check("identity.key_store_healthy")
    assert (reading.passed, "key encryption NOT reachable" in reading.evidence) == (False, True)
    with pytest.raises(Transient, match="key_store_unavailable"):
        bench.do("identity.publish_key")
    assert bench.fact("identity.token_life") == 3600


def test_a_viewer_may_look_but_not_change(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "viewer"
    file.write_text(bench.estate.viewer_token)
    config = {"services": {bench.estate.identity.address: {"admin_token": f"file:{str(file).lstrip('/')}"}}}
    client = identity.Client(identity.Config.model_validate(config), bench.secrets)
    assert client.access(["keys: read", "keys: write", "health: read"], bench.run()) == ("keys: write",)
    p = identity.PublishKey.Params(service=bench.estate.identity.address)
    with pytest.raises(Permanent, match="do not allow"):
        identity.PublishKey(client).ensure(p, bench.run())
    reading = identity.AdminAccess(client).measure(p, bench.run())
    assert (reading.passed, "viewer" in reading.evidence) == (False, True)


def test_no_other_service_is_contacted(bench: Bench) -> None:
    for service in ("http://127.0.0.1:1", f"{bench.estate.identity.address}/other"):
        with pytest.raises(Permanent, match="not configured"):
            bench.do("identity.publish_key", service=service)
    nobody = identity.Client(identity.Config(), bench.secrets)
    with pytest.raises(Permanent, match="no identity service"):
        nobody.access(["keys: read"], bench.run())


def test_a_service_that_is_away_is_awaited(bench: Bench) -> None:
    bench.estate.identity.stop()
    with pytest.raises(Transient, match="cannot be reached"):
        bench.fact("identity.signing_kid")
    with pytest.raises(Transient):
        bench.catalog.access({"identity": ["keys: read"]}, bench.run())


@pytest.mark.parametrize(
    "config",
    [
        {"services": {"ftp://x": {"admin_token": "file:x"}}},
        {"services": {"http://u:p@x": {"admin_token": "file:x"}}},
        {"services": {"http://x": {"admin_token": "hunter2 is my password"}}},
        {"services": {"http://x": {"admin_token": "file:x", "password": "hunter2"}}},
        {"surprise": 1},
    ],
)
def test_wrong_settings_are_refused_without_being_quoted(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        identity.Config.model_validate(config)
    assert "hunter2" not in str(caught.value)
