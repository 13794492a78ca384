"""Two slots: what is accepted never shrinks while pods roll, and nothing is erased that somebody may rely on."""

from __future__ import annotations

import pytest

from bot.contracts.adapter import Present
from bot.core.errors import Permanent
from tests.real.control_plane.manifests import deployment
from tests.real.kubernetes.conftest import Bench

OLD = "first-key-value-77aa"


def accepted(bench: Bench) -> set[str]:
    found = bench.data("jwt")
    return {found[name] for name in ("current", "previous") if found.get(name)}


def test_a_key_is_staged_swapped_and_the_old_one_cleared(bench: Bench) -> None:
    bench.secret("jwt", {"current": OLD, "issuer": "left-alone"})
    assert bench.fact("slot_ids", secret="jwt") == {"current": "", "previous": ""}
    ids = bench.do("stage_next", secret="jwt")
    new = bench.data("jwt")["previous"]
    assert accepted(bench) == {OLD, new}
    assert bench.data("jwt")["current"] == OLD
    swapped = bench.do("swap", "keyturn-R-7-swap-0", secret="jwt", new=ids["new"])
    assert swapped == {"new": ids["new"], "old": ids["old"]}
    assert accepted(bench) == {OLD, new}, "pods that have not restarted yet accept the same"
    assert bench.data("jwt")["current"] == new
    assert bench.fact("slot_ids", secret="jwt") == {"current": ids["new"], "previous": ids["old"]}
    with pytest.raises(Permanent, match="another key than k-0000"):
        bench.do("clear_previous", "keyturn-R-7-clear-0", secret="jwt", old="k-0000")
    bench.do("clear_previous", "keyturn-R-7-clear-0", secret="jwt", old=ids["old"])
    assert bench.data("jwt") == {"current": new, "issuer": "left-alone"}
    again = bench.do("stage_next", "keyturn-R-8-stage-0", secret="jwt")
    assert again["old"] == ids["new"], "the key keeps its id from one rotation to the next"
    told = repr((ids, swapped, again))
    assert OLD not in told
    assert new not in told


def test_a_swap_is_undone_and_then_the_staging(bench: Bench) -> None:
    bench.secret("jwt", {"current": OLD})
    ids = bench.do("stage_next", secret="jwt")
    bench.do("swap", "keyturn-R-7-swap-0", secret="jwt", new=ids["new"])
    with pytest.raises(Permanent, match="signs by now"):
        bench.undo("stage_next", secret="jwt")
    new = bench.data("jwt")["current"]
    bench.undo("swap", {}, "keyturn-R-7-swap-0", secret="jwt", new=ids["new"])
    left = bench.undo("stage_next", secret="jwt")
    assert left is not None
    assert "stays, to verify what it signed" in left
    assert bench.data("jwt") == {"current": OLD, "previous": new}


def test_a_staged_key_that_never_signed_is_taken_out_again(bench: Bench) -> None:
    bench.secret("jwt", {"current": OLD})
    bench.do("stage_next", secret="jwt")
    assert bench.undo("stage_next", secret="jwt") is None
    assert bench.data("jwt") == {"current": OLD}


def test_no_key_of_an_earlier_rotation_stands_in_the_way_of_an_emergency(bench: Bench) -> None:
    bench.secret("jwt", {"current": OLD, "previous": "older-key-value"})
    given = {"secret": "jwt", "emergency": True}
    ids = bench.do("stage_next", **given)
    assert bench.do("stage_next", **given) == ids
    data = bench.data("jwt")
    (aside,) = set(data) - {"current", "previous"}
    assert aside.startswith("retired.previous.k-")
    assert (data["current"], data[aside]) == (OLD, "older-key-value")
    assert bench.undo("stage_next", **given) is None
    assert bench.data("jwt") == {"current": OLD, "previous": "older-key-value"}


def test_what_one_emergency_set_aside_does_not_stop_the_next_one(bench: Bench) -> None:
    bench.secret("jwt", {"current": OLD})
    suspects = []
    for i in range(3):
        ids = bench.do("stage_next", f"keyturn-R-{i}-stage-0", secret="jwt", emergency=True)
        bench.do("swap", f"keyturn-R-{i}-swap-0", secret="jwt", new=ids["new"])
        token = f"keyturn-R-{i}-clear-0"
        done = bench.do("set_aside_previous", token, secret="jwt", old=ids["old"])
        assert bench.do("set_aside_previous", token, secret="jwt", old=ids["old"]) == done
        assert bench.observe("set_aside_previous", token, secret="jwt", old=ids["old"]) == Present(done)
        suspects.append((token, ids["old"], done["retired"]))
    assert len({name for _, _, name in suspects}) == 3
    token, old, name = suspects[-1]
    assert bench.undo("set_aside_previous", {}, token, secret="jwt", old=old) is None
    assert name not in bench.data("jwt")
    bench.do("set_aside_previous", token, secret="jwt", old=old)
    for _, old, _ in suspects:
        bench.do("clear_previous", secret="jwt", old=old)
    assert set(bench.data("jwt")) == {"current"}


def test_a_key_that_was_set_aside_comes_back_with_the_restarts(bench: Bench) -> None:
    bench.secret("jwt", {"current": OLD, "previous": "older-key-value"})
    bench.cluster.apply(deployment(bench.namespace, "web"))
    bench.until("rolled_out", workload="deployment/web")
    given = {"secret": "jwt", "emergency": True, "workloads": ["deployment/web"]}
    bench.do("stage_next", **given)
    assert bench.undo("stage_next", **given) is None
    assert bench.data("jwt") == {"current": OLD, "previous": "older-key-value"}
    assert restarted_by(bench).endswith("-back")
    assert bench.undo("stage_next", **given) is None


def test_a_swap_restarts_who_reads_the_slots_and_its_undoing_does_again(bench: Bench) -> None:
    bench.secret("jwt", {"current": OLD})
    bench.cluster.apply(deployment(bench.namespace, "web"))
    bench.until("rolled_out", workload="deployment/web")
    given = {"secret": "jwt", "workloads": ["deployment/web"]}
    ids = bench.do("stage_next", secret="jwt")
    token = "keyturn-R-7-swap-0"
    bench.do("swap", token, new=ids["new"], **given)
    assert restarted_by(bench) == token
    assert bench.do("swap", token, new=ids["new"], **given)["new"] == ids["new"]
    assert restarted_by(bench) == token, "once"
    assert isinstance(bench.observe("swap", token, new=ids["new"], **given), Present)
    bench.undo("swap", {}, token, new=ids["new"], **given)
    assert restarted_by(bench) == f"{token}.2"
    assert bench.data("jwt")["current"] == OLD


def restarted_by(bench: Bench) -> str:
    template = bench.api.get(bench.path("deployments.apps", "web"))["spec"]["template"]
    return str(template["metadata"]["annotations"]["keyturn.dev/restarted-by"])


def test_a_key_that_is_still_accepted_is_not_overwritten(bench: Bench) -> None:
    bench.secret("jwt", {"current": OLD, "previous": "older-key-value"})
    with pytest.raises(Permanent, match="still holds a key"):
        bench.do("stage_next", secret="jwt")
    assert bench.data("jwt")["previous"] == "older-key-value"


def test_a_staged_key_that_somebody_replaced_is_never_made_to_sign(bench: Bench) -> None:
    bench.secret("jwt", {"current": OLD})
    ids = bench.do("stage_next", secret="jwt")
    bench.write("jwt", {"previous": "not-the-staged-one"})
    with pytest.raises(Permanent, match=f"does not hold {ids['new']} .by kubectl-edit"):
        bench.do("swap", "keyturn-R-7-swap-0", secret="jwt", new=ids["new"])
    assert bench.data("jwt") == {"current": OLD, "previous": "not-the-staged-one"}


def test_an_entry_can_stay_empty_for_consumers_that_need_it(bench: Bench) -> None:
    bench.secret("jwt", {"current": OLD, "previous": ""})
    ids = bench.do("stage_next", secret="jwt")
    bench.do("swap", "keyturn-R-7-swap-0", secret="jwt", new=ids["new"])
    bench.do("clear_previous", "keyturn-R-7-clear-0", secret="jwt", old=ids["old"], leave_empty=True)
    assert bench.data("jwt")["previous"] == ""
