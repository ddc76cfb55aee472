"""The door when the gateway's own code fails: safe words for the client, the rest in the log."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from signalbox.adapters.models import ModelTable
from signalbox.http.asgi import Message
from signalbox.http.model_doors import ModelDoors
from signalbox.http.paths import Endpoint, Place
from tests.catalogues import catalogue
from tests.configs import LOCAL, load


class BrokenKeys:
    def find(self, digest: bytes) -> None:
        raise RuntimeError("the canary of a secret")


async def test_a_crash_at_the_door_is_500_in_safe_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = load(tmp_path, LOCAL)
    services: Any = SimpleNamespace(new_id=lambda: "trace-1")
    doors = ModelDoors(
        settings,
        ModelTable(settings, catalogue()),
        cast(Any, BrokenKeys()),
        services,
        cast(Any, None),
        cast(Any, None),
    )
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(message)

    headers = [(b"authorization", b"Bearer some-key-0123456789")]
    scope = {"method": "GET", "path": "/v1/models", "query_string": b"", "headers": headers}
    with caplog.at_level(logging.ERROR, "signalbox"):
        await doors(scope, receive, send, Place(Endpoint.MODELS))
    head, body = sent[0], b"".join(message.get("body", b"") for message in sent)
    assert head["status"] == 500
    assert (b"x-should-retry", b"false") in head["headers"]
    assert "canary" not in str(sent)
    error = json.loads(body)["error"]
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert error["metadata"]["trace_id"] == "trace-1"
    assert "trace-1" in caplog.text
    assert "canary" in caplog.text
