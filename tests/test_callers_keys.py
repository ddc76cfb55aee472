"""`extra.byok`: which keys are taken, whose they are, and what of them is recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.config import ProviderSettings
from signalbox.config_settings import ProviderKeySettings
from signalbox.http.callers_keys import callers_keys, keys_by_provider, without_callers_keys
from signalbox.http.extension_fields import BadExtension
from signalbox.types import ModelPlan, Route, Secret

KEY = "sk-the-callers-own"
LONG = "sk-" + "k" * 50


def provider(name: str, *, keys: int = 1) -> ProviderSettings:
    own = tuple(ProviderKeySettings(f"{name}/{n}", "key", Secret("s" * 8)) for n in range(keys))
    return ProviderSettings(name, "openai", "http://127.0.0.1:1", own)


PROVIDERS = {
    settings.name: settings
    for settings in (provider("groq"), provider("xai"), provider("azure"), provider("off", keys=0))
}


def served_by(name: str, *providers: str) -> ModelPlan:
    return ModelPlan(name, tuple(Route(each, "m") for each in providers))


def owners(byok: object, model: ModelPlan) -> dict[str, str]:
    """Which provider gets which key."""
    found = keys_by_provider(callers_keys("extra.byok", byok), model, PROVIDERS)
    return {name: secret.reveal() for name, secret in found.items()}


def refusal(byok: object, model: ModelPlan) -> tuple[str | None, str]:
    with pytest.raises(BadExtension) as caught:
        owners(byok, model)
    error = caught.value.error
    assert (error.status, error.code) == (400, "invalid_value")
    return error.param, error.message


CHAT = served_by("chat", "groq", "azure")


@pytest.mark.parametrize(
    ("byok", "model", "means"),
    [
        ({}, CHAT, {}),
        ({"groq": KEY, "xai": LONG}, CHAT, {"groq": KEY, "xai": LONG}),
        (KEY, served_by("chat", "groq"), {"groq": KEY}),
        (KEY, served_by("groq/m", "azure", "groq"), {"groq": KEY}),
        (KEY, served_by("x-ai/m", "azure", "xai"), {"xai": KEY}),  # as catalogues spell it
        (KEY, served_by("meta-llama/m", "groq"), {"groq": KEY}),  # of a maker that serves nothing
    ],
)
def test_each_key_has_one_provider(byok: object, model: ModelPlan, means: dict[str, str]) -> None:
    assert owners(byok, model) == means


@pytest.mark.parametrize(
    ("byok", "param", "words"),
    [
        (None, "extra.byok", "expected a key, or an object of keys by provider, got null"),
        ([KEY], "extra.byok", "got a list"),
        ("short", "extra.byok", "expected a key of 8 to 4096 ASCII characters"),
        ({"groq": 12345678}, "extra.byok.groq", "expected a key, got a number"),
        ({"groq": None}, "extra.byok.groq", "expected a key, got null"),
        ({"groq": "k" * 4097}, "extra.byok.groq", "8 to 4096"),
        *(
            ({"groq": f"sk-01234{c}56789"}, "extra.byok.groq", "without space, quote or backslash")
            for c in (" ", "\n", "\r", "\0", "é", '"', "\\", "\x7f")
        ),
        ({"nobody": KEY}, "extra.byok.nobody", "no provider of this gateway; expected groq or xai"),
        ({"off": KEY}, "extra.byok.off", "no provider of this gateway"),
        ({LONG: "groq-groq"}, "extra.byok", "no provider of this gateway"),
        (KEY, "extra.byok", "an object that names the key's provider: chat is served by groq and"),
    ],
)
def test_what_is_wrong_is_named_and_no_key_is_repeated(
    byok: object, param: str, words: str
) -> None:
    named, message = refusal(byok, CHAT)
    assert (named, message.startswith(f"{param}: ")) == (param, True)
    assert words in message
    for key in (KEY, LONG, "0123456", "kkkk"):
        assert key not in message


@pytest.mark.parametrize("model", ["openai/m", "off/m"])
def test_a_lone_key_is_never_shown_to_another_provider_than_the_model_s_own(model: str) -> None:
    assert refusal(KEY, served_by(model, "azure"))[0] == "extra.byok"


# ── what is recorded ──────────────────────────────────────────────────────────────────────────

CHATTER: dict[str, Any] = {"model": "m", "n": 1, "top_p": 0.5, "messages": [{"a": ["é", None]}]}


@given(
    st.dictionaries(st.sampled_from(["tags", "retry", "byok"]), st.just(KEY) | st.just({"a": KEY})),
    st.booleans(),
)
def test_the_recorded_body_is_the_client_s_without_its_keys(
    extra: dict[str, Any], spaced: bool
) -> None:
    body = CHATTER | {"extra": extra}
    data = json.dumps(body, indent=1 if spaced else None).encode()
    kept = {name: value for name, value in extra.items() if name != "byok"}
    assert json.loads(without_callers_keys(data, body)) == CHATTER | {"extra": kept}


def test_a_body_without_extensions_is_recorded_as_it_came() -> None:
    data = b' {"model" : "m"}\n'
    assert without_callers_keys(data, json.loads(data)) is data


@pytest.mark.parametrize(
    "hiding",
    [
        b'{"extra": {"byok": "%s"}, "extra": null}',
        b'{"extra": {"byok": "%s"}, "extra": {}}',
        b'{"extra": {"byok": "%s", "byok": {}}}',
        b'{"extra": {"\\u0062yok": "%s"}}',
    ],
)
def test_a_key_does_not_hide_behind_a_second_field_of_its_name(hiding: bytes) -> None:
    data = hiding % KEY.encode()
    assert KEY.encode() not in without_callers_keys(data, json.loads(data))
