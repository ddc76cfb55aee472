"""What a client of OpenAI's dialect may send: the body of a chat completion, read with care."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from signalbox.errors import SignalboxError

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
MOST_CHOICES = 128
"""OpenAI's own limit for `n`."""


class BadRequest(SignalboxError):
    """The client's body is not what the door takes. `param` is the field's path, if it is one."""

    def __init__(self, param: str | None, message: str) -> None:
        super().__init__(message if param is None else f"{param}: {message}")
        self.param = param


def read_chat_body(data: bytes) -> dict[str, Any]:
    """The decoded and validated body of a chat completion request. Raises `BadRequest`.

    What this decodes can be encoded again, so an adapter's `build` does not fail on it.
    """
    try:
        body = msgspec.json.decode(data)
    except RecursionError:
        raise BadRequest(None, "the body is nested too deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(None, f"the body is not JSON: {error}") from None
    validate_chat_body(body)
    assert isinstance(body, dict)
    return body


def validate_chat_body(body: object) -> None:
    """Checks the fields that the gateway itself reads; raises `BadRequest` naming the first that
    is wrong, by its path, and what was expected. Everything else is left to the provider."""
    if not isinstance(body, dict):
        raise BadRequest(None, f"the body must be a JSON object, got {_kind(body)}")
    model = body.get("model")
    if not isinstance(model, str) or not model.strip():
        raise _expected("model", "the name of a model", model)
    _check_messages(body.get("messages"))
    for name, (allowed, expected) in _FIELDS.items():
        value = body.get(name)
        if value is not None and not allowed(value):
            raise _expected(name, expected, value)


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list) or not messages:
        raise _expected("messages", "a list of at least one message", messages)
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if not isinstance(message, dict):
            raise _expected(path, "an object", message)
        role = message.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise _expected(f"{path}.role", f"one of {', '.join(sorted(ROLES))}", role)
        _check_content(message.get("content"), f"{path}.content")
        calls = message.get("tool_calls")
        if calls is not None and not _is_list_of_objects(calls):
            raise _expected(f"{path}.tool_calls", "a list of objects", calls)


def _check_content(content: object, path: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise _expected(path, "a string or a list of parts", content)
    for index, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise _expected(f"{path}[{index}]", "an object with a `type`", part)


def _expected(param: str, expected: str, got: object) -> BadRequest:
    return BadRequest(param, f"expected {expected}, got {_kind(got)}")


def _kind(value: object) -> str:
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    for kind, name in ((bool, "a boolean"), (dict, "an object"), (list, "a list")):
        if isinstance(value, kind):
            return name if value else f"{name} ({msgspec.json.encode(value).decode()})"
    return "nothing" if value is None else f"the number {value}"[:60]


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_list_of_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_token_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_choice_count(value: object) -> bool:
    return _is_token_count(value) and isinstance(value, int) and value <= MOST_CHOICES


_Check = tuple[Callable[[object], bool], str]
_BOOLEAN: _Check = (lambda v: isinstance(v, bool), "true or false")
_STRING: _Check = (lambda v: isinstance(v, str), "a string")
_OBJECT: _Check = (lambda v: isinstance(v, dict), "an object")
_NUMBER: _Check = (_is_number, "a number")
_TOKENS: _Check = (_is_token_count, "a whole number of 1 or more")

_FIELDS: Mapping[str, _Check] = MappingProxyType(
    {
        "stream": _BOOLEAN,
        "stream_options": _OBJECT,
        "n": (_is_choice_count, f"a whole number from 1 to {MOST_CHOICES}"),
        "max_tokens": _TOKENS,
        "max_completion_tokens": _TOKENS,
        "temperature": _NUMBER,
        "top_p": _NUMBER,
        "seed": (_is_whole, "a whole number"),
        "stop": (
            lambda v: isinstance(v, str) or _is_list_of_strings(v),
            "a string or a list of strings",
        ),
        "tools": (_is_list_of_objects, "a list of objects"),
        "tool_choice": (lambda v: isinstance(v, str | dict), "a string or an object"),
        "parallel_tool_calls": _BOOLEAN,
        "response_format": _OBJECT,
        "logprobs": _BOOLEAN,
        "modalities": (_is_list_of_strings, "a list of strings"),
        "user": _STRING,
        "metadata": _OBJECT,
        "logit_bias": _OBJECT,
    }
)
