"""The single probe of something that is half-open: a key after its cooldown, a route's breaker."""

from __future__ import annotations

import math

import msgspec

PATIENCE = 30.0
"""Seconds. A probe's result is known when its answer ends; a long stream must not keep everyone
else away for its whole length, so after this another probe may start beside it."""

MAX_OPEN = 32
"""Sixteen minutes of probes that have not answered, longer than any request lives by default (ten
minutes): were it shorter, what is always that slow would never be known to work again."""


class Probes(msgspec.Struct, frozen=True):
    """The attempts that were let through, by number, until their results are known."""

    open: tuple[int, ...] = ()
    vacant_at: float = -math.inf
    """When the newest probe loses its claim to be the only one."""

    def vacant(self, now: float) -> bool:
        return now >= self.vacant_at

    def started(self, number: int, now: float) -> Probes:
        return Probes((*self.open, number)[-MAX_OPEN:], now + PATIENCE)

    def abandoned(self, number: int) -> Probes:
        """The probe ended and proved nothing. Its place is free if it was the newest."""
        newest = self.open[-1] == number
        rest = tuple(probe for probe in self.open if probe != number)
        return Probes(rest, -math.inf if newest else self.vacant_at)
