"""Rules on habits that hurt: secrets in files, hand edits, health by grep, and reviews by the author."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bot.core.document import Location
from bot.core.lint.model import Finding, Subject
from bot.core.reviewed import same_spelling, why_unreviewed
from bot.core.suspicion import looks_like_secret

_SECRET_NAME = re.compile(r"(?:^|_)(?:secret|password|passphrase|token|api_?key|private_?key|credentials?)$")
_CONFIG_MAP = re.compile(r"config[-_ ]?map", re.IGNORECASE)
_BY_HAND = re.compile(
    r"\b(?:update\s+\w+\s+set|delete\s+from|insert\s+into|alter\s+(?:user|role|table)|drop\s+(?:user|role|table))\b"
    r"|--from-literal|\bset\s+env\b|(?:^|[\s=:'\"])/tmp/",
    re.IGNORECASE,
)
_WEAK = re.compile(
    r"\bgrep\b|(?:^|[._])(?:grep|phase|log_?lines?|count_?pods)(?:_|$)|\b[45]\d\d\|[45]\d\d\b|\.status\.phase"
)
_PROSE = ("summary", "source", "author", "by", "digest", "title", "ask", "advice", "when", "help", "see", "otherwise")
_PROSE_BELOW = ("notes", "background", "contacts")


def check_secrets(subject: Subject) -> Iterator[Finding]:
    """Secret values, inputs that would hold one, and places that are no place for one."""
    for at, text in _texts(subject.runbook.model_dump(mode="json", by_alias=True, exclude_none=True), ()):
        step = _step(subject, at)
        if kind := looks_like_secret(text):
            message, hint = f"this looks like {kind}", "write a reference such as secret_files:checkout/api-key"
            yield subject.find("secret-value", at, message, hint, step=step, error=True)
        if at[-1] in _PROSE or at[0] in _PROSE_BELOW:
            continue
        if _CONFIG_MAP.search(text):
            message = "a ConfigMap is readable by everyone who reads configuration"
            yield subject.find("config-map", at, message, "write into a Secret", step=step, error=True)
        if _BY_HAND.search(text):
            message = "this goes past the interface that checks and records it: SQL text, a literal or a temporary file"
            yield subject.find("by-hand", at, message, "use an operation of an adapter", step=step, error=True)
    for name, given in subject.runbook.inputs.items():
        if given.type in ("text", "name") and _SECRET_NAME.search(name):
            message = f"the input {name!r} would hold a secret as text"
            yield subject.find("secret-input", ("inputs", name), message, "declare it as type: reference", error=True)


def check_weak_probes(subject: Subject) -> Iterator[Finding]:
    """Health told from text: it takes completed pods for broken ones, and any digits for status codes."""
    for at, text in _texts(subject.runbook.model_dump(mode="json", by_alias=True, exclude_none=True), ()):
        prose = at[-1] in _PROSE or at[0] in ("inputs", *_PROSE_BELOW) or "by_hand" in at or "back_by_hand" in at
        if not prose and _WEAK.search(text):
            message = "health is told from text or from a pod's phase, which mistakes completed pods and any digits"
            hint = "use a probe that asks for readiness or for a rate"
            yield subject.find("weak-probe", at, message, hint, step=_step(subject, at))


def check_review(subject: Subject) -> Iterator[Finding]:
    """A second pair of eyes, on what stands there now."""
    why = why_unreviewed(subject.loaded, same_spelling)
    if why is not None:
        at: Location = ("reviewed",) if subject.runbook.reviewed else ("runbook",)
        yield subject.find(why.rule, at, why.message, why.hint)


def _step(subject: Subject, at: Location) -> str:
    for place in (*subject.steps(), *subject.own_emergency()):
        if at[: len(place.at)] == place.at:
            return place.step.id
    return ""


def _texts(value: Any, at: Location) -> Iterator[tuple[Location, str]]:
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*at, index))
