"""Writing to a database that may be away for a while."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from signalbox.errors import StoreUnavailable

logger = logging.getLogger(__name__)

RETRY_FIRST_SECONDS = 0.1
RETRY_MAX_SECONDS = 5.0
RETRY_GIVE_UP_SECONDS = 300.0
"""Longer than a database's failover; a batch that it refuses for good must let others pass."""


async def write_patiently(write: Callable[[], Awaitable[None]], what: str) -> bool:
    """Tries again while the database is away; False where it gave up. `what`: for the log.

    Raises what else `write` raises.
    """
    give_up_at = trio.current_time() + RETRY_GIVE_UP_SECONDS
    delay = RETRY_FIRST_SECONDS
    while True:
        try:
            await write()
        except StoreUnavailable as error:
            if trio.current_time() >= give_up_at:
                logger.error("%s are dropped: %s", what, error)
                return False
            logger.warning("%s wait for the database: %s", what, error)
            await trio.sleep(delay)
            delay = min(delay * 2, RETRY_MAX_SECONDS)
        else:
            return True
