"""Exchanges with providers that tests decode: the project's own in `tests/wire`, and recordings of
real providers, which lie outside of the project (`../shared/recordings`, `$SIGNALBOX_RECORDINGS`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, AnyStr

import pytest

OWN = Path(__file__).parent / "wire"
RECORDED = Path(
    os.environ.get("SIGNALBOX_RECORDINGS", Path(__file__).parents[2] / "shared" / "recordings")
)


@dataclass(frozen=True)
class Exchange:
    """One answer of a provider. `expect` is there for the project's own ones only."""

    id: str
    provider: str
    path: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    streamed: bool
    reads: tuple[int, ...]
    """Sizes of the network reads, where they were recorded."""
    expect: dict[str, Any]


def own_exchanges(folder: str) -> list[Any]:
    """pytest parameters for what lies in a folder of `tests/wire`, or in one file that lists it."""
    place = OWN / folder
    if place.suffix:
        return [_parameter(_exchange(it)) for it in json.loads(place.read_text())]
    return [_parameter(_exchange(json.loads(p.read_text()))) for p in sorted(place.glob("*.json"))]


def recorded_exchanges(wanted: Callable[[Exchange], bool]) -> list[Any]:
    """pytest parameters for the recordings that are wanted; a skipped one where there are none."""
    if not (RECORDED / "open").is_dir():
        reason = f"no recordings of real providers: {RECORDED / 'open'} is absent"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]
    return [_parameter(exchange) for exchange in _recorded() if wanted(exchange)]


def cut(data: AnyStr, places: Iterable[int]) -> list[AnyStr]:
    """`data` cut at the places, each taken modulo its length."""
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(marks)]


def is_openai_chat(exchange: Exchange) -> bool:
    """A chat completion in OpenAI's dialect, whoever the provider is."""
    return "chat/completions" in exchange.path


def _recorded() -> Iterator[Exchange]:
    for path in sorted((RECORDED / "open").glob("*.json")):
        yield _exchange(json.loads(path.read_text()))


def _parameter(exchange: Exchange) -> Any:
    return pytest.param(exchange, id=exchange.id)


def _exchange(stored: dict[str, Any]) -> Exchange:
    response = stored["response"]
    headers = response.get("headers", {})
    return Exchange(
        id=stored["id"],
        provider=stored["provider"],
        path=stored.get("request", {}).get("path", ""),
        status=response["status"],
        headers=tuple((name.lower(), value) for name, value in headers.items()),
        body=_body(response),
        streamed="sse" in response,
        reads=tuple(response.get("chunk_bytes", ())),
        expect=stored.get("expect", {}),
    )


def _body(response: dict[str, Any]) -> bytes:
    if "sse" in response:
        text = response["sse"]
        if isinstance(text, list):
            line_end = response.get("line_end", "\n")
            text = "".join(line + line_end for line in text)
        return str(text).encode()
    body = response.get("body")
    return (body if isinstance(body, str) else json.dumps(body)).encode()
