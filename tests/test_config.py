"""The configuration: what is read from where, and what it comes to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect as types

from signalbox.adapters.registry import adapters_of
from signalbox.config import ConfigError, add_demo, load_settings
from signalbox.config_check import SCHEMA
from signalbox.types import Dialect, NanoUSD, Strategy, Usage
from tests.configs import CANARY, LOCAL, ROUTE, load, mistakes

# The documentation

DOCUMENTATION = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text("utf-8")


def test_the_documented_example_is_a_configuration_without_warnings(tmp_path: Path) -> None:
    example = DOCUMENTATION.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "openai-2").write_text("sk-another-0123456789")
    names = ("OPENAI_API_KEY", "GROQ_API_KEY", "AZURE_API_KEY", "CI_GATEWAY_KEY")
    environ = {name: f"{CANARY}-{name}" for name in names}
    settings = load(tmp_path, example.replace("/run/secrets", str(tmp_path)), environ)
    assert settings.warnings == ()


def fields_of(kind: types.Type) -> Iterator[types.Field]:
    match kind:
        case types.StructType():
            for field in kind.fields:
                yield field
                yield from fields_of(field.type)
        case types.UnionType():
            for option in kind.types:
                yield from fields_of(option)
        case types.VarTupleType():
            yield from fields_of(kind.item_type)
        case types.DictType():
            yield from fields_of(kind.value_type)


def test_every_key_is_documented() -> None:
    words = set(re.findall(r"[a-z_][a-z0-9_]*", DOCUMENTATION.partition("## Sections and keys")[2]))
    secrets = {"env", "file", "value"}
    assert {field.encode_name for field in fields_of(SCHEMA)} - secrets <= words


# Overrides

_SCALAR_KEYS = st.one_of(
    st.tuples(st.just("server.port"), st.integers(0, 65_535)),
    st.tuples(st.just("server.keepalive"), st.sampled_from(["0.5", "3", "1e2"])),
    st.tuples(st.just("retry.attempts"), st.integers(0, 100)),
    st.tuples(st.just("retry.max_delay_ms"), st.integers(0, 10_000)),
    st.tuples(st.just("traces.payloads"), st.sampled_from(["full", "redacted", "off"])),
    st.tuples(st.just("providers.local.keys"), st.just("[]")),
    st.tuples(st.just("server.cors_origins"), st.just('["https://a.example", "*"]')),
    st.tuples(st.just("models.m.routes"), st.just('[{provider = "local", model = "x"}]')),
    st.tuples(st.just("models.m.default_params.top_p"), st.sampled_from(["0.25", "true", "[1]"])),
)


@given(st.lists(_SCALAR_KEYS, unique_by=lambda item: item[0]))
def test_an_override_means_what_the_same_value_means_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[str, object]]
) -> None:
    folder = tmp_path_factory.mktemp("config")
    base = {
        "providers.local.base_url": '"http://127.0.0.1:1"',
        "providers.local.keys": "[]",
        "models.m.routes": '[{provider = "local", model = "m"}]',
    }
    is_word = {"traces.payloads"}
    changed = {key: f'"{value}"' if key in is_word else str(value) for key, value in values}
    as_toml = "\n".join(f"{key} = {value}" for key, value in base.items())
    environ = {"SIGNALBOX_" + key.upper().replace(".", "__"): str(value) for key, value in values}
    overridden = load(folder, as_toml, environ)
    written = load(
        folder, "\n".join(f"{key} = {value}" for key, value in {**base, **changed}.items())
    )
    assert overridden == written


def test_the_environment_goes_before_dotenv_and_both_before_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SIGNALBOX_SERVER__PORT=2\nSIGNALBOX_SERVER__HOST=dotenv\n")
    settings = load(
        tmp_path,
        '[server]\nport = 1\nhost = "file"\nkeepalive = 5',
        {"SIGNALBOX_SERVER__PORT": "3"},
    )
    server = settings.server
    assert (server.port, server.host, server.keepalive) == (3, "dotenv", 5.0)


def test_a_key_may_come_from_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={CANARY}\n")
    [key] = load(tmp_path).providers["openai"].keys
    assert key.secret is not None
    assert key.secret.reveal() == CANARY


def test_names_in_variables_match_without_case_and_items_by_number(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "[providers.my-Server]\nbase_url = 'http://127.0.0.1:1'\n"
        f"keys = [{{ value = '{CANARY}' }}]",
        {"SIGNALBOX_PROVIDERS__MY_SERVER__KEYS__0__RPM": "7"},
    )
    assert settings.providers["my-Server"].keys[0].rpm == 7


def test_variables_that_are_no_overrides_are_named_or_known(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        environ={
            "SIGNALBOX_ADMIN_TOKEN": CANARY,
            "SIGNALBOX_SERVICE_PORT": "80",
            "SIGNALBOX_PORT": "tcp://10.0.0.1:80",
            "SIGNALBOX_PORT_80_TCP_ADDR": "10.0.0.1",
            "SIGNALBOX_SERVER__PORT": "",
            "SIGNALBOX_HOST": "0.0.0.0",
        },
    )
    assert settings.warnings == (
        "SIGNALBOX_HOST: has no effect: overrides are SIGNALBOX_SECTION__KEY",
    )


def test_the_configuration_variable_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("server.port = 1")
    settings = load(tmp_path, "server.port = 2", {"SIGNALBOX_CONFIG": "other.toml"})
    assert settings.server.port == 1
    assert settings.file == tmp_path / "other.toml"


# What the values come to


def test_an_empty_configuration_has_the_documented_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8080)
    assert settings.limits.default_max_tokens == 8192
    assert settings.limits.connections_per_origin == 1000
    assert (settings.retry.base_delay, settings.retry.max_wait) == (0.4, 30.0)
    assert settings.traces.retention_days == 7
    assert settings.routing.strategy is Strategy.BALANCED
    assert settings.warnings == ()


def test_a_model_s_own_policies_stand_on_those_of_the_file(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        retry = { attempts = 4, base_delay_ms = 100 }
        timeouts = { idle = 9 }
        providers.local = { base_url = "http://127.0.0.1:1/v1/", keys = [] }
        [models.counted]
        routes = [{ provider = "local", model = "a" }]
        retry = 0
        [models.slow]
        routes = [{ provider = "local", model = "a" }]
        retry = { max_delay_ms = 9000 }
        timeouts = { total = 1200 }
        strategy = "cheapest"
        """,
    )
    counted, slow = settings.models["counted"], settings.models["slow"]
    assert counted.retry is not None
    assert slow.retry is not None
    assert slow.timeouts is not None
    assert (counted.retry.attempts, counted.retry.base_delay) == (0, 0.1)
    assert (slow.retry.attempts, slow.retry.max_delay) == (4, 9.0)
    assert (slow.timeouts.idle, slow.timeouts.total) == (9.0, 1200.0)
    assert slow.strategy is Strategy.CHEAP
    assert settings.providers["local"].base_url == "http://127.0.0.1:1/v1"


def test_prices_are_the_digits_of_the_file(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        providers.local = { base_url = "http://127.0.0.1:1", keys = [] }
        [models.m]
        routes = [{ provider = "local", model = "a", input = 0.1, output = 3 }]
        """,
    )
    price = settings.models["m"].routes[0].price
    assert (price.input, price.output) == (Decimal("0.1"), Decimal(3))
    assert price.cost(Usage(prompt=3, completion=0)) == NanoUSD(300)


def test_without_a_file_the_providers_are_those_whose_key_is_set(tmp_path: Path) -> None:
    settings = load(tmp_path, environ={"GROQ_API_KEY": CANARY, "ANTHROPIC_API_KEY": CANARY})
    assert list(settings.providers) == ["anthropic", "groq"]
    assert settings.providers["groq"].base_url == "https://api.groq.com/openai/v1"
    assert settings.providers["groq"].keys[0].label == "…cdef"
    found = {key.provider: key for key in settings.found_keys}
    assert (found["groq"].found, found["groq"].usable) == (True, True)
    assert (found["anthropic"].found, found["anthropic"].usable) == (True, True)
    assert (found["openai"].found, found["openai"].would_enable) == (False, True)
    assert found["google"].would_enable


def test_a_file_that_names_providers_configures_no_others(tmp_path: Path) -> None:
    settings = load(tmp_path, "[providers.openai]", {"GROQ_API_KEY": CANARY})
    assert list(settings.providers) == ["openai"]
    found = {key.provider: key for key in settings.found_keys}
    assert found["openai"].would_enable
    assert not found["mistral"].would_enable
    assert settings.warnings == (
        "signalbox.toml:1: providers.openai: has no key; set OPENAI_API_KEY to call its models",
    )


def test_a_provider_without_keys_has_one_anonymous_key(tmp_path: Path) -> None:
    settings = load(tmp_path, "providers.ollama = {}\nproviders.openai.keys = []")
    for name in ("ollama", "openai"):
        [key] = settings.providers[name].keys
        assert (key.id, key.secret) == (f"{name}/1", None)
        assert settings.providers[name].usable


def test_another_account_of_a_known_provider_has_its_address_variable_and_ways(
    tmp_path: Path,
) -> None:
    toml = """
[providers.team]
like = "openai"
[providers.gpu]
like = "vllm"
base_url = "http://gpu.example:8000/v1"
[providers.unlike]
base_url = "https://api.openai.com/v1"
keys = []
"""
    providers = load(tmp_path, toml, {"OPENAI_API_KEY": CANARY}).providers
    assert providers["team"].base_url == "https://api.openai.com/v1"
    assert [key.label for key in providers["team"].keys] == ["…cdef"]
    assert providers["gpu"].base_url == "http://gpu.example:8000/v1"
    assert [key.secret for key in providers["gpu"].keys] == [None]
    speaks_responses = {
        name: adapters_of(provider).native(Dialect.RESPONSES, "m") is not None
        for name, provider in providers.items()
    }
    assert speaks_responses == {"team": True, "gpu": True, "unlike": False}


def test_a_provider_like_none_that_is_known_stops_the_start(tmp_path: Path) -> None:
    assert mistakes(tmp_path, 'providers.team = { like = "opnai", keys = [] }') == (
        "signalbox.toml:1: providers.team.like: expected the name of a known provider; "
        'did you mean "openai"?\n'
        "signalbox.toml:1: providers.team.base_url: is missing; expected the provider's URL"
    )


def test_secrets_are_read_from_files_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "key").write_text(CANARY + "\n")
    (tmp_path / "etc" / "s.toml").write_text('[keys.ci]\nkey = { file = "key" }\nrpm = 5')
    settings = load_settings(Path("etc/s.toml"), {}, tmp_path)
    [key] = settings.keys
    assert (key.name, key.secret.reveal(), key.rpm) == ("ci", CANARY, 5)


def test_sections_of_later_versions_are_accepted_and_named(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        f"""\
[alerts]
webhook = "https://hooks.example/1"
[providers.local]
base_url = "http://127.0.0.1:1"
keys = [{{ value = "{CANARY}" }}]
[models.m]
routes = [{{ provider = "local", model = "m", tpm = 1 }}]
fallbacks = ["m"]
[keys.ci]
key = {{ env = "KEY" }}
budget = {{ limit = 10.00, per = "day" }}
[presets.summarise]
model = "m"
extra = {{ retry = 1 }}
[limits]
default_max_tokens = 100
[traces]
payload_retention_days = 7
""",
        {"KEY": CANARY},
    )
    assert settings.warnings == (
        "signalbox.toml:5: providers.local.keys[0].value: "
        "a secret in the configuration itself is for trials only",
        "signalbox.toml:8: models.m.fallbacks[0]: "
        "has no effect: a model cannot fall back to itself",
        "signalbox.toml:18: traces.payload_retention_days: "
        "has no effect: traces go after 7 days, with theirs",
        "signalbox.toml:7: models.m.routes[0].tpm: has no effect in this version",
        "signalbox.toml:1: alerts: has no effect in this version",
    )


@pytest.mark.parametrize(
    ("toml", "warning"),
    [
        ("limits.burst = 5", "limits.burst: has no effect without limits.rpm"),
        (
            "storage.when_redis_is_away = 'refuse'",
            "storage.when_redis_is_away: has no effect without storage.redis",
        ),
        (
            "timeouts = { idle = 9, total = 8 }",
            "timeouts.idle: has no effect: the total of 8 s ends before",
        ),
        (
            f"{LOCAL}[models.m]\nroutes = [{ROUTE}]\ntimeouts = {{ first_token = 601 }}",
            "models.m.timeouts.first_token: has no effect: the total of 600 s ends before",
        ),
    ],
)
def test_what_another_key_makes_useless_is_named(tmp_path: Path, toml: str, warning: str) -> None:
    [told] = load(tmp_path, toml).warnings
    assert told.endswith(f": {warning}")


def test_the_demo_adds_a_model_and_takes_no_name(tmp_path: Path) -> None:
    demo = add_demo(load(tmp_path), "http://127.0.0.1:5/v1/")
    assert demo.providers["simulator"].base_url == "http://127.0.0.1:5/v1"
    assert demo.models["demo"].routes[0].price.known
    with pytest.raises(ConfigError, match="--demo"):
        add_demo(demo, "http://127.0.0.1:5/v1")


# Secrets

MISPLACED_SECRETS = [
    f"[providers.openai]\nkeys = ['{CANARY}']",
    f"[providers.openai]\nkeys = '{CANARY}'",
    f"[providers.openai]\nkey = '{CANARY}'",
    f"[providers.openai]\nkeys = [{{ env = '{CANARY}' }}]",
    f"[providers.openai]\nkeys = [{{ file = '{CANARY}' }}]",
    f"[providers.openai]\nkeys = [{{ value = '{CANARY}é' }}]",
    f"[providers.openai]\nkeys = [{{ value = ['{CANARY}'] }}]",
    f"[providers.openai]\nkeys = [{{ value = '{CANARY}' }}, {{ value = '{CANARY}' }}]",
    f"[providers.openai]\nkeys = []\nbase_url = 'https://u:{CANARY}@h'",
    f"[keys.ci]\nkey = '{CANARY}'",
    f"storage.database = 'postgresql://u:{CANARY}@h'",
    f"storage.redis = 'redis://u:{CANARY}/@h'",
    f"storage.redis = 'redis://u:{CANARY}@h/x'",
    LOCAL + f"models.m.routes = [{ROUTE[:-2]}, headers = {{ x = ['{CANARY}'] }} }}]",
    LOCAL + f"models.m.routes = [{ROUTE[:-2]}, headers = {{ x = '{CANARY}é' }} }}]",
]


@pytest.mark.parametrize("toml", MISPLACED_SECRETS)
def test_no_mistake_repeats_a_secret(tmp_path: Path, toml: str) -> None:
    assert CANARY not in mistakes(tmp_path, toml)


def test_settings_never_show_a_secret(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        LOCAL + f"[providers.openai]\nkeys = [{{ env = 'K' }}]\n"
        f"[models.m]\nroutes = [{ROUTE[:-2]}, headers = {{ api-key = {{ env = 'K' }} }} }}]\n"
        "[keys.ci]\nkey = { env = 'K' }",
        {
            "K": CANARY,
            "SIGNALBOX_ADMIN_TOKEN": CANARY,
            "SIGNALBOX_STORAGE__DATABASE": f"postgresql://u:{CANARY}@h/d",
            "SIGNALBOX_STORAGE__REDIS": f"redis://u:{CANARY}@h",
        },
    )
    assert CANARY not in repr(settings)
    assert CANARY not in str(settings)
    assert settings.models["m"].routes[0].headers[0][1].reveal() == CANARY


def test_a_short_key_is_not_shown_by_its_end(tmp_path: Path) -> None:
    settings = load(tmp_path, environ={"OPENAI_API_KEY": "abcdef"})
    assert settings.providers["openai"].keys[0].label == "…"
