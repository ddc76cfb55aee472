"""Any LiteLLM configuration: the same models on the same keys, nothing unsaid, no traceback."""

from __future__ import annotations

import copy
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from signalbox.cli.litellm_log import Entry, Outcome
from signalbox.cli.yaml_tree import YamlError
from signalbox.config_lines import KeyPath, dotted
from signalbox.types import ModelPlan
from tests.litellm_configs import Result, follow, import_text, import_tree, loaded

# The same models on the same keys


SERVERS: dict[str, tuple[str, str, dict[str, Any], str | None]] = {
    "openai": ("openai", "https://api.openai.com/v1", {}, "OPENAI_API_KEY"),
    "own": ("openai", "http://one:1/v1", {"api_base": "http://one:1/v1"}, "OPENAI_API_KEY"),
    "other": ("openai", "http://two:1/v1", {"api_base": "http://two:1/v1"}, "OPENAI_API_KEY"),
    "groq": ("groq", "https://api.groq.com/openai/v1", {}, "GROQ_API_KEY"),
    "eu": ("azure", "https://eu.example", {"api_base": "https://eu.example"}, "AZURE_API_KEY"),
    "us": ("azure", "https://us.example", {"api_base": "https://us.example"}, "AZURE_API_KEY"),
    "anthropic": ("anthropic", "https://api.anthropic.com/v1", {}, "ANTHROPIC_API_KEY"),
    "box": ("ollama", "http://box:11434/v1", {"api_base": "http://box:11434"}, None),
}
"""LiteLLM's prefix, the address that is called, how LiteLLM is told of it, the usual variable."""

KEYS = [None, "os.environ/K1", "os.environ/K2", "sk-literal-1", "sk-literal-2"]
ENVIRON = {
    name: f"value-of-{name}-0123456789"
    for name in ("K1", "K2", "OPENAI_API_KEY", "GROQ_API_KEY", "AZURE_API_KEY", "ANTHROPIC_API_KEY")
}


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(["a", "b", "c", "all/*"]))
    prefix, _, params, _ = SERVERS[draw(st.sampled_from(sorted(SERVERS)))]
    model = draw(st.sampled_from(["m", "n"])) if "*" not in name else "*"
    entry: dict[str, Any] = {
        "model_name": name,
        "litellm_params": {"model": f"{prefix}/{model}", **params},
    }
    for key, values in (
        ("api_key", st.sampled_from(KEYS)),
        ("rpm", st.none() | st.integers(1, 50)),
        ("tpm", st.none() | st.integers(1, 50)),
        ("order", st.none() | st.integers(0, 2)),
        ("weight", st.none() | st.integers(0, 3)),
        ("temperature", st.sampled_from([None, 0, 1])),
    ):
        value = draw(values)
        if value is not None:
            entry["litellm_params"][key] = value
    return entry


def kept(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that LiteLLM ever draws."""
    drawn = {e["model_name"] for e in listed if e["litellm_params"].get("weight", 1) > 0}
    return [
        e
        for e in listed
        if e["model_name"] not in drawn or e["litellm_params"].get("weight", 1) > 0
    ]


def server_of(params: dict[str, Any]) -> tuple[str, str | None]:
    for prefix, address, own, variable in SERVERS.values():
        if params["model"].startswith(f"{prefix}/") and params.get("api_base") == own.get(
            "api_base"
        ):
            return address, variable
    raise AssertionError(params)


def secret_of(params: dict[str, Any], variable: str | None) -> str | None:
    key = params.get("api_key")
    if key is None:
        return ENVIRON[variable] if variable is not None else None
    return ENVIRON[key.removeprefix("os.environ/")] if key.startswith("os.") else str(key)


Way = tuple[str, str, str | None, str, int | None, Any]
"""Model, address, key, the provider's model, order, temperature."""


def expected_ways(listed: list[dict[str, Any]]) -> set[Way]:
    ways = set()
    for entry in kept(listed):
        params = entry["litellm_params"]
        address, variable = server_of(params)
        model = params["model"].partition("/")[2]
        rest = params.get("order"), params.get("temperature")
        ways.add((entry["model_name"], address, secret_of(params, variable), model, *rest))
    return ways


def ways_of(result: Result) -> set[Way]:
    ways = set()
    for name, plan in result.settings.models.items():
        for route in plan.routes:
            provider = result.settings.providers[route.provider]
            for key in provider.keys:
                secret = key.secret.reveal() if key.secret is not None else None
                rest = route.order, route.params.get("temperature")
                ways.add((name, provider.base_url, secret, route.model, *rest))
    return ways


def expected_limits(listed: list[dict[str, Any]], limit: str) -> Counter[tuple[str, str, str]]:
    sums: Counter[tuple[str, str, str]] = Counter()
    for entry in kept(listed):
        params = entry["litellm_params"]
        place = (entry["model_name"], server_of(params)[0], params["model"].partition("/")[2])
        sums[place] += params.get(limit, 0)
    return +sums


def limits_of(result: Result, limit: str) -> Counter[tuple[str, str, str]]:
    sums: Counter[tuple[str, str, str]] = Counter()
    for name, plan in result.settings.models.items():
        for route in plan.routes:
            provider = result.settings.providers[route.provider]
            said = [getattr(each, limit) or 0 for each in (route, *provider.keys)]
            sums[name, provider.base_url, route.model] += sum(said)
    return +sums


@pytest.mark.slow
@given(st.lists(entries(), min_size=1, max_size=6))
def test_models_keys_and_limits_are_the_same_as_before(listed: list[dict[str, Any]]) -> None:
    tree = {"model_list": listed}
    imported = import_tree(tree, ENVIRON)
    environ = {**ENVIRON, **follow(imported, tree)}
    with tempfile.TemporaryDirectory() as folder:
        result = loaded(imported, Path(folder), environ)
    assert set(result.settings.models) == {entry["model_name"] for entry in listed}
    assert ways_of(result) == expected_ways(listed)
    for limit in ("rpm", "tpm"):
        assert limits_of(result, limit) == expected_limits(listed, limit)
    table = result.models()
    for name in result.settings.models:
        assert isinstance(table.resolve(name.replace("*", "some")), ModelPlan)


# Nothing unsaid


WHOLE: dict[str, Any] = {
    "model_list": [
        {
            "model_name": "a",
            "litellm_params": {
                "model": "azure/d",
                "api_base": "https://eu.example",
                "api_key": "os.environ/K1",
                "api_version": "2024-06-01",
                "rpm": 5,
                "timeout": 20,
                "input_cost_per_token": 1e-06,
                "extra_headers": {"X-Team": "t"},
                "tags": ["free"],
                "max_budget": 3,
                "budget_duration": "1d",
            },
            "model_info": {"id": "one", "mode": "chat", "access_groups": ["g"], "base_model": "x"},
        },
        {"model_name": "a", "litellm_params": {"model": "openai/m", "weight": 2}},
        {
            "model_name": "x/*",
            "litellm_params": {"model": "groq/*", "litellm_credential_name": "groq"},
        },
        {
            "model_name": "c",
            "litellm_params": {
                "model": "bedrock/anthropic.claude",
                "aws_access_key_id": "AKIA",
                "aws_secret_access_key": "os.environ/K2",
                "aws_region_name": "eu-west-1",
                "aws_role_name": "r",
            },
        },
        {
            "model_name": "v",
            "litellm_params": {
                "model": "vertex_ai/gemini-2.5-pro",
                "vertex_project": "p",
                "vertex_location": "europe-west4",
            },
        },
        {"model_name": "s", "litellm_params": {"model": "sagemaker/s", "rpm": 1}},
    ],
    "credential_list": [
        {
            "credential_name": "groq",
            "credential_values": {"api_key": "os.environ/GROQ"},
            "credential_info": {"description": "d"},
        }
    ],
    "litellm_settings": {
        "drop_params": True,
        "num_retries": 2,
        "request_timeout": 30,
        "callbacks": ["otel"],
        "cache_params": {"type": "redis"},
        "fallbacks": [{"a": ["c", {"model": "x/y", "temperature": 0}]}, {"*": ["v"]}],
        "default_fallbacks": ["a"],
        "max_budget": 10,
        "budget_duration": "30d",
    },
    "router_settings": {
        "routing_strategy": "simple-shuffle",
        "model_group_alias": {"gpt": "a", "hidden": {"model": "c", "hidden": True}},
        "context_window_fallbacks": [{"a": ["c"]}],
        "redis_host": "cache",
        "redis_port": 6379,
        "retry_policy": {"TimeoutErrorRetries": 1},
        "default_litellm_params": {"temperature": 0},
    },
    "general_settings": {
        "master_key": "os.environ/MASTER",
        "database_url": "postgresql://u:p@h/d",
        "alerting": ["slack"],
    },
    "guardrails": [{"guardrail_name": "g", "litellm_params": {"mode": "pre_call"}}],
    "environment_variables": {"A": "1"},
}


def leaves(tree: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    items: Any = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        if isinstance(value, dict | list) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def entry_for(said: dict[KeyPath, Entry], path: KeyPath) -> Entry | None:
    """What is said of a key, or of the nearest that it is a part of."""
    prefixes = (path[:length] for length in range(len(path), 0, -1))
    return next((said[prefix] for prefix in prefixes if prefix in said), None)


def mappings(tree: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    if isinstance(tree, dict):
        yield path
    items: Any = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from mappings(value, (*path, key))


TAKEN_WHOLE = ("extra_headers", "fallbacks", "context_window_fallbacks", "environment_variables")
"""Mappings whose keys are names that somebody chose, not settings."""

PLACES = [
    path
    for path in mappings(WHOLE)
    if not any(part in TAKEN_WHOLE for part in path) and path[-1:] != ("model_group_alias",)
]


def descend(tree: Any, path: KeyPath) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def test_every_key_of_a_whole_configuration_is_accounted_for(tmp_path: Path) -> None:
    result = loaded(import_tree(WHOLE, {"K2": "x"}), tmp_path)
    said = dict(result.imported.log.entries)
    for path in leaves(WHOLE):
        entry = entry_for(said, path)
        assert entry is not None, dotted(path)
        is_itself = entry.path == path or entry.outcome is Outcome.LEFT
        assert is_itself or descend(WHOLE, entry.path) in (["free"], ["g"], ["otel"]), dotted(path)
    result.models()


WORDS = st.from_regex(r"zz_[a-z]{1,8}(_[a-z]{1,8}){0,2}", fullmatch=True)


@pytest.mark.slow
@given(st.sampled_from(PLACES), WORDS, st.sampled_from([1, "text", True, [1], {"inner": 2}]))
def test_an_unknown_key_is_named_wherever_it_stands(path: KeyPath, word: str, value: Any) -> None:
    tree = copy.deepcopy(WHOLE)
    descend(tree, path)[word] = value
    said = dict(import_tree(tree, {"K2": "x"}).log.entries)
    entry = entry_for(said, (*path, word))
    assert entry is not None
    assert entry.outcome is not Outcome.CARRIED
    assert entry.text
    assert entry.path == (*path, word) or entry.outcome is Outcome.LEFT


# No traceback


def accept_or_name(text: bytes) -> None:
    """Either the mistakes are told, or the file that comes of it can be loaded."""
    imported = mistakes = None
    try:
        imported = import_text(text, {"K2": "x"})
    except YamlError as error:
        mistakes = error.mistakes
    if imported is None:
        assert mistakes
        assert all(each.startswith("config.yaml") or "cannot be read" in each for each in mistakes)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = loaded(imported, Path(folder), {"MASTER": "a-key-of-16-or-more"})
        result.models()


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A configuration in which pieces of text are cut, doubled, moved or replaced."""
    text = yaml.safe_dump(WHOLE, sort_keys=False)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 40)))
        piece = draw(
            st.sampled_from(
                ["", "\n", ": ", "- ", "[", "{", "}", "*", "&a ", "*a", "<<: ", "!!int ", "~", "'"]
            )
            | st.just(text[start:end] * 2)
            | st.text(max_size=4)
        )
        text = text[:start] + piece + text[end:]
    return text.encode("utf-8", "surrogatepass")


@pytest.mark.slow
@given(mangled())
def test_a_mangled_text_is_accepted_or_its_mistakes_are_named(text: bytes) -> None:
    accept_or_name(text)


HOSTILE = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([2**70, -1, 0, 1e308, 1e-320, float("nan"), float("-inf")])
    | st.sampled_from(
        [
            "",
            " ",
            "*",
            "*/*",
            "os.environ/",
            "os.environ/A B",
            "os.environ/X",
            "a" * 300,
            "\u2028\x85",
            "http://[",
            "https://u:p@h/x?y#z",
            "1e999",
            "1e-999",
            "openai/",
            "/m",
            "azure/*",
            "sk-literal",
            "redis://:p@h",
            "30d",
            "true",
        ]
    )
    | st.text(max_size=6)
)
TREES = st.recursive(
    HOSTILE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["model", "a", "*", "", "api_key"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A configuration with other values in some places."""
    tree = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 3))):
        paths = [path for path in (*leaves(tree), *mappings(tree)) if path]
        path = draw(st.sampled_from(paths))
        descend(tree, path[:-1])[path[-1]] = draw(TREES)
    return tree


@pytest.mark.slow
@given(damaged())
def test_any_values_are_accepted_or_their_mistakes_are_named(tree: dict[str, Any]) -> None:
    accept_or_name(yaml.safe_dump(tree, sort_keys=False).encode())
