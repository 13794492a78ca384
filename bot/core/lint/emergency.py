"""Rules on the emergency: both orders do what they claim, one person only contains, everybody reads the costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bot.core.document import Location, close
from bot.core.lint.model import Finding, Place, Subject
from bot.core.runbook import CheckStep, DoStep, Emergency, Order, StepBase

_AT_ORDER: Location = ("emergency", "order")
_AT_OTHERWISE: Location = ("emergency", "otherwise")
_AT_CONTAINED: Location = ("emergency", "contained")
_AT_COSTS: Location = ("emergency", "costs")


def check_emergency(subject: Subject) -> Iterator[Finding]:
    """Names, both orders, the containment and the costs of an emergency."""
    emergency = subject.runbook.emergency
    if emergency is None:
        message = "there is no emergency order"
        yield subject.find("no-emergency", ("runbook",), message, "add emergency: with order and steps")
        return
    yield from _names(subject, emergency)
    ends = {step.do for step in subject.runbook.retire if isinstance(step, DoStep)}
    for order in emergency.orders:
        places = list(subject.emergency(order))
        at = _AT_ORDER if order is emergency.order else _AT_OTHERWISE
        yield from _order(subject, order, at, [_role(subject, place.step, ends) for place in places])
        yield from _proof(subject, at, places, ends)
    yield from _undone(subject, list(subject.emergency(emergency.order)))
    yield from _contained(subject, emergency, ends)
    yield from _costs(subject, emergency)


def _names(subject: Subject, emergency: Emergency) -> Iterator[Finding]:
    """Each order names steps that exist, each once, and the two do the same things."""
    listed = emergency.ids(emergency.order)
    known = [place.step.id for place in subject.steps()]
    for index, item in enumerate(emergency.steps):
        if isinstance(item, str) and item not in known:
            message, hint = f"{item!r} is no step of this runbook", close(item, known)
            yield _unknown(subject, ("emergency", "steps", index), item, message, hint)
    for index, name in enumerate(emergency.otherwise):
        if name not in listed:
            message, hint = f"{name!r} is no step of this emergency", close(name, listed)
            yield _unknown(subject, (*_AT_OTHERWISE, index), name, message, hint)
    for key, names in (("steps", listed), ("otherwise", emergency.otherwise)):
        for index, name in enumerate(names):
            if name in names[:index]:
                message = "it stands twice in this order, and a step runs once"
                at: Location = ("emergency", key, index)
                yield subject.find("emergency-twice", at, message, "keep one of them", step=name, error=True)
    for name in listed if emergency.otherwise else ():
        step = subject.runbook.step(name)
        if step is not None and name not in emergency.otherwise and isinstance(step, DoStep):
            message = "the other order leaves it out, so the two end differently"
            yield subject.find("emergency-left-out", _AT_OTHERWISE, message, "name it there too", step=name)


def _unknown(subject: Subject, at: Location, name: str, message: str, hint: str) -> Finding:
    return subject.find("emergency-unknown-step", at, message, hint, step=name, error=True)


def _order(subject: Subject, order: Order, at: Location, roles: Sequence[str]) -> Iterator[Finding]:
    """The first thing done is the one that the order is named after."""
    made = roles.index("replaces") if "replaces" in roles else None
    ended = roles.index("contains") if "contains" in roles else None
    message = hint = ""
    if order is Order.REPLACE_FIRST and (made is None or (ended is not None and ended < made)):
        message = "replace-first, and the steps take the old credential away before there is a new one: an outage"
        hint = "create and promote first, or write contain-first"
    if order is Order.CONTAIN_FIRST and (ended is None or (made is not None and made < ended)):
        message = "contain-first, and the steps leave the old credential valid until there is a new one: exposure"
        hint = "disable first, or write replace-first"
    if message:
        yield subject.find("emergency-order", at, message, hint, error=True)


def _proof(subject: Subject, at: Location, places: Sequence[Place], ends: set[str]) -> Iterator[Finding]:
    """Somebody looks whether the suspected one is refused."""
    roles = [_role(subject, place.step, ends) for place in places]
    if "contains" not in roles:
        return  # which the order's own rule says
    after = places[roles.index("contains") :]
    if not any(isinstance(place.step, CheckStep) for place in after):
        message = "nothing shows that the suspected credential is refused afterwards"
        hint = "add a check: that presents it and sees it refused"
        yield subject.find("emergency-unproved", at, message, hint)


def _undone(subject: Subject, places: Sequence[Place]) -> Iterator[Finding]:
    for place in places:
        if isinstance(place.step, DoStep) and place.step.watch:
            message = "its watch would undo it, and bring the suspected credential back"
            hint = "give the emergency a step of its own, without watch"
            yield subject.find("emergency-undone", place.at, message, hint, step=place.step.id)


def _contained(subject: Subject, emergency: Emergency, ends: set[str]) -> Iterator[Finding]:
    """What one person alone may do, where policy lets them: take it out of use, so that it can be put back."""
    name = emergency.contained
    if name is None:
        return
    listed = emergency.ids(emergency.order)
    if name not in listed:
        message = f"{name!r} is no step of this emergency"
        yield _unknown(subject, _AT_CONTAINED, name, message, close(name, listed))
        return
    if Order.CONTAIN_FIRST not in emergency.orders:
        message = "only contain-first can stop at a containment, and there is no such order"
        yield subject.find("emergency-contained", _AT_CONTAINED, message, "add otherwise:, or remove contained:")
        return
    count = emergency.containment(Order.CONTAIN_FIRST)
    if not count:
        message, hint = "contain-first does not have this step", "name a step of that order"
        yield subject.find("emergency-contained", _AT_CONTAINED, message, hint, step=name, error=True)
        return
    places = list(subject.emergency(Order.CONTAIN_FIRST))[:count]
    for place in places:
        effect = subject.effect(place.step)
        if effect in ("creates", "destroys"):
            message = f"it {effect} and belongs to the containment, which has to be reversible and nothing else"
            hint = f"move it behind {name!r}" if place.step.id != name else "name a step that disables"
            yield subject.find("emergency-contained", place.at, message, hint, step=place.step.id, error=True)
    if not any(_role(subject, place.step, ends) == "contains" for place in places):
        message = f"nothing up to {name!r} takes the old credential out of use"
        yield subject.find("emergency-contained", _AT_CONTAINED, message, "name the step that disables it", error=True)


def _costs(subject: Subject, emergency: Emergency) -> Iterator[Finding]:
    """Whoever chooses an order reads what it costs."""
    at = _AT_COSTS if emergency.costs else _AT_ORDER
    for order in emergency.orders:
        if order not in emergency.costs:
            message = f"nobody who chooses {order} reads what it costs"
            hint = f"add costs: {{{order}: {{outage: ..., exposure: ...}}}}"
            yield subject.find("emergency-costs", at, message, hint)
    for order in emergency.costs:
        if order not in emergency.orders:
            message = f"costs of {order}, which this emergency cannot do"
            yield subject.find("emergency-costs", (*_AT_COSTS, order.value), message, "add otherwise:, or remove them")


def _role(subject: Subject, step: StepBase, ends: set[str]) -> str:
    effect = subject.effect(step)
    if effect == "creates":
        return "replaces"
    contains = isinstance(step, DoStep) and (effect == "destroys" or (effect == "changes" and step.do in ends))
    return "contains" if contains else ""
