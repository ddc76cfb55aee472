"""The published table of parameters says of Anthropic what the writer of its bodies does."""

from typing import Any

import pytest

from signalbox.adapters.anthropic_request_writer import write_messages_request
from signalbox.adapters.openai_differences import differences_for
from signalbox.adapters.openai_parameters import check
from signalbox.adapters.openai_request_reader import read_chat_request
from signalbox.types import Route

FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
TOOL = {"type": "function", "function": FUNCTION}
SCHEMA = {"name": "s", "schema": FUNCTION["parameters"]}


def asked_with(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, *parts]}]}


USES: tuple[dict[str, Any], ...] = (
    {"user": "u"},
    {"safety_identifier": "u"},
    {"metadata": {"a": "b"}},
    {"store": True},
    {"seed": 1},
    {"service_tier": "auto"},
    {"prompt_cache_key": "k"},
    {"prediction": {"type": "content", "content": "x"}},
    {"verbosity": "low"},
    {"presence_penalty": 1},
    {"frequency_penalty": 1},
    {"logit_bias": {"1": 1}},
    {"top_k": 3},
    {"min_p": 0.1},
    {"repetition_penalty": 1.1},
    {"temperature": 0.5},
    {"temperature": 1.5},
    {"top_p": 0.5},
    {"stop": ["END"]},
    {"tools": [TOOL]},
    {"tools": [TOOL], "parallel_tool_calls": True},
    {"tools": [TOOL], "parallel_tool_calls": False},
    {"tools": [TOOL], "tool_choice": "required"},
    {"tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}]},
    {"tools": [{"type": "custom", "custom": {"name": "c"}}]},
    {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
    {"response_format": {"type": "json_object"}},
    {"n": 2},
    {"logprobs": True},
    {"modalities": ["text", "audio"]},
    asked_with({"type": "image_url", "image_url": {"url": "https://x.test/y.png"}}),
    asked_with({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}),
    asked_with({"type": "video_url", "video_url": {"url": "https://x.test/y.mp4"}}),
    {"reasoning_effort": "high", "temperature": 0.5, "top_k": 3},
)
MODELS = (
    "claude-3-haiku-20240307",
    "claude-sonnet-4-20250514",
    "claude-sonnet-4-5-20250929",
    "claude-opus-4-6",
    "claude-opus-4-8",
    "claude-opus-5",
    "claude-sonnet-5-5",
)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("use", USES, ids=str)
def test_the_table_and_the_writer_agree(use: dict[str, Any], model: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **use}
    listed = check(body, differences_for("anthropic", "any", model))
    written = write_messages_request(read_chat_request(body), Route("any", model))
    assert (set(written.dropped), set(written.unsupported)) == (
        set(listed.dropped),
        set(listed.unsupported),
    )
