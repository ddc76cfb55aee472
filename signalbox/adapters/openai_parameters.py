"""Request fields by what happens where a provider with OpenAI's dialect does not take them.

A *hint* is left out and named; a field with *meaning* makes the provider impossible for this
request. `docs/parameters.md` is `render()`. Fields that no row names are unknown: they go through
as they are, for the door and the provider speak the same dialect.

`DIFFERENCES` holds what providers document or were recorded to do otherwise than OpenAI, by the
provider's name in the configuration; a name that is not there is taken to take everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import msgspec

from signalbox.adapters.openai_prefill import PLAIN, PrefillStyle

Body = Mapping[str, Any]

OPENROUTER = "openrouter"

GATEWAY_FIELDS = frozenset({"extra"})
"""Read by the gateway; no provider ever sees them."""
OPENROUTER_ROUTING_FIELDS = frozenset(
    {"models", "provider", "preset", "usage", "session_id", "route"}
)
"""OpenRouter's fields that the gateway acts on itself: they reach no provider but OpenRouter."""


class ParameterClass(StrEnum):
    HINT = "hint"
    MEANING = "meaning"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row: a use of a body field."""

    name: str
    kind: ParameterClass
    field: str
    """The body's top-level field, as errors and `x-signalbox-dropped` name it."""
    used: Callable[[Body], bool]
    only: str | None = None
    """The one provider that takes it."""


@dataclass(frozen=True, slots=True)
class Differences:
    """How a provider differs from OpenAI."""

    lacks: frozenset[str] = frozenset()
    """Names of `PARAMETERS` rows that it does not take."""
    renames: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """OpenAI's field → the provider's own name for the same."""
    max_temperature: float = 2.0
    streams_usage_unasked: bool = False
    """It refuses `stream_options` and reports usage in every stream by itself."""
    reasoning_apart: bool = False
    """Its `completion_tokens` leaves reasoning out."""
    prefill: PrefillStyle | None = None
    """How it goes on from an answer that was begun; None: not that anybody knew."""


@dataclass(frozen=True, slots=True)
class ParameterCheck:
    """Body fields: the hints to leave out, and those that rule the provider out."""

    dropped: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()


def _given(name: str) -> Callable[[Body], bool]:
    return lambda body: body.get(name) is not None


def _hint(name: str, only: str | None = None) -> Parameter:
    return Parameter(name, ParameterClass.HINT, name, _given(name), only)


def _meaning(name: str, used: Callable[[Body], bool], only: str | None = None) -> Parameter:
    return Parameter(name, ParameterClass.MEANING, name, used, only)


def _parts(*types: str) -> Callable[[Body], bool]:
    return lambda body: any(part.get("type") in types for part in _content_parts(body))


def _content_parts(body: Body) -> Iterable[Mapping[str, Any]]:
    for message in body.get("messages") or ():
        content = message.get("content")
        if isinstance(content, list):
            yield from (part for part in content if isinstance(part, dict))


def _input(name: str, *types: str) -> Parameter:
    return Parameter(name, ParameterClass.MEANING, "messages", _parts(*types))


def _is_number_above(value: object, limit: float) -> bool:
    return isinstance(value, int | float) and value > limit


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
        ),
    ),
    Parameter(
        "parallel_tool_calls: true",
        ParameterClass.HINT,
        "parallel_tool_calls",
        lambda body: body.get("parallel_tool_calls") is True,
    ),
    _hint("reasoning", only=OPENROUTER),
    _hint("include_reasoning", only=OPENROUTER),
    _hint("transforms", only=OPENROUTER),
    _meaning("plugins", _given("plugins"), only=OPENROUTER),
    _meaning("tools", lambda body: bool(body.get("tools"))),
    _meaning("tool_choice", lambda body: body.get("tool_choice") not in (None, "auto", "none")),
    Parameter(
        "parallel_tool_calls: false",
        ParameterClass.MEANING,
        "parallel_tool_calls",
        lambda body: body.get("parallel_tool_calls") is False,
    ),
    _meaning(
        "response_format", lambda body: body.get("response_format") not in (None, {"type": "text"})
    ),
    _meaning("n", lambda body: _is_number_above(body.get("n"), 1)),
    _meaning("logprobs", lambda body: body.get("logprobs") is True),
    _meaning("modalities", lambda body: body.get("modalities") not in (None, [], ["text"])),
    _input("images in messages", "image_url"),
    _input("files in messages", "file"),
    _input("audio in messages", "input_audio"),
    _input("video in messages", "video_url", "input_video"),
)

_MEDIA = ("images in messages", "files in messages", "audio in messages", "video in messages")

_PARTIAL_MODE = Differences(
    prefill=PrefillStyle(message=MappingProxyType({"partial": True}), echoes=False)
)

DIFFERENCES: Mapping[str, Differences] = MappingProxyType(
    {
        # API reference: `top_k` is no parameter, and unknown ones are a 400.
        "openai": Differences(lacks=frozenset({"top_k"})),
        # "OpenAI Compatibility", unsupported features: each of these is a 400. "Assistant Message
        # Prefilling": a last message of the assistant is gone on from.
        "groq": Differences(
            lacks=frozenset({"logit_bias", "logprobs", "n", "top_k"}), prefill=PLAIN
        ),
        # Any field outside of its schema is a 422 `extra_forbidden`; it has `random_seed` and
        # `max_tokens` for two of OpenAI's, temperatures to 1.5, and always streams usage. `prefix`
        # of an assistant message: API reference; answers were seen to repeat that message.
        "mistral": Differences(
            lacks=frozenset(
                {
                    "user",
                    "safety_identifier",
                    "store",
                    "service_tier",
                    "prompt_cache_key",
                    "verbosity",
                    "logit_bias",
                    "top_k",
                    "logprobs",
                    "modalities",
                }
            ),
            renames=MappingProxyType(
                {"seed": "random_seed", "max_completion_tokens": "max_tokens"}
            ),
            max_temperature=1.5,
            streams_usage_unasked=True,
            prefill=PrefillStyle(message=MappingProxyType({"prefix": True})),
        ),
        # "OpenAI Compatibility", unsupported fields: each of these is a 400.
        "cerebras": Differences(
            lacks=frozenset(
                {
                    "frequency_penalty",
                    "presence_penalty",
                    "logit_bias",
                    "service_tier",
                    "parallel_tool_calls: true",
                    "parallel_tool_calls: false",
                }
            ),
            max_temperature=1.5,
        ),
        # API reference: content is text, and `n` is no parameter. "Chat Prefix Completion (Beta)":
        # only under the base URL that ends in /beta.
        "deepseek": Differences(
            lacks=frozenset({"n", *_MEDIA}),
            prefill=PrefillStyle(message=MappingProxyType({"prefix": True}), on_request=True),
        ),
        # Recorded: total = prompt + completion + reasoning. Reference: `logit_bias` unsupported.
        "xai": Differences(lacks=frozenset({"logit_bias"}), reasoning_apart=True),
        # docs/openai.md, supported request fields: these are not ticked.
        "ollama": Differences(lacks=frozenset({"logit_bias", "user", "n", "tool_choice"})),
        # "API Overview", assistant prefill: a last message of the assistant is gone on from.
        "openrouter": Differences(prefill=PLAIN),
        # "Partial Mode": the answer leaves the begun message out.
        "moonshot": _PARTIAL_MODE,
        "moonshotai": _PARTIAL_MODE,
        # Model Studio, "Partial mode": as Moonshot's, for models that do not think.
        "dashscope": _PARTIAL_MODE,
        "qwen": _PARTIAL_MODE,
        # "OpenAI-Compatible Server", extra parameters; `echo`, off unless asked for, repeats.
        "vllm": Differences(
            prefill=PrefillStyle(
                body=MappingProxyType(
                    {"continue_final_message": True, "add_generation_prompt": False}
                ),
                echoes=False,
            )
        ),
    }
)
_NO_DIFFERENCES = Differences()


def differences_of(provider: str) -> Differences:
    return DIFFERENCES.get(provider, _NO_DIFFERENCES)


def check(body: Body, provider: str, *, refuse_unsupported: bool = False) -> ParameterCheck:
    """What of `body` the provider does not take. `body` has passed `validate_chat_body`.

    `refuse_unsupported` makes hints count as meaning.
    """
    differences = differences_of(provider)
    dropped: list[str] = []
    unsupported: list[str] = []
    for parameter in PARAMETERS:
        if parameter.only is not None:
            carried = provider == parameter.only
        else:
            carried = parameter.name not in differences.lacks
        if carried or not parameter.used(body):
            continue
        refused = refuse_unsupported or parameter.kind is ParameterClass.MEANING
        (unsupported if refused else dropped).append(parameter.field)
    if _is_number_above(body.get("temperature"), differences.max_temperature):
        (unsupported if refuse_unsupported else dropped).append("temperature")
    return ParameterCheck(tuple(dict.fromkeys(dropped)), tuple(dict.fromkeys(unsupported)))


def render() -> str:
    """`docs/parameters.md`."""
    rows = [
        f"| `{parameter.name}` | {parameter.kind} | {_takers(parameter)} |"
        for parameter in sorted(PARAMETERS, key=lambda p: (p.kind, p.name))
    ]
    renames = [
        f"- {provider}: `{ours}` is sent as `{theirs}`."
        for provider, differences in DIFFERENCES.items()
        for ours, theirs in differences.renames.items()
    ]
    temperatures = [
        f"- {provider}: a `temperature` above {differences.max_temperature:g} (a hint) is sent as "
        f"{differences.max_temperature:g} and named."
        for provider, differences in DIFFERENCES.items()
        if differences.max_temperature != _NO_DIFFERENCES.max_temperature
    ]
    return _PAGE.format(
        rows="\n".join(rows),
        translations="\n".join([*renames, *temperatures]),
        prefills="\n".join(_prefill_rows()),
        routing=", ".join(f"`{name}`" for name in sorted(OPENROUTER_ROUTING_FIELDS)),
    )


def _prefill_rows() -> Iterable[str]:
    for provider, differences in sorted(DIFFERENCES.items()):
        style = differences.prefill
        if style is not None:
            when = "with `prefill = true`" if style.on_request else "yes"
            fields = [f"`{name}: {_json(value)}`" for name, value in style.fields]
            repeats = "may be" if style.echoes else "no"
            yield f"| {provider} | {when} | {', '.join(fields) or 'none'} | {repeats} |"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _takers(parameter: Parameter) -> str:
    if parameter.only is not None:
        return f"all but {parameter.only}"
    lacking = [name for name, it in DIFFERENCES.items() if parameter.name in it.lacks]
    return ", ".join(sorted(lacking)) or "none known"


_PAGE = """# Parameters

What happens to a field of a chat completion request where a provider does not take it. This page
is generated from `signalbox/adapters/openai_parameters.py`; a test holds the two equal.

- **hint**: left out for that provider, and named in `x-signalbox-dropped` and on the trace.
- **meaning**: that provider is skipped; 400 `unsupported_parameter` when no route is left.
- With `extra.unsupported = "refuse"` or `provider.require_parameters`, hints count as meaning.
- Fields that the table does not name go to a provider of the same dialect as they are.

| use | class | providers that do not take it |
|---|---|---|
{rows}

Translated:

{translations}

`extra` never leaves the gateway. OpenRouter's routing fields are acted on by the gateway and go to
no provider but OpenRouter: {routing}.

In streams the gateway itself asks for usage
(`stream_options.include_usage`), except at Mistral, which reports it unasked and takes no
`stream_options`.

## Prefill

A stream that broke after text was sent goes on from another route. A route that takes a prefill is
given what was sent, without trailing whitespace, as a last message of the assistant, and
`max_tokens` or `max_completion_tokens` less the tokens that this text is likely to have. A route
that does not is asked again from the start. A route's own `prefill = true` or `false` in the
configuration goes before this table; providers that it does not name take none that is known, and
with `prefill = true` get that message without any other field.

| provider | takes a prefill | fields added | repeated in the answer |
|---|---|---|---|
{prefills}
"""
