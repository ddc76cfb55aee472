"""Answers in the gateway's own model → completions and their chunks.

A chat's answer is told as its text. What a completion has no place for is left out, but for the
thinking, which has OpenRouter's field `reasoning`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    FinishPiece,
    Piece,
    Reasoning,
    ReasoningPiece,
    Refusal,
    RefusalPiece,
    Text,
    TextPiece,
)
from signalbox.adapters.completions_wire import TEXT_COMPLETION
from signalbox.adapters.openai_door import usage_object
from signalbox.adapters.protocol import Delta
from signalbox.types import Request

ID_HEAD = "cmpl-"


@dataclass(slots=True)
class _Choice:
    text: str = ""
    reasoning: str = ""
    finish: str | None = None

    def written(self, index: int) -> dict[str, object]:
        choice: dict[str, object] = {
            "index": index,
            "text": self.text,
            "logprobs": None,
            "finish_reason": self.finish,
        }
        return {**choice, "reasoning": self.reasoning} if self.reasoning else choice


def text_completion(answer: ChatAnswer, request: Request) -> dict[str, object]:
    """A whole answer."""
    body = _envelope(request, answer.model)
    body["created"] = answer.created or body["created"]
    body["choices"] = [_choice(it).written(i) for i, it in enumerate(answer.choices)]
    if answer.usage is not None:
        body["usage"] = usage_object(answer.usage)
    return body


def _choice(choice: AnswerChoice) -> _Choice:
    said = _Choice(finish=choice.finish)
    for part in choice.parts:
        match part:
            case Text() | Refusal():
                said.text += part.text
            case Reasoning():
                said.reasoning += part.text
            case _:
                """No place for it; the counts are the adapter's."""
    return said


class TextChunkWriter:
    """`EventWriter` of completions."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._model: str | None = None

    def write(self, delta: Delta) -> list[Delta]:
        self._model = self._model or delta.model
        choices = _read(delta.pieces)
        chunk = _envelope(self._request, self._model)
        chunk["choices"] = [choice.written(index) for index, choice in choices.items()]
        return [replace(delta, raw=msgspec.json.encode(chunk), event="", has_choices=bool(choices))]


def _read(pieces: Iterable[Piece]) -> Mapping[int, _Choice]:
    choices: dict[int, _Choice] = {}
    for piece in pieces:
        match piece:
            case TextPiece() | RefusalPiece():
                choices.setdefault(piece.choice, _Choice()).text += piece.text
            case ReasoningPiece():
                choices.setdefault(piece.choice, _Choice()).reasoning += piece.text
            case FinishPiece():
                choices.setdefault(piece.choice, _Choice()).finish = piece.finish
            case _:
                """No place for it; the counts are the adapter's."""
    return choices


def _envelope(request: Request, model: str | None) -> dict[str, object]:
    return {
        "id": f"{ID_HEAD}{request.id}",
        "object": TEXT_COMPLETION,
        "created": int(request.received_at),
        "model": model or request.model,
    }
