"""No server: the load asks the upstream itself. What is added is the difference to this."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import wire
from benchmarks.bed import Bed
from benchmarks.servers.base import LANES, Ask, NotServed, Running


class Direct:
    name = "direct"
    conditions = "the load generator asks the upstream itself"

    def install(self) -> None:
        """Nothing to do."""

    def version(self) -> str:
        return ""

    @contextmanager
    def running(self, bed: Bed) -> Iterator[Running]:
        yield Running([bed.upstream_port], [], [])

    def requests(self, bed: Bed, ask: Ask) -> list[bytes]:
        if ask.lane not in LANES:
            raise NotServed("it translates nothing")
        body = wire.chat_body("gpt-4o-mini", stream=ask.stream, prompt=ask.prompt)
        return [wire.http_request(LANES[ask.lane], body, {"authorization": "Bearer benchmark"})]
