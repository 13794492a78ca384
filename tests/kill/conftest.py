"""Where the killer works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kill.databases import workplace


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where that exists."""
    with workplace() as made:
        yield made
