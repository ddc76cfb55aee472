"""Calls of the upstream client, as its tests make them."""

from __future__ import annotations

import pytest
import trio

from signalbox.actors.ports import Upstream, UpstreamError, UpstreamResponse
from signalbox.adapters.protocol import WireRequest
from signalbox.http.upstream import UpstreamClient
from signalbox.http.upstream_origin import OriginStatistics
from tests.raw_server import END_A_HANG, Handler, RawConnection, RawServer

BIG = b"x" * 16_000_000
"""More than the sockets of both sides buffer."""

NONE_OPEN = OriginStatistics(idle=0, leased=0)
ONE_IDLE = OriginStatistics(idle=1, leased=0)


def post(server: RawServer, body: bytes = b"{}") -> WireRequest:
    url = server.url("/v1/chat?key=hidden")
    return WireRequest("POST", url, (("authorization", "Bearer hidden"),), body)


async def call(client: Upstream, request: WireRequest) -> bytes:
    with trio.fail_after(END_A_HANG):
        return await read(await client.send(request, connect_timeout=5))


async def read(response: UpstreamResponse) -> bytes:
    body = b""
    while data := await response.receive():
        body += data
    return body


async def failure(client: Upstream, request: WireRequest) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await call(client, request)
    assert "hidden" not in str(caught.value)
    return caught.value


def counts(client: UpstreamClient, server: RawServer) -> OriginStatistics:
    return client.statistics().origins.get(server.url(""), NONE_OPEN)


def answering_once(data: bytes) -> Handler:
    """A handler that answers one request and closes."""

    async def handler(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(data)

    return handler


class CancelAtStep(trio.abc.Instrument):
    """Cancels `scope` just before a task runs for the n-th time."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, step: int) -> None:
        self._task = task
        self._scope = scope
        self._steps_left = step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._steps_left -= 1
            if self._steps_left == 0:
                self._scope.cancel()
