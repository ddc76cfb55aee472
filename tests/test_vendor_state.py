"""Where requests of Anthropic's and Google's own dialects refer to state, and what stands in their
bodies without the reasoning of others."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.adapters.anthropic import AnthropicAdapter
from signalbox.adapters.anthropic_body import read_messages_body
from signalbox.adapters.door import BadRequest, Target
from signalbox.adapters.gemini import GeminiAdapter
from signalbox.adapters.gemini_body import read_generate_body
from signalbox.adapters.gemini_turns import NO_SIGNATURE
from signalbox.adapters.protocol import Adapter
from signalbox.adapters.provider_state import references, request_for, without_reasoning
from signalbox.adapters.provider_state_places import GENERATE_PLACES, MESSAGES_PLACES, Place
from signalbox.types import Dialect, Origin, Route
from tests.outgoing import REQUEST

HERE, THERE = Origin("a:m", "a/key"), Origin("b:m", "b/key")
UPLOADED = "https://generativelanguage.googleapis.com/v1beta/files/f1"

THOUGHT = {"type": "thinking", "thinking": "Hm", "signature": "sig"}
REDACTED = {"type": "redacted_thinking", "data": "blob"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
RESULT: dict[str, Any] = {
    "role": "user",
    "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}],
}
USER = {"role": "user", "content": "Hi"}


def messages(*turns: dict[str, Any], **fields: Any) -> dict[str, Any]:
    body = {"model": "m", "max_tokens": 9, "messages": [USER, *turns], **fields}
    return read_messages_body(json.dumps(body).encode())


def contents(*turns: dict[str, Any], **fields: Any) -> dict[str, Any]:
    body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}, *turns], **fields}
    return read_generate_body(json.dumps(body).encode(), Target("m"))


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def model(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def called(signature: str | None = "sig", **fields: Any) -> dict[str, Any]:
    signed = {} if signature is None else {"thoughtSignature": signature}
    return {"functionCall": {"name": "f", "args": {}}, **signed, **fields}


def planted(place: Place, value: Any = "value") -> dict[str, Any]:
    for name in reversed(place.path.split(".")):
        bare = name.removesuffix("[]").removesuffix("[?]")
        if name != bare:
            kind = min(place.kinds, default="any")
            value = [{"type": kind, **value} if isinstance(value, dict) else value]
        value = {bare: value}
    assert isinstance(value, dict)
    return value


PLACES = [
    *((Dialect.MESSAGES, place) for place in MESSAGES_PLACES),
    *((Dialect.GENERATE, place) for place in GENERATE_PLACES),
]
OF_COUNTS = {
    Dialect.MESSAGES: Dialect.MESSAGES_COUNT,
    Dialect.GENERATE: Dialect.GENERATE_COUNT,
}


@pytest.mark.parametrize(("dialect", "place"), PLACES, ids=lambda it: getattr(it, "path", it))
def test_every_place_is_looked_at(dialect: Dialect, place: Place) -> None:
    value = place.begins[0] if place.begins else "value"
    body = planted(place, value)
    for door in (dialect, OF_COUNTS[dialect]):
        [found] = references(body, door)
        assert (found.value, found.strippable) == (value, place.strippable)
        assert found.field == place.path.replace("[?]", "[0]").replace("[]", "[0]")


FILE = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (messages(), []),
        (messages(container="c"), [("container", "c", False)]),
        (messages(container=None), []),
        (messages(container={"id": None, "skills": []}), []),
        (
            messages(container={"skills": [{"type": "anthropic", "skill_id": "pdf"}]}),
            [],
        ),
        (
            messages({"role": "user", "content": [FILE]}),
            [("messages[1].content[0].source.file_id", "file_1", False)],
        ),
        (
            messages(
                assistant(USE),
                {"role": "user", "content": [{**RESULT["content"][0], "content": [FILE]}]},
            ),
            [("messages[2].content[0].content[0].source.file_id", "file_1", False)],
        ),
        (
            messages(assistant(THOUGHT, REDACTED, {"type": "text", "text": "Hi"})),
            [
                ("messages[1].content[0].signature", "sig", True),
                ("messages[1].content[1].data", "blob", True),
            ],
        ),
        (messages(assistant({**THOUGHT, "signature": ""})), []),
        (messages(assistant({"type": "text", "text": "Hi", "signature": "x", "data": "y"})), []),
    ],
)
def test_a_messages_body_refers_to(
    body: dict[str, Any], expected: list[tuple[str, str, bool]]
) -> None:
    found = references(body, Dialect.MESSAGES)
    assert [(each.field, each.value, each.strippable) for each in found] == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (contents(), []),
        (contents(cachedContent="cachedContents/1"), [("cachedContent", "cachedContents/1")]),
        (contents(cached_content="cachedContents/1"), [("cached_content", "cachedContents/1")]),
        (
            contents(model({"file_data": {"fileUri": UPLOADED}})),
            [("contents[1].parts[0].file_data.fileUri", UPLOADED)],
        ),
        (
            contents({"role": "user", "parts": {"fileData": {"file_uri": UPLOADED}}}),
            [("contents[1].parts.fileData.file_uri", UPLOADED)],
        ),
        (contents(model({"fileData": {"fileUri": "https://youtu.be/x"}})), []),
        (contents(model({"fileData": {"fileUri": "gs://bucket/files/x"}})), []),
        (
            contents(model(called(), called(None))),
            [("contents[1].parts[0].thoughtSignature", "sig")],
        ),
        (
            contents(model({"text": "Hi", "thought_signature": "sig"})),
            [("contents[1].parts[0].thought_signature", "sig")],
        ),
        (contents(model(called(NO_SIGNATURE))), []),
        (contents(model(called(base64.b64encode(NO_SIGNATURE.encode()).decode()))), []),
        (
            contents(tools={"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/1"]}}),
            [("tools.fileSearch.fileSearchStoreNames[0]", "fileSearchStores/1")],
        ),
    ],
)
def test_a_generate_body_refers_to(body: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    found = references(body, Dialect.GENERATE)
    assert [(each.field, each.value) for each in found] == expected


# ── what is left out ──────────────────────────────────────────────────────────────────────────


def test_thinking_of_others_goes_and_what_was_said_stays() -> None:
    text = {"type": "text", "text": "So."}
    body = messages(assistant(THOUGHT, text), USER, assistant(REDACTED), USER)
    before = copy.deepcopy(body)
    stripped, dropped = without_reasoning(body, dialect=Dialect.MESSAGES)
    assert (stripped["messages"], dropped) == (
        [USER, assistant(text), USER, USER],
        ("messages.thinking",),
    )
    assert body == before
    kept, dropped = without_reasoning(body, {"sig", "blob"}.__contains__, Dialect.MESSAGES)
    assert (kept is body, dropped) == (True, ())


def test_signatures_of_others_go_and_the_calls_stay() -> None:
    text = {"text": "So.", "thought_signature": "sig"}
    last = {"text": "", "thoughtSignature": "sig"}
    body = contents(model(called(), text), model(text, last), model(last))
    stripped, dropped = without_reasoning(body, dialect=Dialect.GENERATE)
    assert stripped["contents"][1:] == [
        model(called(None), {"text": "So."}),
        model({"text": "So."}),
    ]
    assert dropped == ("contents.parts.thoughtSignature",)


def test_the_only_part_may_stand_without_its_list() -> None:
    body = contents({"role": "model", "parts": called()})
    stripped, _ = without_reasoning(body, dialect=Dialect.GENERATE)
    assert stripped["contents"][1] == {"role": "model", "parts": called(None)}


blocks = st.sampled_from(
    [THOUGHT, REDACTED, {**THOUGHT, "signature": "own"}, {"type": "text", "text": "x"}, USE]
)
parts = st.sampled_from(
    [called(), called("own"), called(None), {"text": "x"}, {"text": "", "thoughtSignature": "sig"}]
)


@settings(max_examples=60)
@given(
    st.lists(st.lists(blocks, min_size=1, max_size=3), max_size=4),
    st.lists(st.lists(parts, min_size=1, max_size=3), max_size=4),
)
def test_what_is_left_is_a_valid_body(
    of_anthropic: list[list[dict[str, Any]]], of_google: list[list[dict[str, Any]]]
) -> None:
    body = messages(*(assistant(*turn) for turn in of_anthropic))
    stripped, dropped = without_reasoning(body, {"own"}.__contains__, Dialect.MESSAGES)
    left = read_messages_body(json.dumps(stripped).encode())["messages"]
    assert all(message["content"] for message in left)
    values = {each.value for each in references(stripped, Dialect.MESSAGES)}
    assert values <= {"own"}
    assert without_reasoning(stripped, {"own"}.__contains__, Dialect.MESSAGES) == (stripped, ())
    assert bool(dropped) == (stripped is not body)

    body = contents(*(model(*turn) for turn in of_google))
    stripped, dropped = without_reasoning(body, {"own"}.__contains__, Dialect.GENERATE)
    left = read_generate_body(json.dumps(stripped).encode(), Target("m"))["contents"]
    assert all(content["parts"] for content in left)
    assert {"text": ""} not in [
        part for content in left for part in content["parts"]
    ] or not dropped
    assert {each.value for each in references(stripped, Dialect.GENERATE)} <= {"own"}
    assert bool(dropped) == (stripped is not body)


NAMES = (
    "type content source file_id signature data role parts fileData file_uri thought_signature "
    "text functionResponse id"
)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "x", UPLOADED]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES.split()),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=150)
@given(st.lists(any_json, max_size=3), st.dictionaries(st.sampled_from(["container"]), any_json))
def test_no_valid_body_is_too_strange(turns: list[Any], fields: dict[str, Any]) -> None:
    readers: list[tuple[Dialect, Callable[[bytes], dict[str, Any]], dict[str, Any]]] = [
        (
            Dialect.MESSAGES,
            read_messages_body,
            {"model": "m", "max_tokens": 1, "messages": [USER, *turns], **fields},
        ),
        (
            Dialect.GENERATE,
            lambda data: read_generate_body(data, Target("m")),
            {"contents": [model({"text": "x"}), *turns]},
        ),
    ]
    for dialect, read, raw in readers:
        try:
            body = read(json.dumps(raw).encode())
        except BadRequest:
            continue
        stripped, _ = without_reasoning(body, dialect=dialect)
        assert not any(each.strippable for each in references(stripped, dialect))


# ── what goes out in its place ────────────────────────────────────────────────────────────────


def built(adapter: Adapter, door: Dialect, body: dict[str, Any], name: str) -> dict[str, Any]:
    request = replace(
        REQUEST, door=door, body=body, model=name, reasoning_origins={"sig": THERE, "own": HERE}
    )
    fitting, _ = request_for(request, HERE)
    wire = adapter.build(fitting, Route("a", name), "http://a", None)
    sent: dict[str, Any] = json.loads(wire.body)
    return sent


THINKS = {"type": "enabled", "budget_tokens": 2000}


@pytest.mark.parametrize(
    ("block", "thinks"),
    [(THOUGHT, False), ({**THOUGHT, "signature": "own"}, True)],
    ids=["of others", "own"],
)
def test_a_tool_loop_without_its_thinking_goes_on_without_thinking(
    block: dict[str, Any], thinks: bool
) -> None:
    body = messages(assistant(block, USE), RESULT, max_tokens=4000, thinking=THINKS)
    sent = built(AnthropicAdapter("a"), Dialect.MESSAGES, body, "claude-sonnet-4-5")
    assert sent["messages"] == [USER, assistant(*([block] if thinks else []), USE), RESULT]
    assert ("thinking" in sent) is thinks


def test_after_the_loop_the_model_thinks_again() -> None:
    body = messages(
        assistant(THOUGHT, USE), RESULT, assistant({"type": "text", "text": "So."}), USER
    )
    body |= {"max_tokens": 4000, "thinking": THINKS}
    sent = built(AnthropicAdapter("a"), Dialect.MESSAGES, body, "claude-sonnet-4-5")
    assert sent["thinking"] == THINKS


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gemini-3-pro-preview", NO_SIGNATURE), ("gemini-2.5-flash", None)],
)
def test_the_newest_gemini_gets_the_documented_sign_for_a_missing_signature(
    name: str, expected: str | None
) -> None:
    body = contents(model(called(), called(None)), model(called("own")))
    sent = built(GeminiAdapter("a"), Dialect.GENERATE, body, name)
    assert sent["contents"][1:] == [model(called(expected), called(None)), model(called("own"))]
