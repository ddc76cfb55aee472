"""What a client may send to `/v1/completions`: OpenAI's API reference, "Completions" (legacy)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from signalbox.adapters.body_checks import (
    BOOLEAN,
    COUNT,
    NUMBER,
    OBJECT,
    STRING,
    WHOLE,
    Check,
    check_fields,
    decoded_object,
    expected,
    is_whole,
    required,
)
from signalbox.adapters.door import BadRequest, Body, Outline, Target
from signalbox.adapters.embeddings_body import MODEL, text_or_tokens
from signalbox.adapters.openai_body import MOST_CHOICES

MOST_PROMPTS = 2048
"""More than providers take; every prompt is a choice of the answer, which is kept in memory."""

_PROMPT = "a string, a list of strings, a list of token ids or a list of such lists"
_CHOICES: Final[Check] = (
    lambda v: is_whole(v) and 1 <= v <= MOST_CHOICES,
    f"a whole number from 1 to {MOST_CHOICES}",
)
_STOP: Final[Check] = (
    lambda v: (
        isinstance(v, str) or (isinstance(v, list) and all(isinstance(item, str) for item in v))
    ),
    "a string or a list of strings",
)
_FIELDS: Mapping[str, Check] = MappingProxyType(
    {
        "stream": BOOLEAN,
        "stream_options": OBJECT,
        "suffix": STRING,
        "echo": BOOLEAN,
        "logprobs": COUNT,
        "best_of": _CHOICES,
        "n": _CHOICES,
        "stop": _STOP,
        "max_tokens": COUNT,
        "temperature": NUMBER,
        "top_p": NUMBER,
        "presence_penalty": NUMBER,
        "frequency_penalty": NUMBER,
        "seed": WHOLE,
        "logit_bias": OBJECT,
        "user": STRING,
    }
)


def read_completions_body(data: bytes, target: Target) -> dict[str, Any]:
    """The decoded and validated body. Raises `BadRequest`. A path may name the model instead."""
    body = decoded_object(data)
    if target.model is None:
        required(body, "model", MODEL, "")
    prompt = body.get("prompt")
    if prompt is None:
        raise expected("prompt", _PROMPT, prompt)
    prompts = text_or_tokens(prompt, "prompt", _PROMPT)
    if len(prompts) > MOST_PROMPTS:
        raise BadRequest("prompt", f"expected at most {MOST_PROMPTS} prompts, got {len(prompts)}")
    check_fields(body, _FIELDS)
    return body


def prompts_of(body: Body) -> tuple[str | tuple[int, ...], ...]:
    return text_or_tokens(body["prompt"], "prompt", _PROMPT)


def single_text(body: Body) -> str | None:
    """The prompt, where it is one text."""
    prompts = prompts_of(body)
    return prompts[0] if len(prompts) == 1 and isinstance(prompts[0], str) else None


def peculiarities(body: Body) -> tuple[str, ...]:
    """The fields, as they are used, that nothing but a completions endpoint can carry."""
    found = [name for name in ("suffix", "logprobs") if body.get(name) not in (None, "")]
    if body.get("echo") is True:
        found.append("echo")
    if (body.get("best_of") or 1) > (body.get("n") or 1):
        found.append("best_of")
    if single_text(body) is None:
        found.append("prompt")
    return tuple(found)


def outline_of(body: Body, target: Target) -> Outline:
    """What a valid body says of itself. Each prompt has `n` choices."""
    options = body.get("stream_options")
    choices = (body.get("n") or 1) * len(prompts_of(body))
    return Outline(
        model=target.model or body["model"],
        stream=body.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        choices=choices,
        max_tokens=body.get("max_tokens") or None,
        plain=choices == 1 and not peculiarities(body),
        user=body.get("user"),
    )
