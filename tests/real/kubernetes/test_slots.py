"""Two slots: what is accepted never shrinks while pods roll, and nothing is erased that somebody may rely on."""

from __future__ import annotations

import pytest

from bot.core.errors import Permanent
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
    bench.undo("swap", {}, "keyturn-R-7-swap-0", secret="jwt", new=ids["new"])
    bench.undo("stage_next", secret="jwt")
    assert bench.data("jwt") == {"current": OLD}


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
