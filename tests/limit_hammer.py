"""A process that hammers the limits on a Redis, for tests with several of them:
`python -m tests.limit_hammer SOCKET`.

Reads orders, a line each (`take` or `churn` and a `LimitRequest` as JSON), and answers each with a
number. Its time stands still, so that nothing drains and every total is exact.
"""

from __future__ import annotations

import sys

import msgspec
import redis

from signalbox.persistence.lease_stores import LimitGranted, LimitRequest, LimitSettlement
from signalbox.persistence.limits_redis import RedisLimitStore

NOW = 1000.0
TIMES = 500


def take(store: RedisLimitStore, request: LimitRequest) -> int:
    """How many of `TIMES` are granted; nothing is given back."""
    answers = [store.reserve([request], NOW)[0] for _ in range(TIMES)]
    return sum(isinstance(answer, LimitGranted) for answer in answers)


def churn(store: RedisLimitStore, request: LimitRequest, client: redis.Redis) -> int:
    """The most that all processes held at once, as far as this one saw, while each place was given
    back at once."""
    most = 0
    for _ in range(TIMES):
        [answer] = store.reserve([request], NOW)
        if isinstance(answer, LimitGranted):
            most = max(most, client.incr("held"))
            client.decr("held")
            store.settle([LimitSettlement(answer.id, 0)], NOW)
    return most


def main(socket: str) -> None:
    client = redis.Redis(unix_socket_path=socket)
    store = RedisLimitStore(client, lambda: NOW)
    for line in sys.stdin:
        order, packed = line.split(maxsplit=1)
        request = msgspec.json.decode(packed, type=LimitRequest)
        answer = take(store, request) if order == "take" else churn(store, request, client)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
