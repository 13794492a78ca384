"""The catalog as the linter's vocabulary: its words come from the adapters' classes; shipped runbooks use no others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.identity import PublishKey
from bot.catalog import Catalog, word_of
from bot.core.errors import Invalid, Permanent
from bot.core.lint import lint
from bot.core.runbook import Kind, Runbook, StepBase, words_of
from bot.core.runbook_file import LoadedRunbook, load
from bot.engine.secrets import SecretDoor
from bot.linting import lint_installation, shipped_files

KINDS = {Kind.DO: "operation", Kind.CHECK: "probe", Kind.QUIET: "sensor"}
SHIPPED = [load(path) for path in shipped_files()]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    catalog = Catalog({}, lambda: door)
    door = SecretDoor(catalog.store)
    return catalog


def wanted(runbook: Runbook) -> Iterator[tuple[str, str]]:
    """Every word of a runbook with the kind that its place asks for."""
    own = [step for step in (runbook.emergency.steps if runbook.emergency else ()) if isinstance(step, StepBase)]
    for step in (*runbook.steps, *runbook.retire, *own):
        for kind, word in words_of(step):
            yield KINDS[kind], word
    for fact in runbook.facts.values():
        yield "fact", fact.read
    for branch in runbook.trouble:
        if branch.check:
            yield "probe", branch.check
        if branch.do:
            yield "operation", branch.do


@pytest.mark.parametrize("loaded", SHIPPED, ids=lambda loaded: loaded.name)
def test_every_word_of_a_shipped_runbook_is_offered_with_the_right_kind(
    loaded: LoadedRunbook, catalog: Catalog
) -> None:
    words = list(wanted(loaded.runbook))
    assert len(words) > 10
    for kind, word in words:
        info = catalog.describe(word)
        assert info is not None, f"{word} is not offered; did you mean {catalog.close(word)}"
        assert info.kind == kind, word


@pytest.mark.parametrize("loaded", SHIPPED, ids=lambda loaded: loaded.name)
def test_shipped_runbooks_have_nothing_said_about_them(loaded: LoadedRunbook, catalog: Catalog) -> None:
    assert lint(loaded, catalog) == []


def test_an_installation_without_settings_is_linted(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert lint_installation({}, catalog) == ([], [])
    findings, mistakes = lint_installation({"KEYTURN_CONFIG": "/nowhere/keyturn.yml"}, catalog)
    assert findings == []
    assert "keyturn init" in mistakes[0]


def test_a_word_is_described_by_its_class(catalog: Catalog) -> None:
    info = catalog.describe("identity.publish_key")
    assert info is not None
    assert info.kind == "operation"
    assert info.effect == "creates"
    assert info.outputs == PublishKey.outputs
    assert info.params["service"] is True
    assert catalog.part("identity.publish_key") is PublishKey
    assert word_of(PublishKey) == "publish_key"


def test_every_word_has_a_docstring_and_says_what_it_needs(catalog: Catalog) -> None:
    for word in catalog.words():
        part = catalog.part(word)
        assert part is not None
        assert (part.__doc__ or "").strip(), f"{word} does not say what it does"
        assert isinstance(part.permissions, tuple), word


@pytest.mark.parametrize("word", ["identity.publish_keys", "identty.publish_key"])
def test_close_words_are_offered(catalog: Catalog, word: str) -> None:
    assert catalog.describe(word) is None
    assert "identity.publish_key" in catalog.close(word)
    with pytest.raises(Permanent) as caught:
        catalog.operation(word)
    assert "identity.publish_key" in caught.value.hint


def test_a_word_of_another_kind_is_refused() -> None:
    catalog = Catalog({}, lambda: SecretDoor(catalog.store))
    with pytest.raises(Permanent, match="is no operation"):
        catalog.operation("jwks.key_served")


def test_all_mistakes_of_the_configuration_at_once() -> None:
    catalog = Catalog({"identify": {}, "jwks": {"gatways": {}}}, lambda: SecretDoor(catalog.store))
    with pytest.raises(Invalid) as caught:
        catalog.check_configs()
    told = "\n".join(caught.value.problems)
    assert "did you mean identity" in told
    assert "gatways" in told
