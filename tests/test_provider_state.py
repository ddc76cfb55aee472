"""Where a chat body refers to state at a provider, and where an answer gives some out."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.protocol import Answer, Delta
from signalbox.adapters.provider_state import made, references, without_reasoning
from signalbox.adapters.provider_state_places import CHAT_PLACES as PLACES
from signalbox.adapters.provider_state_places import Place
from tests.outgoing import REQUEST

MESSAGES = "messages[]."
OF_MESSAGES = [place for place in PLACES if place.path.startswith(MESSAGES)]
IN_ANSWERS = [place for place in OF_MESSAGES if "reasoning_content" not in place.path]
"""In an answer `reasoning_content` is text."""

USER = {"role": "user", "content": "hello"}
TURN = {"role": "assistant", "content": "hi"}


def body(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [USER, *messages], **fields}


def planted(place: Place, value: str) -> dict[str, Any]:
    """The field that holds `value` at the place, of a message or else of the body."""
    fields: Any = value
    for name in reversed(place.path.removeprefix(MESSAGES).split(".")):
        if name.endswith("[]") and isinstance(fields, dict):
            fields = [{"type": min(place.kinds, default="any"), **fields}]
        elif name.endswith("[]"):
            fields = [fields]
        fields = {name.removesuffix("[]"): fields}
    assert isinstance(fields, dict)
    return fields


def found(request: dict[str, Any]) -> list[tuple[str, str, bool]]:
    return [(each.field, each.value, each.strippable) for each in references(request)]


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        (body(TURN), []),
        (body(previous_response_id="resp_1"), [("previous_response_id", "resp_1", False)]),
        (body(container="cont_1"), [("container", "cont_1", False)]),
        (body(container={"id": "cont_1", "skills": []}), [("container.id", "cont_1", False)]),
        (
            body(extra_body={"google": {"cached_content": "cachedContents/1"}}),
            [("extra_body.google.cached_content", "cachedContents/1", False)],
        ),
        (
            body(
                tools=[
                    {"type": "function", "function": {"name": "f"}},
                    {"type": "code_interpreter", "container": "cntr_1"},
                    {"type": "code_interpreter", "container": {"file_ids": ["file-1", "file-2"]}},
                ]
            ),
            [
                ("tools[1].container", "cntr_1", False),
                ("tools[2].container.file_ids[0]", "file-1", False),
                ("tools[2].container.file_ids[1]", "file-2", False),
            ],
        ),
        (body(tools=[{"type": "code_interpreter", "container": {"type": "auto"}}]), []),
        (
            body(
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "read it"},
                        {"type": "file", "file": {"file_id": "file-1"}},
                        {"type": "file", "file": {"file_data": "data:;base64,", "filename": "a"}},
                    ],
                }
            ),
            [("messages[1].content[1].file.file_id", "file-1", False)],
        ),
        (body({**TURN, "audio": {"id": "audio_1"}}), [("messages[1].audio.id", "audio_1", False)]),
        (
            body(
                {
                    **TURN,
                    "reasoning_details": [
                        {"type": "reasoning.summary", "summary": "in short"},
                        {"type": "reasoning.text", "text": "long", "signature": "signed"},
                        {"type": "reasoning.text", "text": "long", "signature": None},
                        {"type": "reasoning.encrypted", "data": "blob"},
                    ],
                }
            ),
            [
                ("messages[1].reasoning_details[3].data", "blob", True),
                ("messages[1].reasoning_details[1].signature", "signed", True),
            ],
        ),
        (
            body(
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "1", "extra_content": {"google": {"thought_signature": "signed"}}},
                        {"id": "2"},
                    ],
                }
            ),
            [("messages[1].tool_calls[0].extra_content.google.thought_signature", "signed", True)],
        ),
        (
            body(
                {
                    "role": "assistant",
                    "extra_content": {
                        "google": {"thought_signature": "skip_thought_signature_validator"}
                    },
                }
            ),
            [],
        ),
    ],
)
def test_references_are_found_with_their_paths(
    request_body: dict[str, Any], expected: list[tuple[str, str, bool]]
) -> None:
    assert found(request_body) == expected


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.path)
def test_every_place_is_looked_at(place: Place) -> None:
    fields = planted(place, "value")
    of_message = place in OF_MESSAGES
    request = body({**TURN, **fields}) if of_message else body(**fields)
    [(path, value, strippable)] = found(request)
    where = place.path.replace("messages[]", "messages[1]").replace("[].", "[0].")
    assert path == (where[:-2] + "[0]" if where.endswith("[]") else where)
    assert (value, strippable) == ("value", place.strippable)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "google", "type", "file", "data"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
strange_fields = st.dictionaries(
    st.sampled_from([place.path.removeprefix(MESSAGES).split(".")[0] for place in PLACES]).map(
        lambda name: name.removesuffix("[]")
    ),
    json_values,
    max_size=4,
)


@st.composite
def turns(draw: st.DrawFn) -> dict[str, Any]:
    """An assistant's message with some references in it, of which some share a list."""
    message: dict[str, Any] = dict(TURN)
    for place in draw(st.lists(st.sampled_from(OF_MESSAGES), max_size=4)):
        value = draw(st.sampled_from(["one", "two", "three"]))
        for name, inner in planted(place, value).items():
            before = message.get(name)
            both_lists = isinstance(before, list) and isinstance(inner, list)
            message[name] = [*before, *inner] if both_lists else inner  # type: ignore[misc]  # both are lists
    return message


@given(st.lists(turns(), max_size=3), st.sets(st.sampled_from(["one", "two"])))
def test_what_is_stripped_is_the_encrypted_reasoning_of_others(
    messages: list[dict[str, Any]], kept: set[str]
) -> None:
    request = body(*messages)
    before = copy.deepcopy(request)
    stripped, dropped = without_reasoning(request, kept.__contains__)
    assert request == before
    left = references(stripped)
    assert {each.value for each in left if each.strippable} <= kept
    assert [each.value for each in left if not each.strippable] == [
        each.value for each in references(request) if not each.strippable
    ]
    foreign = [e for e in references(request) if e.strippable and e.value not in kept]
    assert bool(dropped) == bool(foreign)
    assert (stripped is request) == (not foreign)
    assert without_reasoning(stripped, kept.__contains__) == (stripped, ())


@given(strange_fields, strange_fields)
def test_no_shape_of_these_fields_is_too_strange(
    of_body: dict[str, Any], of_message: dict[str, Any]
) -> None:
    request = {**of_body, **body({**of_message, "role": "assistant"})}
    stripped, _ = without_reasoning(request)
    assert not any(each.strippable for each in references(stripped))
    made({**of_body, "choices": [{"message": of_message}, of_message]})


def test_a_signed_text_of_reasoning_goes_with_its_signature() -> None:
    signed = {"type": "reasoning.text", "text": "long", "signature": "signed"}
    summary = {"type": "reasoning.summary", "summary": "in short"}
    thinking = {"type": "thinking", "thinking": "long", "signature": "signed"}
    google = {"google": {"thought_signature": "signed"}}
    message = {
        "role": "assistant",
        "content": [thinking],
        "reasoning": "long",
        "reasoning_details": [signed, summary],
        "thinking_blocks": [thinking],
        "tool_calls": [{"id": "1", "extra_content": google}],
    }
    stripped, dropped = without_reasoning(body(message))
    assert stripped["messages"][1] == {
        "role": "assistant",
        "content": "",
        "reasoning": "long",
        "reasoning_details": [summary],
        "tool_calls": [{"id": "1"}],
    }
    assert set(dropped) == {
        "messages.content",
        "messages.reasoning_details",
        "messages.thinking_blocks",
        "messages.tool_calls.extra_content.google.thought_signature",
    }


# Answers


def whole(message: dict[str, Any], **fields: Any) -> Answer:
    choice = {"index": 0, "message": {**TURN, **message}, "finish_reason": "stop"}
    answer = {"id": "answer-1", "choices": [choice], **fields}
    decoded = OpenAIAdapter("a").decode_answer(msgspec.json.encode(answer), REQUEST)
    assert isinstance(decoded, Answer)
    return decoded


def chunk(delta: dict[str, Any], **fields: Any) -> Delta:
    answer = {"id": "answer-1", "choices": [{"index": 0, "delta": delta}], **fields}
    decoded = OpenAIAdapter("a").decode_chunk(msgspec.json.encode(answer))
    assert isinstance(decoded, Delta)
    return decoded


@pytest.mark.parametrize("decode", [whole, chunk])
@pytest.mark.parametrize("place", IN_ANSWERS, ids=lambda place: place.path)
def test_what_an_answer_gives_out_is_known(place: Place, decode: Any) -> None:
    assert decode(planted(place, "value")).made == ("value",)


@pytest.mark.parametrize("decode", [whole, chunk])
def test_an_ordinary_answer_gives_out_nothing(decode: Any) -> None:
    answer = decode({"content": "hi", "reasoning": "long"})
    assert (answer.id, answer.made) == ("answer-1", ())


@pytest.mark.parametrize("decode", [whole, chunk])
def test_a_container_stands_beside_the_choices(decode: Any) -> None:
    assert decode({"content": "hi"}, container={"id": "cont_1"}).made == ("cont_1",)
