"""Reads OpenSSH's allowed_signers file line by line, and keeps only lines that name people and plain keys."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bot.core.ballot import KEY_TYPES, NAMESPACE, fingerprint
from bot.core.words import close_to, shown

REVOKED = "@revoked"
"""A line that begins so takes a key out, whatever else the file says of it; ssh-keygen alone reads past such lines."""
PRINCIPAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@:+/-]{0,99}")
"""A name without anything that is a pattern, a quote or an option."""

_TOKEN = re.compile(r'(?:[^\s"]|"[^"]*")+')
_OPTION = re.compile(r'(?P<name>[A-Za-z-]+)(?:="(?P<value>[^"\\]*)")?')
_DATE = re.compile(r"(\d{8})(\d{4})?(\d{2})?Z?")
_KNOWN = ("namespaces", "valid-after", "valid-before")


@dataclass(frozen=True, slots=True)
class Line:
    """One key and whose it is."""

    number: int
    principals: tuple[str, ...]
    kind: str
    key: bytes
    """In binary form."""
    options: Mapping[str, str] = field(default_factory=dict)
    revoked: bool = False

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`"""
        return fingerprint(self.key)

    @property
    def public(self) -> str:
        """Type and key, as in a .pub file."""
        return f"{self.kind} {base64.b64encode(self.key).decode()}"

    def text(self) -> str:
        """The line as ssh-keygen is given it: what was understood here, and nothing else."""
        options = ",".join(f'{name}="{value}"' for name, value in self.options.items())
        return " ".join(part for part in (",".join(self.principals), options, self.public) if part)

    def is_past(self, now: datetime) -> bool:
        """Whether the key's time is over."""
        before = self.options.get("valid-before", "")
        return bool(before) and now >= _date(before)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds: keys that may sign, keys that were taken out, and what is wrong with the other lines."""

    lines: tuple[Line, ...]
    revoked: tuple[Line, ...]
    problems: tuple[str, ...]

    def shared(self, people: Collection[str]) -> Mapping[bytes, frozenset[str]]:
        """Keys that stand for more than one of these people: whoever holds one could vote as both."""
        holders: dict[bytes, set[str]] = {}
        for line in self.lines:
            holders.setdefault(line.key, set()).update(set(line.principals) & set(people))
        return {key: frozenset(names) for key, names in holders.items() if len(names) > 1}

    def usable(self, people: Collection[str] = ()) -> tuple[Line, ...]:
        """Lines that may count: not revoked, and not of a key that several of these people share."""
        out = {line.key for line in self.revoked} | set(self.shared(people))
        return tuple(line for line in self.lines if line.key not in out)

    def look(self, people: Collection[str], needed: Iterable[str], now: datetime | None) -> list[str]:
        """Everything that is wrong, for lint: `people` are declared, those `needed` have to be able to sign."""
        found = list(self.problems)
        for line in self.lines:
            for name in line.principals:
                if name not in people and not set(line.principals) & set(people):
                    near = close_to(name, people)
                    advice = f"did you mean {near[0]}?" if near else "use the name from `people` in keyturn.yml"
                    found.append(f"line {line.number}: {name} is no declared person; {advice}")
            if not _allows(line.options.get("namespaces"), NAMESPACE):
                found.append(f'line {line.number}: its namespaces leave out ours; add namespaces="{NAMESPACE}"')
            if now is not None and line.is_past(now):
                found.append(f"line {line.number}: the key of {line.principals[0]} is no longer valid; remove the line")
        for key, names in self.shared(people).items():
            found.append(
                f"{' and '.join(sorted(names))} share the key {fingerprint(key)}; each needs a key of their own"
            )
        able = {
            name
            for line in self.usable(people)
            if _allows(line.options.get("namespaces"), NAMESPACE) and not (now is not None and line.is_past(now))
            for name in line.principals
        }
        found.extend(
            f"{name} has to sign by policy and has no key that counts; add a line with their public key"
            for name in sorted(set(needed) - able)
        )
        return found


def read(text: str) -> Contents:
    """Read a file's text. Lines that could mean more people or keys than they show are left out and named."""
    lines: list[Line] = []
    revoked: list[Line] = []
    problems: list[str] = []
    for number, raw in enumerate(text.split("\n"), 1):
        plain = raw.strip()
        if not plain or plain.startswith("#"):
            continue
        try:
            line = _line(number, plain)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
            continue
        (revoked if line.revoked else lines).append(line)
    return Contents(tuple(lines), tuple(revoked), tuple(problems))


def _line(number: int, plain: str) -> Line:
    tokens = _TOKEN.findall(plain)
    if not tokens:
        raise ValueError("it holds nothing but a quote; begin it with a person's name from keyturn.yml")
    first, rest = tokens[0], tokens[1:]
    at = next((i for i, token in enumerate(rest[:2]) if token in KEY_TYPES), None)
    if first == REVOKED:
        if at is None:
            raise ValueError("it revokes no key; write @revoked, the key's type and the key")
        return Line(number, (), rest[at], _key(rest[at], rest[at + 1 : at + 2]), revoked=True)
    principals = tuple(first.split(","))
    for name in principals:
        if any(letter in name for letter in "*?!"):
            raise ValueError(f"{shown(name)} is a pattern; name the person")
        if not PRINCIPAL.fullmatch(name):
            raise ValueError(f"{shown(name)} is no name; begin the line with a person's name from keyturn.yml")
    if at is None:
        raise ValueError(f"there is no key of a type that counts; those are {', '.join(KEY_TYPES)}")
    options = _options(rest[0]) if at == 1 else {}
    return Line(number, principals, rest[at], _key(rest[at], rest[at + 1 : at + 2]), options)


def _options(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    parts = list(_OPTION.finditer(text))
    if ",".join(part[0] for part in parts) != text:
        raise ValueError(f'{shown(text)} cannot be read as options; write name="value",name="value"')
    for part in parts:
        name, value = part["name"].lower(), part["value"]
        if name == "cert-authority":
            raise ValueError("cert-authority is not taken; list each person's own key")
        if name not in _KNOWN or value is None or name in found:
            raise ValueError(
                f"{shown(part[0])} is not taken; options are {', '.join(_KNOWN)}, each once and with a value"
            )
        if name != "namespaces":
            _date(value)
        elif not re.fullmatch(r"[!-~]+", value):
            raise ValueError("its namespaces are empty or not plain characters")
        found[name] = value
    return found


def _key(kind: str, tokens: list[str]) -> bytes:
    try:
        key = base64.b64decode(tokens[0], validate=True) if tokens else b""
    except binascii.Error:
        key = b""
    if not key.startswith(len(kind).to_bytes(4) + kind.encode()):
        raise ValueError(f"the {kind} key is cut off or damaged; copy all of the .pub file's line")
    return key


def _date(text: str) -> datetime:
    """ssh-keygen's dates; without a Z they are UTC here too, because it runs with that zone."""
    match = _DATE.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        return datetime.strptime(f"{match[1]}{match[2] or '0000'}{match[3] or '00'}", "%Y%m%d%H%M%S").replace(
            tzinfo=UTC
        )
    except ValueError:
        raise ValueError(f"{shown(text)} is no date; write 20270131 or 202701312359Z") from None


def _allows(patterns: str | None, namespace: str) -> bool:
    """Whether a list of patterns such as `git,rotation@*,!file` takes a namespace. None takes every one."""
    if patterns is None:
        return True
    allowed = False
    for pattern in patterns.split(","):
        plain = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern.removeprefix("!"))
        if re.fullmatch(plain, namespace):
            if pattern.startswith("!"):
                return False
            allowed = True
    return allowed
