"""Reasoning as chat completions carry it: in requests, answers and chunks alike.

`reasoning_content` (DeepSeek, xAI, z.ai) and `reasoning` (Groq, OpenRouter) are its text.
`reasoning_details` (OpenRouter, "Reasoning Tokens") are blocks `reasoning.text`,
`reasoning.summary` and `reasoning.encrypted`, with `signature`, `data`, `id`, `format` and
`index`. `thinking_blocks` (LiteLLM) are Anthropic's blocks. Mistral has parts of the type
`thinking` in the content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from signalbox.adapters.chat import Reasoning, ReasoningFormat

Json = Mapping[str, Any]

TEXT_FIELDS = ("reasoning_content", "reasoning")
THINKING_PARTS = ("thinking", "redacted_thinking")
_FORMATS = {each.value: each for each in ReasoningFormat}


def read_reasoning(message: Json) -> tuple[Reasoning, ...]:
    """What a message, or the delta of one, holds of reasoning besides its content's parts.

    Many send the same thinking under several names: the blocks go before the plain text, and of
    either kind the first that says something counts. Blocks that are encrypted alone do not stand
    for the text.
    """
    blocks = _blocks(message)
    if any(block.text for block in blocks):
        return blocks
    for name in TEXT_FIELDS:
        text = message.get(name)
        if isinstance(text, str) and text:
            return (Reasoning(text), *blocks)
    return blocks


def thinking_part(part: Json) -> Reasoning | None:
    """A part, or a block, of thinking; None where it says nothing."""
    if part.get("type") == "redacted_thinking":
        return _said(Reasoning(encrypted=_text(part, "data"), format=ReasoningFormat.ANTHROPIC))
    thinking, signature = part.get("thinking"), _text(part, "signature")
    if isinstance(thinking, list):  # Mistral's, which holds parts of its own
        thinking = "".join(_text(inner, "text") or "" for inner in thinking if _is(inner))
    return _said(
        Reasoning(
            thinking if isinstance(thinking, str) else "",
            signature=signature,
            format=None if signature is None else ReasoningFormat.ANTHROPIC,
        )
    )


def reasoning_details(blocks: Iterable[Reasoning]) -> list[dict[str, Any]]:
    """OpenRouter's form of them. The two halves of one block share an `index`."""
    told: list[dict[str, Any]] = []
    for index, block in enumerate(blocks):
        told += details_of(block, index)
    return told


def details_of(block: Reasoning, index: int) -> list[dict[str, Any]]:
    shared: dict[str, Any] = {} if block.id is None else {"id": block.id}
    if block.format is not None:
        shared["format"] = block.format.value
    shared["index"] = index
    told: list[dict[str, Any]] = []
    if block.summary:
        if block.text or block.encrypted is None:
            told.append({"type": "reasoning.summary", "summary": block.text, **shared})
    elif block.text or block.encrypted is None:
        told.append({"type": "reasoning.text", "text": block.text, **shared})
    if block.signature is not None:
        signed = told[0] if told else {"type": "reasoning.text", "text": "", **shared}
        signed["signature"] = block.signature
        told = [signed]
    if block.encrypted is not None:
        told.append({"type": "reasoning.encrypted", "data": block.encrypted, **shared})
    return told


def says_more_than_text(block: Reasoning) -> bool:
    return bool(
        block.signature or block.encrypted or block.id or block.format is not None or block.summary
    )


def _blocks(message: Json) -> tuple[Reasoning, ...]:
    details = message.get("reasoning_details")
    if isinstance(details, list) and details:
        told = tuple(_joined(_detail(each) for each in details if _is(each)))
        if told:
            return told
    # Some clients give Anthropic's blocks back under the name that others have for the text.
    for name in ("thinking_blocks", "reasoning_content"):
        blocks = message.get(name)
        if isinstance(blocks, list) and blocks:
            read = (thinking_part(each) for each in blocks if _is(each))
            return tuple(block for block in read if block is not None)
    return ()


_Detail = tuple[Reasoning, Any]
"""With its `index`."""


def _detail(detail: Json) -> _Detail | None:
    kind = detail.get("type")
    format = detail.get("format")
    block = Reasoning(
        id=_text(detail, "id") or None,
        format=_FORMATS.get(format) if isinstance(format, str) else None,
    )
    if kind == "reasoning.encrypted":
        read = replace(block, encrypted=_text(detail, "data"))
    elif kind == "reasoning.summary":
        read = replace(block, summary=True, text=_text(detail, "summary") or "")
    else:
        read = replace(block, text=_text(detail, "text") or "")
    read = replace(read, signature=_text(detail, "signature") or None)
    return None if _said(read) is None else (read, detail.get("index"))


def _joined(details: Iterable[_Detail | None]) -> Iterator[Reasoning]:
    """Blocks; what is encrypted belongs to the text or summary before it that has its index."""
    before: _Detail | None = None
    for detail in details:
        if detail is None:
            continue
        block, index = detail
        if before is not None:
            known, place = before
            same = isinstance(index, int) and index == place and known.id == block.id
            if same and known.encrypted is None and block.encrypted is not None:
                yield replace(known, encrypted=block.encrypted)
                before = None
                continue
            yield known
        before = detail
    if before is not None:
        yield before[0]


def _said(block: Reasoning) -> Reasoning | None:
    return block if block.text or block.signature or block.encrypted else None


def _is(value: object) -> bool:
    return isinstance(value, dict)


def _text(holder: Json, name: str) -> str | None:
    value = holder.get(name)
    return value if isinstance(value, str) else None
