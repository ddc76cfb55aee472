"""What a client of OpenAI's dialect may send: the body of a chat completion, read with care."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from signalbox.adapters.body_checks import (
    BOOLEAN,
    NUMBER,
    OBJECT,
    STRING,
    STRINGS,
    WHOLE,
    Check,
    check_fields,
    decoded_object,
    expected,
    is_whole,
)
from signalbox.adapters.door import Body, Outline

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
MOST_CHOICES = 128
"""OpenAI's own limit for `n`."""


def read_chat_body(data: bytes, model: str | None = None) -> dict[str, Any]:
    """The decoded and validated body of a chat completion request. Raises `BadRequest`.

    `model` is what the path named (Azure's deployment), which counts whatever the body says. What
    this decodes can be encoded again, so an adapter's `build` does not fail on it.
    """
    body = decoded_object(data)
    if model is not None:
        body["model"] = model
    validate_chat_body(body)
    return body


def outline_of(body: Body) -> Outline:
    """What a valid body says of itself."""
    options = body.get("stream_options")
    cache_key = body.get("prompt_cache_key")
    choices = body.get("n") or 1
    return Outline(
        model=body["model"],
        stream=body.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        choices=choices,
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        begun=body["messages"][-1]["role"] == "assistant",
        plain=choices == 1
        and body.get("response_format") in (None, {"type": "text"})
        and body.get("logprobs") is not True
        and body.get("modalities") in (None, [], ["text"]),
        stored=body.get("store") is True,
        user=body.get("user"),
        opening=tuple(_opening(body["messages"])),
        cache_key=cache_key if isinstance(cache_key, str) else None,
    )


def _opening(messages: list[Mapping[str, Any]]) -> Iterable[tuple[str, Any]]:
    """The instructions and the first user message; later turns have the same."""
    for message in messages:
        role = message["role"]
        if role in ("system", "developer", "user"):
            yield role, message.get("content")
        if role == "user":
            break


def validate_chat_body(body: Body) -> None:
    """Checks the fields that the gateway itself reads; raises `BadRequest` naming the first that
    is wrong, by its path, and what was expected. Everything else is left to the provider."""
    model = body.get("model")
    if not isinstance(model, str) or not model.strip():
        raise expected("model", "the name of a model", model)
    _check_messages(body.get("messages"))
    check_fields(body, _FIELDS)


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list) or not messages:
        raise expected("messages", "a list of at least one message", messages)
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if not isinstance(message, dict):
            raise expected(path, "an object", message)
        role = message.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise expected(f"{path}.role", f"one of {', '.join(sorted(ROLES))}", role)
        _check_content(message.get("content"), f"{path}.content")
        calls = message.get("tool_calls")
        if calls is not None and not _is_list_of_objects(calls):
            raise expected(f"{path}.tool_calls", "a list of objects", calls)


def _check_content(content: object, path: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise expected(path, "a string or a list of parts", content)
    for index, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise expected(f"{path}[{index}]", "an object with a `type`", part)


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_token_count(value: object) -> bool:
    return is_whole(value) and value >= 1


def _is_choice_count(value: object) -> bool:
    return _is_token_count(value) and isinstance(value, int) and value <= MOST_CHOICES


_TOKENS: Check = (_is_token_count, "a whole number of 1 or more")

_FIELDS: Mapping[str, Check] = MappingProxyType(
    {
        "stream": BOOLEAN,
        "stream_options": OBJECT,
        "n": (_is_choice_count, f"a whole number from 1 to {MOST_CHOICES}"),
        "max_tokens": _TOKENS,
        "max_completion_tokens": _TOKENS,
        "temperature": NUMBER,
        "top_p": NUMBER,
        "seed": WHOLE,
        "stop": (
            lambda v: isinstance(v, str) or STRINGS[0](v),
            "a string or a list of strings",
        ),
        "tools": (_is_list_of_objects, "a list of objects"),
        "tool_choice": (lambda v: isinstance(v, str | dict), "a string or an object"),
        "parallel_tool_calls": BOOLEAN,
        "response_format": OBJECT,
        "logprobs": BOOLEAN,
        "modalities": STRINGS,
        "user": STRING,
        "metadata": OBJECT,
        "logit_bias": OBJECT,
    }
)
