"""Requests of the embeddings doors, for tests of doors and adapters."""

from __future__ import annotations

from typing import Any

import msgspec

from signalbox.adapters.door import Target
from signalbox.adapters.doors import door_of
from signalbox.types import Dialect, Extra, Request

_TEXT = {"parts": [{"text": "hello"}]}


def embeddings_request(extra: Extra | None = None, **fields: Any) -> Request:
    """What OpenAI's door makes of a body."""
    return _request(Dialect.EMBEDDINGS, {"model": "m", "input": "hello"} | fields, extra)


def embed_request(*requests: dict[str, Any], **fields: Any) -> Request:
    """What Gemini's door makes of a batch, or of one request where there are none."""
    if requests:
        whole = [{"model": "models/m", "content": _TEXT} | each for each in requests]
        return _request(Dialect.EMBED, {"requests": whole})
    return _request(Dialect.EMBED, {"content": _TEXT} | fields)


def _request(door: Dialect, body: dict[str, Any], extra: Extra | None = None) -> Request:
    target = Target("m", False, "requests" in body) if door is Dialect.EMBED else Target()
    read = door_of(door).read_body(msgspec.json.encode(body), target)
    return Request(
        id="0190a0b0-0000-7000-8000-000000000000",
        received_at=1_700_000_000.5,
        door=door,
        body=read,
        model="m",
        stream=False,
        include_usage=False,
        extra=extra or Extra(),
        key_id="k",
        key_name="k",
        prompt_tokens=10,
    )
