"""The runbooks for Kubernetes say what the procedures they come from say, each wait and threshold as data."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from adapters.kubernetes.grants import grants, rules_of
from adapters.kubernetes.permissions import parse
from bot.core.lint import Context, Finding, lint
from bot.core.runbook import CheckStep, DoStep, FactSource, Order, QuietStep, Runbook, StepBase, WaitStep
from bot.core.runbook_file import loads
from bot.core.template import evaluate_span
from bot.engine.needs import needed_by_runbook
from tests.core.reviewed import as_reviewed
from tests.runbooks.test_shipped import CLUSTER, FOLDER, catalog, ids, shipped

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ROLLBACKS = {
    "api-key": timedelta(minutes=15),
    "capability-token": timedelta(minutes=5),
    "jwt-signing-key": timedelta(minutes=15),
    "service-account-token": timedelta(minutes=10),
    "tls-certificate": timedelta(minutes=15),
    "versioned-secret": timedelta(minutes=10),
}


INPUTS: dict[str, Any] = {
    "namespace": "shop",
    "service_account": "job",
    "secret_name": "keys",
    "certificate": "web",
    "issuer_secret_name": "authority",
    "bundle": "configmap/trust",
    "workloads": ["deployment/web", "statefulset/store"],
    "ttl_workload": "deployment/web",
    "container": "web",
    "selector": "app=web",
    "service": "https://keys.test",
    "client": "billing",
    "population": "billing",
}


def defaults(book: Runbook) -> dict[str, Any]:
    return {"inputs": {name: given.default for name, given in book.inputs.items()}}


def step_of(book: Runbook, name: str) -> Any:
    found = book.step(name)
    assert found is not None, name
    return found


@pytest.mark.parametrize("name", CLUSTER)
def test_each_has_its_rollback_time(name: str) -> None:
    assert evaluate_span(shipped(name).runbook.rollback_within, {}) == ROLLBACKS[name]


@pytest.mark.parametrize("name", CLUSTER)
def test_what_follows_every_rotation_is_checked(name: str) -> None:
    book = shipped(name).runbook
    healthy, errors = step_of(book, "healthy"), step_of(book, "errors")
    assert healthy.check == "prometheus.success_rate"
    assert healthy.expect.above == pytest.approx(0.999)
    assert (healthy.expect.hold_below, healthy.expect.over) == (0.99, "1h")
    assert step_of(book, "pods").check == "kubernetes.all_ready"
    assert errors.check == "kubernetes.log_errors"
    assert (errors.with_["below"], errors.with_["over"]) == (10, 3600)
    assert step_of(book, "dependants").each == "${{ inputs.dependants }}"


@pytest.mark.parametrize("name", CLUSTER)
def test_each_shows_who_uses_the_credential(name: str) -> None:
    facts = shipped(name).runbook.facts.values()
    (used,) = [fact for fact in facts if fact.title == "Used by"]
    assert (used.type, used.bound) == ("list", "same")
    assert used.read == "kubernetes.consumers", "who references the Secret, whatever is labelled or listed"


@pytest.mark.parametrize("name", CLUSTER)
def test_each_has_an_emergency_whose_costs_people_read(name: str) -> None:
    emergency = shipped(name).runbook.emergency
    assert emergency is not None
    assert set(emergency.costs) == set(emergency.orders)
    # a certificate cannot be taken back, and two slots have no room to do without the one that signs
    single = name in ("tls-certificate", "jwt-signing-key")
    assert (emergency.orders == (Order.REPLACE_FIRST,)) is single


@pytest.mark.parametrize("name", CLUSTER)
def test_each_can_be_followed_without_the_bot(name: str) -> None:
    book = shipped(name).runbook
    for _, step in book.sections():
        assert step.by_hand is not None, step.id
        assert step.by_hand.see, step.id
    assert all(fact.by_hand is not None for fact in book.facts.values())
    assert book.back_by_hand is not None
    assert book.contacts


@pytest.mark.parametrize("name", CLUSTER)
def test_the_inputs_alone_tell_which_secrets_it_needs(name: str) -> None:
    """So that Roles can be made before any rotation, and every Secret is granted by its name."""
    book = shipped(name).runbook
    inputs = {one: INPUTS.get(one, given.default) for one, given in book.inputs.items()}
    needed = needed_by_runbook(catalog(), book, inputs)["kubernetes"]
    granted = grants(sorted(needed), "values", {"cluster": "default", "namespace": "keyturn", "account": "keyturn"})
    assert granted.problems == ()
    assert any(text.startswith("secrets: ") for text in needed)


PASSING = {("", "pods/log")}
"""What has no name that lasts: each rollout makes others."""
WORKLOADS = {("apps", kind) for kind in ("deployments", "statefulsets", "daemonsets")}
BY_LABEL = {"capability-token": WORKLOADS}
"""Restarts whatever carries a label when it runs, so any workload of the namespace."""


@pytest.mark.parametrize("name", CLUSTER)
def test_everything_that_it_reads_or_changes_is_granted_by_name(name: str) -> None:
    book = shipped(name).runbook
    inputs = {one: INPUTS.get(one, given.default) for one, given in book.inputs.items()}
    for settings in (inputs, inputs | {"ttl_from": "settings"}):
        needed = needed_by_runbook(catalog(), book, settings)["kubernetes"]
        found = rules_of([parse(text) for text in needed], "default").namespaces["shop"]
        assert any(rule.names for rule in found)
        broad = {(rule.group, rule.resource) for rule in found if rule.is_broad}
        assert broad == PASSING | BY_LABEL.get(name, set())
        maps = {one for rule in found if rule.resource == "configmaps" for one in rule.names}
        setting = {str(settings["ttl_from"])} - {"-"} if "ttl_from" in book.inputs else set()
        assert maps == ({"trust"} if name == "tls-certificate" else setting)


def test_a_token_is_revoked_by_the_anchors_of_its_account_alone() -> None:
    book = shipped("service-account-token").runbook
    needed = needed_by_runbook(catalog(), book, {**defaults(book)["inputs"], **INPUTS})["kubernetes"]
    deletes = {text for text in needed if text.startswith("secrets:") and "delete" in text}
    names = {text.partition(" @ ")[2] for text in deletes}
    assert names == {f"default/shop/keyturn-token-job-{i}" for i in (1, 2, 3)}


# A value is never a word of a command: it comes from a pipe, or stays in a builtin of the shell.
LEAKS = re.compile(
    r"--from-literal|set env|> *[\"']?/tmp|\bshred\b|kubectl[^|;]*--token|-H +[\"']Authorization|curl[^|]*Bearer"
)


@pytest.mark.parametrize("name", CLUSTER)
def test_no_command_by_hand_shows_a_secret(name: str) -> None:
    book = shipped(name).runbook
    parts: list[FactSource | StepBase] = [*book.facts.values(), *(step for _, step in book.sections())]
    lines = [line for part in parts if part.by_hand for line in part.by_hand.run]
    lines += book.back_by_hand.run if book.back_by_hand else []
    assert lines
    for line in lines:
        assert not LEAKS.search(line), line
        if "openssl rand" in line or "create token" in line:
            assert line.startswith(("printf ", "{ printf ", "make_key()")), line  # builtins: nothing reaches argv


def test_the_versioned_secret_goes_in_the_five_steps_of_its_procedure() -> None:
    book = shipped("versioned-secret").runbook
    done = [step.do for _, step in book.sections() if isinstance(step, DoStep)]
    assert done == [f"kubernetes.{word}" for word in ("add_key", "restart", "point_key", "remove_key", "purge_key")]
    assert ids(book.steps)[:6] == ["add", "stored", "teach", "known", "ready", "flip"]
    teach, known, flip = (step_of(book, name) for name in ("teach", "known", "flip"))
    assert teach.each == known.each == "${{ inputs.workloads }}"
    assert flip.with_["expected"] == "${{ facts.old_version }}"
    assert flip.with_["workloads"] == ["${{ inputs.signer }}"]
    outlive, quiet = book.retire[0], book.retire[1]
    assert isinstance(outlive, WaitStep)
    assert outlive.wait == "${{ facts.token_ttl }}"  # which the engine reads again before it believes the wait
    assert book.facts["token_ttl"].read == "kubernetes.setting"
    assert book.inputs["token_ttl"].default == "90d"
    assert isinstance(quiet, QuietStep)
    assert step_of(book, "remove").watch is not None
    assert book.page == "requests-proxy-key-rotation"
    assert set(book.background) == {"CR-1", "CR-2", "HC-1"}
    assert "As long as the chart renders it, every `helm upgrade`, with unchanged values too" in book.notes[0]
    assert book.facts["managed_by"].read == "kubernetes.managed_by"


def test_the_capability_token_restarts_what_is_labelled_and_keeps_a_grace_of_a_day() -> None:
    book = shipped("capability-token").runbook
    quiet = book.retire[0]
    assert isinstance(quiet, QuietStep)
    assert evaluate_span(quiet.at_least, defaults(book)) == DAY
    assert book.facts["users"].read == "kubernetes.restartable"
    assert {step.each for step in book.steps if isinstance(step, DoStep) and step.each} == {"${{ facts.users }}"}
    assert book.emergency is not None
    assert book.emergency.order is Order.CONTAIN_FIRST


def test_the_api_key_goes_to_every_consumer_by_reference() -> None:
    book = shipped("api-key").runbook
    create, refer, quiet = step_of(book, "create"), step_of(book, "refer"), book.retire[0]
    assert create.do == "identity.create_api_key"
    assert create.with_["to"].startswith("kubernetes:")
    assert (refer.do, refer.each) == ("kubernetes.refer", "${{ inputs.workloads }}")
    assert isinstance(quiet, QuietStep)
    assert evaluate_span(quiet.at_least, defaults(book)) == DAY
    assert isinstance(step_of(book, "health"), CheckStep)


def test_the_service_account_token_waits_for_its_real_end() -> None:
    book = shipped("service-account-token").runbook
    expire = book.retire[0]
    assert isinstance(expire, WaitStep)
    assert expire.wait == "${{ until(facts.ends) }}"
    ends = book.facts["ends"]
    assert (ends.read, ends.type, ends.bound) == ("kubernetes.token_expiry", "moment", "same")
    assert ends.with_["secret"].endswith("#${{ facts.old_version }}")  # not of the one that is in use by then
    assert expire.until is not None
    assert expire.until.check == "kubernetes.token_refused"
    assert evaluate_span(book.inputs["life"].default, {}) == timedelta(hours=2160)


def test_the_certificate_is_judged_by_what_is_served() -> None:
    book = shipped("tls-certificate").runbook
    assert [step_of(book, name).do.partition(".")[2] for name in ("trust", "renew", "load")] == [
        "trust_ca",
        "renew_certificate",
        "restart",
    ]
    assert step_of(book, "served").check == "tls.served"
    assert step_of(book, "distrust").each == "${{ facts.outgoing }}"


def test_the_jwt_key_is_known_before_it_signs() -> None:
    book = shipped("jwt-signing-key").runbook
    done = [step.do for _, step in book.sections() if isinstance(step, DoStep)]
    words = ("stage_next", "restart", "swap", "set_aside_previous", "clear_previous")
    assert done == [f"kubernetes.{word}" for word in words]
    outlive = book.retire[0]
    assert isinstance(outlive, WaitStep)
    for life, waited in ((3600, DAY), (2 * 86400, 2 * DAY)):
        assert evaluate_span(outlive.wait, {**defaults(book), "facts": {"token_ttl": life}}) == waited
    assert (book.inputs["kind"].default, book.inputs["bytes"].default) == ("random", 64)


@pytest.mark.parametrize("name", CLUSTER)
def test_what_is_watched_is_the_change_itself_with_whatever_has_to_restart(name: str) -> None:
    """A watch that fails undoes its own step alone: undoing a bare restart would put nothing back."""
    for _, step in shipped(name).runbook.sections():
        if isinstance(step, DoStep) and step.watch is not None:
            # a renewed certificate cannot be taken back: there the restart is all that there is to undo
            assert step.do != "kubernetes.restart" or name == "tls-certificate", step.id
            if step.do in ("kubernetes.point_key", "kubernetes.swap"):
                assert step.with_.get("workloads"), step.id


# --- contradictions of the procedures, each reported where it stands --------------------------------------------------

Change = Callable[[str], str]


def swapped(*pairs: tuple[str, str]) -> Change:
    def change(text: str) -> str:
        for old, new in pairs:
            assert old in text, old
            text = text.replace(old, new)
        return text

    return change


def moved(step: str, before: str) -> Change:
    """A step of the list stands earlier, as the procedure has it."""

    def change(text: str) -> str:
        (found,) = re.findall(rf"(?m)^  - id: {step}\n(?:    .*\n)+", text)
        return text.replace(found, "").replace(f"  - id: {before}\n", f"{found}  - id: {before}\n", 1)

    return change


def same(text: str) -> str:
    return text


QUARTER = Context("proxy-keys", {}, cadence=90 * DAY)
SEEDS: list[tuple[int, str, str, Change, Context, str, str]] = [
    (
        1,
        "overlap-below-policy",
        "api-key",
        same,
        Context("billing", {}, minimum_overlap=7 * DAY),
        "",
        "policy wants 7d",
    ),
    (2, "warning-at-once", "capability-token", same, Context("caps", {}, warn_before=DAY), "", "fires at once"),
    (3, "overlap-longer-than-cadence", "versioned-secret", same, QUARTER, "", "a slip makes three"),
    (
        7,
        "promoted-before-known",
        "versioned-secret",
        moved("flip", "stored"),
        Context(),
        "flip",
        "before anyone can know",
    ),
    (7, "promoted-before-known", "jwt-signing-key", moved("exchange", "staged"), Context(), "exchange", "can know it"),
    (
        8,
        "config-map",
        "jwt-signing-key",
        swapped(('  secret: "${{ inputs.secret_name }}"', "  secret: configmap/aegis-config")),
        Context(),
        "",
        "write into a Secret",
    ),
    (
        8,
        "by-hand",
        "api-key",
        swapped(
            (
                '        - for WORKLOAD in ${WORKLOADS:?}; do kubectl -n "$NAMESPACE" rollout status',
                "        - kubectl set env deployment/billing API_KEY=$NEW_KEY\n"
                '        - for WORKLOAD in ${WORKLOADS:?}; do kubectl -n "$NAMESPACE" rollout status',
            )
        ),
        Context(),
        "moved",
        "a literal",
    ),
    (
        8,
        "by-hand",
        "service-account-token",
        swapped(
            (
                '        - kubectl -n "$NAMESPACE" label secret',
                '        - kubectl create token x > /tmp/new\n        - kubectl -n "$NAMESPACE" label secret',
            )
        ),
        Context(),
        "issue",
        "temporary file",
    ),
    (
        9,
        "weak-probe",
        "capability-token",
        swapped(("where: auth", "where: {line: 'grep -E \"401|403\"'}")),
        Context(),
        "errors",
        "any digits",
    ),
]


@pytest.mark.parametrize(
    ("number", "rule", "name", "change", "context", "step", "said"),
    SEEDS,
    ids=[f"{number}-{rule}-{name}" for number, rule, name, *_ in SEEDS],
)
def test_a_contradiction_of_the_procedures_is_reported_where_it_stands(
    number: int, rule: str, name: str, change: Change, context: Context, step: str, said: str
) -> None:
    text = change((FOLDER / f"{name}.yaml").read_text())
    bare = re.sub(r"(?m)^reviewed:.*\n", "", text)
    found: list[Finding] = lint(loads(as_reviewed(bare), f"{name}.yaml"), catalog(), context)
    fitting = [one for one in found if one.rule == rule]
    assert fitting, [str(one) for one in found]
    assert any(said in f"{one.message} {one.hint}" for one in fitting), [str(one) for one in fitting]
    assert all(one.file == f"{name}.yaml" and one.line > 1 for one in fitting)
    if step:
        assert step in {one.step for one in fitting}


@pytest.mark.parametrize("name", CLUSTER)
def test_with_the_grace_and_the_cadence_of_the_procedure_it_is_clean(name: str) -> None:
    context = Context("one", {}, cadence=120 * DAY)
    assert [str(found) for found in lint(shipped(name), catalog(), context)] == []
