"""Writes deploy/manifests from the chart (`make manifests`), for those without Helm. A test keeps them equal."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHART = ROOT / "deploy" / "chart" / "keyturn"
TARGET = ROOT / "deploy" / "manifests" / "keyturn.yaml"
KUBERNETES = "1.33.0"
"""What the chart is rendered for; nothing in it depends on the version."""

HEAD = """\
# keyturn without Helm: the chart with its default values, made by `make manifests`; docs/deploy.md says what to put
# beside it. Change it by kustomize, as kustomization.yaml shows. Its permissions: `keyturn permissions --roles`.
"""


def rendered(helm: str) -> str:
    """The chart with its default values, without the marks of Helm."""
    words = [helm, "template", "keyturn", str(CHART), "--namespace", "keyturn", "--kube-version", KUBERNETES]
    done = subprocess.run(words, capture_output=True, text=True)  # noqa: S603 - our own words
    if done.returncode:
        raise SystemExit(done.stderr)
    text = re.sub(r"^ *app\.kubernetes\.io/managed-by: .*\n|^# Source: .*\n", "", done.stdout, flags=re.MULTILINE)
    return HEAD + re.sub(r"[ \t]+$|\n(?=\n)", "", text, flags=re.MULTILINE)


def find_helm() -> str:
    """Helm on the PATH, or the one that was built with the control plane of the tests."""
    from playground.cluster.build import find

    parts = find()
    found = shutil.which("helm") or (str(parts.program("helm")) if parts else None)
    if found is None:
        raise SystemExit("There is no Helm: install it, or let `make test-cluster` build it.")
    return found


if __name__ == "__main__":
    TARGET.write_text(rendered(find_helm()), encoding="utf-8")
    print(f"Written: {TARGET.relative_to(ROOT)}", file=sys.stderr)
