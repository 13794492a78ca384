"""Every rule of the linter, with a runbook that breaks it and one that does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from bot.core.lint import RULES, Context, Finding, Severity, lint, lint_cadence, lint_text
from bot.core.runbook_file import loads
from tests.core.reviewed import as_reviewed
from tests.core.vocabulary import Table

CLEAN = """\
runbook: clean
summary: Publish, let everyone learn, promote, prove quiet, disable, prove dead, delete.
author: platform
inputs:
  service: {type: url}
  gateways: {type: list}
  watched: {type: duration, default: 24h}
facts:
  old_kid: {read: identity.signing_kid}
  token_life: {read: identity.token_life, type: duration, bound: at_most, at_most: 2h}
rollback_within: 10m
replaced: {old: "${{ facts.old_kid }}", new: "${{ steps.publish.kid }}"}
with:
  service: "${{ inputs.service }}"
  gateways: "${{ inputs.gateways }}"
steps:
  - {id: publish, do: identity.publish_key}
  - {id: learn, wait: 15m, until: {check: jwks.canary_accepted_everywhere, with: {kid: "${{ steps.publish.kid }}"}}}
  - {id: promote, do: identity.promote_key, with: {kid: "${{ steps.publish.kid }}", old: "${{ facts.old_kid }}"}}
  - {id: healthy, check: gateways.success_rate, expect: {above: 99%, over: 1h}}
retire:
  - id: quiet
    quiet: [gateways.kid_last_seen]
    with: {kid: "${{ facts.old_kid }}"}
    for: "${{ facts.token_life }}"
    at_least: "${{ inputs.watched }}"
  - id: disable
    do: identity.disable_key
    with: {kid: "${{ facts.old_kid }}"}
    watch: {check: gateways.success_rate, for: 10m}
  - {id: dead, check: jwks.old_refused_everywhere, with: {kid: "${{ facts.old_kid }}"}}
  - {id: delete, do: identity.delete_key, with: {kid: "${{ facts.old_kid }}"}}
  - {id: gone, check: jwks.old_refused_everywhere, with: {kid: "${{ facts.old_kid }}"}}
emergency:
  order: replace-first
  steps:
    - publish
    - {id: promote-now, do: identity.promote_key, with: {kid: "${{ steps.publish.kid }}", old: "${{ facts.old_kid }}"}}
    - {id: disable-now, do: identity.disable_key, with: {kid: "${{ facts.old_kid }}"}}
    - id: restart
      do: gateways.restart
      each: "${{ inputs.gateways }}"
      with: {gateway: "${{ each }}"}
    - {id: refused-now, check: jwks.old_refused_everywhere, with: {kid: "${{ facts.old_kid }}"}}
  otherwise: [disable-now, publish, promote-now, restart, refused-now]
  contained: disable-now
  costs:
    replace-first: {outage: None is expected., exposure: Until every gateway has restarted.}
    contain-first: {outage: Until the new key signs., exposure: None from the first second.}
trouble:
  - {id: caches, when: A gateway answers 401, check: gateways.caches_fresh}
"""
CONTEXT = Context(
    credential="signing",
    inputs={"service": "https://id.example", "gateways": ["a"]},
    cadence=timedelta(days=7),
    minimum_overlap=timedelta(hours=24),
    warn_before=timedelta(hours=6),
)

Change = Callable[[str], str]


def swap(old: str, new: str, count: int = 1) -> Change:
    """Replace in the clean runbook; the old text must be there."""

    def change(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, count)

    return change


def cut(step: str) -> Change:
    """Take a one-line step out."""
    return lambda text: re.sub(rf"  - \{{id: {step},.*\n", "", text)


def drop(section: str) -> Change:
    """Take a section out."""
    return lambda text: re.sub(rf"(?ms)^{section}:.*?(?=^\w|\Z)", "", text)


def both(*changes: Change) -> Change:
    def change(text: str) -> str:
        for one in changes:
            text = one(text)
        return text

    return change


QUIET = '  - id: quiet\n    quiet: [gateways.kid_last_seen]\n    with: {kid: "${{ facts.old_kid }}"}\n'
QUIET += '    for: "${{ facts.token_life }}"\n    at_least: "${{ inputs.watched }}"\n'

_OTHERWISE = "otherwise: [disable-now, publish, promote-now, restart, refused-now]"
_EARLY = "otherwise: [disable-now, promote-now, publish"
_PROVED_TOO_EARLY = "otherwise: [refused-now, disable-now, publish, promote-now, restart]"
_CONTAINED = "contained: disable-now"

ENDS = "  ends: {read: identity.token_life, type: moment, title: Ends}\n"

BREAKS: list[tuple[str, Change, str]] = [
    ("unknown-word", swap("identity.publish_key", "identity.publsh_key"), "did you mean identity.publish_key?"),
    (
        "unknown-word",
        swap("{read: identity.token_life", "{read: identity.tokenlife"),
        "did you mean identity.token_life?",
    ),
    ("unknown-word", swap("gateways.caches_fresh", "gateways.nothing_like_it_at_all"), ""),
    ("wrong-kind", swap("do: identity.publish_key", "do: jwks.key_served"), "a probe (check:), not an operation (do:)"),
    (
        "wrong-kind",
        swap("[gateways.kid_last_seen]", "[gateways.success_rate]"),
        "a probe (check:), not a sensor (quiet:)",
    ),
    ("unknown-parameter", swap("for: 10m}", "for: 10m, with: {ovr: 5}}"), "did you mean over?"),
    (
        "unknown-parameter",
        swap('with: {gateway: "${{ each }}"}', 'with: {gatewy: "${{ each }}"}'),
        "did you mean gateway?",
    ),
    (
        "missing-parameter",
        swap(', old: "${{ facts.old_kid }}"}}\n  - {id: healthy', "}}\n  - {id: healthy"),
        "needs 'old'",
    ),
    (
        "missing-parameter",
        swap(
            "{id: learn, wait: 15m, until: {check: jwks.canary_accepted_everywhere, with: {kid: "
            '"${{ steps.publish.kid }}"}}}',
            "{id: learn, check: kubernetes.rollout}",
        ),
        "needs 'over'",
    ),
    ("unused-argument", swap("with:\n", "with:\n  nobody: x\n"), "takes 'nobody'"),
    (
        "out-of-scope",
        swap('with:\n  service: "${{ inputs.service }}"', 'with:\n  service: "${{ steps.publish.kid }}"'),
        "steps",
    ),
    ("out-of-scope", swap('{kid: "${{ steps.publish.kid }}"}}}', '{kid: "${{ each }}"}}}'), "add each: to the step"),
    ("out-of-scope", swap("at_most: 2h", 'at_most: "${{ facts.old_kid }}"'), "facts.old_kid cannot be looked up"),
    ("unknown-input", swap('"${{ inputs.service }}"', '"${{ inputs.servce }}"'), "did you mean service?"),
    (
        "unknown-fact",
        swap('for: "${{ facts.token_life }}"', 'for: "${{ facts.token_lif }}"'),
        "did you mean token_life?",
    ),
    (
        "unknown-step",
        swap('new: "${{ steps.publish.kid }}"', 'new: "${{ steps.publsh.kid }}"'),
        "did you mean publish?",
    ),
    ("unknown-output", swap('new: "${{ steps.publish.kid }}"', 'new: "${{ steps.publish.kdi }}"'), "did you mean kid?"),
    ("unknown-output", swap('new: "${{ steps.publish.kid }}"', 'new: "${{ steps.learn.kid }}"'), "it gives none"),
    (
        "later-step",
        swap('{kid: "${{ steps.publish.kid }}"}}}', '{kid: "${{ steps.promote.kid }}"}}}'),
        "change the order",
    ),
    ("not-a-duration", swap('at_least: "${{ inputs.watched }}"', 'at_least: "${{ inputs.service }}"'), "type url"),
    (
        "not-a-duration",
        swap('for: "${{ facts.token_life }}"', 'for: "${{ facts.old_kid }}"'),
        "declare it as type: duration",
    ),
    ("not-a-duration", swap("wait: 15m,", 'wait: "${{ until(facts.token_life) }}",'), "until(...) wants one"),
    (
        "not-a-duration",
        both(swap("facts:\n", f"facts:\n{ENDS}"), swap("wait: 15m,", 'wait: "${{ facts.ends }}",')),
        "of type moment",
    ),
    (
        "out-of-scope",
        both(swap("facts:\n", f"facts:\n{ENDS}"), swap("for: 10m}", 'for: "${{ until(facts.ends) }}"}')),
        "until(facts.ends) cannot be looked up here",
    ),
    (
        "fact-circle",
        swap("{read: identity.signing_kid}", '{read: identity.signing_kid, with: {service: "${{ facts.old_kid }}"}}'),
        "the fact 'old_kid' waits for old_kid",
    ),
    (
        "fact-circle",
        swap('service: "${{ inputs.service }}"\n', 'service: "${{ facts.old_kid }}"\n'),
        "the fact 'token_life' waits for old_kid",
    ),
    (
        "unknown-fact",
        swap("{read: identity.signing_kid}", '{read: identity.signing_kid, with: {service: "${{ facts.no }}"}}'),
        "there is no fact 'no'",
    ),
    ("not-a-list", swap('each: "${{ inputs.gateways }}"', 'each: "${{ inputs.service }}"'), "type url"),
    ("not-a-list", swap('each: "${{ inputs.gateways }}"', "each: a"), "write [a, b]"),
    ("unused-input", swap("inputs:\n", "inputs:\n  spare: {type: text}\n"), "'spare'"),
    ("unused-fact", swap("facts:\n", "facts:\n  spare: {read: identity.signing_kid}\n"), "'spare'"),
    ("zero-wait", swap("{id: healthy,", "{id: nothing, wait: 0s}\n  - {id: healthy,"), "no time and for no condition"),
    ("zero-wait", swap('for: "${{ facts.token_life }}"', "for: 0s"), "proves nothing"),
    ("zero-wait", swap("rollback_within: 10m", "rollback_within: 0m"), "roll back in no time"),
    ("retirement-too-short", swap("rollback_within: 10m", "rollback_within: 10m\nretire_within: 1h"), "at least 1d"),
    ("overlap-below-policy", swap("default: 24h", "default: 23h"), "policy wants 1d"),
    ("warning-at-once", swap("default: 24h", "default: 6h"), "fires at once"),
    ("overlap-longer-than-cadence", swap("default: 24h", "default: 7d"), "a slip makes three"),
    ("promoted-before-known", cut("learn"), "before anyone can know it"),
    (
        "changed-in-place",
        swap("  - {id: publish,", "  - {id: early, do: gateways.refresh, with: {gateway: a}}\n  - {id: publish,"),
        "beside it",
    ),
    (
        "overwritten-before-dual",
        both(
            swap("{id: publish, do: identity.publish_key}", "{id: publish, do: identity.bootstrap_key}"),
            swap("  - {id: healthy", "  - {id: over, do: store.put_secret, with: {path: x}}\n  - {id: healthy"),
        ),
        "overwrites",
    ),
    (
        "destroyed-before-promotion",
        swap("  - {id: healthy", "  - {id: gone-early, do: identity.delete_key, with: {kid: x}}\n  - {id: healthy"),
        "move it to retire",
    ),
    ("no-retirement", drop("retire"), "never retired"),
    ("no-quiet", swap(QUIET, '  - {id: over, wait: "${{ facts.token_life + inputs.watched }}"}\n'), "without proof"),
    (
        "retirement-untied",
        both(
            swap('for: "${{ facts.token_life }}"', "for: 24h"),
            swap('at_least: "${{ inputs.watched }}"', "at_least: 48h"),
        ),
        "(24h, 48h)",
    ),
    ("no-watch", swap("    watch: {check: gateways.success_rate, for: 10m}\n", ""), "nobody watches"),
    (
        "no-brownout",
        lambda text: re.sub(r"(?m)^  - id: disable\n(    .*\n)+", "", text),
        "without a reversible disable",
    ),
    ("no-dead-check", both(cut("dead"), cut("gone")), "sees it refused"),
    (
        "change-after-no-return",
        swap("  - {id: gone,", "  - {id: late, do: gateways.refresh, with: {gateway: a}}\n  - {id: gone,"),
        "destroy last",
    ),
    ("free-skip", swap("    at_least:", "    skip: free\n    at_least:"), "this proof"),
    ("free-skip", swap("{id: publish, do", "{id: publish, skip: free, do"), "this change"),
    ("no-emergency", drop("emergency"), "no emergency order"),
    ("emergency-order", swap("order: replace-first", "order: contain-first"), "exposure"),
    ("emergency-order", swap("otherwise: [disable-now, publish,", "otherwise: [publish, disable-now,"), "exposure"),
    (
        "emergency-order",
        both(
            swap("order: replace-first", "order: contain-first"),
            swap("otherwise: [disable-now, publish, promote-now", "otherwise: [promote-now, disable-now, publish"),
        ),
        "an outage",
    ),
    ("later-step", swap("otherwise: [disable-now, publish, promote-now", _EARLY), "before 'publish' has run"),
    ("emergency-twice", swap("publish, promote-now,", "publish, publish, promote-now,"), "stands twice"),
    ("emergency-twice", swap("    - publish\n", "    - publish\n    - publish\n"), "stands twice"),
    ("emergency-left-out", swap("promote-now, restart,", "promote-now,"), "end differently"),
    ("emergency-unknown-step", swap("publish, promote-now,", "publish, promote-nw,"), "did you mean promote-now?"),
    ("emergency-unknown-step", swap("publish, promote-now,", "publish, promote, promote-now,"), "of this emergency"),
    ("emergency-unknown-step", swap("contained: disable-now", "contained: disble-now"), "did you mean disable-now?"),
    ("emergency-contained", swap("contained: disable-now", "contained: publish"), "it creates and belongs"),
    (
        "emergency-contained",
        swap("{id: disable-now, do: identity.disable_key,", "{id: disable-now, do: identity.delete_key,"),
        "name a step that disables",
    ),
    (
        "emergency-contained",
        both(
            swap("otherwise: [disable-now,", "otherwise: [restart, disable-now,"),
            swap(_CONTAINED, "contained: restart"),
        ),
        "nothing up to 'restart'",
    ),
    ("emergency-contained", swap(f"  {_OTHERWISE}\n", ""), "there is no such order"),
    ("emergency-contained", swap("[disable-now, publish,", "[publish,"), "contain-first does not have this step"),
    ("emergency-unproved", lambda text: re.sub(r"    - \{id: refused-now.*\n", "", text), "sees it refused"),
    ("emergency-unproved", swap(_OTHERWISE, _PROVED_TOO_EARLY), "sees it refused"),
    ("emergency-costs", lambda text: re.sub(r"    contain-first: \{.*\n", "", text), "add costs: {contain-first:"),
    ("emergency-costs", swap(f"  {_OTHERWISE}\n", ""), "which this emergency cannot do"),
    (
        "emergency-order",
        swap("    - publish\n", "    - {id: stop, do: identity.disable_key, with: {kid: x}}\n    - publish\n"),
        "an outage",
    ),
    ("emergency-unknown-step", swap("    - publish\n", "    - publish\n    - heathy\n"), "did you mean healthy?"),
    (
        "emergency-undone",
        swap("    - publish\n", "    - publish\n    - disable\n"),
        "bring the suspected credential back",
    ),
    (
        "secret-value",
        swap("service: {type: url}", "service: {type: url, help: ghp_0123456789abcdefghijABCDEFGHIJ012345}"),
        "a GitHub token",
    ),
    ("secret-input", swap("inputs:\n", "inputs:\n  admin_token: {type: text}\n"), "type: reference"),
    (
        "config-map",
        swap("do: identity.publish_key}", "do: identity.publish_key, with: {service: configmap/keys}}"),
        "write into a Secret",
    ),
    (
        "by-hand",
        swap(
            "do: identity.publish_key}",
            "do: identity.publish_key, with: {service: UPDATE signing_keys SET enabled=FALSE}}",
        ),
        "SQL",
    ),
    (
        "by-hand",
        swap("do: identity.publish_key}", "do: identity.publish_key, with: {service: /tmp/new-token.txt}}"),
        "temporary file",
    ),
    (
        "weak-probe",
        swap("check: gateways.success_rate, expect: {above: 99%, over: 1h}", "check: kubernetes.count_pods_phase"),
        "completed pods",
    ),
    (
        "weak-probe",
        swap("check: gateways.caches_fresh", "check: gateways.caches_fresh, with: {gateway: 'grep -E \"401|403\"'}"),
        "any digits",
    ),
    ("own-review", lambda text: as_reviewed(text, "Platform"), "somebody else"),
    ("no-review", swap("author: platform\n", ""), "nobody says who wrote it"),
    ("review-void", lambda text: as_reviewed(text).replace("default: 24h", "default: 25h"), "since security reviewed"),
]


def findings(text: str, context: Context | None = CONTEXT) -> list[Finding]:
    reviewed = text if "\nreviewed:" in text else as_reviewed(text)
    return lint(loads(reviewed, "clean.yaml"), Table(), context)


def test_the_clean_runbook_is_clean() -> None:
    assert findings(CLEAN) == []
    assert findings(CLEAN, None) == []
    assert lint_text(as_reviewed(CLEAN), "clean.yaml", Table()) == []


@pytest.mark.parametrize(
    ("rule", "change", "said"), BREAKS, ids=[f"{n}-{rule}" for n, (rule, _, _) in enumerate(BREAKS)]
)
def test_a_rule_finds_what_breaks_it(rule: str, change: Change, said: str) -> None:
    found = [finding for finding in findings(change(CLEAN)) if finding.rule == rule]
    assert found, [str(finding) for finding in findings(change(CLEAN))]
    assert any(said in f"{finding.message} {finding.hint}" for finding in found), [str(f) for f in found]
    assert all(finding.line > 0 and finding.file == "clean.yaml" for finding in found)


def test_every_rule_is_documented_and_tested() -> None:
    elsewhere = {"unreadable", "cadence-order", "idle", "policy", "reminders", "signers", "unreviewed"}
    tested = {rule for rule, _, _ in BREAKS} | elsewhere
    assert tested == set(RULES)
    assert all(text.endswith(".") for text in RULES.values())


def test_findings_stand_where_the_mistake_stands() -> None:
    found = findings(cut("learn")(CLEAN))
    (promoted,) = [finding for finding in found if finding.rule == "promoted-before-known"]
    assert (promoted.step, promoted.severity, promoted.line) == ("promote", Severity.ERROR, 18)
    assert str(promoted).startswith("clean.yaml:18: error promoted-before-known: promote: identity.promote_key uses")


def test_a_wait_between_publishing_and_promoting_is_enough() -> None:
    waited = swap(
        "{id: learn, wait: 15m, until: {check: jwks.canary_accepted_everywhere, with: {kid: "
        '"${{ steps.publish.kid }}"}}}',
        "{id: learn, wait: 15m}",
    )
    assert findings(waited(CLEAN)) == []


def test_a_wait_until_a_moment_of_a_fact_that_looks_another_one_up_is_fine() -> None:
    read = "read: secret_files.current_version, type: moment"
    change = both(
        swap("facts:\n", f'facts:\n  ends: {{{read}, with: {{path: "${{{{ facts.old_kid }}}}"}}}}\n'),
        swap("wait: 15m,", 'wait: "${{ until(facts.ends) }}",'),
    )
    assert findings(change(CLEAN)) == []


def test_contain_first_is_fine_when_the_steps_do_so() -> None:
    disable = '    - {id: disable-now, do: identity.disable_key, with: {kid: "${{ facts.old_kid }}"}}\n'
    turned = both(
        swap(disable, ""),
        swap("order: replace-first\n  steps:\n", f"order: contain-first\n  steps:\n{disable}"),
        swap(_OTHERWISE, "otherwise: [publish, promote-now, disable-now, restart, refused-now]"),
    )
    assert findings(turned(CLEAN)) == []


def test_one_order_is_enough() -> None:
    single = both(
        swap(f"  {_OTHERWISE}\n  {_CONTAINED}\n", ""), lambda text: re.sub(r"    contain-first: \{.*\n", "", text)
    )
    assert findings(single(CLEAN)) == []


def test_a_mistake_of_the_other_order_stands_in_that_order() -> None:
    text = swap("otherwise: [disable-now, publish, promote-now", _EARLY)(CLEAN)
    (found,) = [finding for finding in findings(text) if finding.rule == "later-step"]
    assert text.splitlines()[found.line - 1].lstrip().startswith("otherwise:")
    assert (found.step, found.severity) == ("promote-now", Severity.ERROR)


def test_a_mistake_that_has_nothing_to_do_with_the_order_is_told_once() -> None:
    text = swap(
        "{id: disable-now, do: identity.disable_key, with: {kid: ",
        "{id: disable-now, do: identity.disable_key, with: {kid: x, nobody: ",
    )
    found = findings(text(CLEAN).replace('nobody: "${{ facts.old_kid }}"', 'nobody: "${{ facts.old_ki }}"'))
    assert sorted(finding.rule for finding in found) == ["unknown-fact", "unknown-parameter"]


def test_steps_of_a_fan_out_give_targets() -> None:
    text = swap("trouble:", "replaced_by: x\ntrouble:")(CLEAN)
    assert any("replaced_by" in finding.message for finding in lint_text(text, "f", Table()))
    fanned = swap(
        "  - {id: healthy,",
        '  - {id: kick, do: gateways.refresh, each: [a, b], with: {gateway: "${{ each }}"}}\n  - {id: healthy,',
    )
    named = swap('new: "${{ steps.publish.kid }}"', 'new: "${{ steps.kick.gateway }}"')
    (found,) = findings(both(fanned, named)(CLEAN))
    assert (found.rule, found.hint) == ("unknown-output", "known: targets")


def test_the_ten_contradictions_of_the_seeds_are_seen() -> None:
    rules = {
        1: "overlap-below-policy",
        2: "warning-at-once",
        3: "overlap-longer-than-cadence",
        4: "promoted-before-known",
        5: "retirement-untied",
        6: "emergency-order",
        7: "overwritten-before-dual",
        8: "config-map",
        9: "weak-probe",
        10: "cadence-order",
    }
    assert set(rules.values()) <= set(RULES)


WEEK = timedelta(days=7)


@pytest.mark.parametrize(
    ("cadences", "expected"),
    [
        ({"production": WEEK, "staging": 2 * WEEK, "development": 4 * WEEK}, ["production", "production", "staging"]),
        ({"production": 2 * WEEK, "staging": WEEK}, []),
        ({"production": WEEK, "staging": WEEK}, []),
        ({"production": WEEK, "elsewhere": 2 * WEEK, "default": 3 * WEEK}, []),
    ],
)
def test_production_is_not_rotated_before_the_environments_that_should_meet_a_failure_first(
    cadences: dict[str, timedelta], expected: list[str]
) -> None:
    found = lint_cadence({"signing-key": cadences}, lambda kind, environment: len(environment))
    assert sorted(message.partition(" ")[0] for _, _, message in found) == sorted(expected)
    assert all((line, kind) == (len(message.partition(" ")[0]), "signing-key") for line, kind, message in found)


BROKEN = """\
runbook: broken
summary: A runbook with mistakes of both kinds.
sumary: x
inputs:
  a: {type: strin}
  b: {type: text}
rollback_within: 10 minutes
steps:
  - {id: one, chekc: a.b}
  - {id: two, do: identity.publsh_key, with: {service: "${{ inputs.a }}${{ inputs.c }}"}}
  - {id: three, do: identity.promote_key, with: {service: x, kid: "${{ steps.one.kid }}", old: "${{ steps.six.x }}"}}
"""


def test_a_file_that_does_not_load_is_read_on() -> None:
    found = {(finding.line, finding.rule) for finding in lint_text(BROKEN, "broken.yaml", Table())}
    assert found == {
        *((3, "unreadable"), (5, "unreadable"), (7, "unreadable"), (9, "unreadable")),
        *((10, "unknown-word"), (10, "unknown-input"), (11, "unknown-step")),
    }


@pytest.mark.parametrize(
    "text", ["a: [", "- a", "", "runbook: 3", "steps: 3\nretire: 4\nemergency: 5", "emergency: {steps: [{}]}"]
)
def test_anything_can_be_linted(text: str) -> None:
    found = lint_text(text, "f", Table())
    assert found
    assert {finding.rule for finding in found} == {"unreadable"}


def test_expressions_in_places_that_the_loader_refused_do_not_stop_the_linter() -> None:
    text = swap('for: "${{ facts.token_life }}"', 'for: "${{ facts.token_life( }}"')(CLEAN)
    rules: dict[str, Any] = {finding.rule: finding for finding in lint_text(text, "f", Table())}
    assert set(rules) >= {"unreadable"}
