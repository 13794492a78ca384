"""The playground's `keyturn.yml`: a small company, its two credentials, and where the estate's programs listen."""

from __future__ import annotations

import json
from typing import Any

from playground.estate import Estate

TEAM = "T0KEYTURN"
OPS = "C0OPS"
_STEERING = ("start", "tick", "advance", "retry", "skip", "cancel", "rollback", "repair")
_OWNING = ("snooze", "own", "record")


def settings_of(estate: Estate, *, watched: str = "24h", **changes: Any) -> dict[str, Any]:
    """The settings as data. `watched` is how long the old key must be quiet; `changes` replace whole sections."""
    gateways = {gateway.name: gateway.address for gateway in estate.gateways}
    token = f"file:{estate.admin_token_file}"
    service = {estate.identity.address: {"admin_token": token}}
    populations = {"apps": {"url": estate.clients.address}} if estate.clients else {}
    credentials = [
        {
            "name": "identity-signing",
            "environment": "production",
            "class": "signing-key",
            "owner": "alice",
            "runbook": "identity-es256",
            "inputs": {
                "service": estate.identity.address,
                "gateways": list(gateways),
                "population": "apps",
                "watched": watched,
            },
        },
        {
            "name": "billing-api-key",
            "environment": "production",
            "class": "api-key",
            "owner": "dave",
            "runbook": "identity-api-key",
            "inputs": {
                "service": estate.identity.address,
                "client": "billing",
                "population": "apps",
                "path": "billing",
                "overlap": watched,
            },
        },
    ]
    settings: dict[str, Any] = {
        "slack": {"team": TEAM},
        "clock": {"rate": estate.clock.rate, "anchor": estate.clock.anchor},
        "people": {name: {"slack": [f"U0{name.upper()}"]} for name in ("alice", "bob", "carol", "dave", "erin")},
        "groups": {"sec-oncall": {"slack": "S0SECONCALL"}, "platform": {"slack": "S0PLATFORM"}},
        "channels": {"default": OPS},
        "roles": {
            "operators": {
                "who": ["platform", "sec-oncall"],
                "may": [*_STEERING, "revoke", *_OWNING],
            },
            "owners": {"who": ["owner"], "may": ["start", *_OWNING]},
        },
        "policies": _policies(estate.clock.rate),
        "incidents": {"invite": ["sec-oncall", "owner"], "nudge": _patient(15, 60, estate.clock.rate)},
        "cadences": {
            "signing-key": {"production": "7d", "staging": "14d", "development": "30d"},
            "api-key": "90d",
        },
        "credentials": credentials,
        "adapters": {
            "identity": {"services": service},
            "jwks": {"services": service, "gateways": {name: {"url": url} for name, url in gateways.items()}},
            "gateways": {"gateways": {name: {"url": url, "admin_token": token} for name, url in gateways.items()}},
            "clients": {"populations": populations},
            "secret_files": {"root": str(estate.secrets_directory)},
        },
    }
    return settings | changes


def _policies(rate: float) -> list[dict[str, Any]]:
    """An ordinary rotation waits a day for its approval; a revocation asks sec-oncall, and soon the platform too."""
    revoking = {
        "environments": ["production"],
        "words": ["revoke"],
        "from": ["sec-oncall"],
        "expires": _patient(30, 180, rate),
        "remind": _patient(5, 30, rate),
        "escalate": [{"after": _patient(10, 60, rate), "to": ["platform"]}],
    }
    ordinary = {"environments": ["production"], "approvers": 1, "from": ["sec-oncall", "platform"], "expires": "24h"}
    return [revoking, ordinary]


def _patient(minutes: int, real_seconds: float, rate: float) -> str:
    """The minutes, or more where the clock runs so fast that people would not have so many real seconds."""
    return f"{min(max(minutes, round(real_seconds * rate / 60)), 365 * 24 * 60)}m"


def text_of(settings: dict[str, Any]) -> str:
    """The settings as the text of a file; JSON is YAML."""
    return json.dumps(settings, indent=2)
