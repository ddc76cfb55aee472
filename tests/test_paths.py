"""Paths: however a client writes one, it leads to the same door."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.adapters.door import Target
from signalbox.http.paths import UNBUILT, Endpoint, Place, find_place
from signalbox.types import Dialect, Flavour

SLASHES = st.integers(1, 3).map("/".__mul__)
ID_PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=8)


@st.composite
def written(draw: st.DrawFn, path: str) -> bytes:
    """`path` with any number of `/v1` before it, and slashes to spare."""
    parts = [*draw(st.lists(st.just("v1"), max_size=3)), *path.split("/")]
    spelt = "".join(draw(SLASHES) + part for part in parts)
    return (spelt + draw(st.sampled_from(["", "/", "//"]))).encode()


def asked(dialect: Dialect, **fields: Any) -> Place:
    return Place(Endpoint.ASK, dialect, **fields)


OPENROUTER: dict[str, Any] = {"flavour": Flavour.OPENROUTER}
PLACES = [
    ("chat/completions", asked(Dialect.CHAT)),
    ("completions", asked(Dialect.COMPLETIONS)),
    ("embeddings", asked(Dialect.EMBEDDINGS)),
    ("responses", asked(Dialect.RESPONSES)),
    ("messages", asked(Dialect.MESSAGES)),
    ("messages/count_tokens", Place(Endpoint.COUNT, Dialect.MESSAGES_COUNT)),
    ("models", Place(Endpoint.MODELS)),
    ("explain", Place(Endpoint.EXPLAIN)),
    ("key", Place(Endpoint.KEY)),
    ("responses/r1", Place(Endpoint.STORED, Dialect.RESPONSES, id="r1")),
    ("responses/r1/cancel", Place(Endpoint.STORED, Dialect.RESPONSES, id="r1", rest="cancel")),
    ("v1beta/models", Place(Endpoint.MODELS, Dialect.GENERATE)),
    ("v1beta/models/g", Place(Endpoint.MODEL, Dialect.GENERATE, id="g")),
    ("v1beta/models/g:generateContent", asked(Dialect.GENERATE, target=Target("g", stream=False))),
    (
        "v1beta/models/a/b:c:streamGenerateContent",
        asked(Dialect.GENERATE, target=Target("a/b:c", stream=True)),
    ),
    (
        "models/g:batchEmbedContents",
        asked(Dialect.EMBED, target=Target("g", stream=False, many=True)),
    ),
    (
        "v1beta/models/g:countTokens",
        Place(Endpoint.COUNT, Dialect.GENERATE_COUNT, Target("g", stream=False)),
    ),
]
UNVERSIONED = [
    ("api/v1/explain", Place(Endpoint.EXPLAIN, **OPENROUTER)),
    ("api/v1/chat/completions", asked(Dialect.CHAT, **OPENROUTER)),
    (
        "openai/deployments/a/b/chat/completions",
        asked(Dialect.CHAT, target=Target("a/b"), flavour=Flavour.AZURE),
    ),
    ("openai/v1/embeddings", asked(Dialect.EMBEDDINGS, flavour=Flavour.AZURE)),
    ("openai/responses", asked(Dialect.RESPONSES, flavour=Flavour.AZURE)),
    ("openai/models", Place(Endpoint.MODELS, flavour=Flavour.AZURE)),
    ("openai/deployments/m/messages", Place(None, flavour=Flavour.AZURE)),
]


@given(st.data(), st.sampled_from(PLACES))
def test_a_place_is_found_however_its_path_is_written(
    data: st.DataObject, wanted: tuple[str, Place]
) -> None:
    path, place = wanted
    assert find_place(data.draw(written(path))) == place


@pytest.mark.parametrize(("path", "place"), UNVERSIONED)
def test_other_vendors_roots_lead_to_the_same_doors(path: str, place: Place) -> None:
    assert find_place(f"/{path}/".encode()) == place


@given(st.data(), st.lists(ID_PARTS, min_size=1, max_size=3))
def test_a_model_s_id_is_the_same_with_slashes_encoded_or_not(
    data: st.DataObject, parts: list[str]
) -> None:
    name = "/".join(parts)
    place = Place(Endpoint.MODEL, id=name)
    for safe in ("", "/"):
        assert find_place(data.draw(written(f"models/{quote(name, safe=safe)}"))) == place


@given(st.data(), st.sampled_from(UNBUILT), st.sampled_from(["", "/x", "/x/y"]))
def test_a_model_api_s_path_that_is_not_built_is_known_as_one(
    data: st.DataObject, name: str, rest: str
) -> None:
    assert find_place(data.draw(written(name + rest))) == Place(None)


@pytest.mark.parametrize("path", [b"/", b"/traces", b"/healthz", b"/chat", b"/modelsx", b"/v10/x"])
def test_other_paths_are_no_doors(path: bytes) -> None:
    assert find_place(path) is None


@pytest.mark.parametrize("path", [b"/v1", b"/v1/chat", b"/v1/chat/completions/1", b"/v1/V1/models"])
def test_what_is_under_v1_is_never_a_page(path: bytes) -> None:
    assert find_place(path) == Place(None)


@given(st.binary())
def test_any_bytes_are_some_path(path: bytes) -> None:
    find_place(path)
