"""What a provider wants back with a tool call, kept for clients that drop it.

Gemini refuses the next step of a tool loop without its thought signatures, Anthropic without its
signed thinking. Both leave with the tool call; most clients send back standard fields alone. So the
gateway remembers them by the call's id and puts them back where they are missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from msgspec.structs import replace

from signalbox.adapters.chat import (
    ChatAnswer,
    ChatRequest,
    FinishPiece,
    Message,
    Part,
    Piece,
    Reasoning,
    ReasoningPiece,
    Role,
    ToolCall,
    ToolCallPiece,
)
from signalbox.adapters.protocol import Delta
from signalbox.types import Dialect, Origin, Request

SIGNING = frozenset({Dialect.MESSAGES, Dialect.GENERATE, Dialect.CONVERSE})
"""Dialects of providers that want something back."""
LARGEST_STATE = 256 * 1024
"""Bytes for one tool call: the longest thinking there is, some 60,000 tokens. A longer one is let
go; the model then goes on without it."""
MOST_CALLS = 128
"""Of one answer: OpenAI's limit for tools."""

States = tuple[tuple[str, bytes], ...]
"""(tool call id, what is to come back with it)."""


class _Kept(msgspec.Struct, omit_defaults=True):
    signature: str | None = None
    reasoning: list[Reasoning] = []
    """What was thought before the call; of several calls with the first."""


_decoder = msgspec.json.Decoder(_Kept)


def states_of(answer: ChatAnswer) -> States:
    return tuple(
        state for choice in answer.choices for state in _states(_turn(choice.parts), choice.parts)
    )


class ToolMemory:
    """Collects the same from a stream's deltas; told whole with a choice's end."""

    def __init__(self) -> None:
        self._parts: dict[int, list[Part]] = {}

    def add(self, delta: Delta) -> States:
        states: States = ()
        for piece in delta.pieces:
            match piece:
                case ReasoningPiece() | ToolCallPiece():
                    _append(self._parts.setdefault(piece.choice, []), piece)
                case FinishPiece():
                    parts = tuple(self._parts.pop(piece.choice, ()))
                    states += tuple(_states(_turn(parts), parts))
        return states


def _append(parts: list[Part], piece: Piece) -> None:
    match piece:
        case ReasoningPiece():
            last = parts[-1] if parts else None
            if isinstance(last, Reasoning) and last.signature is None and last.encrypted is None:
                parts[-1] = replace(
                    last,
                    text=last.text + piece.text,
                    signature=piece.signature,
                    encrypted=piece.encrypted,
                    id=piece.id or last.id,
                    format=piece.format or last.format,
                )
            elif piece.text or piece.signature or piece.encrypted:
                parts.append(
                    Reasoning(
                        piece.text,
                        summary=piece.summary,
                        signature=piece.signature,
                        encrypted=piece.encrypted,
                        id=piece.id,
                        format=piece.format,
                    )
                )
        case ToolCallPiece(id=str(call_id), name=str(name)) if len(parts) < MOST_CALLS:
            # The arguments are the client's to keep.
            parts.append(ToolCall(call_id, name, "", signature=piece.signature))
        case ToolCallPiece(signature=str()):
            calls = [place for place, part in enumerate(parts) if isinstance(part, ToolCall)]
            if calls:
                call = parts[calls[-1]]
                assert isinstance(call, ToolCall)
                parts[calls[-1]] = replace(call, signature=piece.signature)


def _turn(parts: tuple[Part, ...]) -> list[Reasoning]:
    """The reasoning that a provider knows again."""
    return [
        part for part in parts if isinstance(part, Reasoning) and (part.signature or part.encrypted)
    ]


def _states(reasoning: list[Reasoning], parts: tuple[Part, ...]) -> Iterator[tuple[str, bytes]]:
    for part in parts:
        if not isinstance(part, ToolCall):
            continue
        if part.signature or reasoning:
            state = msgspec.json.encode(_Kept(part.signature, reasoning))
            if len(state) <= LARGEST_STATE:
                yield part.id, state
        reasoning = []


# ── putting it back ───────────────────────────────────────────────────────────────────────────


def forgotten_calls(form: ChatRequest) -> tuple[str, ...]:
    """The ids of tool calls that came without anything that a provider would want back."""
    return tuple(
        part.id
        for message in form.messages
        if message.role is Role.ASSISTANT and not _turn(message.parts)
        for part in message.parts
        if isinstance(part, ToolCall) and part.signature is None
    )


def with_own_states(request: Request, ours: Origin) -> Request:
    """The request with what this route and key have made alone; others would refuse it."""
    if not request.tool_states:
        return request
    own = {call: state for call, state in request.tool_states.items() if state.origin == ours}
    return replace(request, tool_states=own)


def restored(form: ChatRequest, states: Mapping[str, bytes]) -> ChatRequest:
    """The form with what was remembered of its tool calls, where they lack it."""
    kept = {call: state for call, data in states.items() if (state := _read(data)) is not None}
    return replace(form, messages=tuple(_restored(message, kept) for message in form.messages))


def _read(data: bytes) -> _Kept | None:
    """None for a row of the database that something else has written."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _restored(message: Message, kept: Mapping[str, _Kept]) -> Message:
    if message.role is not Role.ASSISTANT or _turn(message.parts):
        return message
    reasoning: list[Part] = []
    parts: list[Part] = []
    for part in message.parts:
        state = kept.get(part.id) if isinstance(part, ToolCall) else None
        if state is None or not isinstance(part, ToolCall):
            parts.append(part)
            continue
        reasoning += state.reasoning
        parts.append(part if part.signature else replace(part, signature=state.signature))
    if reasoning:
        # What the client itself kept of it, without its proof, is the same once more.
        parts = [*reasoning, *(part for part in parts if not isinstance(part, Reasoning))]
    return replace(message, parts=tuple(parts))
