"""A simulator on a free port of this process, and a client that sees what is on the wire."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import trio

from signalbox.simulator import Rule, Scenario, Simulator, SimulatorSettings, Step

Chat = dict[str, Any]


def chat(text: str = "hello", **fields: Any) -> Chat:
    return {"model": "m", "messages": [{"role": "user", "content": text}]} | fields


@dataclass(frozen=True)
class Wire:
    """What a client read until the connection ended, and how it ended."""

    data: bytes
    reset: bool

    @property
    def events(self) -> list[str]:
        """The data of the SSE events that arrived whole; the HTTP chunking is taken off."""
        body, rest = b"", self.data.partition(b"\r\n\r\n")[2]
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            body += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        whole = body.decode().replace("\r\n", "\n").split("\n\n")[:-1]
        return [event.partition("data: ")[2] for event in whole if "data: " in event]

    @property
    def content(self) -> list[str]:
        chunks = [json.loads(event) for event in self.events if event.startswith('{"id"')]
        deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
        return [delta["content"] for delta in deltas if delta.get("content")]

    @property
    def complete(self) -> bool:
        """Whether HTTP says that the body is whole."""
        return self.data.endswith(b"0\r\n\r\n")


class Client:
    """A started simulator and the means to ask it."""

    simulator: Simulator
    port: int
    http: httpx.AsyncClient

    async def run(self, simulator: Simulator, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            self.simulator = simulator
            self.port = await nursery.start(simulator.serve)
            url = f"http://127.0.0.1:{self.port}"
            async with httpx.AsyncClient(base_url=url, timeout=None) as self.http:
                task_status.started()
                await trio.sleep_forever()

    async def post(self, body: Chat, key: str = "sk-test", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named |= {"authorization": f"Bearer {key}"}
        return await self.http.post("/v1/chat/completions", json=body, headers=named)

    async def raw(self, body: Chat) -> Wire:
        data = json.dumps(body).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        return await self.raw_bytes(head + b"content-length: %d\r\n\r\n" % len(data) + data)

    async def raw_bytes(self, request: bytes) -> Wire:
        received = b""
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            await stream.send_all(request)
            try:
                while data := await stream.receive_some():
                    received += data
            except trio.BrokenResourceError:
                return Wire(received, reset=True)
        return Wire(received, reset=False)

    async def ended(self) -> str:
        """How the latest exchange ended, once it has."""
        exchange = self.simulator.journal.exchanges[-1]
        with trio.fail_after(10):
            while exchange.ended is None:  # noqa: ASYNC110 - the simulator has no event for it
                await trio.sleep(0.001)
        return exchange.ended


RUN = """
import signalbox.simulator as s
s.run_simulator(s.SimulatorSettings(), until_stdin_closes=True)
"""


@contextmanager
def simulator_process() -> Iterator[str]:
    """A simulator as a process of its own, until the block ends; gives its base URL."""
    command = [sys.executable, "-c", RUN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline().decode()
            yield line.removeprefix("simulator listening on ").strip()
        finally:
            try:
                rest, _ = process.communicate(timeout=30)  # closes its stdin
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    assert (rest, process.returncode) == (b"", 0)


async def start(nursery: trio.Nursery, *steps: Step, **settings: Any) -> Client:
    """A simulator that answers by these steps, and as usual after them."""
    if steps:
        settings["scenario"] = Scenario(rules=(Rule(steps=steps, then="ok"),))
    client = Client()
    await nursery.start(client.run, Simulator(SimulatorSettings(**settings)))
    return client
