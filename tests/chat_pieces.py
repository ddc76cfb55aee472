"""Streams of pieces as adapters give them, for tests of what doors write of them.

`told_streams` draws a stream that has some text, thinking and tool calls, cut anywhere; `Said` is
what it says, whoever tells it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from signalbox.adapters.chat import (
    FinishPiece,
    Piece,
    ReasoningFormat,
    ReasoningPiece,
    RefusalPiece,
    TextPiece,
    ToolCallPiece,
)
from signalbox.adapters.protocol import Delta
from signalbox.adapters.told_counts import chars_of, is_opaque
from signalbox.types import Dialect, Extra, Request, Usage

WORDS = st.text('ab "\\{}é\n', min_size=1, max_size=6)
ARGUMENTS = st.dictionaries(
    st.sampled_from(["city", "q"]), st.one_of(WORDS, st.integers(), st.none(), st.lists(WORDS))
)
USAGE = Usage(prompt=10, cached_read=3, completion=7, reasoning=2)


@dataclass
class Said:
    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    finish: str = "stop"


@dataclass(frozen=True)
class Told:
    said: Said
    deltas: tuple[Delta, ...]


def request_of(door: Dialect, body: dict[str, Any] | None = None, **fields: Any) -> Request:
    usual: dict[str, Any] = {
        "id": "t1",
        "received_at": 0.0,
        "door": door,
        "body": body or {},
        "model": "m",
        "stream": True,
        "include_usage": True,
        "extra": Extra(),
        "key_id": "k",
        "key_name": "k",
        "prompt_tokens": 5,
    }
    return Request(**usual | fields)


def delta_of(*pieces: Piece, usage: Usage | None = None, choice: int = 0) -> Delta:
    """A delta with the counts that an adapter gives it."""
    first = [piece for piece in pieces if piece.choice == choice]
    return Delta(
        raw=b"{}",
        content_chars=sum(map(chars_of, pieces)),
        text="".join(piece.text for piece in first if isinstance(piece, TextPiece)),
        reasoning_chars=sum(len(p.text) for p in first if isinstance(p, ReasoningPiece)),
        opaque=any(map(is_opaque, pieces)),
        finish_reasons=tuple((p.choice, p.finish) for p in pieces if isinstance(p, FinishPiece)),
        usage=usage,
        pieces=pieces,
        model="their-model",
    )


@st.composite
def told_streams(draw: st.DrawFn) -> Told:
    """Thinking, then text and calls in any order; fragments of calls may come in turn."""
    said = Said()
    pieces: list[Piece] = []
    for words in draw(st.lists(WORDS, max_size=2)):
        pieces.append(ReasoningPiece(words, format=ReasoningFormat.ANTHROPIC))
        said.reasoning += words
    fragments: list[list[Piece]] = []
    for words in draw(st.lists(WORDS, max_size=3)):
        fragments.append([TextPiece(words)])
        said.text += words
    for index, arguments in enumerate(draw(st.lists(ARGUMENTS, max_size=3))):
        said.calls.append((f"call_{index}", f"tool_{index}", arguments))
        fragments.append(_fragments(draw, index, json.dumps(arguments)))
    pieces += _in_turn(draw, fragments)
    said.finish = draw(st.sampled_from(["stop", "length"])) if not said.calls else "tool_calls"
    pieces.append(FinishPiece(said.finish))
    return Told(said, tuple(_deltas(draw, pieces)))


def _fragments(draw: st.DrawFn, index: int, arguments: str) -> list[Piece]:
    place = draw(st.integers(0, len(arguments)))
    first = ToolCallPiece(index, arguments[:place], id=f"call_{index}", name=f"tool_{index}")
    return [first, ToolCallPiece(index, arguments[place:])]


def _in_turn(draw: st.DrawFn, rows: list[list[Piece]]) -> Iterable[Piece]:
    """The rows one after the other, now and then with parts of the next one in between. Text keeps
    its order, and so do the beginnings of calls."""
    mixed: list[Piece] = []
    waiting: list[Piece] = []
    for row in rows:
        mixed += [row[0], *waiting]
        waiting = list(row[1:])
        if draw(st.booleans()):
            mixed += waiting
            waiting = []
    return [*mixed, *waiting]


def _deltas(draw: st.DrawFn, pieces: list[Piece]) -> Iterable[Delta]:
    while pieces:
        many = draw(st.integers(1, 3))
        group, pieces = pieces[:many], pieces[many:]
        yield delta_of(*group, usage=None if pieces else draw(st.sampled_from([None, USAGE])))
    yield delta_of(usage=USAGE)


def refusal_stream() -> tuple[Delta, ...]:
    return (delta_of(RefusalPiece("I will not.")), delta_of(FinishPiece("stop"), usage=USAGE))


def counts(deltas: Iterable[Delta]) -> dict[str, Any]:
    """What deltas count together, however they are cut."""
    each = list(deltas)
    return {
        "content_chars": sum(delta.content_chars for delta in each),
        "text": "".join(delta.text for delta in each),
        "reasoning_chars": sum(delta.reasoning_chars for delta in each),
        "opaque": any(delta.opaque for delta in each),
        "finish_reasons": [reason for delta in each for reason in delta.finish_reasons],
        "usage": [delta.usage for delta in each if delta.usage is not None][-1:],
        "made": [made for delta in each for made in delta.made],
    }
