"""Log lines: one per event, the rotation on each that has one, and nothing that looks like a token."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from bot import logs


class Lines:
    """Logging as configured, written to a text."""

    def __init__(self) -> None:
        self._out = io.StringIO()

    def configure(self, level: str, form: str) -> None:
        logs.configure(level, form)
        (handler,) = logging.getLogger().handlers
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(self._out)

    @property
    def text(self) -> str:
        return self._out.getvalue()


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What is logged; the loggers are put back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in logs.NOISY}
    yield Lines()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def test_a_line_carries_the_rotation(lines: Lines) -> None:
    lines.configure("info", "json")
    adapter = logging.LoggerAdapter(logging.getLogger("adapters.identity"), {"rotation": "R-7", "step": "publish"})
    adapter.info("published %s", "kid-2")
    line = json.loads(lines.text)
    assert (line["rotation"], line["step"], line["level"]) == ("R-7", "publish", "info")
    assert line["event"] == "published kid-2"
    assert line["logger"] == "adapters.identity"
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize(
    "secret",
    [
        "xoxb-" + "1234567890-abcdef",
        "xapp-" + "1-A0-123-abcdef",
        "eyJhbGciOiJFUzI1NiJ9." + "eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl",
        "hunter2-and-more",
    ],
)
def test_what_looks_like_a_token_is_cut_out(lines: Lines, form: str, secret: str) -> None:
    lines.configure("info", form)
    log = logging.getLogger("anything")
    shown = f"Bearer {secret}" if secret.startswith("hunter2") else secret
    log.info("called with %s", shown)
    log.info("postgresql://keyturn:%s@db.example.com/keyturn", secret)
    try:
        raise RuntimeError(f"refused: {shown}")
    except RuntimeError:
        log.exception("it failed")
    text = lines.text
    assert text.count("[redacted]") >= 3
    assert secret not in text
    assert "db.example.com" in text


def test_libraries_that_log_bodies_are_held_above_debug(lines: Lines) -> None:
    lines.configure("debug", "text")
    for name in logs.NOISY:
        logging.getLogger(name).debug("POST token=secret")
        logging.getLogger(f"{name}.deeper").info("body: secret")
    logging.getLogger("bot.engine").debug("ours is shown")
    assert "secret" not in lines.text
    assert "ours is shown" in lines.text
