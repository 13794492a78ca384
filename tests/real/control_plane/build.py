"""Builds the control plane and what goes with it, or says that it is: `python -m tests.real.control_plane.build`."""

from __future__ import annotations

import sys
import time

from playground.cluster.build import Missing, build, find


def say(text: str) -> None:
    """On standard error: pytest's workers keep standard output for themselves."""
    print(f"control plane: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Build; the folder on standard output."""
    begun = time.monotonic()
    known = find()
    try:
        parts = known or build(say)
    except Missing as error:
        say(str(error))
        return 1
    say("it was built before" if known else f"took {time.monotonic() - begun:.0f} s")
    print(parts.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
