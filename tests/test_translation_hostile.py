"""Whatever a body holds: a door takes it or refuses it with the field's name, and what it takes no
wire fails on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalbox.adapters.door import BadRequest
from signalbox.adapters.doors import door_of
from signalbox.adapters.forms import chat_form
from signalbox.adapters.registry import EMBEDDINGS
from signalbox.types import Dialect
from tests.hostile_bodies import ODD, PLAIN, SEEDS, encoded, paths_in, put, sparse, spoilt
from tests.translation_wires import made, taken, target_of, wires_of

BODIES = {door: [SEEDS[door], *sparse(door)] for door in SEEDS}


def borne(door: Dialect, data: bytes) -> None:
    request = taken(door, data)
    if request is None:
        return
    if door not in EMBEDDINGS:
        chat_form(request)
    for wire in wires_of(door):
        made(request, wire)


def test_the_seeds_are_what_the_doors_take() -> None:
    for door in SEEDS:
        assert taken(door, encoded(SEEDS[door])) is not None
        assert taken(door, encoded(PLAIN[door])) is not None


@st.composite
def spoilt_bodies(draw: st.DrawFn) -> tuple[Dialect, bytes]:
    """Up to three odd values in one body."""
    door = draw(st.sampled_from(list(SEEDS)))
    body: Any = draw(st.sampled_from(BODIES[door]))
    for _ in range(draw(st.integers(1, 3))):
        paths = list(paths_in(body))
        if not paths:
            break
        body = put(body, draw(st.sampled_from(paths)), draw(st.sampled_from(ODD)))
    return door, encoded(body)


@settings(max_examples=600)
@given(spoilt_bodies())
def test_no_body_is_more_than_a_wire_bears(case: tuple[Dialect, bytes]) -> None:
    borne(*case)


@pytest.mark.long
@pytest.mark.parametrize("door", SEEDS)
def test_no_odd_value_in_any_place_is_more_than_a_wire_bears(door: Dialect) -> None:
    for seed in BODIES[door]:
        for _, body in spoilt(seed):
            borne(door, encoded(body))


_NINES = "9" * 400


@pytest.mark.parametrize("door", SEEDS)
@pytest.mark.parametrize(
    "field",
    [
        '"temperature": 1e999',
        f'"seed": {"9" * 5000}',
        '"user": "\\ud800"',
        '"temperature": NaN',
        f'"x": {"[" * 5000}{"]" * 5000}',
    ],
)
def test_what_is_no_json_is_refused(door: Dialect, field: str) -> None:
    refused = _refused(door, field)
    assert refused.param is None
    assert "the body is" in str(refused)


@pytest.mark.parametrize(
    ("door", "field", "name"),
    [
        (Dialect.CHAT, f'"messages": {_NINES}', "messages"),
        (Dialect.CHAT, '"stream": "yes"', "stream"),
        (Dialect.CHAT, '"tools": [[]]', "tools"),
        (Dialect.CHAT, '"n": -1', "n"),
        (Dialect.RESPONSES, f'"input": {_NINES}', "input"),
        (Dialect.RESPONSES, '"stream": "yes"', "stream"),
        (Dialect.RESPONSES, '"tools": [[]]', "tools[0]"),
        (Dialect.MESSAGES, '"messages": []', "messages"),
        (Dialect.MESSAGES, '"stream": "yes"', "stream"),
        (Dialect.MESSAGES, '"tools": [{}]', "tools[0].name"),
        (Dialect.GENERATE, '"contents": []', "contents"),
        (Dialect.GENERATE, '"tools": [[]]', "tools[0]"),
        (Dialect.COMPLETIONS, '"prompt": {}', "prompt"),
        (Dialect.COMPLETIONS, '"stream": "yes"', "stream"),
        (Dialect.EMBEDDINGS, '"input": {}', "input"),
        (Dialect.EMBED, '"requests": []', "requests"),
    ],
)
def test_what_is_refused_is_named(door: Dialect, field: str, name: str) -> None:
    assert _refused(door, field).param == name


def _refused(door: Dialect, field: str) -> BadRequest:
    plain = encoded(PLAIN[door]).decode()
    with pytest.raises(BadRequest) as refused:
        door_of(door).read_body(f"{plain[:-1]}, {field}}}".encode(), target_of(door))
    return refused.value
