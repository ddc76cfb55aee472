"""The door of OpenAI's dialect: what a client may send, and what it is sent.

A provider of the same dialect is not rewritten: its chunks go out with their own bytes. Changed
is only what clients stumble over: usage nobody asked for, a second finish reason (LangChain
concatenates them: `stopstop`), a chunk without choices (many clients read `choices[0]` unseen).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import msgspec

from signalbox.adapters.protocol import Answer, Delta
from signalbox.adapters.sse import sse_event
from signalbox.errors import ApiError, SignalboxError
from signalbox.types import Usage

DONE = sse_event(b"[DONE]")
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
MOST_CHOICES = 128
"""OpenAI's own limit for `n`."""

_NULL = msgspec.Raw(b"null")
_CHUNK = "chat.completion.chunk"
_ENVELOPE = ("id", "object", "created", "model", "service_tier", "system_fingerprint")
_Fields = dict[str, msgspec.Raw]
_fields_decoder = msgspec.json.Decoder(_Fields)
_choices_decoder = msgspec.json.Decoder(list[_Fields])


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


def error_body(error: ApiError, trace_id: str) -> dict[str, object]:
    """The error object in OpenAI's form; `metadata` holds the trace and what was tried."""
    attempts = [
        {name: value for name, value in asdict(attempt).items() if value is not None}
        for attempt in error.attempts
    ]
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "code": error.code,
            "param": error.param,
            "metadata": {"trace_id": trace_id, "attempts": attempts},
        }
    }


def encode_answer(body: Mapping[str, object], provider: str, cost: str | None) -> bytes:
    """The provider's JSON with `provider` and, where both are known, `usage.cost` put in."""
    answer: dict[str, object] = {**body, "provider": provider}
    usage = answer.get("usage")
    if cost is not None and isinstance(usage, dict):
        answer["usage"] = {**usage, "cost": msgspec.Raw(cost.encode())}
    return msgspec.json.encode(answer)


def usage_object(usage: Usage) -> dict[str, object]:
    """`usage` as OpenAI writes it; details that are not known are left out."""
    prompt, completion = usage.input_total, usage.output_total
    fields: dict[str, object] = {"prompt_tokens": prompt, "completion_tokens": completion}
    if prompt is not None and completion is not None:
        fields["total_tokens"] = prompt + completion
    cache = {"cached_tokens": usage.cached_read, "cache_write_tokens": usage.cache_write}
    known = {name: count for name, count in cache.items() if count is not None}
    if known:
        fields["prompt_tokens_details"] = known
    if usage.reasoning is not None:
        fields["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return fields


class ChatEncoder:
    """`DoorEncoder` for chat completions. One serves one request.

    The client gets exactly one finish reason per choice and, with `include_usage`, exactly one
    usage chunk (`choices: []`, before `[DONE]`), otherwise none.
    """

    def __init__(self, *, include_usage: bool, trace_id: str) -> None:
        self._include_usage = include_usage
        self._trace_id = trace_id
        self._finished: set[int] = set()
        self._last = b"{}"
        self._usage_chunk: _Fields | None = None
        """The provider's last chunk with usage, without its choices."""

    def delta(self, delta: Delta) -> bytes:
        """The event's bytes; empty for a chunk without choices. Such a chunk holds usage, which
        is sent at the end, or Azure's `prompt_filter_results`, which is not sent."""
        raw = delta.raw
        if delta.has_choices:
            self._last = raw
        elif delta.usage is None:
            return b""
        says_usage = b'"usage"' in raw and (delta.usage is not None or b'"usage":null' not in raw)
        if not says_usage and not delta.finish_reasons:
            return sse_event(raw)
        repeated = {index for index, _ in delta.finish_reasons} & self._finished
        self._finished.update(index for index, _ in delta.finish_reasons)
        if not says_usage and not repeated:
            return sse_event(raw)
        fields = _fields_decoder.decode(raw)
        usage = fields.get("usage")
        if usage is not None and bytes(usage) != b"null":
            if delta.usage is not None:
                self._keep_usage(fields, whole=not delta.has_choices)
            del fields["usage"]
        if not delta.has_choices:
            return b""
        if repeated:
            fields["choices"] = _without_finish_reasons(fields["choices"], repeated)
        return sse_event(msgspec.json.encode(fields))

    def finish(self, provider: str, cost: str | None, usage: Usage | None) -> bytes:
        """The usage chunk, where it was asked for, and the end mark.

        The provider's own usage object is kept and `cost` added; where the provider said nothing
        (or `usage` is an estimate for what it could not say) the object is made of `usage`.
        """
        if not self._include_usage:
            return DONE
        chunk = self._envelope() if self._usage_chunk is None else self._usage_chunk
        known: dict[str, object] | None = None
        if self._usage_chunk is not None and not (usage and usage.estimated):
            known = dict(_fields_decoder.decode(self._usage_chunk["usage"]))
        elif usage is not None:
            known = usage_object(usage)
        if known is not None and cost is not None:
            known["cost"] = msgspec.Raw(cost.encode())
        last = {**chunk, "object": _CHUNK, "choices": [], "provider": provider, "usage": known}
        return sse_event(msgspec.json.encode(last)) + DONE

    def error(self, error: ApiError) -> bytes:
        """One chunk with `error` at its top and `finish_reason: "error"`, then the end mark.

        OpenAI's SDKs raise `APIError` for any event with an `error`; a client that does not look
        there sees a finish reason that is no success.
        """
        choice = {"index": 0, "delta": {}, "finish_reason": "error"}
        chunk = {**self._envelope(), "choices": [choice], **error_body(error, self._trace_id)}
        return sse_event(msgspec.json.encode(chunk)) + DONE

    def answer(self, answer: Answer, provider: str, cost: str | None) -> bytes:
        return encode_answer(answer.body, provider, cost)

    def _keep_usage(self, fields: _Fields, *, whole: bool) -> None:
        if whole:
            self._usage_chunk = dict(fields)
        else:
            kept = (*_ENVELOPE, "usage")
            self._usage_chunk = {name: fields[name] for name in kept if name in fields}

    def _envelope(self) -> dict[str, object]:
        """The top-level fields of the chunks so far; with an id of the gateway's before any."""
        fields = _fields_decoder.decode(self._last)
        known = {name: fields[name] for name in _ENVELOPE if name in fields}
        return {"id": f"chatcmpl-{self._trace_id}", **known, "object": _CHUNK}


def _without_finish_reasons(choices: msgspec.Raw, indexes: set[int]) -> msgspec.Raw:
    rewritten = _choices_decoder.decode(choices)
    for choice in rewritten:
        if (msgspec.json.decode(choice.get("index", _NULL)) or 0) in indexes:
            choice["finish_reason"] = _NULL
    return msgspec.Raw(msgspec.json.encode(rewritten))
