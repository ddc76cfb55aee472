"""What the ledger comes to: its charges summed by hour, key, account, model, route, user, tags.

`usage_hourly` is kept in the very statements that add to the ledger. SQLite has a trigger for it,
in the migrations; an engine that gives back what it inserted adds `folded` of that. Everything here
is SQL that SQLite and PostgreSQL share.
"""

from __future__ import annotations

from collections.abc import Sequence

from signalbox.persistence.rows import HOURLY_COLUMNS, HOURLY_KEY

HOUR_US = 3_600_000_000


def _sum(*columns: str) -> str:
    return f"SUM({' + '.join(f'COALESCE({column}, 0)' for column in columns)})"


_EXPRESSIONS = {
    "hour_us": f"at_us - at_us % {HOUR_US}",
    "end_user": "COALESCE(end_user, '')",
    "requests": "COUNT(*)",
    "byok_requests": "SUM(CASE WHEN is_byok THEN 1 ELSE 0 END)",
    "unknown_amounts": "COUNT(*) - COUNT(amount_nano_usd)",
    # `Usage.input_total` and `output_total`, but for what the provider did not say.
    "input_tokens": _sum(
        "prompt_tokens",
        "cached_read_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
        "audio_input_tokens",
        "image_input_tokens",
    ),
    "output_tokens": _sum(
        "completion_tokens", "reasoning_tokens", "audio_output_tokens", "image_output_tokens"
    ),
    "cached_read_tokens": _sum("cached_read_tokens"),
    "reasoning_tokens": _sum("reasoning_tokens"),
    "amount_nano_usd": _sum("amount_nano_usd"),
    "upstream_cost_nano_usd": _sum("upstream_cost_nano_usd"),
}

COUNTED = "kind = 'charge'"
"""Which rows of the ledger are usage: changes of a balance are none."""

SUMS = HOURLY_COLUMNS[len(HOURLY_KEY) :]


def folded(source: str, test: str = COUNTED) -> str:
    """The rows of `usage_hourly` that the ledger's rows in `source` come to, in the order of their
    key: who adds them in one order never waits in a ring."""
    columns = ", ".join(f"{_EXPRESSIONS.get(name, name)} AS {name}" for name in HOURLY_COLUMNS)
    key = ", ".join(_EXPRESSIONS.get(name, name) for name in HOURLY_KEY)
    return f"SELECT {columns} FROM {source} WHERE {test} GROUP BY {key} ORDER BY {key}"


def added(rows: str, key: Sequence[str] = HOURLY_KEY) -> str:
    """Adds `rows`, such as `folded` gives, to `usage_hourly`. `key`: as the engine's unique index
    has it."""
    sums = ", ".join(f"{name} = usage_hourly.{name} + excluded.{name}" for name in SUMS)
    return (
        f"INSERT INTO usage_hourly ({', '.join(HOURLY_COLUMNS)}) {rows}"
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sums}"
    )
