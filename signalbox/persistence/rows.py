"""Records as rows: what every engine writes and reads back, column by column.

`trace_rows.py` has those of traces.

`*_row` raises `ValueError` naming the record and the field that no database could keep, before
anything is written; `read_*` raises `CorruptRow` naming table, row and column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import astuple

from signalbox.persistence.columns import (
    Row,
    is_storable,
    microseconds,
    storable_int,
    storable_json,
    storable_optional_text,
    storable_text,
)
from signalbox.persistence.stores import AttemptCost, Charge, StateRecord
from signalbox.types import NanoUSD, Usage

USAGE_COLUMNS = (
    "prompt_tokens",
    "cached_read_tokens",
    "cache_write_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "usage_estimated",
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "image_input_tokens",
    "audio_output_tokens",
    "image_output_tokens",
    "service_tier",
)
LEDGER_COLUMNS = (
    "id",
    "request_id",
    "at_us",
    "key_id",
    "model",
    "provider",
    "route_model",
    *USAGE_COLUMNS,
    "amount_nano_usd",
    "upstream_cost_nano_usd",
    "reason",
    "price_source",
    "kind",
    "account",
    "end_user",
    "tags",
    "is_byok",
    "attempts",
    "note",
)
HOURLY_KEY = (
    "hour_us",
    "key_id",
    "account",
    "model",
    "provider",
    "route_model",
    "end_user",
    "tags",
)
HOURLY_COLUMNS = (
    *HOURLY_KEY,
    "requests",
    "byok_requests",
    "unknown_amounts",
    "input_tokens",
    "output_tokens",
    "cached_read_tokens",
    "reasoning_tokens",
    "amount_nano_usd",
    "upstream_cost_nano_usd",
)
STATE_COLUMNS = ("digest", "route_id", "key_mark", "expires_at_us", "state")

LARGEST = (1 << 53) - 1
"""The largest count or amount of one charge: nine million dollars in nano-USD. A thousand of them
fit into the 64 bits in which a database adds them up."""

Values = tuple[object, ...]


def charge_row(charge: Charge) -> Values:
    # A look at all of it at once costs a third of a look at each field. Numbers that are joined bit
    # by bit have no bit above the largest where none of them has, as long as none is negative. What
    # is found in no order is looked at field by field, which replaces what can be and names what
    # cannot.
    usage, amount, upstream_cost = charge.usage, charge.amount, charge.upstream_cost
    try:
        at_us = round(charge.at * 1_000_000)
        numbers = at_us | (amount or 0) | (upstream_cost or 0) | usage_numbers(usage)
        texts = (
            f"{charge.key_id}{charge.model}{charge.provider}{charge.route_model}"
            f"{usage.service_tier}{charge.reason}{charge.price_source}{charge.kind}"
            f"{charge.account}{charge.end_user}{charge.note}"
        )
        if 0 <= numbers <= LARGEST and is_storable(texts):
            return (
                charge.id,
                charge.request_id,
                at_us,
                charge.key_id,
                charge.model,
                charge.provider,
                charge.route_model,
                *usage_values(usage),
                amount,
                upstream_cost,
                charge.reason,
                charge.price_source,
                charge.kind,
                charge.account,
                charge.end_user,
                storable_json(charge.tags, "tags") if charge.tags else "[]",
                charge.is_byok,
                attempts_json(charge.attempts),
                charge.note,
            )
    except (TypeError, ValueError, OverflowError):
        pass
    return _checked_charge_row(charge)


def _checked_charge_row(charge: Charge) -> Values:
    try:
        return (
            charge.id,
            charge.request_id,
            microseconds(charge.at, "at"),
            storable_text(charge.key_id),
            storable_text(charge.model),
            storable_text(charge.provider),
            storable_text(charge.route_model),
            *checked_usage_values(charge.usage, _summable),
            _summable(charge.amount, "amount"),
            _summable(charge.upstream_cost, "upstream_cost"),
            storable_text(charge.reason),
            storable_text(charge.price_source),
            storable_text(charge.kind),
            storable_text(charge.account),
            storable_optional_text(charge.end_user),
            storable_json(charge.tags, "tags"),
            charge.is_byok,
            attempts_json(charge.attempts),
            storable_optional_text(charge.note),
        )
    except ValueError as error:
        raise ValueError(f"the charge of request {charge.request_id}: {error}") from None


def _summable(value: int | None, column: str) -> int | None:
    if value is not None and not -LARGEST <= value <= LARGEST:
        raise ValueError(f"{column} is {value}, beyond the {LARGEST} that a ledger can add up")
    return value


def read_charge(values: Sequence[object]) -> Charge:
    row = Row("ledger", ("id",), LEDGER_COLUMNS, values)
    return Charge(
        id=row.text("id"),
        request_id=row.text("request_id"),
        at=row.seconds("at_us"),
        key_id=row.text("key_id"),
        model=row.text("model"),
        provider=row.text("provider"),
        route_model=row.text("route_model"),
        usage=read_usage(row),
        amount=read_money(row, "amount_nano_usd"),
        upstream_cost=read_money(row, "upstream_cost_nano_usd"),
        reason=row.text("reason"),
        price_source=row.text("price_source"),
        kind=row.text("kind"),
        account=row.text("account"),
        end_user=row.optional_text("end_user"),
        tags=row.json_texts("tags"),
        is_byok=row.flag("is_byok"),
        attempts=_read_attempts(row),
        note=row.optional_text("note"),
    )


def attempts_json(attempts: Sequence[AttemptCost]) -> str:
    """One array an attempt."""
    if not attempts:
        return "[]"
    try:
        return msgspec.json.encode(attempts).decode()
    except UnicodeEncodeError:  # A name with half of a surrogate pair.
        return storable_json([astuple(each) for each in attempts], "attempts")


def _read_attempts(row: Row) -> tuple[AttemptCost, ...]:
    text = row.text("attempts")
    if text == "[]":
        return ()
    try:
        return msgspec.json.decode(text, type=tuple[AttemptCost, ...])
    except msgspec.DecodeError:
        raise row.corrupt("attempts", "a JSON array of attempts' costs") from None


def state_row(record: StateRecord) -> Values:
    try:
        return (
            record.digest,
            storable_text(record.route_id),
            storable_text(record.key_mark),
            microseconds(record.expires_at, "expires_at"),
            record.state,
        )
    except ValueError as error:
        raise ValueError(f"the state at {record.route_id}: {error}") from None


def read_state(values: Sequence[object]) -> StateRecord:
    row = Row("provider_state", ("route_id",), STATE_COLUMNS, values)
    return StateRecord(
        digest=row.blob("digest"),
        route_id=row.text("route_id"),
        key_mark=row.text("key_mark"),
        expires_at=row.seconds("expires_at_us"),
        state=row.optional_blob("state"),
    )


def usage_numbers(usage: Usage) -> int:
    """All its numbers in one, for `charge_row`'s look at them."""
    return (
        (usage.prompt or 0)
        | (usage.cached_read or 0)
        | (usage.cache_write or 0)
        | (usage.completion or 0)
        | (usage.reasoning or 0)
        | (usage.cache_write_1h or 0)
        | (usage.audio_input or 0)
        | (usage.image_input or 0)
        | (usage.audio_output or 0)
        | (usage.image_output or 0)
    )


def usage_values(usage: Usage) -> Values:
    """Unchecked."""
    return (
        usage.prompt,
        usage.cached_read,
        usage.cache_write,
        usage.completion,
        usage.reasoning,
        usage.estimated,
        usage.cache_write_1h,
        usage.audio_input,
        usage.image_input,
        usage.audio_output,
        usage.image_output,
        usage.service_tier,
    )


def checked_usage_values(
    usage: Usage, checked: Callable[[int | None, str], int | None] = storable_int
) -> Values:
    return (
        checked(usage.prompt, "usage.prompt"),
        checked(usage.cached_read, "usage.cached_read"),
        checked(usage.cache_write, "usage.cache_write"),
        checked(usage.completion, "usage.completion"),
        checked(usage.reasoning, "usage.reasoning"),
        usage.estimated,
        checked(usage.cache_write_1h, "usage.cache_write_1h"),
        checked(usage.audio_input, "usage.audio_input"),
        checked(usage.image_input, "usage.image_input"),
        checked(usage.audio_output, "usage.audio_output"),
        checked(usage.image_output, "usage.image_output"),
        None if usage.service_tier is None else storable_text(usage.service_tier),
    )


def read_usage(row: Row) -> Usage:
    return Usage(
        prompt=row.optional_integer("prompt_tokens"),
        cached_read=row.optional_integer("cached_read_tokens"),
        cache_write=row.optional_integer("cache_write_tokens"),
        completion=row.optional_integer("completion_tokens"),
        reasoning=row.optional_integer("reasoning_tokens"),
        estimated=row.flag("usage_estimated"),
        cache_write_1h=row.optional_integer("cache_write_1h_tokens"),
        audio_input=row.optional_integer("audio_input_tokens"),
        image_input=row.optional_integer("image_input_tokens"),
        audio_output=row.optional_integer("audio_output_tokens"),
        image_output=row.optional_integer("image_output_tokens"),
        service_tier=row.optional_text("service_tier"),
    )


def read_money(row: Row, column: str) -> NanoUSD | None:
    amount = row.optional_integer(column)
    return None if amount is None else NanoUSD(amount)
