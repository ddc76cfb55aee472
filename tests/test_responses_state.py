"""Where requests of the Responses API refer to state, and what goes with foreign reasoning."""

from __future__ import annotations

import json
from typing import Any

import pytest

from signalbox.adapters.provider_state import made, references, without_reasoning
from signalbox.adapters.provider_state_places import RESPONSES_PLACES, Place
from signalbox.adapters.responses_body import read_responses_body
from signalbox.types import Dialect

USER = {"type": "message", "role": "user", "content": "Hi"}


def read(**fields: Any) -> dict[str, Any]:
    return read_responses_body(json.dumps({"model": "m", "input": "Hi", **fields}).encode())


def planted(place: Place) -> dict[str, Any]:
    """A body that holds a reference at the place."""
    value: Any = "value"
    for name in reversed(place.path.split(".")):
        if name.endswith("[]"):
            kind = min(place.kinds, default="any")
            value = [{"type": kind, **value} if isinstance(value, dict) else value]
        value = {name.removesuffix("[]"): value}
    return {"model": "m", **value}


@pytest.mark.parametrize("place", RESPONSES_PLACES, ids=lambda place: place.path)
def test_every_place_is_looked_at(place: Place) -> None:
    [found] = references(planted(place), Dialect.RESPONSES)
    assert (found.value, found.strippable) == ("value", place.strippable)
    assert found.field == place.path.replace("[]", "[0]")


def test_answers_give_out_the_ids_and_secrets_of_their_items() -> None:
    items = [
        {"type": "reasoning", "id": "rs_1", "encrypted_content": "blob"},
        {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"},
        {
            "type": "message",
            "id": "msg_1",
            "content": [{"annotations": [{"file_id": "file_1", "container_id": "cntr_2"}]}],
        },
    ]
    found = made({"id": "resp_1", "output": items}, Dialect.RESPONSES)
    assert set(found) == {"rs_1", "blob", "ci_1", "cntr_1", "msg_1", "file_1", "cntr_2"}


THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "blob"}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"previous_response_id": "r"}, [("previous_response_id", "r", False)]),
        ({"conversation": "c"}, [("conversation", "c", False)]),
        ({"conversation": {"id": "c"}}, [("conversation.id", "c", False)]),
        ({"input": [{"id": "msg_1"}]}, [("input[0].id", "msg_1", False)]),
        ({"input": [CALL, {"type": "item_reference", "id": "fc_1"}]}, []),
        ({"input": [{"id": "x"}, {"id": "x"}]}, [("[0].id", "x", False), ("[1].id", "x", False)]),
        (
            {"input": [USER, THOUGHT]},
            [("input[1].id", "rs_1", True), ("input[1].encrypted_content", "blob", True)],
        ),
        (
            {"input": [{"type": "compaction", "encrypted_content": "b"}]},
            [("encrypted", "b", False)],
        ),
        (
            {"input": [{**USER, "content": [{"type": "input_file", "file_id": "file-1"}]}]},
            [("input[0].content[0].file_id", "file-1", False)],
        ),
        ({"tools": [{"type": "code_interpreter", "container": "c"}]}, [("tools", "c", False)]),
    ],
)
def test_references_are_found(
    fields: dict[str, Any], expected: list[tuple[str, str, bool]]
) -> None:
    found = references(read(**fields), Dialect.RESPONSES)
    assert [(each.value, each.strippable) for each in found] == [e[1:] for e in expected]
    assert all(part in each.field for each, (part, *_) in zip(found, expected, strict=True))


def test_reasoning_of_others_goes_with_the_ids_that_hang_on_it() -> None:
    body = read(input=[USER, THOUGHT, CALL])
    kept, dropped = without_reasoning(body, {"rs_1", "blob"}.__contains__, Dialect.RESPONSES)
    assert (kept, dropped) == (body, ())
    stripped, dropped = without_reasoning(body, {"rs_1"}.__contains__, Dialect.RESPONSES)
    assert dropped == ("input.reasoning",)
    without_id = {name: value for name, value in CALL.items() if name != "id"}
    assert stripped["input"] == [USER, without_id]
    assert body["input"] == [USER, THOUGHT, CALL]
