"""Names of models: what they resolve to, in which order, and what an unknown one is told."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from genai_prices import types as data

from signalbox.adapters.catalogue import Catalogue
from signalbox.adapters.models import MAX_REMEMBERED_NAMES, ModelChain, ModelTable, UnknownModel
from signalbox.config import ConfigError, load_settings
from signalbox.types import ModelPlan, Strategy
from tests.catalogues import catalogue, model, tokens, vendor
from tests.configs import LOCAL

DATED = data.ClauseOr([data.ClauseEquals("gpt-4o"), data.ClauseEquals("gpt-4o-2024-08-06")])
KNOWN = (
    vendor(
        "openai",
        model("gpt-4o", tokens("2.5"), DATED, context=128_000),
        model("gpt-4o-mini", tokens("0.15")),
        model("text-embedding", data.ModelPrice(input_mtok=Decimal(1))),
        model("both", tokens("1")),
    ),
    vendor("groq", model("llama", tokens("0.5")), model("both", tokens("1"))),
    vendor("x-ai", model("grok", tokens("3"))),
    vendor("openrouter", model("openai/gpt-4o", tokens("2.5")), model("qwen/q", tokens("1"))),
    vendor("anthropic", model("claude", tokens("3"))),
)
KEYS = {"OPENAI_API_KEY": "sk-openai-1234", "GROQ_API_KEY": "gsk-groq-1234"}


@pytest.fixture
def known() -> Catalogue:
    return catalogue(*KNOWN)


class Tables:
    """Makes tables of models from a file's text and an environment."""

    def __init__(self, folder: Path, known: Catalogue) -> None:
        self._folder = folder
        self._known = known

    def __call__(
        self, toml: str | None = None, environ: Mapping[str, str] | None = None
    ) -> ModelTable:
        if toml is not None:
            (self._folder / "signalbox.toml").write_text(toml)
        settings = load_settings(None, KEYS if environ is None else environ, self._folder)
        return ModelTable(settings, self._known)


@pytest.fixture
def tables(tmp_path: Path, known: Catalogue) -> Tables:
    return Tables(tmp_path, known)


def plan(table: ModelTable, name: str) -> ModelPlan:
    resolved = table.resolve(name)
    assert isinstance(resolved, ModelPlan), resolved
    return resolved


def unknown(table: ModelTable, name: str) -> UnknownModel:
    resolved = table.resolve(name)
    assert isinstance(resolved, UnknownModel), resolved
    return resolved


def goes_to(table: ModelTable, name: str) -> list[str]:
    return [route.id for route in plan(table, name).routes]


def chain(table: ModelTable, name: str, *fallbacks: str) -> list[str]:
    result = table.chain(name, fallbacks)
    assert isinstance(result, ModelChain), result
    return [each.name for each in result.models]


# Resolving


@pytest.mark.parametrize(
    ("name", "canonical", "route"),
    [
        ("openai/gpt-4o", "openai/gpt-4o", "openai:gpt-4o"),
        ("openai/GPT-4o", "openai/gpt-4o", "openai:gpt-4o"),
        ("gpt-4o", "openai/gpt-4o", "openai:gpt-4o"),
        ("gpt-4o-2024-08-06", "openai/gpt-4o-2024-08-06", "openai:gpt-4o-2024-08-06"),
        ("llama", "groq/llama", "groq:llama"),
        ("openai/of-tomorrow", "openai/of-tomorrow", "openai:of-tomorrow"),
        ("groq/vendor/model", "groq/vendor/model", "groq:vendor/model"),
    ],
)
def test_keys_alone_make_the_catalogue_s_models_callable(
    tables: Tables, name: str, canonical: str, route: str
) -> None:
    table = tables()
    assert plan(table, name).name == canonical
    assert goes_to(table, name) == [route]


def test_catalogue_fills_in_what_a_route_does_not_declare(tables: Tables) -> None:
    table = tables(
        "providers.openai = {}\n[models.m]\nroutes = ["
        '{ provider = "openai", model = "gpt-4o" },'
        '{ provider = "openai", model = "gpt-4o-mini", input = 1, output = 2, context_length = 9 }]'
    )
    listed, declared = plan(table, "m").routes
    assert (listed.price.input, listed.price.source) == (Decimal("2.5"), "test")
    assert listed.context_length == 128_000
    assert (declared.price.input, declared.price.source) == (Decimal(1), "config")
    assert declared.context_length == 9


def test_a_model_passed_through_has_no_price(tables: Tables) -> None:
    [route] = plan(tables(), "openai/of-tomorrow").routes
    assert not route.price.known


def test_the_order_of_resolving(tables: Tables) -> None:
    table = tables(
        LOCAL
        + """
        providers.openai = {}
        [aliases]
        "openai/alias" = "openai/gpt-4o-mini"
        [models]
        "openai/gpt-4o" = { routes = [{ provider = "local", model = "declared" }] }
        "openai/*" = { routes = [{ provider = "local", model = "wild-*" }] }
        "openai/long-*" = { routes = [{ provider = "local", model = "*" }] }
        """
    )
    assert goes_to(table, "openai/gpt-4o") == ["local:declared"]
    assert goes_to(table, "openai/alias") == ["openai:gpt-4o-mini"]
    assert goes_to(table, "openai/gpt-4o-mini") == ["openai:gpt-4o-mini"]
    assert goes_to(table, "openai/long-name") == ["local:name"]
    assert goes_to(table, "openai/name") == ["local:wild-name"]
    assert plan(table, "openai/name").name == "openai/name"


def test_a_vendor_s_name_in_other_catalogues_means_the_same_provider(tables: Tables) -> None:
    table = tables(environ={"XAI_API_KEY": "xai-1234567890"})
    assert plan(table, "x-ai/grok") == plan(table, "xai/grok") == plan(table, "grok")
    assert goes_to(table, "grok") == ["xai:grok"]


def test_a_reseller_serves_full_names_when_their_vendor_is_not_configured(tables: Tables) -> None:
    with_both = {**KEYS, "OPENROUTER_API_KEY": "or-1234567890"}
    alone = tables(environ={"OPENROUTER_API_KEY": "or-1234567890"})
    assert goes_to(alone, "openai/gpt-4o") == ["openrouter:openai/gpt-4o"]
    assert goes_to(tables(environ=with_both), "openai/gpt-4o") == ["openai:gpt-4o"]


def test_a_bare_id_of_two_vendors_is_unknown_and_both_are_near(tables: Tables) -> None:
    assert unknown(tables(), "both").nearest[:2] == ("groq/both", "openai/both")


@pytest.mark.parametrize(
    ("suffix", "strategy"), [("floor", Strategy.CHEAP), ("nitro", Strategy.THROUGHPUT)]
)
def test_a_suffix_sets_the_strategy(tables: Tables, suffix: str, strategy: Strategy) -> None:
    table = tables(LOCAL + 'aliases.a = "local/x"')
    for name, canonical in (("local/x", "local/x"), ("a", "local/x")):
        resolved = plan(table, f"{name}:{suffix}")
        assert (resolved.name, resolved.strategy) == (canonical, strategy)


def test_a_declared_name_may_end_like_a_suffix(tables: Tables) -> None:
    table = tables(LOCAL + 'models."m:floor".routes = [{ provider = "local", model = "m" }]')
    assert plan(table, "m:floor").strategy is None


def test_routes_that_no_key_can_serve_are_left_out(tables: Tables) -> None:
    toml = """
    providers.openai = {}
    providers.groq = {}
    [models.m]
    routes = [{ provider = "groq", model = "llama" }, { provider = "openai", model = "gpt-4o" }]
    """
    assert goes_to(tables(toml, {"OPENAI_API_KEY": "sk-1"}), "m") == ["openai:gpt-4o"]
    assert unknown(tables(toml, {}), "m").enable_with == "GROQ_API_KEY"


# Names that are not known


def test_an_unknown_name_is_answered_with_the_three_nearest(tables: Tables) -> None:
    nearest = unknown(tables(), "gpt-4o-mimi").nearest
    assert len(nearest) <= 3
    assert nearest[0] == "openai/gpt-4o-mini"
    assert unknown(tables(), "zzzz").nearest == ()


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("openai/gpt-4o", "OPENAI_API_KEY"),
        ("gpt-4o", "OPENAI_API_KEY"),
        ("x-ai/any", "XAI_API_KEY"),
        ("qwen/q", "OPENROUTER_API_KEY"),
        ("anthropic/claude", "ANTHROPIC_API_KEY"),
        ("zzz", None),
    ],
)
def test_an_unknown_name_says_which_key_would_enable_it(
    tables: Tables, name: str, variable: str | None
) -> None:
    assert unknown(tables(environ={}), name).enable_with == variable


def test_names_of_any_number_and_length_take_bounded_memory(tables: Tables) -> None:
    table = tables()
    for number in range(MAX_REMEMBERED_NAMES + 10):
        table.resolve(f"openai/{number}")
    assert len(table._remembered) <= MAX_REMEMBERED_NAMES
    assert len(unknown(table, "openai/" + "x" * 10_000).name) < 300


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ('aliases.a = "nowhere"', "signalbox.toml:2: aliases.a"),
        ('routing.fallbacks = ["local/x", "nowhere"]', "signalbox.toml:2: routing.fallbacks[1]"),
        (
            'models.m = { routes = [{ provider = "local", model = "m" }],'
            ' context_fallbacks = ["nowhere"] }',
            "signalbox.toml:2: models.m.context_fallbacks[0]",
        ),
    ],
)
def test_a_reference_to_no_model_stops_with_its_place(tables: Tables, key: str, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tables(LOCAL + key)
    assert str(caught.value) == f'{place}: no model is named "nowhere"'


# Chains


def test_a_chain_is_the_model_its_fallbacks_and_those_for_every_model_each_once(
    tables: Tables,
) -> None:
    table = tables(
        LOCAL
        + """
        [routing]
        fallbacks = ["local/last", "first"]
        [models.first]
        routes = [{ provider = "local", model = "1" }]
        fallbacks = ["local/second", "local/last"]
        context_fallbacks = ["local/long"]
        [aliases]
        one = "first"
        """
    )
    assert chain(table, "first") == ["first", "local/second", "local/last"]
    assert chain(table, "one", "local/asked", "first") == ["first", "local/asked", "local/last"]
    assert chain(table, "local/x") == ["local/x", "local/last", "first"]
    result = table.chain("first")
    assert isinstance(result, ModelChain)
    assert [each.name for each in result.context_fallbacks] == ["local/long"]


def test_a_configured_fallback_without_a_key_is_passed_over_an_asked_one_is_unknown(
    tables: Tables,
) -> None:
    table = tables(LOCAL + 'providers.groq = {}\nrouting.fallbacks = ["groq/llama"]', {})
    assert chain(table, "local/x") == ["local/x"]
    result = table.chain("local/x", ["groq/llama"])
    assert isinstance(result, UnknownModel)
    assert (result.name, result.enable_with) == ("groq/llama", "GROQ_API_KEY")


# Lists


def test_the_list_holds_what_can_be_called_and_all_the_rest_too(tables: Tables) -> None:
    table = tables(
        'providers.openai = {}\nproviders.groq = {}\naliases.gpt = "openai/gpt-4o"\n'
        'models.m.routes = [{ provider = "groq", model = "llama" }]\n'
        'models."m/*".routes = [{ provider = "openai", model = "*" }]',
        {"OPENAI_API_KEY": "sk-1"},
    )
    assert {entry.id for entry in table.listing()} == {
        "openai/gpt-4o",
        "openai/gpt-4o-mini",
        "openai/both",
        "gpt",
    }
    rest = {entry.id for entry in table.listing(all=True) if not entry.servable}
    assert {"m", "groq/llama", "x-ai/grok", "openrouter/qwen/q", "anthropic/claude"} <= rest


def test_an_entry_has_prices_per_token_in_plain_digits(tables: Tables) -> None:
    table = tables()
    entry = table.entry("gpt-4o-mini")
    assert entry is not None
    assert (entry.owned_by, entry.price.input, entry.context_length) == (
        *("openai", Decimal("0.15")),
        None,
    )
    assert table.entry("zzz") is None
