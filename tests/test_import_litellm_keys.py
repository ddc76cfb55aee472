"""LiteLLM's virtual keys → gateway keys: every key once, never with more than it had."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.cli.litellm_database import Database, Holder, Limits, Succession, Token
from signalbox.cli.litellm_durations import NEAR, period_of
from signalbox.cli.litellm_keys import NO_MODEL, Existing, Plan, plan_keys
from signalbox.persistence.gateway_keys import covers, key_digest
from signalbox.persistence.records import GatewayKeyRecord
from signalbox.persistence.rows import charge_row
from signalbox.types import LONGEST_TAG, MOST_TAGS

NOW = 1_800_000_000.0
MODELS = ("a", "b", "x/*")
GROUPS = {"beta": ("a", "x/*")}


def token(text: str = "sk-1", **values: Any) -> Token:
    usual: dict[str, Any] = {
        "token": hashlib.sha256(text.encode()).hexdigest(),
        "alias": None,
        "shown": "sk-...0001",
        "limits": Limits(),
        "spend": Decimal(0),
        "resets_at": None,
        "expires_at": None,
        "created_at": NOW - 10,
        "blocked": False,
        "models": (),
        "user_id": None,
        "team_id": None,
        "budget_id": None,
        "tags": (),
        "others": (),
    }
    return Token(**{**usual, **values})


def database(
    *tokens: Token,
    teams: Sequence[Holder] = (),
    users: Sequence[Holder] = (),
    budgets: Mapping[str, Limits] | None = None,
    successions: Sequence[Succession] = (),
) -> Database:
    return Database(
        tokens=tokens,
        teams={team.id: team for team in teams},
        users={user.id: user for user in users},
        budgets=budgets or {},
        successions=tuple(successions),
        models=(),
        others={},
    )


def planned(read: Database, existing: Existing | None = None) -> Plan:
    return plan_keys(read, existing or Existing(), models=MODELS, access_groups=GROUPS, now=NOW)


def only_key(plan: Plan) -> GatewayKeyRecord:
    [addition] = [each for each in plan.additions if each.key is not None]
    assert addition.key is not None
    return addition.key


def after(plan: Plan, before: Existing) -> Existing:
    """What there is once the plan was carried out."""
    keys = [each.key for each in plan.additions if each.key is not None]
    budgets = [each.budget for each in plan.additions if each.budget is not None]
    return Existing([*before.keys, *keys], [*before.budgets, *budgets], before.declared_names)


# Any database


NAMES = st.sampled_from([None, "mine", "mine-2", "", "\x00\n", "ünïcode", "x" * 400, "declared"])
AMOUNTS = (
    st.none() | st.decimals(0, 100, places=12) | st.sampled_from([Decimal(-1), Decimal(10**9)])
)
COUNTS = st.none() | st.integers(-1, 3)
DURATIONS = st.sampled_from([None, "30d", "1mo", "7d", "24h", "12h", "90d", "soon", ""])
LIMITS = st.builds(Limits, AMOUNTS, AMOUNTS, DURATIONS, COUNTS, COUNTS, COUNTS)
MODEL_LISTS = st.lists(
    st.sampled_from(
        ["a", "b", "x/y", "beta", "unknown", NO_MODEL, "all-proxy-models", "all-team-models", "x/*"]
    ),
    max_size=3,
).map(tuple)
HOLDERS = st.builds(
    Holder,
    st.sampled_from(["1", "2", "litellm-dashboard"]),
    st.sampled_from(["blue", "red", "t" * 200]),
    LIMITS,
    st.decimals(0, 50, places=3),
    MODEL_LISTS,
    st.booleans(),
)
TOKENS = st.builds(
    Token,
    st.sampled_from([*(hashlib.sha256(bytes([n])).hexdigest() for n in range(6)), "sk-raw", ""]),
    NAMES,
    st.sampled_from([None, "sk-...abcd", "odd name"]),
    LIMITS,
    st.decimals(0, 50, places=3),
    st.none() | st.sampled_from([NOW - 1, NOW + 1]),
    st.none() | st.sampled_from([NOW - 1, NOW + 1]),
    st.none() | st.just(NOW - 100),
    st.booleans(),
    MODEL_LISTS,
    st.sampled_from([None, "1", "9"]),
    st.sampled_from([None, "1", "2", "litellm-dashboard"]),
    st.sampled_from([None, "shared"]),
    st.lists(st.text(max_size=3) | st.just("t" * 500), max_size=20).map(tuple),
    st.just(()),
)
DATABASES = st.builds(
    lambda tokens, teams, users, shared: database(
        *{each.token: each for each in tokens}.values(),
        teams=teams,
        users=users,
        budgets={"shared": shared},
    ),
    st.lists(TOKENS, max_size=6),
    st.lists(HOLDERS, max_size=3),
    st.lists(HOLDERS, max_size=2),
    LIMITS,
)


@given(DATABASES)
def test_every_key_is_accounted_for_once_and_another_import_adds_none(read: Database) -> None:
    before = Existing(declared_names={"declared"})
    plan = planned(read, before)
    keys = [each.key for each in plan.additions if each.key is not None]
    budgets = [each.budget for each in plan.additions if each.budget is not None]
    left_out = sum(len(names) for text, names in plan.remarks.items() if "left out" in text)
    assert len(keys) + left_out + len(plan.there) == len(read.tokens)
    for values in (
        [key.digest for key in keys],
        [key.id for key in keys],
        [key.name for key in keys] + ["declared"],
        [budget.id for budget in budgets],
        [budget.name for budget in budgets],
    ):
        assert len(set(values)) == len(values)
    for key in keys:
        assert key.name.isprintable()
        assert len(key.tags) <= MOST_TAGS
        assert all(len(tag) <= LONGEST_TAG for tag in key.tags)
        assert all(limit is None or limit > 0 for limit in (key.rpm, key.tpm, key.concurrency))
    for addition in plan.additions:
        if addition.charge is not None:
            charge_row(addition.charge)
    again = planned(read, after(plan, before))
    assert again.additions == []
    assert len(again.there) == len(keys)


@given(MODEL_LISTS, MODEL_LISTS)
def test_a_key_may_call_nothing_that_its_team_may_not(
    own: tuple[str, ...], of_team: tuple[str, ...]
) -> None:
    team = Holder("1", "blue", Limits(), models=of_team)
    key = only_key(planned(database(token(models=own, team_id="1"), teams=[team])))
    alone = only_key(planned(database(token(models=own))))
    team_alone = only_key(planned(database(token(team_id="1"), teams=[team])))
    of_team_alone = "all-team-models" in own and not {"all-proxy-models"} & set(own)
    for model in ("a", "b", "x/y", "unknown", "more"):
        both = covers(alone.models, model) and covers(team_alone.models, model)
        if not of_team_alone:
            assert covers(key.models, model) == both
        elif covers(key.models, model):
            assert covers(team_alone.models, model)


@given(st.integers(1, 1000), st.sampled_from(["s", "m", "h", "d", "w", "mo"]))
def test_no_period_gives_a_budget_more_often_than_before(number: int, unit: str) -> None:
    lengths = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "mo": 30 * 86_400}
    periods = {"hour": 3600, "day": 86_400, "week": 604_800, "month": 30 * 86_400}
    period = period_of(f"{number}{unit}")
    assert period is not None
    if period.name != "total":
        assert periods[period.name] * NEAR >= number * lengths[unit]


# Single rules


@pytest.mark.parametrize(
    ("duration", "period"),
    [
        (None, "total"),
        ("", "total"),
        ("1h", "hour"),
        ("30m", "hour"),
        ("24h", "day"),
        ("1d", "day"),
        ("12h", "day"),
        ("2d", "week"),
        ("7d", "week"),
        ("1w", "week"),
        ("30d", "month"),
        ("31d", "month"),
        ("1mo", "month"),
        ("90d", "total"),
        ("soon", None),
        ("0d", None),
    ],
)
def test_periods_of_budgets(duration: str | None, period: str | None) -> None:
    found = period_of(duration)
    assert (found.name if found is not None else None) == period


def test_a_key_is_found_by_the_text_that_clients_have() -> None:
    key = only_key(planned(database(token("sk-old", shown="sk-...-old"))))
    assert key.digest == key_digest("sk-old")
    assert (key.prefix, key.name) == ("sk-…-old", f"litellm-{key.digest.hex()[:8]}")
    assert key.created_at == NOW - 10


def test_keys_that_cannot_be_used_are_left_out_by_name() -> None:
    plan = planned(
        database(
            token("1", token="sk-plain", alias="plain"),
            token("2", team_id="litellm-dashboard", alias="page"),
            token("3", expires_at=NOW, alias="old"),
        )
    )
    assert plan.additions == []
    assert plan.remarks == {
        "left out: their token is no SHA-256": ["plain"],
        "left out: sessions of LiteLLM's own pages": ["page"],
        "left out: they have expired": ["old"],
    }


def test_names_are_unique_beside_those_that_are_there() -> None:
    there = only_key(planned(database(token("there", alias="mine"))))
    plan = planned(
        database(token("1", alias="mine"), token("2", alias="declared"), token("3", alias="mine")),
        Existing([there], declared_names={"declared"}),
    )
    names = [each.key.name for each in plan.additions if each.key is not None]
    assert names == ["mine-2", "declared-2", "mine-3"]
    [renamed] = plan.remarks.values()
    assert renamed == ["mine → mine-2", "declared → declared-2", "mine → mine-3"]


def test_what_a_key_does_not_say_is_said_by_the_budget_that_it_refers_to() -> None:
    shared = Limits(Decimal(5), Decimal(4), "7d", rpm=1, tpm=2, concurrency=3)
    own = token(limits=Limits(rpm=9), budget_id="b")
    [addition] = planned(database(own, budgets={"b": shared})).additions
    assert addition.key is not None
    assert addition.budget is not None
    assert (addition.key.rpm, addition.key.tpm, addition.key.concurrency) == (9, 2, 3)
    assert (addition.budget.limit, addition.budget.period) == (5 * 10**9, "week")
    assert addition.budget.alert_at == (0.8, 1.0)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"blocked": True}, "blocked"),
        ({"team_id": "1"}, "team is blocked"),
        ({"limits": Limits(rpm=0)}, "limit of 0"),
    ],
)
def test_keys_that_let_nobody_in_are_disabled(values: dict[str, Any], word: str) -> None:
    team = Holder("1", "blue", Limits(), blocked=True)
    plan = planned(database(token(**values), teams=[team]))
    assert not only_key(plan).enabled
    assert any(word in text for text in plan.remarks)


def test_a_rotated_key_is_good_under_its_old_text_for_its_time() -> None:
    new = token("new")
    old = [
        Succession(hashlib.sha256(text).hexdigest(), new.token, until)
        for text, until in ((b"over", NOW - 1), (b"old", NOW + 60), (b"older", NOW + 30))
    ]
    key = only_key(planned(database(new, successions=old)))
    assert (key.previous_digest, key.previous_until) == (key_digest("old"), NOW + 60)
    over = only_key(planned(database(new, successions=old[:1])))
    assert (over.previous_digest, over.previous_until) == (None, None)


def test_what_was_spent_of_a_budget_is_charged_and_of_a_window_that_is_over_not() -> None:
    budget = Limits(Decimal(5))
    team = Holder("1", "blue", Limits(Decimal(50)), spend=Decimal(9))
    plan = planned(
        database(
            token("1", limits=budget, spend=Decimal("1.5"), team_id="1"),
            token("2", limits=budget, spend=Decimal(2), resets_at=NOW - 1, team_id="1"),
            token("3", spend=Decimal(3), team_id="1"),
            teams=[team],
        )
    )
    charges = [each.charge.amount if each.charge else None for each in plan.additions]
    assert charges == [1_500_000_000, None, None, 7_500_000_000]
    tags = [each.charge.tags for each in plan.additions if each.charge is not None]
    assert tags == [("team:blue",), ("team:blue",)]


def test_teams_of_one_name_do_not_share_a_budget() -> None:
    teams = [Holder(id, "blue", Limits(Decimal(5))) for id in ("1", "2")]
    plan = planned(database(token("1", team_id="1"), token("2", team_id="2"), teams=teams))
    subjects = [each.budget.subject for each in plan.additions if each.budget is not None]
    assert subjects == ["team:1", "team:2"]
    tags = [each.key.tags for each in plan.additions if each.key is not None]
    assert tags == [("team:1",), ("team:2",)]


def test_what_has_no_counterpart_is_told_once_with_those_that_it_is_said_of() -> None:
    user = Holder("1", "ann", Limits(Decimal(5)))
    team = Holder("2", "blue", Limits(rpm=5))
    plan = planned(
        database(
            token("1", alias="a", others=("aliases",)),
            token("2", alias="b", others=("aliases", "metadata.guardrails")),
            users=[user],
            teams=[team],
        )
    )
    assert plan.remarks == {
        "without aliases, which has no counterpart": ["a", "b"],
        "without metadata.guardrails, which has no counterpart": ["b"],
        "teams with rpm_limit or tpm_limit, which keys alone have here": ["blue"],
        "users with a budget or limits: declare them at their keys": ["ann"],
    }
