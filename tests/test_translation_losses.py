"""Nothing that a client says is lost in silence: of every element of every documented field, one by
one, behind every door and to every wire of another dialect: with it another body is sent than
without it, or it is named as dropped, or the route is refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
from anthropic.types import message_create_params as messages
from anthropic.types.beta import message_create_params as beta_messages
from google.genai import types as google
from openai.types import completion_create_params as completions
from openai.types import embedding_create_params as embeddings
from openai.types.chat import completion_create_params as chat
from openai.types.responses import response_create_params as responses

from signalbox.types import Dialect
from tests.hostile_bodies import PLAIN, SEEDS, Path, paths_in, sparse, without
from tests.translation_wires import foreign_wires, made_of, wires_of

_ALONE = "it changes a field that is not there"
_USUAL = "it is what happens without it"
_SAID = "it says what its place says already"
_STATE = "it means something to the provider that made it, and to no other"
_STREAM = "it is about a stream"
_LABEL = "a label for people"

SAYS_NOTHING: Mapping[Dialect, Mapping[str, str]] = {
    Dialect.CHAT: {
        "function_call.*": _ALONE,
        "functions.parameters.type": _USUAL,
        "messages.content.cache_control.type": _SAID,
        "messages.content.file.filename": _LABEL,
        "messages.content.input_audio.format": _USUAL,
        "messages.extra_content.*": _STATE,
        "messages.function_call.arguments": _USUAL,
        "messages.images.type": _SAID,
        "messages.reasoning_details.format": _STATE,
        "messages.reasoning_details.id": _STATE,
        "messages.reasoning_details.type": _SAID,
        "messages.thinking_blocks.type": _SAID,
        "messages.tool_calls.extra_content.*": _STATE,
        "messages.tool_calls.id": "a call and its result are told by their order",
        "messages.tool_calls.type": _SAID,
        "parallel_tool_calls": _USUAL,
        "reasoning.effort": "`max_tokens` says it more exactly",
        "reasoning.enabled": _SAID,
        "reasoning.exclude": "it does not think",
        "reasoning.max_tokens": "`effort` says it",
        "reasoning": "it does not think",
        "response_format.json_schema.name": _LABEL,
        "response_format.json_schema.strict": _USUAL,
        "service_tier": _USUAL,
        "stream_options.*": _STREAM,
        "tool_choice.*": _ALONE,
        "tools.type": _SAID,
        "top_logprobs": _ALONE,
    },
    Dialect.RESPONSES: {
        "background": _USUAL,
        "input.content.filename": _LABEL,
        "input.content.input_audio.format": _USUAL,
        "input.content.logprobs": "there are none",
        "input.content.text": "other parts of it are named by the same name",
        "input.encrypted_content": "other parts of it are named by the same name",
        "input.id": "an item is where it stands",
        "input.status": _USUAL,
        "input.summary.*": "other parts of it are named by the same name",
        "input.type": _USUAL,
        "parallel_tool_calls": _USUAL,
        "reasoning.generate_summary": "it does not think",
        "reasoning.summary": "it does not think",
        "reasoning": "it does not think",
        "service_tier": _USUAL,
        "stream_options.*": _STREAM,
        "text.format.name": _LABEL,
        "text.format.strict": _USUAL,
        "tool_choice.*": _ALONE,
        "top_logprobs": _ALONE,
    },
    Dialect.MESSAGES: {
        "messages.content.cache_control.type": _SAID,
        "messages.content.content.source.media_type": _USUAL,
        "messages.content.source.media_type": _USUAL,
        "service_tier": _USUAL,
        "system.cache_control.type": _SAID,
        "tool_choice.*": _ALONE,
    },
    Dialect.GENERATE: {
        "contents.parts.functionResponse.id": "the call is found by its name",
        "contents.parts.mediaResolution": "it is empty",
        "contents.parts.thoughtSignature": _STATE,
        "contents.role": _USUAL,
        "generationConfig.logprobs": _ALONE,
        "generationConfig.responseModalities": _USUAL,
        "generationConfig.responseMimeType": "the schema says it",
        "generationConfig.responseSchema.*": "`responseJsonSchema` says it",
        "generationConfig.speechConfig.*": _ALONE,
        "generationConfig.thinkingConfig.*": "a budget and a level say the same",
        "generationConfig": "as its fields",
        "systemInstruction.*": "it says nothing",
        "toolConfig.*": _ALONE,
    },
    Dialect.COMPLETIONS: {"echo": _USUAL, "stream_options.*": _STREAM},
    Dialect.EMBEDDINGS: {"encoding_format": _USUAL},
    Dialect.EMBED: {"requests.content.role": _USUAL},
}
"""What may be left out without a word, and why; `.*` stands for a field and all that is in it."""


def _name(path: Path) -> str:
    return ".".join(str(step) for step in path if not isinstance(step, int))


def _heads(name: str) -> Iterator[str]:
    steps = name.split(".")
    return (".".join(steps[:many]) for many in range(1, len(steps) + 1))


def _lost(door: Dialect, wire: str) -> Iterator[tuple[str, Any]]:
    for body in sparse(door):
        whole = made_of(door, body, wire)
        if whole is None or whole.body is None:
            continue
        told: list[Path] = []
        for path in paths_in(body):
            if path[-1] in ("model", "stream") or any(path[: len(it)] == it for it in told):
                continue
            less = made_of(door, without(body, path), wire)
            if less == whole and not isinstance(path[-1], int) and path[-1] != "content":
                yield _name(path), body
            elif less is not None and less != whole and less.body == whole.body:
                told.append(path)  # named as a whole


@pytest.mark.parametrize("door", SEEDS)
def test_nothing_is_lost_in_silence(door: Dialect) -> None:
    known = SAYS_NOTHING[door]
    seen = set()
    for wire in foreign_wires(door):
        for name, body in _lost(door, wire):
            reasons = {name, *(f"{head}.*" for head in _heads(name))} & known.keys()
            assert reasons, (wire, name, body)
            seen |= reasons
    assert seen == known.keys()


@pytest.mark.parametrize("door", SEEDS)
def test_what_is_refused_is_refused_for_the_field(door: Dialect) -> None:
    for wire in wires_of(door):
        plain = made_of(door, PLAIN[door], wire)
        assert plain is not None
        assert plain.body is not None
        assert not plain.dropped


# ── the fields that the vendors' SDKs have ────────────────────────────────────────────────────

_BODY_OF_GOOGLE = {"systemInstruction", "tools", "toolConfig", "safetySettings", "cachedContent"}
_BODY_OF_GOOGLE |= {"labels", "modelArmorConfig", "serviceTier"}
_OF_GOOGLES_CLIENT = {"httpOptions", "shouldReturnHttpResponse", "automaticFunctionCalling"}


def _google(*models: Any) -> set[str]:
    named = (field.alias or name for it in models for name, field in it.model_fields.items())
    return set(named) - _OF_GOOGLES_CLIENT - {"systemInstruction"}


SDK_FIELDS: Mapping[Dialect, Iterable[str]] = {
    Dialect.CHAT: set(chat.CompletionCreateParamsBase.__annotations__),
    Dialect.RESPONSES: set(responses.ResponseCreateParamsBase.__annotations__),
    Dialect.COMPLETIONS: set(completions.CompletionCreateParamsBase.__annotations__),
    Dialect.EMBEDDINGS: set(embeddings.EmbeddingCreateParams.__annotations__),
    Dialect.MESSAGES: set(messages.MessageCreateParamsBase.__annotations__)
    | set(beta_messages.MessageCreateParamsBase.__annotations__),
    Dialect.GENERATE: _google(google.GenerateContentConfig, google.GenerationConfig),
}


def _with(door: Dialect, name: str) -> dict[str, Any] | None:
    """A body with a field that there is no example of; None where there is one."""
    seed, plain = SEEDS[door], PLAIN[door]
    if name in seed or name in seed.get("generationConfig", {}):
        return None
    if door is Dialect.GENERATE and name not in _BODY_OF_GOOGLE:
        return {**plain, "generationConfig": {name: {"x": 1}}}
    return {**plain, name: {"x": 1}}


@pytest.mark.parametrize(
    ("door", "name"), [(door, name) for door, names in SDK_FIELDS.items() for name in sorted(names)]
)
def test_no_field_of_an_sdk_is_forgotten(door: Dialect, name: str) -> None:
    """A field without an example among the seeds is one that the gateway does not know."""
    body = _with(door, name)
    if body is None:
        return  # `test_nothing_is_lost_in_silence` has it
    for wire in foreign_wires(door):
        made = made_of(door, body, wire)
        assert made is not None
        named = (*made.dropped, *made.unsupported)
        assert any(name in each for each in named), (wire, made)


_NAMES = sorted({name for seed in SEEDS.values() for name in seed} | {"dialect", "unknown"})


@pytest.mark.parametrize("door", [it for it in SDK_FIELDS if it is not Dialect.EMBEDDINGS])
def test_a_foreign_field_changes_nothing(door: Dialect) -> None:
    """A field that another dialect has, and this one has not, is left out and named: it takes no
    field of that name away from what is written."""
    passing = ("model", "extra", "top_k", "min_p")
    for wire in foreign_wires(door):
        plain = made_of(door, PLAIN[door], wire)
        assert plain is not None
        for name in _NAMES:
            if name in SEEDS[door] or name in passing:
                continue
            made = made_of(door, {**PLAIN[door], name: {"x": 1}}, wire)
            if made is None or made.body is None:
                continue
            assert made.body == plain.body, (wire, name)
            assert name in made.dropped, (wire, name)
