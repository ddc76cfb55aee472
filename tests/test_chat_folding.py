"""A stream's pieces put together."""

from typing import Any

import pytest

from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    Citation,
    CitationPiece,
    FinishPiece,
    Media,
    MediaKind,
    MediaPiece,
    Part,
    Piece,
    Reasoning,
    ReasoningPiece,
    Text,
    TextPiece,
    ToolCall,
    ToolCallPiece,
)
from signalbox.adapters.chat_folding import Folder
from signalbox.adapters.protocol import Delta
from signalbox.types import Usage


def folded(*pieces: Piece) -> tuple[Part, ...]:
    """Each piece in a delta of its own."""
    folder = Folder()
    for piece in pieces:
        folder.add(Delta(raw=b"", pieces=(piece,)))
    [choice] = folder.answer().choices
    return choice.parts


@pytest.mark.parametrize(
    ("pieces", "parts"),
    [
        ((TextPiece("a"), TextPiece("b")), (Text("ab"),)),
        ((TextPiece("a", signature="s"), TextPiece("b")), (Text("a", signature="s"), Text("b"))),
        (
            (ReasoningPiece("a"), TextPiece("x"), ReasoningPiece("b")),
            (Reasoning("a"), Text("x"), Reasoning("b")),
        ),
        (
            (ReasoningPiece("a"), ReasoningPiece(signature="s", closes=True), ReasoningPiece("b")),
            (Reasoning("a", signature="s"), Reasoning("b")),
        ),
        (
            (ReasoningPiece("a", summary=True), ReasoningPiece("b")),
            (Reasoning("a", summary=True), Reasoning("b")),
        ),
        (
            (ReasoningPiece("a", id="1"), ReasoningPiece("b", id="2")),
            (Reasoning("a", id="1"), Reasoning("b", id="2")),
        ),
        (
            (
                ToolCallPiece(0, "{", id="a", name="f"),
                ToolCallPiece(1, id="b", name="g"),
                ToolCallPiece(0, "}", signature="s"),
            ),
            (ToolCall("a", "f", "{}", signature="s"), ToolCall("b", "g", "{}")),
        ),
        (
            (ToolCallPiece(0, id="a", name="f", custom=True),),
            (ToolCall("a", "f", "", custom=True),),
        ),
        (
            (
                MediaPiece(Media(MediaKind.AUDIO, id="a")),
                MediaPiece(Media(MediaKind.AUDIO, data="aGk=", transcript="h")),
                MediaPiece(Media(MediaKind.AUDIO, data="eW8=", transcript="i")),
            ),
            (Media(MediaKind.AUDIO, id="a", data="aGk=eW8=", transcript="hi"),),
        ),
        (
            (MediaPiece(Media(MediaKind.IMAGE, url="u")),) * 2,
            (Media(MediaKind.IMAGE, url="u"),) * 2,
        ),
        (
            (TextPiece("a"), ToolCallPiece(0, id="a", name="f"), CitationPiece(Citation("u"))),
            (Text("a", (Citation("u"),)), ToolCall("a", "f", "{}")),
        ),
    ],
)
def test_parts(pieces: tuple[Any, ...], parts: tuple[Part, ...]) -> None:
    assert folded(*pieces) == parts


def test_an_answer() -> None:
    folder = Folder()
    end = FinishPiece("length", 1, "max", "x", {"a": 1})
    token = {"token": "t"}
    folder.add(Delta(b"", pieces=(TextPiece("b", 1),), id="first", model="m", usage=Usage(1)))
    folder.add(Delta(b"", pieces=(TextPiece("a", logprobs=(token,)), end), id="second"))
    folder.add(Delta(b"", usage=Usage(2)))
    assert folder.answer() == ChatAnswer(
        (
            AnswerChoice((Text("a"),), None, logprobs=(token,)),
            AnswerChoice((Text("b"),), "length", "max", "x", extra={"a": 1}),
        ),
        usage=Usage(2),
        id="first",
        model="m",
    )
