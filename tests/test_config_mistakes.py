"""What a mistake in the configuration is answered with."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.config import ConfigError, load_settings
from tests.configs import CANARY, LOCAL, ROUTE, load, mistakes

REDIS = (
    "expected redis://host:port/db, rediss:// for TLS, or unix:///path/of.sock?db=0; "
    "port and db may be left out, user:password@ may stand before the host"
)
MISTAKES = {
    "value of another type": (
        "[providers.openai]\nkeys = [\n{ env = 'K', rpm = 1 },\n{ env = 'K', rpm = 'many' }]",
        "signalbox.toml:4: providers.openai.keys[1].rpm: "
        'expected an integer of at least 1, got "many"',
    ),
    "number out of range": (
        "[server]\nhost = 'h' # c\nport = 70_000",
        "signalbox.toml:3: server.port: expected an integer from 0 to 65535, got 70000",
    ),
    "true for a number": (
        "limits.rpm = true",
        "signalbox.toml:1: limits.rpm: expected an integer of at least 1, got true",
    ),
    "number out of its range's bottom": (
        "limits.connections_per_origin = 0",
        "signalbox.toml:1: limits.connections_per_origin: "
        "expected an integer from 1 to 65535, got 0",
    ),
    "infinite number": (
        "timeouts.total = inf",
        "signalbox.toml:1: timeouts.total: expected a number above 0 and up to 86400, got Infinity",
    ),
    "word that is no choice": (
        '[traces]\npayloads = "some"',
        'signalbox.toml:2: traces.payloads: expected one of "full", "off", "redacted", got "some"',
    ),
    "table for a list": (
        "routing.fallbacks = {}",
        "signalbox.toml:1: routing.fallbacks: expected a list, got a table",
    ),
    "unknown key": (
        "[retry]\natempts = 3",
        'signalbox.toml:2: retry.atempts: there is no such key; did you mean "attempts"?',
    ),
    "unknown section": ("[zzz]", "signalbox.toml:1: zzz: there is no such key"),
    "missing key": (
        '[models."a/b"]',
        'signalbox.toml:1: models."a/b".routes: is missing; expected a list',
    ),
    "model without routes": (
        "[models.m]\nroutes = []",
        "signalbox.toml:2: models.m.routes: expected a list with at least one item, got none",
    ),
    "price of a wrong unit": (
        LOCAL + f"[models.m]\nroutes = [{ROUTE[:-2]}, input = -1, output = 1 }}]",
        "signalbox.toml:3: models.m.routes[0].input: "
        "expected US dollars from 0 to 1000000 with at most 9 decimals, got -1",
    ),
    "half a price": (
        LOCAL + f"[models.m]\nroutes = [\n{ROUTE[:-2]}, input = 1 }}]",
        "signalbox.toml:4: models.m.routes[0]: expected both input and output, or neither",
    ),
    "route to no provider": (
        LOCAL + "[models.m]\nroutes = [{ provider = 'locla', model = 'm' }]",
        "signalbox.toml:3: models.m.routes[0].provider: "
        'no provider "locla" is configured; did you mean "local"?',
    ),
    "same route twice": (
        LOCAL + f"[models.m]\nroutes = [{ROUTE},\n{ROUTE}]",
        "signalbox.toml:4: models.m.routes[1]: is the same provider and model as a route before",
    ),
    "star without a wildcard": (
        LOCAL + "[models.m]\nroutes = [{ provider = 'local', model = '*' }]",
        "signalbox.toml:3: models.m.routes[0].model: expected at most 0 *, as in the name",
    ),
    "two stars": (
        LOCAL + f'[models."*/*"]\nroutes = [{ROUTE}]',
        'signalbox.toml:2: models."*/*": expected a name with at most one *',
    ),
    "date in a parameter": (
        LOCAL + f"[models.m]\nroutes = [{ROUTE}]\ndefault_params = {{ a = [2020-01-01] }}",
        "signalbox.toml:4: models.m.default_params.a[0]: "
        "expected a value that JSON can carry, got a date or time",
    ),
    "parameter of the request": (
        LOCAL + f"[models.m]\nroutes = [{ROUTE}]\ndefault_params.stream = true",
        "signalbox.toml:4: models.m.default_params.stream: is always the request's own",
    ),
    "header of the gateway": (
        LOCAL + f"[models.m]\nroutes = [{ROUTE[:-2]}, headers = {{ Host = 'h' }} }}]",
        "signalbox.toml:3: models.m.routes[0].headers.Host: "
        "expected a header that the gateway may add",
    ),
    "strategy": (
        "routing.strategy = 'best'",
        'signalbox.toml:1: routing.strategy: expected one of "cheap", "fast", "throughput", '
        '"reliable", "balanced", "cheapest", "fastest", "price", "latency", got "best"',
    ),
    "provider of a strategy's name": (
        "[providers.fast]\nbase_url = 'http://h'\nkeys = []",
        "signalbox.toml:1: providers.fast: expected a name that is not a strategy's",
    ),
    "provider without address": (
        "[providers.own]\nkeys = []",
        "signalbox.toml:1: providers.own.base_url: is missing; expected the provider's URL",
    ),
    "provider without keys": (
        "[providers.own]\nbase_url = 'http://h'",
        "signalbox.toml:1: providers.own.keys: "
        "is missing; expected a list, [] where no key is needed",
    ),
    "address of another scheme": (
        "[providers.own]\nbase_url = 'ftp://h'\nkeys = []",
        "signalbox.toml:2: providers.own.base_url: expected an http:// or https:// URL",
    ),
    "address with a query": (
        "[providers.own]\nbase_url = 'https://h/?a'\nkeys = []",
        "signalbox.toml:2: providers.own.base_url: "
        "expected an http:// or https:// URL without query and fragment",
    ),
    "variable of a secret not set": (
        "[keys.ci]\nkey = { env = 'CI_KEY' }",
        "signalbox.toml:2: keys.ci.key.env: the environment variable CI_KEY is not set",
    ),
    "secret from nowhere": (
        "[keys.ci]\nkey = {}",
        "signalbox.toml:2: keys.ci.key: expected one of env, file and value, got none of them",
    ),
    "file of a secret missing": (
        "[keys.ci]\nkey = { file = 'k' }",
        "signalbox.toml:2: keys.ci.key.file: the file: cannot be read: No such file or directory",
    ),
    "gateway key too short": (
        "[keys.ci]\nkey = { value = '123456789012345' }",
        "signalbox.toml:2: keys.ci.key: expected at least 16 characters",
    ),
    "gateway key twice": (
        "[keys.a]\nkey = { env = 'K' }\n[keys.b]\nkey = { env = 'K' }",
        "signalbox.toml:4: keys.b.key: is the same key as keys.a",
    ),
    "provider key twice": (
        "[providers.openai]\nkeys = [{ env = 'K' },\n{ env = 'K' }]",
        "signalbox.toml:3: providers.openai.keys[1]: is the same key as one before it",
    ),
    "alias of a model's name": (
        LOCAL + f"models.m.routes = [{ROUTE}]\n[aliases]\nm = 'local/x'",
        "signalbox.toml:4: aliases.m: is the name of a model too",
    ),
    "alias of itself": (
        "[aliases]\na = 'a:floor'",
        "signalbox.toml:2: aliases.a: leads back to itself: a",
    ),
    "several workers": (
        "server.workers = 2",
        "signalbox.toml:1: server.workers: expected 1, got 2: "
        "several gateways may be started instead, with one PostgreSQL database and one Redis",
    ),
    "PostgreSQL without a database": (
        "storage.database = 'postgresql://u:p@h'",
        "signalbox.toml:1: storage.database: expected postgresql://user:password@host/database, "
        "with %40, %2F and the like for special characters in the password",
    ),
    "Redis by another scheme": (
        "storage.redis = 'http://h'",
        f"signalbox.toml:1: storage.redis: has the scheme 'http': {REDIS}",
    ),
    "Redis without a host": (
        "storage.redis = 'redis:///0'",
        f"signalbox.toml:1: storage.redis: {REDIS}",
    ),
    "Redis' database by name": (
        "[storage]\nredis = 'redis://h/cache'",
        f"signalbox.toml:2: storage.redis: {REDIS}",
    ),
    "Redis with a wrong port": (
        "storage.redis = 'redis://h:x'",
        f"signalbox.toml:1: storage.redis: is no URL: {REDIS}",
    ),
    "Redis' socket with options": (
        "storage.redis = 'unix:///redis.sock?socket_timeout=9'",
        f"signalbox.toml:1: storage.redis: {REDIS}",
    ),
    "other database": (
        "storage.database = 'signalbox.db'",
        "signalbox.toml:1: storage.database: "
        "expected sqlite:///, then a file's path, or postgresql://…",
    ),
    "origin with a path": (
        "[server]\ncors_origins = [\n'https://a.example/x']",
        "signalbox.toml:3: server.cors_origins[0]: "
        'expected "*" or an origin such as "https://example.com", without a path',
    ),
    "no TOML": (
        "[server]\nport 1",
        "signalbox.toml:2:6: Expected '=' after a key in a key/value pair",
    ),
    "end of the text": ("a = [1", "signalbox.toml: Unclosed array (at end of document)"),
    "number beyond all bounds": (
        "limits.rpm = 1e99999999999999999999",
        "signalbox.toml: cannot be read as TOML: a number is out of range",
    ),
}


@pytest.mark.parametrize(("toml", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_names_place_key_and_what_was_expected(
    tmp_path: Path, toml: str, message: str
) -> None:
    assert mistakes(tmp_path, toml, {"K": CANARY}) == message


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    message = mistakes(tmp_path, "server.port = 'x'\n[retry]\nbackoff = 0")
    assert message.splitlines() == [
        'signalbox.toml:1: server.port: expected an integer from 0 to 65535, got "x"',
        "signalbox.toml:3: retry.backoff: expected a number from 1 to 100, got 0",
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "SIGNALBOX_RETRY__ATTEMPTS",
            "many",
            "SIGNALBOX_RETRY__ATTEMPTS: retry.attempts: "
            'expected an integer from 0 to 100, got "many"',
        ),
        (
            "SIGNALBOX_SERVRE__PORT",
            "1",
            'SIGNALBOX_SERVRE__PORT: "SERVRE" names no key; did you mean "server"?',
        ),
        ("SIGNALBOX_SERVER__PORT__X", "1", 'SIGNALBOX_SERVER__PORT__X: "X" names no key'),
        (
            "SIGNALBOX_ROUTING__FALLBACKS__0",
            "m",
            'SIGNALBOX_ROUTING__FALLBACKS__0: "0" names no key',
        ),
        (
            "SIGNALBOX_ROUTING__FALLBACKS",
            "m",
            "SIGNALBOX_ROUTING__FALLBACKS: routing.fallbacks: expected a list, got a string",
        ),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    assert mistakes(tmp_path, environ={name: text}) == message


def test_a_mistake_in_dotenv_says_so(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SIGNALBOX_SERVER__PORT=x\n")
    assert mistakes(tmp_path).startswith("SIGNALBOX_SERVER__PORT (.env): server.port: ")


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(Path("my.toml"), {}, tmp_path)
    assert str(caught.value) == "my.toml: cannot be read: No such file or directory"


def test_a_file_must_be_text(tmp_path: Path) -> None:
    (tmp_path / "signalbox.toml").write_bytes(b"[server]\nhost = '\xff'")
    assert mistakes(tmp_path) == "signalbox.toml:2: expected UTF-8 text"


_KEYS = """
    server server.port server.cors_origins storage.database limits.burst retry timeouts.total
    traces.payloads routing.fallbacks providers providers.p providers.openai.keys
    providers.openai.base_url models models.m models.m.routes models.m.retry
    models.m.default_params aliases aliases.a keys.k keys.k.key keys.k.budget presets
"""
_VALUES = """
    0 -1 1e999 nan true '' 'a' '*' 'http://[' 2020-01-01 [] [1] ['a'] [{}] [[]] {} {a=1} {a={}}
    {env='K'} {value=''} [{provider='p',model='*'}] [{provider='',model=''}]
"""
_TABLES = st.dictionaries(
    st.sampled_from(_KEYS.split()), st.sampled_from(_VALUES.split()), max_size=4
)


@given(_TABLES | st.text())
def test_nothing_in_a_file_raises_anything_but_a_named_mistake(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, str] | str
) -> None:
    if isinstance(content, dict):
        content = "\n".join(f"{key} = {value}" for key, value in content.items())
    with contextlib.suppress(ConfigError):
        load(tmp_path_factory.mktemp("config"), content)
