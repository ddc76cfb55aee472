"""Chat completions and their chunks → the gateway's own model.

What providers add to OpenAI's format is read too: reasoning under all of its names, content as an
array of parts (Mistral), pictures (OpenRouter), citations and search results at the top
(Perplexity), tool calls that come whole, without `index` or with the same one for all (Mistral,
xAI, Google), finish reasons in words of their own. A whole answer is read as the one chunk that it
amounts to.

What is given in here has the shape of `openai_wire.Envelope`; of everything else in it any value is
borne.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    Citation,
    CitationPiece,
    FinishPiece,
    Media,
    MediaKind,
    MediaPiece,
    Native,
    NativePiece,
    Piece,
    Reasoning,
    ReasoningPiece,
    Refusal,
    RefusalPiece,
    Text,
    TextPiece,
    ToolCallPiece,
)
from signalbox.adapters.chat_folding import Folder
from signalbox.adapters.openai_message_reader import read_citations, thought_signature
from signalbox.adapters.openai_part_reader import read_media, read_part
from signalbox.adapters.openai_thinking import read_reasoning
from signalbox.adapters.protocol import Delta
from signalbox.types import Usage

Json = Mapping[str, Any]

_FINISHES = {
    "eos": "stop",
    "function_call": "tool_calls",
    "model_length": "length",
    "max_tokens": "length",
    "error": "error",
}
"""Together's, OpenAI's deprecated and Mistral's words for OpenAI's."""
_KNOWN_FINISHES = frozenset({"stop", "length", "tool_calls", "content_filter", "error"})
_OF_CHOICE = frozenset(
    {
        "index",
        "delta",
        "message",
        "finish_reason",
        "native_finish_reason",
        "logprobs",
        "stop_reason",
        "text",
    }
)


def read_completion(fields: Json, usage: Usage | None, trace_id: str) -> ChatAnswer:
    """A whole answer. `trace_id`: ids of tool calls that have none are made of it."""
    choices = []
    citations = tuple(_top_citations(fields))
    for place, choice in enumerate(fields["choices"]):
        whole = {**choice, "index": 0, "delta": choice.get("message")}
        folder = Folder()
        reader = PieceReader(trace_id, place)
        folder.add(Delta(raw=b"", pieces=reader.read({"choices": [whole]})))
        if citations and not place:
            folder.add(Delta(raw=b"", pieces=tuple(map(CitationPiece, citations))))
        told = folder.answer().choices
        choices.append(told[0] if told else AnswerChoice((), None))
    created, tier = fields.get("created"), fields.get("service_tier")
    return ChatAnswer(
        choices=tuple(choices),
        usage=usage,
        id=_text(fields, "id"),
        model=_text(fields, "model"),
        created=created if isinstance(created, int) and not isinstance(created, bool) else None,
        service_tier=tier if isinstance(tier, str) else None,
    )


class PieceReader:
    """Reads the chunks of one stream, in their order."""

    def __init__(self, trace_id: str, first_choice: int = 0) -> None:
        """`first_choice`: the place of choice 0 among the answer's, for ids that are made."""
        self._id_head = f"call_{trace_id.replace('-', '')}"
        self._first_choice = first_choice
        self._choices: dict[int, _Choice] = {}
        self._cited: set[str] = set()

    def read(self, fields: Json) -> tuple[Piece, ...]:
        pieces: list[Piece] = []
        for choice in fields.get("choices") or ():
            index = choice.get("index") or 0
            state = self._choices.get(index)
            if state is None:
                head = f"{self._id_head}_{self._first_choice + index}"
                state = self._choices[index] = _Choice(index, head)
            pieces += state.read(choice)
        if pieces:
            # Perplexity repeats them in every chunk.
            for citation in _top_citations(fields):
                if citation.url is not None and citation.url not in self._cited:
                    self._cited.add(citation.url)
                    pieces.append(CitationPiece(citation))
        return tuple(pieces)


def model_of(fields: Json) -> str | None:
    return _text(fields, "model") or None


def _top_citations(fields: Json) -> Iterator[Citation]:
    """Perplexity's `search_results`, or `citations`, which are their URLs."""
    results = fields.get("search_results") or fields.get("citations")
    for result in results if isinstance(results, list) else ():
        if isinstance(result, str) and result:
            yield Citation(url=result)
        elif isinstance(result, dict) and _text(result, "url"):
            yield Citation(
                url=result["url"], title=_text(result, "title"), quote=_text(result, "snippet")
            )


@dataclass(slots=True)
class _Call:
    """A tool call that has begun."""

    index: int
    id: str
    name: str = ""
    held: str = ""
    """Arguments that came before the name."""


@dataclass(slots=True)
class _Choice:
    index: int
    id_head: str
    calls: list[_Call] = field(default_factory=list)
    at: dict[int, _Call] = field(default_factory=dict)
    """By the provider's index: the last call that came under it."""
    block: Any = None
    """The `index` of the last block of reasoning."""
    summary: bool = False

    def read(self, choice: Json) -> Iterator[Piece]:
        delta = choice.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        logprobs = _logprobs(choice)
        yield from self._reasoning(delta)
        for piece in self._content(delta):
            if logprobs is not None and isinstance(piece, TextPiece):
                piece, logprobs = replace(piece, logprobs=logprobs), None  # noqa: PLW2901
            yield piece
        if logprobs is not None:
            yield TextPiece("", self.index, logprobs=logprobs)
        signature = thought_signature(delta)
        if signature is not None:
            yield TextPiece("", self.index, signature=signature)
        for citation in read_citations(delta.get("annotations")):
            yield CitationPiece(citation, self.index)
        yield from self._media(delta)
        if _text(delta, "refusal"):
            yield RefusalPiece(delta["refusal"], self.index)
        yield from self._tool_calls(delta)
        finish = choice.get("finish_reason")
        if isinstance(finish, str) and finish:
            yield from self._nameless()
            yield self._finish(choice, finish)

    # ── text and reasoning ────────────────────────────────────────────────────────────────────

    def _content(self, delta: Json) -> Iterator[Piece]:
        content = delta.get("content")
        if isinstance(content, str):
            if content:
                yield TextPiece(content, self.index)
            return
        for part in content or ():
            yield from self._part(part)

    def _part(self, part: Json) -> Iterator[Piece]:
        kind = part.get("type")
        if not isinstance(kind, str):
            kind = next((it for it in ("text", "thinking", "refusal") if part.get(it)), "")
        match read_part({**part, "type": kind}):
            case Text(text=text):
                yield TextPiece(text, self.index)
            case Refusal(text=text):
                yield RefusalPiece(text, self.index)
            case Reasoning() as block:
                yield self._block(block)
            case Media() as media:
                yield MediaPiece(media, self.index)
            case Native() as native if kind:
                yield NativePiece(native, self.index)

    def _reasoning(self, delta: Json) -> Iterator[Piece]:
        details = delta.get("reasoning_details")
        for block in read_reasoning(delta):
            index = self._block_index(details, block)
            if index is not None and self.block is not None and index != self.block:
                yield ReasoningPiece("", self.index, summary=self.summary, closes=True)
            self.block = self.block if index is None else index
            self.summary = block.summary
            yield self._block(block)

    def _block_index(self, details: Any, block: Reasoning) -> int | None:
        """The provider's number for it, by which a new block can be told from more of the last."""
        for detail in details if isinstance(details, list) else ():
            if not isinstance(detail, dict) or not isinstance(detail.get("index"), int):
                continue
            said = block.text or block.encrypted or block.signature
            if said in (detail.get(it) for it in ("text", "summary", "data", "signature")):
                index: int = detail["index"]
                return index
        return None

    def _block(self, block: Reasoning) -> ReasoningPiece:
        return ReasoningPiece(
            block.text,
            self.index,
            summary=block.summary,
            signature=block.signature,
            encrypted=block.encrypted,
            id=block.id,
            format=block.format,
        )

    def _media(self, delta: Json) -> Iterator[Piece]:
        images = delta.get("images")
        for image in images if isinstance(images, list) else ():
            if isinstance(image, dict):
                media = read_media({**image, "type": "image_url"})
                if media is not None:
                    yield MediaPiece(replace(media, extra={}), self.index)
        audio = delta.get("audio")
        if isinstance(audio, dict):
            data, transcript, id = (
                _text(audio, name) or None for name in ("data", "transcript", "id")
            )
            if data or transcript or id:
                media = Media(MediaKind.AUDIO, data=data, transcript=transcript, id=id)
                yield MediaPiece(media, self.index)

    # ── tool calls ────────────────────────────────────────────────────────────────────────────

    def _tool_calls(self, delta: Json) -> Iterator[Piece]:
        for call in delta.get("tool_calls") or ():
            custom = isinstance(call.get("custom"), dict)
            function = call.get("custom") if custom else call.get("function")
            function = function if isinstance(function, dict) else {}
            index = call.get("index")
            yield from self._call(
                index if isinstance(index, int) else None,
                _text(call, "id") or "",
                _text(function, "name") or "",
                _text(function, "input" if custom else "arguments") or "",
                custom=custom,
                signature=thought_signature(call),
            )
        function = delta.get("function_call")
        if isinstance(function, dict):
            name, arguments = _text(function, "name") or "", _text(function, "arguments") or ""
            yield from self._call(0, "", name, arguments, custom=False, signature=None)

    def _call(
        self,
        index: int | None,
        id: str,
        name: str,
        arguments: str,
        *,
        custom: bool,
        signature: str | None,
    ) -> Iterator[Piece]:
        known = self._known(index, id, name)
        if known is None:
            place = len(self.calls)
            known = _Call(place, id or f"{self.id_head}_{place}")
            self.calls.append(known)
        if index is not None:
            self.at[index] = known
        begins = not known.name
        if begins and not name:
            known.held += arguments
            return
        if not begins and not arguments and signature is None:
            return
        arguments, known.held = known.held + arguments, ""
        known.name = known.name or name
        yield ToolCallPiece(
            known.index,
            arguments,
            self.index,
            id=known.id if begins else None,
            name=name if begins else None,
            custom=custom,
            signature=signature,
        )

    def _known(self, index: int | None, id: str, name: str) -> _Call | None:
        """The call that this is more of; None for a new one.

        An id says it. Without one the index does, unless another name comes under it; and without
        either what has no name is more of the last call.
        """
        if id:
            for call in self.calls:
                if call.id == id:
                    return call
            # A new id under a known index: some servers make one up for every chunk.
            more = self.at.get(index) if index is not None and not name else None
            return more
        if index is not None:
            at = self.at.get(index)
            return at if (at is not None and name in ("", at.name)) or _waits(at) else None
        return self.calls[-1] if self.calls and not name else None

    def _nameless(self) -> Iterator[Piece]:
        """Calls whose name never came: their arguments are told all the same."""
        for call in self.calls:
            if call.held:
                call.name, arguments, call.held = " ", call.held, ""
                yield ToolCallPiece(call.index, arguments, self.index, id=call.id, name="")

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def _finish(self, choice: Json, native: str) -> FinishPiece:
        finish = _FINISHES.get(native, native)
        if finish not in _KNOWN_FINISHES:
            finish = "stop"
        if finish == "stop" and self.calls:
            finish = "tool_calls"  # Google's and other servers say `stop` for both
        stop = choice.get("stop_reason")
        return FinishPiece(
            finish,
            self.index,
            native_finish=_text(choice, "native_finish_reason") or native,
            stop_sequence=stop if isinstance(stop, str) and stop else None,
            extra={n: it for n, it in choice.items() if n not in _OF_CHOICE and it is not None},
        )


def _waits(call: _Call | None) -> bool:
    """Whether the call's name is still to come."""
    return call is not None and not call.name


def _logprobs(choice: Json) -> tuple[Json, ...] | None:
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return None
    return tuple(each for each in content if isinstance(each, dict)) or None


def _text(holder: Json, name: str) -> str | None:
    value = holder.get(name)
    return value if isinstance(value, str) else None
