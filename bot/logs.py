"""Structured logs: one line per event, the rotation's id on every line that has one, nothing secret on any."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import structlog

NOISY = {
    "botocore": logging.WARNING,
    "boto3": logging.WARNING,
    "urllib3": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "slack_sdk": logging.WARNING,
    "slack_bolt": logging.WARNING,
    "kubernetes": logging.WARNING,
    "procrastinate": logging.WARNING,
    "alembic": logging.WARNING,
    "waitress": logging.WARNING,
}
"""Floors: below these levels the libraries log request bodies, query strings or parameters."""

_TOKENS = re.compile(
    r"xox[a-z]-[A-Za-z0-9-]{8,}|xapp-[A-Za-z0-9-]{8,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r"|(?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}|://[^/\s:@]*:[^/\s@]+@"
)


def _redact(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The last line of defence: whatever looks like a token in a line is cut out of it."""
    return {key: _TOKENS.sub("[redacted]", value) if isinstance(value, str) else value for key, value in event.items()}


_EXTRA = ("rotation", "step", "credential", "intent", "target")


def _extras(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    record = event.get("_record")
    for name in _EXTRA:
        value = getattr(record, name, None)
        if value:
            event[name] = value
    return event


def configure(level: str = "info", form: str = "text") -> None:
    """Put one handler on the root logger; `form` is `text` or `json`."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _extras,
        structlog.processors.format_exc_info,
        _redact,
    ]
    render: structlog.typing.Processor
    if form == "json":
        render = structlog.processors.JSONRenderer()
    else:
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, floor in NOISY.items():
        logging.getLogger(name).setLevel(floor)
