"""What is configured while the gateway runs: checked with the file, and never over it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from signalbox.config import AddedKey, ConfigError, Overlay, Settings, load_settings
from signalbox.types import Secret
from tests.configs import CANARY, LOCAL

MODEL = {"routes": [{"provider": "local", "model": "m", "input": 0.15, "output": 2}]}


def load(
    folder: Path,
    overlay: Overlay,
    toml: str | None = LOCAL,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    if toml is not None:
        (folder / "signalbox.toml").write_text(toml, encoding="utf-8")
    return load_settings(None, environ or {}, folder, overlay)


def mistakes(folder: Path, overlay: Overlay, toml: str | None = LOCAL) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, overlay, toml)
    return str(caught.value)


def key(provider: str, id: str = "k1", **more: Any) -> AddedKey:
    return AddedKey(id, provider, "…cdef", Secret(CANARY), **more)


def test_a_model_of_the_database_is_one_like_the_files(tmp_path: Path) -> None:
    overlay = Overlay().with_entry("models", "chat", MODEL).with_entry("aliases", "gpt", "chat")
    settings = load(tmp_path, overlay)
    [route] = settings.models["chat"].routes
    assert route.price.input == Decimal("0.15")
    assert settings.aliases == {"gpt": "chat"}
    assert settings.warnings == ()


def test_a_provider_of_the_database_has_its_added_keys(tmp_path: Path) -> None:
    entry = {"base_url": "http://127.0.0.1:2", "api": "openai", "api_version": None}
    overlay = Overlay(keys=(key("mine", rpm=5), key("mine", "k2"))).with_entry(
        "providers", "mine", entry
    )
    keys = load(tmp_path, overlay).providers["mine"].keys
    assert [(each.id, each.rpm) for each in keys] == [("mine/k1", 5), ("mine/k2", None)]


def test_keys_are_added_to_those_of_the_file_and_take_the_place_of_no_key(tmp_path: Path) -> None:
    toml = LOCAL + 'providers.openai = { keys = [{ env = "A" }] }\n'
    overlay = Overlay(keys=(key("openai"), key("local", "k2"), key("groq", "k3")))
    providers = load(tmp_path, overlay, toml, {"A": "sk-of-the-environment"}).providers
    assert [each.id for each in providers["openai"].keys] == ["openai/1", "openai/k1"]
    assert [each.id for each in providers["local"].keys] == ["local/k2"]
    # A known provider needs no entry of its own.
    assert [each.id for each in providers["groq"].keys] == ["groq/k3"]


def test_without_a_file_the_environment_still_tells_which_providers_there_are(
    tmp_path: Path,
) -> None:
    entry = {"base_url": "http://127.0.0.1:2", "keys": []}
    overlay = Overlay().with_entry("providers", "mine", entry)
    settings = load(tmp_path, overlay, None, {"OPENAI_API_KEY": CANARY})
    assert {"mine", "openai"} <= settings.providers.keys()


def test_what_the_file_declares_stays_and_the_entry_is_told(tmp_path: Path) -> None:
    toml = LOCAL + 'models.chat.routes = [{ provider = "local", model = "of-the-file" }]\n'
    settings = load(tmp_path, Overlay().with_entry("models", "chat", MODEL), toml)
    assert settings.models["chat"].routes[0].model == "of-the-file"
    assert settings.warnings == (
        "the database: has no effect, since it is declared: signalbox.toml:2: models.chat",
    )


def test_a_key_of_no_provider_is_told(tmp_path: Path) -> None:
    [warning] = load(tmp_path, Overlay(keys=(key("nowhere"),))).warnings
    assert "providers.nowhere: is not there, so its key …cdef is not used" in warning


def test_mistakes_name_the_database_and_what_was_expected(tmp_path: Path) -> None:
    wrong = {"routes": [{"provider": "lokal", "model": "m", "inptu": 1}], "retry": "many"}
    told = mistakes(tmp_path, Overlay().with_entry("models", "chat", wrong))
    assert (
        'the database: models.chat.routes[0].inptu: there is no such key; did you mean "input"?'
        in told
    )
    assert "the database: models.chat.retry: expected" in told
    right_form = {"routes": [{"provider": "lokal", "model": "m"}]}
    told = mistakes(tmp_path, Overlay().with_entry("models", "chat", right_form))
    assert 'routes[0].provider: no provider "lokal" is configured; did you mean "local"?' in told


@pytest.mark.parametrize("document", [None, 1, "text", [], {"routes": [None]}, {"routes": {}}])
def test_a_document_of_any_form_is_a_mistake_and_no_crash(tmp_path: Path, document: Any) -> None:
    assert "the database: models.chat" in mistakes(
        tmp_path, Overlay().with_entry("models", "chat", document)
    )


def test_a_document_can_read_neither_files_nor_variables(tmp_path: Path) -> None:
    entry = {"base_url": "http://127.0.0.1:2", "keys": [{"env": "HOME"}]}
    route = {"provider": "local", "model": "m", "headers": {"x-key": {"file": "/etc/passwd"}}}
    overlay = (
        Overlay()
        .with_entry("providers", "mine", entry)
        .with_entry("models", "chat", {"routes": [route]})
    )
    told = mistakes(tmp_path, overlay).splitlines()
    assert told == [
        "the database: providers.mine.keys: expected []: a key is added on its own, and encrypted",
        "the database: models.chat.routes[0].headers.x-key: expected a string",
    ]


def test_entries_and_keys_are_replaced_and_taken_away() -> None:
    overlay = Overlay().with_entry("models", "a", 1).with_entry("models", "a", 2)
    assert overlay.entries == {"models": {"a": 2}}
    assert overlay.without_entry("models", "a").entries == {"models": {}}
    keys = Overlay().with_keys(key("openai"), key("groq", "k2")).with_keys(key("openai", rpm=1))
    assert [(each.id, each.rpm) for each in keys.keys] == [("k2", None), ("k1", 1)]
    assert [each.id for each in keys.without_key("k2").keys] == ["k1"]
