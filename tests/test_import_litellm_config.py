"""LiteLLM's config.yaml → signalbox.toml: what each part of it becomes."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from signalbox.cli.litellm_log import Outcome
from signalbox.cli.yaml_tree import read_yaml
from signalbox.config import EntraClient, ServiceAccount
from signalbox.types import ModelPlan
from tests.litellm_configs import Result, import_text, import_tree, loaded, mistakes_of


def deployment(name: str, model: str, **params: Any) -> dict[str, Any]:
    info = params.pop("model_info", None)
    entry: dict[str, Any] = {"model_name": name, "litellm_params": {"model": model, **params}}
    return entry if info is None else {**entry, "model_info": info}


def models(*entries: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {"model_list": list(entries), **sections}


@pytest.fixture
def imported(tmp_path: Path) -> Any:
    def made(tree: Any, environ: dict[str, str] | None = None) -> Result:
        return loaded(import_tree(tree, environ), tmp_path, environ)

    return made


# Groups, keys, addresses


def test_one_name_several_times_is_one_model_with_several_routes(imported: Any) -> None:
    result = imported(
        models(
            deployment("chat", "openai/gpt-4o", api_key="os.environ/OPENAI_API_KEY"),
            deployment(
                "chat",
                "azure/eu",
                api_base="https://eu.openai.azure.com/",
                api_key="os.environ/EU",
                api_version="2024-06-01",
            ),
        )
    )
    plan = result.models().resolve("chat")
    assert isinstance(plan, ModelPlan)
    assert [route.id for route in plan.routes] == ["openai:gpt-4o", "azure:eu"]
    azure = result.settings.providers["azure"]
    assert (azure.api, azure.base_url, azure.api_version) == (
        "azure",
        "https://eu.openai.azure.com",
        "2024-06-01",
    )


def test_keys_that_serve_the_same_models_are_one_pool_with_their_limits(imported: Any) -> None:
    result = imported(
        models(
            deployment("a", "openai/gpt-4o", api_key="os.environ/ONE", rpm=10, tpm=100),
            deployment("a", "openai/gpt-4o", api_key="os.environ/TWO", rpm=20),
        )
    )
    assert result.document["providers"] == {
        "openai": {"keys": [{"env": "ONE", "rpm": 10, "tpm": 100}, {"env": "TWO", "rpm": 20}]}
    }
    assert len(result.settings.models["a"].routes) == 1


def test_keys_that_serve_different_models_stay_apart(imported: Any) -> None:
    result = imported(
        models(
            deployment("a", "openai/gpt-4o", api_key="os.environ/ONE"),
            deployment("b", "openai/gpt-4o", api_key="os.environ/TWO"),
        )
    )
    assert result.document["providers"] == {
        "openai": {"keys": [{"env": "ONE"}]},
        "openai-2": {"like": "openai", "keys": [{"env": "TWO"}]},
    }
    assert result.settings.providers["openai-2"].base_url == "https://api.openai.com/v1"
    assert [m.routes[0].provider for m in result.settings.models.values()] == ["openai", "openai-2"]


def test_one_key_with_two_ways_to_serve_a_model_is_two_providers(imported: Any) -> None:
    result = imported(
        models(
            deployment("a", "openai/gpt-4o", api_key="os.environ/ONE", order=1),
            deployment("a", "openai/gpt-4o", api_key="os.environ/ONE", order=2, temperature=0),
        )
    )
    first, second = result.settings.models["a"].routes
    assert (first.order, dict(first.params)) == (1, {})
    assert (second.order, dict(second.params)) == (2, {"temperature": 0})


def test_the_provider_of_a_wildcard_has_the_name_that_its_models_begin_with(
    imported: Any,
) -> None:
    result = imported(
        models(
            deployment("a", "openai/gpt-4o", api_key="os.environ/ONE"),
            deployment("openai/*", "openai/*", api_key="os.environ/ALL"),
        )
    )
    assert result.document["providers"]["openai"]["keys"] == [{"env": "ALL"}]
    plan = result.models().resolve("openai/gpt-5")
    assert isinstance(plan, ModelPlan)
    assert [route.id for route in plan.routes] == ["openai:gpt-5"]


@pytest.mark.parametrize(
    ("model", "params", "provider", "base_url", "upstream"),
    [
        ("gpt-4o", {}, "openai", "https://api.openai.com/v1", "gpt-4o"),
        ("claude-sonnet-4-5", {}, "anthropic", "https://api.anthropic.com/v1", None),
        (
            "anthropic/c",
            {"api_base": "https://a.example"},
            "anthropic",
            "https://a.example/v1",
            "c",
        ),
        ("gemini/gemini-2.5-flash", {}, "google", None, "gemini-2.5-flash"),
        ("groq/llama", {}, "groq", "https://api.groq.com/openai/v1", "llama"),
        ("together_ai/a/b", {}, "together", "https://api.together.xyz/v1", "a/b"),
        ("cohere_chat/command-r", {}, "cohere", "https://api.cohere.com/v2", "command-r"),
        ("ollama_chat/l", {"api_base": "http://box:11434"}, "ollama", "http://box:11434/v1", "l"),
        ("hosted_vllm/m", {"api_base": "http://gpu:8000/v1/"}, "vllm", "http://gpu:8000/v1", "m"),
        ("openai/m", {"api_base": "http://gpu:8000/v1"}, "gpu-8000", "http://gpu:8000/v1", "m"),
        ("openai/m", {"api_base": "https://api.groq.com/openai/v1"}, "groq", None, "m"),
        ("m", {"api_base": "http://0.0.0.0:1/v1"}, "local-1", "http://0.0.0.0:1/v1", "m"),
        ("m", {"custom_llm_provider": "mistral"}, "mistral", "https://api.mistral.ai/v1", "m"),
        ("deepinfra/a/b", {}, "deepinfra", "https://api.deepinfra.com/v1/openai", "a/b"),
        ("bedrock/eu-west-3/anthropic.c", {}, "bedrock", None, "anthropic.c"),
        ("bedrock/converse/a.b", {"aws_region_name": "eu-west-1"}, "bedrock", None, "a.b"),
        (
            "azure_ai/claude-x",
            {"api_base": "https://r.services.ai.azure.com/anthropic"},
            "azure-claude",
            "https://r.services.ai.azure.com/anthropic/v1",
            "claude-x",
        ),
        (
            "azure/o_series/d",
            {"api_base": "https://r.openai.azure.com/openai/deployments/d?api-version=v1"},
            "azure",
            "https://r.openai.azure.com",
            "d",
        ),
    ],
)
def test_a_prefix_is_a_provider(
    imported: Any,
    model: str,
    params: dict[str, Any],
    provider: str,
    base_url: str | None,
    upstream: str | None,
) -> None:
    result = imported(models(deployment("m", model, **params)))
    [route] = result.settings.models["m"].routes
    assert (route.provider, route.model) == (provider, upstream or model)
    if base_url is not None:
        assert result.settings.providers[provider].base_url == base_url


def test_the_region_of_bedrock_is_that_of_the_key(imported: Any) -> None:
    result = imported(
        models(
            deployment(
                "m",
                "bedrock/anthropic.c",
                aws_region_name="eu-central-1",
                aws_access_key_id="os.environ/ID",
                aws_secret_access_key="os.environ/SECRET",
            )
        )
    )
    provider = result.settings.providers["bedrock"]
    assert provider.base_url == "https://bedrock-runtime.eu-central-1.amazonaws.com"
    assert provider.keys[0].credential.region == "eu-central-1"


def test_an_application_of_entra_asks_azure_for_tokens(imported: Any) -> None:
    result = imported(
        models(
            deployment(
                "m",
                "azure/d",
                api_base="https://r.openai.azure.com",
                tenant_id="t",
                client_id="os.environ/CLIENT",
                client_secret="os.environ/CLIENT_SECRET",
            )
        ),
        {"CLIENT": "the-client"},
    )
    credential = result.settings.providers["azure"].keys[0].credential
    assert isinstance(credential, EntraClient)
    assert credential.client_id == "the-client"


def test_a_service_account_of_vertex_is_read_from_its_file(imported: Any, tmp_path: Path) -> None:
    key = (
        '{"type": "service_account", "client_email": "a@b", "private_key": "-----BEGIN X",'
        ' "project_id": "p"}'
    )
    (tmp_path / "vertex.json").write_text(key)
    result = imported(
        models(
            deployment("m", "vertex_ai/gemini-2.5-pro", vertex_credentials="vertex.json"),
            deployment("n", "vertex_ai/claude-x", vertex_credentials="vertex.json"),
        )
    )
    provider = result.settings.providers["vertex"]
    assert isinstance(provider.keys[0].credential, ServiceAccount)
    assert (provider.project, provider.location) == ("p", "us-central1")


def test_an_address_in_the_environment_is_taken_from_there(imported: Any) -> None:
    tree = models(deployment("m", "azure/d", api_base="os.environ/BASE", api_key="os.environ/K"))
    result = imported(tree, {"BASE": "https://r.openai.azure.com"})
    assert result.settings.providers["azure"].base_url == "https://r.openai.azure.com"
    assert result.tasks() == []

    result = imported(tree)
    assert result.settings.providers["azure"].base_url == "https://set-base.invalid"
    assert result.tasks() == ["put the value of BASE in the place of https://set-base.invalid"]


def test_credentials_are_shared_by_name(imported: Any) -> None:
    result = imported(
        models(
            deployment("m", "azure/d", litellm_credential_name="eu"),
            credential_list=[
                {
                    "credential_name": "eu",
                    "credential_values": {
                        "api_key": "os.environ/EU",
                        "api_base": "https://eu.openai.azure.com",
                        "unused": 1,
                    },
                    "credential_info": {"description": "of the EU"},
                }
            ],
        )
    )
    assert result.document["providers"]["azure"]["keys"] == [{"env": "EU"}]
    assert result.outcome("credential_list[0].credential_values.api_key")[0] is Outcome.CARRIED
    assert result.outcome("credential_list[0].credential_values.unused")[0] is Outcome.LEFT


def test_every_provider_is_declared_for_a_wildcard_of_everything(imported: Any) -> None:
    result = imported(models(deployment("*", "*")), {"GROQ_API_KEY": "gsk-0123456789abcdef"})
    plan = result.models().resolve("groq/anything")
    assert isinstance(plan, ModelPlan)
    assert "openai" in result.settings.providers


def test_organizations_are_a_route_each(imported: Any) -> None:
    result = imported(models(deployment("m", "openai/gpt-4o", organization=["org-1", "org-2"])))
    headers = [route.headers for route in result.settings.models["m"].routes]
    told = [[(name, value.reveal()) for name, value in own] for own in headers]
    assert told == [[("openai-organization", "org-1")], [("openai-organization", "org-2")]]


# Secrets


def test_no_secret_of_the_configuration_is_in_what_is_written(imported: Any) -> None:
    secrets = [f"sk-canary-{number}" for number in range(6)]
    result = imported(
        models(
            deployment("a", "openai/gpt-4o", api_key=secrets[0]),
            deployment(
                "b", "openai/gpt-4o", api_key=secrets[1], extra_headers={"X-Key": secrets[2]}
            ),
            deployment("c", "openai/gpt-4o", api_key=secrets[0], some_token=secrets[3]),
            deployment("d", "openai/x", extra_body={"inner": {"password": secrets[4]}}),
            general_settings={"master_key": secrets[5] + "-of-16-or-more"},
        )
    )
    told = result.text + "".join(
        f"{entry.key} {entry.text}" for entry in result.imported.log.entries.values()
    )
    told += "".join(result.tasks())
    assert "sk-canary" not in told
    assert result.tasks() == [
        "set OPENAI_API_KEY_2 to the value of model_list[0].litellm_params.api_key",
        "set OPENAI_API_KEY_3 to the value of model_list[1].litellm_params.api_key",
        "set OPENAI_X_KEY to the value of model_list[1].litellm_params.extra_headers.X-Key",
        "set LITELLM_MASTER_KEY to the value of general_settings.master_key",
    ]


def test_a_variable_that_has_another_value_is_not_taken_for_a_secret(imported: Any) -> None:
    tree = models(deployment("a", "openai/gpt-4o", api_key="sk-mine"))
    result = imported(tree, {"OPENAI_API_KEY": "sk-another", "OPENAI_API_KEY_2": "sk-mine"})
    assert result.document["providers"]["openai"]["keys"] == [{"env": "OPENAI_API_KEY_2"}]
    assert result.tasks() == []


@pytest.mark.parametrize("word", ["none", "fake-key", "sk-fake-key", "EMPTY", "dummy", "x"])
def test_a_word_in_the_place_of_a_key_means_none_at_a_server_of_ones_own(
    imported: Any, word: str
) -> None:
    result = imported(models(deployment("m", "openai/m", api_base="http://b/v1", api_key=word)))
    assert result.settings.providers["b"].keys[0].secret is None


# Routes


def test_prices_a_token_become_prices_a_million_exact_to_the_digit(tmp_path: Path) -> None:
    text = """
model_list:
- model_name: m
  litellm_params:
    model: openai/gpt-4o
    input_cost_per_token: 0.00000125
    output_cost_per_token: 1e-5
    input_cost_per_token_above_200k_tokens: 0.0000025
    input_cost_per_token_flex: 0.000000625
    input_cost_per_second: 0.1
  model_info:
    cache_read_input_token_cost: 1.25e-7
    output_cost_per_token: 7
"""
    result = loaded(import_text(text), tmp_path)
    price = result.settings.models["m"].routes[0].price
    assert (price.input, price.output, price.cached_read) == (
        Decimal("1.25"),
        Decimal(10),
        Decimal("0.125"),
    )
    told = [(tier.above, tier.service_tier, tier.rates["input"]) for tier in price.tiers]
    assert told == [(0, "flex", Decimal("0.625")), (200_000, None, Decimal("2.5"))]
    assert result.outcome("model_list[0].litellm_params.input_cost_per_second")[0] is Outcome.LEFT


def test_what_is_said_of_a_model_stands_at_its_route(imported: Any) -> None:
    result = imported(
        models(
            deployment(
                "m",
                "azure/d",
                api_base="https://r.openai.azure.com",
                model_info={
                    "max_input_tokens": 1000,
                    "max_tokens": 100,
                    "mode": "chat",
                    "base_model": "azure/gpt-4o",
                    "supports_vision": True,
                    "owner": "me",
                },
            ),
            deployment("e", "openai/text-embedding-3", model_info={"mode": "embedding"}),
        )
    )
    [route] = result.settings.models["m"].routes
    assert (route.context_length, route.max_output) == (1000, 100)
    assert (route.price.input, route.price.output) == (2, 8)
    assert result.settings.models["e"].routes[0].outputs == {"embeddings"}
    assert result.outcome("model_list[0].model_info.supports_vision")[0] is Outcome.LEFT
    assert result.outcome("model_list[0].model_info.owner")[0] is Outcome.LEFT


def test_fields_of_the_body_and_headers_are_sent_as_before(imported: Any) -> None:
    result = imported(
        models(
            deployment(
                "m",
                "openai/gpt-4o",
                temperature=0.2,
                reasoning_effort="low",
                top_k=None,
                unheard_of={"a": [1, None, True]},
                extra_body={"more": 1},
                extra_headers={"X-Team": "a", "Authorization": "os.environ/TOKEN", "Host": "h"},
            )
        )
    )
    [route] = result.settings.models["m"].routes
    assert dict(route.params) == {
        "temperature": 0.2,
        "reasoning_effort": "low",
        "unheard_of": {"a": [1, True]},
        "more": 1,
    }
    headers = {name: value.reveal() for name, value in route.headers}
    assert headers == {"x-team": "a", "authorization": "secret-of-TOKEN-0123456789"}
    assert result.outcome("model_list[0].litellm_params.unheard_of")[0] is Outcome.CHANGED
    assert result.outcome("model_list[0].litellm_params.extra_headers.Host")[0] is Outcome.LEFT


@pytest.mark.parametrize(
    ("entries", "weights"),
    [
        ([{"weight": 3}, {"weight": 1}], [3, 1]),
        ([{"rpm": 60}, {"rpm": 240}], [1, 4]),
        ([{"tpm": 10}, {"tpm": 15}], [2, 3]),
        ([{"rpm": 60}, {}], [1, 1]),
        ([{"weight": 0.5}, {}], [0.5, 1]),
        ([{"weight": 0}, {"weight": 2}], [1]),
        ([{}, {}], [1, 1]),
    ],
)
def test_shares_are_those_of_simple_shuffle(
    imported: Any, entries: list[dict[str, Any]], weights: list[float]
) -> None:
    tree = models(
        *(deployment("m", f"openai/m{number}", **entry) for number, entry in enumerate(entries))
    )
    assert [route.weight for route in imported(tree).settings.models["m"].routes] == weights


def test_two_keys_in_a_pool_have_two_shares(imported: Any) -> None:
    result = imported(
        models(
            deployment("m", "openai/gpt-4o", api_key="os.environ/A"),
            deployment("m", "groq/llama", api_key="os.environ/G"),
            deployment("m", "openai/gpt-4o", api_key="os.environ/B"),
        )
    )
    assert [route.weight for route in result.settings.models["m"].routes] == [2, 1]


def test_limits_of_a_key_that_serves_several_models_stand_at_its_routes(imported: Any) -> None:
    entry = deployment("a", "openai/a", api_key="os.environ/K")
    entry["rpm"] = 60  # beside litellm_params, as LiteLLM's own examples have it
    result = imported(models(entry, deployment("b", "openai/b", api_key="os.environ/K", tpm=5)))
    assert result.settings.models["a"].routes[0].rpm == 60
    assert result.settings.models["b"].routes[0].tpm == 5
    assert result.document["providers"]["openai"]["keys"] == [{"env": "K"}]


def test_limits_of_a_pool_that_serves_several_models_are_those_of_its_keys_together(
    imported: Any,
) -> None:
    result = imported(
        models(
            *(
                deployment(name, f"openai/{name}", api_key=f"os.environ/{key}", rpm=rpm)
                for key, rpm in (("ONE", 10), ("TWO", 20))
                for name in ("a", "b")
            )
        )
    )
    assert result.document["providers"]["openai"]["keys"] == [{"env": "ONE"}, {"env": "TWO"}]
    assert [plan.routes[0].rpm for plan in result.settings.models.values()] == [30, 30]


# Names


FOUR = [
    deployment("a", "openai/a"),
    deployment("b", "groq/b"),
    deployment("c", "mistral/c", model_info={"id": "only-c"}),
    deployment("x/*", "xai/*"),
]


def test_all_kinds_of_fallbacks(imported: Any) -> None:
    result = imported(
        models(
            *FOUR,
            litellm_settings={
                "fallbacks": [{"a": ["b", "x/one"]}, {"b": "only-c"}],
                "context_window_fallbacks": [{"a": ["c"]}],
                "content_policy_fallbacks": [{"b": ["c"]}],
                "default_fallbacks": ["c"],
            },
        )
    )
    settings = result.settings
    assert settings.models["a"].fallbacks == ("b", "x/one")
    assert settings.models["a"].context_fallbacks == ("c",)
    assert settings.models["b"].fallbacks == ("only-c",)
    assert settings.models["b"].content_fallbacks == ("c",)
    assert settings.routing.fallbacks == ("c",)
    assert [route.id for route in settings.models["only-c"].routes] == ["mistral:c"]
    result.models()


def test_the_router_s_settings_go_before_the_library_s(imported: Any) -> None:
    result = imported(
        models(
            *FOUR,
            litellm_settings={"fallbacks": [{"a": ["b"]}], "num_retries": 1},
            router_settings={"fallbacks": [{"a": ["c"]}], "num_retries": 4},
        )
    )
    assert result.settings.models["a"].fallbacks == ("c",)
    assert result.settings.retry.attempts == 4
    outcome, text = result.outcome("litellm_settings.fallbacks")
    assert (outcome, text) == (Outcome.LEFT, "router_settings.fallbacks goes before it")


def test_names_that_stand_for_others_become_models_where_they_have_fallbacks(
    imported: Any,
) -> None:
    result = imported(
        models(
            *FOUR,
            router_settings={
                "model_group_alias": {"gpt": "a", "of-x": "x/two"},
                "fallbacks": [{"gpt": ["b"]}, {"x/one": ["b"]}, {"of-x": ["a"]}],
            },
        )
    )
    found = result.settings.models
    assert [route.id for route in found["gpt"].routes] == ["openai:a"]
    assert [route.id for route in found["x/one"].routes] == ["xai:one"]
    assert [route.id for route in found["of-x"].routes] == ["xai:two"]
    assert all(found[name].fallbacks for name in ("gpt", "x/one", "of-x"))
    assert found["a"].fallbacks == ()


def test_aliases(imported: Any) -> None:
    result = imported(
        models(
            *FOUR,
            router_settings={
                "model_group_alias": {
                    "one": "a",
                    "two": {"model": "one", "hidden": True},
                    "a": "b",
                    "lost": "nowhere",
                    "behind-lost": "lost",
                    "r1": "r2",
                    "r2": "r1",
                }
            },
        )
    )
    assert dict(result.settings.aliases) == {"one": "a", "two": "one"}
    table = "router_settings.model_group_alias"
    for alias in ("a", "lost", "behind-lost", "r1", "r2"):
        assert result.outcome(f"{table}.{alias}")[0] is Outcome.LEFT
    result.models()


def test_a_model_without_a_counterpart_takes_its_name_out_of_fallbacks(imported: Any) -> None:
    result = imported(
        models(
            deployment("a", "openai/a"),
            deployment("s", "sagemaker/s"),
            deployment("w", "openai/whisper-1", model_info={"mode": "audio_transcription"}),
            litellm_settings={"fallbacks": [{"a": ["s"]}, {"s": ["a"]}]},
        )
    )
    assert list(result.settings.models) == ["a"]
    assert result.settings.models["a"].fallbacks == ()
    assert "SageMaker" in result.outcome("model_list[1]")[1]
    assert "audio_transcription" in result.outcome("model_list[2]")[1]
    assert result.outcome("litellm_settings.fallbacks[0].a[0]")[0] is Outcome.LEFT
    assert result.outcome("litellm_settings.fallbacks[1].s")[0] is Outcome.LEFT


# Settings


def test_retries_and_timeouts(imported: Any) -> None:
    result = imported(
        models(
            deployment("a", "openai/a", timeout=30, stream_timeout=5, num_retries=7),
            deployment("b", "openai/b"),
            litellm_settings={"num_retries": 3, "request_timeout": 900},
            router_settings={"retry_after": 2, "stream_timeout": 20},
        )
    )
    settings = result.settings
    assert (settings.retry.attempts, settings.retry.base_delay) == (3, 2.0)
    common = settings.timeouts
    assert (common.response, common.first_token, common.idle, common.total) == (900, 20, 20, 900)
    own = settings.models["a"].timeouts
    assert own is not None
    assert (own.response, own.first_token, own.idle) == (30, 5, 5)
    retry = settings.models["a"].retry
    assert retry is not None
    assert retry.attempts == 7
    assert settings.models["b"].timeouts is None


@pytest.mark.parametrize(
    ("word", "strategy"),
    [
        ("simple-shuffle", "balanced"),
        ("latency-based-routing", "fast"),
        ("cost-based-routing", "cheap"),
        ("least-busy", "balanced"),
        ("made-up", "balanced"),
    ],
)
def test_strategies(imported: Any, word: str, strategy: str) -> None:
    tree = models(deployment("a", "openai/a"), router_settings={"routing_strategy": word})
    result = imported(tree)
    assert result.settings.routing.strategy.value == strategy
    outcome, _ = result.outcome("router_settings.routing_strategy")
    assert outcome is (Outcome.LEFT if word == "made-up" else Outcome.CHANGED)


def test_the_master_key_is_a_gateway_key(imported: Any) -> None:
    tree = models(deployment("a", "openai/a"), general_settings={"master_key": "os.environ/MASTER"})
    result = imported(tree)
    [key] = result.settings.keys
    assert (key.name, key.secret.reveal()) == ("litellm-master", "secret-of-MASTER-0123456789")
    assert "admin token" in result.outcome("general_settings.master_key")[1]


def test_a_master_key_that_is_too_short_is_not_carried_over(imported: Any) -> None:
    for key, environ in (("sk-1234", {}), ("os.environ/MASTER", {"MASTER": "sk-1234"})):
        tree = models(deployment("a", "openai/a"), general_settings={"master_key": key})
        result = imported(tree, environ)
        assert result.settings.keys == ()
        assert result.outcome("general_settings.master_key")[0] is Outcome.LEFT


def test_redis_is_carried_over_where_it_has_no_password(imported: Any) -> None:
    router = {"redis_host": "cache", "redis_port": "6380"}
    result = imported(models(deployment("a", "openai/a"), router_settings=router))
    assert result.document["storage"] == {"redis": "redis://cache:6380/0"}

    secret = {**router, "redis_password": "canary"}
    result = imported(models(deployment("a", "openai/a"), router_settings=secret))
    assert "storage" not in result.document
    assert "canary" not in result.text
    assert any("SIGNALBOX_STORAGE__REDIS" in task for task in result.tasks())


def test_defaults_for_every_model(imported: Any) -> None:
    defaults = {"temperature": 0, "cooldown_time": 5}
    tree = models(*FOUR, router_settings={"default_litellm_params": defaults})
    result = imported(tree)
    assert all(
        plan.default_params == {"temperature": 0} for plan in result.settings.models.values()
    )
    table = "router_settings.default_litellm_params"
    assert result.outcome(f"{table}.cooldown_time")[0] is Outcome.LEFT


def test_other_settings_with_a_counterpart(imported: Any) -> None:
    result = imported(
        models(
            deployment("a", "openai/a"),
            litellm_settings={"drop_params": True, "callbacks": ["otel"]},
            general_settings={"max_request_size_mb": 5, "global_max_parallel_requests": 9},
            environment_variables={"OTHER": "x"},
        )
    )
    assert result.settings.server.max_body_bytes == 5 * 1024 * 1024
    assert result.settings.limits.concurrency == 9
    assert result.outcome("litellm_settings.drop_params")[0] is Outcome.CHANGED
    assert "traces" in result.outcome("litellm_settings.callbacks")[1]
    assert result.tasks() == ["set OTHER in the environment or in .env"]


# Files and mistakes


def test_included_files_add_to_lists_and_replace_the_rest(tmp_path: Path) -> None:
    other = (
        b"model_list:\n- {model_name: b, litellm_params: {model: openai/b}}\n"
        b"litellm_settings: {num_retries: 9}\n"
    )

    def read_file(name: str) -> Any:
        assert name == "more.yaml"
        return read_yaml(other, name)

    text = (
        "include: more.yaml\nmodel_list:\n- {model_name: a, litellm_params: {model: openai/a}}\n"
        "litellm_settings: {num_retries: 1}\n"
    )
    result = loaded(import_text(text, read_file=read_file), tmp_path)
    assert list(result.settings.models) == ["a", "b"]
    assert result.settings.retry.attempts == 9
    assert any("litellm_settings is replaced" in hint for hint in result.imported.log.hints)
    places = {entry.place for entry in result.imported.log.entries.values()}
    assert "more.yaml:2" in places


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "config.yaml:1: expected a mapping with model_list and settings"),
        ("model_list: {}", "config.yaml:1: model_list: expected a list, got a mapping"),
        ("model_list:\n- x", "config.yaml:2: model_list[0]: expected a mapping, got a string"),
        ("model_list:\n- {}", "config.yaml:2: model_list[0].model_name: is missing"),
        (
            "model_list:\n- model_name: a\n  litellm_params:\n    api_key: x",
            "config.yaml:4: model_list[0].litellm_params.model: is missing",
        ),
        (
            "model_list:\n- model_name: a\n  litellm_params:\n    model: openai/a\n    rpm: many",
            "config.yaml:5: model_list[0].litellm_params.rpm: expected a number, got a string",
        ),
        (
            "model_list:\n- model_name: a\n  litellm_params: {model: openai/a, rpm: 1.5}",
            "config.yaml:3: model_list[0].litellm_params.rpm: expected a whole number",
        ),
        (
            "model_list:\n- model_name: a\n  litellm_params: {model: openai/a, api_key: 7}",
            "config.yaml:3: model_list[0].litellm_params.api_key: "
            "expected a string or os.environ/NAME, got a number",
        ),
        (
            "model_list:\n- model_name: a\n"
            "  litellm_params: {model: openai/a, api_key: os.environ/}",
            "config.yaml:3: model_list[0].litellm_params.api_key: "
            "expected the name of a variable behind os.environ/",
        ),
        (
            "model_list:\n- model_name: a\n  litellm_params: {model: openai/a, api_base: host}",
            "config.yaml:3: model_list[0].litellm_params.api_base: "
            "expected an http:// or https:// URL",
        ),
        (
            "model_list:\n- model_name: a\n  litellm_params: {model: azure/a, api_base: 'http://['}",
            "config.yaml:3: model_list[0].litellm_params.api_base: "
            "expected an http:// or https:// URL, got a malformed one",
        ),
        (
            "model_list:\n- model_name: a\n"
            "  litellm_params: {model: openai/a, litellm_credential_name: b}",
            "config.yaml:3: model_list[0].litellm_params.litellm_credential_name: "
            "expected a name of credential_list",
        ),
        (
            "litellm_settings:\n  fallbacks: [5]",
            "config.yaml:2: litellm_settings.fallbacks[0]: expected a mapping, got a number",
        ),
        ("router_settings: 5", "config.yaml:1: router_settings: expected a mapping, got a number"),
        ("include: other.yaml", "other.yaml cannot be read: there are no other files"),
        ("include: {}", "config.yaml:1: include: expected names of files"),
    ],
)
def test_a_mistake_has_its_line_and_says_what_was_expected(text: str, expected: str) -> None:
    assert expected in mistakes_of(text).splitlines()


def test_all_mistakes_are_told_at_once() -> None:
    text = "model_list:\n- {}\n- {model_name: a, litellm_params: {model: openai/a, rpm: x}}\n"
    assert len(mistakes_of(text).splitlines()) == 3
