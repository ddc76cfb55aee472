"""The simulator answers from recorded exchanges, byte by byte as they were read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from signalbox.simulator import (
    RecordingError,
    Simulator,
    SimulatorSettings,
)
from tests.recordings import RECORDED
from tests.simulator_client import Chat, chat, start

STREAM = 'data: {"id":"x"}\r\n\r\ndata: [DONE]\r\n\r\n'
OWN: Chat = {
    "id": "own-stream",
    "request": {"path": "/openai/v1/chat/completions", "body": chat("recorded", stream=True)},
    "response": {
        "status": 200,
        "headers": {"X-Own": "1", "Content-Length": "9", "content-type": "text/event-stream"},
        "sse": STREAM,
        "chunk_bytes": [5, len(STREAM) - 5],
    },
}


def write_recording(folder: Path, **changes: Any) -> None:
    (folder / "own.json").write_text(json.dumps(OWN | changes))


async def test_a_recording_answers_the_same_request_in_its_own_reads(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    write_recording(tmp_path)
    client = await start(nursery, recordings=tmp_path)
    same = dict(reversed(chat("recorded", stream=True, stream_options={}).items()))
    wire = await client.raw(same)
    assert b"\r\nx-own: 1\r\n" in wire.data
    assert b"content-length" not in wire.data
    body = b"5\r\ndata:\r\n%x\r\n" % (len(STREAM) - 5)
    assert wire.data.partition(b"\r\n\r\n")[2].startswith(body)
    assert (await client.post(chat("x"), x_simulator_recording="own-stream")).text == STREAM
    assert (await client.post(chat("x", model="recording/own-stream"))).text == STREAM
    assert "simulated" in (await client.post(chat("recorded"))).text
    missing = await client.post(chat(model="recording/none"))
    assert (missing.status_code, "'none'" in missing.text) == (404, True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"id": 1}, r"\$\.id"),
        ({"response": {"status": 200, "sse": "data", "chunk_bytes": [1]}}, "chunk_bytes: 1 bytes"),
        ({"response": {"status": 200, "headers": {"a": "\n"}}}, "not a header value"),
        ({"response": {"status": 304}}, "304 has no body"),
    ],
)
def test_a_wrong_recording_is_named(tmp_path: Path, changes: Chat, named: str) -> None:
    write_recording(tmp_path, **changes)
    with pytest.raises(RecordingError, match=f"own.json: .*{named}"):
        Simulator(SimulatorSettings(recordings=tmp_path))


async def test_real_recordings_come_out_as_they_were_recorded(nursery: trio.Nursery) -> None:
    folder = RECORDED / "open"
    if not folder.is_dir():
        pytest.skip(f"no recordings of real providers: {folder} is absent ($SIGNALBOX_RECORDINGS)")
    client = await start(nursery, recordings=folder)
    matched = 0
    for file in sorted(folder.glob("*.json")):
        recorded = json.loads(file.read_bytes())
        request, expected = recorded["request"], recorded["response"]
        named = await client.post(chat(), x_simulator_recording=recorded["id"])
        assert named.status_code == expected["status"], recorded["id"]
        if "sse" in expected:
            assert named.text == expected["sse"], recorded["id"]
        elif isinstance(expected["body"], str):
            assert named.text == expected["body"], recorded["id"]
        else:
            assert named.json() == expected["body"], recorded["id"]
        if isinstance(request["body"], dict):
            asked = await client.http.post(request["path"], json=request["body"])
            matched += asked.content == named.content
    assert matched > 100  # the rest are repetitions of a request with another answer
