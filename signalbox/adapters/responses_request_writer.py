"""The gateway's own model → a request of the Responses API.

Nothing is stored at the provider, and the reasoning comes back encrypted, so that a loop of tool
calls goes on without it (OpenAI, "Reasoning models": encrypted reasoning items).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from signalbox.adapters.chat import (
    ChatRequest,
    JsonObject,
    JsonSchema,
    Media,
    MediaKind,
    Message,
    Native,
    Part,
    Reasoning,
    ReasoningWish,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from signalbox.adapters.responses_reasoning import is_own
from signalbox.adapters.tool_ids import ToolIds
from signalbox.types import Dialect

CALL_IDS = ToolIds("(?s:.{1,64})", 29, "call_")
"""Longer ones are answered with 400 `string_above_max_length`, "maximum length 64"."""
ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"
_PLAIN = (
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "user",
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "safety_identifier",
)
"""Fields of the same name and meaning."""


def write_responses_request(form: ChatRequest) -> dict[str, Any]:
    """The whole body; `model` is the client's name for it."""
    body: dict[str, Any] = {"model": form.model, "input": list(_items(form)), "store": False}
    if form.stream:
        body["stream"] = True
    include = [ENCRYPTED]
    if form.logprobs:
        include.append(LOGPROBS)
    return {**body, "include": include, **write_parameters(form)}


def write_parameters(form: ChatRequest) -> dict[str, Any]:
    """What of the body is neither the conversation nor how it is to be sent back."""
    body: dict[str, Any] = {
        name: getattr(form, name) for name in _PLAIN if getattr(form, name) is not None
    }
    if form.max_tokens is not None:
        body["max_output_tokens"] = form.max_tokens
    if form.top_logprobs is not None:
        body["top_logprobs"] = form.top_logprobs
    if form.tools:
        body["tools"] = [_tool(tool) for tool in form.tools if _is_ours(tool)]
    if form.tool_choice is not None:
        body["tool_choice"] = _tool_choice(form.tool_choice, form.tools)
    text = _text_options(form)
    if text:
        body["text"] = text
    reasoning = _reasoning_wish(form.reasoning)
    if reasoning:
        body["reasoning"] = reasoning
    for native in form.native:
        if _is_ours(native) and native.name != "text.format":
            body[native.name] = native.value
    return body


def reasoning_left_out(form: ChatRequest) -> bool:
    """Whether something that was thought in an earlier turn has no place: the dialect takes back
    only what its own providers encrypted."""
    return any(
        isinstance(part, Reasoning) and part.text and not is_own(part)
        for message in form.messages
        for part in message.parts
    )


def media_left_out(form: ChatRequest) -> bool:
    """Whether an assistant's turn has pictures or sound: the dialect takes none back."""
    return any(
        isinstance(part, Media)
        for message in form.messages
        for part in message.parts
        if message.role is Role.ASSISTANT
    )


def _is_ours(value: object) -> bool:
    return not isinstance(value, Native) or value.dialect is Dialect.RESPONSES


# ── input ─────────────────────────────────────────────────────────────────────────────────────


def _items(form: ChatRequest) -> Iterable[dict[str, Any]]:
    for message in form.messages:
        match message.role:
            case Role.ASSISTANT:
                yield from _turn(message)
            case Role.TOOL:
                yield from (_result(p) for p in message.parts if isinstance(p, ToolResult))
            case _:
                yield from _message(message)


def _message(message: Message) -> Iterable[dict[str, Any]]:
    parts: list[Mapping[str, Any]] = []
    for part in message.parts:
        if isinstance(part, Native) and part.dialect is Dialect.RESPONSES:
            if str(part.value.get("type", "")).startswith("input_"):
                parts.append(part.value)
            else:
                yield part.value
        else:
            parts += _input_part(part)
    if parts:
        yield {"type": "message", "role": message.role.value, "content": parts}


def _input_part(part: Part) -> Iterable[dict[str, Any]]:
    match part:
        case Text():
            yield {"type": "input_text", "text": part.text}
        case Refusal():
            yield {"type": "input_text", "text": part.text}
        case Media():
            yield _media(part)


def _media(media: Media) -> dict[str, Any]:
    if media.kind is MediaKind.AUDIO:
        format = (media.mime_type or "audio/wav").partition("/")[2]
        audio = {"data": media.data, "format": format}
        return {"type": "input_audio", "input_audio": audio}
    if media.kind is MediaKind.IMAGE:
        image: dict[str, Any] = {"type": "input_image", "detail": media.detail or "auto"}
        if media.file_id is not None:
            return {**image, "file_id": media.file_id}
        return {**image, "image_url": media.url or _data_url(media, "image/png")}
    if media.text is not None:
        return {"type": "input_text", "text": media.text}
    file: dict[str, Any] = {"type": "input_file"}
    if media.file_id is not None:
        return {**file, "file_id": media.file_id}
    if media.url is not None:
        return {**file, "file_url": media.url}
    data = _data_url(media, "application/pdf")
    return {**file, "filename": media.name or "document.pdf", "file_data": data}


def _data_url(media: Media, otherwise: str) -> str:
    return f"data:{media.mime_type or otherwise};base64,{media.data or ''}"


def _turn(message: Message) -> Iterable[dict[str, Any]]:
    """The items of an assistant's turn, in their order; texts that follow each other are one."""
    said: list[dict[str, Any]] = []
    thought: list[Reasoning] = []
    for part in message.parts:
        if thought and not (isinstance(part, Reasoning) and _is_same(part, thought[-1])):
            yield from _thoughts(thought)
            thought = []
        if isinstance(part, Text | Refusal):
            said.append(_said(part))
            continue
        if said:
            yield _spoken(said)
            said = []
        match part:
            case Reasoning():
                thought.append(part)
            case ToolCall():
                yield _call(part)
            case Native() if part.dialect is Dialect.RESPONSES:
                yield part.value
    yield from _thoughts(thought)
    if said:
        yield _spoken(said)


def _said(part: Text | Refusal) -> dict[str, Any]:
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text", "text": part.text}


def _spoken(said: list[dict[str, Any]]) -> dict[str, Any]:
    """Texts go as one string, which every provider takes without the ids of an answer's item."""
    content: Any = said
    if all(part["type"] == "output_text" for part in said):
        content = "".join(part["text"] for part in said)
    return {"type": "message", "role": "assistant", "content": content}


def _is_same(part: Reasoning, other: Reasoning) -> bool:
    return part.id is not None and part.id == other.id


def _thoughts(parts: list[Reasoning]) -> Iterable[dict[str, Any]]:
    """The item that the parts are of; none where nothing of it is this dialect's own."""
    encrypted = next((part.encrypted for part in parts if is_own(part)), None)
    if encrypted is None:
        return
    summary = [{"type": "summary_text", "text": p.text} for p in parts if p.summary and p.text]
    item: dict[str, Any] = {"type": "reasoning", "summary": summary}
    content = [
        {"type": "reasoning_text", "text": p.text} for p in parts if p.text and not p.summary
    ]
    if content:
        item["content"] = content
    if parts[0].id is not None:
        item["id"] = parts[0].id
    yield {**item, "encrypted_content": encrypted}


def _call(call: ToolCall) -> dict[str, Any]:
    id = CALL_IDS.fitted(call.id)
    if call.custom:
        return {
            "type": "custom_tool_call",
            "call_id": id,
            "name": call.name,
            "input": call.arguments,
        }
    arguments = call.arguments or "{}"
    return {"type": "function_call", "call_id": id, "name": call.name, "arguments": arguments}


def _result(result: ToolResult) -> dict[str, Any]:
    output: Any = [shown for part in result.content for shown in _input_part(part)]
    if all(part["type"] == "input_text" for part in output):
        output = "".join(part["text"] for part in output)
        if result.is_error and not output.lower().startswith("error"):
            # The dialect has no field for it, and the model must not take it for a result.
            output = f"Error: {output}" if output else "Error"
    elif result.is_error:
        output = [{"type": "input_text", "text": "Error:"}, *output]
    kind = "custom_tool_call_output" if result.custom else "function_call_output"
    return {"type": kind, "call_id": CALL_IDS.fitted(result.call_id), "output": output}


# ── tools and wishes ──────────────────────────────────────────────────────────────────────────


def _tool(tool: Tool | Native) -> Mapping[str, Any]:
    if isinstance(tool, Native):
        value: Mapping[str, Any] = tool.value
        return value
    described = {} if tool.description is None else {"description": tool.description}
    if tool.custom is not None:
        return {"type": "custom", "name": tool.name, **described, **tool.custom}
    parameters = tool.parameters or {"type": "object", "properties": {}}
    # Left open it would mean true here, and false in the other dialects.
    strict = tool.strict is True
    return {
        "type": "function",
        "name": tool.name,
        **described,
        "parameters": parameters,
        "strict": strict,
    }


def _tool_choice(choice: ToolChoice, tools: tuple[Tool | Native, ...]) -> Any:
    custom = {tool.name for tool in tools if isinstance(tool, Tool) and tool.custom is not None}

    def named(name: str) -> dict[str, Any]:
        return {"type": "custom" if name in custom else "function", "name": name}

    if choice.allowed is not None:
        allowed = [named(name) for name in choice.allowed]
        return {"type": "allowed_tools", "mode": choice.mode, "tools": allowed}
    return choice.mode if choice.name is None else named(choice.name)


def _text_options(form: ChatRequest) -> dict[str, Any]:
    text: dict[str, Any] = {}
    match form.response_format:
        case JsonObject():
            text["format"] = {"type": "json_object"}
        case JsonSchema() as wanted:
            named = {"description": wanted.description, "strict": wanted.strict}
            text["format"] = {
                "type": "json_schema",
                "name": wanted.name or "answer",
                "schema": wanted.schema,
                **{name: value for name, value in named.items() if value is not None},
            }
    for native in form.native:
        if native.name == "text.format" and _is_ours(native):
            text["format"] = native.value
    if form.verbosity is not None:
        text["verbosity"] = form.verbosity
    return text


def _reasoning_wish(wish: ReasoningWish | None) -> dict[str, Any]:
    """A budget of tokens is left out: the dialect knows efforts alone."""
    if wish is None:
        return {}
    effort = wish.effort
    if effort is None and wish.enabled is not None:
        effort = "medium" if wish.enabled else "none"
    summary = wish.summary
    if summary is None and effort != "none" and wish.exclude is False:
        summary = "auto"
    said = {"effort": effort, "summary": summary}
    return {name: value for name, value in said.items() if value is not None}
