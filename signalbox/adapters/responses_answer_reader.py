"""What a provider of the Responses API answers in one piece.

Format: OpenAI API reference, "The response object". Items that nobody here knows go through as they
came.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

import msgspec

from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    Media,
    MediaKind,
    Native,
    Part,
    Reasoning,
    ReasoningFormat,
    Refusal,
    Text,
    ToolCall,
)
from signalbox.adapters.openai_errors import clean, decode_body_error
from signalbox.adapters.openai_wire import DECODE_ERRORS, read_usage
from signalbox.adapters.protocol import Answer
from signalbox.adapters.provider_state import made
from signalbox.adapters.responses_request_reader import citation
from signalbox.errors import Failure, FailureKind, ProviderProtocolError
from signalbox.types import Dialect, Usage

Json = Mapping[str, Any]

_EXCERPT_CHARS = 200
CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_REFUSED = frozenset({"bio_policy", "misalignment_policy_violation", "content_filter"})
_PENDING = ("queued", "in_progress")


# ── whole answers ─────────────────────────────────────────────────────────────────────────────


def read_response(
    body: bytes, format: ReasoningFormat, *, told: bool, reasoning_apart: bool = False
) -> Answer | Failure:
    """`told`: the answer is to be in the gateway's model too."""
    try:
        fields = msgspec.json.decode(body)
    except DECODE_ERRORS as error:
        raise not_json(body, error) from error
    if not isinstance(fields, dict) or not isinstance(fields.get("output"), list):
        if isinstance(fields, dict | list) and (fields and not _is_response(fields)):
            return decode_body_error(fields, FailureKind.SERVER_ERROR)
        raise ProviderProtocolError("the answer is no response")
    failure = failure_of_response(fields)
    if failure is not None:
        return failure
    items = [item for item in fields["output"] if isinstance(item, dict)]
    usage = usage_of(fields, reasoning_apart=reasoning_apart)
    chars = sum(chars_of(item) for item in items)
    if fields.get("status") in _PENDING:
        # It answers in the background: what came is the promise of it.
        chars = max(1, chars)
    return Answer(
        body=fields,
        content_chars=chars,
        finish_reason=finish_of(fields),
        usage=usage,
        id=text_of(fields.get("id")),
        made=made(fields, Dialect.RESPONSES),
        told=_told(fields, items, usage, format) if told else None,
    )


def _is_response(fields: object) -> bool:
    return isinstance(fields, dict) and fields.get("object") == "response"


def _told(
    fields: Json, items: list[dict[str, Any]], usage: Usage | None, format: ReasoningFormat
) -> ChatAnswer:
    parts = [part for item in items for part in parts_of(item, format)]
    logprobs = [each for item in items for each in _logprobs_of(item)]
    created = fields.get("created_at")
    choice = AnswerChoice(
        tuple(parts),
        finish_of(fields),
        native_finish=text_of(fields.get("status")),
        logprobs=tuple(logprobs) or None,
    )
    return ChatAnswer(
        (choice,),
        usage,
        id=text_of(fields.get("id")),
        model=text_of(fields.get("model")),
        created=int(created) if _is_finite(created) else None,
        service_tier=text_of(fields.get("service_tier")),
    )


def parts_of(item: Json, format: ReasoningFormat) -> Iterable[Part]:
    kind = text_of(item.get("type"))
    if kind == "message":
        for part in dicts(item.get("content")):
            if isinstance(part.get("text"), str):
                citations = tuple(map(citation, dicts(part.get("annotations"))))
                yield Text(part["text"], citations)
            elif isinstance(part.get("refusal"), str):
                yield Refusal(part["refusal"])
    elif kind in CALLS:
        yield ToolCall(
            text_of(item.get("call_id")) or text_of(item.get("id")) or "",
            text_of(item.get("name")) or "",
            text_of(item.get(CALLS[kind])) or "",
            custom=kind == "custom_tool_call",
        )
    elif kind == "reasoning":
        text, summary = _reasoning_text(item)
        yield Reasoning(
            text,
            summary,
            encrypted=text_of(item.get("encrypted_content")),
            id=text_of(item.get("id")),
            format=format,
        )
    elif kind == "image_generation_call" and text_of(item.get("result")):
        yield Media(MediaKind.IMAGE, _picture_type(item), data=item["result"])
    else:
        yield Native(Dialect.RESPONSES, item, name=str(kind))


def _reasoning_text(item: Json) -> tuple[str, bool]:
    """The text, and whether it is a summary."""
    for name in ("summary", "content"):
        texts = [part["text"] for part in dicts(item.get(name)) if text_of(part.get("text"))]
        if texts:
            return "\n\n".join(texts), name == "summary"
    return "", False


def _logprobs_of(item: Json) -> Iterable[Json]:
    for part in dicts(item.get("content")):
        yield from dicts(part.get("logprobs"))


def chars_of(item: Json) -> int:
    """Of content; what a provider's own tool did counts as one."""
    kind = text_of(item.get("type"))
    if kind == "message":
        parts = dicts(item.get("content"))
        return sum(len(text_of(p.get("text")) or text_of(p.get("refusal")) or "") for p in parts)
    if kind == "reasoning":
        return len(_reasoning_text(item)[0])
    if kind in CALLS:
        return len(text_of(item.get("name")) or "") + len(text_of(item.get(CALLS[kind])) or "")
    return 1


def finish_of(response: Json) -> str:
    """In OpenAI's words for chat completions. What is incomplete for a reason that nobody here
    knows was cut all the same."""
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        return "content_filter" if reason == "content_filter" else "length"
    calls = any(text_of(item.get("type")) in CALLS for item in dicts(response.get("output")))
    return "tool_calls" if calls else "stop"


def failure_of_response(response: Json) -> Failure | None:
    """Of a response that failed or was cancelled."""
    error = response.get("error")
    if isinstance(error, dict) and error:
        return failure_of_error(error, FailureKind.SERVER_ERROR)
    if response.get("status") in ("failed", "cancelled"):
        message = f"the response is {response['status']}"
        return Failure(FailureKind.SERVER_ERROR, message)
    return None


def failure_of_error(error: Json, otherwise: FailureKind) -> Failure:
    """By the error's code; those of the response object (`invalid_prompt`, `invalid_image`, …) are
    faults of the request."""
    code = error.get("code")
    if isinstance(code, str):
        if code in _REFUSED or code.endswith("content_policy_violation"):
            otherwise = FailureKind.CONTENT_POLICY
        elif code.startswith(("invalid_", "image_", "empty_image", "unsupported_image")):
            otherwise = FailureKind.INVALID_REQUEST
    return decode_body_error({"error": error}, otherwise)


def usage_of(response: Json, *, reasoning_apart: bool) -> Usage | None:
    """The same counts as a chat completion's under other names."""
    usage = response.get("usage")
    if not isinstance(usage, dict):
        return None
    renamed = {
        "prompt_tokens": usage.get("input_tokens"),
        "completion_tokens": usage.get("output_tokens"),
        "total_tokens": usage.get("total_tokens"),
        "prompt_tokens_details": usage.get("input_tokens_details"),
        "completion_tokens_details": usage.get("output_tokens_details"),
    }
    return read_usage(renamed, reasoning_apart=reasoning_apart)


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def _picture_type(item: Json) -> str:
    return f"image/{text_of(item.get('output_format')) or 'png'}"


def dicts(values: object) -> list[dict[str, Any]]:
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []


def text_of(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def not_json(data: bytes, error: Exception) -> ProviderProtocolError:
    excerpt = clean(data[: _EXCERPT_CHARS * 4].decode("utf-8", "replace"), _EXCERPT_CHARS)
    return ProviderProtocolError(f"not a response in JSON ({error}): {excerpt}")
