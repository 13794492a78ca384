"""What a rotation needs to be allowed is told for what it touches, before anything has run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.contracts.adapter import Effect, Fact, Model, Operation, Part, Probe
from bot.core.runbook import Runbook
from bot.core.secret import SecretReference
from bot.engine.needs import known_of, needed, needed_by_runbook


class Change(Operation):
    """Is granted by object."""

    effect = Effect.CHANGES
    permissions = ("secrets: get, patch",)

    class Params(Model):
        namespace: str
        secret: str
        version: str = ""

    @classmethod
    def needs(cls, known: Mapping[str, Any]) -> tuple[str, ...]:
        place = "/".join(str(known.get(name, "?")) for name in ("namespace", "secret"))
        return tuple(f"{one} @ {place}" for one in cls.permissions)


class Look(Probe):
    """Is granted as a whole."""

    permissions = ("metrics: read",)

    class Params(Model):
        over: float = 1.0


class Users(Fact):
    """Needs nothing."""


class Registry:
    """Two adapters."""

    def part(self, word: str) -> type[Part] | None:
        return {"store.change": Change, "eye.look": Look, "store.users": Users}.get(word)

    def store_needs(self, reference: SecretReference) -> tuple[str, ...]:
        return (f"vault: write {reference.path}",) if reference.store == "vault" else ()


RUNBOOK = Runbook.model_validate(
    {
        "runbook": "sample",
        "summary": "Changes one thing, watches it, and repairs it.",
        "inputs": {
            "namespace": {"type": "name"},
            "secrets": {"type": "list"},
            "spare": {"type": "name", "default": "s"},
        },
        "facts": {"users": {"read": "store.users"}},
        "rollback_within": "5m",
        "with": {"namespace": "${{ inputs.namespace }}"},
        "steps": [
            {
                "id": "change",
                "do": "store.change",
                "each": "${{ inputs.secrets }}",
                "with": {"secret": "${{ each }}", "version": "${{ steps.before.version }}"},
                "watch": {"check": "eye.look", "for": "1m"},
            }
        ],
        "retire": [{"id": "again", "do": "store.change", "with": {"secret": "${{ facts.users }}"}}],
        "emergency": {
            "order": "replace-first",
            "steps": ["change", {"id": "own", "do": "store.change", "with": {"secret": "${{ inputs.spare }}"}}],
        },
        "trouble": [{"id": "mend", "when": "It fails", "do": "store.change", "with": {"secret": "mended"}}],
    }
)


def test_a_runbook_needs_what_its_steps_emergency_and_repairs_touch() -> None:
    needed = needed_by_runbook(Registry(), RUNBOOK, {"namespace": "shop", "secrets": ["a", "b"]})  # type: ignore[arg-type]
    touched = {f"secrets: get, patch @ shop/{name}" for name in ("a", "b", "?", "s", "mended")}
    assert needed == {"store": touched, "eye": {"metrics: read"}}


def test_what_is_not_known_yet_is_left_to_the_adapter() -> None:
    use = ("store.change", {"secret": "${{ steps.x.name }}"}, "${{ steps.x.names }}")
    known = list(known_of(Change, {"namespace": "shop"}, use, {"steps": {}}))
    assert [Change.needs(one) for one in known] == [("secrets: get, patch @ shop/?",)]


def test_whoever_gets_a_reference_needs_what_its_store_needs() -> None:
    uses = [("store.change", {"secret": text}, None) for text in ("vault:team/key#v2", "https://a.example", "x: y")]
    found = needed(Registry(), uses, {"namespace": "shop"}, {})  # type: ignore[arg-type]
    assert found["vault"] == {"vault: write team/key"}
    assert set(found) == {"vault", "store"}


def test_arguments_that_a_word_does_not_take_are_not_given_to_it() -> None:
    use = ("x", {"secret": "a"}, None)
    known = list(known_of(Change, {"namespace": "shop", "stranger": 1}, use, {}))
    assert known == [{"namespace": "shop", "secret": "a"}]
