"""A client of Redis that does not get one of its answers, though what it asked for was done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


class LosesAnAnswer(redis.UnixDomainSocketConnection):
    """Its first answer to a script is lost on the way."""

    lost = False

    def send_command(self, *args: Any, **options: Any) -> None:
        super().send_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py's own
        if args[0] == "EVALSHA" and not self.lost:
            self.lost = True
            super().read_response()
            raise redis.ConnectionError("lost")


@contextmanager
def losing_an_answer(socket: Path, *, repeats: int) -> Iterator[redis.Redis]:
    """`repeats`: how often the client calls again. The script must have been loaded before."""
    pool = redis.ConnectionPool(
        LosesAnAnswer, path=str(socket), max_connections=1, retry=Retry(NoBackoff(), repeats)
    )
    with redis.Redis(connection_pool=pool) as client:
        yield client
    pool.disconnect()
