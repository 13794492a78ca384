"""`python -m benchmarks [part …] [--quick] [--json]`: measure and print."""

from __future__ import annotations

import argparse
import importlib
import json
import sys

PARTS = {
    "ack": ("benchmarks.ack", "acks"),
    "reads": ("benchmarks.ack", "reads"),
    "first-step": ("benchmarks.first_step", "first_steps"),
    "audit": ("benchmarks.audit", "appends"),
    "verify": ("benchmarks.audit", "verification"),
    "start": ("benchmarks.start", "starts"),
    "inventory": ("benchmarks.inventory", "inventory"),
    "waiting": ("benchmarks.waiting", "waiting"),
    "home": ("benchmarks.home", "homes"),
    "revocation": ("benchmarks.emergency", "revocations"),
    "containment": ("benchmarks.emergency", "containments"),
    "calls": ("benchmarks.emergency", "machine_parts"),
    "estate": ("benchmarks.kubernetes", "estates"),
    "rollouts": ("benchmarks.kubernetes", "restarts"),
}


def main(words: list[str] | None = None) -> int:
    """Run the parts that are named, or all. The exit code is 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Floors and product, side by side.")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; all when left out")
    parser.add_argument("--quick", action="store_true", help="only see that everything runs; the figures mean nothing")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    given = parser.parse_args(words)
    unknown = sorted(set(given.parts) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; parts are {', '.join(PARTS)}")
    reports = []
    for name in given.parts or PARTS:
        module, function = PARTS[name]
        report = getattr(importlib.import_module(module), function)(quick=given.quick)
        reports.append(report)
        if not given.json:
            print(report.as_text(), end="\n\n", flush=True)
    if given.json:
        print(json.dumps([report.as_json() for report in reports], indent=2))
    missed = [figure for report in reports for figure in report.figures if figure.holds is False]
    return 1 if missed and not given.quick else 0


if __name__ == "__main__":
    sys.exit(main())
