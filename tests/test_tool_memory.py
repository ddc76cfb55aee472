"""What a provider wants back with a tool call, for clients that drop it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    ChatRequest,
    FinishPiece,
    Message,
    Piece,
    Reasoning,
    ReasoningPiece,
    Role,
    Text,
    ToolCall,
    ToolCallPiece,
    ToolResult,
)
from signalbox.adapters.protocol import Delta
from signalbox.adapters.tool_memory import (
    LARGEST_STATE,
    ToolMemory,
    forgotten_calls,
    restored,
    states_of,
    with_own_states,
)
from signalbox.types import Dialect, Origin, ToolState
from tests.outgoing import REQUEST

THOUGHT = Reasoning("Which tool?", signature="signed")
FIRST = ToolCall("call_1", "look", "{}", signature="first")
SECOND = ToolCall("call_2", "look", "{}")
TURN = (THOUGHT, Text("Let me see."), FIRST, SECOND)
STREAM: tuple[Piece, ...] = (
    ReasoningPiece("Which "),
    ReasoningPiece("tool?"),
    ReasoningPiece(signature="signed", closes=True),
    ToolCallPiece(0, id="call_1", name="look"),
    ToolCallPiece(0, arguments="{}"),
    ToolCallPiece(0, signature="first"),
    ToolCallPiece(1, id="call_2", name="look", arguments="{}"),
    FinishPiece("tool_calls"),
)


def asked(*parts: Reasoning | Text | ToolCall) -> ChatRequest:
    """The next step of a tool loop whose first one was `parts`."""
    return ChatRequest(
        dialect=Dialect.CHAT,
        model="m",
        messages=(
            Message(Role.USER, (Text("Look."),)),
            Message(Role.ASSISTANT, parts),
            Message(Role.TOOL, (ToolResult("call_1", (Text("seen"),)),)),
        ),
    )


def told(*parts: Reasoning | Text | ToolCall) -> ChatAnswer:
    return ChatAnswer((AnswerChoice(parts, "tool_calls"),))


def without_proofs() -> ChatRequest:
    return asked(Text("Let me see."), replace(FIRST, signature=None), SECOND)


def test_what_a_client_dropped_is_put_back_where_it_was() -> None:
    form = restored(without_proofs(), dict(states_of(told(*TURN))))
    assert form.messages[1].parts == TURN


def test_a_stream_teaches_the_same_as_a_whole_answer() -> None:
    memory = ToolMemory()
    states = [state for piece in STREAM for state in memory.add(Delta(b"", pieces=(piece,)))]
    assert tuple(states) == states_of(told(*TURN))


def test_what_the_client_kept_is_left_as_it_is() -> None:
    states = dict(states_of(told(Reasoning("Other", signature="other"), FIRST)))
    kept = asked(*TURN)
    assert restored(kept, states) == kept
    assert forgotten_calls(kept) == ()
    assert forgotten_calls(without_proofs()) == ("call_1", "call_2")


def test_thinking_without_its_proof_is_not_said_twice() -> None:
    form = asked(Reasoning("Which tool?"), replace(FIRST, signature=None))
    back = restored(form, dict(states_of(told(THOUGHT, FIRST))))
    assert back.messages[1].parts == (THOUGHT, FIRST)


def test_a_call_that_nothing_is_wanted_back_with_is_not_remembered() -> None:
    assert states_of(told(Reasoning("unsigned"), SECOND)) == ()


def test_redacted_thinking_goes_back_too() -> None:
    redacted = Reasoning(encrypted="opaque")
    states = dict(states_of(told(redacted, SECOND)))
    assert restored(asked(SECOND), states).messages[1].parts == (redacted, SECOND)


def test_thinking_beyond_all_measure_is_let_go() -> None:
    assert states_of(told(Reasoning("x" * LARGEST_STATE, signature="s"), SECOND)) == ()


@pytest.mark.parametrize("row", [b"", b"\xff", b"[]", b'{"signature": 1}', b"[" * 2000])
def test_a_row_that_something_else_has_written_is_passed_over(row: bytes) -> None:
    assert restored(without_proofs(), {"call_1": row}) == without_proofs()


def test_only_what_this_route_and_key_made_goes_to_them() -> None:
    here, there = Origin("a:m", "a/1"), Origin("b:m", "b/1")
    request = replace(
        REQUEST, tool_states={"call_1": ToolState(here, b"1"), "call_2": ToolState(there, b"2")}
    )
    assert list(with_own_states(request, there).tool_states) == ["call_2"]
