"""Versioned keys: their whole life, and everybody else who edits the same Secret."""

from __future__ import annotations

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from bot.contracts.adapter import Absent, Present
from bot.core.errors import KeyturnError, Permanent
from bot.core.secret import Secret, SecretReference
from tests.real.kubernetes.conftest import Bench

OLD = "first-key-value-77aa"
HELM = {
    "helm.sh/resource-policy": "keep",
    "meta.helm.sh/release-name": "shop",
    "meta.helm.sh/release-namespace": "shop",
}


def make(bench: Bench, data: dict[str, str] | None = None, **more: Any) -> None:
    """The Secret of the runbook, as Helm has made it."""
    about = {"annotations": HELM, "labels": {"app.kubernetes.io/managed-by": "Helm"}}
    bench.secret("admin", data or {"active": "v1", "key.v1": OLD, "other": "left-alone"}, metadata=about, **more)


def about(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = bench.api.get(bench.path("secrets", "admin"))["metadata"]
    return found


def test_a_key_is_added_pointed_at_removed_and_purged_in_place(bench: Bench) -> None:
    make(bench)
    before = about(bench)
    made = bench.do("add_key", secret="admin")
    reference = f"kubernetes:default/{bench.namespace}/admin/key.#v2"
    assert made == {"version": "v2", "previous": "v1", "secret": reference}
    assert bench.data("admin")["active"] == "v1", "nobody signs with it yet"
    assert bench.secrets.read(SecretReference.parse(reference)) == Secret(bench.data("admin")["key.v2"])
    assert bench.check("key_present", secret="admin", version="v2").passed
    moved = bench.do("point_key", "keyturn-R-7-flip-0", secret="admin", version="v2", expected="v1")
    assert moved == {"version": "v2", "previous": "v1"}
    assert bench.fact("active_version", secret="admin") == "v2"
    assert not bench.check("key_absent", secret="admin", version="v1").passed
    bench.do("remove_key", "keyturn-R-7-remove-0", secret="admin", version="v1")
    assert bench.check("key_absent", secret="admin", version="v1").passed
    assert bench.data("admin")["retired.v1"] == OLD
    bench.undo("remove_key", {}, "keyturn-R-7-remove-0", secret="admin", version="v1")
    assert bench.data("admin")["key.v1"] == OLD
    bench.do("remove_key", "keyturn-R-7-remove-0", secret="admin", version="v1")
    bench.do("purge_key", "keyturn-R-7-purge-0", secret="admin", version="v1")
    left = bench.data("admin")
    assert set(left) == {"active", "key.v2", "other"}
    assert left["other"] == "left-alone"
    after = about(bench)
    assert after["uid"] == before["uid"], "edited in place, not replaced"
    assert HELM.items() <= after["annotations"].items()
    assert after["labels"] == before["labels"]
    assert "v1" not in json.loads(after["annotations"]["keyturn.dev/rotation"]), "notes on what is gone go too"


@pytest.mark.parametrize(
    ("kind", "begins"),
    [("rsa-2048", "-----BEGIN PRIVATE KEY-----"), ("es256", "-----BEGIN"), ("ed25519", "-----BEGIN"), ("random", "")],
)
def test_every_kind_of_key_can_be_made(bench: Bench, kind: str, begins: str) -> None:
    make(bench)
    bench.do("add_key", secret="admin", kind=kind)
    value = bench.data("admin")["key.v2"]
    assert value.startswith(begins)
    assert len(value) >= 88


def test_a_third_version_is_refused_whoever_made_the_second(bench: Bench) -> None:
    make(bench, {"active": "v1", "key.v1": OLD, "key.v2": "made by hand"})
    with pytest.raises(Permanent, match="v1, v2 already; 2 may be valid") as caught:
        bench.do("add_key", secret="admin")
    assert "remove" in caught.value.hint


def test_a_number_is_never_used_for_another_key(bench: Bench) -> None:
    """Who has read the first v2 must not take the second one for the same key."""
    make(bench)
    bench.do("add_key", secret="admin")
    bench.undo("add_key", secret="admin")
    assert set(bench.data("admin")) == {"active", "key.v1", "other"}
    assert bench.do("add_key", secret="admin")["version"] == "v3"


def test_a_key_that_may_have_signed_stays_when_its_adding_is_undone(bench: Bench) -> None:
    make(bench)
    bench.do("add_key", secret="admin")
    bench.do("point_key", "keyturn-R-7-flip-0", secret="admin", version="v2")
    with pytest.raises(Permanent, match=r"active .* names v2"):
        bench.undo("add_key", secret="admin")
    bench.undo("point_key", {}, "keyturn-R-7-flip-0", secret="admin", version="v2")
    left = bench.undo("add_key", secret="admin")
    assert left is not None
    assert "key.v2 stays" in left
    assert bench.data("admin")["active"] == "v1"
    assert "key.v2" in bench.data("admin")


def test_a_foreign_edit_elsewhere_is_kept_and_ours_goes_on(bench: Bench) -> None:
    make(bench)
    bench.just_before_the_patch(lambda: bench.write("admin", {"other": "changed", "more": "new"}))
    bench.do("add_key", secret="admin")
    left = bench.data("admin")
    assert (left["other"], left["more"]) == ("changed", "new")
    assert "key.v2" in left


@pytest.mark.parametrize(
    ("edit", "name"),
    [({"active": "v7"}, "active"), ({"key.v1": "other-value-99cc"}, "key.v1"), ({"key.v2": "x"}, "key.v2")],
)
def test_a_foreign_edit_of_what_we_touch_is_a_conflict_for_people(
    bench: Bench, edit: dict[str, str], name: str
) -> None:
    make(bench)
    bench.just_before_the_patch(lambda: bench.write("admin", edit))
    with pytest.raises(Permanent, match=rf"somebody \(by kubectl-edit\) changed {name} of Secret admin") as caught:
        bench.do("add_key", secret="admin")
    told = f"{caught.value} {caught.value.hint}"
    assert OLD not in told
    assert "other-value-99cc" not in told
    assert {**bench.data("admin"), **edit} == bench.data("admin"), "theirs stays"


def test_who_edits_all_the_time_does_not_block_us_for_ever(bench: Bench) -> None:
    make(bench)
    numbers = iter(range(100))
    bench.just_before_the_patch(lambda: bench.write("admin", {"other": f"{next(numbers)}"}), times=100)
    with pytest.raises(KeyturnError, match="all the time"):
        bench.do("add_key", secret="admin")
    assert "key.v2" not in bench.data("admin")


def test_the_store_goes_by_the_pointer_that_its_path_names(bench: Bench) -> None:
    make(bench, {"key.v1": OLD, "key.v2": "new", "active": "v1", "signs": "v2"})
    at = f"kubernetes:default/{bench.namespace}/admin/key."
    assert bench.secrets.read(SecretReference.parse(at)) == Secret(OLD)
    assert bench.secrets.read(SecretReference.parse(f"{at}/signs")) == Secret("new")
    with pytest.raises(Permanent, match="has no verifies, so no current version"):
        bench.secrets.read(SecretReference.parse(f"{at}/verifies"))
    with pytest.raises(Permanent, match="v2 is the version in use"):
        bench.secrets.discard(SecretReference.parse(f"{at}/signs#v2"))
    made = bench.secrets.put(SecretReference.parse(f"{at}/signs"), Secret("newer"), marker="m", label="")
    assert str(made) == f"{at}/signs#v3"
    bench.secrets.discard(made)
    assert set(bench.data("admin")) == {"key.v1", "key.v2", "active", "signs"}


def test_a_pointer_that_somebody_moved_is_not_moved_back(bench: Bench) -> None:
    make(bench, {"active": "v1", "key.v1": OLD, "key.v2": "second", "key.v3": "third"})
    with pytest.raises(Permanent, match=r"names v1, not v3"):
        bench.do("point_key", secret="admin", version="v2", expected="v3")
    bench.do("point_key", secret="admin", version="v2", expected="v1")
    bench.write("admin", {"active": "v3"})
    with pytest.raises(Permanent, match=r"names v3.*kubectl-edit"):
        bench.undo("point_key", secret="admin", version="v2")
    assert bench.data("admin")["active"] == "v3"
    with pytest.raises(Permanent, match=r"no key.v9"):
        bench.do("point_key", "keyturn-R-8-flip-0", secret="admin", version="v9")


def test_a_pointer_does_not_go_back_to_a_token_that_has_ended(bench: Bench) -> None:
    def token(ends: int) -> str:
        claims = base64.urlsafe_b64encode(json.dumps({"exp": ends}).encode()).decode().rstrip("=")
        return f"e30.{claims}.c2ln"

    now = int(datetime.now(UTC).timestamp())
    make(bench, {"active": "v1", "key.v1": token(now - 60), "key.v2": token(now + 3600)})
    bench.do("point_key", secret="admin", version="v2")
    with pytest.raises(Permanent, match="is a token that has ended"):
        bench.undo("point_key", secret="admin", version="v2")
    assert bench.data("admin")["active"] == "v2"
    bench.write("admin", {"key.v1": token(now + 3600)})
    bench.undo("point_key", secret="admin", version="v2")
    assert bench.data("admin")["active"] == "v1"


def test_twenty_replicas_with_one_token_add_one_key(bench: Bench) -> None:
    make(bench)
    start = threading.Barrier(20)

    def add(_: int) -> dict[str, Any]:
        start.wait()
        return bench.do("add_key", secret="admin")

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(add, range(20)))
    assert all(result == results[0] for result in results)
    assert sorted(name for name in bench.data("admin") if name.startswith("key.")) == ["key.v1", "key.v2"]


def test_two_rotations_never_both_add(bench: Bench) -> None:
    make(bench)
    start = threading.Barrier(2)

    def add(token: str) -> str:
        start.wait()
        try:
            return str(bench.do("add_key", token, secret="admin")["version"])
        except Permanent as error:
            return error.hint

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(add, ["keyturn-R-7-add-0", "keyturn-R-8-add-0"]))
    assert results.count("v2") == 1, results
    assert "key.v3" not in bench.data("admin")


def test_what_cannot_be_edited_says_why(bench: Bench) -> None:
    make(bench, immutable=True)
    with pytest.raises(Permanent, match="immutable"):
        bench.do("add_key", secret="admin")
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner", "namespace": bench.namespace}}
    uid = bench.api.create(owner)["metadata"]["uid"]
    controller = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid, "controller": True}
    bench.secret("owned", {"active": "v1", "key.v1": OLD}, metadata={"ownerReferences": [controller]})
    with pytest.raises(Permanent, match="written by ConfigMap owner"):
        bench.do("add_key", secret="owned")
    bench.secret("full", {"active": "v1", "key.v1": "x" * 1_048_500})
    with pytest.raises(Permanent, match="1 MiB"):
        bench.do("add_key", secret="full")
    bench.secret("empty", {"key.v1": OLD})
    with pytest.raises(Permanent, match="names no version"):
        bench.do("add_key", secret="empty")
    bench.secret("odd", {"active": "hunter2-is-my-password", "key.v1": OLD})
    with pytest.raises(Permanent) as caught:
        bench.do("add_key", secret="odd")
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


def test_what_is_not_there_says_what_to_do(bench: Bench) -> None:
    with pytest.raises(Permanent, match=f"no Secret gone in namespace {bench.namespace}") as caught:
        bench.do("add_key", secret="gone")
    assert "restore" in caught.value.hint
    with pytest.raises(Permanent, match="namespace nowhere"):
        bench.do("add_key", namespace="nowhere", secret="gone")
    with pytest.raises(Permanent, match="elsewhere is not configured"):
        bench.do("add_key", cluster="elsewhere", secret="gone")


def test_garbled_notes_are_not_guessed_at(bench: Bench) -> None:
    make(bench)
    bench.api.merge(bench.path("secrets", "admin"), {"metadata": {"annotations": {"keyturn.dev/rotation": "{"}}})
    with pytest.raises(Permanent, match="cannot be read"):
        bench.do("add_key", secret="admin")


def test_the_store_keeps_pending_versions_beside_the_current_one(bench: Bench) -> None:
    bench.secret("api", {"active": "v1", "token.v1": OLD})
    place = SecretReference.parse(f"kubernetes:default/{bench.namespace}/api/token.")
    assert bench.secrets.read(place) == Secret(OLD)
    written = bench.secrets.put(place, Secret("second"), marker="R-7", label="kt-17")
    assert written.version == "v2"
    assert bench.secrets.put(place, Secret("third"), marker="R-7") == written, "the same marker writes once"
    assert bench.secrets.find(place, "R-7") == written
    assert bench.secrets.find(place, "R-8") is None
    assert bench.secrets.read(written) == Secret("second")
    with pytest.raises(Permanent, match="in use"):
        bench.secrets.discard(place.at("v1"))
    bench.secrets.discard(written)
    bench.secrets.discard(written)
    assert set(bench.data("api")) == {"active", "token.v1"}
    with pytest.raises(Permanent, match="no path"):
        bench.secrets.read(SecretReference("kubernetes", "default/UPPER", ""))


def test_looking_tells_done_from_not_done(bench: Bench) -> None:
    make(bench)
    assert bench.observe("add_key", secret="admin") == Absent()
    made = bench.do("add_key", secret="admin")
    assert bench.observe("add_key", secret="admin") == Present(made)
    bench.write("admin", {"key.v2": None})
    assert bench.observe("add_key", secret="admin") == Absent(), "somebody has removed it since"
