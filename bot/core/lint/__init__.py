"""Reads a runbook as a careful colleague would: what names nothing, what comes in the wrong order, what hurts later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from bot.core.errors import Invalid
from bot.core.lint.emergency import check_emergency
from bot.core.lint.habits import check_review, check_secrets, check_weak_probes
from bot.core.lint.model import Context, Finding, Severity, Subject, Vocabulary, WordInfo
from bot.core.lint.order import check_promotion, check_retirement, check_skips
from bot.core.lint.references import check_references, check_use, check_words
from bot.core.lint.spans import check_overlap, check_waits, lint_cadence
from bot.core.runbook_file import LoadedRunbook, examine

__all__ = ["RULES", "Context", "Finding", "Severity", "Vocabulary", "WordInfo", "lint", "lint_cadence", "lint_text"]

RULES: Mapping[str, str] = {
    "unreadable": "Something that keeps the file from being loaded.",
    "unknown-word": "A word that no adapter offers.",
    "wrong-kind": "An operation where a probe belongs, or the like.",
    "unknown-parameter": "An argument that the word does not take.",
    "missing-parameter": "A parameter that the word needs and nothing gives.",
    "unused-argument": "A shared argument that no word of the runbook takes.",
    "out-of-scope": "A look-up in a scope that does not exist there, such as each outside of a fan-out.",
    "unknown-input": "A look-up of an input that is not declared.",
    "unknown-fact": "A look-up of a fact that is not declared.",
    "fact-circle": "Facts that look each other up.",
    "unknown-step": "A look-up of a step that does not exist.",
    "unknown-output": "A look-up of something that the step does not give.",
    "later-step": "A look-up of a step that runs later.",
    "not-a-duration": "A look-up that is no duration where one is wanted, or no moment in until(...).",
    "not-a-list": "A fan-out over something that is no list.",
    "unused-input": "An input that nothing looks up.",
    "unused-fact": "A fact that nothing looks up.",
    "zero-wait": "A wait, a quiet time or a rollback time of zero.",
    "retirement-too-short": "Waits that add up to more than retire_within.",
    "overlap-below-policy": "The old version goes sooner than the policy's minimum_overlap.",
    "warning-at-once": "A warning before the end of the overlap that fires when it begins.",
    "overlap-longer-than-cadence": "An overlap that reaches into the next rotation.",
    "promoted-before-known": "The new credential is used before those who verify it can know it.",
    "changed-in-place": "Something is changed before a new credential exists beside the old one.",
    "overwritten-before-dual": "The stored secret is overwritten before anyone accepts both.",
    "destroyed-before-promotion": "Something is destroyed in the rotation proper.",
    "no-retirement": "A credential is created and the old one never retired.",
    "no-quiet": "The old credential is taken away without sensors showing it unused.",
    "retirement-untied": "The wait before retirement is a bare number, not compared with the life of tokens.",
    "no-watch": "The old credential is disabled and nobody watches.",
    "no-brownout": "Something is destroyed without a reversible disable before.",
    "no-dead-check": "Nothing shows that the old credential is refused.",
    "change-after-no-return": "A change that comes after a destruction and cannot be rolled back.",
    "free-skip": "A proof or a change that a single person may skip.",
    "no-emergency": "No emergency order.",
    "emergency-order": "Steps that do not follow the order that the emergency claims.",
    "emergency-unknown-step": "An emergency that names a step which does not exist, or which it does not have.",
    "emergency-twice": "A step that an order of the emergency names twice.",
    "emergency-left-out": "A change that one order of the emergency makes and the other does not.",
    "emergency-contained": "A containment that is more, or less, than taking the old one out of use reversibly.",
    "emergency-unproved": "An emergency after which nothing shows that the suspected credential is refused.",
    "emergency-costs": "An order without sentences on the outage and the exposure that it costs.",
    "emergency-undone": "An emergency step whose watch would undo it.",
    "secret-value": "A text that looks like a secret.",
    "secret-input": "An input of type text that would hold a secret.",
    "config-map": "A secret in a ConfigMap.",
    "by-hand": "SQL text, literals or temporary files instead of an operation.",
    "weak-probe": "Health told by grep or by a pod's phase.",
    "own-review": "Author and reviewer are the same.",
    "no-review": "No author or no reviewer.",
    "review-void": "A change since the review.",
    "unreviewed": "A credential whose policy wants a reviewed runbook, and whose runbook is not.",
    "cadence-order": "A later environment is rotated more often than an earlier one.",
    "policy": "A rule of the settings that holds and may not be meant, or is over.",
    "reminders": "A reminder that never comes: its tier is half of a cadence or longer.",
    "idle": "An errand, a discovery or an alarm that no adapter offers.",
    "signers": "A line of the file of signers that does not count, or somebody who must sign and has no key.",
}
"""Every rule by its id, for the documentation."""

_READABLE: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    check_words,
    check_references,
    check_waits,
    check_skips,
    check_secrets,
    check_weak_probes,
)
_WHOLE: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    check_use,
    check_overlap,
    check_promotion,
    check_retirement,
    check_emergency,
    check_review,
)
"""Rules that look at a runbook as a whole, and would blame it for a step that could not be read."""


def lint(loaded: LoadedRunbook, vocabulary: Vocabulary, context: Context | None = None) -> list[Finding]:
    """Everything there is to say about a runbook, in the order of its lines.

    With a `context` it is read for one credential: its inputs, cadence and policy.
    """
    subject = Subject(loaded, vocabulary, context or Context())
    return sorted({finding for check in (*_READABLE, *_WHOLE) for finding in check(subject)})


def lint_text(text: str, name: str, vocabulary: Vocabulary) -> list[Finding]:
    """The same for a text that may not even load: what keeps it from loading comes first, and the rest is read on."""
    try:
        examined = examine(text, name)
    except Invalid as error:
        return [Finding(name, 1, "", "unreadable", Severity.ERROR, problem) for problem in error.problems]
    found = {
        Finding(name, problem.line, "", "unreadable", Severity.ERROR, problem.message, problem.hint)
        for problem in examined.problems
    }
    if examined.loaded is not None:
        subject = Subject(examined.loaded, vocabulary, Context(), examined.broken)
        checks = _READABLE if examined.broken else (*_READABLE, *_WHOLE)
        found |= {
            finding for check in checks for finding in check(subject) if finding.step not in examined.broken - {""}
        }
    return sorted(found)
