"""How often somebody may try to sign in: per address, and all together."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from signalbox.machines.limits import Bucket, GcraDecision, gcra

MAX_ADDRESSES = 4096
"""About 1 MB. When there are more, the one that tried longest ago is forgotten; the limit of all
together still holds."""


class Rate(msgspec.Struct, frozen=True):
    """`burst` tries at once, and one more every `seconds`."""

    burst: int
    seconds: float


ONE_ADDRESS = Rate(burst=10, seconds=30.0)
EVERYBODY = Rate(burst=100, seconds=1.0)


class SignInThrottle:
    """Counts tries in this process. `clock` is monotonic time in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._all = Bucket()
        self._by_address: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_address)

    def take(self, address: str | None) -> float:
        """Counts a try. How many seconds it came too early; 0: it may be made."""
        now, key = self._clock(), _network(address)
        own = _taken(self._by_address.get(key, Bucket()), now, ONE_ADDRESS)
        if own.retry_after:
            return own.retry_after
        everybody = _taken(self._all, now, EVERYBODY)
        if everybody.retry_after:
            return everybody.retry_after
        self._all = everybody.state
        self._by_address[key] = own.state
        self._by_address.move_to_end(key)
        if len(self._by_address) > MAX_ADDRESSES:
            self._by_address.popitem(last=False)
        return 0.0

    def succeeded(self, address: str | None) -> None:
        """The try that was counted last was a good one: earlier ones were slips."""
        self._by_address.pop(_network(address), None)


def _taken(bucket: Bucket, now: float, rate: Rate) -> GcraDecision:
    return gcra(bucket, now, 1, 1 / rate.seconds, rate.burst)


def _network(address: str | None) -> str:
    """Whom an address stands for: a customer has 2^64 of IPv6's."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return address or ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
