"""LiteLLM's durations of budgets (`30d`) as the periods that budgets have here."""

from __future__ import annotations

import re

import msgspec

_DURATION = re.compile(r"(\d{1,6})(mo|[smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "mo": 30 * 86_400}
_PERIODS = {"hour": 3600, "day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400}
NEAR = 1.5
"""A period that is longer or shorter by more than this factor is another budget."""


class Period(msgspec.Struct, frozen=True):
    name: str
    """`hour`, `day`, `week`, `month` or `total`."""
    exact: bool


def period_of(duration: str | None) -> Period | None:
    """The period of a duration, or the nearest; None where none is near. Without a duration a
    budget is never reset."""
    if duration is None or duration.strip().lower() in ("", "none", "null"):
        return Period("total", exact=True)
    found = _DURATION.fullmatch(duration.strip().lower())
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not seconds:
        return None
    apart = {name: max(seconds / length, length / seconds) for name, length in _PERIODS.items()}
    nearest = min(apart, key=lambda name: apart[name])
    if apart[nearest] > NEAR:
        return None
    return Period(nearest, exact=apart[nearest] == 1)
