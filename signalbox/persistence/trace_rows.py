"""Traces as rows: one in `traces`, and where there are any, one for the events, one for the bodies.

As in `rows.py`, what writes raises `ValueError` naming the trace and the field, what reads raises
`CorruptRow` naming table, row and column.

`trace_events.events` is a JSON array of arrays: sequence number, seconds since the request was
received, kind, name, data. `trace_payloads.payloads` is a MessagePack array of arrays: sequence
number, kind, attempt, whether it was cut, body. Both are compressed (`packing.py`): a request's
bodies together, as one often repeats the other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import msgspec

from signalbox.persistence.columns import (
    Row,
    is_storable,
    microseconds,
    optional_microseconds,
    storable_int,
    storable_json,
    storable_optional_text,
    storable_text,
)
from signalbox.persistence.packing import packed, packed_events, unpacked
from signalbox.persistence.rows import (
    USAGE_COLUMNS,
    Values,
    checked_usage_values,
    read_money,
    read_usage,
    usage_numbers,
    usage_values,
)
from signalbox.persistence.stores import TraceEvent, TracePayload, TraceRecord
from signalbox.persistence.trace_values import plain, without_secret

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
EVENT_COLUMNS = ("trace_id", "encoding", "events")
PAYLOAD_COLUMNS = ("trace_id", "encoding", "payloads")

_events_encoder = msgspec.json.Encoder(enc_hook=without_secret)
_payloads_encoder = msgspec.msgpack.Encoder()
_payloads_decoder = msgspec.msgpack.Decoder(tuple[tuple[int, str, int | None, bool, bytes], ...])


def trace_row(trace: TraceRecord) -> Values:
    """The trace without its events and payloads."""
    # As in `charge_row`: one look at all of the usual trace.
    usage, provider, model = trace.usage, trace.provider, trace.route_model
    first_ms, cost, user = trace.first_token_ms, trace.cost, trace.user
    code, message = trace.error_code, trace.error_message
    try:
        started_us = round(trace.started_at * 1_000_000)
        ended_us = round(trace.ended_at * 1_000_000)
        first_us = None if first_ms is None else round(first_ms / 1000 * 1_000_000)
        duration_us = round(trace.duration_ms / 1000 * 1_000_000)
        numbers = started_us | ended_us | (first_us or 0) | duration_us | (cost or 0)
        numbers |= trace.status | trace.attempts | usage_numbers(usage)
        texts = (
            f"{trace.door}{trace.model}{trace.state}{trace.key_id}{trace.key_name}{provider}"
            f"{model}{code}{message}{user}{usage.service_tier}"
        )
        if 0 <= numbers < 1 << 63 and is_storable(texts):
            return (
                trace.id,
                started_us,
                ended_us,
                trace.door,
                trace.model,
                trace.state,
                trace.stream,
                trace.status,
                trace.key_id,
                trace.key_name,
                trace.attempts,
                provider,
                model,
                code,
                message,
                user,
                storable_json(trace.tags, "tags") if trace.tags else "[]",
                storable_json(dict(trace.labels), "labels") if trace.labels else "{}",
                *usage_values(usage),
                cost,
                first_us,
                duration_us,
            )
    except (TypeError, ValueError, OverflowError):
        pass
    return _checked_trace_row(trace)


def _checked_trace_row(trace: TraceRecord) -> Values:
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
            *checked_usage_values(trace.usage),
            storable_int(trace.cost, "cost"),
            optional_microseconds(_ms_to_seconds(trace.first_token_ms), "first_token_ms"),
            microseconds(trace.duration_ms / 1000, "duration_ms"),
        )
    except ValueError as error:
        raise ValueError(f"the trace {trace.id}: {error}") from None


def read_trace(
    values: Sequence[object],
    events: Sequence[object] | None = None,
    payloads: Sequence[object] | None = None,
) -> TraceRecord:
    """The rows of `traces`, `trace_events` and `trace_payloads`; None: there is none."""
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
        usage=read_usage(row),
        cost=read_money(row, "cost_nano_usd"),
        first_token_ms=None if first_token_us is None else first_token_us / 1000,
        duration_ms=row.integer("duration_us") / 1000,
        events=() if events is None else _read_events(events),
        payloads=() if payloads is None else _read_payloads(payloads),
    )


def event_row(trace: TraceRecord) -> Values | None:
    """None: it has no events."""
    events = trace.events
    if not events:
        return None
    times, in_order = 0.0, True
    for place, event in enumerate(events):
        times += event.at
        if event.seq != place:
            in_order = False
    if not in_order:
        _check_sequence(trace.id, "events", [event.seq for event in events])
    if not math.isfinite(times):
        raise ValueError(f"an event of the trace {trace.id}: at is not a number of seconds")
    try:
        data = _events_encoder.encode(events)
    except (TypeError, ValueError, RecursionError, NotImplementedError):
        data = _carefully_encoded(trace)
    return (trace.id, *packed_events(data))


def payload_row(trace: TraceRecord) -> Values | None:
    """None: it has no payloads."""
    payloads = trace.payloads
    if not payloads:
        return None
    _check_sequence(trace.id, "payloads", [payload.seq for payload in payloads])
    try:
        data = _payloads_encoder.encode(
            [(each.seq, each.kind, each.attempt, each.truncated, each.body) for each in payloads]
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"a payload of the trace {trace.id}: {error}") from None
    return (trace.id, *packed(data))


def _carefully_encoded(trace: TraceRecord) -> bytes:
    """What msgspec refuses and JSON does not: a string of a client's JSON may hold half a
    character, which is kept as the escape that it came as."""
    arrays = []
    for seq, at, kind, name, data in map(msgspec.structs.astuple, trace.events):
        try:
            arrays.append(storable_json([seq, at, kind, name, plain(data)], "data"))
        except ValueError as error:
            raise ValueError(f"event {seq} of the trace {trace.id}: {error}") from None
        except (TypeError, RecursionError, NotImplementedError) as error:
            raise ValueError(
                f"event {seq} of the trace {trace.id}: data is not JSON: {error}"
            ) from None
    return b"[%s]" % ",".join(arrays).encode()


def _read_events(values: Sequence[object]) -> tuple[TraceEvent, ...]:
    row = Row("trace_events", ("trace_id",), EVENT_COLUMNS, values)
    try:
        arrays = json.loads(_unpacked(row, "events"))
    except (ValueError, RecursionError):
        raise row.corrupt("events", "JSON") from None
    if not isinstance(arrays, list):
        raise row.corrupt("events", "a JSON array of events")
    return tuple(_read_event(row, place, array) for place, array in enumerate(arrays))


def _read_event(row: Row, place: int, array: object) -> TraceEvent:
    match array:
        case [int(seq), float() | int() as at, str(kind), str(name), dict(data)]:
            return TraceEvent(seq, float(at), kind, name, data)
    expected = "a number, seconds, kind, name and a JSON object"
    raise row.corrupt("events", f"{expected} as its element {place}")


def _read_payloads(values: Sequence[object]) -> tuple[TracePayload, ...]:
    row = Row("trace_payloads", ("trace_id",), PAYLOAD_COLUMNS, values)
    try:
        arrays = _payloads_decoder.decode(_unpacked(row, "payloads"))
    except msgspec.DecodeError as error:
        raise row.corrupt("payloads", f"MessagePack of payloads ({error})") from None
    return tuple(
        TracePayload(seq, kind, attempt, body, truncated)
        for seq, kind, attempt, truncated, body in arrays
    )


def _unpacked(row: Row, column: str) -> bytes:
    encoding, value = row.integer("encoding"), row.blob(column)
    try:
        return unpacked(encoding, value)
    except ValueError:
        raise row.corrupt(column, f"bytes of the encoding {encoding}") from None


def _ms_to_seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _check_sequence(trace_id: str, what: str, numbers: list[int]) -> None:
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"the {what} of the trace {trace_id} use a sequence number twice")
