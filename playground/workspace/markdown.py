"""The markdown of markdown blocks, read into the same small tree as mrkdwn."""

from __future__ import annotations

import re

from playground.workspace.markup import Node

_FENCE = re.compile(r"^```\w*\n(.*?)\n?^```\s*$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(
    r"(?P<code>`[^`\n]+`)"
    r"|\[(?P<label>[^\]\n]+)\]\((?P<url>(?:https?|mailto):[^)\s]+)\)"
    r"|\*\*(?P<bold>\S(?:[^\n]*?\S)?)\*\*"
    r"|~~(?P<strike>\S(?:[^\n]*?\S)?)~~"
    r"|(?<![\w*])\*(?P<star>\S(?:[^\n*]*?\S)?)\*(?![\w*])"
    r"|(?<!\w)_(?P<under>\S(?:[^\n_]*?\S)?)_(?!\w)"
    r"|(?P<bare>https?://[^\s<>)]+)"
)
_ITEM = re.compile(r"^\s*(?:[-*+]|(?P<number>\d+)[.)])\s+(?:\[(?P<box>[ xX])\]\s+)?(?P<text>.*)$")


def parse(text: str) -> list[Node]:
    """Markdown as nodes: headings, lists, quotes, fences, and what stands inside a line."""
    nodes: list[Node] = []
    at = 0
    for match in _FENCE.finditer(text):
        nodes += _paragraphs(text[at : match.start()])
        nodes.append({"t": "pre", "c": [{"t": "text", "s": match.group(1)}]})
        at = match.end()
    return nodes + _paragraphs(text[at:])


def _paragraphs(text: str) -> list[Node]:
    nodes: list[Node] = []
    for chunk in re.split(r"\n\s*\n", text.strip("\n")):
        run: list[str] = []
        for line in chunk.split("\n"):
            if ((kind := _kind(line)) and run and _kind(run[-1]) != kind) or (run and _kind(run[-1]) and not kind):
                nodes += _run(run)
                run = []
            run.append(line)
        nodes += _run(run)
    return nodes


def _kind(line: str) -> str:
    if re.match(r"#{1,6} ", line):
        return f"heading {line}"
    if match := _ITEM.match(line):
        return "ordered list" if match.group("number") else "list"
    if line.startswith(">"):
        return "quote"
    return "rule" if re.fullmatch(r"\s*(---+|\*\*\*+)\s*", line) else ""


def _run(lines: list[str]) -> list[Node]:
    if not any(line.strip() for line in lines):
        return []
    kind = _kind(lines[0])
    if kind.startswith("heading"):
        return [{"t": "heading", "c": _inline(lines[0].lstrip("#").strip())}]
    if kind == "rule":
        return [{"t": "rule"}]
    if kind == "quote":
        return [{"t": "quote", "c": _inline("\n".join(line.lstrip("> ") for line in lines))}]
    if kind.endswith("list"):
        items = [match for line in lines if (match := _ITEM.match(line))]
        return [{"t": "list", "ordered": kind == "ordered list", "c": [_item(item) for item in items]}]
    return [{"t": "paragraph", "c": _inline("\n".join(lines))}]


def _item(match: re.Match[str]) -> Node:
    node: Node = {"t": "item", "c": _inline(match.group("text"))}
    if match.group("box") is not None:
        node["done"] = match.group("box") != " "
    return node


def _inline(text: str) -> list[Node]:
    nodes: list[Node] = []
    at = 0
    for match in _INLINE.finditer(text):
        nodes += _broken(text[at : match.start()])
        nodes.append(_inline_node(match))
        at = match.end()
    return nodes + _broken(text[at:])


def _inline_node(match: re.Match[str]) -> Node:
    if match.group("code"):
        return {"t": "code", "c": [{"t": "text", "s": match.group(0)[1:-1]}]}
    if match.group("url"):
        return {"t": "link", "url": match.group("url"), "c": _inline(match.group("label"))}
    if match.group("bare"):
        return {"t": "link", "url": match.group(0), "c": [{"t": "text", "s": match.group(0)}]}
    if match.group("bold"):
        return {"t": "bold", "c": _inline(match.group("bold"))}
    if match.group("strike"):
        return {"t": "strike", "c": _inline(match.group("strike"))}
    return {"t": "italic", "c": _inline(match.group("star") or match.group("under"))}


def _broken(text: str) -> list[Node]:
    nodes: list[Node] = []
    for index, line in enumerate(text.split("\n")):
        if index:
            nodes.append({"t": "br"})
        if line:
            nodes.append({"t": "text", "s": line})
    return nodes
