"""What the expressions of a planned step see, and the parameters that come of them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ValidationError

from bot.contracts.adapter import Model
from bot.core.errors import Permanent
from bot.core.plan import Plan
from bot.core.rotation import Rotation
from bot.core.template import TemplateError, evaluate


def scope_of_plan(plan: Plan, rotation_id: str = "") -> dict[str, Any]:
    """Inputs, facts and the credential; no step has run yet."""
    return {
        "inputs": dict(plan.inputs),
        "facts": {name: fact.get("value") for name, fact in plan.facts.items()},
        "steps": {},
        "credential": {
            "name": plan.credential,
            "environment": plan.environment,
            "owner": plan.owner,
            "class": plan.kind,
            "max_valid": plan.max_valid + plan.emergency,  # no older version may stand in an emergency's way
        },
        "rotation": {"id": rotation_id, "emergency": plan.emergency},
    }


def scope_of(rotation: Rotation) -> dict[str, Any]:
    """The same, with the outputs of every step so far."""
    scope = scope_of_plan(rotation.plan, rotation.id)
    scope["steps"] = {
        planned.id: dict(run.outputs)
        for planned, run in zip(rotation.plan.steps, rotation.steps, strict=True)
        if run.outputs
    }
    return scope


def parameters(
    model: type[Model],
    shared: Mapping[str, Any],
    own: Mapping[str, Any],
    scope: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
) -> BaseModel:
    """Build the parameters of a word: the runbook's shared arguments that it takes, its own on top.

    `extra` are arguments that the engine offers if the word takes them, such as `over`. Raises `Permanent` naming the
    fields that do not fit, never their values.
    """
    raw = {name: value for name, value in shared.items() if name in model.model_fields} | dict(own)
    values = {name: _plain(value) for name, value in evaluate(raw, scope).items()}
    for name, value in (extra or {}).items():
        if name in model.model_fields and name not in values:
            values[name] = _plain(value)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'parameters'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise Permanent(
            f"the parameters do not fit: {wrong}", "correct the runbook or the credential's inputs"
        ) from None


def known_arguments(
    model: type[Model], shared: Mapping[str, Any], own: Mapping[str, Any], scope: Mapping[str, Any]
) -> dict[str, Any]:
    """Those arguments of a word that can be told by now, unchecked; the others come from steps that have not run."""
    raw = {name: value for name, value in {**shared, **own}.items() if name in model.model_fields}
    known = {}
    for name, value in raw.items():
        with contextlib.suppress(TemplateError):
            known[name] = _plain(evaluate(value, scope))
    return known


def _plain(value: Any) -> Any:
    """Durations reach adapters as seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else value
