"""JSON Web Tokens signed with an RSA key: RFC 7515 with `RS256` of RFC 7518, section 3.3."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from signalbox.types import Secret


def signed_jwt(claims: Mapping[str, Any], private_key: Secret, key_id: str | None) -> str:
    """The claims as a compact JWT. Raises `ValueError`, which tells nothing of the key, where
    `private_key` is no RSA key in PEM without a password."""
    head = {"alg": "RS256", "typ": "JWT"}
    if key_id is not None:
        head["kid"] = key_id
    signed = f"{_part(msgspec.json.encode(head))}.{_part(msgspec.json.encode(claims))}"
    signature = _loaded(private_key).sign(signed.encode(), PKCS1v15(), SHA256())
    return f"{signed}.{_part(signature)}"


def _loaded(private_key: Secret) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(private_key.reveal().encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("the private key cannot be read") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the private key is not RSA's")
    return key


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
