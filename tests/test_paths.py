"""Paths: however a client writes one, it leads to the same door."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.http.paths import CHAT, EXPLAIN, MODEL, MODELS, UNBUILT, Door, find_door

SLASHES = st.integers(1, 3).map("/".__mul__)
ID_PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=8)


@st.composite
def written(draw: st.DrawFn, path: str) -> bytes:
    """`path` with any number of `/v1` before it, and slashes to spare."""
    parts = [*draw(st.lists(st.just("v1"), max_size=3)), *path.split("/")]
    spelt = "".join(draw(SLASHES) + part for part in parts)
    return (spelt + draw(st.sampled_from(["", "/", "//"]))).encode()


@given(
    st.data(),
    st.sampled_from(
        [
            (CHAT, Door(CHAT)),
            (MODELS, Door(MODELS)),
            (EXPLAIN, Door(EXPLAIN)),
            ("api/v1/explain", Door(EXPLAIN)),
        ]
    ),
)
def test_a_door_is_found_however_its_path_is_written(
    data: st.DataObject, wanted: tuple[str, Door]
) -> None:
    path, door = wanted
    assert find_door(data.draw(written(path))) == door


@given(st.data(), st.lists(ID_PARTS, min_size=1, max_size=3))
def test_a_model_s_id_is_the_same_with_slashes_encoded_or_not(
    data: st.DataObject, parts: list[str]
) -> None:
    name = "/".join(parts)
    door = Door(MODEL, model=name)
    for safe in ("", "/"):
        assert find_door(data.draw(written(f"models/{quote(name, safe=safe)}"))) == door


@given(st.data(), st.sampled_from(UNBUILT), st.sampled_from(["", "/x", "/x/y"]))
def test_a_model_api_s_path_that_is_not_built_is_known_as_one(
    data: st.DataObject, name: str, rest: str
) -> None:
    assert find_door(data.draw(written(name + rest))) == Door(None)


@pytest.mark.parametrize("path", [b"/", b"/traces", b"/healthz", b"/chat", b"/modelsx", b"/v10/x"])
def test_other_paths_are_no_doors(path: bytes) -> None:
    assert find_door(path) is None


@pytest.mark.parametrize("path", [b"/v1", b"/v1/chat", b"/v1/chat/completions/1", b"/v1/V1/models"])
def test_what_is_under_v1_is_never_a_page(path: bytes) -> None:
    assert find_door(path) == Door(None)


@given(st.binary())
def test_any_bytes_are_some_path(path: bytes) -> None:
    find_door(path)
