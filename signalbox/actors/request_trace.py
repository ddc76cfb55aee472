"""What is written down of one request: its facts and events, its bodies, how it ended.

Live viewers are told at once, the record is built at the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from signalbox.actors.trace_hub import TraceHub
from signalbox.errors import ApiError, Failure
from signalbox.machines.commands import RecordTransition
from signalbox.machines.facts import Fact
from signalbox.machines.plan import RequestPlan, RequestPlanned
from signalbox.persistence.stores import TraceEvent, TracePayload, TraceRecord
from signalbox.types import NanoUSD, Request, Usage

MOST_EVENTS = 512
"""A request makes at most a dozen calls with a few facts each; past this something loops."""


class RequestTrace:
    """Collects what happens to one request. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        request: Request,
        plan: RequestPlan,
        hub: TraceHub,
        clock: Callable[[], float],
        *,
        payloads: str,
        payload_limit: int,
    ) -> None:
        self._request = request
        self._hub = hub
        self._clock = clock
        self.began = clock()
        """The time that the request's machine is started with."""
        self._payloads = payloads
        self._limit = payload_limit
        self._events = [
            TraceEvent(0, 0.0, "fact", "RequestPlanned", RequestPlanned(self.began, plan))
        ]
        self._bodies: list[TracePayload] = []
        self._publish(
            "started",
            door=request.door,
            model=request.model,
            stream=request.stream,
            key_name=request.key_name,
            user=request.user,
            tags=list(request.tags),
        )

    @property
    def payload_limit(self) -> int:
        """Bytes of each body that are worth keeping."""
        return 0 if self._payloads == "off" else self._limit

    def fact(self, fact: Fact) -> None:
        self._note("fact", type(fact).__name__, fact)

    def transition(self, move: RecordTransition) -> None:
        self._note("event", move.event, move)
        if not self._hub.watched:
            self._hub.moved(self._request.id, move.target)
            return
        self._publish(
            "transition",
            **{"from": move.source, "to": move.target},
            event=move.event,
            attempt=move.attempt,
            provider=move.provider,
            detail={"reason": move.reason} if move.reason else {},
        )

    def attempt_started(self, number: int, provider: str, model: str, key_label: str) -> None:
        self._attempt(number, provider, model, key_label, "started", None)

    def attempt_ended(
        self,
        number: int,
        provider: str,
        model: str,
        key_label: str,
        failure: Failure | None,
        *,
        dropped: bool,
    ) -> None:
        outcome = "dropped" if dropped else "answered" if failure is None else "failed"
        self._attempt(number, provider, model, key_label, outcome, failure)

    def _attempt(
        self,
        number: int,
        provider: str,
        model: str,
        key_label: str,
        outcome: str,
        failure: Failure | None,
    ) -> None:
        if not self._hub.watched:
            self._hub.called(self._request.id, number, provider, model)
            return
        told = failure and {
            "kind": failure.kind.value,
            "message": failure.message,
            "status": failure.status,
        }
        self._publish(
            "attempt",
            attempt=number,
            provider=provider,
            route_model=model,
            key_label=key_label,
            outcome=outcome,
            failure=told,
        )

    def left_out(self, number: int, fields: Sequence[str]) -> None:
        """Fields of the request that the attempt's route could not be told, by their names."""
        if fields:
            self._note("note", "parameters_dropped", {"attempt": number, "fields": [*fields]})

    def cut(self, number: int, held: str, budgets: str) -> None:
        """The answer of the attempt ended where its budgets did."""
        self._note("note", "budget_reached", {"attempt": number, "held": held, "budgets": budgets})

    def body(self, kind: str, body: bytes | bytearray, attempt: int | None = None) -> None:
        """Keeps a body as configured: whole up to the limit, redacted, or not at all.

        It is copied only where it is cut, or may still change.
        """
        if self._payloads == "off" or not body:
            return
        cut = len(body) > self._limit
        kept = bytes(memoryview(body)[: self._limit] if cut else body)
        if self._payloads == "redacted":
            kept = redact(kept)
        self._bodies.append(TracePayload(len(self._bodies), kind, attempt, kept, cut))

    def finish(
        self,
        *,
        state: str,
        status: int,
        attempts: int,
        provider: str | None,
        route_model: str | None,
        error: ApiError | None,
        usage: Usage,
        cost: NanoUSD | None,
        first_token_at: float | None,
    ) -> TraceRecord:
        """The record of the whole, told to the viewers as well."""
        request = self._request
        duration = self._clock() - self.began
        first = None if first_token_at is None else (first_token_at - self.began) * 1000
        record = TraceRecord(
            id=request.id,
            started_at=request.received_at,
            ended_at=request.received_at + duration,
            door=request.door,
            model=request.model,
            state=state,
            stream=request.stream,
            status=status,
            key_id=request.key_id,
            key_name=request.key_name,
            attempts=attempts,
            provider=provider,
            route_model=route_model,
            error_code=error.code if error else None,
            error_message=error.message if error else None,
            user=request.user,
            tags=request.tags,
            labels=request.labels,
            usage=usage,
            cost=cost,
            first_token_ms=first,
            duration_ms=duration * 1000,
            events=tuple(self._events),
            payloads=tuple(self._bodies),
        )
        if not self._hub.watched:
            self._hub.ended(request.id)
            return record
        self._publish(
            "finished",
            state=state,
            status=status,
            model=request.model,
            attempts=attempts,
            provider=provider,
            route_model=route_model,
            error_code=record.error_code,
            first_token_ms=first,
            duration_ms=record.duration_ms,
            cost=cost,
        )
        return record

    def _note(self, kind: str, name: str, data: Any) -> None:
        seq = len(self._events)
        if seq < MOST_EVENTS:
            self._events.append(TraceEvent(seq, self._clock() - self.began, kind, name, data))

    def _publish(self, kind: str, **fields: Any) -> None:
        at = self._request.received_at + self._clock() - self.began
        self._hub.publish({"type": kind, "trace_id": self._request.id, "at": at, **fields})


_STRING = rb'"(?:[^"\\]|\\.)*(?:"(\s*:)?|\\?\Z)'
_WORD = rb'[^\s"{}\[\],:]+'
_TEXT = re.compile(_STRING + b"|" + _WORD, re.DOTALL)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_KEPT = frozenset(
    b'"user" "assistant" "system" "developer" "tool" "function" "text" "image_url" "stop" "length" '
    b'"tool_calls" "content_filter" "chat.completion" "chat.completion.chunk" '
    b"true false null data event id retry DONE".split()
)
"""Values of the wire format itself, JSON's literals and the field names of an event stream."""


def redact(body: bytes) -> bytes:
    """JSON (or a stream of it, or a part of it) with every string value but known words hidden.

    Works on bytes, not on parsed values, so that a body that is cut or malformed leaks nothing;
    what is not JSON at all, a page of HTML, is hidden too.
    """

    def hide(match: re.Match[bytes]) -> bytes:
        text = match.group(0)
        if match.group(1) is not None or text in _KEPT or _NUMBER.fullmatch(text):
            return text
        if text.startswith(b'"'):
            return b'"[%d bytes]"' % max(len(text) - 2, 0)
        return b"[%d bytes]" % len(text)

    return _TEXT.sub(hide, body)
