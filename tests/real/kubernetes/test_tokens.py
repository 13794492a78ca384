"""Tokens of service accounts: bound, with their real end, proved by review, and dead once they are revoked."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.kubernetes.tokens import LAST_USED
from bot.contracts.adapter import Absent, Present, Sighting
from bot.core.errors import Permanent, Transient
from bot.core.secret import Secret, SecretReference
from playground.cluster.api import Api
from tests.real.kubernetes.conftest import TOKEN, Bench

LEGACY = "kubernetes.io/service-account-token"


@pytest.fixture
def given(bench: Bench) -> dict[str, Any]:
    """An account and a Secret for its tokens."""
    bench.api.create(_account(bench, "worker"))
    bench.secret("worker", {"active": "v1", "token.v1": "the-token-before"})
    to = f"kubernetes:default/{bench.namespace}/worker/token."
    return {"service_account": "worker", "expires_in": 7200, "to": to}


def _account(bench: Bench, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": bench.namespace}}


def test_a_token_is_issued_reviewed_and_revoked(bench: Bench, given: dict[str, Any]) -> None:
    made = bench.do("issue_token", **given)
    assert made["version"] == "v2"
    assert made["life"] == 7200
    end = datetime.fromisoformat(made["expires_at"])
    assert timedelta(seconds=7100) < end - datetime.now(UTC) <= timedelta(seconds=7200)
    value = bench.data("worker")["token.v2"]
    assert value not in repr(made)
    assert bench.observe("issue_token", **given) == Present(made)
    told = bench.check("token_works", service_account="worker", secret=made["secret"])
    assert told.passed, told
    assert not bench.check("token_works", service_account="other", secret=made["secret"]).passed
    assert not bench.check("token_refused", secret=made["secret"]).passed
    assert bench.fact("token_expiry", secret=made["secret"]) == end.isoformat()
    bench.do("revoke_token", "keyturn-R-7-revoke-0", service_account="worker", token_id=made["token_id"])
    bench.until("token_refused", secret=made["secret"])
    assert not bench.check("token_works", service_account="worker", secret=made["secret"]).passed
    with pytest.raises(Permanent, match="is revoked"):
        bench.undo("revoke_token", {}, "keyturn-R-7-revoke-0", service_account="worker", token_id=made["token_id"])


def test_undoing_kills_the_token_and_erases_it(bench: Bench, given: dict[str, Any]) -> None:
    made = bench.do("issue_token", **given)
    value = bench.data("worker")["token.v2"]
    bench.undo("issue_token", made, **given)
    assert set(bench.data("worker")) == {"active", "token.v1"}
    bench.secret("copy", {"token.v1": value})
    bench.until("token_refused", secret=f"kubernetes:default/{bench.namespace}/copy/token.#v1")


def test_a_token_that_pods_may_have_taken_outlives_the_undoing(bench: Bench, given: dict[str, Any]) -> None:
    made = bench.do("issue_token", **given)
    left = bench.undo("issue_token", made, relied_on=True, **given)
    assert left is not None
    assert f"{made['token_id']} stays valid until" in left
    assert bench.data("worker")["token.v2"] not in left
    assert bench.check("token_works", service_account="worker", secret=made["secret"]).passed
    bench.do("revoke_token", "keyturn-R-7-revoke-0", service_account="worker", token_id=made["token_id"])
    bench.until("token_refused", secret=made["secret"])


def test_a_token_that_was_issued_and_not_stored_dies(bench: Bench, given: dict[str, Any]) -> None:
    """Killed in between: nobody knows the token, and nobody can use it."""
    lost: list[Secret] = []
    real = bench.secrets.put

    def dies(reference: SecretReference, value: Secret, **more: Any) -> SecretReference:
        lost.append(value)
        raise Transient("killed here")

    bench.secrets.put = dies  # type: ignore[method-assign]
    with pytest.raises(Transient):
        bench.do("issue_token", **given)
    bench.secrets.put = real  # type: ignore[method-assign]
    assert bench.observe("issue_token", **given) == Absent()
    made = bench.do("issue_token", **given)
    assert bench.check("token_works", service_account="worker", secret=made["secret"]).passed
    bench.secret("copy", {"token.v1": lost[0].reveal_text()})
    bench.until("token_refused", secret=f"kubernetes:default/{bench.namespace}/copy/token.#v1")
    anchors = bench.api.get(bench.path("secrets"), labelSelector="app.kubernetes.io/managed-by=keyturn")["items"]
    assert len(anchors) == 1


def test_no_fourth_token_of_an_account_is_made(bench: Bench, given: dict[str, Any]) -> None:
    for i in range(3):
        bench.do("issue_token", f"keyturn-R-{i}-issue-0", **given)
    with pytest.raises(Permanent, match="3 tokens of worker are alive"):
        bench.do("issue_token", **given)
    assert TOKEN not in repr(bench.api.get(bench.path("secrets"))), "nothing was begun"


def test_only_anchors_are_deleted(bench: Bench, given: dict[str, Any]) -> None:
    with pytest.raises(Permanent, match="no anchor"):
        bench.do("revoke_token", service_account="worker", token_id="worker")
    assert bench.data("worker")["token.v1"] == "the-token-before"


def test_a_token_for_somebody_else_is_reviewed_for_them(bench: Bench, given: dict[str, Any]) -> None:
    made = bench.do("issue_token", **given, audiences=["https://billing.test"])
    asked = {"service_account": "worker", "secret": made["secret"]}
    assert not bench.check("token_works", **asked).passed
    # Who reviews must name the audience; this API server accepts its own only, and says so by refusing.
    assert bench.check("token_refused", secret=made["secret"]).passed


def test_the_cluster_itself_notes_when_a_token_secret_was_used(bench: Bench) -> None:
    """Nobody but the API server writes the label here."""
    bench.api.create(_account(bench, "legacy"))
    about = {"annotations": {"kubernetes.io/service-account.name": "legacy"}}
    bench.secret("legacy", {}, metadata=about, type=LEGACY)
    token = bench.cluster.wait(lambda: bench.data("legacy").get("token"), "the controller has made the token")
    never = bench.seen("token_last_used", secret="legacy")
    assert never.at is None
    assert never.since <= datetime.now(UTC)
    before = datetime.now(UTC)
    _call(bench, token)

    def noted() -> Sighting | None:
        found = bench.seen("token_last_used", secret="legacy")
        return found if found.at is not None else None

    used: Sighting = bench.cluster.wait(noted, "the API server has noted the use")
    assert used.at is not None
    assert before <= used.at <= datetime.now(UTC), "it tells the day, so as late in that day as can be"
    labels = bench.api.get(bench.path("secrets", "legacy"))["metadata"]["labels"]
    assert labels[LAST_USED] in {f"{at:%Y-%m-%d}" for at in (before, datetime.now(UTC))}
    yesterday = datetime.now(UTC) - timedelta(days=1)
    label = {LAST_USED: f"{yesterday:%Y-%m-%d}"}
    bench.api.merge(bench.path("secrets", "legacy"), {"metadata": {"labels": label}})
    # Not to be had by waiting for less than a day: what a day that is over says.
    earlier = bench.seen("token_last_used", secret="legacy").at
    assert earlier is not None
    assert yesterday <= earlier


def test_of_a_bound_token_the_cluster_tells_no_use(bench: Bench, given: dict[str, Any]) -> None:
    """It is used, and nothing changes that anybody but the API server's own audit shows: so nobody says quiet."""
    made = bench.do("issue_token", **given)
    anchor = bench.path("secrets", made["token_id"])
    before = bench.api.get(anchor)
    _call(bench, bench.data("worker")["token.v2"])
    assert bench.api.get(anchor) == before
    for name in (made["token_id"], "worker"):
        with pytest.raises(Permanent, match="does not say") as caught:
            bench.seen("token_last_used", secret=name)
        assert "audit" in caught.value.hint


def _call(bench: Bench, token: str) -> None:
    """Ask the API server who one is, which everybody may who is authenticated."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    with closing(Api(bench.cluster.server, bench.cluster.ca, token)) as api:
        who = api.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)["status"]["userInfo"]["username"]
    assert who.startswith(f"system:serviceaccount:{bench.namespace}:")
