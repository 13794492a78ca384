"""Certificates in PEM: their serial numbers, fingerprints and ends, and the bundles that trust several of them."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]{1,60000}?-----END CERTIFICATE-----[ \t]*\n?")


def _load(text: str) -> Certificate | None:
    from cryptography.x509 import load_pem_x509_certificate

    try:
        return load_pem_x509_certificate(text.encode())
    except ValueError:
        return None


def serial_of(text: str) -> str:
    """The serial number of the first certificate, in hex as servers and `openssl` tell it; empty when there is none."""
    block = BLOCK.search(text)
    found = _load(block[0]) if block else None
    return "" if found is None else f"{found.serial_number:x}"


def end_of(text: str) -> datetime | None:
    """When the first certificate ends (UTC)."""
    block = BLOCK.search(text)
    found = _load(block[0]) if block else None
    return None if found is None else found.not_valid_after_utc


def fingerprint_of(text: str) -> str:
    """SHA-256 of one certificate, in hex; raises `ValueError` when it is none."""
    from cryptography.hazmat.primitives.serialization import Encoding

    found = _load(text)
    if found is None:
        raise ValueError("this is no certificate")
    return hashlib.sha256(found.public_bytes(Encoding.DER)).hexdigest()


def is_ca(text: str) -> bool:
    """Whether a certificate may issue others."""
    from cryptography.x509 import BasicConstraints, ExtensionNotFound

    found = _load(text)
    try:
        return found is not None and found.extensions.get_extension_for_class(BasicConstraints).value.ca
    except ExtensionNotFound:
        return False


def blocks_of(bundle: str) -> dict[str, str]:
    """Each certificate of a bundle by its fingerprint, in order; what cannot be read is left out."""
    found = {}
    for block in BLOCK.finditer(bundle):
        if _load(block[0]) is not None:
            found[fingerprint_of(block[0])] = block[0]
    return found
