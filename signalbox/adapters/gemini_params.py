"""What a model's or a route's configuration adds to a body of `generateContent`, where the client
left it open: in Gemini's own words, or in those of chat completions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.chat import ChatRequest
from signalbox.adapters.door import BadRequest
from signalbox.adapters.doors import door_of
from signalbox.adapters.gemini_fields import camel, given, spelled
from signalbox.adapters.gemini_request_writer import Written, write_generate_request
from signalbox.types import Dialect, Request

_OWN = frozenset(
    {"generationConfig", "safetySettings", "toolConfig", "systemInstruction", "cachedContent"}
    | {"labels", "serviceTier"}
)
_MERGED = ("generationConfig", "toolConfig")
"""Objects whose fields are left open one by one."""
_SAID = frozenset({"contents", "systemInstruction"})

Json = dict[str, Any]


def add_params(body: Json, params: Mapping[str, Any], request: Request, model: str) -> Written:
    """`body` filled up; it is changed. What Gemini cannot be told is in the result's `dropped` and
    `unsupported`, as is a parameter that is none."""
    own = {name: value for name, value in params.items() if camel(name) in _OWN}
    others = {name: value for name, value in params.items() if name not in own}
    _fill(body, own)
    written = _written(others, request, model) if others else Written({})
    _fill(body, {name: it for name, it in written.body.items() if name not in _SAID})
    return written


def _written(params: Mapping[str, Any], request: Request, model: str) -> Written:
    door = door_of(Dialect.CHAT)
    chat = {"model": model, "messages": [{"role": "user", "content": "."}], **params}
    try:
        read = door.read_body(msgspec.json.encode(chat))
    except BadRequest as error:
        return Written({}, unsupported={error.param or "params": None})
    form = door.form(replace(request, door=Dialect.CHAT, body=read, defaults={}))
    assert isinstance(form, ChatRequest)
    return write_generate_request(form, model)


def _fill(body: Json, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        first = camel(name)
        known = given(body, first)
        if known is None:
            body[spelled(body, first)] = value
        elif first in _MERGED and isinstance(known, dict) and isinstance(value, dict):
            merged = dict(known)
            _fill(merged, value)
            body[spelled(body, first)] = merged
