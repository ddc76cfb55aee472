"""A stream's pieces, put together into the answer that they are."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    CitationPiece,
    FinishPiece,
    Json,
    Media,
    MediaKind,
    MediaPiece,
    NativePiece,
    Part,
    Piece,
    Reasoning,
    ReasoningPiece,
    Refusal,
    RefusalPiece,
    Text,
    TextPiece,
    ToolCall,
    ToolCallPiece,
)
from signalbox.adapters.protocol import Delta
from signalbox.types import Usage


class Folder:
    """Takes the deltas of one attempt's stream, in their order.

    A part ends where a piece of another kind follows, or one that cannot belong to it. Tool calls
    stand where they began, however their pieces are mixed. Choices are in the order of their
    indexes. Of what is told several times (usage, the model) the last counts; the id is the first.
    """

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None
        self._id: str | None = None
        self._model: str | None = None

    def add(self, delta: Delta) -> None:
        self._id = self._id or delta.id
        self._model = delta.model or self._model
        self._usage = delta.usage or self._usage
        for piece in delta.pieces:
            self._choices.setdefault(piece.choice, _Choice()).add(piece)

    def answer(self) -> ChatAnswer:
        """What has come so far; it may be asked for at any time."""
        return ChatAnswer(
            choices=tuple(choice.told() for _, choice in sorted(self._choices.items())),
            usage=self._usage,
            id=self._id,
            model=self._model,
        )


@dataclass(slots=True)
class _Growing:
    """A part and the fragments of its text."""

    part: Part
    texts: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    """Of audio: its base64."""
    closed: bool = False

    def whole(self) -> Part:
        text = "".join(self.texts)
        match self.part:
            case Text() | Reasoning() | Refusal() as part:
                return replace(part, text=text)
            case ToolCall() as call:
                return replace(call, arguments=text if text or call.custom else "{}")
            case Media(kind=MediaKind.AUDIO) as media:
                return replace(media, data="".join(self.data) or None, transcript=text or None)
            case part:
                return part


@dataclass(slots=True)
class _Choice:
    parts: list[_Growing] = field(default_factory=list)
    calls: dict[int, _Growing] = field(default_factory=dict)
    logprobs: list[Json] | None = None
    finish: FinishPiece | None = None

    def told(self) -> AnswerChoice:
        finish = self.finish
        return AnswerChoice(
            parts=tuple(growing.whole() for growing in self.parts),
            finish=None if finish is None else finish.finish,
            native_finish=None if finish is None else finish.native_finish,
            stop_sequence=None if finish is None else finish.stop_sequence,
            logprobs=None if self.logprobs is None else tuple(self.logprobs),
            extra={} if finish is None else finish.extra,
        )

    def add(self, piece: Piece) -> None:
        match piece:
            case TextPiece():
                self._text(piece)
            case CitationPiece():
                growing = self._last_text()
                assert isinstance(growing.part, Text)
                citations = (*growing.part.citations, piece.citation)
                growing.part = replace(growing.part, citations=citations)
            case ReasoningPiece():
                self._reasoning(piece)
            case ToolCallPiece():
                self._call(piece)
            case RefusalPiece():
                growing = self._last(Refusal) or self._new(Refusal(""))
                growing.texts.append(piece.text)
            case MediaPiece():
                self._media(piece.media)
            case NativePiece():
                self._new(piece.native)
            case FinishPiece():
                self.finish = piece

    def _new(self, part: Part) -> _Growing:
        growing = _Growing(part)
        self.parts.append(growing)
        return growing

    def _last(self, kind: type[Part]) -> _Growing | None:
        """The last part, where it is of this kind and may grow."""
        last = self.parts[-1] if self.parts else None
        if last is None or last.closed or not isinstance(last.part, kind):
            return None
        return last

    def _last_text(self) -> _Growing:
        texts = (it for it in reversed(self.parts) if isinstance(it.part, Text))
        return next(texts, None) or self._new(Text(""))

    def _text(self, piece: TextPiece) -> None:
        if piece.logprobs is not None:
            self.logprobs = [*(self.logprobs or ()), *piece.logprobs]
        if not piece.text and piece.signature is None:
            return
        growing = self._last(Text) or self._new(Text(""))
        growing.texts.append(piece.text)
        if piece.signature is not None:
            assert isinstance(growing.part, Text)
            growing.part = replace(growing.part, signature=piece.signature)
            growing.closed = True

    def _reasoning(self, piece: ReasoningPiece) -> None:
        growing = self._last(Reasoning)
        if growing is not None and not _continues(growing.part, piece):
            growing = None
        growing = growing or self._new(Reasoning(summary=piece.summary))
        assert isinstance(growing.part, Reasoning)
        growing.texts.append(piece.text)
        growing.part = replace(
            growing.part,
            signature=piece.signature or growing.part.signature,
            encrypted=piece.encrypted or growing.part.encrypted,
            id=piece.id or growing.part.id,
            format=piece.format or growing.part.format,
        )
        growing.closed = piece.closes

    def _call(self, piece: ToolCallPiece) -> None:
        growing = self.calls.get(piece.index)
        if growing is None:
            call = ToolCall(piece.id or "", piece.name or "", "", custom=piece.custom)
            growing = self.calls[piece.index] = self._new(call)
        call = growing.part  # type: ignore[assignment]
        growing.part = replace(call, signature=piece.signature or call.signature)
        growing.texts.append(piece.arguments)

    def _media(self, media: Media) -> None:
        growing = self._last(Media) if media.kind is MediaKind.AUDIO else None
        if growing is None or not isinstance(growing.part, Media):
            growing = self._new(media)
        elif growing.part.kind is MediaKind.AUDIO:
            known = growing.part
            growing.part = replace(
                known, id=media.id or known.id, mime_type=media.mime_type or known.mime_type
            )
        else:
            growing = self._new(media)
        growing.texts.append(media.transcript or "")
        growing.data.append(media.data or "")


def _continues(part: Part, piece: ReasoningPiece) -> bool:
    """Whether the piece may be more of the same block of reasoning."""
    assert isinstance(part, Reasoning)
    told = (piece.id, part.id), (piece.encrypted, part.encrypted), (piece.signature, part.signature)
    return part.summary == piece.summary and all(
        new is None or old is None or new == old for new, old in told
    )
