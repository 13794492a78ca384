"""Kubernetes: versioned keys in Secrets, consumers and their rollouts, service-account tokens, certificates."""

from adapters.kubernetes.certificates import Certificate, CertificateReady, RenewCertificate
from adapters.kubernetes.client import Client, Config
from adapters.kubernetes.consumers import Consumers, Restartable
from adapters.kubernetes.discovery import Certificates, Secrets, ServiceAccountTokens, TlsSecrets
from adapters.kubernetes.grants import grants
from adapters.kubernetes.helm import ManagedBy
from adapters.kubernetes.logs import LogErrors
from adapters.kubernetes.rollout import AllReady, RolledOut
from adapters.kubernetes.settings import Setting
from adapters.kubernetes.slots import ClearPrevious, SetAsidePrevious, SlotEmpty, SlotHolds, SlotIds, StageNext, Swap
from adapters.kubernetes.store import Store
from adapters.kubernetes.tokens import (
    IssueToken,
    RevokeToken,
    TokenExpiry,
    TokenId,
    TokenLastUsed,
    TokenRefused,
    TokenWorks,
)
from adapters.kubernetes.trust import DistrustCa, OutgoingCa, TrustCa
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
    "Certificate",
    "CertificateReady",
    "Certificates",
    "ClearPrevious",
    "Client",
    "Config",
    "Consumers",
    "DistrustCa",
    "IssueToken",
    "KeyAbsent",
    "KeyPresent",
    "LogErrors",
    "ManagedBy",
    "OutgoingCa",
    "PointKey",
    "PurgeKey",
    "Refer",
    "RemoveKey",
    "RenewCertificate",
    "Restart",
    "Restartable",
    "RevokeToken",
    "RollBack",
    "RolledOut",
    "Secrets",
    "ServiceAccountTokens",
    "SetAsidePrevious",
    "Setting",
    "SlotEmpty",
    "SlotHolds",
    "SlotIds",
    "StageNext",
    "Store",
    "Swap",
    "TlsSecrets",
    "TokenExpiry",
    "TokenId",
    "TokenLastUsed",
    "TokenRefused",
    "TokenWorks",
    "TrustCa",
    "grants",
]
