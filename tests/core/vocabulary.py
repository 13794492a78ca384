"""The adapters' words as a table, so that the core's tests need no adapter."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from bot.core.lint import WordInfo


def operation(effect: str, params: str, outputs: str = "") -> WordInfo:
    return WordInfo("operation", _params(params), tuple(outputs.split()), effect)


def measure(kind: str, params: str) -> WordInfo:
    return WordInfo(kind, _params(params))


def _params(text: str) -> dict[str, bool]:
    """`service kid? over?`: a question mark makes a parameter optional."""
    return {name.rstrip("?"): not name.endswith("?") for name in text.split()}


TABLE = {
    "identity.publish_key": operation("creates", "service", "kid"),
    "identity.promote_key": operation("changes", "service kid old emergency?", "kid previous"),
    "identity.disable_key": operation("changes", "service kid emergency?", "kid changed"),
    "identity.delete_key": operation("destroys", "service kid", "kid"),
    "identity.bootstrap_key": operation("creates", "service", "kid"),
    "identity.create_api_key": operation("creates", "service client to scope expires_in?", "key_id secret version"),
    "identity.disable_api_key": operation("changes", "service key_id", "key_id changed"),
    "identity.delete_api_key": operation("destroys", "service key_id", "key_id"),
    "identity.key_store_healthy": measure("probe", "service"),
    "identity.admin_access": measure("probe", "service"),
    "identity.api_key_works": measure("probe", "service client secret"),
    "identity.api_key_refused": measure("probe", "service client secret"),
    "identity.api_key_last_used": measure("sensor", "service key_id"),
    "identity.signing_kid": measure("fact", "service"),
    "identity.token_life": measure("fact", "service"),
    "identity.current_api_key": measure("fact", "service client at?"),
    "jwks.key_served": measure("probe", "service kid"),
    "jwks.canary_accepted_everywhere": measure("probe", "service kid gateways"),
    "jwks.old_refused_everywhere": measure("probe", "service kid gateways"),
    "jwks.cache_ttl": measure("fact", "gateways"),
    "gateways.kid_last_seen": measure("sensor", "gateways kid"),
    "gateways.success_rate": measure("probe", "gateways over?"),
    "gateways.caches_fresh": measure("probe", "gateways gateway?"),
    "gateways.restart": operation("changes", "gateway", "gateway boot_id"),
    "gateways.refresh": operation("changes", "gateway gateways? only_back?", "gateway"),
    "clients.kid_last_seen": measure("sensor", "population kid"),
    "clients.api_key_last_seen": measure("sensor", "population key_id"),
    "clients.success_rate": measure("probe", "population over?"),
    "clients.uses_api_key": measure("probe", "population key_id client?"),
    "secret_files.point": operation("changes", "path version expected?", "version previous"),
    "secret_files.remove": operation("destroys", "path version", "version"),
    "secret_files.current_version": measure("fact", "path"),
    "store.put_secret": operation("changes", "path", "version"),
    "kubernetes.count_pods_phase": measure("probe", "namespace?"),
    "kubernetes.rollout": measure("probe", "over"),
}


class Table:
    """A vocabulary."""

    def describe(self, word: str) -> WordInfo | None:
        return TABLE.get(word)

    def close(self, word: str) -> Sequence[str]:
        return difflib.get_close_matches(word, TABLE, 3)
