"""New key material, made here and written straight into its Secret."""

from __future__ import annotations

import base64
import secrets
from typing import Annotated, Literal

from pydantic import Field

from bot.core.secret import Secret

Kind = Literal["random", "rsa-2048", "rsa-3072", "es256", "ed25519"]
Bytes = Annotated[int, Field(ge=32, le=1024)]


def new_key(kind: Kind, size: int) -> Secret:
    """A random text in base64 of so many bytes, or a private key in PEM (PKCS 8)."""
    if kind == "random":
        return Secret(base64.b64encode(secrets.token_bytes(size)))
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    if kind == "es256":
        made = ec.generate_private_key(ec.SECP256R1())
    elif kind == "ed25519":
        made = ed25519.Ed25519PrivateKey.generate()
    else:
        made = rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("rsa-")))
    return Secret(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
