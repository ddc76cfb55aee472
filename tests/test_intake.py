"""From a request's bytes and headers to what the runner is given."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from signalbox.actors.key_ring import GatewayKey
from signalbox.actors.rate_limiter import KeyLimits
from signalbox.adapters.doors import door_of
from signalbox.adapters.models import ModelTable
from signalbox.config import Settings
from signalbox.errors import ApiError
from signalbox.http.asgi import RequestError
from signalbox.http.intake import Intake, take_in
from signalbox.http.presets import DeclaredPresets
from signalbox.types import Dialect, Midstream, Strategy
from tests.catalogues import catalogue
from tests.configs import ROUTE, load
from tests.simulator_client import chat

CONFIG = f"""
timeouts = {{ response = 50, total = 100 }}
traces = {{ payloads = "redacted" }}
providers.local = {{ base_url = "http://127.0.0.1:1", keys = [] }}
providers.openrouter = {{ keys = [{{ value = "sk-or-0123456789" }}] }}
aliases = {{ other = "vendor/m" }}
routing = {{ fallbacks = ["last"] }}
[models."vendor/m"]
routes = [{ROUTE}]
default_params = {{ temperature = 0.2, seed = 1 }}
[models.quick]
routes = [{ROUTE}]
timeouts = {{ total = 5 }}
[models."declared:nitro"]
routes = [{ROUTE}]
[models.last]
routes = [{ROUTE}]
[models.theirs]
routes = [{{ provider = "openrouter", model = "a/b" }}]
"""

Take = Callable[..., Intake]


@pytest.fixture
def take(tmp_path: Path) -> Take:
    return taker(load(tmp_path, CONFIG))


def taker(settings: Settings) -> Take:
    table = ModelTable(settings, catalogue())

    def take_one(
        body: dict[str, Any],
        headers: dict[str, str] | None = None,
        models: tuple[str, ...] = (),
        **of_key: Any,
    ) -> Intake:
        return take_in(
            door_of(Dialect.CHAT),
            json.dumps(body).encode(),
            headers or {},
            GatewayKey("k", "key", b"", KeyLimits("k", None, None, None), models, **of_key),
            settings=settings,
            models=table,
            config_version="v",
            request_id="id",
            received_at=1.0,
            presets=DeclaredPresets(settings.presets),
        )

    return take_one


def ask(model: str = "vendor/m", **fields: Any) -> dict[str, Any]:
    return chat() | {"model": model} | fields


def refused(call: Callable[[], object]) -> ApiError:
    with pytest.raises(RequestError) as caught:
        call()
    return caught.value.error


def names(intake: Intake) -> list[str]:
    return [plan.name for plan in intake.plan.models]


def test_the_body_is_kept_but_for_the_gateway_s_own_field(take: Take) -> None:
    taken = take(ask(unknown={"a": 1}, extra={"tags": ["t"]}, seed=9))
    assert taken.request.body == ask(unknown={"a": 1}, seed=9) | {"temperature": 0.2}
    assert taken.request.extra.tags == ("t",)


def test_a_request_has_its_key_s_tags_and_says_who_pays(take: Take) -> None:
    own = take(ask(extra={"tags": ["mine", "team"]}), tags=("team", "ci"), account="anna").request
    assert (own.tags, own.account) == (("team", "ci", "mine"), "anna")
    assert (take(ask()).request.tags, take(ask()).request.account) == ((), "k")


def test_what_openrouter_clients_say_at_the_top_level_is_acted_on_and_taken_out(take: Take) -> None:
    taken = take(ask(models=["quick"], provider="cheap", route="fallback"))
    assert names(taken) == ["vendor/m", "quick", "last"]
    assert taken.plan.preferences.strategy is Strategy.CHEAP
    assert taken.request.body == take(ask()).request.body


def test_openrouter_s_own_provider_object_is_kept_for_openrouter(take: Take) -> None:
    wishes = {"order": ["local"]}
    taken = take(ask(provider=wishes))
    assert taken.plan.preferences.order == ("local",)
    assert taken.request.body["provider"] == wishes


def test_conversations_are_known_again_unless_the_operator_wants_none(
    take: Take, tmp_path: Path
) -> None:
    assert take(ask()).request.conversation is not None
    without = CONFIG.replace("routing = { ", "routing = { affinity = false, ")
    assert without != CONFIG
    assert taker(load(tmp_path, without))(ask()).request.conversation is None


# Models


def test_the_chain_is_the_request_s_fallbacks_then_those_for_every_model(take: Take) -> None:
    assert names(take(ask())) == ["vendor/m", "last"]
    assert names(take(ask(extra={"fallback_models": ["quick"]}))) == ["vendor/m", "quick", "last"]


def test_an_unknown_model_is_404_and_says_which_are_near(take: Take) -> None:
    error = refused(lambda: take(ask("vendor/n")))
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert "vendor/m" in error.message
    error = refused(lambda: take(ask(extra={"fallback_models": ["nobody"]})))
    assert (error.status, error.param) == (404, "extra.fallback_models")
    error = refused(lambda: take(ask(models=["nobody"])))
    assert (error.status, error.param) == (404, "models")


@pytest.mark.parametrize(
    ("fields", "wish"),
    [
        ({}, None),
        ({"model": "vendor/m:nitro"}, Strategy.THROUGHPUT),
        ({"model": "vendor/m:floor"}, Strategy.CHEAP),
        ({"model": "vendor/m:nitro", "provider": {"sort": "latency"}}, Strategy.FAST),
        ({"model": "declared:nitro"}, None),
    ],
)
def test_a_strategy_s_suffix_is_a_wish_of_the_request(
    take: Take, fields: dict[str, Any], wish: Strategy | None
) -> None:
    assert take(ask(**fields)).plan.preferences.strategy is wish


def test_a_key_may_call_what_it_names_under_every_name(take: Take) -> None:
    assert names(take(ask("other"), models=("vendor/*",))) == ["vendor/m"]
    assert names(take(ask("other"), models=("other",))) == ["vendor/m"]


def test_a_model_that_the_client_names_must_be_allowed(take: Take) -> None:
    fallback = ask(extra={"fallback_models": ["quick"]})
    for body in (ask("quick"), fallback):
        error = refused(partial(take, body, models=("vendor/m",)))
        assert (error.status, error.type) == (403, "permission_error")
        assert (error.code, "quick" in error.message) == ("model_not_allowed", True)


@pytest.mark.parametrize("model", ["vendor/m:online", "nobody:online", "openrouter/auto"])
def test_openrouter_s_features_are_named_where_they_mean_nothing(take: Take, model: str) -> None:
    error = refused(lambda: take(ask(model)))
    assert (error.status, error.code, error.param) == (400, "unsupported_parameter", "model")
    assert "OpenRouter" in error.message


def test_plugins_need_openrouter_for_every_route(take: Take) -> None:
    for model in ("vendor/m", "theirs"):  # the second falls back to a route that is not theirs
        error = refused(partial(take, ask(model, plugins=[{"id": "web"}])))
        assert (error.code, error.param) == ("unsupported_parameter", "plugins")
    alone = take(ask("theirs", plugins=[{"id": "web"}]), models=("theirs",))
    assert alone.request.body["plugins"] == [{"id": "web"}]


# Clocks


@pytest.mark.parametrize(
    ("asked", "total", "response"),
    [
        ({}, 100, 50),
        ({"extra": {"timeout": {"total": 20, "response": 7}}}, 20, 7),
        ({"extra": {"timeout": {"total": 200}}}, 100, 50),
        ({"model": "quick", "extra": {"timeout": {"total": 20}}}, 5, 50),
    ],
)
def test_the_tighter_clock_wins(
    take: Take, asked: dict[str, Any], total: float, response: float
) -> None:
    plan = take(ask() | asked).plan
    assert (plan.timeouts.total, plan.timeouts.response) == (total, response)
    assert plan.timeouts_tightened == ((total, response) != (100, 50) and total != 5)


@pytest.mark.parametrize(
    ("header", "stream", "total"),
    [
        ("x-stainless-timeout", False, 29.0),
        ("x-stainless-timeout", True, 29.0),
        ("x-stainless-read-timeout", False, 29.0),
        ("x-stainless-read-timeout", True, 100.0),  # a stream's bytes are never that far apart
    ],
)
def test_the_answer_comes_before_the_sdk_gives_up(
    take: Take, header: str, stream: bool, total: float
) -> None:
    assert take(ask(stream=stream), {header: "30"}).plan.timeouts.total == total


@pytest.mark.parametrize("patience", ["", "soon", "0", "-5", "nan", "inf", "600", "1e9"])
def test_a_patience_that_says_nothing_changes_nothing(take: Take, patience: str) -> None:
    assert take(ask(), {"x-stainless-timeout": patience}).plan.timeouts.total == 100


def test_a_short_patience_loses_a_tenth(take: Take) -> None:
    assert take(ask(), {"x-stainless-timeout": "2"}).plan.timeouts.total == pytest.approx(1.8)


# Streams that break or are late

STREAM = {"stream": True}


@pytest.mark.parametrize(
    ("fields", "midstream"),
    [
        (STREAM, Midstream.CONTINUE),
        (STREAM | {"extra": {"midstream": "same_model"}}, Midstream.SAME_MODEL),
        (STREAM | {"extra": {"midstream": "error"}}, Midstream.ERROR),
        (STREAM | {"n": 1, "response_format": {"type": "text"}}, Midstream.CONTINUE),
        (STREAM | {"logprobs": False, "modalities": ["text"]}, Midstream.CONTINUE),
        ({"stream": False}, Midstream.ERROR),
        (STREAM | {"n": 2}, Midstream.ERROR),
        (STREAM | {"response_format": {"type": "json_object"}}, Midstream.ERROR),
        (STREAM | {"logprobs": True}, Midstream.ERROR),
        (STREAM | {"modalities": ["text", "audio"]}, Midstream.ERROR),
    ],
)
def test_only_one_choice_of_plain_text_can_be_gone_on_with(
    take: Take, fields: dict[str, Any], midstream: Midstream
) -> None:
    assert take(ask(**fields)).plan.midstream is midstream


@pytest.mark.parametrize(("asked", "after"), [(True, None), (2.5, 2.5)])
def test_only_a_stream_is_hedged(take: Take, asked: object, after: float | None) -> None:
    plan = take(ask(stream=True, extra={"hedge": asked})).plan
    assert (plan.hedge, plan.hedge_after) == (True, after)
    whole = take(ask(extra={"hedge": asked})).plan
    assert (whole.hedge, whole.hedge_after) == (False, None)


# Headers


def test_headers_label_the_trace(take: Take) -> None:
    def labels(**headers: str) -> object:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return take(ask(), named).request.labels

    assert labels(http_referer="https://a", x_title="b") == {"referer": "https://a", "title": "b"}
    assert labels(x_title="Öl".encode().decode("latin-1")) == {"title": "Öl"}
    assert labels(x_title="\xd6l") == {"title": "Öl"}
    assert labels(x_title="x" * 300) == {"title": "x" * 256}
    assert labels() == {}


def test_one_client_header_is_forwarded(take: Take) -> None:
    headers = {"openai-beta": "x", "openai-organization": "org", "cookie": "c"}
    assert take(ask(), headers).request.forward_headers == (("openai-beta", "x"),)


# Payloads and sizes


@pytest.mark.parametrize(
    ("asked", "kept"), [(None, "redacted"), ("full", "redacted"), ("off", "off")]
)
def test_a_client_may_hide_more_but_not_less(take: Take, asked: str | None, kept: str) -> None:
    extra = {} if asked is None else {"payloads": asked}
    assert take(ask(extra=extra)).payloads == kept


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, 512),
        ({"max_tokens": 9}, 9),
        ({"max_tokens": 9000}, 512),
        ({"max_completion_tokens": 7, "max_tokens": 9}, 7),
    ],
)
def test_the_likely_answer_is_a_usual_one_under_the_client_s_ceiling(
    take: Take, fields: dict[str, Any], tokens: int
) -> None:
    assert take(ask(**fields)).request.output_tokens == tokens


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, False),
        ({"stream_options": None}, False),
        ({"stream_options": {}}, False),
        ({"stream_options": {"include_usage": False}}, False),
        ({"stream_options": {"include_usage": True}}, True),
    ],
)
def test_whether_the_client_asked_for_usage(
    take: Take, fields: dict[str, Any], asked: bool
) -> None:
    assert take(ask(stream=True, **fields)).request.include_usage is asked
