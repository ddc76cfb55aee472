"""Traces as plain values for JSON: what the HTTP interface and the command line show."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from signalbox.persistence.stores import TracePayload, TraceRecord
from signalbox.types import usd


def trace_summary(trace: TraceRecord) -> dict[str, Any]:
    """A trace without its events and bodies. `cost` is in US dollars, an exact string."""
    usage = asdict(trace.usage)
    return {
        "id": trace.id,
        "started_at": trace.started_at,
        "ended_at": trace.ended_at,
        "state": trace.state,
        "status": trace.status,
        "door": trace.door,
        "model": trace.model,
        "stream": trace.stream,
        "provider": trace.provider,
        "route_model": trace.route_model,
        "attempts": trace.attempts,
        "error": None
        if trace.error_code is None
        else {"code": trace.error_code, "message": trace.error_message},
        "key": trace.key_name,
        "user": trace.user,
        "tags": list(trace.tags),
        "labels": dict(trace.labels),
        "usage": usage,
        "cost": None if trace.cost is None else format(usd(trace.cost), "f"),
        "first_token_ms": trace.first_token_ms,
        "duration_ms": trace.duration_ms,
    }


def trace_detail(trace: TraceRecord) -> dict[str, Any]:
    """A trace with its events in sequence and its bodies; bodies are text where they are UTF-8."""
    return {
        **trace_summary(trace),
        "events": [
            {
                "seq": event.seq,
                "at": event.at,
                "kind": event.kind,
                "name": event.name,
                "data": event.data,
            }
            for event in trace.events
        ],
        "payloads": [_payload(payload) for payload in trace.payloads],
    }


def _payload(payload: TracePayload) -> dict[str, Any]:
    return {
        "kind": payload.kind,
        "attempt": payload.attempt,
        "truncated": payload.truncated,
        # A cut may fall into a character; what is left of it is shown as such.
        "body": payload.body.decode("utf-8", errors="replace"),
    }
