"""What is kept of an answer, and what a later request becomes with it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.adapters import answer_memory
from signalbox.adapters.answer_memory import (
    Reference,
    Unkept,
    item_references,
    items_before,
    items_by_id,
    items_of_answer,
    listed_items,
    previous_answer,
    restored,
    states_of,
    states_of_deleted,
    unkept,
)
from signalbox.adapters.responses_body import read_responses_body
from signalbox.adapters.responses_request_reader import read_responses_request
from signalbox.types import StateKind
from tests.responses_wire import REQUEST

KEPT = replace(REQUEST, stored=True, remembered=True)
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Green.", "annotations": []}],
}
THOUGHT = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "x"}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
TOLD = msgspec.json.encode({"id": "resp_1", "output": [THOUGHT, MESSAGE, CALL]})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "type", "role", "content", "call_id", "name", "arguments", "output"]
            )
            | st.text(max_size=3),
            inner | st.sampled_from(["message", "function_call", "item_reference", "assistant"]),
            max_size=5,
        )
    ),
    max_leaves=12,
)


def kept(told: bytes = TOLD, **fields: Any) -> dict[tuple[StateKind, str], bytes]:
    return {(kind, name): data for kind, name, data in states_of(told, replace(KEPT, **fields))}


def body(**fields: Any) -> dict[str, Any]:
    return read_responses_body(msgspec.json.encode({"model": "m", "input": "?", **fields}))


def test_of_an_answer_its_items_are_named_and_its_input_is_kept() -> None:
    states = kept(body=body(input="One?"))
    items = {name: data for (kind, name), data in states.items() if kind is StateKind.ITEM}
    assert items == dict.fromkeys(("rs_1", "msg_1", "fc_1"), b"resp_1")
    assert states[StateKind.ANSWER, "resp_1"] == TOLD
    [asked] = items_before(states[StateKind.INPUT, "resp_1"])
    assert msgspec.json.decode(asked) == {"type": "message", "role": "user", "content": "One?"}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"stored": False, "remembered": False}, Unkept.STORE),
        ({"remembered": False}, Unkept.PAYLOADS),
    ],
)
def test_of_one_that_is_not_to_be_kept_only_the_reason_is(
    fields: dict[str, Any], why: Unkept
) -> None:
    states = kept(**fields)
    assert unkept(states[StateKind.ANSWER, "resp_1"]) is why
    assert (StateKind.INPUT, "resp_1") not in states
    assert b"Green" not in b"".join(states.values())


def test_what_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_memory, "LARGEST_INPUT", 10)
    states = kept()
    assert unkept(states[StateKind.INPUT, "resp_1"]) is Unkept.SIZE
    assert unkept(states[StateKind.ANSWER, "resp_1"]) is None
    monkeypatch.setattr(answer_memory, "LARGEST_ANSWER", len(TOLD) - 1)
    assert unkept(kept()[StateKind.ANSWER, "resp_1"]) is Unkept.SIZE


def test_of_a_deleted_answer_nothing_is_left() -> None:
    deleted = {(kind, name): data for kind, name, data in states_of_deleted("resp_1")}
    assert set(deleted) == {(StateKind.ANSWER, "resp_1"), (StateKind.INPUT, "resp_1")}
    assert {unkept(data) for data in deleted.values()} == {Unkept.DELETED}


def test_references_are_to_what_is_not_there_itself() -> None:
    asked = body(previous_response_id="resp_1", input=[MESSAGE, {"id": "msg_1"}, {"id": "rs_1"}])
    assert previous_answer(asked) == Reference("previous_response_id", "resp_1")
    assert item_references(asked) == (Reference("input[2].id", "rs_1"),)


def test_what_is_referred_to_stands_where_it_was_named_and_has_no_id_of_ours() -> None:
    items = items_of_answer(TOLD)
    before = [msgspec.Raw(b'{"type":"message","role":"user","content":"One?"}'), *items]
    asked = body(previous_response_id="resp_1", instructions="Go.", input=[{"id": "fc_1"}, CALL])
    told = restored(asked, before, items_by_id(items), resumed=True)
    assert "previous_response_id" not in told
    assert [item.get("id") for item in told["input"]] == [None, "rs_1", None, None, None, "fc_1"]
    assert [item["type"] for item in told["input"][1:5]] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert asked["previous_response_id"] == "resp_1"
    assert restored(asked, (), {}, resumed=False) == asked


def test_items_are_listed_with_ids_and_parts() -> None:
    before = [
        msgspec.Raw(b'{"type":"message","role":"user","content":"One?"}'),
        msgspec.Raw(b'{"type":"message","role":"assistant","content":"Yes."}'),
        msgspec.Raw(msgspec.json.encode(CALL)),
    ]
    asked, answered, called = listed_items("resp_1", before)
    assert asked["content"] == [{"type": "input_text", "text": "One?"}]
    assert answered["content"] == [{"type": "output_text", "text": "Yes.", "annotations": []}]
    assert len({asked["id"], answered["id"]}) == 2
    assert called == CALL


@settings(max_examples=150)
@given(output=st.lists(JSON, max_size=4) | JSON, id=JSON)
def test_whatever_a_provider_made_of_its_items_a_request_with_them_can_be_read(
    output: Any, id: Any
) -> None:
    """Of a stream that another route went on with, the first items are the provider's own."""
    told = msgspec.json.encode({"id": id, "output": output})
    states = states_of(told, KEPT)
    assert states == () or states[-1][0] is StateKind.INPUT
    items = items_of_answer(told)
    listed_items("resp_1", items)
    read_responses_request(restored(body(), items, items_by_id(items), resumed=True))


@given(st.binary(max_size=30))
def test_rows_that_something_else_wrote_are_no_items(data: bytes) -> None:
    states_of(data, KEPT)
    items_by_id(items_of_answer(data))
    restored(body(), items_before(data), {}, resumed=True)
    unkept(data)
