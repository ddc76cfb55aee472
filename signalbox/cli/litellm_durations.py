"""LiteLLM's durations of budgets (`30d`) as the periods that budgets have here."""

from __future__ import annotations

import re

import msgspec

_DURATION = re.compile(r"(\d{1,6})(mo|[smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "mo": 30 * 86_400}
_PERIODS = {"hour": 3600, "day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400}
NEAR = 1.2
"""By how much a period may be shorter than the duration that it stands for: 31 days are a month."""


class Period(msgspec.Struct, frozen=True):
    name: str
    """`hour`, `day`, `week`, `month` or `total`."""
    exact: bool


def period_of(duration: str | None) -> Period | None:
    """The shortest period that is as long as the duration, so that nobody may spend more than
    before; for good where none is. None for what is no duration.

    Without a duration a budget of LiteLLM's is never reset.
    """
    if duration is None or duration.strip().lower() in ("", "none", "null"):
        return Period("total", exact=True)
    found = _DURATION.fullmatch(duration.strip().lower())
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not seconds:
        return None
    for name, length in _PERIODS.items():
        if length * NEAR >= seconds:
            return Period(name, exact=length == seconds)
    return Period("total", exact=False)
