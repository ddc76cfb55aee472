"""Request fields by what happens where a model of a provider does not take them.

A *hint* is translated, or left out and named; a field with *meaning* makes the route impossible for
this request. Rows are uses of a chat completion's body: an adapter of another dialect checks the
chat body that the request's form writes to. `docs/parameters.md` is made of them
(`openai_parameters_page.py`). Fields that no row names are unknown: they go through where door and
provider speak the same dialect.

What is known of providers and their models is data, in `openai_differences.py`:

    differences = differences_for(api, provider, route.model)
    checked = check(chat_body, differences, refuse_unsupported=…)

A body is written the provider's way by `openai_adapting.adapted`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import msgspec

from signalbox.adapters.openai_prefill import PrefillStyle
from signalbox.adapters.openai_reasoning import (
    EFFORT,
    ReasoningStyle,
    reasoning_fields,
    wishes_thinking,
)
from signalbox.adapters.tool_ids import ToolIds

Body = Mapping[str, Any]

OPENROUTER = "openrouter"

GATEWAY_FIELDS = frozenset({"extra"})
"""Read by the gateway; no provider ever sees them."""
OPENROUTER_ROUTING_FIELDS = frozenset(
    {"models", "provider", "preset", "usage", "session_id", "route"}
)
"""OpenRouter's fields that the gateway acts on itself: they reach no provider but OpenRouter."""
REASONING_BACK = ("reasoning_content", "reasoning", "reasoning_details")
"""The fields of an assistant message that hold what it thought."""


class ParameterClass(StrEnum):
    HINT = "hint"
    MEANING = "meaning"


class Parameter(msgspec.Struct, frozen=True):
    """One row: a use of a body field."""

    name: str
    kind: ParameterClass
    field: str
    """The body's field, as errors and `x-signalbox-dropped` name it. A dot leads into it: then the
    field itself stays."""
    used: Callable[[Body], bool]
    rare: bool = False
    """Only providers that name it among `takes` have it."""


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


class Differences(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider, or one of its models, differs from what OpenAI's dialect has."""

    lacks: frozenset[str] = frozenset()
    """Names of `PARAMETERS` rows that it does not take."""
    lacks_thinking: frozenset[str] = frozenset()
    """Those that it does not take while it thinks."""
    thinks_unasked: bool = True
    """It thinks where the request does not say."""
    takes: frozenset[str] = frozenset()
    """Names of the rare rows that it takes."""
    renames: Mapping[str, str] = msgspec.field(default_factory=_nothing)
    """OpenAI's field → the provider's own name for the same."""
    max_temperature: float = 2.0
    roles: Mapping[str, str] = msgspec.field(default_factory=_nothing)
    """A message's role → the one to write instead."""
    one_instruction_role: bool = False
    """It refuses `system` beside `developer` messages: all become `developer`."""
    reasoning: ReasoningStyle | None = EFFORT
    """How it is told to think; None: it does not."""
    reasoning_back: frozenset[str] | None = None
    """Which of `REASONING_BACK` an assistant message may have; None: all, as they came."""
    tool_ids: ToolIds | None = None
    """What the ids of tool calls must look like; None: anything."""
    functions: bool = True
    """It takes the deprecated `functions` and `function_call`."""
    refuses_begun: bool = False
    """A last message of the assistant is refused unless `prefill` marks it."""
    refuses_empty: bool = False
    """Messages of the assistant that say and call nothing are refused."""
    streams_usage_unasked: bool = False
    """It refuses `stream_options` and reports usage in every stream by itself."""
    reasoning_apart: bool = False
    """Its `completion_tokens` leaves reasoning out."""
    routes_itself: bool = False
    """It acts on OpenRouter's routing fields."""
    prefill: PrefillStyle | None = None
    """How it goes on from an answer that was begun; None: not that anybody knew."""

    def lacking(self, body: Body) -> frozenset[str]:
        """The rows that it does not take in this body."""
        if not self.lacks_thinking:
            return self.lacks
        thinks = wishes_thinking(body)
        if thinks is None:
            thinks = self.thinks_unasked
        return self.lacks | self.lacks_thinking if thinks else self.lacks


class ParameterCheck(msgspec.Struct, frozen=True):
    """Body fields: the hints to leave out, and those that rule the route out."""

    dropped: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()


def _given(name: str) -> Callable[[Body], bool]:
    return lambda body: body.get(name) is not None


def _hint(name: str) -> Parameter:
    return Parameter(name, ParameterClass.HINT, name, _given(name))


def _rare(name: str, kind: ParameterClass) -> Parameter:
    return Parameter(name, kind, name, _given(name), rare=True)


def _unless(name: str, usual: object) -> Parameter:
    """A hint that says nothing with the value that is usual."""
    return Parameter(
        name, ParameterClass.HINT, name, lambda body: body.get(name) not in (None, usual)
    )


def _meaning(name: str, used: Callable[[Body], bool]) -> Parameter:
    return Parameter(name, ParameterClass.MEANING, name, used)


def _use(name: str, field: str, used: Callable[[Body], bool]) -> Parameter:
    """One use of a field that has several, with meaning."""
    return Parameter(name, ParameterClass.MEANING, field, used)


def _parts(*types: str) -> Callable[[Body], bool]:
    return lambda body: any(part.get("type") in types for part in _content_parts(body))


def _content_parts(body: Body) -> Iterable[Mapping[str, Any]]:
    for message in body.get("messages") or ():
        content = message.get("content")
        if isinstance(content, list):
            yield from (part for part in content if isinstance(part, dict))


def _format(kind: str) -> Callable[[Body], bool]:
    return lambda body: _object(body.get("response_format")).get("type") == kind


def _tools(used: Callable[[Mapping[str, Any]], bool]) -> Callable[[Body], bool]:
    return lambda body: any(used(_object(tool)) for tool in _list(body.get("tools")))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_number_above(value: object, limit: float) -> bool:
    return isinstance(value, int | float) and value > limit


def _is_strict(holder: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda value: _object(value.get(holder)).get("strict") is not None


PARAMETERS: tuple[Parameter, ...] = (
    *map(
        _hint,
        (
            "user",
            "safety_identifier",
            "metadata",
            "store",
            "seed",
            "service_tier",
            "prompt_cache_key",
            "prediction",
            "verbosity",
            "presence_penalty",
            "frequency_penalty",
            "logit_bias",
            "top_k",
            "min_p",
            "top_a",
            "repetition_penalty",
        ),
    ),
    _unless("temperature", 1),
    _unless("top_p", 1),
    Parameter(
        "parallel_tool_calls: true",
        ParameterClass.HINT,
        "parallel_tool_calls",
        lambda body: body.get("parallel_tool_calls") is True,
    ),
    Parameter("strict tools", ParameterClass.HINT, "tools.strict", _tools(_is_strict("function"))),
    Parameter(
        "strict schema",
        ParameterClass.HINT,
        "response_format.strict",
        lambda body: _is_strict("json_schema")(_object(body.get("response_format"))),
    ),
    _rare("transforms", ParameterClass.HINT),
    _rare("plugins", ParameterClass.MEANING),
    _meaning("stop", lambda body: body.get("stop") not in (None, "", [])),
    _meaning("tools", lambda body: bool(body.get("tools") or body.get("functions"))),
    _use("custom tools", "tools", _tools(lambda tool: tool.get("type") == "custom")),
    _meaning("tool_choice", lambda body: body.get("tool_choice") not in (None, "auto", "none")),
    _use(
        "parallel_tool_calls: false",
        "parallel_tool_calls",
        lambda body: body.get("parallel_tool_calls") is False,
    ),
    _meaning(
        "response_format", lambda body: body.get("response_format") not in (None, {"type": "text"})
    ),
    _use("response_format: json_schema", "response_format", _format("json_schema")),
    _use("response_format: json_object", "response_format", _format("json_object")),
    _meaning("n", lambda body: _is_number_above(body.get("n"), 1)),
    _meaning("logprobs", lambda body: body.get("logprobs") is True),
    _meaning("modalities", lambda body: body.get("modalities") not in (None, [], ["text"])),
    _use("images in messages", "messages", _parts("image_url")),
    _use("files in messages", "messages", _parts("file")),
    _use("audio in messages", "messages", _parts("input_audio")),
    _use("video in messages", "messages", _parts("video_url", "input_video")),
)

MEDIA = frozenset(
    {"images in messages", "files in messages", "audio in messages", "video in messages"}
)


def check(
    body: Body, differences: Differences, *, refuse_unsupported: bool = False
) -> ParameterCheck:
    """What of `body`, a chat completion's that `openai_body` has read, cannot be carried.

    `refuse_unsupported` makes hints count as meaning. A name with a dot is a part of a field that
    itself goes out (`reasoning.exclude`).
    """
    dropped: list[str] = []
    unsupported: list[str] = []
    for parameter in _not_carried(differences.lacking(body), differences.takes):
        if not parameter.used(body):
            continue
        meant = parameter.kind is ParameterClass.MEANING
        (unsupported if meant else dropped).append(parameter.field)
    if _is_number_above(body.get("temperature"), differences.max_temperature):
        dropped.append("temperature")
    dropped += reasoning_fields(body, differences.reasoning)[1]
    dropped += _reasoning_not_taken_back(body, differences.reasoning_back)
    if refuse_unsupported:
        unsupported, dropped = [*dropped, *unsupported], []
    return ParameterCheck(tuple(dict.fromkeys(dropped)), tuple(dict.fromkeys(unsupported)))


@lru_cache(maxsize=1024)
def _not_carried(lacking: frozenset[str], takes: frozenset[str]) -> tuple[Parameter, ...]:
    return tuple(
        parameter
        for parameter in PARAMETERS
        if (parameter.name not in takes if parameter.rare else parameter.name in lacking)
    )


def _reasoning_not_taken_back(body: Body, taken: frozenset[str] | None) -> list[str]:
    """What assistants thought in earlier turns and no field is left for."""
    if taken is None:
        return []
    lost: list[str] = []
    for message in body.get("messages") or ():
        told = [name for name in REASONING_BACK if message.get(name)]
        if message.get("role") != "assistant" or not told or taken.intersection(told):
            continue
        if not taken or told == ["reasoning_details"]:
            lost += [f"messages.{name}" for name in told]
    return lost
