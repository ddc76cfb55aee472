"""Which preset a request has, and what becomes of the request with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.actors.key_ring import GatewayKey
from signalbox.actors.rate_limiter import KeyLimits
from signalbox.adapters.door import NO_TARGET, Target
from signalbox.adapters.doors import door_of
from signalbox.adapters.models import ModelTable
from signalbox.adapters.preset_bodies import put_into
from signalbox.config import ConfigError, Settings
from signalbox.http.asgi import RequestError
from signalbox.http.intake import Intake, take_in
from signalbox.http.models_api import models_reply
from signalbox.http.paths import find_place
from signalbox.http.preset_checks import check_presets, mistakes
from signalbox.http.presets import DeclaredPresets, split_model
from signalbox.types import Dialect, Preset, Strategy
from tests.catalogues import catalogue
from tests.configs import LOCAL, ROUTE, load

CONFIG = f"""
{LOCAL}
[models."vendor/m"]
routes = [{ROUTE}]
default_params = {{ top_p = 0.5, max_tokens = 9 }}
[models.quick]
routes = [{ROUTE}]
[models.other]
routes = [{ROUTE}]
[presets.short]
model = "quick"
temperature = 0.2
max_completion_tokens = 50
system = "Be short."
models = ["quick", "other"]
provider = {{ sort = "latency" }}
[presets.short.extra]
retry = 1
tags = ["p"]
timeout = {{ total = 20, first_token = 5 }}
provider = {{ sort = "price", ignore = ["nobody"] }}
[presets.warm]
temperature = 1.5
"""

Take = Callable[..., Intake]


@pytest.fixture
def take(tmp_path: Path) -> Take:
    settings = load(tmp_path, CONFIG)
    table = ModelTable(settings, catalogue())

    def take_one(
        body: dict[str, Any],
        headers: dict[str, str] | None = None,
        *,
        dialect: Dialect = Dialect.CHAT,
        data: bytes | None = None,
        target: Target = NO_TARGET,
        **of_key: Any,
    ) -> Intake:
        return take_in(
            door_of(dialect),
            json.dumps(body).encode() if data is None else data,
            headers or {},
            GatewayKey("k", "key", b"", KeyLimits("k", None, None, None), **of_key),
            settings=settings,
            models=table,
            config_version="v",
            request_id="id",
            received_at=1.0,
            presets=DeclaredPresets(settings.presets),
            target=target,
        )

    return take_one


def ask(model: str | None = None, **fields: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": "Hi"}]} | fields
    return body if model is None else {"model": model} | body


def refused(call: Callable[[], object]) -> tuple[int, str, str | None, str]:
    with pytest.raises(RequestError) as caught:
        call()
    error = caught.value.error
    return error.status, error.code, error.param, error.message


def models_of(intake: Intake) -> list[str]:
    return [plan.name for plan in intake.plan.models]


def preset_of(intake: Intake) -> str:
    return intake.request.labels.get("preset", "")


# Naming one

NAMED = {
    "extra": (ask(extra={"preset": "short"}), None),
    "header": (ask(), {"x-signalbox-extra": '{"preset": "short"}'}),
    "escaped header": (ask(), {"x-signalbox-extra": '{"\\u0070reset": "short"}'}),
    "top level": (ask(preset="short"), None),
    "top level, marked": (ask(preset="@preset/short"), None),
    "model": (ask("@preset/short"), None),
    "twice the same": (ask("@preset/short", preset="short"), None),
    "null elsewhere": (ask("@preset/short", preset=None, extra={"preset": None}), None),
}


@pytest.mark.parametrize(("body", "headers"), NAMED.values(), ids=NAMED)
def test_however_a_preset_is_named_the_request_has_it(
    take: Take, body: dict[str, Any], headers: dict[str, str] | None
) -> None:
    taken = take(body, headers)
    assert preset_of(taken).startswith("short@config-")
    assert taken.request.model == "quick"
    assert taken.request.body == {
        "model": "quick",
        "messages": [{"role": "system", "content": "Be short."}, *ask()["messages"]],
        "temperature": 0.2,
        "max_completion_tokens": 50,
    }
    assert json.loads(taken.recorded_body) == body


def test_a_name_in_escapes_is_the_same_name(take: Take) -> None:
    data = b'{"extra": {"\\u0070reset": "short"}, "messages": [{"role": "user"}]}'
    assert take({}, data=data).request.model == "quick"


def test_the_model_before_the_mark_is_the_request_s_own(take: Take) -> None:
    taken = take(ask("vendor/m@preset/short"))
    assert (taken.request.model, models_of(taken)[0]) == ("vendor/m", "vendor/m")
    assert take(ask("vendor/m:floor@preset/short")).plan.preferences.strategy is Strategy.CHEAP


def test_a_path_names_a_preset_too(take: Take) -> None:
    body = {"contents": [{"parts": [{"text": "Hi"}]}]}
    for model, meant in (("@preset/short", "quick"), ("models/other@preset/short", "other")):
        taken = take(body, dialect=Dialect.GENERATE, target=Target(model))
        assert (taken.request.model, preset_of(taken)[:6]) == (meant, "short@")


@given(st.text("a/@preset:", max_size=30))
def test_a_name_is_split_at_its_last_mark_and_loses_nothing(name: str) -> None:
    model, slug = split_model(name)
    assert slug is None or f"{model}@preset/{slug}" == name
    assert slug is not None or model == name


def test_openrouter_s_own_presets_are_models_of_openrouter_s() -> None:
    assert split_model("openrouter/@preset/x") == ("openrouter/@preset/x", None)


def test_a_key_s_preset_is_that_of_requests_that_name_none(take: Take) -> None:
    assert take(ask(), preset="short").request.model == "quick"
    assert take(ask("other"), preset="warm").request.body["temperature"] == 1.5
    assert preset_of(take(ask("@preset/short"), preset="warm")).startswith("short@")
    assert preset_of(take(ask("other"))) == ""


def test_a_request_without_a_preset_is_untouched(take: Take) -> None:
    taken = take(ask("other", messages=[{"role": "user", "content": "a preset"}]))
    assert preset_of(taken) == ""
    assert "preset" not in taken.request.body


# Refusals


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (ask("@preset/shrot"), "model"),
        (ask("quick", preset="shrot"), "preset"),
        (ask("quick", extra={"preset": "shrot"}), "extra.preset"),
    ],
)
def test_an_unknown_preset_is_404_and_names_near_ones(
    take: Take, body: dict[str, Any], param: str
) -> None:
    assert refused(lambda: take(body)) == (
        404,
        "preset_not_found",
        param,
        "The preset 'shrot' does not exist here (near it: short).",
    )


def test_a_key_s_preset_that_is_gone_is_told_as_the_key_s(take: Take) -> None:
    status, code, param, message = refused(lambda: take(ask("quick"), preset="gone"))
    assert (status, code, param) == (404, "preset_not_found", None)
    assert message == "This key's preset 'gone' does not exist here."


def test_two_presets_are_refused(take: Take) -> None:
    told = refused(lambda: take(ask("@preset/short", extra={"preset": "warm"})))
    assert told == (
        400,
        "invalid_value",
        "extra.preset",
        "two presets are named, by extra.preset (warm) and model (short)",
    )


@pytest.mark.parametrize("value", [1, "", {}, []])
def test_a_preset_s_name_is_a_string(take: Take, value: object) -> None:
    assert refused(lambda: take(ask("m", extra={"preset": value})))[:3] == (
        400,
        "invalid_value",
        "extra.preset",
    )


def test_a_preset_without_a_model_needs_one_from_the_request(take: Take) -> None:
    status, _, param, message = refused(lambda: take(ask("@preset/warm")))
    assert (status, param) == (400, "model")
    assert message == "the preset 'warm' has no model; name one: vendor/model@preset/warm"
    assert refused(lambda: take(ask(preset="warm")))[2] == "model"


def test_a_preset_opens_no_model_that_the_key_may_not_call(take: Take) -> None:
    told = refused(lambda: take(ask("@preset/short"), models=("vendor/*",)))
    assert told[:3] == (403, "model_not_allowed", "model")
    assert take(ask("vendor/m@preset/warm"), models=("vendor/*",)).request.model == "vendor/m"


def test_what_is_wrong_with_the_whole_is_told_as_the_door_does(take: Take) -> None:
    assert refused(lambda: take(ask("@preset/short", messages="Hi")))[2] == "messages"
    assert refused(lambda: take({}, data=b"{preset"))[:2] == (400, "invalid_value")
    assert refused(lambda: take({}, data=b'["preset"]'))[:2] == (400, "invalid_value")


# What the request has of it


def test_the_request_s_extensions_win_field_by_field_and_the_tighter_timeout(take: Take) -> None:
    own = {"preset": "short", "tags": ["own"], "timeout": {"total": 30, "first_token": 2}}
    taken = take(ask(extra=own | {"provider": {"only": ["local"]}}))
    assert taken.request.extra.tags == ("own",)
    assert (taken.plan.timeouts.total, taken.plan.timeouts.first_token) == (20, 2)
    assert taken.plan.retry.attempts == 1
    preferences = taken.plan.preferences
    assert (preferences.only, preferences.ignore) == (("local",), ("nobody",))
    assert preferences.strategy is Strategy.CHEAP


def test_openrouter_s_fields_mean_in_a_preset_what_they_mean_in_a_request(take: Take) -> None:
    taken = take(ask("@preset/short"))
    assert models_of(taken) == ["quick", "other"]
    assert taken.request.body.keys() == {
        "model",
        "messages",
        "temperature",
        "max_completion_tokens",
    }
    assert models_of(take(ask("@preset/short", models=["vendor/m"]))) == ["quick", "vendor/m"]


def test_a_model_s_defaults_fill_what_the_preset_leaves_open(take: Take) -> None:
    body = take(ask("vendor/m@preset/short")).request.body
    assert (body["top_p"], body["max_completion_tokens"]) == (0.5, 50)
    assert "max_tokens" not in body
    taken = take(
        {"model": "vendor/m@preset/short", "input": "Hi"}, dialect=Dialect.RESPONSES
    ).request
    assert taken.defaults == {"temperature": 0.2, "max_completion_tokens": 50, "top_p": 0.5}
    assert taken.output_tokens == 50


def test_embeddings_have_no_fallbacks_of_a_preset(take: Take) -> None:
    body = {"model": "@preset/short", "input": "Hi"}
    assert models_of(take(body, dialect=Dialect.EMBEDDINGS)) == ["quick"]


def test_completions_that_would_lose_instructions_are_refused(take: Take) -> None:
    body = {"model": "@preset/short", "prompt": "Hi"}
    told = refused(lambda: take(body, dialect=Dialect.COMPLETIONS))
    assert told[0] == 400
    assert "its preset has system" in told[3]


# Providers of a key


def test_a_key_is_served_by_its_providers_alone(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        LOCAL
        + 'providers.far = { base_url = "http://127.0.0.1:2", keys = [] }\n'
        + f'models.both = {{ routes = [{ROUTE}, {{ provider = "far", model = "m" }}] }}\n'
        + 'models.away = { routes = [{ provider = "far", model = "m" }], fallbacks = ["near"] }\n'
        + f'models.near = {{ routes = [{ROUTE}], fallbacks = ["away", "both"] }}\n',
    )
    table = ModelTable(settings, catalogue())
    key = GatewayKey("k", "k", b"", KeyLimits("k", None, None, None), providers=("local",))

    def take(model: str, **fields: Any) -> Intake:
        return take_in(
            door_of(Dialect.CHAT),
            json.dumps(ask(model, **fields)).encode(),
            {},
            key,
            settings=settings,
            models=table,
            config_version="v",
            request_id="id",
            received_at=1.0,
            presets=DeclaredPresets({}),
        )

    assert take("both").plan.preferences.allowed == ("local",)
    assert models_of(take("near")) == ["near", "both"]
    words = "The model 'away' is served by far, which this key may not use."
    for call in (lambda: take("away"), lambda: take("near", models=["away"])):
        assert refused(call) == (403, "model_not_allowed", "model", words)
    place = find_place(b"/v1/models")
    assert place is not None
    listed = models_reply(place, {}, table, settings, key, {})["data"]
    assert {"both", "near"} <= {model["id"] for model in listed}
    assert "away" not in {model["id"] for model in listed}


# Lists


def listed(settings: Settings, query: dict[str, str], models: tuple[str, ...] = ()) -> set[str]:
    place = find_place(b"/v1/models")
    assert place is not None
    key = GatewayKey("k", "k", b"", KeyLimits("k", None, None, None), models)
    table = ModelTable(settings, catalogue())
    data = models_reply(place, query, table, settings, key, settings.presets)["data"]
    return {model["id"] for model in data}


def test_presets_with_a_model_are_listed_where_all_is_asked_for(tmp_path: Path) -> None:
    settings = load(tmp_path, CONFIG)
    assert "@preset/short" in listed(settings, {"all": "true"})
    assert "@preset/warm" not in listed(settings, {"all": "true"})
    assert "@preset/short" not in listed(settings, {})
    assert "@preset/short" not in listed(settings, {"all": "true"}, ("other",))


# Making one


@pytest.mark.parametrize(
    ("document", "place", "words"),
    [
        ({"temperature": "hot"}, ("temperature",), "expected a number, got the string 'hot'"),
        ({"system": ""}, ("system",), "expected a string that is not empty"),
        ({"model": 1}, ("model",), "expected a string that is not empty"),
        ({"tools": {}}, ("tools",), "expected a list of objects"),
        (
            {"messages": [{"role": "system", "content": "x"}]},
            ("messages", 0, "role"),
            "expected one of user, assistant, tool; instructions go into `system`",
        ),
        (
            {"messages": [{"role": "user", "content": [1]}]},
            ("messages", 0, "content", 0),
            "expected an object with a `type`, got the number 1",
        ),
        ({"extra": {"rtry": 1}}, ("extra", "rtry"), None),
        ({"extra": {"timeout": {"total": -1}}}, ("extra", "timeout", "total"), None),
        ({"provider": {"sort": "best"}}, ("provider", "sort"), None),
        ({"extra": []}, ("extra",), "expected an object, got a list"),
        ({"stream": True}, ("stream",), "is always the request's own"),
    ],
)
def test_a_mistake_is_told_by_its_place(
    document: dict[str, Any], place: tuple[object, ...], words: str | None
) -> None:
    [(path, told)] = mistakes(Preset("p", "1", document))
    assert path == place
    assert words is None or told == words


def test_a_good_document_has_no_mistakes(tmp_path: Path) -> None:
    for preset in load(tmp_path, CONFIG).presets.values():
        assert list(mistakes(preset)) == []


@given(
    st.dictionaries(
        st.sampled_from(["model", "system", "messages", "tools", "extra", "n", "models", "stop"]),
        st.recursive(
            st.one_of(st.none(), st.integers(), st.text("a")),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("a"), inner),
            max_leaves=4,
        ),
    )
)
def test_whatever_passes_the_checks_can_be_put_into_every_door_s_requests(
    document: dict[str, Any],
) -> None:
    preset = Preset("p", "1", document)
    if list(mistakes(preset)):
        return
    for dialect, body in (
        (Dialect.CHAT, ask()),
        (Dialect.RESPONSES, {"input": "Hi"}),
        (Dialect.MESSAGES, ask(max_tokens=5)),
    ):
        put = put_into(body, document, dialect)
        assert door_of(dialect).read_body(msgspec.json.encode({"model": "m", **put}))


def test_the_configuration_s_presets_are_checked_with_their_lines(tmp_path: Path) -> None:
    settings = load(tmp_path, '[presets.p]\ntemperature = "hot"\n[presets.q]\ntemprature = 1\n')
    with pytest.raises(ConfigError) as caught:
        check_presets(settings)
    assert str(caught.value) == (
        "signalbox.toml:2: presets.p.temperature: expected a number, got the string 'hot'"
    )
    settings = load(tmp_path, "[presets.q]\ntemprature = 1\n")
    assert check_presets(settings) == (
        "signalbox.toml:2: presets.q.temprature: is not known here, so that only providers of this "
        'API get it; did you mean "temperature"?',
    )


def test_a_preset_s_models_must_be_there(tmp_path: Path) -> None:
    toml = f"{LOCAL}[presets.p]\nmodel = 'nowhere'\nextra.fallback_models = ['never']"
    with pytest.raises(ConfigError) as caught:
        ModelTable(load(tmp_path, toml), catalogue())
    assert str(caught.value).splitlines() == [
        'signalbox.toml:3: presets.p.model: no model is named "nowhere"',
        'signalbox.toml:4: presets.p.extra.fallback_models[0]: no model is named "never"',
    ]
