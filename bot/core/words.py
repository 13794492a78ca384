"""Reads what people type after `/rotate`: words, arguments, flags and mentions, with advice for typos."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from bot.core.errors import Refused

LONGEST = 2000
MOST_TOKENS = 60
TO = "to"
"""The flag whose value somebody who is mentioned may be."""
YES_OR_NO = "(yes or no)"
"""A flag whose help ends so takes no value."""

_OPENING = {'"': '"', "'": "'", "“": "”", "„": "“”", "”": "”", "‘": "’", "‚": "‘’", "«": "»", "»": "«"}
_DOUBLE = '"“”„'
_MENTION = re.compile(r"<(?P<sign>[@#!])(?P<id>[A-Za-z0-9^._-]{1,60})(?:\|(?P<label>[^<>]{0,200}))?>")
_ROTATION = re.compile(r"(?:[Rr]-?|#)?0*([1-9][0-9]{0,8})")
_FLAG = re.compile(r"(?:--|—|–)(?P<name>[A-Za-z][A-Za-z0-9-]{0,40})(?:=(?P<value>.*))?", re.DOTALL)
_KINDS = {"@": "user", "#": "channel", "!": "special"}


@dataclass(frozen=True, slots=True)
class Mention:
    """Somebody or something that was pointed at. `kind` is user, channel, group, special, or name for a bare `@bob`."""

    kind: str
    id: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed. Mentions stand in `mentions`, in their order, and not among the arguments."""

    word: str
    args: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    """Flag -> its value; `yes` for one that takes none."""
    mentions: tuple[Mention, ...] = ()


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    quoted: bool


def parse(text: str, known: Mapping[str, Mapping[str, str]], *, default: str = "help") -> Typed:
    """Read a line. `known` is word -> flag -> help. Nothing typed means the word `default`.

    Raises `Refused` with one sentence that says what is wrong and what to type instead.
    """
    if len(text) > LONGEST:
        raise Refused(f"That is longer than {LONGEST} characters; shorten the reason.", code="too-long")
    tokens = _tokens(text)
    if not tokens:
        return Typed(default)
    word = tokens[0].text.casefold()
    if word not in known:
        raise Refused(f"There is no word {shown(tokens[0].text)}. {advice(word, known)}", code="unknown-word")
    return _sorted(word, tokens[1:], known[word])


def rotation_number(text: str) -> int | None:
    """The number of `R-7`, `r-7`, `R7`, `#7` or `7`; None for anything else, such as a credential's name."""
    match = _ROTATION.fullmatch(text.strip())
    return int(match[1]) if match else None


def close_to(word: str, names: Iterable[str]) -> list[str]:
    """Up to two names that may have been meant, nearest first."""
    folded: dict[str, str] = {}
    for name in names:
        folded.setdefault(name.casefold(), name)
    near = difflib.get_close_matches(word.casefold()[:80], list(folded), n=2, cutoff=0.6)
    return [folded[name] for name in near]


def advice(word: str, names: Iterable[str]) -> str:
    """A sentence: the nearest names, or where to look."""
    near = close_to(word, names)
    return f"Did you mean {' or '.join(near)}?" if near else "See what there is with: help."


def visible(text: str) -> str:
    """The same text with every character that hides or reorders others written as an escape (`\\u202e`)."""
    return "".join(_escape(letter) if _hides(letter) else letter for letter in text)


def shown(text: str, longest: int = 40) -> str:
    """A piece of what was typed, for an answer: visible, quoted and not too long."""
    short = text if len(text) <= longest else text[: longest - 1] + "…"
    return f"“{visible(short)}”"


def _hides(letter: str) -> bool:
    return (
        unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        or letter in "\u115f\u1160\u3164\uffa0"
    )


def _escape(letter: str) -> str:
    code = ord(letter)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _sorted(word: str, tokens: list[_Token], flags: Mapping[str, str]) -> Typed:
    args: list[str] = []
    found: dict[str, str] = {}
    mentions: list[Mention] = []
    pointed: list[str] = []
    only_arguments = False
    waiting = iter(tokens)
    for token in waiting:
        flag = None if token.quoted or only_arguments else _FLAG.fullmatch(token.text)
        if token.text == "--" and not token.quoted and not only_arguments:
            only_arguments = True
        elif flag:
            name = flag["name"].casefold()
            value = _value(word, name, flag["value"], waiting, flags)
            if name in found:
                raise Refused(f"--{name} stands there twice; give it once.", code="bad-flag")
            found[name] = value
        elif not token.quoted and token.text.startswith("-") and len(token.text) > 1 and not only_arguments:
            raise Refused(
                f"{shown(token.text)} is no flag; flags begin with two dashes. {_flags(word, flags)}", "bad-flag"
            )
        elif not token.quoted and (mention := _mention(token.text)):
            mentions.append(mention)
            pointed.append(_unescaped(token.text))
        else:
            args.append(_unescaped(token.text))
    if TO in flags and len(pointed) == 1:  # `own key @bob` says the same as `own key --to @bob`
        found.setdefault(TO, pointed[0])
    return Typed(word, tuple(args), found, tuple(mentions))


def _value(word: str, name: str, given: str | None, waiting: Iterator[_Token], flags: Mapping[str, str]) -> str:
    if name not in flags:
        near = close_to(name, flags)
        hint = f"Did you mean --{near[0]}?" if near else _flags(word, flags)
        raise Refused(f"{word} has no flag {shown('--' + name)}. {hint}", code="unknown-flag")
    if flags[name].rstrip(" .").endswith(YES_OR_NO):
        if given is not None and given.casefold() not in ("yes", "true"):
            raise Refused(f"--{name} takes no value; write --{name} or leave it out.", code="bad-flag")
        return "yes"
    if given is None:
        token = next(waiting, None)
        if token is None or (not token.quoted and _FLAG.fullmatch(token.text)):
            raise Refused(f'--{name} needs a value; write --{name} "…".', code="bad-flag")
        given = token.text
    if not given.strip():
        raise Refused(f'--{name} is empty; write --{name} "…".', code="bad-flag")
    return _unescaped(given)


def _flags(word: str, flags: Mapping[str, str]) -> str:
    if not flags:
        return f"{word} takes none."
    return f"{word} takes {', '.join('--' + name for name in sorted(flags))}."


def _mention(text: str) -> Mention | None:
    match = _MENTION.fullmatch(text)
    if match is None:
        name = re.fullmatch(r"@([A-Za-z0-9][A-Za-z0-9._-]{0,79})", text)
        return Mention("name", name[1]) if name else None
    kind, name_, label = _KINDS[match["sign"]], match["id"], _unescaped(match["label"] or "")
    if kind == "special" and name_.startswith("subteam^"):
        return Mention("group", name_.removeprefix("subteam^"), label)
    return Mention(kind, name_, label)


def _unescaped(text: str) -> str:
    """Slack sends these three characters escaped, so that what it marked up itself can be told from what was typed."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _tokens(text: str) -> list[_Token]:
    """Split at white space outside of quotes and of `<…|some label>`. A quote opens only where a word begins."""
    found: list[_Token] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        token, at = _token(text, at)
        found.append(token)
        if len(found) > MOST_TOKENS:
            raise Refused('That is too many words; put the reason in quotes: --reason "…".', code="too-long")
    return found


def _token(text: str, at: int) -> tuple[_Token, int]:
    if text[at] in _OPENING:
        inner, end = _quoted(text, at)
        return _Token(inner, True), end
    start = at
    while at < len(text) and not text[at].isspace():
        if text[at] == "<" and (match := _MENTION.match(text, at)):
            at = match.end()
        elif text[at] == "=" and at + 1 < len(text) and text[at + 1] in _OPENING and _FLAG.fullmatch(text[start:at]):
            inner, end = _quoted(text, at + 1)
            return _Token(text[start : at + 1] + inner, False), end
        else:
            at += 1
    return _Token(text[start:at], False), at


def _quoted(text: str, at: int) -> tuple[str, int]:
    """What stands in quotes, and where it ends. Phones mix straight and curly ones: any double quote closes another."""
    opening = text[at]
    closing = _DOUBLE if opening in _DOUBLE else _OPENING[opening]
    end = at + 1
    while end < len(text):
        follows = text[end + 1] if end + 1 < len(text) else " "
        if text[end] in closing and (follows.isspace() or opening in _DOUBLE):
            return text[at + 1 : end], end + 1
        end += 1
    piece = shown(text[at : at + 24], 24)
    raise Refused(f"The quote that opens at {piece} is never closed; close it, or leave it out.", code="open-quote")
