"""What keeps a silent stream alive at each door, in virtual time, and that a failure after it is
still none of the client's: the next try is unseen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from signalbox.actors.key_ring import GatewayKey
from signalbox.adapters.models import ModelTable
from signalbox.http.asgi import DISCONNECT, Message
from signalbox.http.model_doors import ModelDoors
from signalbox.http.paths import find_place
from signalbox.http.presets import DeclaredPresets
from tests.catalogues import catalogue
from tests.configs import load
from tests.every_door import DOORS, EveryDoor, stream_of
from tests.rig import UNLIMITED, Rig, provider_key
from tests.scripted_upstream import JSON, Call, Head, Script, ScriptedUpstream, Wait, stream

CONFIG = """
[retry]
attempts = 1
base_delay_ms = 0
[providers.local]
base_url = "http://local/v1"
keys = []
[models.m]
routes = [{ provider = "local", model = "m" }]
"""
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
COMMENT, OPENROUTERS = b": keep-alive\n\n", b": OPENROUTER PROCESSING\n\n"
KEPT_ALIVE_BY: Mapping[str, bytes | None] = {
    "chat": COMMENT,
    "completions": COMMENT,
    "responses": COMMENT,
    "azure": COMMENT,
    "openrouter": OPENROUTERS,
    "messages": PING,
    "generate": None,
}
streaming = pytest.mark.parametrize("name", KEPT_ALIVE_BY)


class Client:
    """An ASGI client that keeps when what was sent to it."""

    def __init__(self, door: EveryDoor) -> None:
        self.path, body = stream_of(door, "m")
        self._body = json.dumps(body).encode()
        self._asked = False
        self.sent: list[tuple[float, Message]] = []

    async def receive(self) -> Message:
        if self._asked:
            await trio.sleep_forever()
        self._asked = True
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def send(self, message: Message) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append((trio.current_time(), message))

    @property
    def status(self) -> int:
        return int(self.sent[0][1]["status"])

    def times(self, data: bytes | None) -> list[float]:
        """When exactly these bytes came; None: when any did."""
        bodies = [(at, message.get("body")) for at, message in self.sent]
        return [at for at, body in bodies if body and (data is None or body == data)]

    @property
    def read(self) -> bytes:
        return b"".join(message.get("body", b"") for _, message in self.sent)


async def asked(folder: Path, name: str, *scripts: Script) -> Client:
    """What a client of the door sees; the provider plays one script a call."""

    def script(call: Call) -> Script:
        return scripts[call.number - 1]

    rig = Rig(ScriptedUpstream(script), folder, [provider_key("local")])
    settings = load(folder, CONFIG)
    key = GatewayKey("k", "k", b"", UNLIMITED)
    keys: Any = SimpleNamespace(find=lambda digest: key)
    doors = ModelDoors(
        settings,
        ModelTable(settings, catalogue()),
        keys,
        rig.services,
        cast(Any, None),
        cast(Any, DeclaredPresets({})),
    )
    client = Client(DOORS[name])
    path, _, query = client.path.partition("?")
    place = find_place(path.encode())
    assert place is not None
    scope = {
        "method": "POST",
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"authorization", b"Bearer some-key-0123456789")],
        "extensions": {DISCONNECT: lambda callback: None},
    }
    async with rig.running():
        await doors(scope, client.receive, client.send, place)
    assert len(rig.upstream.calls) == len(scripts)
    return client


@streaming
async def test_a_silent_stream_is_kept_alive_in_the_door_s_way(
    name: str, autojump_clock: MockClock, tmp_path: Path
) -> None:
    client = await asked(tmp_path, name, [Wait(40), *stream("hello")])
    kept = KEPT_ALIVE_BY[name]
    assert client.status == 200
    assert client.times(None)[-1] == 40
    if kept is None:
        assert client.times(None)[0] == 40
        assert client.sent[0][0] == 40  # its head too
    else:
        assert client.times(kept) == [15, 30]
        assert client.sent[0][0] == 15
        assert client.read.startswith(kept * 2)
    assert client.read.count(b"hello") > 0


@streaming
async def test_after_a_keep_alive_another_try_is_unseen(
    name: str, autojump_clock: MockClock, tmp_path: Path
) -> None:
    failed: Script = [Wait(20), Head(500, JSON), b"{}"]
    client = await asked(tmp_path, name, failed, stream("hello"))
    assert client.status == 200
    assert b"hello" in client.read
    assert b"error" not in client.read.replace(b'"error":null', b"")


@streaming
async def test_after_a_keep_alive_a_failure_is_told_once_in_the_stream(
    name: str, autojump_clock: MockClock, tmp_path: Path
) -> None:
    """Where nothing may be sent meanwhile it is the answer's status."""
    failed: Script = [Wait(20), Head(500, JSON), b"{}"]
    client = await asked(tmp_path, name, failed, failed)
    if KEPT_ALIVE_BY[name] is None:
        assert client.status == 503
        assert json.loads(client.read)["error"]["status"] == "UNAVAILABLE"
        return
    assert client.status == 200
    told = [line for line in client.read.splitlines() if line.startswith(b"data: ")]
    failures = [line for line in told if b'"message":' in line and b"response.failed" not in line]
    assert len(failures) == 1, client.read
    assert b"trace_id" in failures[0] or b"request_id" in failures[0]
