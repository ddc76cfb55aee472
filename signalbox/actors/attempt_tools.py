"""What an attempt is given to work with."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from signalbox.actors.alarms import Alarms
from signalbox.actors.credentials import StaticCredentials
from signalbox.actors.ports import Credentials, Upstream, UpstreamErrorKind
from signalbox.adapters.protocol import Adapter, Delta
from signalbox.errors import Failure, FailureKind
from signalbox.machines import facts as f

UPSTREAM_FAILURES = {
    UpstreamErrorKind.CONNECT_FAILED: FailureKind.CONNECT_FAILED,
    UpstreamErrorKind.CONNECT_TIMEOUT: FailureKind.CONNECT_TIMEOUT,
    UpstreamErrorKind.CONNECTION_LOST: FailureKind.CONNECTION_LOST,
    UpstreamErrorKind.PROTOCOL_ERROR: FailureKind.PROTOCOL_ERROR,
}
STATIC: Credentials = StaticCredentials()


class Endpoint(msgspec.Struct, frozen=True):
    """Where a provider is, and the adapter that speaks its wire format."""

    adapter: Adapter
    base_url: str


class AttemptTools(msgspec.Struct, frozen=True):
    """What an attempt works with. `deliver` hands deltas to the client, and says how many of them
    it took: with fewer than all the answer ends there, since nobody pays for more."""

    upstream: Upstream
    alarms: Alarms
    deliver: Callable[[Sequence[Delta]], Awaitable[int]]
    delivered: Callable[[], f.Delivered]
    """What the client has been sent so far, by all attempts."""
    may_retry: Callable[[str], bool]
    """Whether the retry budget of a route (by id) has room."""
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    rng: random.Random
    payload_limit: int
    """Bytes of each body that are kept for the trace; 0 keeps none."""
    further_call: Callable[[], Awaitable[Failure | None]]
    """Counts one more call of the same attempt against the limits of its key."""
    credentials: Credentials = STATIC
    """Where a key's secret is a token that ends, this has the one that holds."""
