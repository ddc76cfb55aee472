"""The private servers and the browser work on this machine, and end when they are let go."""

import os
import socket
import subprocess
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.servers import (
    PrivateServer,
    chromium_path,
    postgres_programs,
    private_postgres,
    private_redis,
)

pytestmark = pytest.mark.system


def assert_gone(server: PrivateServer) -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(server.process.pid, 0)
    assert not server.address.exists()


def test_postgres_answers_a_query_and_ends() -> None:
    with private_postgres() as server:
        psql = [f"{postgres_programs()}/psql", f"--host={server.address}", "--username=postgres"]
        query = [*psql, "--no-align", "--tuples-only", "--command=select 6 * 7"]
        answer = subprocess.run(query, check=True, capture_output=True, text=True)
        assert answer.stdout == "42\n"
    assert_gone(server)


def test_redis_answers_a_ping_and_ends() -> None:
    with private_redis() as server, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.address))
        client.sendall(b"PING\r\n")
        assert client.recv(100) == b"+PONG\r\n"
    assert_gone(server)


async def test_chromium_runs_a_page_from_loopback_and_ends(tmp_path: Path) -> None:
    page = b"<p id=answer></p><script>answer.textContent = 6 * 7</script>"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n"

    async def answer(stream: trio.SocketStream) -> None:
        async for _request in stream:
            await stream.send_all(head % len(page) + page)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(trio.serve_tcp, answer, 0, host="127.0.0.1"), name="page"
        )
        port = listeners[0].socket.getsockname()[1]
        command = [chromium_path(), "--headless", "--no-sandbox", "--disable-gpu"]
        command += ["--disable-quic", "--no-first-run", "--disable-background-networking"]
        command += ["--disable-component-update", "--disable-sync"]
        command += [f"--user-data-dir={tmp_path}", "--dump-dom", f"http://127.0.0.1:{port}/"]
        with trio.fail_after(60):
            result = await trio.run_process(command, capture_stdout=True, capture_stderr=True)
        nursery.cancel_scope.cancel()

    assert b'<p id="answer">42</p>' in result.stdout
