"""A request of the Responses API → the gateway's own model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from signalbox.adapters.chat import (
    ChatRequest,
    Citation,
    JsonObject,
    JsonSchema,
    Media,
    MediaKind,
    Message,
    Native,
    Part,
    Reasoning,
    ReasoningFormat,
    ReasoningWish,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from signalbox.adapters.door import Body
from signalbox.adapters.responses_body import CALLS, RESULTS, items_of, wants_logprobs
from signalbox.adapters.responses_reasoning import unpacked
from signalbox.types import Dialect

Json = Mapping[str, Any]

_READ = frozenset(
    {
        "model",
        "input",
        "instructions",
        "stream",
        "stream_options",
        "store",
        "background",
        "max_output_tokens",
        "temperature",
        "top_p",
        "top_logprobs",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "text",
        "reasoning",
        "include",
        "metadata",
        "user",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "truncation",
    }
)
_STATE = ("previous_response_id", "conversation", "prompt")
"""What only the provider that keeps it can fill in."""
_HERE_ALONE = ("plugins", "moderation", "context_management")
"""Further fields with meaning that no other dialect has."""
_IMPLIED = frozenset({"reasoning.encrypted_content", "message.output_text.logprobs"})
"""Values of `include` that are asked for elsewhere, or come unasked."""
_DONE_THERE = frozenset(
    {"web_search_call", "file_search_call", "code_interpreter_call", "mcp_list_tools", "mcp_call"}
)
"""What a provider's own tools did in earlier turns; what came of it, the answers then said."""
_OWN_SIDE = frozenset({"message", "reasoning", *CALLS})
"""Items that an assistant's turn may consist of, its role given."""


def read_responses_request(body: Body, *, stored: bool = False) -> ChatRequest:
    """The form of a body that has passed `read_responses_body`.

    `stored`: the gateway keeps the answer, so that `store: true` is heeded.
    """
    text = body.get("text") or {}
    reasoning = body.get("reasoning")
    choice = body.get("tool_choice")
    logprobs = wants_logprobs(body)
    return ChatRequest(
        dialect=Dialect.RESPONSES,
        model=body["model"],
        messages=tuple(_messages(body)),
        stream=body.get("stream") is True,
        max_tokens=body.get("max_output_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        logprobs=True if logprobs else None,
        top_logprobs=body.get("top_logprobs") if logprobs else None,
        tools=tuple(_tool(tool) for tool in body.get("tools") or ()),
        tool_choice=_tool_choice(choice),
        parallel_tool_calls=body.get("parallel_tool_calls"),
        response_format=_response_format(text.get("format") or {}),
        reasoning=_reasoning_wish(reasoning) if reasoning else None,
        user=body.get("user"),
        metadata=body.get("metadata"),
        # No provider keeps what is translated. That is what the other dialects do unasked.
        store=None,
        service_tier=body.get("service_tier"),
        verbosity=_string(text.get("verbosity")),
        prompt_cache_key=body.get("prompt_cache_key"),
        safety_identifier=body.get("safety_identifier"),
        unknown=_unknown(body, stored=stored),
        native=tuple(_natives(body)),
    )


def _unknown(body: Body, *, stored: bool) -> dict[str, Any]:
    """Hints that no other dialect has, and what nobody knows."""
    natives = (*_STATE, *_HERE_ALONE)
    unknown = {
        name: value
        for name, value in body.items()
        if name not in _READ and name not in natives and value is not None
    }
    if body.get("store") is True and not stored:
        unknown["store"] = True
    if body.get("truncation") not in (None, "disabled"):
        unknown["truncation"] = body["truncation"]
    included = [value for value in body.get("include") or () if value not in _IMPLIED]
    if included:
        unknown["include"] = included
    phase = next((item["phase"] for item in items_of(body) if item.get("phase")), None)
    if phase is not None:
        unknown["input.phase"] = phase
    return unknown


def _natives(body: Body) -> Iterable[Native]:
    for name in (*_STATE, *_HERE_ALONE):
        if body.get(name):
            yield Native(Dialect.RESPONSES, body[name], name=name)
    if body.get("background") is True:
        yield Native(Dialect.RESPONSES, True, name="background")
    choice = body.get("tool_choice")
    if choice is not None and _tool_choice(choice) is None:
        yield Native(Dialect.RESPONSES, choice, name="tool_choice")
    wanted = (body.get("text") or {}).get("format") or {}
    if wanted.get("type") not in (None, "text", "json_object", "json_schema"):
        yield Native(Dialect.RESPONSES, wanted, name="text.format")


# ── input ─────────────────────────────────────────────────────────────────────────────────────


def _messages(body: Body) -> Iterable[Message]:
    if body.get("instructions"):
        yield Message(Role.SYSTEM, (Text(body["instructions"]),))
    items = items_of(body)
    there = {item["id"] for item in items if _is_itself(item)}
    turn: list[Part] = []
    turn_role = Role.ASSISTANT
    for item in items:
        if item["type"] == "item_reference" and item["id"] in there:
            continue
        role = _role(item)
        if turn and role is not turn_role:
            yield Message(turn_role, tuple(turn))
            turn = []
        if role in (Role.ASSISTANT, Role.TOOL):
            turn_role = role
            turn += _parts_of_item(item)
        else:
            yield Message(role, tuple(_parts_of_item(item)))
    if turn:
        yield Message(turn_role, tuple(turn))


def _is_itself(item: Json) -> bool:
    return item["type"] != "item_reference" and isinstance(item.get("id"), str)


def _role(item: Json) -> Role:
    """Items of one turn follow each other: of the assistant, or results of its calls."""
    kind = item["type"]
    if kind == "message":
        return Role(item["role"])
    if kind in RESULTS:
        return Role.TOOL
    if kind in _OWN_SIDE or not kind.endswith(("_output", "_response")):
        return Role.ASSISTANT
    return Role.USER


def _parts_of_item(item: Json) -> Iterable[Part]:
    kind = item["type"]
    if kind == "message":
        yield from _parts(item["content"])
    elif kind in CALLS:
        arguments = item[CALLS[kind]]
        custom = kind == "custom_tool_call"
        yield ToolCall(item["call_id"], item["name"], arguments, custom=custom)
    elif kind in RESULTS:
        yield ToolResult(
            item["call_id"],
            tuple(_result_parts(item["output"])),
            custom=kind == "custom_tool_call_output",
        )
    elif kind == "reasoning":
        yield from _reasoning(item)
    else:
        yield Native(Dialect.RESPONSES, item, meaning=kind not in _DONE_THERE, name=kind)


def _result_parts(output: object) -> Iterable[Text | Media]:
    for part in _parts(output):
        if isinstance(part, Text | Media):
            yield part
        elif isinstance(part, Refusal):
            yield Text(part.text)


def _parts(content: object) -> Iterable[Part]:
    if isinstance(content, str):
        yield Text(content)
        return
    for part in content if isinstance(content, list) else ():
        yield _part(part)


def _part(part: Json) -> Part:
    kind = part["type"]
    text = part.get("text")
    if kind in ("input_text", "output_text", "text", "summary_text") and isinstance(text, str):
        return Text(text, tuple(_citations(part.get("annotations"))))
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        return Refusal(part["refusal"])
    media = {"input_image": _image, "input_file": _file, "input_audio": _audio}.get(kind)
    read = media(part) if media is not None else None
    return read or Native(Dialect.RESPONSES, part, name=kind)


def _image(part: Json) -> Media | None:
    detail = _string(part.get("detail"))
    url, file_id = part.get("image_url"), part.get("file_id")
    if isinstance(url, str):
        data = _data_url(url)
        if data is not None:
            return Media(MediaKind.IMAGE, data[0], data=data[1], detail=detail)
        return Media(MediaKind.IMAGE, url=url, detail=detail)
    if isinstance(file_id, str):
        return Media(MediaKind.IMAGE, file_id=file_id, detail=detail)
    return None


def _file(part: Json) -> Media | None:
    name = _string(part.get("filename"))
    data, url, file_id = part.get("file_data"), part.get("file_url"), part.get("file_id")
    if isinstance(data, str):
        mime_type, content = _data_url(data) or (None, data)
        return Media(MediaKind.FILE, mime_type, data=content, name=name)
    if isinstance(url, str):
        return Media(MediaKind.FILE, url=url, name=name)
    if isinstance(file_id, str):
        return Media(MediaKind.FILE, file_id=file_id, name=name)
    return None


def _audio(part: Json) -> Media | None:
    audio = part.get("input_audio")
    if not isinstance(audio, dict) or not isinstance(audio.get("data"), str):
        return None
    format = audio.get("format")
    mime_type = f"audio/{format}" if isinstance(format, str) else None
    return Media(MediaKind.AUDIO, mime_type, data=audio["data"])


def _data_url(url: str) -> tuple[str | None, str] | None:
    """The type and the base64 of a `data:` URL; None for any other."""
    head, comma, content = url.partition(",")
    if not head.startswith("data:") or not comma or not head.endswith(";base64"):
        return None
    mime_type = head.removeprefix("data:").partition(";")[0]
    return mime_type or None, content


def _citations(annotations: object) -> Iterable[Citation]:
    for each in annotations if isinstance(annotations, list) else ():
        if isinstance(each, dict):
            yield citation(each)


def citation(annotation: Json) -> Citation:
    """What an annotation says, of whichever kind."""
    start, end = annotation.get("start_index"), annotation.get("end_index")
    return Citation(
        url=_string(annotation.get("url")),
        title=_string(annotation.get("title")) or _string(annotation.get("filename")),
        start=start if isinstance(start, int) else None,
        end=end if isinstance(end, int) else None,
        dialect=Dialect.RESPONSES,
        native=annotation,
    )


def _reasoning(item: Json) -> Iterable[Reasoning]:
    """The item's texts; what is encrypted stands with the last of them."""
    id = _string(item.get("id"))
    content = _string(item.get("encrypted_content"))
    signature, encrypted, format = (
        unpacked(content) if content else (None, None, ReasoningFormat.OPENAI)
    )
    texts = [
        (part["text"], name == "summary")
        for name in ("summary", "content")
        for part in item.get(name) or ()
        if isinstance(part.get("text"), str)
    ]
    *firsts, last = texts or [("", False)]
    for text, summary in firsts:
        yield Reasoning(text, summary, id=id, format=format)
    text, summary = last
    if text or content:
        yield Reasoning(text, summary, signature, encrypted, id, format)


# ── tools and wishes ──────────────────────────────────────────────────────────────────────────


def _tool(tool: Json) -> Tool | Native:
    kind = tool["type"]
    description = _string(tool.get("description"))
    if kind == "function":
        strict = tool.get("strict")
        return Tool(
            tool["name"],
            description,
            tool.get("parameters"),
            strict if isinstance(strict, bool) else None,
        )
    if kind == "custom":
        format = tool.get("format")
        return Tool(tool["name"], description, custom={} if format is None else {"format": format})
    return Native(Dialect.RESPONSES, tool, name=kind)


def _tool_choice(choice: object) -> ToolChoice | None:
    """None also for a choice of a tool that only this dialect has."""
    if choice in ("auto", "none", "required"):
        return ToolChoice(choice)
    if not isinstance(choice, dict):
        return None
    kind, name = choice.get("type"), choice.get("name")
    if kind in ("function", "custom") and isinstance(name, str):
        return ToolChoice("required", name)
    if kind == "allowed_tools":
        return _allowed(choice)
    return None


def _allowed(choice: Json) -> ToolChoice | None:
    tools, mode = choice.get("tools"), choice.get("mode")
    if not isinstance(tools, list) or mode not in ("auto", "required"):
        return None
    names = [tool.get("name") if isinstance(tool, dict) else None for tool in tools]
    if not all(isinstance(name, str) for name in names):
        return None
    return ToolChoice(mode, allowed=tuple(str(name) for name in names))


def _response_format(wanted: Json) -> JsonObject | JsonSchema | None:
    if wanted.get("type") == "json_object":
        return JsonObject()
    if wanted.get("type") != "json_schema":
        return None
    strict = wanted.get("strict")
    return JsonSchema(
        wanted["schema"],
        _string(wanted.get("name")),
        _string(wanted.get("description")),
        strict if isinstance(strict, bool) else None,
    )


def _reasoning_wish(reasoning: Json) -> ReasoningWish | None:
    effort = reasoning.get("effort")
    summary = reasoning.get("summary") or _string(reasoning.get("generate_summary"))
    if effort is None and summary is None:
        return None
    return ReasoningWish(effort=effort, summary=summary)


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None
