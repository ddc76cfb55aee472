"""Records as rows: what every engine writes and reads back, column by column.

`*_row` raises `ValueError` naming the record and the field that no database could keep, before
anything is written; `read_*` raises `CorruptRow` naming table, row and column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from signalbox.persistence.columns import (
    Row,
    microseconds,
    optional_microseconds,
    storable_int,
    storable_json,
    storable_optional_text,
    storable_text,
)
from signalbox.persistence.stores import (
    Charge,
    GatewayKeyRecord,
    StateRecord,
    TraceEvent,
    TracePayload,
    TraceRecord,
)
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
)
TRACE_COLUMNS = (
    "id",
    "started_at_us",
    "ended_at_us",
    "door",
    "model",
    "state",
    "stream",
    "status",
    "key_id",
    "key_name",
    "attempts",
    "provider",
    "route_model",
    "error_code",
    "error_message",
    "end_user",
    "tags",
    "labels",
    *USAGE_COLUMNS,
    "cost_nano_usd",
    "first_token_us",
    "duration_us",
)
EVENT_COLUMNS = ("trace_id", "seq", "at_us", "kind", "name", "data")
PAYLOAD_COLUMNS = ("trace_id", "seq", "kind", "attempt", "body", "truncated")
KEY_COLUMNS = (
    "id",
    "name",
    "digest",
    "prefix",
    "created_at_us",
    "revoked_at_us",
    "expires_at_us",
    "rpm",
    "tpm",
    "concurrency",
    "models",
)
STATE_COLUMNS = ("digest", "route_id", "key_mark", "expires_at_us", "state")

Values = tuple[object, ...]


def charge_row(charge: Charge) -> Values:
    try:
        return (
            charge.id,
            charge.request_id,
            microseconds(charge.at, "at"),
            storable_text(charge.key_id),
            storable_text(charge.model),
            storable_text(charge.provider),
            storable_text(charge.route_model),
            *_usage_values(charge.usage),
            storable_int(charge.amount, "amount"),
            storable_int(charge.upstream_cost, "upstream_cost"),
            storable_text(charge.reason),
            storable_text(charge.price_source),
        )
    except ValueError as error:
        raise ValueError(f"the charge of request {charge.request_id}: {error}") from None


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
        usage=_read_usage(row),
        amount=_read_money(row, "amount_nano_usd"),
        upstream_cost=_read_money(row, "upstream_cost_nano_usd"),
        reason=row.text("reason"),
        price_source=row.text("price_source"),
    )


def trace_row(trace: TraceRecord) -> Values:
    """The trace without its events and payloads."""
    try:
        return (
            trace.id,
            microseconds(trace.started_at, "started_at"),
            microseconds(trace.ended_at, "ended_at"),
            storable_text(trace.door),
            storable_text(trace.model),
            storable_text(trace.state),
            trace.stream,
            storable_int(trace.status, "status"),
            storable_text(trace.key_id),
            storable_text(trace.key_name),
            storable_int(trace.attempts, "attempts"),
            storable_optional_text(trace.provider),
            storable_optional_text(trace.route_model),
            storable_optional_text(trace.error_code),
            storable_optional_text(trace.error_message),
            storable_optional_text(trace.user),
            storable_json(trace.tags, "tags"),
            storable_json(dict(trace.labels), "labels"),
            *_usage_values(trace.usage),
            storable_int(trace.cost, "cost"),
            optional_microseconds(_ms_to_seconds(trace.first_token_ms), "first_token_ms"),
            microseconds(trace.duration_ms / 1000, "duration_ms"),
        )
    except ValueError as error:
        raise ValueError(f"the trace {trace.id}: {error}") from None


def read_trace(
    values: Sequence[object],
    events: Iterable[Sequence[object]] = (),
    payloads: Iterable[Sequence[object]] = (),
) -> TraceRecord:
    row = Row("traces", ("id",), TRACE_COLUMNS, values)
    first_token_us = row.optional_integer("first_token_us")
    return TraceRecord(
        id=row.text("id"),
        started_at=row.seconds("started_at_us"),
        ended_at=row.seconds("ended_at_us"),
        door=row.text("door"),
        model=row.text("model"),
        state=row.text("state"),
        stream=row.flag("stream"),
        status=row.integer("status"),
        key_id=row.text("key_id"),
        key_name=row.text("key_name"),
        attempts=row.integer("attempts"),
        provider=row.optional_text("provider"),
        route_model=row.optional_text("route_model"),
        error_code=row.optional_text("error_code"),
        error_message=row.optional_text("error_message"),
        user=row.optional_text("end_user"),
        tags=row.json_texts("tags"),
        labels=row.json_text_map("labels"),
        usage=_read_usage(row),
        cost=_read_money(row, "cost_nano_usd"),
        first_token_ms=None if first_token_us is None else first_token_us / 1000,
        duration_ms=row.integer("duration_us") / 1000,
        events=tuple(_read_event(event) for event in events),
        payloads=tuple(_read_payload(payload) for payload in payloads),
    )


def event_rows(trace: TraceRecord) -> list[Values]:
    _check_sequence(trace.id, "events", [event.seq for event in trace.events])
    try:
        return [
            (
                trace.id,
                storable_int(event.seq, "seq"),
                microseconds(event.at, "at"),
                storable_text(event.kind),
                storable_text(event.name),
                storable_json(dict(event.data), "data"),
            )
            for event in trace.events
        ]
    except ValueError as error:
        raise ValueError(f"an event of the trace {trace.id}: {error}") from None


def payload_rows(trace: TraceRecord) -> list[Values]:
    _check_sequence(trace.id, "payloads", [payload.seq for payload in trace.payloads])
    try:
        return [
            (
                trace.id,
                storable_int(payload.seq, "seq"),
                storable_text(payload.kind),
                storable_int(payload.attempt, "attempt"),
                payload.body,
                payload.truncated,
            )
            for payload in trace.payloads
        ]
    except ValueError as error:
        raise ValueError(f"a payload of the trace {trace.id}: {error}") from None


def key_row(key: GatewayKeyRecord) -> Values:
    try:
        return (
            key.id,
            storable_text(key.name),
            key.digest,
            storable_text(key.prefix),
            microseconds(key.created_at, "created_at"),
            optional_microseconds(key.revoked_at, "revoked_at"),
            optional_microseconds(key.expires_at, "expires_at"),
            storable_int(key.rpm, "rpm"),
            storable_int(key.tpm, "tpm"),
            storable_int(key.concurrency, "concurrency"),
            storable_json(key.models, "models"),
        )
    except ValueError as error:
        raise ValueError(f"the key {key.name!r}: {error}") from None


def read_key(values: Sequence[object]) -> GatewayKeyRecord:
    row = Row("gateway_keys", ("id",), KEY_COLUMNS, values)
    return GatewayKeyRecord(
        id=row.text("id"),
        name=row.text("name"),
        digest=row.blob("digest"),
        prefix=row.text("prefix"),
        created_at=row.seconds("created_at_us"),
        revoked_at=row.optional_seconds("revoked_at_us"),
        expires_at=row.optional_seconds("expires_at_us"),
        rpm=row.optional_integer("rpm"),
        tpm=row.optional_integer("tpm"),
        concurrency=row.optional_integer("concurrency"),
        models=row.json_texts("models"),
    )


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


def _read_event(values: Sequence[object]) -> TraceEvent:
    row = Row("trace_events", ("trace_id", "seq"), EVENT_COLUMNS, values)
    return TraceEvent(
        seq=row.integer("seq"),
        at=row.seconds("at_us"),
        kind=row.text("kind"),
        name=row.text("name"),
        data=row.json_object("data"),
    )


def _read_payload(values: Sequence[object]) -> TracePayload:
    row = Row("trace_payloads", ("trace_id", "seq"), PAYLOAD_COLUMNS, values)
    return TracePayload(
        seq=row.integer("seq"),
        kind=row.text("kind"),
        attempt=row.optional_integer("attempt"),
        body=row.blob("body"),
        truncated=row.flag("truncated"),
    )


def _usage_values(usage: Usage) -> Values:
    return (
        storable_int(usage.prompt, "usage.prompt"),
        storable_int(usage.cached_read, "usage.cached_read"),
        storable_int(usage.cache_write, "usage.cache_write"),
        storable_int(usage.completion, "usage.completion"),
        storable_int(usage.reasoning, "usage.reasoning"),
        usage.estimated,
        storable_int(usage.cache_write_1h, "usage.cache_write_1h"),
        storable_int(usage.audio_input, "usage.audio_input"),
        storable_int(usage.image_input, "usage.image_input"),
        storable_int(usage.audio_output, "usage.audio_output"),
        storable_int(usage.image_output, "usage.image_output"),
        None if usage.service_tier is None else storable_text(usage.service_tier),
    )


def _read_usage(row: Row) -> Usage:
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


def _read_money(row: Row, column: str) -> NanoUSD | None:
    amount = row.optional_integer(column)
    return None if amount is None else NanoUSD(amount)


def _ms_to_seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _check_sequence(trace_id: str, what: str, numbers: list[int]) -> None:
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"the {what} of the trace {trace_id} use a sequence number twice")
