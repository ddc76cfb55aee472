"""From the body of a Messages request to the gateway's own model.

What it is given has passed `anthropic_body.read_messages_body`. Strings and lists of one text block
are the same here, and so are a null and an absent field. Format: Anthropic API reference, "Create a
Message".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import msgspec

from signalbox.adapters.anthropic_body import CUSTOM, json_format
from signalbox.adapters.chat import (
    ChatRequest,
    Citation,
    JsonSchema,
    Media,
    MediaKind,
    Message,
    Native,
    Part,
    Reasoning,
    ReasoningFormat,
    ReasoningWish,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from signalbox.adapters.door import Body
from signalbox.types import Dialect

Block = Mapping[str, Any]

DIALECT = Dialect.MESSAGES
TIERS = {"standard_only": "default"}
"""Anthropic's word for a service tier → OpenAI's; others are the same."""

_READ = frozenset(
    {
        *("model", "messages", "system", "stream", "max_tokens", "temperature", "top_p", "top_k"),
        *("stop_sequences", "tools", "tool_choice", "thinking", "output_config", "output_format"),
        *("metadata", "service_tier", "cache_control"),
    }
)
_NATIVE = {
    "mcp_servers": True,
    "container": True,
    "inference_geo": True,
    "context_management": False,
}
"""Known fields that no other dialect has → whether the request means something else without them.
`context_management` only tells when old turns are to be forgotten."""
_OF_TOOLS = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})
_OF_OUTPUT = frozenset({"effort", "format"})


def read_messages_request(body: Body) -> ChatRequest:
    """The request in the gateway's model."""
    choice = body.get("tool_choice") or {}
    metadata = dict(body.get("metadata") or {})
    user = metadata.pop("user_id", None)
    tier = body.get("service_tier")
    parallel = choice.get("disable_parallel_tool_use")
    return ChatRequest(
        dialect=DIALECT,
        model=body["model"],
        messages=tuple(_messages(body)),
        stream=body.get("stream") is True,
        max_tokens=body.get("max_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        top_k=body.get("top_k"),
        stop=tuple(body.get("stop_sequences") or ()),
        tools=tuple(_tool(tool) for tool in body.get("tools") or ()),
        tool_choice=_tool_choice(choice),
        parallel_tool_calls=None if parallel is None else not parallel,
        response_format=_response_format(body),
        reasoning=_reasoning_wish(body),
        user=user,
        metadata=metadata or None,
        service_tier=TIERS.get(tier, tier) if tier is not None else None,
        cache=body.get("cache_control"),
        unknown=dict(_unknown(body)),
        native=tuple(_natives(body)),
    )


# ── messages ──────────────────────────────────────────────────────────────────────────────────


def _messages(body: Body) -> Iterator[Message]:
    system = tuple(_parts(body.get("system"), Role.SYSTEM))
    if system:
        yield Message(Role.SYSTEM, system)
    for message in body["messages"]:
        role = Role(message["role"])
        parts = _parts(message["content"], role)
        # In this dialect the results of tools stand in a user's message, beside its words.
        runs = groupby(parts, key=lambda part: isinstance(part, ToolResult))
        told = [Message(Role.TOOL if results else role, tuple(run)) for results, run in runs]
        yield from told or [Message(role, ())]


def _parts(content: object, role: Role) -> Iterator[Part]:
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    for block in content if isinstance(content, list) else ():
        yield _part(block, role)


def _part(block: Block, role: Role) -> Part:
    cache = block.get("cache_control")
    match block["type"]:
        case "text":
            citations = tuple(map(citation_of, block.get("citations") or ()))
            return Text(block["text"], citations, cache)
        case "image":
            return _media(MediaKind.IMAGE, block) or _native(block, role)
        case "document":
            return _media(MediaKind.FILE, block) or _native(block, role)
        case "tool_use":
            arguments = msgspec.json.encode(block["input"]).decode()
            return ToolCall(block["id"], block["name"], arguments, cache=cache)
        case "tool_result":
            return ToolResult(
                block["tool_use_id"],
                tuple(_result_content(block.get("content"))),
                is_error=block.get("is_error"),
                cache=cache,
            )
        case "thinking":
            signature = block.get("signature") or None
            return Reasoning(
                block["thinking"], signature=signature, format=ReasoningFormat.ANTHROPIC
            )
        case "redacted_thinking":
            return Reasoning(encrypted=block["data"], format=ReasoningFormat.ANTHROPIC)
    return _native(block, role)


def _native(block: Block, role: Role) -> Native:
    """What a server tool did in an earlier turn may be left out: the answer to it stands there.
    What the client itself gives may not."""
    return Native(DIALECT, block, role is not Role.ASSISTANT, block["type"])


def citation_of(native: Block) -> Citation:
    """A citation of a text block. Places in its source are told by `native` alone."""
    return Citation(
        url=_text(native.get("url")),
        title=_text(native.get("title")) or _text(native.get("document_title")),
        quote=_text(native.get("cited_text")),
        dialect=DIALECT,
        native=native,
    )


def _media(kind: MediaKind, block: Block) -> Media | None:
    """The picture or document; None where its source is in a form that only this dialect has."""
    source = block["source"]
    mime_type = source.get("media_type")
    extra = {n: v for n, v in block.items() if n not in ("type", "source", "cache_control")}
    data = url = text = file_id = None
    match source["type"]:
        case "base64":
            data = source["data"]
        case "url" if source["url"].startswith("data:"):
            head, _, data = source["url"].partition(",")
            mime_type = head.removeprefix("data:").partition(";")[0] or None
        case "url":
            url = source["url"]
        case "text" if kind is MediaKind.FILE:
            text, mime_type = source["data"], mime_type or "text/plain"
        case "content" if kind is MediaKind.FILE and _is_text(source["content"]):
            text, mime_type = _joined(source["content"]), "text/plain"
            extra["source"] = source
        case "file":
            file_id = source["file_id"]
        case _:
            return None
    if kind is MediaKind.FILE and mime_type is None and file_id is None:
        mime_type = "application/pdf"
    return Media(
        kind,
        mime_type,
        data=data,
        url=url,
        text=text,
        file_id=file_id,
        name=block.get("title"),
        cache=block.get("cache_control"),
        extra=extra,
    )


def _is_text(content: object) -> bool:
    """Whether a document's blocks are all text."""
    return isinstance(content, str) or (
        isinstance(content, list) and all(block["type"] == "text" for block in content)
    )


def _joined(content: str | list[Block]) -> str:
    return content if isinstance(content, str) else "\n\n".join(b["text"] for b in content)


def _result_content(content: object) -> Iterable[Text | Media]:
    """What a tool gave. A block that has no place here is told as the JSON that it is."""
    if isinstance(content, str):
        yield Text(content)
        return
    for block in content if isinstance(content, list) else ():
        part = _part(block, Role.TOOL)
        if isinstance(part, Text | Media):
            yield part
        else:
            yield Text(msgspec.json.encode(block).decode())


# ── tools and settings ────────────────────────────────────────────────────────────────────────


def _tool(tool: Block) -> Tool | Native:
    if tool.get("type") not in CUSTOM:
        return Native(DIALECT, tool, name=tool["type"])
    return Tool(
        tool["name"],
        tool.get("description"),
        tool["input_schema"],
        tool.get("strict"),
        cache=tool.get("cache_control"),
    )


def _tool_choice(choice: Block) -> ToolChoice | None:
    match choice.get("type"):
        case "auto":
            return ToolChoice("auto")
        case "none":
            return ToolChoice("none")
        case "any":
            return ToolChoice("required")
        case "tool":
            return ToolChoice("required", name=choice["name"])
    return None


def _response_format(body: Body) -> JsonSchema | None:
    wanted = json_format(body)
    if wanted is None or wanted["type"] != "json_schema":
        return None
    return JsonSchema(wanted["schema"])


def _reasoning_wish(body: Body) -> ReasoningWish | None:
    thinking = body.get("thinking") or {}
    effort = (body.get("output_config") or {}).get("effort")
    enabled = {"enabled": True, "adaptive": True, "disabled": False}.get(thinking.get("type", ""))
    if enabled is None and effort is None:
        return None
    display = thinking.get("display")
    return ReasoningWish(
        effort=effort,
        max_tokens=thinking.get("budget_tokens") if enabled else None,
        enabled=enabled,
        exclude=None if display is None else display == "omitted",
    )


def _unknown(body: Body) -> Iterator[tuple[str, Any]]:
    """Fields that are left to the provider, also inside of objects that are read."""
    for name, value in body.items():
        if name not in _READ and name not in _NATIVE and value is not None:
            yield name, value
    for name, value in (body.get("output_config") or {}).items():
        if name not in _OF_OUTPUT:
            yield f"output_config.{name}", value


def _natives(body: Body) -> Iterator[Native]:
    for name, meaning in _NATIVE.items():
        if body.get(name):
            yield Native(DIALECT, body[name], meaning, name)
    wanted = json_format(body)
    if wanted is not None and wanted["type"] != "json_schema":
        yield Native(DIALECT, wanted, True, "output_config.format")
    thinking = body.get("thinking")
    if thinking is not None and thinking["type"] not in ("enabled", "adaptive", "disabled"):
        yield Native(DIALECT, thinking, False, "thinking")
    for index, tool in enumerate(body.get("tools") or ()):
        if tool.get("type") in CUSTOM:
            for name in sorted(tool.keys() - _OF_TOOLS):
                yield Native(DIALECT, tool[name], False, f"tools[{index}].{name}")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
