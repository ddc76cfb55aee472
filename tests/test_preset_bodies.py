"""A preset in a body: the request wins, tools are joined, and twice is once, at every door."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.adapters.door import BadRequest, Target
from signalbox.adapters.doors import door_of
from signalbox.adapters.preset_bodies import filled, parameters, put_into
from signalbox.types import Dialect

SPEAKING = (
    Dialect.CHAT,
    Dialect.RESPONSES,
    Dialect.MESSAGES,
    Dialect.MESSAGES_COUNT,
    Dialect.GENERATE,
    Dialect.GENERATE_COUNT,
)
"""Doors whose requests hold a conversation."""
EVERY = (*SPEAKING, Dialect.COMPLETIONS, Dialect.EMBEDDINGS, Dialect.EMBED)
EXAMPLES = [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]


def tool(name: str, description: str = "") -> dict[str, Any]:
    function = {"name": name, "description": description, "parameters": {"type": "object"}}
    return {"type": "function", "function": function}


SETTINGS = {"temperature": 0.2, "max_tokens": 50, "stop": ["END"], "seed": 4}
DOCUMENT = {**SETTINGS, "system": "Be short.", "messages": EXAMPLES, "tools": [tool("add", "of p")]}
TARGET = Target("m")
BODIES: dict[Dialect, dict[str, Any]] = {
    Dialect.CHAT: {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    Dialect.RESPONSES: {"model": "m", "input": "Hi"},
    Dialect.MESSAGES: {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    Dialect.MESSAGES_COUNT: {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    Dialect.GENERATE: {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
    Dialect.GENERATE_COUNT: {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
    Dialect.COMPLETIONS: {"model": "m", "prompt": "Hi"},
    Dialect.EMBEDDINGS: {"model": "m", "input": "Hi"},
    Dialect.EMBED: {"content": {"parts": [{"text": "Hi"}]}},
}
SYSTEMS: dict[Dialect, list[dict[str, Any]]] = {
    Dialect.CHAT: [
        {"messages": [{"role": "system", "content": "Own."}, {"role": "user", "content": "Hi"}]}
    ],
    Dialect.RESPONSES: [{"instructions": "Own."}],
    Dialect.MESSAGES: [{"system": "Own."}, {"system": [{"type": "text", "text": "Own."}]}],
    Dialect.GENERATE: [
        {"systemInstruction": {"parts": [{"text": "Own."}]}},
        {"system_instruction": {"parts": {"text": "Own."}}},
    ],
}
TOOLS: dict[Dialect, Any] = {
    Dialect.CHAT: [tool("add", "own"), tool("sub")],
    Dialect.RESPONSES: [
        {"type": "function", "name": name, "description": "own", "parameters": {"type": "object"}}
        for name in ("add", "sub")
    ],
    Dialect.MESSAGES: [
        {"name": name, "description": "own", "input_schema": {"type": "object"}}
        for name in ("add", "sub")
    ],
    Dialect.GENERATE: [
        {"functionDeclarations": [{"name": n, "description": "own"} for n in ("add", "sub")]}
    ],
}


def read(body: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    """The body as its door takes it."""
    return door_of(dialect).read_body(msgspec.json.encode(body), TARGET)


def said(body: dict[str, Any], *order: str) -> bool:
    """Whether the texts stand in the body, in this order."""
    text = msgspec.json.encode(body).decode()
    places = [text.find(f'"{each}"') for each in order]
    return -1 not in places and places == sorted(places)


# What stands where


@pytest.mark.parametrize("dialect", SPEAKING)
def test_every_door_takes_a_body_with_a_preset(dialect: Dialect) -> None:
    put = put_into(BODIES[dialect], DOCUMENT, dialect)
    assert read(put, dialect)
    text = msgspec.json.encode(put).decode()
    assert all(word in text for word in ("Be short.", "2+2", "add", "of p", "Hi"))
    assert text.index("2+2") < text.index("Hi")


def test_a_chat_is_filled_and_its_conversation_begins_with_the_preset_s() -> None:
    own = [{"role": "developer", "content": "Own."}, {"role": "user", "content": "Hi"}]
    put = put_into({"model": "m", "messages": own, "temperature": 0.9}, DOCUMENT, Dialect.CHAT)
    assert put == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be short."}, own[0], *EXAMPLES, own[1]],
        "tools": DOCUMENT["tools"],
        **SETTINGS,
        "temperature": 0.9,
    }
    assert parameters(DOCUMENT, Dialect.CHAT) == {}


@pytest.mark.parametrize(
    ("dialect", "own"), [(dialect, own) for dialect, all in SYSTEMS.items() for own in all]
)
def test_a_preset_s_instructions_go_before_the_request_s_own(
    dialect: Dialect, own: dict[str, Any]
) -> None:
    body = BODIES[dialect] | own
    text = msgspec.json.encode(put_into(body, {"system": "Be short."}, dialect)).decode()
    assert 0 <= text.index("Be short.") < text.index("Own.")
    assert read(put_into(body, DOCUMENT, dialect), dialect) or dialect is Dialect.MESSAGES


@pytest.mark.parametrize("dialect", TOOLS)
def test_tools_are_joined_and_of_two_with_one_name_the_request_s_stays(dialect: Dialect) -> None:
    document = {"tools": [tool("add", "of p"), tool("mul", "of p")]}
    put = put_into(BODIES[dialect] | {"tools": TOOLS[dialect]}, document, dialect)
    text = msgspec.json.encode(put["tools"]).decode()
    assert text.index('"mul"') < text.index('"add"') < text.index('"sub"')
    assert text.count('"add"') == 1
    assert text.count("of p") == 1
    assert read(put, dialect) if dialect is not Dialect.MESSAGES else True


def test_a_deprecated_function_is_a_tool_of_its_name() -> None:
    body = BODIES[Dialect.CHAT] | {"functions": [{"name": "add"}]}
    assert "tools" not in put_into(body, {"tools": [tool("add")]}, Dialect.CHAT)


@pytest.mark.parametrize("dialect", [Dialect.RESPONSES, Dialect.MESSAGES, Dialect.GENERATE])
def test_what_depends_on_the_route_is_left_to_the_adapters(dialect: Dialect) -> None:
    assert parameters({**DOCUMENT, "model": "x", "extra": {}, "models": []}, dialect) == SETTINGS


def test_messages_need_a_ceiling_which_a_preset_may_give_and_counting_takes_none() -> None:
    assert put_into(BODIES[Dialect.MESSAGES], DOCUMENT, Dialect.MESSAGES)["max_tokens"] == 50
    counted = put_into(BODIES[Dialect.MESSAGES_COUNT], DOCUMENT, Dialect.MESSAGES_COUNT)
    assert "max_tokens" not in counted


def test_a_response_that_goes_on_from_another_has_the_examples_in_it_already() -> None:
    body = BODIES[Dialect.RESPONSES] | {"previous_response_id": "resp_1"}
    put = put_into(body, DOCUMENT, Dialect.RESPONSES)
    assert (put["input"], put["instructions"]) == ("Hi", "Be short.")


def test_the_request_within_a_count_of_gemini_s_has_the_preset() -> None:
    body = {"generateContentRequest": BODIES[Dialect.GENERATE]}
    put = put_into(body, DOCUMENT, Dialect.GENERATE_COUNT)
    assert put.keys() == {"generateContentRequest"}
    assert put["generateContentRequest"]["systemInstruction"] == {"parts": [{"text": "Be short."}]}


def test_completions_take_what_they_know_and_refuse_what_they_would_lose() -> None:
    put = put_into(
        BODIES[Dialect.COMPLETIONS],
        {**SETTINGS, "reasoning_effort": "low", "max_completion_tokens": 7},
        Dialect.COMPLETIONS,
    )
    assert put == BODIES[Dialect.COMPLETIONS] | SETTINGS | {"max_tokens": 7}
    with pytest.raises(BadRequest, match="its preset has messages, system, tools, for which"):
        put_into(BODIES[Dialect.COMPLETIONS], DOCUMENT, Dialect.COMPLETIONS)


def test_embeddings_take_of_a_preset_what_is_about_vectors() -> None:
    document = {**DOCUMENT, "dimensions": 256}
    put = put_into(BODIES[Dialect.EMBEDDINGS], document, Dialect.EMBEDDINGS)
    assert put == BODIES[Dialect.EMBEDDINGS] | {"dimensions": 256}
    assert put_into(BODIES[Dialect.EMBED], document, Dialect.EMBED) == BODIES[Dialect.EMBED]


# Rules

values = st.one_of(st.none(), st.integers(1, 9), st.text("ab", max_size=2), st.booleans())
names = st.sampled_from(
    [
        "temperature",
        "max_tokens",
        "max_completion_tokens",
        "seed",
        "stop",
        "reasoning_effort",
        "reasoning",
        "tool_choice",
        "function_call",
        "odd",
    ]
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "system": st.sampled_from(["Be short.", "Own."]),
        "messages": st.sampled_from([EXAMPLES, EXAMPLES[:1], EXAMPLES[1:]]),
        "tools": st.lists(st.sampled_from("abc").map(tool), unique_by=str),
    },
).flatmap(lambda document: st.dictionaries(names, values).map(lambda more: {**more, **document}))


@given(st.dictionaries(names, values), st.dictionaries(names, values))
def test_the_request_s_own_fields_win_and_only_what_it_leaves_open_is_filled(
    own: dict[str, Any], preset: dict[str, Any]
) -> None:
    put = filled(own, preset)
    for name, value in own.items():
        if value is not None:
            assert put[name] == value
    for name in put.keys() - own.keys():
        assert put[name] == preset[name]
    for pair in (("max_tokens", "max_completion_tokens"), ("tool_choice", "function_call")):
        if any(own.get(name) is not None for name in pair):
            assert [n for n in pair if put.get(n) is not None] == [
                n for n in pair if own.get(n) is not None
            ]


@st.composite
def bodies(draw: st.DrawFn, dialect: Dialect) -> dict[str, Any]:
    """With instructions and tools of its own, or without."""
    body = dict(BODIES[dialect])
    if draw(st.booleans()):
        body |= draw(st.sampled_from(SYSTEMS.get(dialect, [{}])))
    if draw(st.booleans()) and dialect in TOOLS:
        body["tools"] = TOOLS[dialect]
    return body


@pytest.mark.parametrize("dialect", EVERY)
@given(st.data(), documents)
def test_to_put_a_preset_in_twice_is_to_put_it_in_once(
    dialect: Dialect, data: st.DataObject, document: dict[str, Any]
) -> None:
    if dialect is Dialect.COMPLETIONS:
        document = {name: it for name, it in document.items() if name in ("seed", "stop", "odd")}
    body = data.draw(bodies(dialect))
    before = msgspec.json.encode(body)
    once = put_into(body, document, dialect)
    assert put_into(once, document, dialect) == once
    assert msgspec.json.encode(body) == before


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text("ab")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=6,
)
fields_of_any_form = st.dictionaries(
    st.sampled_from(
        [
            "messages",
            "tools",
            "functions",
            "input",
            "instructions",
            "system",
            "contents",
            "systemInstruction",
            "generateContentRequest",
            "previous_response_id",
            "model",
        ]
    ),
    json_values,
)


@pytest.mark.parametrize("dialect", EVERY)
@given(fields_of_any_form)
def test_a_body_of_any_form_is_left_for_its_door_to_refuse(
    dialect: Dialect, body: dict[str, Any]
) -> None:
    document = SETTINGS if dialect is Dialect.COMPLETIONS else DOCUMENT
    put = put_into(body, document, dialect)
    for name, value in body.items():
        if not isinstance(value, list | dict | str | None):
            assert put[name] == value
