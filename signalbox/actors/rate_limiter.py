"""The gateway's own limits: the global one and one per gateway key, all or nothing.

What was used lies in the `LimitStore`, so a limiter that is restarted goes on where it was, and
several processes may share it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import msgspec
import trio

from signalbox.actors.mailbox import Mailbox
from signalbox.actors.store_access import EXPIRE_LIMITS, RESERVE, SETTLE_ADMISSION, StoreAccess
from signalbox.actors.sweeps import sweep_until_closed
from signalbox.errors import StoreUnavailable
from signalbox.machines.facts import SHARED_STATE
from signalbox.persistence.lease_stores import (
    Kind,
    LimitRefused,
    LimitRequest,
    LimitSettlement,
    LimitStore,
    Meter,
    Scope,
    ScopeLimits,
)

SWEEP_INTERVAL = 30.0
"""Seconds. What is swept costs memory only."""

AWAY_RETRY = 1.0
"""Seconds after which whoever was refused because the limits were away may ask again: as soon as
they are looked for."""


class KeyLimits(msgspec.Struct, frozen=True):
    """A gateway key's limits, `rpm` and `tpm` per minute; None: no such limit.

    `burst` is how many requests may come at once; None: `rpm` of them.
    """

    key_id: str
    rpm: int | None
    tpm: int | None
    concurrency: int | None
    burst: int | None = None


class Admission(msgspec.Struct, frozen=True):
    """The right to be served. `tokens` is what was reserved."""

    id: str
    key_id: str
    tokens: int
    headers: tuple[tuple[str, str], ...]
    """OpenAI's `x-ratelimit-*`, of whichever of the two scopes is tighter."""
    local: bool = False
    """Granted by this process while the shared store was away."""


class Refusal(msgspec.Struct, frozen=True):
    scope: str
    """`global` or `key`."""
    kind: str
    """`requests`, `tokens` or `concurrency`; `shared_state`: the limits cannot be asked now."""
    limit: int
    retry_after: float
    """Seconds; inf: no waiting helps, see `never`."""
    headers: tuple[tuple[str, str], ...]

    @property
    def never(self) -> bool:
        """The request alone is larger than the whole limit."""
        return math.isinf(self.retry_after)

    @property
    def message(self) -> str:
        if self.kind == SHARED_STATE:
            return "The limits that this gateway shares with others cannot be asked just now."
        whose = "the gateway's" if self.scope == Scope.GLOBAL else "this key's"
        what = "at once" if self.kind == Kind.CONCURRENCY else "per minute"
        unit = "requests" if self.kind == Kind.CONCURRENCY else self.kind
        limit = f"{whose} limit of {self.limit} {unit} {what}"
        if self.never:
            return f"The request is larger than {limit}: it can never be served, waiting or not."
        return f"Reached {limit}; try again in {self.retry_after:.3f} s."


class RateLimiter:
    """Admits requests under the global limits and those of their key."""

    def __init__(
        self,
        stores: StoreAccess[LimitStore],
        everyone: KeyLimits | None = None,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        """`everyone`: the global limits; its `key_id` names nothing."""
        self._stores = stores
        self.configure(everyone)
        self._clock = clock
        self._refusals: Counter[tuple[str, str]] = Counter()

    def configure(self, everyone: KeyLimits | None) -> None:
        """The global limits from now on; what was used of them stays used."""
        self._everyone = None if everyone is None else _scoped(Scope.GLOBAL, everyone)

    async def admit(
        self, limits: KeyLimits, tokens: int, owner: str, *, ttl: float
    ) -> Admission | Refusal:
        """Takes one request, a place and `tokens` expected tokens from every limit or from none.

        An admission that nobody settled within `ttl` seconds is settled as estimated: its holder is
        gone.
        """
        key = _scoped(Scope.KEY, limits)
        scopes = (key,) if self._everyone is None else (self._everyone, key)
        request = LimitRequest(owner, tokens, ttl, scopes)
        try:
            answered = await self._stores.ask(RESERVE, [request], self._clock())
        except StoreUnavailable:
            return self._refuse(Refusal(Scope.GLOBAL, SHARED_STATE, 0, AWAY_RETRY, ()))
        [granted] = answered.answers
        headers = _headers(granted.meters)
        if isinstance(granted, LimitRefused):
            return self._refuse(
                Refusal(granted.scope, granted.kind, granted.limit, granted.retry_after, headers)
            )
        return Admission(granted.id, limits.key_id, tokens, headers, answered.local)

    def _refuse(self, refusal: Refusal) -> Refusal:
        self._refusals[refusal.scope, refusal.kind] += 1
        return refusal

    @property
    def refusals(self) -> Mapping[tuple[str, str], int]:
        """How many there were, by scope and kind."""
        return self._refusals

    def settle(self, admission: Admission, tokens: int | None) -> None:
        """Frees the place and counts the tokens used; None: not known, the estimate counts.

        Never waits. Again: nothing happens.
        """
        settlement = LimitSettlement(admission.id, tokens)
        self._stores.tell(SETTLE_ADMISSION, settlement, self._clock(), local=admission.local)

    async def run(self, mailbox: Mailbox[None, None]) -> None:
        await sweep_until_closed(mailbox, SWEEP_INTERVAL, self.sweep)

    async def sweep(self) -> None:
        """Forgets the limits that nobody uses."""
        await self._stores.ask(EXPIRE_LIMITS, [None], self._clock())


def _scoped(scope: Scope, limits: KeyLimits) -> ScopeLimits:
    return ScopeLimits(
        scope, limits.key_id, limits.rpm, limits.tpm, limits.concurrency, limits.burst
    )


def _headers(meters: Iterable[Meter]) -> tuple[tuple[str, str], ...]:
    """OpenAI's names and formats; of two limits of a kind, the one with less remaining."""
    tightest: dict[Kind, Meter] = {}
    for meter in sorted(meters, key=lambda meter: -meter.remaining):
        tightest[meter.kind] = meter
    return tuple(
        (f"x-ratelimit-{name}-{kind}", value)
        for kind, meter in sorted(tightest.items())
        for name, value in (
            ("limit", str(meter.limit)),
            ("remaining", str(meter.remaining)),
            ("reset", format_duration(meter.reset_after)),
        )
    )


def format_duration(seconds: float) -> str:
    """Seconds as OpenAI's rate-limit headers write them: `0s`, `6ms`, `2.5s`, `1m2.5s`, `1h0m0s`.

    Rounded up to a whole millisecond, so that whoever waits that long has waited long enough.
    """
    milliseconds = math.ceil(round(seconds * 1000, 6))
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{milliseconds / 1000:g}s"
    if minutes or hours:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text
