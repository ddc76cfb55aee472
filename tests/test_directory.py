"""Presets, budgets and users: what the database has, under what is declared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from signalbox.actors.directory import Directory
from signalbox.actors.key_ring import GatewayKey
from signalbox.actors.rate_limiter import KeyLimits
from signalbox.machines.budget import Budget, Period
from signalbox.persistence.crediting import entry_of
from signalbox.persistence.record_store import Update
from signalbox.persistence.records import BudgetRecord, Managed, PresetRecord, UserRecord
from signalbox.types import NanoUSD, Preset
from tests import records
from tests.configs import CANARY, load
from tests.fakes import InlineWorkers, MemoryStore

KEY = GatewayKey(
    "declared:ci", "ci", b"", KeyLimits("declared:ci", None, None, None), account="u-1"
)


async def directory_of(folder: Path, toml: str, *managed: Managed) -> Directory:
    store = MemoryStore()
    for record in managed:
        records.insert(store, record)
    directory = Directory(store, InlineWorkers(), load(folder, toml))
    await directory.load()
    return directory


def budget(
    name: str, scope: str, subject: str | None = None, *, enabled: bool = True
) -> BudgetRecord:
    limit = NanoUSD(1)
    return BudgetRecord(f"b-{name}", name, scope, subject, limit, "day", 0.0, enabled=enabled)


def ids(budgets: Sequence[Budget]) -> list[str]:
    return [budget.id for budget in budgets]


async def test_the_newest_version_of_a_preset_is_in_force(tmp_path: Path) -> None:
    versions = [PresetRecord("a", number, {"n": number}, 0.0) for number in (10, 9, 2)]
    directory = await directory_of(tmp_path, "", *versions)
    assert directory.preset("a") == Preset("a", "10", {"n": 10})
    assert directory.preset("b") is None
    assert directory.presets_near("aa") == ["a"]


async def test_a_declared_preset_goes_before_one_of_the_database_and_that_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    toml, record = "[presets.a]\ntemperature = 1", PresetRecord("a", 1, {}, 0.0)
    directory = await directory_of(tmp_path, toml, record)
    await directory.load()
    assert directory.preset("a") == load(tmp_path).presets["a"]
    assert caplog.messages == [
        "the preset a of the database has no effect: the configuration declares it"
    ]
    directory.configure(load(tmp_path, ""))
    assert directory.preset("a") == Preset("a", "1", {})


async def test_a_request_is_under_every_budget_that_concerns_it(tmp_path: Path) -> None:
    directory = await directory_of(
        tmp_path,
        "",
        budget("all", "global"),
        budget("off", "global", enabled=False),
        budget("account", "account", "u-1"),
        budget("key", "key", "declared:ci"),
        budget("each-key", "key"),
        budget("other-key", "key", "k-9"),
        budget("each-user", "user"),
        budget("eve", "user", "eve"),
        budget("batch", "tag", "batch"),
        budget("each-tag", "tag"),
    )
    assert ids(directory.budgets_for(KEY, "eve", ["batch", "x", "batch"])) == [
        "b-all",
        "b-account",
        "b-key",
        "b-each-key:declared:ci",
        "b-eve",
        "b-each-user:eve",
        "b-batch",
        "b-each-tag:batch",
        "b-each-tag:x",
    ]
    assert ids(directory.budgets_for(replace(KEY, id="k-9", account="k-9"), None, [])) == [
        "b-all",
        "b-other-key",
        "b-each-key:k-9",
    ]


async def test_what_was_paid_in_for_an_account_is_a_hard_budget_of_it(tmp_path: Path) -> None:
    directory = await directory_of(tmp_path, "")
    assert ids(directory.budgets_for(KEY, None, [])) == []
    for kind, amount in (("top_up", 10), ("adjustment", -3)):
        entry = entry_of(
            kind, "u-1", NanoUSD(amount), "", id="i", request_id=records.fresh_id(), at=0.0
        )
        directory._store.credit(entry, records.audit("top_up"))
    await directory.load()
    [credits] = directory.budgets_for(KEY, None, [])
    assert (credits.id, credits.limit, credits.hard) == ("credits:u-1", 7, True)
    assert (credits.period, credits.subject) == (Period.TOTAL, "u-1")
    assert ids(directory.budgets_for(replace(KEY, account="u-2"), None, [])) == []


async def test_a_user_is_known_by_id_and_by_a_token_that_still_signs_in(tmp_path: Path) -> None:
    user = UserRecord("u-1", "ada", 0.0, role="viewer", token_digest=b"token")
    directory = await directory_of(tmp_path, "", user)
    assert directory.user("u-1") == directory.user_of_token(b"token") == user
    for change in ({"enabled": False}, {"role": "none"}):
        changed = replace(user, **change)
        directory._store.change([Update(changed)], records.audit("update"))
        await directory.load()
        assert directory.user("u-1") == changed
        assert directory.user_of_token(b"token") is None


BY_NAME = f"""
[keys.ci]
key = {{ value = "{CANARY}" }}
owner = "house"
[budgets.of-key]
scope = "key"
subject = "made"
limit = 1
per = "day"
[budgets.of-user]
scope = "account"
subject = "ada"
limit = 1
per = "day"
[budgets.of-house]
scope = "account"
subject = "house"
limit = 1
per = "day"
"""


async def test_a_declared_budget_finds_keys_and_users_by_name_as_soon_as_they_are_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = await directory_of(tmp_path, BY_NAME)
    assert caplog.messages == [
        "the budget of-key has no effect: there is no key of the name or id 'made'",
        "the budget of-user has no effect: there is no account of the name or id 'ada'",
    ]
    made = records.key("made")
    records.insert(directory._store, made)
    records.insert(directory._store, UserRecord("u-1", "ada", 0.0))
    await directory.load()
    found = directory.budgets_for(replace(KEY, id=made.id), None, [])
    assert [(each.name, each.subject) for each in found] == [
        ("of-user", "u-1"),
        ("of-key", made.id),
    ]
    [house] = directory.budgets_for(replace(KEY, account="house"), None, [])
    assert house.name == "of-house"
