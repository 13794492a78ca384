"""`keyturn permissions`: what systems have to allow for the declared credentials, in a form that can be granted."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping

from bot.catalog import Catalog
from bot.core.errors import Refused
from bot.engine.needs import needed, needed_by_runbook
from bot.engine.secrets import SecretDoor
from bot.settings import Settings

KUBERNETES = "kubernetes"
_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_ACCOUNT = re.compile(rf"({_LABEL})/([a-z0-9](?:[-a-z0-9.]{{0,251}}[a-z0-9])?)")


def wanted(settings: Settings, catalog: Catalog) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Per adapter the permissions, each with the credentials whose rotation, revocation or repair needs it."""
    found: dict[str, dict[str, list[str]]] = {}
    for entry in settings.credentials:
        runbook = settings.runbooks[entry.runbook].runbook
        mine = needed_by_runbook(catalog, runbook, entry.inputs)
        if entry.alarm is not None:
            use = entry.alarm.check, entry.alarm.arguments, None
            for adapter, permissions in needed(catalog, [use], {}, {}).items():
                mine[adapter] = mine.get(adapter, set()) | permissions
        for adapter, permissions in mine.items():
            uses = found.setdefault(adapter, {})
            for permission in permissions:
                uses.setdefault(permission, []).append(f"{entry.name}@{entry.environment}")
    return {
        adapter: {permission: tuple(sorted(names)) for permission, names in sorted(permissions.items())}
        for adapter, permissions in sorted(found.items())
    }


def show_permissions(settings: Settings, *, as_json: bool) -> int:
    """Print them as the adapters write them, with the credentials that need each."""
    found = wanted(settings, _catalog(settings))
    if as_json:
        print(json.dumps(found))
        return 0
    if not any(found.values()):
        print("No system has to allow anything: no declared credential needs a permission.", file=sys.stderr)
    for adapter, permissions in found.items():
        if permissions:
            print(adapter)
        for permission, names in permissions.items():
            print(f"  {permission}    ({', '.join(names)})")
    return 0


def show_grants(settings: Settings, form: str, cluster: str, account: str) -> int:
    """Print them as documents for Kubernetes; 1 when something cannot be granted, which standard error then says."""
    named = _ACCOUNT.fullmatch(account)
    if named is None:
        raise Refused("Write the service account as NAMESPACE/NAME, such as keyturn/keyturn.", code="no-account")
    catalog = _catalog(settings)
    grants = catalog.grants(KUBERNETES)
    assert grants is not None  # it comes with keyturn
    where = {"cluster": cluster, "namespace": named[1], "account": named[2]}
    granted = grants(wanted(settings, catalog).get(KUBERNETES, {}), form, where)
    print(granted.text, end="")
    for problem in granted.problems:
        print(f"Not granted: {problem}.", file=sys.stderr)
    return 1 if granted.problems else 0


def _catalog(settings: Settings) -> Catalog:
    catalog = Catalog(settings.declared.adapters, lambda: door)
    door = SecretDoor(catalog.store)
    return catalog
