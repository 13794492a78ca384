"""Identity service: rotates the keys that sign its tokens and the API keys that its clients log in with."""

from adapters.identity.api_keys import (
    ApiKeyLastUsed,
    ApiKeyRefused,
    ApiKeyWorks,
    CreateApiKey,
    CurrentApiKey,
    DeleteApiKey,
    DisableApiKey,
)
from adapters.identity.client import Client, Config
from adapters.identity.inventory import ApiKeys, SigningKeys
from adapters.identity.service import AdminAccess, KeyStoreHealthy, TokenLife
from adapters.identity.signing_keys import BootstrapKey, DisableKey, PromoteKey, PublishKey, SigningKid

__all__ = [
    "AdminAccess",
    "ApiKeyLastUsed",
    "ApiKeyRefused",
    "ApiKeyWorks",
    "ApiKeys",
    "BootstrapKey",
    "Client",
    "Config",
    "CreateApiKey",
    "CurrentApiKey",
    "DeleteApiKey",
    "DisableApiKey",
    "DisableKey",
    "KeyStoreHealthy",
    "PromoteKey",
    "PublishKey",
    "SigningKeys",
    "SigningKid",
    "TokenLife",
]
