"""Answers in the wire format of Anthropic's messages API, whole and streamed.

Source: Anthropic's API reference, "Create a message", "Streaming messages".
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from random import Random
from typing import Any

from signalbox.simulator.answers import Answer, Choice, compose, prompt_tokens
from signalbox.simulator.anthropic_errors import AnthropicErrors
from signalbox.simulator.anthropic_requests import read_messages
from signalbox.simulator.prompts import BadRequest, Call
from signalbox.simulator.scenario import Step
from signalbox.simulator.signatures import sign
from signalbox.simulator.wire import Event, Parts, Piece, Said, step_error

_FINISHES = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
CALL = "toolu_01"
"""How ids of tool calls begin."""


class MessagesEndpoint:
    """`POST /v1/messages`."""

    errors = AnthropicErrors()

    def answer(self, call: Call, step: Step, rng: Random) -> Said:
        _check_version(call)
        prompt = read_messages(call)
        answer = compose(prompt, step, call.ordinal, rng)
        if not prompt.stream:
            return Said(message(answer, step), answer.output_tokens)
        return Said(parts=self._parts(answer, step))

    def _parts(self, answer: Answer, step: Step) -> Parts:
        choice = answer.choices[0]
        blocks = list(_streamed_blocks(choice))
        started = message(answer, step) | {"content": [], "stop_reason": None}
        started |= {"stop_sequence": None, "usage": usage(answer) | {"output_tokens": 1}}
        ping = Event({"type": "ping"}, "ping")
        return Parts(
            opening=[_event({"type": "message_start", "message": started}), ping],
            pieces=list(chain.from_iterable(_block_pieces(i, *b) for i, b in enumerate(blocks))),
            ending=_ending(answer, step),
            done=() if step.no_done else [_event({"type": "message_stop"})],
            failing=lambda _: [Event(step_error(self.errors, step, answer.model).body, "error")],
            broken=Event(b'{"type":"content_block_de', "content_block_delta"),
        )


class CountEndpoint:
    """`POST /v1/messages/count_tokens`."""

    errors = AnthropicErrors()

    def answer(self, call: Call, step: Step, rng: Random) -> Said:
        _check_version(call)
        return Said({"input_tokens": prompt_tokens(read_messages(call, counting=True))})


def _check_version(call: Call) -> None:
    if "anthropic-version" not in call.headers:
        raise BadRequest("header is required", "anthropic-version")


def usage(answer: Answer) -> dict[str, Any]:
    """The classes are disjoint: `input_tokens` leaves out what was cached."""
    cached, written = answer.cached_tokens, answer.cache_write_tokens
    found: dict[str, Any] = {
        "input_tokens": answer.prompt_tokens - cached - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": answer.output_tokens,
        "service_tier": "standard",
    }
    if answer.reasoning_tokens:
        found["output_tokens_details"] = {"thinking_tokens": answer.reasoning_tokens}
    return found


def message(answer: Answer, step: Step) -> dict[str, Any]:
    choice = answer.choices[0]
    body = {
        "id": "msg_01" + answer.id[:22],
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": list(_blocks(choice)),
        "stop_reason": None if step.no_finish else _finish(choice),
        "stop_sequence": choice.stop,
        "usage": usage(answer),
    }
    if step.usage == "none":
        del body["usage"]
    return body


def _finish(choice: Choice) -> str:
    if choice.stop is not None and choice.finish == "stop":
        return "stop_sequence"
    return _FINISHES.get(choice.finish, choice.finish)


def _blocks(choice: Choice) -> Iterator[dict[str, Any]]:
    if choice.reasoning:
        thought = "".join(choice.reasoning)
        yield {"type": "thinking", "thinking": thought, "signature": sign("thinking", thought)}
    if choice.tokens:
        yield {"type": "text", "text": choice.text}
    for tool in choice.tools:
        yield {"type": "tool_use", "id": CALL + tool.id, "name": tool.name, "input": tool.values}


def _streamed_blocks(choice: Choice) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each block as it starts, and its deltas."""
    if choice.reasoning:
        thought = "".join(choice.reasoning)
        deltas = [{"type": "thinking_delta", "thinking": token} for token in choice.reasoning]
        signed = {"type": "signature_delta", "signature": sign("thinking", thought)}
        yield {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, signed]
    if choice.tokens:
        deltas = [{"type": "text_delta", "text": token} for token in choice.tokens]
        yield {"type": "text", "text": ""}, deltas
    for tool in choice.tools:
        fragments = () if tool.arguments == "{}" else tool.fragments
        start = {"type": "tool_use", "id": CALL + tool.id, "name": tool.name, "input": {}}
        yield start, [{"type": "input_json_delta", "partial_json": f} for f in ("", *fragments)]


def _block_pieces(
    index: int, start: dict[str, Any], deltas: list[dict[str, Any]]
) -> Iterator[Piece]:
    begun = _event({"type": "content_block_start", "index": index, "content_block": start})
    ended = _event({"type": "content_block_stop", "index": index})
    for place, delta in enumerate(deltas):
        yield Piece(
            _event({"type": "content_block_delta", "index": index, "delta": delta}),
            before=(begun,) if place == 0 else (),
            after=(ended,) if place == len(deltas) - 1 else (),
        )


def _ending(answer: Answer, step: Step) -> list[Event]:
    if step.no_finish:
        return []
    choice = answer.choices[0]
    delta = {"stop_reason": _finish(choice), "stop_sequence": choice.stop}
    event: dict[str, Any] = {"type": "message_delta", "delta": delta}
    if step.usage != "none":
        event["usage"] = usage(answer)
    return [_event(event)] * (2 if step.repeat_finish else 1)


def _event(data: dict[str, Any]) -> Event:
    return Event(data, data["type"])


def model_list(names: tuple[str, ...]) -> dict[str, Any]:
    """The body of `GET /v1/models` for Anthropic's clients."""
    data = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2025-06-15T00:00:00Z"}
        for name in names
    ]
    first, last = (names[0], names[-1]) if names else (None, None)
    return {"data": data, "has_more": False, "first_id": first, "last_id": last}
