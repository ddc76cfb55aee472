"""Messages in the form of Bedrock's Converse, made of those that Anthropic's API has.

Both want instructions apart, turns that alternate, and all results of a turn's calls at the start
of the next. Source: Amazon Bedrock API reference, `ContentBlock`, `DocumentBlock`, `ImageBlock`,
`VideoBlock`, `ToolResultBlock`, `ReasoningContentBlock`, `CachePointBlock`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from signalbox.adapters.anthropic_turns import Conversation, write_conversation
from signalbox.adapters.chat import ChatRequest, Media, MediaKind, Native, Part
from signalbox.types import Dialect

Block = dict[str, Any]

_OWN = "converse"
"""The type of a block that is in Converse's form already."""
_DOCUMENTS: Mapping[str, str] = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/markdown": "md",
}
_VIDEOS: Mapping[str, str] = {
    "video/x-matroska": "mkv",
    "video/quicktime": "mov",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9\-()\[\] ]+")
_LONGEST_NAME = 200


@dataclass(slots=True)
class Turns:
    system: list[Block] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    dropped: dict[str, None] = field(default_factory=dict)
    unsupported: dict[str, None] = field(default_factory=dict)
    begun: bool = False
    """They end in the assistant's words."""
    unsigned_loop: bool = False
    """See `Conversation.unsigned_loop`."""
    has_tools: bool = False
    """Calls or their results are among them."""


def write_turns(form: ChatRequest, *, thinks: bool) -> Turns:
    """`thinks`: the model takes its signed thinking back."""
    messages = tuple(
        replace(message, parts=tuple(map(_carried, message.parts))) for message in form.messages
    )
    conversation = write_conversation(replace(form, messages=messages), thinks=thinks)
    turns = Turns(dropped=conversation.dropped, unsupported=conversation.unsupported)
    turns.begun, turns.unsigned_loop = conversation.begun, conversation.unsigned_loop
    writer = _Writer(turns)
    turns.system = list(writer.blocks(conversation.system))
    turns.messages = _messages(conversation, writer)
    return turns


def _messages(conversation: Conversation, writer: _Writer) -> list[dict[str, Any]]:
    written = []
    for turn in conversation.turns:
        content = list(writer.blocks(turn["content"]))
        documents = [block["document"]["name"] for block in content if "document" in block]
        if documents and not any("text" in block for block in content):
            content.append({"text": documents[0]})  # a document needs a text beside it
        written.append({"role": turn["role"], "content": content})
    return written


def _carried(part: Part) -> Part:
    """Documents and videos that Anthropic's form has no place for, in Converse's."""
    if not isinstance(part, Media) or part.data is None:
        return part
    mime = (part.mime_type or "").partition(";")[0].strip().lower()
    block: Block | None = None
    if part.kind is MediaKind.VIDEO and mime in _VIDEOS:
        block = {"video": {"format": _VIDEOS[mime], "source": {"bytes": part.data}}}
    elif part.kind is MediaKind.FILE and mime in _DOCUMENTS:
        title = part.name or ""
        block = {"document": {"format": _DOCUMENTS[mime], "name": title}}
        block["document"]["source"] = {"bytes": part.data}
    if block is None:
        return part
    carried = {**block, "type": _OWN}
    if part.cache is not None:
        carried["cache_control"] = dict(part.cache)
    return Native(Dialect.MESSAGES, carried)


@dataclass(slots=True)
class _Writer:
    turns: Turns
    documents: int = 0

    def blocks(self, blocks: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
        for block in blocks:
            written = self._block(block)
            if written is None:
                self.turns.unsupported["messages"] = None
                continue
            yield written
            cache = block.get("cache_control")
            if isinstance(cache, dict):
                yield cache_point(cache)

    def _block(self, block: Mapping[str, Any]) -> Block | None:
        """None for what there is no form for."""
        match block.get("type"):
            case "text":
                return {"text": block["text"]}
            case "image":
                return _image(block["source"])
            case "document":
                return self._document(block)
            case "tool_use":
                self.turns.has_tools = True
                call = {"toolUseId": block["id"], "name": block["name"], "input": block["input"]}
                return {"toolUse": call}
            case "tool_result":
                self.turns.has_tools = True
                return self._result(block)
            case "thinking":
                said = {"text": block["thinking"], "signature": block["signature"]}
                return {"reasoningContent": {"reasoningText": said}}
            case "redacted_thinking":
                return {"reasoningContent": {"redactedContent": block["data"]}}
            case "converse" if "video" in block:
                return {"video": block["video"]}
            case "converse" if "document" in block:
                name = self._name(block["document"]["name"])
                return {"document": {**block["document"], "name": name}}
        return None

    def _document(self, block: Mapping[str, Any]) -> Block | None:
        source = block["source"]
        if source.get("type") == "text":
            data = base64.b64encode(str(source.get("data", "")).encode("utf-8", "replace")).decode()
            kind = "txt"
        elif source.get("type") == "base64":
            data, kind = source["data"], "pdf"
        else:
            return None
        name = self._name(block.get("title") or "")
        return {"document": {"format": kind, "name": name, "source": {"bytes": data}}}

    def _name(self, title: str) -> str:
        """Names are of few characters, and each is there once."""
        self.documents += 1
        name = " ".join(_NOT_IN_NAMES.sub(" ", title).split())[: _LONGEST_NAME - 10]
        return f"{name or 'document'} {self.documents}"

    def _result(self, block: Mapping[str, Any]) -> Block:
        content = list(self.blocks(block.get("content") or ()))
        points = [each for each in content if "cachePoint" in each]
        if points:
            self.turns.dropped["cache_control"] = None  # a result holds none
        content = [each for each in content if "cachePoint" not in each]
        result: Block = {"toolUseId": block["tool_use_id"], "content": content or [{"text": "-"}]}
        if block.get("is_error") is not None:
            result["status"] = "error" if block["is_error"] else "success"
        return {"toolResult": result}


def cache_point(cache: Mapping[str, Any]) -> Block:
    """Anthropic's `cache_control`: the prompt up to here is to be cached."""
    point: Block = {"type": "default"}
    if cache.get("ttl") in ("5m", "1h"):
        point["ttl"] = cache["ttl"]
    return {"cachePoint": point}


def _image(source: Mapping[str, Any]) -> Block | None:
    if source.get("type") != "base64":
        return None  # it fetches nothing but from S3
    kind = str(source["media_type"]).removeprefix("image/")
    return {"image": {"format": kind, "source": {"bytes": source["data"]}}}
