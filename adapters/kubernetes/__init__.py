"""Kubernetes: versioned keys in Secrets, consumers and their rollouts, service-account tokens, certificates."""

from adapters.kubernetes.client import Client, Config
from adapters.kubernetes.consumers import Consumers, Restartable
from adapters.kubernetes.rollout import AllReady, RolledOut
from adapters.kubernetes.store import Store
from adapters.kubernetes.versions import (
    ActiveVersion,
    AddKey,
    KeyAbsent,
    KeyPresent,
    PointKey,
    PurgeKey,
    RemoveKey,
)
from adapters.kubernetes.workloads import Refer, Restart, RollBack

__all__ = [
    "ActiveVersion",
    "AddKey",
    "AllReady",
    "Client",
    "Config",
    "Consumers",
    "KeyAbsent",
    "KeyPresent",
    "PointKey",
    "PurgeKey",
    "Refer",
    "RemoveKey",
    "Restart",
    "Restartable",
    "RollBack",
    "RolledOut",
    "Store",
]
