"""A request in the gateway's own model, derived from its untouched body once."""

from __future__ import annotations

from typing import Any

from msgspec.structs import fields, replace

from signalbox.adapters.chat import (
    ChatRequest,
)
from signalbox.adapters.doors import door_of
from signalbox.adapters.embeddings_form import EmbeddingsRequest
from signalbox.adapters.tool_memory import restored
from signalbox.types import Dialect, Request

_FORM = "form"


def chat_form(request: Request) -> ChatRequest:
    """The form of a request that came through a chat door, the model's defaults filled in."""
    form = _form(request)
    assert isinstance(form, ChatRequest), f"{request.door} is no chat door"
    return form


def embeddings_form(request: Request) -> EmbeddingsRequest:
    form = _form(request)
    assert isinstance(form, EmbeddingsRequest), f"{request.door} is no embeddings door"
    return form


def _form(request: Request) -> ChatRequest | EmbeddingsRequest:
    form: ChatRequest | EmbeddingsRequest | None = request.memo.get(_FORM)
    if form is None:
        form = door_of(request.door).form(request)
        if request.defaults and isinstance(form, ChatRequest):
            form = _with_defaults(form, request)
        if request.tool_states and isinstance(form, ChatRequest):
            states = {call: state.data for call, state in request.tool_states.items()}
            form = restored(form, states)
        request.memo[_FORM] = form
    return form


def _with_defaults(form: ChatRequest, request: Request) -> ChatRequest:
    """What the form leaves open as the model's `default_params`, in chat completions' words."""
    body = {"model": request.model, "messages": [], **request.defaults}
    chat = replace(request, door=Dialect.CHAT, body=body, defaults={})
    defaults = door_of(Dialect.CHAT).form(chat)
    left_open: dict[str, Any] = {
        each.name: getattr(defaults, each.name)
        for each in fields(ChatRequest)
        if each.name not in ("dialect", "model", "messages", "stream", "unknown", "native")
        and getattr(form, each.name) in (None, ())
    }
    return replace(form, **left_open)
