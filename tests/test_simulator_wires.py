"""The simulator's wire formats, read by the vendors' own SDKs, whole and streamed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from anthropic import Anthropic
from google import genai
from openai import AzureOpenAI, OpenAI

from tests.gateway import NO_TLS
from tests.simulator_client import simulator_process

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(196, 256))).decode()
PDF = base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def root() -> Iterator[str]:
    with simulator_process() as url:
        yield url.removesuffix("/v1")


@pytest.fixture(scope="module")
def anthropic(root: str) -> Iterator[Anthropic]:
    with Anthropic(api_key="sk-a", base_url=root, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def google(root: str) -> genai.Client:
    return genai.Client(api_key="sk-g", http_options={"base_url": root})


@pytest.fixture(scope="module")
def openai(root: str) -> Iterator[OpenAI]:
    with OpenAI(api_key="sk-o", base_url=f"{root}/v1", max_retries=0) as client:
        yield client


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def last_request(root: str) -> dict[str, Any]:
    listed = httpx.get(f"{root}/_simulator/requests", verify=NO_TLS).json()["requests"]
    return dict(listed[-1])


def test_anthropic_text_whole_and_streamed(anthropic: Anthropic, root: str) -> None:
    asked: Any = {"model": "claude-x", "max_tokens": 200, "messages": user("hello")}
    whole = anthropic.messages.create(**asked)
    assert "“hello”" in whole.content[0].text
    assert whole.stop_reason == "end_turn"
    assert last_request(root)["key"] == "sk-a"
    with anthropic.messages.stream(**asked) as stream:
        folded = stream.get_final_message()
    assert "“hello”" in folded.content[0].text  # type: ignore[union-attr]
    assert folded.usage.input_tokens == whole.usage.input_tokens
    count = anthropic.messages.count_tokens(model="claude-x", messages=user("hello"))
    assert count.input_tokens == whole.usage.input_tokens


@pytest.mark.parametrize("streamed", [False, True])
def test_anthropic_thinks_calls_tools_and_goes_on(anthropic: Anthropic, streamed: bool) -> None:
    asked: Any = {
        "model": "claude-x",
        "max_tokens": 4000,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "tools": [
            {"name": "weather", "input_schema": WEATHER},
            {"name": "now", "input_schema": {"type": "object", "properties": {}}},
        ],
    }
    messages = user("the weather and the time, both at once")

    def ask() -> Any:
        if not streamed:
            return anthropic.messages.create(messages=messages, **asked)
        with anthropic.messages.stream(messages=messages, **asked) as stream:
            return stream.get_final_message()

    first = ask()
    assert [block.type for block in first.content] == ["thinking", "tool_use", "tool_use"]
    assert first.stop_reason == "tool_use"
    assert set(first.content[1].input) == {"city"}
    assert first.content[2].input == {}
    assert first.usage.output_tokens_details.thinking_tokens > 0
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": f"result {i}"}
        for i, block in enumerate(first.content[1:])
    ]
    messages += [{"role": "assistant", "content": first.content}]
    messages += [{"role": "user", "content": results}]
    assert "“result 0 result 1”" in ask().content[1].text


def test_anthropic_media_and_structured_output(anthropic: Anthropic) -> None:
    parts: Any = [
        {"type": "text", "text": "look"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
        },
    ]
    asked: Any = {"model": "claude-x", "max_tokens": 200}
    said = anthropic.messages.create(messages=[{"role": "user", "content": parts}], **asked)
    text = said.content[0].text
    assert "[image: image/png, 68 bytes] [file: application/pdf, 15 bytes]" in text
    config: Any = {"format": {"type": "json_schema", "schema": WEATHER}}
    shaped = anthropic.messages.create(messages=user("go"), output_config=config, **asked)
    assert set(json.loads(shaped.content[0].text)) == {"city"}


def test_gemini_text_whole_streamed_and_counted(google: genai.Client, root: str) -> None:
    whole = google.models.generate_content(model="gemini-x", contents="hello")
    assert "“hello”" in str(whole.text)
    assert last_request(root)["key"] == "sk-g"
    chunks = list(google.models.generate_content_stream(model="gemini-x", contents="hello"))
    assert "“hello”" in "".join(chunk.text or "" for chunk in chunks)
    assert all(chunk.usage_metadata for chunk in chunks)
    finishes = [chunk.candidates[0].finish_reason for chunk in chunks if chunk.candidates]
    assert [str(reason) for reason in finishes if reason] == ["FinishReason.STOP"]
    assert whole.usage_metadata is not None
    count = google.models.count_tokens(model="gemini-x", contents="hello")
    assert count.total_tokens == whole.usage_metadata.prompt_token_count


def test_gemini_embeds(google: genai.Client) -> None:
    both = google.models.embed_content(model="embed-x", contents=["one", "two"]).embeddings
    one = google.models.embed_content(model="embed-x", contents="one").embeddings
    assert both is not None
    assert one is not None
    assert both[0].values == one[0].values != both[1].values


@pytest.mark.parametrize("keeps", [True, False])
def test_gemini_wants_its_signature_back(google: genai.Client, keeps: bool) -> None:
    config: Any = {
        "tools": [
            {
                "function_declarations": [
                    {"name": "weather", "parameters_json_schema": WEATHER},
                    {"name": "now"},
                ]
            }
        ],
        "thinking_config": {"include_thoughts": True},
    }
    contents: Any = [{"role": "user", "parts": [{"text": "weather and time, both"}]}]
    first = google.models.generate_content(model="gemini-3-x", contents=contents, config=config)
    assert [call.name for call in first.function_calls or ()] == ["weather", "now"]
    assert first.candidates is not None
    content = first.candidates[0].content
    assert content is not None
    parts = [part.model_copy() for part in content.parts or () if not part.thought]
    if not keeps:
        parts[0].thought_signature = None
    results = [
        {"function_response": {"name": call.name, "response": {"result": f"{call.name} ok"}}}
        for call in first.function_calls or ()
    ]
    contents += [{"role": "model", "parts": parts}, {"role": "user", "parts": results}]
    if keeps:
        then = google.models.generate_content(model="gemini-3-x", contents=contents, config=config)
        assert "“weather ok now ok”" in str(then.text)
    else:
        with pytest.raises(genai.errors.ClientError, match="thought_signature"):
            google.models.generate_content(model="gemini-3-x", contents=contents, config=config)


def test_gemini_media_and_structured_output(google: genai.Client) -> None:
    parts: Any = [
        {"inline_data": {"mime_type": "image/png", "data": base64.b64decode(PNG)}},
        {"file_data": {"mime_type": "application/pdf", "file_uri": "https://x.test/a.pdf"}},
    ]
    said = google.models.generate_content(model="gemini-x", contents={"parts": parts})
    assert "[image: image/png, 68 bytes] [file: https://x.test/a.pdf]" in str(said.text)
    schema = {name: value for name, value in WEATHER.items() if name != "additionalProperties"}
    config: Any = {"response_mime_type": "application/json", "response_schema": schema}
    shaped = google.models.generate_content(model="gemini-x", contents="go", config=config)
    assert set(json.loads(str(shaped.text))) == {"city"}


def test_responses_are_streamed_stored_and_gone_on_with(openai: OpenAI) -> None:
    tool: Any = {"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}
    asked: Any = {
        "model": "gpt-x",
        "tools": [tool],
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    }
    with openai.responses.stream(input="the weather?", **asked) as stream:
        events = list(stream)
        first = stream.get_final_response()
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(set(numbers))
    assert [item.type for item in first.output] == ["reasoning", "function_call"]
    reasoning, call = first.output
    assert reasoning.summary[0].text  # type: ignore[union-attr]
    assert reasoning.encrypted_content  # type: ignore[union-attr]
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}  # type: ignore[union-attr]
    then = openai.responses.create(input=[result], previous_response_id=first.id, **asked)
    assert "“rain”" in then.output_text
    assert openai.responses.retrieve(then.id).output_text == then.output_text
    assert openai.responses.input_items.list(then.id).data[0].type == "function_call_output"
    openai.responses.delete(then.id)
    with pytest.raises(Exception, match="not found"):
        openai.responses.retrieve(then.id)
    with pytest.raises(Exception, match="Previous response with id 'resp_none' not found"):
        openai.responses.create(model="gpt-x", input="x", previous_response_id="resp_none")
    with pytest.raises(Exception, match="Cannot cancel"):
        openai.responses.cancel(first.id)
    later = openai.responses.create(model="gpt-x", input="x", background=True)
    assert later.status == "queued"
    assert openai.responses.retrieve(later.id).status == "completed"
    assert openai.responses.cancel(later.id).status == "cancelled"


def test_a_stored_answer_is_its_keys_own(openai: OpenAI) -> None:
    mine = openai.responses.create(model="gpt-x", input="hello")
    with pytest.raises(Exception, match="not found"):
        openai.with_options(api_key="sk-other").responses.retrieve(mine.id)


def test_older_completions(openai: OpenAI) -> None:
    whole = openai.completions.create(model="gpt-x", prompt="hello", n=2, max_tokens=5)
    assert [choice.finish_reason for choice in whole.choices] == ["length", "length"]
    chunks = list(
        openai.completions.create(
            model="gpt-x", prompt="hello", stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    assert chunks[-1].usage is not None


def test_embeddings_are_the_same_as_floats_and_as_base64(openai: OpenAI, root: str) -> None:
    given: Any = ["one", "two"]
    floats = openai.embeddings.create(model="e", input=given, encoding_format="float", dimensions=8)
    decoded = openai.embeddings.create(model="e", input=given, dimensions=8)
    assert last_request(root)["body"]["encoding_format"] == "base64"
    for one, other in zip(floats.data, decoded.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, rel=1e-6)
        assert sum(value**2 for value in one.embedding) == pytest.approx(1, abs=1e-3)
    assert floats.data[0].embedding != floats.data[1].embedding
    tokens = openai.embeddings.create(model="e", input=[[1, 2], [3]])
    assert (len(tokens.data), tokens.usage.prompt_tokens) == (2, 3)


def test_chat_media_reasoning_and_parallel_calls(openai: OpenAI) -> None:
    parts: Any = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": PDF}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}},
    ]
    said = openai.chat.completions.create(
        model="gpt-x", messages=[{"role": "user", "content": parts}], reasoning_effort="low"
    )
    text = str(said.choices[0].message.content)
    assert "[image: image/png, 68 bytes] [audio: audio/wav, 15 bytes] [file: app" in text
    assert "simulated thought" in said.choices[0].message.reasoning_content  # type: ignore[attr-defined]
    assert said.usage is not None
    details = said.usage.completion_tokens_details
    assert details is not None
    assert 0 < (details.reasoning_tokens or 0) < said.usage.completion_tokens
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": WEATHER}}
    with openai.chat.completions.stream(
        model="gpt-x", messages=user("call the tool twice in parallel"), tools=[tool]
    ) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls or []
    assert len({call.id for call in calls}) == 2


def test_a_deployment_of_azures(root: str) -> None:
    with AzureOpenAI(
        api_key="sk-z", azure_endpoint=root, api_version="2024-10-21", max_retries=0
    ) as azure:
        said = azure.chat.completions.create(model="my-gpt", messages=user("hello"))
    assert said.model == "my-gpt"
    request = last_request(root)
    assert request["key"] == "sk-z"
    assert request["path"].startswith("/openai/deployments/my-gpt/chat/completions?api-version=")


def test_models_are_listed_in_each_apis_words(anthropic: Anthropic, google: genai.Client) -> None:
    assert "simulated-large" in [model.id for model in anthropic.models.list()]
    assert "models/simulated-large" in [model.name for model in google.models.list()]
