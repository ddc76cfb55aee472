"""When a budget's window began, by the calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from signalbox.machines.budget import Period


def begin_of(period: Period, at: float) -> float:
    moment = datetime.fromtimestamp(at, UTC)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case Period.HOUR:
            begin = moment.replace(minute=0, second=0, microsecond=0)
        case Period.DAY:
            begin = day
        case Period.WEEK:
            begin = day - timedelta(days=moment.weekday())
        case Period.MONTH:
            begin = day.replace(day=1)
        case Period.TOTAL:
            return 0.0
    return begin.timestamp()
