"""The ledger read, and compared with what is made of it: usage by the hour, and traces.

SQL that all engines share, within a transaction of theirs. What is compared is compared by the hour
or by the page, so that a table of any size takes as little memory as its busiest hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from signalbox.persistence.columns import Row, microseconds, storable_text
from signalbox.persistence.record_store import Session
from signalbox.persistence.rows import (
    HOURLY_COLUMNS,
    HOURLY_KEY,
    LEDGER_COLUMNS,
    USAGE_COLUMNS,
    read_charge,
    read_money,
    read_usage,
)
from signalbox.persistence.stores import (
    Charge,
    ChargeFilter,
    Difference,
    TracesCompared,
    UsageSum,
)
from signalbox.persistence.usage_rows import COUNTED, HOUR_US, SUMS, folded
from signalbox.types import NanoUSD

_COLUMNS = ", ".join(LEDGER_COLUMNS)
_FILTERS = {"key": "key_id", "user": "end_user", "account": "account"}
GROUPS = ("hour", "key", "account", "model", "provider", "route_model", "user", "tags")
"""What usage may be summed by; each is a column of `HOURLY_KEY`, in its order."""
_GROUP_COLUMNS = dict(zip(GROUPS, HOURLY_KEY, strict=True))

_TRACE_COLUMNS = ("id", "state", "first_token_us", *USAGE_COLUMNS, "cost_nano_usd")

Values = tuple[object, ...]


def charges(
    session: Session, wanted: ChargeFilter, limit: int, before: tuple[float, str] | None
) -> list[Charge]:
    tests, values = _tests(wanted)
    if before is not None:
        at_us = microseconds(before[0], "before")
        tests.append("(at_us < ? OR (at_us = ? AND id < ?))")
        values += (at_us, at_us, storable_text(before[1]))
    where = f" WHERE {' AND '.join(tests)}" if tests else ""
    found = session.execute(
        f"SELECT {_COLUMNS} FROM ledger{where} ORDER BY at_us DESC, id DESC LIMIT ?",
        (*values, limit),
    ).fetchall()
    return [read_charge(row) for row in found]


def _tests(wanted: ChargeFilter) -> tuple[list[str], Values]:
    tests: list[str] = []
    values: Values = ()
    for name, column in _FILTERS.items():
        value = getattr(wanted, name)
        if value is not None:
            tests.append(f"{column} = ?")
            values += (storable_text(value),)
    for test, time in (("at_us >= ?", wanted.since), ("at_us < ?", wanted.until)):
        if time is not None:
            tests.append(test)
            values += (microseconds(time, test),)
    return tests, values


def usage(
    session: Session,
    by: Sequence[str],
    since: float,
    until: float,
    where: Mapping[str, str],
    limit: int,
) -> list[UsageSum]:
    """Hours that begin from `since` on and before `until`."""
    unknown = ({*by} | {*where}) - {*GROUPS}
    if unknown or "hour" in where:
        raise ValueError(f"usage is kept by {', '.join(GROUPS)}; not by {sorted(unknown)}")
    columns = [_GROUP_COLUMNS[name] for name in by]
    sums = ", ".join(f"SUM({name})" for name in SUMS)
    tests = "".join(f" AND {_GROUP_COLUMNS[name]} = ?" for name in where)
    group = f" GROUP BY {', '.join(columns)} ORDER BY {', '.join(columns)}" if columns else ""
    found = session.execute(
        f"SELECT {', '.join([*columns, sums])} FROM usage_hourly"
        f" WHERE hour_us >= ? AND hour_us < ?{tests}{group} LIMIT ?",
        (
            microseconds(since, "since"),
            microseconds(until, "until"),
            *map(storable_text, where.values()),
            limit,
        ),
    ).fetchall()
    return [_usage_sum(by, row) for row in found if row[len(by)] is not None]


def _usage_sum(by: Sequence[str], row: Sequence[object]) -> UsageSum:
    group = {
        name: int(str(value)) / 1_000_000 if name == "hour" else str(value)
        for name, value in zip(by, row, strict=False)
    }
    return UsageSum(group, *(_integer(value) for value in row[len(by) :]))


# ── usage against the ledger ──────────────────────────────────────────────────────────────────────


def next_hour(session: Session, after: float) -> float | None:
    """The first hour from `after` on of which either table has something. Unix seconds."""
    after_us = microseconds(after, "after")
    found = []
    for table, time in (
        (f"ledger WHERE {COUNTED} AND", "at_us"),
        ("usage_hourly WHERE", "hour_us"),
    ):
        first = f"SELECT {time} FROM {table} {time} >= ? ORDER BY {time} LIMIT 1"
        row = session.execute(first, (after_us,)).fetchone()
        if row is not None:
            found.append(int(row[0]) // HOUR_US * HOUR_US)
    return min(found) / 1_000_000 if found else None


def usage_differences(session: Session, hour: float) -> list[Difference]:
    """Where `usage_hourly` says something else than the ledger's charges of the hour."""
    hour_us = microseconds(hour, "hour")
    ledger = _by_key(session, *_folded_hour(hour_us))
    kept_rows = f"SELECT {', '.join(HOURLY_COLUMNS)} FROM usage_hourly WHERE hour_us = ?"
    kept = _by_key(session, kept_rows, (hour_us,))
    nothing = dict.fromkeys(SUMS, 0)
    return [
        Difference("usage", _named(key), name, expected[name], found[name])
        for key in sorted({*ledger, *kept}, key=str)
        for expected, found in [(ledger.get(key, nothing), kept.get(key, nothing))]
        for name in SUMS
        if expected[name] != found[name]
    ]


def rebuild_hour(session: Session, hour: float) -> None:
    """Makes the hour's usage anew from the ledger."""
    hour_us = microseconds(hour, "hour")
    session.execute("DELETE FROM usage_hourly WHERE hour_us = ?", (hour_us,))
    rows, values = _folded_hour(hour_us)
    session.execute(f"INSERT INTO usage_hourly ({', '.join(HOURLY_COLUMNS)}) {rows}", values)


def _folded_hour(hour_us: int) -> tuple[str, Values]:
    test = f"{COUNTED} AND at_us >= ? AND at_us < ?"
    return folded("ledger", test), (hour_us, hour_us + HOUR_US)


def _by_key(session: Session, rows: str, values: Values) -> dict[Values, dict[str, int]]:
    key_length = len(HOURLY_KEY)
    return {
        (int(row[0]), *row[1:key_length]): {
            name: _integer(value) for name, value in zip(SUMS, row[key_length:], strict=True)
        }
        for row in session.execute(rows, values).fetchall()
    }


def _integer(value: object) -> int:
    """PostgreSQL sums integers as decimals."""
    return int(str(value))


def _named(key: Values) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(GROUPS[1:], key[1:], strict=True))


# ── traces against the ledger ─────────────────────────────────────────────────────────────────────


def trace_differences(session: Session, after: str, limit: int) -> TracesCompared:
    """Of the next `limit` traces behind the id `after` (empty: from the first on).

    Each that is done, or sent content, has a charge, which says the same of tokens and money. (The
    other way round nothing is missing: traces are deleted, the ledger is not.)
    """
    behind = " WHERE id > ?" if after else ""
    found = session.execute(
        f"SELECT {', '.join(_TRACE_COLUMNS)} FROM traces{behind} ORDER BY id LIMIT ?",
        (after, limit) if after else (limit,),
    ).fetchall()
    traces = [Row("traces", ("id",), _TRACE_COLUMNS, [str(row[0]), *row[1:]]) for row in found]
    if not traces:
        return TracesCompared("", 0, ())
    ids = [trace.text("id") for trace in traces]
    among = ", ".join("?" * len(ids))
    rows = session.execute(f"SELECT {_COLUMNS} FROM ledger WHERE request_id IN ({among})", ids)
    charged = {charge.request_id: charge for charge in map(read_charge, rows.fetchall())}
    differences = [
        difference
        for id, trace in zip(ids, traces, strict=True)
        for difference in _trace_differences(id, trace, charged.get(id))
    ]
    return TracesCompared(ids[-1], len(ids), tuple(differences))


def _trace_differences(id: str, trace: Row, charge: Charge | None) -> Iterator[Difference]:
    named = f"request {id}"
    if charge is None:
        state = trace.text("state")
        if state == "done" or trace.optional_integer("first_token_us") is not None:
            yield Difference("traces", named, "charge", "none", f"a trace that is {state}")
        return
    cost = read_money(trace, "cost_nano_usd")
    if charge.amount != cost:
        yield Difference("traces", named, "amount_nano_usd", _told(charge.amount), _told(cost))
    usage = read_usage(trace)
    for name in usage.__struct_fields__:
        ours, theirs = getattr(charge.usage, name), getattr(usage, name)
        if ours != theirs:
            yield Difference("traces", named, f"usage.{name}", _told(ours), _told(theirs))


def _told(value: NanoUSD | int | str | None) -> int | str:
    return "unknown" if value is None else value
