"""From the body of a `generateContent` request to the gateway's own model.

What it is given has passed `gemini_body`. Fields are read in either spelling. Format: Google,
Gemini API reference, "Generating content".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import msgspec

from signalbox.adapters.chat import (
    ChatRequest,
    Media,
    MediaKind,
    Message,
    Native,
    Part,
    Reasoning,
    ReasoningFormat,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from signalbox.adapters.door import Body
from signalbox.adapters.gemini_fields import Object, as_list, fields_of, given
from signalbox.adapters.gemini_settings_reader import read_settings
from signalbox.types import Dialect

DIALECT = Dialect.GENERATE

_ROLES = {"model": Role.ASSISTANT, "system": Role.SYSTEM}
_KINDS = {"image": MediaKind.IMAGE, "audio": MediaKind.AUDIO, "video": MediaKind.VIDEO}
_OF_TEXT = frozenset({"text", "thought", "thoughtSignature"})
_OF_CALLS = frozenset({"functionCall", "thoughtSignature", "thought"})
_DATA = ("inlineData", "fileData")
_USUAL = str.maketrans("-_", "+/")
_FILES = "/v1beta/files/"
"""In the address of a file that was uploaded to Google: others cannot fetch it."""


def read_generate_request(body: Body, model: str, *, stream: bool) -> ChatRequest:
    """The request in the gateway's model. `model` and `stream` are what the path said."""
    return ChatRequest(
        dialect=DIALECT,
        model=model,
        messages=tuple(_Conversation().messages(body)),
        stream=stream,
        **read_settings(body),
    )


class _Conversation:
    """Reads contents in order. Calls without an id are given one by their place, the same in every
    request of the conversation; a result without one belongs to the first open call of its name."""

    def __init__(self) -> None:
        self._calls = 0
        self._open: list[tuple[str, str]] = []
        """(name, id) of the calls that have no result yet."""

    def messages(self, body: Body) -> Iterator[Message]:
        system = given(body, "systemInstruction")
        if system is not None:
            parts = tuple(p for p in self._parts(system, Role.SYSTEM) if p != Text(""))
            if parts:
                yield Message(Role.SYSTEM, parts)
        for content in body["contents"]:
            role = _ROLES.get(content.get("role") or "user", Role.USER)
            parts = tuple(self._parts(content, role))
            runs = groupby(parts, key=lambda part: isinstance(part, ToolResult))
            told = [Message(Role.TOOL if results else role, tuple(run)) for results, run in runs]
            yield from told or [Message(role, ())]

    def _parts(self, content: Object, role: Role) -> Iterator[Part]:
        for part in as_list(content.get("parts")):
            yield self._part(fields_of(part), role)

    def _part(self, part: Mapping[str, Any], role: Role) -> Part:
        signature = part.get("thoughtSignature") or None
        if "functionCall" in part:
            return self._call(part["functionCall"], signature)
        if "functionResponse" in part:
            return self._result(part["functionResponse"])
        for name in _DATA:
            if name in part:
                return media_of(part, name)
        if "text" in part or (signature and part.keys() <= _OF_TEXT):
            text = part.get("text", "")
            if part.get("thought"):
                return Reasoning(text, signature=signature, format=ReasoningFormat.GEMINI)
            return Text(text, signature=signature)
        # What a tool of Google's did in an earlier turn may be left out: the answer stands there.
        name = next((name for name in part if name not in _OF_TEXT), "parts")
        return Native(DIALECT, part, bool(part) and role is not Role.ASSISTANT, name)

    def _call(self, call: Object, signature: str | None) -> ToolCall:
        name = call["name"]
        id = call.get("id") or f"call_{self._calls}"
        self._calls += 1
        self._open.append((name, id))
        arguments = msgspec.json.encode(call.get("args") or {}).decode()
        return ToolCall(id, name, arguments, signature=signature)

    def _result(self, result: Object) -> ToolResult:
        name, response = result["name"], result.get("response") or {}
        failed = response.keys() == {"error"}
        data = (fields_of(more) for more in as_list(result.get("parts")))
        return ToolResult(
            self._answered(name, result.get("id") or None),
            (
                Text(_result_text(response)),
                *(media_of(more, kind) for more in data for kind in _DATA if kind in more),
            ),
            name=name,
            is_error=True if failed else None,
            structured=response,
        )

    def _answered(self, name: str, id: str | None) -> str:
        """The id of the call that a result belongs to."""
        for place, (called, open_id) in enumerate(self._open):
            if open_id == id if id is not None else called == name:
                del self._open[place]
                return open_id
        return id or f"call_of_{name}"


def _result_text(response: Object) -> str:
    """`output` and `error` alone are what Google's reference calls a function's output and its
    failure, `result` is what its SDK makes of a plain value."""
    if len(response) == 1:
        [(name, value)] = response.items()
        if name in ("output", "result", "error") and isinstance(value, str):
            return value
    return msgspec.json.encode(response).decode()


def _usual_base64(data: str | None) -> str | None:
    """Protocol buffers' JSON takes either alphabet of base64, and Google's SDK sends the one for
    URLs; other providers take the usual one alone (RFC 4648, sections 4 and 5)."""
    return None if data is None else data.translate(_USUAL)


def media_of(part: Mapping[str, Any], name: str) -> Media:
    """The data of a part, inline or at an address."""
    data = part[name]
    mime_type = given(data, "mimeType")
    uri = given(data, "fileUri")
    is_file = uri is not None and _FILES in uri
    return Media(
        _KINDS.get((mime_type or "").partition("/")[0].lower(), MediaKind.FILE),
        mime_type,
        data=_usual_base64(data.get("data")),
        url=None if is_file else uri,
        file_id=uri if is_file else None,
        name=given(data, "displayName"),
        extra={field: value for field, value in part.items() if field != name},
    )
