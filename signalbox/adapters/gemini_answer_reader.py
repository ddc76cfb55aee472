"""What a candidate of Gemini's answer, or of a chunk of one, says in the gateway's own model.

A whole answer is read as the one chunk that it amounts to. Source: Gemini API reference,
"Generating content", `Candidate`; guides "Function calling", "Thought signatures", "Grounding with
Google Search".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from signalbox.adapters.chat import (
    CitationPiece,
    FinishPiece,
    Media,
    MediaKind,
    MediaPiece,
    Native,
    NativePiece,
    Piece,
    ReasoningFormat,
    ReasoningPiece,
    TextPiece,
    ToolCallPiece,
)
from signalbox.adapters.gemini_citations import citations_of
from signalbox.adapters.gemini_wire import BROKEN, Candidate, FunctionCall, Part, finish_word
from signalbox.types import Dialect

_READ_FIELDS = frozenset({"content", "finishReason", "index", "logprobsResult"})
_SOURCES = frozenset({"citationMetadata", "groundingMetadata"})
_KINDS = {"image": MediaKind.IMAGE, "audio": MediaKind.AUDIO, "video": MediaKind.VIDEO}

Json = Mapping[str, Any]


@dataclass(slots=True)
class Reading:
    """What a chunk holds. Counts are characters, as `Delta` has them."""

    text: str = ""
    reasoning_chars: int = 0
    content_chars: int = 0
    opaque: bool = False
    made: list[str] = field(default_factory=list)
    finish: list[tuple[int, str]] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    broken: str | None = None
    """The model's own mistake, in Gemini's words."""


@dataclass(slots=True)
class _Choice:
    """What has passed of one candidate."""

    calls: int = 0
    text: list[str] = field(default_factory=list)
    sources: list[Json] = field(default_factory=list)
    """Where citations are told, chunk by chunk, until the text that they count in is whole."""
    extra: dict[str, Any] = field(default_factory=dict)


class CandidateReader:
    """Reads the candidates of one answer. `salt` tells the answer's calls from those of others."""

    def __init__(self, salt: str, *, told: bool) -> None:
        self._salt = salt
        self._told = told
        self._choices: dict[int, _Choice] = {}

    def read(self, candidates: Iterable[Candidate], raw: Iterable[Json]) -> Reading:
        """`raw`: the same candidates, decoded without a type."""
        reading = Reading()
        for candidate, fields in zip(candidates, raw, strict=True):
            index = candidate.index or 0
            choice = self._choices.setdefault(index, _Choice())
            start = len(reading.pieces)
            self._read_parts(candidate, index, choice, fields, reading)
            if self._told:
                logprobs = _logprobs(fields.get("logprobsResult"))
                if logprobs:
                    _put_logprobs(reading.pieces, start, index, logprobs)
                self._keep_rest(fields, choice)
            self._read_finish(candidate, index, choice, reading)
        return reading

    def _read_parts(
        self, candidate: Candidate, index: int, choice: _Choice, fields: Json, reading: Reading
    ) -> None:
        content = candidate.content
        parts = content.parts if content is not None else None
        if not parts:
            return
        for part, raw in zip(parts, fields["content"]["parts"], strict=True):
            if part.thought_signature:
                reading.made.append(part.thought_signature)
            if part.file_data is not None and part.file_data.file_uri:
                reading.made.append(part.file_data.file_uri)
            said = len(part.text or "")
            if part.text is not None and part.thought:
                reading.content_chars += said
                reading.reasoning_chars += said if not index else 0
                piece: Piece = ReasoningPiece(
                    part.text,
                    index,
                    signature=part.thought_signature,
                    format=ReasoningFormat.GEMINI,
                )
            elif part.text is not None:
                reading.content_chars += said
                reading.text += part.text if not index else ""
                piece = TextPiece(part.text, index, signature=part.thought_signature)
                if self._told:
                    choice.text.append(part.text)
            else:
                piece = self._opaque_piece(part, raw, index, choice, reading)
            if self._told:
                reading.pieces.append(piece)

    def _opaque_piece(
        self, part: Part, raw: Json, index: int, choice: _Choice, reading: Reading
    ) -> Piece:
        reading.opaque = True
        if part.function_call is not None:
            return self._call_piece(part.function_call, part, index, choice, reading)
        if (part.inline_data or part.file_data) and not part.thought:
            reading.content_chars += 1
            return MediaPiece(_media(part), index)
        reading.content_chars += _code_chars(raw)
        name = next((name for name in raw if name not in ("thought", "thoughtSignature")), "")
        return NativePiece(Native(Dialect.GENERATE, raw, meaning=False, name=name), index)

    def _call_piece(
        self, call: FunctionCall, part: Part, index: int, choice: _Choice, reading: Reading
    ) -> Piece:
        name = call.name or ""
        arguments = msgspec.json.encode(call.args or {}).decode()
        reading.content_chars += len(name) + len(arguments)
        place, choice.calls = choice.calls, choice.calls + 1
        return ToolCallPiece(
            place,
            arguments,
            index,
            id=call.id or self._call_id(index, place),
            name=name,
            signature=part.thought_signature,
        )

    def _call_id(self, index: int, place: int) -> str:
        """The same each time that the answer is read, and no other answer's."""
        digest = hashlib.sha256(f"{self._salt}/{index}/{place}".encode("utf-8", "surrogatepass"))
        return f"call_{digest.hexdigest()[:24]}"

    def _keep_rest(self, fields: Json, choice: _Choice) -> None:
        rest = {
            name: value
            for name, value in fields.items()
            if name not in _READ_FIELDS and value is not None
        }
        choice.extra |= rest
        if not _SOURCES.isdisjoint(rest):
            choice.sources.append(rest)

    def _read_finish(
        self, candidate: Candidate, index: int, choice: _Choice, reading: Reading
    ) -> None:
        native = candidate.finish_reason
        if not native:
            return
        if native in BROKEN:
            reading.broken = reading.broken or candidate.finish_message or native
            return
        word = finish_word(native, calls=bool(choice.calls))
        reading.finish.append((index, word))
        if self._told:
            cited = dict.fromkeys(citations_of(choice.sources, choice.text))
            reading.pieces += [CitationPiece(citation, index) for citation in cited]
            choice.sources = []
            reading.pieces.append(
                FinishPiece(word, index, native_finish=native, extra=dict(choice.extra))
            )


def _media(part: Part) -> Media:
    blob, file = part.inline_data, part.file_data
    mime_type = blob.mime_type if blob else (file.mime_type if file else None)
    kind = _KINDS.get((mime_type or "").partition("/")[0], MediaKind.FILE)
    extra = {"thoughtSignature": part.thought_signature} if part.thought_signature else {}
    if blob:
        return Media(kind, mime_type, data=blob.data or "", extra=extra)
    return Media(kind, mime_type, url=(file.file_uri if file else None) or "", extra=extra)


def _code_chars(raw: Json) -> int:
    """Code that the model wrote and ran, and what came of it. Of other parts nothing is known."""
    count = 0
    for name, text in (("executableCode", "code"), ("codeExecutionResult", "output")):
        value = raw.get(name)
        written = value.get(text) if isinstance(value, dict) else None
        count += len(written) if isinstance(written, str) else 0
    return count


# ── log probabilities ─────────────────────────────────────────────────────────────────────────


def _put_logprobs(pieces: list[Piece], start: int, index: int, logprobs: tuple[Json, ...]) -> None:
    """With the first text of the chunk, or alone where it has none."""
    for place in range(start, len(pieces)):
        piece = pieces[place]
        if isinstance(piece, TextPiece):
            pieces[place] = TextPiece(piece.text, index, logprobs, piece.signature)
            return
    pieces.append(TextPiece("", index, logprobs))


def _logprobs(result: object) -> tuple[Json, ...]:
    """`logprobsResult` in OpenAI's form: one entry a token, with its most likely alternatives."""
    if not isinstance(result, dict):
        return ()
    tops = [list(_tokens(_field(each, "candidates"))) for each in _list(result, "topCandidates")]
    chosen = list(_tokens(result.get("chosenCandidates")))
    return tuple(
        {**token, "top_logprobs": tops[place] if place < len(tops) else []}
        for place, token in enumerate(chosen)
    )


def _tokens(candidates: object) -> Iterator[Json]:
    for each in candidates if isinstance(candidates, list) else ():
        if not isinstance(each, dict):
            continue
        token, logprob = each.get("token"), each.get("logProbability")
        if isinstance(token, str):
            yield {
                "token": token,
                "logprob": logprob if isinstance(logprob, int | float) else 0.0,
                "bytes": list(token.encode("utf-8", "surrogatepass")),
            }


def _field(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _list(value: Json, name: str) -> list[object]:
    found = value.get(name)
    return found if isinstance(found, list) else []
