"""What a word says back, as a message to one person."""

from __future__ import annotations

from collections.abc import Sequence

from bot.contracts.command import Answer, Table
from bot.slack.blocks import Block, Page, context, section, sections
from bot.slack.cards import Message
from bot.slack.pictures import MOST_CHARTS, drawn, native
from bot.slack.text import MOST_TEXT, count, cut, escape, sentence

MOST_ROWS = 60


def answer(said: Answer) -> Message:
    """The sentence first, then the table as one line per row, which phones and screen readers take best."""
    paragraphs = [part for part in said.text.split("\n\n") if part.strip()] or ["Done."]
    text = cut(escape(sentence(paragraphs[0]), MOST_TEXT), MOST_TEXT)
    if not said.charts:
        return Message(text, _page(paragraphs, said.table, []))
    return Message(
        text,
        _page(paragraphs, said.table, [*native(said.charts[:MOST_CHARTS]), *drawn(said.charts[MOST_CHARTS:])]),
        plain=_page(paragraphs, said.table, drawn(said.charts)),
    )


def _page(paragraphs: Sequence[str], table: Table | None, pictures: Sequence[Block]) -> list[Block]:
    page = Page()
    for part in paragraphs[:5]:
        page.add(section(escape(sentence(part), 2800)), rank=0)
    page.add(*pictures, rank=1)
    if table is not None:
        page.add(*_table(table), rank=2)
    return page.fit()


def refusal(text: str) -> Message:
    """One sentence with the way out."""
    return Message(escape(sentence(text), MOST_TEXT), [section(escape(sentence(text), 2800))])


def _table(table: Table) -> list[Block]:
    lines = []
    for row in table.rows[-MOST_ROWS:] if table.newest_last else table.rows[:MOST_ROWS]:
        first, *rest = row
        cells = [escape(cell, 300) for cell in rest if cell]
        lines.append(" · ".join([f"*{escape(first, 120)}*", *cells]))
    made = [context("_" + " · ".join(escape(column, 60) for column in table.columns) + "_"), *sections(lines, 6)]
    left = len(table.rows) - MOST_ROWS
    if left > 0:
        what = "earlier row" if table.newest_last else "more row"
        told = context(f"_{count(left, what)} on the command line of the bot's host._")
        made.insert(1 if table.newest_last else len(made), told)
    return made
