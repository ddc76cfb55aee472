"""Request extensions: what they mean, and what is refused by name."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.http.extension_fields import BadExtension
from signalbox.http.extensions import HEADER, parse_extra
from signalbox.types import Extra, Midstream, ProviderPreferences, Secret, Strategy
from tests.garbled import JSON

FIELDS = (
    *("fallback_models", "provider", "retry", "byok", "preset", "max_cost"),
    *("timeout", "midstream", "hedge", "payloads", "unsupported", "tags"),
)
"""Every extension of the contract."""


def refusal(
    extra: object, header: str | None = None, body: Mapping[str, Any] | None = None
) -> tuple[str | None, str]:
    with pytest.raises(BadExtension) as caught:
        parse_extra(extra, header, body or {})
    error = caught.value.error
    assert (error.status, error.type, error.code) == (400, "invalid_request_error", "invalid_value")
    return error.param, error.message


@pytest.mark.parametrize(
    ("field", "value", "means"),
    [
        ("fallback_models", ["a", "b/c"], {"fallback_models": ("a", "b/c")}),
        ("retry", 3, {"retry": {"attempts": 3}}),
        ("retry", 0, {"retry": {"attempts": 0}}),
        (
            "retry",
            {"attempts": 1, "base_delay_ms": 250, "backoff": 3, "max_delay_ms": 1500},
            {"retry": {"attempts": 1, "base_delay": 0.25, "backoff": 3.0, "max_delay": 1.5}},
        ),
        ("timeout", {"total": 10, "idle": 0.5}, {"timeout": {"total": 10.0, "idle": 0.5}}),
        ("payloads", "redacted", {"payloads": "redacted"}),
        ("unsupported", "refuse", {"refuse_unsupported": True}),
        ("unsupported", "drop", {"refuse_unsupported": False}),
        *(("midstream", word.value, {"midstream": word}) for word in Midstream),
        ("hedge", False, {"hedge": False}),
        ("hedge", True, {"hedge": True}),
        ("hedge", 1.5, {"hedge": True, "hedge_after": 1.5}),
        ("tags", ["nightly"], {"tags": ("nightly",)}),
        ("byok", "sk-12345678", {"byok": Secret("sk-12345678")}),
        ("byok", {"groq": "sk-12345678"}, {"byok": {"groq": Secret("sk-12345678")}}),
    ],
)
def test_what_a_field_means(field: str, value: Any, means: dict[str, Any]) -> None:
    assert parse_extra({field: value}, None) == Extra(**means)


@pytest.mark.parametrize(
    ("value", "means"),
    [
        *((strategy.value, {"strategy": strategy}) for strategy in Strategy),
        ("cheapest", {"strategy": Strategy.CHEAP}),
        ("fastest", {"strategy": Strategy.FAST}),
        ("openai", {"only": ("openai",)}),
        ({}, {}),
        ({"order": ["a", "b"]}, {"order": ("a", "b")}),
        ({"only": ["a"], "ignore": ["b"]}, {"only": ("a",), "ignore": ("b",)}),
        ({"allow_fallbacks": False}, {"allow_fallbacks": False}),
        ({"sort": "price"}, {"strategy": Strategy.CHEAP}),
        ({"sort": "latency"}, {"strategy": Strategy.FAST}),
        ({"sort": "throughput"}, {"strategy": Strategy.THROUGHPUT}),
        (
            {"max_price": {"prompt": 1, "completion": 2.5}},
            {"max_input_price": Decimal(1), "max_output_price": Decimal("2.5")},
        ),
        ({"require_parameters": True}, {"require_parameters": True}),
        ({"data_collection": "deny"}, {"deny_data_collection": True}),
        ({"data_collection": "allow"}, {"deny_data_collection": False}),
        ({"zdr": True}, {"zdr": True}),
        ({"quantizations": ["fp8"]}, {"quantizations": ("fp8",)}),
        ({"sort": {"by": "price", "partition": "model"}}, {"strategy": Strategy.CHEAP}),
        ({"max_price": {"prompt": "0.15"}}, {"max_input_price": Decimal("0.15")}),
        ({"preferred_max_latency": 2}, {"preferred_max_latency": {"p50": 2.0}}),
        (
            {"preferred_max_latency": {"p75": 1, "p99": 5, "p50": None}},
            {"preferred_max_latency": {"p75": 1.0, "p99": 5.0}},
        ),
        ({"preferred_min_throughput": 50}, {"preferred_min_throughput": 50.0}),
        ({"preferred_min_throughput": {"p50": 50}}, {"preferred_min_throughput": 50.0}),
        (dict.fromkeys(["order", "sort", "zdr", "max_price", "preferred_min_throughput"]), {}),
    ],
)
def test_what_provider_means(value: Any, means: dict[str, Any]) -> None:
    assert parse_extra({"provider": value}, None).provider == ProviderPreferences(**means)


@pytest.mark.parametrize(
    ("extra", "param", "words"),
    [
        ({"fallbacks": []}, "extra.fallbacks", "unknown; the extensions are byok, fallback_models"),
        ({"retry": {"tries": 1}}, "extra.retry.tries", "unknown; expected attempts"),
        ({"timeout": {"read": 1}}, "extra.timeout.read", "unknown; expected connect"),
        ({"provider": {"plan": 1}}, "extra.provider.plan", "unknown; expected order"),
        ({"provider": {"max_price": {"image": 1}}}, "extra.provider.max_price.image", "per token"),
        ({"provider": {"max_price": {"token": 1}}}, "extra.provider.max_price.token", "unknown"),
        *(
            ({"provider": {"max_price": {"prompt": price}}}, "extra.provider.max_price.prompt", why)
            for price, why in (
                (True, "expected a number, got a boolean"),
                ("dear", "expected 0 to 1000000, got 'dear'"),
                ("NaN", "got 'NaN'"),
                ("9" * 99, "got '99999999999999999999'"),
                (-1, "got '-1'"),
            )
        ),
        (
            {"provider": {"sort": {"by": "price", "partition": "none"}}},
            "extra.provider.sort.partition",
            "expected model: the models of a request are tried in order",
        ),
        ({"provider": {"sort": {"by": "age"}}}, "extra.provider.sort.by", "expected one of cheap"),
        ({"provider": {"sort": {"up": 1}}}, "extra.provider.sort.up", "expected by, partition"),
        (
            {"provider": {"preferred_max_latency": {"p95": 1}}},
            "extra.provider.preferred_max_latency.p95",
            "unknown; expected p50, p75, p90, p99",
        ),
        (
            {"provider": {"preferred_max_latency": -1}},
            "extra.provider.preferred_max_latency",
            "expected 0 to 86400",
        ),
        (
            {"provider": {"preferred_min_throughput": {"p90": 1}}},
            "extra.provider.preferred_min_throughput.p90",
            "only p50 is measured",
        ),
        (
            {"provider": {"enforce_distillable_text": True}},
            "extra.provider.enforce_distillable_text",
            "unknown",
        ),
        ({"midstream": "resume"}, "extra.midstream", "one of continue, same_model, error"),
        ({"midstream": None}, "extra.midstream", "one of continue, same_model, error"),
        ({"hedge": 0}, "extra.hedge", "expected 0.001 to 86400, got 0"),
        ({"hedge": "soon"}, "extra.hedge", "expected true, false or seconds, got a string"),
        ([], "extra", "expected an object, got a list"),
        ("auto", "extra", "expected an object, got a string"),
        ({"fallback_models": "a"}, "extra.fallback_models", "a list of non-empty strings"),
        ({"fallback_models": [""]}, "extra.fallback_models", "a list of non-empty strings"),
        ({"fallback_models": ["a"] * 17}, "extra.fallback_models", "at most 16 entries, got 17"),
        ({"tags": ["x" * 129]}, "extra.tags", "at most 128 characters"),
        ({"retry": 11}, "extra.retry", "expected 0 to 10, got 11"),
        ({"retry": -1}, "extra.retry", "expected 0 to 10, got -1"),
        ({"retry": 1.5}, "extra.retry", "expected a whole number, got 1.5"),
        ({"retry": 10**400}, "extra.retry", "expected 0 to 10, got 1000"),
        ({"retry": True}, "extra.retry", "expected a number, got a boolean"),
        ({"retry": "2"}, "extra.retry", "expected a number, got a string"),
        ({"retry": {"backoff": 0.5}}, "extra.retry.backoff", "expected 1 to 10, got 0.5"),
        ({"timeout": {"total": 0}}, "extra.timeout.total", "expected 0.001 to 86400, got 0"),
        ({"timeout": 5}, "extra.timeout", "expected an object, got a number"),
        ({"payloads": "none"}, "extra.payloads", "expected one of full, redacted, off"),
        ({"unsupported": True}, "extra.unsupported", "expected drop or refuse"),
        ({"provider": ""}, "extra.provider", "expected a strategy, a provider's name or an object"),
        ({"provider": {"sort": []}}, "extra.provider.sort", "expected one of cheap"),
        ({"provider": {"zdr": 1}}, "extra.provider.zdr", "expected true or false, got a number"),
        ({"provider": {"data_collection": 1}}, "extra.provider.data_collection", "allow or deny"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(extra: object, param: str, words: str) -> None:
    named, message = refusal(extra)
    assert named == param
    assert message.startswith(f"{param}: ")
    assert words in message


def test_the_body_wins_over_the_header_field_by_field() -> None:
    header = json.dumps({"retry": 1, "tags": ["header"]})
    extra = parse_extra({"tags": ["body"]}, header)
    assert (extra.retry, extra.tags) == ({"attempts": 1}, ("body",))


OPENROUTER_S = {"models": ["a", "b"], "provider": {"sort": "price"}, "route": "fallback"}


def test_openrouter_s_fields_mean_the_same_at_the_top_level() -> None:
    extra = parse_extra(None, None, OPENROUTER_S)
    assert extra == parse_extra({"fallback_models": ["a", "b"], "provider": "cheap"}, None)
    assert parse_extra(None, None, {"provider": "groq"}).provider.only == ("groq",)
    assert parse_extra(None, None, dict.fromkeys(OPENROUTER_S)) == Extra()


def test_extra_wins_over_the_top_level_field_by_field() -> None:
    extra = parse_extra({"provider": "fast"}, None, OPENROUTER_S)
    assert (extra.provider.strategy, extra.fallback_models) == (Strategy.FAST, ("a", "b"))
    extra = parse_extra(None, '{"fallback_models": ["c"]}', OPENROUTER_S)
    assert (extra.provider.strategy, extra.fallback_models) == (Strategy.CHEAP, ("c",))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"models": "a"}, "models"),
        ({"provider": {"sort": "age"}}, "provider.sort"),
        ({"provider": 1}, "provider"),
        ({"route": "sort"}, "route"),
    ],
)
def test_what_is_wrong_at_the_top_level_is_named_as_the_client_wrote_it(
    body: dict[str, Any], param: str
) -> None:
    assert refusal(None, None, body)[0] == param


def test_the_header_alone_will_do() -> None:
    assert parse_extra(None, '{"tags": ["a"]}').tags == ("a",)


def test_the_header_is_json_in_utf_8() -> None:
    as_received = '{"tags": ["größe"]}'.encode().decode("latin-1")
    assert parse_extra(None, as_received).tags == ("größe",)


@pytest.mark.parametrize("header", ["", "{", "[1]", "null", "NaN", "[" * 100_000, '"\xff'])
def test_a_header_that_is_no_json_object_is_refused(header: str) -> None:
    param, message = refusal(None, header)
    assert param == HEADER
    assert "expected a" in message


def test_a_header_s_field_is_checked_as_the_body_s_is() -> None:
    assert refusal(None, '{"retry": 99}')[0] == "extra.retry"


PREFERENCES = (
    *("order", "only", "allow_fallbacks", "sort", "max_price", "data_collection", "zdr"),
    *("preferred_max_latency", "preferred_min_throughput"),
)
THRESHOLDS = st.dictionaries(
    st.sampled_from(["p50", "p99", "prompt", "request", "by", "partition"]), JSON, max_size=3
)
WISHES = st.dictionaries(st.sampled_from(PREFERENCES), JSON | THRESHOLDS, max_size=3)


@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3)
    | st.builds(lambda wishes: {"provider": wishes}, WISHES)
    | JSON
)
def test_nothing_but_a_refusal_comes_of_what_is_wrong(extra: object) -> None:
    with contextlib.suppress(BadExtension):
        parse_extra(extra, None)


def test_the_requests_own_ceiling_is_exact_dollars() -> None:
    assert parse_extra({"max_cost": 0.1}, None).max_cost == 100_000_000
    assert parse_extra({"max_cost": 2}, None).max_cost == 2_000_000_000
    assert parse_extra({"max_cost": 0.000000001}, None).max_cost == 1
    for wrong in (0, -1, "1", True, 1e-10, None):
        with pytest.raises(BadExtension, match=r"extra\.max_cost"):
            parse_extra({"max_cost": wrong}, None)
