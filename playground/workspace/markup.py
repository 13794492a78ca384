"""Slack's mrkdwn, read into a small tree: the page draws the tree, and never any text as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Node = dict[str, Any]

_FENCE = re.compile(r"```\n?(.*?)\n?```", re.DOTALL)
_QUOTE = re.compile(r"^(?:&gt;|>) ?")
_STYLES = {"*": "bold", "_": "italic", "~": "strike"}
_INLINE = re.compile(
    r"(?P<code>`[^`\n]+`)"
    r"|(?P<angle><[^<>\n]{1,3000}>)"
    r"|(?P<emoji>:[a-z0-9_+'-]{1,60}:(?::skin-tone-[2-6]:)?)"
    r"|(?P<styled>(?<![\w*_~])(?P<mark>[*_~])(?=\S)(?P<inner>[^\n]*?\S)(?P=mark)(?![\w]))"
    r"|(?P<link>(?<![\w/])https?://[^\s<>|`*]+[^\s<>|`*.,;:!?)\]'\"])"
)
_SAFE = re.compile(r"(https?|mailto|tel|slack):", re.IGNORECASE)
_DATE = re.compile(r"!date\^(\d{1,12})\^([^^|]+)(?:\^([^|]+))?(?:\|(.*))?")
_ID = re.compile(r"[A-Z0-9]{2,}")


def parse(text: str, *, verbatim: bool = False) -> list[Node]:
    """mrkdwn as nodes. `verbatim` leaves bare links as they are, as Slack does."""
    nodes: list[Node] = []
    at = 0
    for match in _FENCE.finditer(text):
        nodes += _lines(text[at : match.start()], verbatim)
        nodes.append({"t": "pre", "c": [_text(match.group(1))]})
        at = match.end()
    return nodes + _lines(text[at:], verbatim)


def plain(text: str) -> list[Node]:
    """A plain_text's nodes: emoji are drawn, everything else is what it is."""
    nodes: list[Node] = []
    for part in re.split(r"(:[a-z0-9_+'-]{1,60}:)", text):
        if re.fullmatch(r":[a-z0-9_+'-]{1,60}:", part):
            nodes.append({"t": "emoji", "name": part.strip(":")})
        elif part:
            nodes += _broken({"t": "text", "s": part})
    return nodes


def pings(text: str) -> Iterator[str]:
    """Who is called by this mrkdwn: `channel`, `here`, `everyone`, and the ids of people and groups."""
    for node in _walk(parse(text)):
        if node["t"] in {"user", "group"}:
            yield node["id"]
        elif node["t"] == "broadcast":
            yield node["name"]


def _walk(nodes: list[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _walk(node.get("c", []))


def _lines(text: str, verbatim: bool) -> list[Node]:
    nodes: list[Node] = []
    quoted: list[str] = []
    normal: list[str] = []

    def flush() -> None:
        if normal:
            nodes.extend(_inline("\n".join(normal), verbatim))
            normal.clear()
        if quoted:
            nodes.append({"t": "quote", "c": _inline("\n".join(quoted), verbatim)})
            quoted.clear()

    for line in text.split("\n"):
        if _QUOTE.match(line):
            if normal:
                flush()
            quoted.append(_QUOTE.sub("", line))
        else:
            if quoted:
                flush()
            normal.append(line)
    flush()
    return nodes


def _inline(text: str, verbatim: bool) -> list[Node]:
    nodes: list[Node] = []
    at = 0
    for match in _INLINE.finditer(text):
        node = _inline_node(match, verbatim)
        if node is None:
            continue
        nodes += _broken(_text(text[at : match.start()]))
        nodes.append(node)
        at = match.end()
    return nodes + _broken(_text(text[at:]))


def _inline_node(match: re.Match[str], verbatim: bool) -> Node | None:
    found = match.group(0)
    if match.group("code"):
        return {"t": "code", "c": [_text(found[1:-1])]}
    if match.group("angle"):
        return _angle(found[1:-1])
    if match.group("emoji"):
        return {"t": "emoji", "name": found.strip(":")}
    if match.group("styled"):
        return {"t": _STYLES[match.group("mark")], "c": _inline(match.group("inner"), verbatim)}
    return None if verbatim else {"t": "link", "url": found, "c": [_text(found)]}


def _angle(inside: str) -> Node | None:
    """What stands between angle brackets: a person, a channel, a command such as `!here`, a link."""
    target, _, label = inside.partition("|")
    if inside.startswith("@") and _ID.fullmatch(target[1:]):
        return {"t": "user", "id": target[1:]}
    if inside.startswith("#") and _ID.fullmatch(target[1:]):
        return {"t": "channel", "id": target[1:], "label": _unescape(label)}
    if inside.startswith("!"):
        return _command(inside, target, label)
    if _SAFE.match(target):
        return {"t": "link", "url": _unescape(target), "c": [_text(label or target)]}
    return None


def _command(inside: str, target: str, label: str) -> Node | None:
    if target in {"!here", "!channel", "!everyone"}:
        return {"t": "broadcast", "name": target[1:]}
    if target.startswith("!subteam^"):
        return {"t": "group", "id": target.removeprefix("!subteam^"), "label": _unescape(label)}
    if match := _DATE.fullmatch(inside):
        seconds, form, url, fallback = match.groups()
        safe = url if url and _SAFE.match(url) else None
        return {"t": "date", "at": int(seconds), "format": form, "url": safe, "fallback": _unescape(fallback or "")}
    return None


def _text(text: str) -> Node:
    return {"t": "text", "s": _unescape(text)}


def _unescape(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _broken(node: Node) -> list[Node]:
    """A text node, with line breaks as nodes of their own."""
    nodes: list[Node] = []
    for index, line in enumerate(node["s"].split("\n")):
        if index:
            nodes.append({"t": "br"})
        if line:
            nodes.append({"t": "text", "s": line})
    return nodes
