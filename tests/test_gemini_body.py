"""Bodies that the doors of Gemini refuse, and which field they name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalbox.adapters.door import BadRequest, Target
from signalbox.adapters.gemini_body import outline_of
from signalbox.adapters.gemini_body import read_generate_body as read_body
from signalbox.adapters.gemini_request_reader import read_generate_request
from tests.test_gemini_request_reader import TARGET, ask, content, read


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], None),
        ({}, "contents"),
        ({"contents": "Hi"}, "contents"),
        (ask("Hi"), "contents[0]"),
        (ask({"role": "robot", "parts": []}), "contents[0].role"),
        (ask(content("Hi")), "contents[0].parts[0]"),
        (ask(content({"text": 5})), "contents[0].parts[0].text"),
        (ask(content({"inline_data": {}})), "contents[0].parts[0].inline_data.data"),
        (ask(content({"functionCall": {}})), "contents[0].parts[0].functionCall.name"),
        (
            ask(content({"functionCall": {"name": "f", "args": "{}"}})),
            "contents[0].parts[0].functionCall.args",
        ),
        (ask(system_instruction="Be brief."), "system_instruction"),
        (
            ask(tools=[{"functionDeclarations": [{}]}]),
            "tools[0].functionDeclarations[0].name",
        ),
        (ask(generationConfig={"temperature": "hot"}), "generationConfig.temperature"),
        (ask(generationConfig={"candidateCount": 1000}), "generationConfig.candidateCount"),
        (
            ask(generation_config={"thinking_config": {"thinking_budget": "much"}}),
            "generation_config.thinking_config.thinking_budget",
        ),
    ],
)
def test_what_is_wrong_is_named(body: Any, param: str | None) -> None:
    with pytest.raises(BadRequest) as refused:
        read_body(json.dumps(body).encode(), TARGET)
    assert refused.value.param == param


def test_the_path_must_name_a_model() -> None:
    with pytest.raises(BadRequest):
        read_body(json.dumps(ask()).encode(), Target(" "))


NAMES = [
    *("text", "thought", "thoughtSignature", "inlineData", "fileData", "functionCall", "data"),
    *("functionResponse", "name", "args", "response", "parts", "role", "mimeType", "file_uri"),
    *("functionDeclarations", "parameters", "type", "properties", "items", "nullable", "enum"),
    *("temperature", "topK", "thinkingConfig", "responseModalities", "speechConfig", "mode"),
    *("functionCallingConfig", "allowedFunctionNames", "responseSchema", "responseMimeType"),
]
FIELDS = ["contents", "tools", "toolConfig", "generationConfig", "systemInstruction", "labels"]
WORDS = ["model", "user", "f", "image/png", "ANY", "STRING", "application/json"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES), inner | st.sampled_from(WORDS), max_size=5)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4), JSON)
def test_any_json_is_read_or_refused(more: dict[str, Any], parts: Any) -> None:
    body = {**ask({"role": "user", "parts": parts}), **more}
    try:
        decoded = read_body(json.dumps(body).encode(), TARGET)
    except BadRequest:
        return
    outline_of(decoded, TARGET)
    read_generate_request(decoded, "m", stream=False)


def test_a_schema_may_be_deep() -> None:
    schema: dict[str, Any] = {"type": "STRING"}
    for _ in range(300):
        schema = {"type": "ARRAY", "items": schema}
    form = read(ask(tools=[{"functionDeclarations": [{"name": "f", "parameters": schema}]}]))
    assert len(form.tools) == 1
