"""Where `signalbox explain` has its answer from: the configuration alone, or a running gateway."""

from __future__ import annotations

from random import Random

import httpx
import msgspec
import trio

from signalbox.actors.key_ring import GatewayKey
from signalbox.actors.rate_limiter import KeyLimits
from signalbox.actors.services import Surveyor
from signalbox.adapters.doors import door_of
from signalbox.adapters.models import ModelTable
from signalbox.app import surveyor_at_rest
from signalbox.cli.common import new_id, unix_now
from signalbox.config import Settings
from signalbox.errors import SignalboxError
from signalbox.http.asgi import RequestError
from signalbox.http.explain_api import ExplainAnswer, explained, place_of, random_of
from signalbox.http.intake import Intake, take_in
from signalbox.http.paths import Endpoint, Place
from signalbox.http.presets import DeclaredPresets
from signalbox.types import Secret

MOST_BYTES = 32 * 1024 * 1024
"""Of a request, the usual `server.max_body_bytes`, and of a gateway's answer to it."""
PATIENCE = 30.0
"""Seconds. A gateway only looks into its memory, or asks a Redis nearby."""

ANYONE = GatewayKey("offline", "offline", b"", KeyLimits("offline", None, None, None))
"""Who asks where there is no gateway: somebody who may call every model."""


class NotExplained(SignalboxError):
    """`of_request`: the fault is in the request, or in how the gateway was to be asked."""

    def __init__(self, message: str, *, of_request: bool) -> None:
        super().__init__(message)
        self.of_request = of_request


def explain_offline(
    settings: Settings, models: ModelTable, data: bytes, query: str
) -> ExplainAnswer:
    """As a gateway that has just started and was called by nobody. Raises `NotExplained`."""
    try:
        place = place_of(query, Place(Endpoint.ASK))
        intake = take_in(
            door_of(place.dialect, place.flavour),
            data,
            {},
            ANYONE,
            settings=settings,
            models=models,
            config_version=settings.version,
            request_id=new_id(),
            received_at=unix_now(),
            presets=DeclaredPresets(settings.presets),
            target=place.target,
            flavour=place.flavour,
        )
        number = random_of(query, otherwise=Random().random())
    except RequestError as refused:
        words = _words(refused.error.message, refused.error.param)
        raise NotExplained(words, of_request=True) from None
    return trio.run(_explained, surveyor_at_rest(settings), intake, number)


async def _explained(surveyor: Surveyor, intake: Intake, number: float) -> ExplainAnswer:
    return await explained(
        surveyor, intake, at=trio.current_time(), unix_time=unix_now(), random=number
    )


def ask_gateway(url: str, key: Secret, data: bytes, query: str) -> ExplainAnswer:
    """Raises `NotExplained`."""
    target = f"{url.rstrip('/')}/v1/explain?{query}"
    headers = {
        b"authorization": f"Bearer {key.reveal()}".encode(),
        b"content-type": b"application/json",
    }
    try:
        with (
            httpx.Client(timeout=PATIENCE) as client,
            client.stream("POST", target, headers=headers, content=data) as answer,
        ):
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                if len(body) > MOST_BYTES:
                    raise NotExplained(f"{url} answers without end", of_request=False)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise NotExplained(
            f"{url} is no gateway's address, expected one like http://127.0.0.1:8080",
            of_request=True,
        ) from None
    except httpx.HTTPError as error:
        raise NotExplained(f"{url} cannot be asked: {error}", of_request=False) from None
    if answer.status_code == httpx.codes.OK:
        return _read_answer(url, body)
    raise _refusal(url, answer.status_code, body)


def _read_answer(url: str, body: bytearray) -> ExplainAnswer:
    try:
        return msgspec.json.decode(body, type=ExplainAnswer)
    except msgspec.DecodeError as error:
        raise NotExplained(
            f"{url} answers what no gateway does: {error}", of_request=False
        ) from None


class _Error(msgspec.Struct):
    message: str
    param: str | None = None


class _ErrorAnswer(msgspec.Struct):
    error: _Error


def _refusal(url: str, status: int, body: bytearray) -> NotExplained:
    try:
        error = msgspec.json.decode(body, type=_ErrorAnswer).error
    except msgspec.DecodeError:
        return NotExplained(f"{url} answers with status {status}", of_request=False)
    words = _words(error.message, error.param)
    return NotExplained(f"{url} says: {words}", of_request=400 <= status < 500)


def _words(message: str, param: str | None) -> str:
    return f"{message} ({param})" if param and param not in message else message
