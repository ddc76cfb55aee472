"""Lists of models in each vendor's shape, page by page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from anthropic.types import ModelInfo
from hypothesis import given
from hypothesis import strategies as st

from signalbox.actors.key_ring import GatewayKey
from signalbox.actors.rate_limiter import KeyLimits
from signalbox.adapters.model_entries import ModelEntry
from signalbox.adapters.models import ModelTable
from signalbox.config import Settings
from signalbox.http.asgi import RequestError
from signalbox.http.model_pages import anthropic_page, gemini_page
from signalbox.http.models_api import models_reply, place_of_client
from signalbox.http.paths import Place, find_place
from signalbox.types import Dialect
from tests.catalogues import catalogue
from tests.configs import load

TOML = """
[providers.groq]
keys = [{ value = "groq-key-0123456789" }]
[models.m]
routes = [
  { provider = "groq", model = "l", input = 1, output = 2, max_output = 9, context_length = 1000 },
  { provider = "groq", model = "openai/gpt-oss-20b", input = 3, output = 4, quantization = "fp8" },
]
[models."house/n"]
routes = [{ provider = "groq", model = "n" }]
"""


@pytest.fixture(name="settings")
def loaded(tmp_path: Path) -> Settings:
    return load(tmp_path, TOML)


def reply(settings: Settings, path: str, models: tuple[str, ...] = (), **headers: str) -> Any:
    place = find_place(path.encode())
    assert place is not None
    place = place_of_client(place, {name.replace("_", "-"): it for name, it in headers.items()})
    key = GatewayKey("k", "k", b"", KeyLimits("k", None, None, None), models)
    return models_reply(place, {}, ModelTable(settings, catalogue()), settings, key, {})


def test_one_path_has_two_shapes(settings: Settings) -> None:
    listed = reply(settings, "/v1/models", ("m", "house/n"))
    assert listed["object"] == "list"
    assert {model["id"] for model in listed["data"]} == {"m", "house/n"}
    page = reply(settings, "/v1/models", ("m", "house/n"), anthropic_version="2023-06-01")
    assert {ModelInfo.model_validate(model).id for model in page["data"]} == {"m", "house/n"}
    assert page["has_more"] is False
    assert page["first_id"] == page["data"][0]["id"]


def test_one_model_in_each_shape(settings: Settings) -> None:
    assert reply(settings, "/v1/models/m")["context_length"] == 1000
    one = reply(settings, "/v1/models/m", anthropic_version="2023-06-01")
    assert (one["type"], one["max_input_tokens"], one["max_tokens"]) == ("model", 1000, 9)
    found = reply(settings, "/v1beta/models/house/n")
    assert found["name"] == "models/house/n"
    assert "generateContent" in found["supportedGenerationMethods"]
    limits = reply(settings, "/v1beta/models/m")
    assert (limits["inputTokenLimit"], limits["outputTokenLimit"]) == (1000, 9)


def test_only_lists_of_the_shared_path_belong_to_the_client_s_dialect() -> None:
    header = {"anthropic-version": "2023-06-01"}
    for path, dialect in (
        ("/v1/models", Dialect.MESSAGES),
        ("/v1/models/m", Dialect.MESSAGES),
        ("/v1/models/m/endpoints", Dialect.CHAT),
        ("/api/v1/models", Dialect.CHAT),
        ("/v1beta/models", Dialect.GENERATE),
        ("/v1/chat/completions", Dialect.CHAT),
    ):
        place = find_place(path.encode())
        assert isinstance(place, Place)
        assert place_of_client(place, header).dialect is dialect
        assert place_of_client(place, {}) == place
    shared = find_place(b"/v1/models")
    assert shared is not None
    assert place_of_client(shared, {"x-goog-api-client": "x"}).dialect is Dialect.GENERATE


def test_each_class_of_tokens_has_openrouter_s_name(tmp_path: Path) -> None:
    priced = """
cached_read = 3, cache_write = 4, cache_write_1h = 5, reasoning = 6, image_input = 7,
image_output = 8, audio_input = 9, audio_output = 10
""".replace("\n", " ")
    toml = TOML.replace("max_output = 9,", f"max_output = 9, {priced},")
    [shown] = reply(load(tmp_path, toml), "/v1/models", ("m",))["data"]
    assert shown["pricing"] == {
        "prompt": "0.000001",
        "completion": "0.000002",
        "input_cache_read": "0.000003",
        "input_cache_write": "0.000004",
        "input_cache_write_1h": "0.000005",
        "internal_reasoning": "0.000006",
        "image": None,
        "image_token": "0.000007",
        "image_output": "0.000008",
        "audio": "0.000009",
        "audio_output": "0.00001",
    }
    assert "tools" in shown["supported_parameters"]
    assert "logit_bias" not in shown["supported_parameters"]


def test_endpoints_are_the_routes(settings: Settings) -> None:
    for path in ("/v1/models/m/endpoints", "/api/v1/models/m/endpoints"):
        data = reply(settings, path)["data"]
        first, second = data["endpoints"]
        assert data["id"] == "m"
        assert (first["provider_name"], first["context_length"]) == ("groq", 1000)
        assert first["max_completion_tokens"] == 9
        assert first["pricing"]["prompt"] == "0.000001"
        assert second["quantization"] == "fp8"
        assert "tools" in first["supported_parameters"]
        assert "logit_bias" not in first["supported_parameters"]
        # What a model takes is known by model.
        assert "reasoning" not in first["supported_parameters"]
        assert "reasoning" in second["supported_parameters"]


@pytest.mark.parametrize("path", ["/v1/models/x", "/v1beta/models/x", "/v1/models/x/endpoints"])
def test_a_model_that_the_key_may_not_call_is_not_there(settings: Settings, path: str) -> None:
    for name in ("/m", "/nobody"):
        with pytest.raises(RequestError) as refused:
            reply(settings, path.replace("/x", name), ("house/n",))
        assert refused.value.error.code == "model_not_found"


ENTRIES = [ModelEntry(id=f"m{place}", owned_by="p", servable=True) for place in range(7)]
IDS = [entry.id for entry in ENTRIES]


@given(st.integers(1, 9))
def test_pages_together_are_the_list(size: int) -> None:
    seen: list[str] = []
    query = {"limit": str(size)}
    while True:
        page = anthropic_page(ENTRIES, query)
        assert page["data"], "a page that was promised"
        seen += [model["id"] for model in page["data"]]
        if not page["has_more"]:
            break
        query = {"limit": str(size), "after_id": page["last_id"]}
    assert seen == IDS
    backwards: list[str] = []
    query = {"limit": str(size), "before_id": "m6"}
    while True:
        page = anthropic_page(ENTRIES, query)
        assert page["data"], "a page that was promised"
        backwards = [model["id"] for model in page["data"]] + backwards
        if not page["has_more"]:
            break
        query = {"limit": str(size), "before_id": page["first_id"]}
    assert backwards == IDS[:6]
    google: list[str] = []
    query = {"pageSize": str(size)}
    while True:
        page = gemini_page(ENTRIES, query)
        assert page["models"], "a page that was promised"
        google += [model["name"] for model in page["models"]]
        if "nextPageToken" not in page:
            break
        query = {"pageSize": str(size), "pageToken": page["nextPageToken"]}
    assert google == [f"models/{id}" for id in IDS]


def test_a_page_of_nothing() -> None:
    page = anthropic_page([], {})
    assert page == {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert gemini_page([], {}) == {"models": []}


@given(
    st.sampled_from([anthropic_page, gemini_page]),
    st.dictionaries(
        st.sampled_from(["limit", "after_id", "before_id", "pageSize", "pageToken"]),
        st.text() | st.sampled_from(["0", "1", "-1", "999999", "m3", "\u00b2"]),
    ),
)
def test_no_query_breaks_a_list(paged: Any, query: dict[str, str]) -> None:
    try:
        paged(ENTRIES, query)
    except RequestError as error:
        refused = error.error
    else:
        return
    assert refused.status == 400
    assert refused.param in query
