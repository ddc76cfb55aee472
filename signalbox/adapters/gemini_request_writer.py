"""A chat in the gateway's own model, written down as the body of Gemini's `generateContent`.

Source: Gemini API reference, "Generating content", with the field names of its JSON. What is left
out and what makes the route impossible is named as chat completions names it, whatever the door.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from signalbox.adapters.chat import (
    ChatRequest,
    JsonSchema,
    Native,
    Tool,
    ToolChoice,
)
from signalbox.adapters.gemini_json_schema import gemini_schema, parameters_schema
from signalbox.adapters.gemini_models import ModelTraits, rests, thinking_config, traits_of
from signalbox.adapters.gemini_turns import FAMILY, write_turns
from signalbox.adapters.message_hints import hints_left_out
from signalbox.types import Dialect

MAX_STOPS = 5
"""`GenerationConfig.stopSequences`: up to 5."""
MAX_TEMPERATURE = 2.0
MAX_CANDIDATES = 8
"""`GenerationConfig.candidateCount`: between 1 and 8."""
MAX_LOGPROBS = 20
_SEED_BITS = 0x7FFFFFFF
"""`GenerationConfig.seed` is an int32; a longer one is cut to it, and stays as repeatable."""

_LACKED_HINTS = (
    "user",
    "safety_identifier",
    "metadata",
    "store",
    "logit_bias",
    "min_p",
    "verbosity",
    "prediction",
    "prompt_cache_key",
)
"""Fields of `ChatRequest` that Gemini has nothing like."""
_SAMPLING = {"temperature": "temperature", "top_p": "topP", "top_k": "topK"}
_PENALTIES = {"presence_penalty": "presencePenalty", "frequency_penalty": "frequencyPenalty"}
_SERVICE_TIERS = {
    "default": "standard",
    "standard": "standard",
    "flex": "flex",
    "priority": "priority",
}
_SAMPLE_RATE_FORMAT = "pcm16"
"""OpenAI's name for what Gemini's voices give: 24 kHz, 16 bit, mono."""

Json = dict[str, Any]


@dataclass(slots=True)
class Written:
    """The body; `dropped` and `unsupported` are names in their order."""

    body: Json
    dropped: dict[str, None] = field(default_factory=dict)
    unsupported: dict[str, None] = field(default_factory=dict)


def write_generate_request(form: ChatRequest, model: str) -> Written:
    """`model`: the provider's own name for it."""
    traits = traits_of(model)
    turns = write_turns(form, traits)
    into = Written({"contents": turns.contents}, turns.dropped, turns.unsupported)
    if turns.system:
        into.body["systemInstruction"] = {"parts": turns.system}
    tools = _tools(form, into)
    if tools:
        into.body["tools"] = tools
    config = _function_calling(form, into)
    if config:
        into.body["toolConfig"] = {"functionCallingConfig": config}
    generation = _generation_config(form, model, traits, into)
    if generation:
        into.body["generationConfig"] = generation
    _rest(form, into)
    return into


# ── tools ─────────────────────────────────────────────────────────────────────────────────────


def _tools(form: ChatRequest, into: Written) -> list[Json]:
    declarations: list[Json] = []
    natives: list[Json] = []
    for tool in form.tools:
        if isinstance(tool, Native):
            if tool.dialect.family == FAMILY and isinstance(tool.value, dict):
                natives.append(dict(tool.value))
            else:
                _left_out(tool, "tools", into)
        elif tool.custom is not None:
            into.unsupported["tools"] = None
        else:
            declarations.append(_declaration(tool, into))
    functions = [{"functionDeclarations": declarations}] if declarations else []
    return [*functions, *natives]


def _declaration(tool: Tool, into: Written) -> Json:
    if tool.strict:
        into.dropped["tools.strict"] = None
    if tool.cache is not None:
        into.dropped["cache_control"] = None
    written: Json = {"name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.parameters:
        written["parametersJsonSchema"] = parameters_schema(_plain(tool.parameters))
    return written


def _plain(schema: Mapping[str, Any]) -> Json:
    return schema if isinstance(schema, dict) else dict(schema)


def _function_calling(form: ChatRequest, into: Written) -> Json:
    """`functionCallingConfig`; empty where Gemini does by itself what is wished."""
    if not any(isinstance(tool, Tool) for tool in form.tools):
        return {}
    choice = form.tool_choice or ToolChoice("auto")
    if form.parallel_tool_calls is False and choice.mode != "none":
        into.unsupported["parallel_tool_calls"] = None
    if choice.mode == "none":
        return {"mode": "NONE"}
    allowed = choice.allowed if choice.name is None else (choice.name,)
    if choice.mode == "required":
        names = {} if allowed is None else {"allowedFunctionNames": list(allowed)}
        return {"mode": "ANY", **names}
    # "Function calling modes": names go with ANY and with VALIDATED, which is AUTO but for them.
    return {} if allowed is None else {"mode": "VALIDATED", "allowedFunctionNames": list(allowed)}


# ── generationConfig ──────────────────────────────────────────────────────────────────────────


def _generation_config(form: ChatRequest, model: str, traits: ModelTraits, into: Written) -> Json:
    config: Json = {}
    _sampling(form, traits, config, into)
    if form.max_tokens is not None:
        config["maxOutputTokens"] = form.max_tokens
    if form.stop:
        config["stopSequences"] = list(form.stop)
        if len(form.stop) > MAX_STOPS:
            into.unsupported["stop"] = None
    if form.n is not None and form.n > 1:
        config["candidateCount"] = form.n
        if form.n > MAX_CANDIDATES:
            into.unsupported["n"] = None
    if form.seed is not None:
        config["seed"] = form.seed & _SEED_BITS
    if form.logprobs:
        config["responseLogprobs"] = True
        if form.top_logprobs:
            config["logprobs"] = min(form.top_logprobs, MAX_LOGPROBS)
        if not traits.samples:
            into.unsupported["logprobs"] = None
    _response_format(form, traits, config, into)
    _modalities(form, traits, config, into)
    _thinking(form, model, traits, config, into)
    return config


def _sampling(form: ChatRequest, traits: ModelTraits, config: Json, into: Written) -> None:
    for name, theirs in _SAMPLING.items():
        value = getattr(form, name)
        if value is not None:
            config[theirs] = value
    if form.temperature is not None and form.temperature > MAX_TEMPERATURE:
        config["temperature"] = MAX_TEMPERATURE
        into.dropped["temperature"] = None
    for name, theirs in _PENALTIES.items():
        value = getattr(form, name)
        if value and traits.samples:
            config[theirs] = value
        elif value:
            into.dropped[name] = None


def _response_format(form: ChatRequest, traits: ModelTraits, config: Json, into: Written) -> None:
    wanted = form.response_format
    if wanted is None:
        return
    config["responseMimeType"] = "application/json"
    if isinstance(wanted, JsonSchema):
        config["responseJsonSchema"] = gemini_schema(_plain(wanted.schema))
    if form.tools and not traits.newest:
        # "Function calling with a response mime type: 'application/json' is unsupported", a 400.
        into.unsupported["response_format"] = None


def _modalities(form: ChatRequest, traits: ModelTraits, config: Json, into: Written) -> None:
    """Text is given unasked. Voices speak what OpenAI calls `pcm16`, and nothing is recoded."""
    wanted = [modality for modality in form.modalities if modality != "text"]
    if not wanted:
        if traits.speaks:
            config["responseModalities"] = ["AUDIO"]
        return
    able = {"image": traits.draws, "audio": traits.speaks}
    if not all(able.get(modality, False) for modality in wanted):
        into.unsupported["modalities"] = None
    given = wanted if traits.speaks else form.modalities
    config["responseModalities"] = [modality.upper() for modality in given]
    if "audio" in wanted:
        _voice(form.audio or {}, config, into)


def _voice(audio: Mapping[str, Any], config: Json, into: Written) -> None:
    if audio.get("format", _SAMPLE_RATE_FORMAT) != _SAMPLE_RATE_FORMAT:
        into.unsupported["audio"] = None
    voice = audio.get("voice")
    if isinstance(voice, str):
        config["speechConfig"] = {
            "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}},
        }


def _thinking(
    form: ChatRequest, model: str, traits: ModelTraits, config: Json, into: Written
) -> None:
    wish = form.reasoning
    thinking = thinking_config(wish, model, form.max_tokens)
    if thinking:
        config["thinkingConfig"] = thinking
    elif wish is not None and traits.thinking is None and not rests(wish):
        into.dropped["reasoning"] = None


# ── the rest ──────────────────────────────────────────────────────────────────────────────────


def _rest(form: ChatRequest, into: Written) -> None:
    for name in _LACKED_HINTS:
        if getattr(form, name) not in (None, {}, False):
            into.dropped[name] = None
    into.dropped |= hints_left_out(form, Dialect.GENERATE)
    if form.audio is not None and "audio" not in form.modalities:
        into.dropped["audio"] = None
    if form.cache is not None:
        into.dropped["cache_control"] = None
    if form.service_tier not in (None, "auto"):
        tier = _SERVICE_TIERS.get(form.service_tier or "")
        if tier is None:
            into.dropped["service_tier"] = None
        else:
            into.body["serviceTier"] = tier
    own = form.dialect.family == FAMILY
    for name, value in form.unknown.items():
        if own:
            into.body.setdefault(name, value)
        else:
            into.dropped[name] = None
    for native in form.native:
        if native.dialect.family == FAMILY:
            into.body.setdefault(native.name, native.value)
        else:
            _left_out(native, native.name, into)


def _left_out(native: Native, name: str, into: Written) -> None:
    if native.meaning:
        into.unsupported[name] = None
    else:
        into.dropped[native.name or name] = None
