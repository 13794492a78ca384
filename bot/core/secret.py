"""Secret values that refuse to be shown, and references that say where a secret lives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn

from bot.core.errors import Refused

HIDDEN = "[secret]"


class Secret:
    """A secret value on its way from an issuer to a store. `reveal()` is the only way out, and easy to grep for."""

    __slots__ = ("_value",)

    def __init__(self, value: str | bytes) -> None:
        self._value = value.encode() if isinstance(value, str) else bytes(value)

    def reveal(self) -> bytes:
        """The value itself, for the one call that needs it."""
        return self._value

    def reveal_text(self) -> str:
        """The value as text; raises `UnicodeDecodeError` without showing the bytes' content elsewhere."""
        return self._value.decode()

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        import hmac

        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]  # a hash would leak equality into dictionaries and logs

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied into storage")

    def __iter__(self) -> NoReturn:
        raise TypeError("a Secret cannot be iterated")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self


_REFERENCE = re.compile(
    r"^(?P<store>[a-z][a-z0-9_]*):(?P<path>[A-Za-z0-9._/@=+-]+)(?:#(?P<version>[A-Za-z0-9._-]{1,128}))?$"
)


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret lives, never what it is: `secret_files:checkout/api-key#v3`.

    `store` is an adapter's name, or `file` / `env` for the bot's own configuration; `version` may be empty.
    """

    store: str
    path: str
    version: str = ""

    @classmethod
    def parse(cls, text: str) -> SecretReference:
        """Read a reference; raises `Refused` without echoing the text, which may be a pasted secret."""
        match = _REFERENCE.fullmatch(text)
        if match is None or ".." in match["path"].split("/"):
            raise Refused(
                "This is not a secret reference; write store:path or store:path#version, "
                "for example secret_files:checkout/api-key.",
                code="bad-reference",
            )
        return cls(match["store"], match["path"], match["version"] or "")

    def at(self, version: str) -> SecretReference:
        """The same place at another version."""
        return SecretReference(self.store, self.path, version)

    def __str__(self) -> str:
        return f"{self.store}:{self.path}" + (f"#{self.version}" if self.version else "")
