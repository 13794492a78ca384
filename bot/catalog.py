"""File names are the registry: lists adapters and commands, and loads them when they are first needed."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from types import ModuleType
from typing import Any, TypeVar

from pydantic import ValidationError

from bot.contracts.adapter import Discovery, Fact, Grants, Operation, Part, Probe, Run, Secrets, Sensor, Store
from bot.core.errors import Invalid, Permanent
from bot.core.lint import WordInfo
from bot.core.secret import SecretReference

P = TypeVar("P", bound=Part)

_KINDS: tuple[type[Part], ...] = (Operation, Probe, Sensor, Fact, Discovery)
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def names(package: str) -> tuple[str, ...]:
    """Modules of a package by file name, without importing them."""
    found = importlib.import_module(package)
    return tuple(sorted(info.name for info in pkgutil.iter_modules(found.__path__) if not info.name.startswith("_")))


def word_of(part: type[Any]) -> str:
    """`PublishKey` is `publish_key`; `CreateApiKey` is `create_api_key`."""
    return _CAPITAL.sub("_", part.__name__).lower()


class Catalog:
    """Adapters with their configuration, and commands. Safe from many threads; clients are built once and shared."""

    def __init__(self, configs: Mapping[str, Mapping[str, Any]], secrets: Callable[[], Secrets]) -> None:
        self._configs = configs
        self._secrets = secrets
        self._lock = threading.RLock()
        self._modules: dict[str, ModuleType] = {}
        self._clients: dict[str, Any] = {}
        self._parts: dict[str, dict[str, type[Part]]] = {}
        self._commands: dict[str, Any] | None = None

    # --- adapters -----------------------------------------------------------------------------------------------------

    def adapters(self) -> tuple[str, ...]:
        """Every adapter there is."""
        return names("adapters")

    def operation(self, word: str) -> Operation:
        """The operation that the word names, ready to use."""
        return self._ready(word, Operation)

    def probe(self, word: str) -> Probe:
        """The probe that the word names, ready to use."""
        return self._ready(word, Probe)

    def sensor(self, word: str) -> Sensor:
        """The sensor that the word names, ready to use."""
        return self._ready(word, Sensor)

    def fact(self, word: str) -> Fact:
        """The fact that the word names, ready to use."""
        return self._ready(word, Fact)

    def discovery(self, word: str) -> Discovery:
        """The discovery that the word names, ready to use."""
        return self._ready(word, Discovery)

    def store(self, name: str) -> Store:
        """The secret store of an adapter; raises `Permanent` where the adapter keeps no secrets."""
        factory = getattr(self._module(name), "Store", None)
        if factory is None:
            stores = [other for other in self.adapters() if hasattr(self._module(other), "Store")]
            raise Permanent(f"{name} keeps no secrets", f"stores are: {', '.join(stores) or 'none'}, env, file")
        store: Store = factory(self._client(name))
        return store

    def store_needs(self, reference: SecretReference) -> tuple[str, ...]:
        """What a secret reference needs at its system; nothing where no adapter keeps such secrets."""
        if reference.store not in self.adapters():
            return ()
        needs: Callable[[str], tuple[str, ...]] | None = getattr(
            getattr(self._module(reference.store), "Store", None), "needs", None
        )
        return needs(reference.path) if needs else ()

    def part(self, word: str) -> type[Part] | None:
        """The class behind a word, without building its client."""
        adapter, _, name = word.partition(".")
        if adapter not in self.adapters():
            return None
        return self._parts_of(adapter).get(name)

    def words(self) -> Iterator[str]:
        """Every word that a runbook may use."""
        for adapter in self.adapters():
            for name in self._parts_of(adapter):
                yield f"{adapter}.{name}"

    def describe(self, word: str) -> WordInfo | None:
        """What the word is, as far as a runbook has to know; None when no adapter offers it."""
        part = self.part(word)
        if part is None:
            return None
        kind = next(kind.__name__.lower() for kind in _KINDS if issubclass(part, kind))
        params = {field.alias or name: field.is_required() for name, field in part.Params.model_fields.items()}
        if issubclass(part, Operation):
            return WordInfo(kind, params, part.outputs, part.effect.value)
        return WordInfo(kind, params)

    def close(self, word: str) -> list[str]:
        """Words that may have been meant, nearest first."""
        return difflib.get_close_matches(word, list(self.words()), 2)

    def access(self, needed: Mapping[str, Collection[str]], run: Run) -> Mapping[str, tuple[str, ...]]:
        """Missing permissions, per adapter."""
        return {name: tuple(self._client(name).access(sorted(what), run)) for name, what in sorted(needed.items())}

    def grants(self, name: str) -> Grants | None:
        """How the adapter writes permissions for those who grant them; None where it knows no such form."""
        found: Grants | None = getattr(self._module(name), "grants", None)
        return found

    def check_configs(self) -> None:
        """Validate every adapter's configuration; raises `Invalid` with all mistakes."""
        problems: list[str] = []
        for name in self._configs:
            if name not in self.adapters():
                near = difflib.get_close_matches(name, self.adapters(), 1)
                problems.append(
                    f"adapters.{name}: there is no such adapter" + (f"; did you mean {near[0]}?" if near else "")
                )
                continue
            try:
                self._config(name)
            except Permanent as error:
                problems.append(str(error))
        if problems:
            raise Invalid("adapter configuration", tuple(problems))

    def _ready(self, word: str, kind: type[P]) -> P:
        part = self.part(word)
        if part is None:
            near = self.close(word)
            raise Permanent(
                f"no adapter offers {word}", f"did you mean {' or '.join(near)}?" if near else "see: runbooks"
            )
        if not issubclass(part, kind):
            raise Permanent(f"{word} is no {kind.__name__.lower()}", "correct the runbook")
        return part(self._client(word.partition(".")[0]))

    def _module(self, name: str) -> ModuleType:
        with self._lock:
            if name not in self._modules:
                if name not in self.adapters():
                    raise Permanent(f"there is no adapter {name}", f"adapters: {', '.join(self.adapters())}")
                self._modules[name] = importlib.import_module(f"adapters.{name}")
            return self._modules[name]

    def _parts_of(self, adapter: str) -> dict[str, type[Part]]:
        with self._lock:
            if adapter not in self._parts:
                module = self._module(adapter)
                self._parts[adapter] = {
                    word_of(value): value
                    for value in vars(module).values()
                    if isinstance(value, type) and issubclass(value, _KINDS) and value not in _KINDS
                }
            return self._parts[adapter]

    def _config(self, name: str) -> Any:
        try:
            return self._module(name).Config.model_validate(self._configs.get(name, {}))
        except ValidationError as error:
            told = "; ".join(
                f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
                for problem in error.errors(include_input=False, include_url=False, include_context=False)
            )
            raise Permanent(f"adapters.{name}: {told}", "correct it in keyturn.yml") from None

    def _client(self, name: str) -> Any:
        with self._lock:
            if name not in self._clients:
                self._clients[name] = self._module(name).Client(self._config(name), self._secrets())
            return self._clients[name]

    # --- commands -----------------------------------------------------------------------------------------------------

    def commands(self) -> Mapping[str, Any]:
        """Every word of `/rotate`; the modules are imported at the first use."""
        with self._lock:
            if self._commands is None:
                self._commands = {name: importlib.import_module(f"commands.{name}") for name in names("commands")}
            return self._commands
