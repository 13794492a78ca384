"""The runbooks that come with keyturn load, lint clean, and say what the procedures they come from say."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import runbooks
from bot.catalog import Catalog
from bot.contracts.adapter import Secrets
from bot.core.lint import Context, lint, lint_text
from bot.core.runbook import BOXES, DoStep, Order, QuietStep, StepBase, WaitStep
from bot.core.runbook_file import LoadedRunbook, load
from bot.core.template import evaluate, evaluate_span
from tests.core.vocabulary import TABLE, Table

FOLDER = Path(runbooks.__path__[0])
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
CLUSTER = (
    "api-key",
    "capability-token",
    "jwt-signing-key",
    "service-account-token",
    "tls-certificate",
    "versioned-secret",
)
"""Those whose credentials live in a Kubernetes cluster."""


def shipped(name: str) -> LoadedRunbook:
    return load(FOLDER / f"{name}.yaml")


def catalog() -> Catalog:
    def no_secrets() -> Secrets:
        raise AssertionError("describing a word needs no secrets")

    return Catalog({}, no_secrets)


def ids(steps: list[Any]) -> list[str]:
    return [step.id if isinstance(step, StepBase) else step for step in steps]


def test_the_folder_holds_the_runbooks() -> None:
    assert set(NAMES) == {"identity-api-key", "identity-es256", *CLUSTER}


@pytest.mark.parametrize("name", NAMES)
def test_it_lints_clean_against_the_adapters(name: str) -> None:
    assert [str(finding) for finding in lint(shipped(name), catalog())] == []


@pytest.mark.parametrize("name", ["identity-api-key", "identity-es256"])
def test_it_lints_clean_against_the_table(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    assert [str(finding) for finding in lint_text(text, name, Table())] == []


def test_the_table_says_what_the_adapters_say() -> None:
    real = catalog()
    told = {word: real.describe(word) for word in TABLE}
    invented = ("identity.delete_key", "store.put_secret", "kubernetes.count_pods_phase", "kubernetes.rollout")
    assert {word: info for word, info in TABLE.items() if word not in invented} == {
        word: info for word, info in told.items() if word not in invented
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_checklist_stands_before_it(name: str) -> None:
    assert shipped(name).runbook.before == list(BOXES)


def test_the_signing_key_goes_in_the_order_that_causes_no_401() -> None:
    book = shipped("identity-es256").runbook
    assert ids(book.steps) == ["key-store", "publish", "served", "learn", "promote", "healthy"]
    assert ids(book.retire) == ["outlive", "quiet", "fetch", "disable", "dead"]
    learn, quiet = book.steps[3], book.retire[1]
    assert isinstance(learn, WaitStep)
    assert learn.until is not None
    assert learn.until.check == "jwks.canary_accepted_everywhere"
    assert isinstance(quiet, QuietStep)
    assert quiet.quiet == ["gateways.kid_last_seen", "clients.kid_last_seen"]
    assert book.overlap == "verify-only"
    assert evaluate_span(book.rollback_within, {}) == timedelta(minutes=10)


def test_the_wait_before_disabling_covers_token_life_and_cache() -> None:
    book = shipped("identity-es256").runbook
    scope = {"facts": {"token_life": 3600, "cache_ttl": 900}, "inputs": {"watched": "24h"}}
    outlive, quiet = book.retire[0], book.retire[1]
    assert isinstance(outlive, WaitStep)
    assert isinstance(quiet, QuietStep)
    assert evaluate_span(outlive.wait, scope) == timedelta(hours=1, minutes=15)
    assert evaluate_span(quiet.for_, scope) == timedelta(hours=1, minutes=15)
    assert evaluate_span(quiet.at_least, scope) == timedelta(hours=24)


def test_the_emergency_of_the_signing_key() -> None:
    emergency = shipped("identity-es256").runbook.emergency
    assert emergency is not None
    assert emergency.order == "replace-first"
    begin, rest = ["publish", "fetch-now", "promote-now"], ["restart", "refused-now", "watch-failures"]
    assert ids(emergency.steps) == [*begin, "fetch-back", "disable-now", *rest]
    assert emergency.ids(Order.CONTAIN_FIRST) == ["fetch-back", "disable-now", *begin, *rest]
    assert emergency.containment(Order.CONTAIN_FIRST) == 2
    restart, watch = emergency.steps[5], emergency.steps[7]
    assert isinstance(restart, DoStep)
    assert restart.each == "${{ inputs.gateways }}"
    assert isinstance(watch, WaitStep)
    assert (watch.every, watch.wait) == ("5s", "10m")
    assert not any(isinstance(step, DoStep) and step.watch for step in emergency.steps)


@pytest.mark.parametrize("name", ["identity-api-key", "identity-es256"])
def test_people_choose_between_two_orders_whose_costs_they_read(name: str) -> None:
    emergency = shipped(name).runbook.emergency
    assert emergency is not None
    assert emergency.orders == (Order.REPLACE_FIRST, Order.CONTAIN_FIRST)
    assert sorted(emergency.ids(Order.CONTAIN_FIRST)) == sorted(emergency.ids(Order.REPLACE_FIRST))
    assert set(emergency.costs) == set(Order)
    assert emergency.contained == "disable-now"
    assert emergency.containment(Order.CONTAIN_FIRST) == {"identity-es256": 2, "identity-api-key": 1}[name]


def test_the_troubles_of_the_signing_key() -> None:
    branches = {branch.id: branch for branch in shipped("identity-es256").runbook.trouble}
    assert {branch.check or branch.do for branch in branches.values()} == {
        *("gateways.caches_fresh", "gateways.refresh", "gateways.restart"),
        *("identity.key_store_healthy", "identity.bootstrap_key"),
    }
    assert "backup" in branches["no-keys"].advice


def test_the_api_key_is_created_beside_and_removed_last() -> None:
    book = shipped("identity-api-key").runbook
    assert ids(book.steps) == ["create", "works", "move", "moved", "healthy"]
    assert ids(book.retire) == ["quiet", "disable", "dead", "remove", "gone", "forget"]
    create = book.steps[0]
    assert isinstance(create, DoStep)
    given = evaluate(create.with_, {"inputs": {"path": "billing", "scope": "api", "life": "90d"}})
    assert given == {"to": "secret_files:billing", "scope": "api", "expires_in": 7_776_000}
    assert book.overlap == "both-valid"
    assert evaluate_span(book.rollback_within, {}) == timedelta(minutes=15)


def test_a_policy_of_seven_days_contradicts_the_overlap_of_one() -> None:
    context = Context("billing", {"path": "x"}, timedelta(days=90), minimum_overlap=timedelta(days=7))
    (found,) = lint(shipped("identity-api-key"), Table(), context)
    assert (found.rule, found.message.count("7d")) == ("overlap-below-policy", 1)
    assert (
        lint(shipped("identity-api-key"), Table(), Context("x", {"overlap": "7d"}, minimum_overlap=timedelta(days=7)))
        == []
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_input_says_what_it_is(name: str) -> None:
    assert all(given.help for given in shipped(name).runbook.inputs.values())
    assert all(step.title for _, step in shipped(name).runbook.sections())
