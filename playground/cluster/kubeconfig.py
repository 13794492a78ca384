"""Writes kubeconfig files for a server, an authority and a token."""

from __future__ import annotations

import json
from pathlib import Path


def write_kubeconfig(
    path: Path, server: str, ca: Path, token: str, context: str = "default", namespace: str = ""
) -> Path:
    """A file with one context, which only its owner reads; JSON is YAML."""
    settings = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": {"server": server, "certificate-authority": str(ca)}}],
        "users": [{"name": context, "user": {"token": token}}],
        "contexts": [
            {
                "name": context,
                "context": {"cluster": context, "user": context} | ({"namespace": namespace} if namespace else {}),
            }
        ],
        "current-context": context,
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(settings, indent=2))
    return path
