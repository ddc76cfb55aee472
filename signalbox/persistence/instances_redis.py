"""The connection to Redis, and which instances of the gateway use it."""

from __future__ import annotations

from collections.abc import Callable

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from signalbox.errors import StoreUnavailable
from signalbox.persistence.redis_scripts import RedisScript

CALL_SECONDS = 1.0
CONNECT_SECONDS = 0.5
"""Whatever takes longer is worse than to do without: requests wait for these calls."""
OLDEST_VERSION = 7
"""Redis' major version. The scripts were written for 7.0."""
INSTANCES = "{sb:instances}"
LIFETIME = 15.0
"""Seconds after its last sign of life that an instance is taken for dead: several signs may be
late, and a share of the limits that is too small for so long does no harm."""


class RedisUnusable(StoreUnavailable):
    """The server answers, and no waiting will make it serve: too old, no such database, a wrong
    password."""


def open_redis(url: str) -> redis.Redis:
    """A client that connects when it is first used, and never tries again by itself."""
    return redis.Redis.from_url(
        url,
        socket_timeout=CALL_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


class RedisInstances:
    """The signs of life of this instance, `name`, and of the others. Raises `StoreUnavailable`."""

    def __init__(
        self, client: redis.Redis, name: str, clock: Callable[[], float] | None = None
    ) -> None:
        self._client = client
        self._name = name
        self._script = RedisScript(client, "instances", clock)
        self._version_fits = False

    def announce(self) -> int:
        """Gives a sign of life; how many instances live, this one included.

        Raises `RedisUnusable` too; another server may answer after each failure.
        """
        if not self._version_fits:
            self._check_version()
        try:
            return self._sign(LIFETIME)
        except StoreUnavailable:
            self._version_fits = False
            raise

    def leave(self) -> None:
        self._sign(0.0)

    def _sign(self, lifetime: float) -> int:
        return int(self._script([INSTANCES], self._name, lifetime))

    def _check_version(self) -> None:
        try:
            version = str(self._client.info("server")["redis_version"])
        except (redis.ResponseError, redis.AuthenticationError) as error:
            raise RedisUnusable(f"Redis refuses: {error}") from error
        except redis.RedisError as error:
            raise StoreUnavailable(f"Redis: {error}") from error
        major = version.partition(".")[0]
        if not major.isdigit() or int(major) < OLDEST_VERSION:
            raise RedisUnusable(f"Redis {version} answers, expected {OLDEST_VERSION}.0 or newer")
        self._version_fits = True
