"""Token endpoints in memory, and credentials that are asked for there."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import trio
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from signalbox.actors.key_pool import ProviderKey
from signalbox.adapters.protocol import WireRequest
from signalbox.config import Credential, EntraClient, ServiceAccount
from signalbox.types import Secret
from tests.configs import CANARY

URL = "https://login.test/tenant/oauth2/v2.0/token"
ENTRA = EntraClient("app", Secret(CANARY), URL)


@cache
def rsa_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65_537, key_size=2048)


@cache
def pem() -> str:
    form = PrivateFormat.PKCS8
    return rsa_key().private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def service_account(private_key: str | None = None) -> ServiceAccount:
    key = Secret(pem() if private_key is None else private_key)
    return ServiceAccount("bot@p.test", key, "k1", "p", "https://tokens.test/token")


def token_key(credential: Credential = ENTRA, label: str = "token") -> ProviderKey:
    return ProviderKey(f"a/{label}", "a", label, None, None, None, credential)


def form_of(request: WireRequest) -> dict[str, str]:
    return dict(parse_qsl(request.body.decode(), strict_parsing=True))


def granted(number: int, seconds: object = 3600) -> tuple[int, dict[str, Any]]:
    token = {"token_type": "Bearer", "expires_in": seconds, "access_token": f"token-{number}-xyz"}
    return 200, token


Answer = tuple[int, Any] | Exception


class TokenEndpoint:
    """An `Upstream`. `script` says what the n-th call (from 1) is answered, after `seconds`."""

    def __init__(self, script: Callable[[int], Answer], seconds: float = 1.0) -> None:
        self.script = script
        self.seconds = seconds
        self.requests: list[WireRequest] = []
        self.times: list[float] = []
        self.open = 0

    async def send(self, request: WireRequest, connect_timeout: float) -> TokenResponse:
        self.requests.append(request)
        self.times.append(trio.current_time())
        number = len(self.requests)
        await trio.sleep(self.seconds)
        answer = self.script(number)
        if isinstance(answer, Exception):
            raise answer
        status, body = answer
        self.open += 1
        return TokenResponse(self, status, json.dumps(body).encode())


class TokenResponse:
    headers = (("content-type", "application/json"),)

    def __init__(self, endpoint: TokenEndpoint, status: int, body: bytes) -> None:
        self.status = status
        self._endpoint = endpoint
        self._body = [body]

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._body.pop() if self._body else b""

    def leave(self) -> None:
        self.close()

    def close(self) -> None:
        self._endpoint.open -= 1
