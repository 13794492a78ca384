"""Secrets as versioned files, as kubelet does it: a folder per version, and a link `current` that moves at once."""

from adapters.secret_files.client import Client, Config
from adapters.secret_files.versions import CurrentVersion, Point, Remove, Secrets, Store

__all__ = ["Client", "Config", "CurrentVersion", "Point", "Remove", "Secrets", "Store"]
