"""A preset put into the body of a request, in the words of the request's door. Pure.

A preset is a document in the words of chat completions. The request's own fields win; a field that
is null counts as one that was not sent. Of a preset

- the system prompt goes before the request's own instructions,
- the messages go before the conversation, behind the request's own instructions,
- the tools go before the request's; of two with one name the request's stays,
- the other fields fill what the request leaves open. A body of chat completions is filled here;
  for other doors they are `Request.defaults`, which adapters write in the words of their providers.

A body may be put together before anybody has checked it: what has a form that no door takes is left
as it is, for the door to say so. To put the same preset in twice is to put it in once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from signalbox.adapters.anthropic_request_writer import write_messages_request
from signalbox.adapters.door import BadRequest
from signalbox.adapters.gemini_fields import as_list, given, spelled
from signalbox.adapters.gemini_request_writer import write_generate_request
from signalbox.adapters.openai_parameters import OPENROUTER_ROUTING_FIELDS
from signalbox.adapters.openai_request_reader import read_chat_request
from signalbox.adapters.responses_request_writer import write_responses_request
from signalbox.types import Dialect, Route

Body = dict[str, Any]
Document = Mapping[str, Any]

_CONVERSATION = ("system", "messages", "tools")
_APART = frozenset({"model", "extra", *_CONVERSATION, *OPENROUTER_ROUTING_FIELDS})
"""What is not simply a field of the body."""
_ALTERNATIVES = (
    ("max_completion_tokens", "max_tokens"),
    ("reasoning", "reasoning_effort"),
    ("tool_choice", "function_call"),
)
"""Fields that say the same: who says one of them has said the others."""
_OF_COMPLETIONS = frozenset(
    {"temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "stop", "logit_bias"}
    | {"n", "top_k", "min_p", "repetition_penalty", "max_tokens", "service_tier"}
)
"""Fields of chat completions that legacy completions have too, or their servers."""
_NEVER_OF_COMPLETIONS = frozenset(
    {"tool_choice", "functions", "function_call", "response_format", "modalities", "audio"}
    | {"logprobs", *_CONVERSATION}
)
"""Fields whose meaning would be lost."""
_OF_EMBEDDINGS = frozenset({"dimensions", "encoding_format"})


def put_into(body: Body, document: Document, dialect: Dialect) -> Body:
    """A new body; the one that is given stays as it is.

    Raises `BadRequest` where the preset has what this door has no words for.
    """
    return _DOORS.get(dialect, _as_it_is)(body, _said(document))


def parameters(document: Document, dialect: Dialect) -> Mapping[str, Any]:
    """What adapters are to fill in, for `Request.defaults`."""
    if dialect not in _TRANSLATED:
        return {}
    return {name: value for name, value in _said(document).items() if name not in _APART}


def filled(body: Body, fields: Mapping[str, Any]) -> Body:
    """The body of a chat completion with fields for what it leaves open."""
    said = {name for name, value in body.items() if value is not None}
    for names in _ALTERNATIVES:
        if not said.isdisjoint(names):
            said.update(names)
    return {**body, **{name: value for name, value in fields.items() if name not in said}}


def _said(document: Document) -> Document:
    return {name: value for name, value in document.items() if value is not None}


# Doors


def _as_it_is(body: Body, document: Document) -> Body:
    return body


def _chat(body: Body, document: Document) -> Body:
    put = filled(body, {name: it for name, it in document.items() if name not in _APART})
    own = body.get("messages")
    if isinstance(own, list):
        system = document.get("system")
        first = [] if system is None else [{"role": "system", "content": system}]
        rest = own[1:] if first and own[:1] == first else own
        led = _leading_instructions(rest)
        before = _before(document.get("messages", ()), rest[led:])
        put["messages"] = [*first, *rest[:led], *before]
    functions = [{"function": it} for it in as_list(body.get("functions"))]
    return _with_tools(put, document.get("tools", ()), _chat_tool, besides=functions)


def _leading_instructions(messages: Sequence[Any]) -> int:
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("system", "developer"):
            return place
    return len(messages)


def _responses(body: Body, document: Document) -> Body:
    written = write_responses_request(_form(document))
    put = _with_tools(body, written.get("tools", ()), _named_tool)
    put = _with_text(put, "instructions", document.get("system"))
    continues = any(body.get(name) for name in ("previous_response_id", "conversation", "prompt"))
    if document.get("messages") and not continues:
        own = body.get("input")
        if isinstance(own, str):
            own = [{"type": "message", "role": "user", "content": own}]
        if isinstance(own, list):
            put["input"] = _before(written["input"], own)
    return put


def _messages(body: Body, document: Document) -> Body:
    put = _counted_messages(body, document)
    most = document.get("max_completion_tokens", document.get("max_tokens"))
    if most is not None and body.get("max_tokens") is None:
        put["max_tokens"] = most
    return put


def _counted_messages(body: Body, document: Document) -> Body:
    written = write_messages_request(_form(document), Route("", "")).body
    put = _with_tools(body, written.get("tools", ()), _named_tool)
    system, own = document.get("system"), body.get("system")
    if isinstance(own, list) and system is not None:
        put["system"] = _before([{"type": "text", "text": system}], own)
    else:
        put = _with_text(put, "system", system)
    if document.get("messages") and isinstance(body.get("messages"), list):
        put["messages"] = _before(written["messages"], body["messages"])
    return put


def _generate(body: Body, document: Document) -> Body:
    written = write_generate_request(_form(document), "").body
    put = dict(body)
    tools = list(_functions_left(written.get("tools", ()), body))
    if tools and _is_repeated(body.get("tools")):
        put["tools"] = [*tools, *as_list(body.get("tools"))]
    if document.get("system") is not None:
        own = given(body, "systemInstruction")
        own = {} if own is None else own
        if isinstance(own, dict) and _is_repeated(own.get("parts")):
            parts = _before([{"text": document["system"]}], as_list(own.get("parts")))
            put[spelled(body, "systemInstruction")] = {**own, "parts": parts}
    if document.get("messages") and _is_repeated(body.get("contents")):
        put["contents"] = _before(written["contents"], as_list(body.get("contents")))
    return put


def _counted_generate(body: Body, document: Document) -> Body:
    whole = given(body, "generateContentRequest")
    if not isinstance(whole, dict):
        return _generate(body, document)
    return {**body, spelled(body, "generateContentRequest"): _generate(whole, document)}


def _completions(body: Body, document: Document) -> Body:
    lost = sorted(name for name in _NEVER_OF_COMPLETIONS if document.get(name))
    if lost:
        message = f"its preset has {', '.join(lost)}, for which completions have no place"
        raise BadRequest("preset", message)
    fields = {name: it for name, it in document.items() if name in _OF_COMPLETIONS}
    most = document.get("max_completion_tokens")
    return filled(body, fields if most is None else {**fields, "max_tokens": most})


def _embeddings(body: Body, document: Document) -> Body:
    return filled(body, {name: it for name, it in document.items() if name in _OF_EMBEDDINGS})


_DOORS: Mapping[Dialect, Callable[[Body, Document], Body]] = MappingProxyType(
    {
        Dialect.CHAT: _chat,
        Dialect.COMPLETIONS: _completions,
        Dialect.EMBEDDINGS: _embeddings,
        Dialect.RESPONSES: _responses,
        Dialect.MESSAGES: _messages,
        Dialect.MESSAGES_COUNT: _counted_messages,
        Dialect.GENERATE: _generate,
        Dialect.GENERATE_COUNT: _counted_generate,
    }
)
_TRANSLATED = frozenset({Dialect.RESPONSES, Dialect.MESSAGES, Dialect.GENERATE})
"""Doors whose own words for the fields depend on the route."""


# What several doors share


def _form(document: Document) -> Any:
    """The conversation of the preset, without its system prompt, in the gateway's own model."""
    messages = document.get("messages") or [{"role": "user", "content": ""}]
    tools = document.get("tools") or None
    return read_chat_request({"model": "", "messages": messages, "tools": tools})


def _before(first: Iterable[Any], own: Sequence[Any]) -> list[Any]:
    first = list(first)
    return list(own) if own[: len(first)] == first else [*first, *own]


def _with_text(body: Body, field: str, text: str | None) -> Body:
    """With the text in front of that of the field."""
    own = body.get(field)
    if text is None or not (own is None or isinstance(own, str)):
        return body
    if own is not None and (own == text or own.startswith(f"{text}\n\n")):
        return body
    return {**body, field: f"{text}\n\n{own}" if own else text}


def _with_tools(
    body: Body,
    tools: Iterable[Mapping[str, Any]],
    name_of: Callable[[Any], object],
    *,
    besides: Iterable[Any] = (),
) -> Body:
    """With those tools in front whose names none of the body's has, nor one of `besides`."""
    own = body.get("tools")
    if not (own is None or isinstance(own, list)):
        return dict(body)
    known = [name_of(tool) for tool in (*(own or ()), *besides)]
    joined = [*(tool for tool in tools if name_of(tool) not in known), *(own or ())]
    return {**body, "tools": joined} if joined else dict(body)


def _chat_tool(tool: Any) -> object:
    if not isinstance(tool, dict):
        return None
    described = tool.get("function") or tool.get("custom") or tool
    return _named_tool(described) if isinstance(described, dict) else None


def _named_tool(tool: Any) -> object:
    return tool.get("name") or tool.get("type") if isinstance(tool, dict) else None


def _functions_left(tools: Iterable[Mapping[str, Any]], body: Body) -> Iterable[Mapping[str, Any]]:
    """Gemini's tools without the functions that the body itself declares."""
    known = [_named_tool(it) for tool in as_list(body.get("tools")) for it in _functions_of(tool)]
    for tool in tools:
        left = [it for it in _functions_of(tool) if _named_tool(it) not in known]
        if left:
            yield {**tool, "functionDeclarations": left}


def _is_repeated(value: object) -> bool:
    """Whether Google takes it for a repeated field."""
    return value is None or isinstance(value, list | dict)


def _functions_of(tool: Any) -> list[Any]:
    return as_list(given(tool, "functionDeclarations")) if isinstance(tool, dict) else []
