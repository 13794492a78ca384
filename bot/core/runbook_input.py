"""What a runbook is given: inputs with a type, and values that must fit it."""

from __future__ import annotations

import math
import re
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, model_validator

from bot.core import duration
from bot.core.errors import Refused
from bot.core.secret import SecretReference


class Model(BaseModel):
    """Runbook data: unknown keys are mistakes, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, hide_input_in_errors=True)


class Input(Model):
    """One input of a runbook."""

    type: Literal["text", "name", "url", "duration", "list", "reference", "number"] = "text"
    default: Any = None
    help: str = ""

    @model_validator(mode="after")
    def _default_fits(self) -> Input:
        if self.default is not None:
            self.check(self.default)
        return self

    @property
    def required(self) -> bool:
        """Whether a credential has to give it."""
        return self.default is None

    def check(self, value: Any) -> None:
        """Raises `ValueError`, without the value, when it does not fit the type."""
        wrong = _SHAPES[self.type](value)
        if wrong:
            raise ValueError(wrong)


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


def _text(value: Any) -> str:
    fits = isinstance(value, str) and 0 < len(value) <= 500 and value.isprintable() and "${{" not in value
    return "" if fits else "write a line of text of at most 500 characters, without ${{ }}"


def _name(value: Any) -> str:
    fits = isinstance(value, str) and _NAME.fullmatch(value)
    return "" if fits else "write a name of letters, digits, dots, dashes and underscores"


def _url(value: Any) -> str:
    wrong = "write an absolute http or https address without user, query or fragment"
    if _text(value) or "@" in value or " " in value:
        return wrong
    try:
        parts = urlsplit(value)
        fits = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
        return "" if fits and (parts.port is None or parts.port > 0) else wrong
    except ValueError:
        return wrong


def _duration(value: Any) -> str:
    try:
        duration.parse(value if isinstance(value, str) else "")
    except ValueError:
        return "write a duration such as 15m, 24h or 90d (with its unit)"
    return ""


def _list(value: Any) -> str:
    fits = isinstance(value, list) and 0 < len(value) <= 1000 and not any(_text(item) for item in value)
    return "" if fits and len(set(value)) == len(value) else "write a list of texts, each once, such as [gw1, gw2]"


def _reference(value: Any) -> str:
    try:
        SecretReference.parse(value if isinstance(value, str) else "")
    except Refused:
        return "write where the secret lives, store:path, such as secret_files:checkout/api-key; never the secret"
    return ""


def _number(value: Any) -> str:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return "" if fits else "write a number"


_SHAPES = {
    "text": _text,
    "name": _name,
    "url": _url,
    "duration": _duration,
    "list": _list,
    "reference": _reference,
    "number": _number,
}
