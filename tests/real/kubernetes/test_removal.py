"""Taking a key away is one step with the restarts that make it true, and so is bringing it back."""

from __future__ import annotations

import pytest

from adapters.kubernetes.marks import MOST
from bot.contracts.adapter import Absent, Present
from bot.core.errors import Permanent, Underway
from bot.core.secret import Secret, SecretReference
from tests.real.control_plane.manifests import deployment
from tests.real.kubernetes.conftest import Bench

OLD, NEW = "first-key-value-77aa", "second-key-value-88bb"
BOTH = ("deployment/signer", "deployment/verifier")
REMOVE, ASIDE = "keyturn-R-7-remove-00000000", "keyturn-R-7-aside-00000000"


def consumers(bench: Bench) -> None:
    for name in ("signer", "verifier"):
        bench.cluster.apply(deployment(bench.namespace, name))
        bench.until("rolled_out", workload=f"deployment/{name}")


def restarted(bench: Bench) -> list[str]:
    """What the pods' templates say of restarts."""
    found = []
    for name in ("signer", "verifier"):
        template = bench.api.get(bench.path("deployments.apps", name))["spec"]["template"]["metadata"]
        found.append((template.get("annotations") or {}).get("keyturn.dev/restarted-by", ""))
    return found


def test_a_version_is_removed_with_the_restarts_and_brought_back_with_them(bench: Bench) -> None:
    consumers(bench)
    bench.secret("admin", {"active": "v2", "key.v1": OLD, "key.v2": NEW})
    asked = {"secret": "admin", "version": "v1", "workloads": BOTH}
    assert isinstance(bench.observe("remove_key", REMOVE, **asked), Absent)
    bench.do("remove_key", REMOVE, **asked)
    assert bench.data("admin") == {"active": "v2", "key.v2": NEW, "retired.v1": OLD}
    assert restarted(bench) == [REMOVE, REMOVE]
    assert isinstance(bench.observe("remove_key", REMOVE, **asked), Present)
    bench.do("remove_key", REMOVE, **asked)
    assert restarted(bench) == [REMOVE, REMOVE], "the same step restarts once"
    operation, p = bench.part("remove_key", asked)
    with pytest.raises(Underway, match="pods restart"):
        operation.undo(p, bench.run(REMOVE), {"version": "v1"})
    assert bench.data("admin") == {"active": "v2", "key.v1": OLD, "key.v2": NEW}
    assert restarted(bench) == [f"{REMOVE}.2", f"{REMOVE}.2"], "so that pods read what was put back"
    bench.undo("remove_key", {"version": "v1"}, REMOVE, **asked)
    assert restarted(bench) == [f"{REMOVE}.2", f"{REMOVE}.2"]
    assert all(bench.check("rolled_out", workload=name).passed for name in BOTH), "it is undone only then"


def test_what_was_done_is_restarted_back_however_many_others_restarted_it_since(bench: Bench) -> None:
    consumers(bench)
    bench.secret("admin", {"active": "v1", "key.v1": OLD, "key.v2": NEW})
    asked = {"secret": "admin", "version": "v2", "workloads": BOTH[:1]}
    done = bench.do("point_key", REMOVE, **asked)
    others = [f"keyturn-R-{number}-restart-00000000" for number in range(8, 8 + MOST)]
    for other in others:
        bench.do("restart", other, workload=BOTH[0])
    bench.undo("point_key", {}, "keyturn-R-6-point-00000000", **asked)
    assert restarted(bench) == [others[-1], ""], "who did nothing restarts nothing"
    bench.undo("point_key", done, REMOVE, **asked)
    assert bench.data("admin")["active"] == "v1"
    assert restarted(bench) == [f"{REMOVE}.2", ""], "the signer has to read the pointer that is back"
    bench.undo("point_key", done, REMOVE, **asked)
    assert restarted(bench) == [f"{REMOVE}.2", ""]


def test_a_removal_that_died_between_the_secret_and_the_restarts_is_not_done(bench: Bench) -> None:
    consumers(bench)
    bench.secret("admin", {"active": "v2", "key.v1": OLD, "key.v2": NEW})
    bench.do("remove_key", REMOVE, secret="admin", version="v1", workloads=BOTH[:1])
    asked = {"secret": "admin", "version": "v1", "workloads": BOTH}
    assert isinstance(bench.observe("remove_key", REMOVE, **asked), Absent), "the verifier still knows the old key"
    bench.do("remove_key", REMOVE, **asked)
    assert restarted(bench) == [REMOVE, REMOVE]


def test_only_an_emergency_removes_the_version_in_use(bench: Bench) -> None:
    consumers(bench)
    bench.secret("admin", {"active": "v1", "key.v1": OLD})
    with pytest.raises(Permanent, match="is the version in use"):
        bench.do("remove_key", REMOVE, secret="admin", version="v1", workloads=BOTH)
    assert restarted(bench) == ["", ""]
    asked = {"secret": "admin", "version": "v1", "workloads": BOTH, "emergency": True}
    bench.do("remove_key", REMOVE, **asked)
    assert bench.data("admin") == {"active": "v1", "retired.v1": OLD}
    assert restarted(bench) == [REMOVE, REMOVE]
    bench.undo("remove_key", {"version": "v1"}, REMOVE, **asked)
    assert bench.data("admin") == {"active": "v1", "key.v1": OLD}


def test_a_new_version_is_added_beside_one_that_an_emergency_took_out(bench: Bench) -> None:
    bench.secret("admin", {"active": "v1", "key.v1": OLD})
    bench.do("remove_key", REMOVE, secret="admin", version="v1", emergency=True)
    made = bench.do("add_key", "keyturn-R-7-add-00000000", secret="admin")
    assert (made["version"], made["previous"]) == ("v2", "v1")
    moved = "keyturn-R-7-point-00000000"
    bench.do("point_key", moved, secret="admin", version="v2", expected="v1")
    assert bench.data("admin")["active"] == "v2"
    bench.undo("point_key", {}, moved, secret="admin", version="v2", expected="v1")
    left = bench.undo("add_key", {"version": "v2"}, "keyturn-R-7-add-00000000", secret="admin")
    assert left is not None, "it may have signed"
    bench.undo("remove_key", {"version": "v1"}, REMOVE, secret="admin", version="v1", emergency=True)
    assert {name for name in bench.data("admin")} == {"active", "key.v1", "key.v2"}
    assert (bench.data("admin")["active"], bench.data("admin")["key.v1"]) == ("v1", OLD)


def test_a_removal_needs_its_secret_and_each_of_its_workloads_by_name(bench: Bench) -> None:
    part = bench.catalog.part("kubernetes.remove_key")
    assert part is not None
    needs = part.needs({"cluster": "default", "namespace": "shop", "secret": "admin", "workloads": list(BOTH)})
    assert "secrets: get, patch @ default/shop/admin" in needs
    assert "deployments.apps: get, patch @ default/shop/signer" in needs
    assert "deployments.apps: get, patch @ default/shop/verifier" in needs
    assert not any(text.startswith(("statefulsets", "daemonsets")) for text in needs)
    alone = part.needs({"cluster": "default", "namespace": "shop", "secret": "admin"})
    assert alone == ("secrets: get, patch @ default/shop/admin",)


def swapped(bench: Bench) -> tuple[str, str, str]:
    """New id, old id and the new value, after the exchange."""
    bench.secret("jwt", {"current": OLD})
    ids = bench.do("stage_next", secret="jwt")
    new = bench.data("jwt")["previous"]
    assert bench.check("slot_holds", secret="jwt", slot="previous", id=ids["new"]).passed is True
    assert bench.check("slot_holds", secret="jwt", slot="current", id=ids["new"]).passed is False
    assert bench.check("slot_empty", secret="jwt", slot="previous").passed is False
    bench.do("swap", "keyturn-R-7-swap-0", secret="jwt", new=ids["new"])
    return ids["new"], ids["old"], new


def test_the_previous_key_is_set_aside_brought_back_and_erased(bench: Bench) -> None:
    consumers(bench)
    _, old, new = swapped(bench)
    asked = {"secret": "jwt", "old": old, "workloads": BOTH}
    with pytest.raises(Permanent, match="another key than k-0000"):
        bench.do("set_aside_previous", ASIDE, **{**asked, "old": "k-0000"})
    bench.do("set_aside_previous", ASIDE, **asked)
    assert bench.data("jwt") == {"current": new, "retired.previous": OLD}
    assert restarted(bench) == [ASIDE, ASIDE]
    assert isinstance(bench.observe("set_aside_previous", ASIDE, **asked), Present)
    assert bench.check("slot_empty", secret="jwt", slot="previous").passed is True
    bench.undo("set_aside_previous", {}, ASIDE, **asked)
    assert bench.data("jwt") == {"current": new, "previous": OLD}
    assert restarted(bench) == [f"{ASIDE}.2", f"{ASIDE}.2"]
    assert bench.check("slot_holds", secret="jwt", slot="previous", id=old).passed is True
    again = "keyturn-R-7-aside-11111111"
    bench.do("set_aside_previous", again, **asked)
    bench.write("jwt", {"previous": "somebody-else"})
    with pytest.raises(Permanent, match="another key than k-0000"):
        bench.do("clear_previous", "keyturn-R-7-clear-0", secret="jwt", old="k-0000")
    bench.do("clear_previous", "keyturn-R-7-clear-0", secret="jwt", old=old)
    assert bench.data("jwt") == {"current": new, "previous": "somebody-else"}, "only what was set aside is erased"


def test_a_key_that_came_meanwhile_is_not_overwritten_when_the_old_one_returns(bench: Bench) -> None:
    _, old, new = swapped(bench)
    bench.do("set_aside_previous", ASIDE, secret="jwt", old=old)
    bench.write("jwt", {"previous": "somebody-else"})
    with pytest.raises(Permanent, match=r"holds another key by now .by kubectl-edit"):
        bench.undo("set_aside_previous", {}, ASIDE, secret="jwt", old=old)
    assert bench.data("jwt") == {"current": new, "previous": "somebody-else", "retired.previous": OLD}


def test_what_another_step_set_aside_is_left_and_told(bench: Bench) -> None:
    _, old, new = swapped(bench)
    bench.do("set_aside_previous", ASIDE, secret="jwt", old=old)
    left = bench.undo("set_aside_previous", {}, "keyturn-R-8-aside-00000000", secret="jwt", old=old)
    assert left is not None
    assert "somebody else had set it aside" in left
    assert bench.data("jwt") == {"current": new, "retired.previous": OLD}


def test_the_anchor_of_a_token_is_told_and_one_without_revokes_nothing(bench: Bench) -> None:
    bench.api.create(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "job", "namespace": bench.namespace}}
    )
    bench.secret("tokens", {"active": "v1", "token.v1": ""})
    issued = bench.do(
        "issue_token",
        service_account="job",
        expires_in=3600,
        to=f"kubernetes:default/{bench.namespace}/tokens/token.",
    )
    place = f"kubernetes:default/{bench.namespace}/tokens/token.#{issued['version']}"
    assert bench.fact("token_id", secret=place) == issued["token_id"]
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    free = bench.api.post(bench.path("serviceaccounts", "job/token"), asked)["status"]["token"]
    bench.write("tokens", {"token.v9": free})
    loose = f"kubernetes:default/{bench.namespace}/tokens/token.#v9"
    assert bench.fact("token_id", secret=loose) == ""
    assert bench.do("revoke_token", service_account="job", token_id="") == {"token_id": ""}
    assert bench.check("token_refused", secret=loose).passed is False, "so the runbook's next check holds it"


# --- versions of two prefixes in one Secret ---------------------------------------------------------------------------

B = {"secret": "admin", "prefix": "token.", "pointer": "pointer"}
BESIDE = {"active": "v2", "key.v1": OLD, "key.v2": NEW, "pointer": "v2", "token.v1": "b-1", "token.v2": "b-2"}
PURGE = "keyturn-R-9-purge-00000000"


def test_each_of_two_prefixes_takes_away_and_brings_back_and_erases_its_own(bench: Bench) -> None:
    bench.secret("admin", BESIDE)
    ours, theirs = {"secret": "admin", "version": "v1"}, {**B, "version": "v1"}
    bench.do("remove_key", REMOVE, **ours)
    assert isinstance(bench.observe("purge_key", PURGE, **ours), Absent)
    done = bench.do("remove_key", ASIDE, **theirs)
    assert done == {"version": "v1", "retired": "retired.token.v1"}, "whoever removed first does not hold it up"
    assert isinstance(bench.observe("remove_key", ASIDE, **theirs), Present)
    both = {"active": "v2", "key.v2": NEW, "pointer": "v2", "token.v2": "b-2"}
    assert bench.data("admin") == {**both, "retired.v1": OLD, "retired.token.v1": "b-1"}
    bench.undo("remove_key", done, ASIDE, **theirs)
    assert bench.data("admin") == {**both, "retired.v1": OLD, "token.v1": "b-1"}
    bench.do("remove_key", ASIDE, **theirs)
    bench.do("purge_key", PURGE, **theirs)
    assert isinstance(bench.observe("purge_key", PURGE, **theirs), Present)
    assert bench.data("admin") == {**both, "retired.v1": OLD}
    bench.do("purge_key", PURGE, **theirs)
    bench.undo("remove_key", {"version": "v1"}, REMOVE, **ours)
    assert bench.data("admin") == {**both, "key.v1": OLD}


def test_the_store_neither_reads_nor_erases_what_another_prefix_retired(bench: Bench) -> None:
    bench.secret("admin", {**BESIDE, "active": "v4", "key.v3": "a-3", "key.v4": "a-4", "token.v3": "b-3"})
    for version in ("v1", "v3"):
        bench.do("remove_key", f"keyturn-R-7-{version}-00000000", secret="admin", version=version)
    place = f"kubernetes:default/{bench.namespace}/admin"
    bench.secrets.discard(SecretReference.parse(f"{place}/token./pointer#v3"))
    bench.write("admin", {"token.v1": None})
    with pytest.raises(Permanent, match=r"has no token\.v1"):
        bench.secrets.read(SecretReference.parse(f"{place}/token./pointer#v1"))
    bench.secrets.discard(SecretReference.parse(f"{place}/token./pointer#v1"))
    data = bench.data("admin")
    assert (data["retired.v1"], data["retired.v3"], "token.v3" in data) == (OLD, "a-3", False)
    assert bench.secrets.read(SecretReference.parse(f"{place}/key.#v3")) == Secret("a-3")


def test_what_was_taken_away_by_hand_is_ours_unless_it_may_be_of_another_prefix(bench: Bench) -> None:
    bench.secret("alone", {"active": "v2", "retired.v1": OLD, "key.v2": NEW, "tls.crt": "x"})
    asked = {"secret": "alone", "version": "v1"}
    assert isinstance(bench.observe("remove_key", REMOVE, **asked), Present)
    bench.do("purge_key", PURGE, **asked)
    assert "retired.v1" not in bench.data("alone")
    bench.secret("admin", {**{k: v for k, v in BESIDE.items() if k != "key.v1"}, "retired.v1": OLD})
    for word in ("remove_key", "purge_key"):
        with pytest.raises(Permanent, match=r"nothing says of which one its retired\.v1 is") as caught:
            bench.observe(word, REMOVE, secret="admin", version="v1")
        assert "to retired.key.v1 if it was key.v1" in caught.value.hint
    bench.write("admin", {"retired.v1": None, "retired.key.v1": OLD})
    bench.do("purge_key", PURGE, secret="admin", version="v1")
    assert bench.data("admin").keys() == {"active", "key.v2", "pointer", "token.v1", "token.v2"}
