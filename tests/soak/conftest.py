"""Collected only where it is asked for."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("KEYTURN_SOAK") else ["test_*.py"]
