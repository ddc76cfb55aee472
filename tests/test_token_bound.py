"""The most that a request's input can come to."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.adapters import token_bound as bound
from signalbox.adapters.door import Target
from signalbox.adapters.doors import door_of
from signalbox.adapters.token_bound import answers_charged, image_tokens, input_bound
from signalbox.types import Dialect, InputBound, Request
from tests.chat_pieces import request_of
from tests.recordings import RECORDED, Exchange, recorded_exchanges
from tests.test_errors_at_doors import adapter_of
from tests.test_usage_totals import is_answer, read

PNG, PDF, WAV = ("A" * 4000 for _ in range(3))
TURN = {"role": "user", "content": "hello"}


def request(door: Dialect, **body: Any) -> Request:
    """As the door reads it."""
    target = Target("m", stream=False)
    read = door_of(door).read_body(json.dumps(body).encode(), target)
    outline = door_of(door).outline(read, target)
    return replace(request_of(door, read), choices=outline.choices, stream=outline.stream)


def chat(*parts: dict[str, Any], **fields: Any) -> Request:
    turns = [{"role": "user", "content": [*parts]}] if parts else [TURN]
    return request(Dialect.CHAT, model="m", messages=turns, **fields)


def size(asked: Request) -> int:
    return len(msgspec.json.encode(asked.body))


# ── against what providers counted ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("exchange", recorded_exchanges(is_answer))
def test_no_provider_has_counted_more(exchange: Exchange) -> None:
    usage, _ = read(exchange)
    sent = json.loads((RECORDED / "open" / f"{exchange.id}.json").read_text())["request"]
    if usage is None or usage.input_total is None or not isinstance(sent.get("body"), dict):
        pytest.skip("it tells no usage, or its body was not kept")
    found = input_bound(request(adapter_of(exchange).dialect, **sent["body"]))
    if not found.open_end:
        most = found.text + found.documents + found.audio
        assert usage.input_total <= most + found.images * image_tokens(exchange.path)


# ── text ──────────────────────────────────────────────────────────────────────────────────────


@given(text=st.text(max_size=200), name=st.text("ab", min_size=1))
def test_every_byte_of_text_counts_wherever_it_stands(text: str, name: str) -> None:
    plain = input_bound(chat()).text
    longer = replace(chat(), body={**chat().body, name: text})
    assert input_bound(longer).text >= plain + len(text.encode())


def test_token_ids_and_the_models_defaults_count() -> None:
    ids = list(range(10_000, 10_300))
    assert input_bound(request(Dialect.COMPLETIONS, model="m", prompt=ids)).text > len(ids)
    assert input_bound(request(Dialect.EMBEDDINGS, model="m", input=ids)).text > len(ids)
    asked = request(Dialect.MESSAGES, model="m", max_tokens=5, messages=[TURN])
    defaults = {"stop": ["x" * 500]}
    assert input_bound(replace(asked, defaults=defaults)).text > input_bound(asked).text + 500


def test_tools_count_for_what_a_provider_says_about_tools() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with_tool = chat(tools=[tool])
    assert (
        input_bound(with_tool).text == size(with_tool) + bound.REQUEST_TOKENS + bound.TOOLS_TOKENS
    )


# ── what is not text ──────────────────────────────────────────────────────────────────────────


def test_pictures_count_for_themselves_and_not_by_their_base64() -> None:
    url = f"data:image/png;base64,{PNG}"
    picture = {"type": "image_url", "image_url": {"url": url}}
    far = {"type": "image_url", "image_url": {"url": "https://example.test/a.png"}}
    asked = chat(picture, far)
    found = input_bound(asked)
    assert found == InputBound(size(asked) - len(PNG) + bound.REQUEST_TOKENS, images=2)


def test_documents_and_sound_count_by_their_length() -> None:
    file = {
        "type": "file",
        "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
    }
    sound = {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}
    asked = chat(file, sound)
    assert input_bound(asked) == InputBound(
        size(asked) - len(PDF) - len(WAV) + bound.REQUEST_TOKENS,
        documents=2 * bound.PAGE_TOKENS,
        audio=3000 // bound.BYTES_PER_AUDIO_TOKEN,
    )


def test_what_a_tool_gave_back_counts_like_what_a_user_sent() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    result = {
        "type": "tool_result",
        "tool_use_id": "t",
        "content": [{"type": "image", "source": source}],
    }
    turns = [
        TURN,
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
        },
    ]
    asked = request(
        Dialect.MESSAGES,
        model="m",
        max_tokens=5,
        messages=[*turns, {"role": "user", "content": [result]}],
    )
    assert input_bound(asked).images == 1
    assert input_bound(asked).text < 1000


def test_the_most_for_a_picture_is_the_models_own() -> None:
    assert image_tokens("gpt-4o-mini-2024-07-18") > 40_000
    assert image_tokens("anthropic/claude-opus-4-6") < 5_000
    assert image_tokens("some-model") == bound.IMAGE_TOKENS


# ── what has no bound ─────────────────────────────────────────────────────────────────────────

SEARCH = {"type": "web_search_20250305", "name": "web_search"}
BASH = {"type": "bash_20250124", "name": "bash"}


@pytest.mark.parametrize(
    ("asked", "open_end"),
    [
        (chat(), ""),
        (
            request(Dialect.RESPONSES, model="m", input="x", previous_response_id="resp_1"),
            "previous_response_id",
        ),
        (request(Dialect.RESPONSES, model="m", input="x", prompt={"id": "pmpt_1"}), "prompt"),
        (
            request(Dialect.RESPONSES, model="m", input=[{"type": "item_reference", "id": "i"}]),
            "item_reference",
        ),
        (
            request(Dialect.GENERATE, contents=[{"parts": [{"text": "x"}]}], cachedContent="c/1"),
            "cachedContent",
        ),
        (
            request(
                Dialect.GENERATE,
                contents=[{"parts": [{"text": "x"}]}],
                tools=[{"googleSearch": {}}],
            ),
            "the tool googleSearch, which the provider runs",
        ),
        (
            request(Dialect.MESSAGES, model="m", max_tokens=5, messages=[TURN], tools=[SEARCH]),
            "the tool web_search_20250305, which the provider runs",
        ),
        (request(Dialect.MESSAGES, model="m", max_tokens=5, messages=[TURN], tools=[BASH]), ""),
        (
            chat({"type": "file", "file": {"file_id": "file-1"}}),
            "a file that is not in the request",
        ),
        (request(Dialect.COMPLETIONS, model="m", prompt=["a", "b"]), ""),
        (chat(web_search_options={}), "web_search_options"),
    ],
)
def test_what_is_not_in_the_request_is_named(asked: Request, open_end: str) -> None:
    assert input_bound(asked).open_end == open_end


# ── what has a price of its own ───────────────────────────────────────────────────────────────


def test_an_hours_cache_is_told_from_the_usual_one() -> None:
    def cached(**control: str) -> Request:
        block = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", **control}}
        return request(Dialect.MESSAGES, model="m", max_tokens=5, messages=[TURN], system=[block])

    assert input_bound(cached(ttl="1h")).long_cache
    assert not input_bound(cached()).long_cache


def test_a_predicted_answer_counts_once_more() -> None:
    predicted = {"type": "content", "content": "x" * 300}
    assert input_bound(chat(prediction=predicted)).prediction > 300


@pytest.mark.parametrize(
    ("fields", "charged"),
    [
        ({}, 1),
        ({"n": 3}, 3),
        ({"best_of": 4}, 4),
        ({"n": 2, "best_of": 5}, 6),
        ({"prompt": ["a", "b"]}, 2),
    ],
)
def test_completions_are_charged_for_answers_that_only_the_provider_sees(
    fields: dict[str, Any], charged: int
) -> None:
    asked = request(Dialect.COMPLETIONS, **{"model": "m", "prompt": "x", **fields})
    assert answers_charged(asked) == charged
