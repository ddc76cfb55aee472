"""Gateway keys, budgets and presets of the configuration: what they come to, and what is wrong."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.config import BudgetSettings
from signalbox.types import Preset, usd
from tests.configs import CANARY, LOCAL, load, mistakes

KEY = f'[keys.ci]\nkey = {{ value = "{CANARY}" }}\n'


def test_a_key_has_what_is_declared_of_it(tmp_path: Path) -> None:
    [key] = load(
        tmp_path,
        LOCAL
        + KEY
        + """
        owner = "research"
        expires = 2030-01-31T02:00:00+02:00
        enabled = false
        models = ["m"]
        providers = ["local"]
        tags = ["batch"]
        preset = "summarise"
        byok_fallback = true
        """,
    ).keys
    assert (key.id, key.owner, key.expires_at) == ("declared:ci", "research", 1_896_048_000.0)
    assert (key.enabled, key.byok_fallback, key.preset) == (False, True, "summarise")
    assert (key.models, key.providers, key.tags) == (("m",), ("local",), ("batch",))


def test_budgets_of_keys_stand_beside_those_of_their_own_section(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        KEY
        + """
        budget = [{ limit = 10.000000001, per = "day" }, { limit = 5, per = "day", hard = false }]
        [budgets.all]
        scope = "global"
        limit = 100
        per = "month"
        alert_at = [1, 0.5, 1]
        [budgets.ci-hourly]
        scope = "key"
        subject = "ci"
        limit = 1
        per = "hour"
        """,
    )
    everybody, hourly, hard, soft = settings.budgets
    assert everybody == BudgetSettings(
        "declared:all", "all", "global", None, everybody.limit, "month", True, (0.5, 1.0)
    )
    assert (hourly.subject, hard.subject) == ("declared:ci", "declared:ci")
    assert usd(hard.limit) == Decimal("10.000000001")
    assert (hard.id, soft.id) == ("declared:keys.ci.day.hard", "declared:keys.ci.day.soft")
    assert (hard.hard, soft.hard) == (True, False)


@given(st.decimals(0, 1_000_000, places=9))
def test_a_budget_is_exact_to_the_nano_dollar(
    tmp_path_factory: pytest.TempPathFactory, limit: Decimal
) -> None:
    toml = f'{KEY}budget = {{ limit = {limit:f}, per = "total" }}'
    [budget] = load(tmp_path_factory.mktemp("config"), toml).budgets
    assert usd(budget.limit) == limit


def test_an_override_sets_what_a_key_may_spend(tmp_path: Path) -> None:
    toml = f'{KEY}budget = {{ limit = 1, per = "day" }}'
    [budget] = load(tmp_path, toml, {"SIGNALBOX_KEYS__CI__BUDGET__LIMIT": "2.5"}).budgets
    assert usd(budget.limit) == Decimal("2.5")


def presets_of(folder: Path, toml: str) -> dict[str, Preset]:
    return dict(load(folder, toml).presets)


def test_the_version_of_a_preset_changes_with_its_document_and_with_nothing_else(
    tmp_path: Path,
) -> None:
    one = presets_of(tmp_path, "[presets.a]\ntemperature = 0.5\nsystem = 'Short.'")["a"]
    same = presets_of(tmp_path, "[presets.a]\nsystem = 'Short.'\ntemperature = 0.50")["a"]
    other = presets_of(tmp_path, "[presets.a]\nsystem = 'Short!'\ntemperature = 0.5")["a"]
    assert one == same
    assert one.document == {"temperature": 0.5, "system": "Short."}
    assert one.version.startswith("config-")
    assert other.version != one.version


MISTAKES = {
    "time without an offset": (
        KEY + "expires = 2030-01-31T00:00:00",
        "signalbox.toml:3: keys.ci.expires: "
        "expected a time with its offset, such as 2030-01-31T00:00:00Z, got a date or time",
    ),
    "provider of a key": (
        LOCAL + KEY + 'providers = ["locla"]',
        "signalbox.toml:4: keys.ci.providers[0]: "
        'no provider "locla" is configured; did you mean "local"?',
    ),
    "too many tags": (
        KEY + f"tags = {['t'] * 17}",
        "signalbox.toml:3: keys.ci.tags: expected at most 16 tags, got 17",
    ),
    "tag too long": (
        KEY + f'tags = ["{"t" * 129}"]',
        "signalbox.toml:3: keys.ci.tags[0]: expected at most 128 characters",
    ),
    "budget without a period": (
        KEY + "budget = { limit = 1 }",
        'signalbox.toml:3: keys.ci.budget.per: is missing; expected one of "day", "hour", '
        '"month", "total", "week"',
    ),
    "misspelt key of a budget": (
        KEY + 'budget = { limit = 1, per = "day", hrad = true }',
        'signalbox.toml:3: keys.ci.budget.hrad: there is no such key; did you mean "hard"?',
    ),
    "two budgets alike": (
        KEY + 'budget = [{ limit = 1, per = "day" },\n{ limit = 2, per = "day" }]',
        "signalbox.toml:4: keys.ci.budget[1]: is the second hard budget of this key per day",
    ),
    "limit below zero": (
        KEY + 'budget = { limit = -1, per = "day" }',
        "signalbox.toml:3: keys.ci.budget.limit: "
        "expected US dollars from 0 to 1000000 with at most 9 decimals, got -1",
    ),
    "subject of everybody": (
        '[budgets.b]\nscope = "global"\nsubject = "x"\nlimit = 1\nper = "day"',
        "signalbox.toml:3: budgets.b.subject: "
        'expected none: the scope "global" is everybody\'s together',
    ),
    "scope": (
        '[budgets.b]\nscope = "team"\nlimit = 1\nper = "day"',
        'signalbox.toml:2: budgets.b.scope: expected one of "account", "global", "key", "tag", '
        '"user", got "team"',
    ),
    "preset of a preset": (
        '[presets.a]\nextra = { preset = "b" }',
        "signalbox.toml:2: presets.a.extra.preset: a preset cannot have a preset",
    ),
    "preset of a preset's model": (
        '[presets.a]\nmodel = "m@preset/b"',
        "signalbox.toml:2: presets.a.model: a preset cannot have a preset",
    ),
    "stream in a preset": (
        "[presets.a]\nstream = true",
        "signalbox.toml:2: presets.a.stream: is always the request's own",
    ),
    "secret in a preset": (
        '[presets.a]\nextra.byok = { openai = "sk-0123456789" }',
        "signalbox.toml:2: presets.a.extra.byok: "
        "a preset is no place for a secret: everybody may use it",
    ),
    "slug": (
        '[presets."a/b"]\ntemperature = 1',
        'signalbox.toml:1: presets."a/b": '
        "expected a name of 1 to 64 letters, digits, -, _ and . (not at its start)",
    ),
}


@pytest.mark.parametrize(("toml", "mistake"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, toml: str, mistake: str) -> None:
    assert mistakes(tmp_path, toml) == mistake
