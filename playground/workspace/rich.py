"""The inside of rich_text blocks: sections, lists, quotes, preformatted text, and the pieces in them."""

from __future__ import annotations

from playground.workspace.shapes import Check, Walk, anything, choice, flag, kinds, many, matching, shape, text, whole

_STYLE = shape(
    {},
    {
        name: flag
        for name in ("bold", "italic", "strike", "code", "underline", "highlight", "client_highlight", "unlink")
    },
)
_PIECES: dict[str, Check] = {
    "text": shape({"type": text(20), "text": text(12_000)}, {"style": _STYLE}),
    "link": shape({"type": text(20), "url": text(3000)}, {"text": text(3000), "unsafe": flag, "style": _STYLE}),
    "user": shape({"type": text(20), "user_id": text(30)}, {"style": _STYLE}),
    "usergroup": shape({"type": text(20), "usergroup_id": text(30)}, {"style": _STYLE}),
    "channel": shape({"type": text(20), "channel_id": text(30)}, {"style": _STYLE}),
    "emoji": shape(
        {"type": text(20), "name": text(100)}, {"unicode": text(100), "style": _STYLE, "skin_tone": anything}
    ),
    "broadcast": shape({"type": text(20), "range": choice("here", "channel", "everyone")}, {"style": _STYLE}),
    "color": shape({"type": text(20), "value": matching(r"#[0-9a-fA-F]{3,8}", "a colour")}),
    "date": shape(
        {"type": text(20), "timestamp": whole(0, 9_999_999_999), "format": text(200)},
        {"url": text(3000), "fallback": text(200), "style": _STYLE},
    ),
}
_PIECE = kinds(_PIECES, "rich text piece")
_SECTION = shape({"type": text(40), "elements": many(_PIECE, 0, 500)})
_ONLY_TEXT = kinds({"text": _PIECES["text"], "link": _PIECES["link"]}, "text or link")
_ELEMENTS: dict[str, Check] = {
    "rich_text_section": _SECTION,
    "rich_text_quote": shape({"type": text(40), "elements": many(_PIECE, 0, 500)}, {"border": whole(0, 1)}),
    "rich_text_preformatted": shape(
        {"type": text(40), "elements": many(_ONLY_TEXT, 0, 500)}, {"border": whole(0, 1), "language": text(40)}
    ),
    "rich_text_list": shape(
        {
            "type": text(40),
            "style": choice("bullet", "ordered"),
            "elements": many(kinds({"rich_text_section": _SECTION}, "list item"), 1, 500),
        },
        {"indent": whole(0, 8), "offset": whole(0, 10_000), "border": whole(0, 1)},
    ),
}


def rich_text(walk: Walk, value: object, at: str) -> None:
    """A rich_text block or cell."""
    _CHECK(walk, value, at)


_CHECK = shape(
    {"type": choice("rich_text"), "elements": many(kinds(_ELEMENTS, "rich text element"), 0, 100)},
    {"block_id": text(255)},
)
