"""The workspace as a process of its own: `python -m playground.workspace --port 8700 --manifest manifest.yml`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from playground.workspace.seed import Seed
from playground.workspace.tokens import Tokens
from playground.workspace.workspace import Workspace


def main(arguments: Sequence[str] | None = None) -> int:
    """Open a workspace, print what the app needs, and stay until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m playground.workspace", description=__doc__)
    parser.add_argument("--port", type=int, default=8700, help="0 takes a free one")
    parser.add_argument("--manifest", help="the app's manifest.yml; its scopes are the ones granted")
    parser.add_argument("--decline", action="append", default=[], metavar="SCOPE", help="refuse an optional scope")
    parser.add_argument("--seed", help="people, groups and channels, as YAML")
    parser.add_argument("--request-url", help="deliver by signed HTTP to this address instead of Socket Mode")
    parser.add_argument("--strip-url", help="where the estate's figures are, for the live strip")
    parser.add_argument("--rate-factor", type=float, default=1.0, help="widens the rate limits; 0 switches them off")
    given = parser.parse_args(arguments)
    workspace = Workspace.start(
        Seed.read(given.seed) if given.seed else None,
        manifest=given.manifest,
        declined=given.decline,
        port=given.port,
        tokens=_tokens(),
        request_url=given.request_url,
        rate_factor=given.rate_factor,
        strip_url=given.strip_url,
    )

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    with workspace:
        for name, value in workspace.environment().items():
            print(f"export {name}={value}")
        print(f"# the workspace is open at {workspace.url}", flush=True)
        try:
            workspace.run()
        except KeyboardInterrupt:
            print("# closed", file=sys.stderr)
    return 0


def _tokens() -> Tokens | None:
    """The tokens from the environment, when all three are there; they are made up otherwise."""
    names = ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET")
    values = [os.environ.get(name, "") for name in names]
    return Tokens(*values) if all(values) else None


if __name__ == "__main__":
    sys.exit(main())
