"""What was spent, and what was paid in: sums over the ledger, in SQL that all engines share.

Whole hours are summed from `usage_hourly`, which is as exact as the ledger and much shorter; what
begins or ends within an hour, and the requests that are left out, from the ledger itself. An engine
calls these within one snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from signalbox.persistence.columns import microseconds, storable_text
from signalbox.persistence.record_store import Session
from signalbox.persistence.rows import HOURLY_KEY
from signalbox.persistence.stores import SpendingQuery
from signalbox.persistence.usage_rows import COUNTED, HOUR_US
from signalbox.types import NanoUSD

_AT_ONCE = 500
"""Well under the number of variables that any engine takes in one statement."""

_NEVER = 1 << 62
"""Later than any time that is kept."""

_COLUMNS = {"key": "key_id", "user": "end_user", "account": "account"}

_ALL_BYOK = "byok_requests = requests"
_BYOK_OF_ONE = (
    f"SELECT SUM(upstream_cost_nano_usd) FROM ledger WHERE {COUNTED} AND is_byok"
    " AND at_us >= ? AND at_us < ? AND key_id = ? AND account = ? AND model = ?"
    " AND provider = ? AND route_model = ? AND COALESCE(end_user, '') = ? AND tags = ?"
)

Test = tuple[str, tuple[object, ...]]


def spent(session: Session, queries: Sequence[SpendingQuery]) -> list[NanoUSD]:
    return [NanoUSD(_spent(session, query)) for query in queries]


def balances(session: Session, accounts: Sequence[str] | None) -> dict[str, NanoUSD]:
    """What was paid in less what was taken away; accounts without either are not there."""
    statement = "SELECT account, SUM(amount_nano_usd) FROM ledger WHERE kind <> 'charge'"
    if accounts is None:
        found = [*session.execute(f"{statement} GROUP BY account").fetchall()]
    else:
        found = []
        for start in range(0, len(accounts), _AT_ONCE):
            part = [storable_text(account) for account in accounts[start : start + _AT_ONCE]]
            among = f" AND account IN ({', '.join('?' * len(part))}) GROUP BY account"
            found += session.execute(statement + among, part).fetchall()
    return {account: NanoUSD(int(amount)) for account, amount in found}


def _spent(session: Session, query: SpendingQuery) -> int:
    since = microseconds(query.since, "since")
    until = _NEVER if query.until is None else microseconds(query.until, "until")
    if since >= until:
        return 0
    first_hour = -(-since // HOUR_US) * HOUR_US
    last_hour = until if until == _NEVER else until // HOUR_US * HOUR_US
    if first_hour > last_hour:  # All of it lies within one hour.
        total = _sum(session, query, "ledger", "at_us", since, until)
    else:
        total = (
            _sum(session, query, "ledger", "at_us", since, first_hour)
            + _sum(session, query, "usage_hourly", "hour_us", first_hour, last_hour)
            + _sum(session, query, "ledger", "at_us", last_hour, until)
        )
        if query.byok:
            total += _byok_among_others(session, query, first_hour, last_hour)
    for start in range(0, len(query.without), _AT_ONCE):
        part = tuple(storable_text(id) for id in query.without[start : start + _AT_ONCE])
        among = f"request_id IN ({', '.join('?' * len(part))})"
        total -= _sum(session, query, "ledger", "at_us", since, until, (among, part))
    return total


def _sum(
    session: Session,
    query: SpendingQuery,
    table: str,
    time: str,
    start: int,
    end: int,
    further: Test = ("", ()),
) -> int:
    """Of the rows whose `time` is from `start` on and before `end`."""
    if start >= end:
        return 0
    tests = [f"{time} >= ? AND {time} < ?"]
    amount = "upstream_cost_nano_usd" if query.byok else "amount_nano_usd"
    values: tuple[object, ...] = (start, end)
    for test, more in (further, _scope_test(query)):
        if test:
            tests.append(test)
            values += more
    if table == "ledger":
        tests.append(COUNTED)
    if query.byok:
        tests.append("is_byok" if table == "ledger" else _ALL_BYOK)
    where = f"FROM {table} WHERE {' AND '.join(tests)}"
    if query.scope == "tag":
        statement = f"SELECT tags, SUM({amount}) {where} GROUP BY tags"
        found = session.execute(statement, values).fetchall()
        return sum(int(sum_ or 0) for tags, sum_ in found if query.subject in json.loads(tags))
    [total] = session.execute(f"SELECT SUM({amount}) {where}", values).fetchone() or (0,)
    return int(total or 0)


def _byok_among_others(session: Session, query: SpendingQuery, start: int, end: int) -> int:
    """What callers' own keys cost in those hours in which the gateway's served the same."""
    test, more = _scope_test(query)
    found = session.execute(
        f"SELECT {', '.join(HOURLY_KEY)} FROM usage_hourly WHERE hour_us >= ? AND hour_us < ?"
        f" AND byok_requests > 0 AND byok_requests < requests{test and f' AND {test}'}",
        (start, end, *more),
    ).fetchall()
    total = 0
    for hour_us, *key in found:
        if query.scope == "tag" and query.subject not in json.loads(key[-1]):
            continue
        [amount] = session.execute(_BYOK_OF_ONE, (hour_us, hour_us + HOUR_US, *key)).fetchone() or (
            0,
        )
        total += int(amount or 0)
    return total


def _scope_test(query: SpendingQuery) -> Test:
    if query.scope == "global":
        return "", ()
    if query.subject is None:
        raise ValueError(f"the scope {query.scope} has no subject")
    if query.scope == "tag":
        return "tags LIKE ? ESCAPE '!'", (_like(query.subject),)
    return f"{_COLUMNS[query.scope]} = ?", (storable_text(query.subject),)


def _like(tag: str) -> str:
    """What lists with the tag are like. Others may be, too: whoever reads them looks again."""
    escaped = json.dumps(tag)
    for special in "!%_":
        escaped = escaped.replace(special, f"!{special}")
    return f"%{escaped}%"
