"""Clients in threads that ask a gateway without a pause until it is gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx

from tests.gateway import KEY, NO_TLS, Gateway, eventually

CLIENTS = 4


class Load:
    """What clients have read to its end so far: the ids of those answers."""

    def __init__(self) -> None:
        self.answered: list[str] = []
        self.refused: list[httpx.Response] = []
        self._enough = threading.Event()

    def reaches(self, count: int) -> None:
        """Waits until so many answers were read."""
        eventually(lambda: self.refused or len(self.answered) >= count, bool)
        assert not self.refused, self.refused[0].text

    def end(self) -> None:
        self._enough.set()

    def ask(self, url: str, *, stream: bool) -> None:
        """Asks until the gateway is gone; half of the clients stream."""
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        headers = {"authorization": f"Bearer {KEY}"}
        try:
            with httpx.Client(base_url=url, headers=headers, verify=NO_TLS, timeout=60.0) as client:
                while not self._enough.is_set():
                    self._ask_once(client, body)
        except httpx.TransportError:
            return

    def _ask_once(self, client: httpx.Client, body: dict[str, object]) -> None:
        # httpx raises where a JSON body is shorter than its content-length says.
        answer = client.post("/v1/chat/completions", json=body)
        if answer.status_code != 200:
            self.refused.append(answer)
        elif not body["stream"] or answer.text.endswith("data: [DONE]\n\n"):
            self.answered.append(answer.headers["x-request-id"])


@contextmanager
def load_on(gateway: Gateway) -> Iterator[Load]:
    """Keeps the gateway busy until the block ends, which may end the gateway."""
    load = Load()
    with ThreadPoolExecutor(CLIENTS) as threads:
        for number in range(CLIENTS):
            threads.submit(load.ask, gateway.url, stream=bool(number % 2))
        try:
            yield load
        finally:
            load.end()
