"""The ledger compared with usage by the hour and with traces: what differs is found and named."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from signalbox.persistence.bookkeeping import GROUPS
from signalbox.persistence.crediting import TOP_UP, entry_of
from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.stores import Charge, ChargeFilter, Difference, Store
from signalbox.types import NanoUSD, Usage
from tests import records
from tests.engines import ENGINES, OpenStore, opener

HOUR = 3600.0
EARLY, LATE = 1_699_999_200.0, 1_699_999_200.0 + 5 * HOUR
"""Full hours."""


@pytest.fixture(params=ENGINES)
def open_store(request: pytest.FixtureRequest) -> OpenStore:
    return opener(request)


@pytest.fixture
def store(open_store: OpenStore, tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(tmp_path)) as store:
        yield store


def at(time: float, **fields: object) -> Charge:
    return replace(records.charge(), at=time, **fields)


def differences(store: Store) -> list[Difference]:
    """As `signalbox ledger verify` finds them."""
    found: list[Difference] = []
    hour = store.next_hour(0.0)
    while hour is not None:
        found += store.usage_differences(hour)
        hour = store.next_hour(hour + HOUR)
    after, page = "", store.trace_differences("", 2)
    while page.last:
        found += page.differences
        after = page.last
        page = store.trace_differences(after, 2)
    return found


def test_books_that_agree_have_no_differences(store: Store) -> None:
    charges = [at(EARLY), at(EARLY + HOUR - 0.000001, amount=None), at(LATE, is_byok=True)]
    store.append_charges([*charges, *charges])
    store.credit(
        entry_of(
            TOP_UP,
            "ci",
            NanoUSD(5),
            "",
            id=records.fresh_id(),
            request_id=records.fresh_id(),
            at=LATE + 9 * HOUR,
        ),
        records.audit(),
    )
    traces = [
        replace(records.trace(each.request_id), usage=each.usage, cost=each.amount)
        for each in charges
    ]
    store.save_traces([*traces, records.trace(state="failed")])
    assert store.next_hour(0.0) == EARLY
    assert store.next_hour(EARLY + HOUR) == LATE
    assert store.next_hour(LATE + HOUR) is None, "a payment is no usage"
    assert differences(store) == []


def test_usage_that_was_changed_is_found_and_made_anew(tmp_path: Path) -> None:
    with closing(SqliteStore.open(tmp_path / "db")) as store:
        store.append_charges([at(EARLY, amount=NanoUSD(7)), at(EARLY), at(LATE)])
        with closing(sqlite3.connect(tmp_path / "db")) as by_hand, by_hand:
            by_hand.execute("UPDATE usage_hourly SET amount_nano_usd = 1 WHERE requests = 2")
            by_hand.execute("DELETE FROM usage_hourly WHERE requests = 1")
        found = differences(store)
        assert [(each.where, each.field, each.ledger, each.found) for each in found] == [
            ("usage", "amount_nano_usd", 1_507, 1),
            ("usage", "requests", 1, 0),
            ("usage", "input_tokens", 10, 0),
            ("usage", "output_tokens", 5, 0),
            ("usage", "amount_nano_usd", 1_500, 0),
        ]
        assert found[0].what.startswith("key ci, account ci, model chat-fast, provider openai")
        audit = records.audit("rebuild", "usage")
        store.rebuild_usage([EARLY, LATE], audit)
        assert differences(store) == []
        assert store.audit(limit=1) == [audit]
        store.append_charges([at(EARLY)])
        assert differences(store) == [], "and goes on from there"


def test_making_usage_anew_changes_nothing_where_it_was_right(store: Store) -> None:
    store.append_charges([at(EARLY), at(LATE, end_user="anna", tags=("a", "b"))])
    before = store.usage(GROUPS)
    store.rebuild_usage([EARLY, LATE], records.audit())
    assert store.usage(GROUPS) == before
    assert differences(store) == []


def test_a_trace_that_says_something_else_than_its_charge_is_found(store: Store) -> None:
    charges = [records.charge() for _ in range(3)]
    store.append_charges(charges)
    costly, talkative, unknown = (
        replace(records.trace(each.request_id), usage=each.usage, cost=each.amount)
        for each in charges
    )
    store.save_traces(
        [
            replace(costly, cost=NanoUSD(9)),
            replace(talkative, usage=Usage(prompt=10, completion=6)),
            replace(unknown, cost=None),
        ]
    )
    found = {each.what: (each.field, each.ledger, each.found) for each in differences(store)}
    assert found == {
        f"request {costly.id}": ("amount_nano_usd", 1_500, 9),
        f"request {talkative.id}": ("usage.completion", 5, 6),
        f"request {unknown.id}": ("amount_nano_usd", 1_500, "unknown"),
    }


def test_a_request_that_was_answered_and_not_charged_is_found(store: Store) -> None:
    answered = records.trace()
    broken = replace(records.trace(state="failed"), first_token_ms=5.0)
    store.save_traces([answered, broken, records.trace(state="failed")])
    assert [(each.what, each.field) for each in differences(store)] == [
        (f"request {answered.id}", "charge"),
        (f"request {broken.id}", "charge"),
    ]


def test_charges_are_listed_page_by_page_newest_first(store: Store) -> None:
    charges = [at(EARLY + step // 2, end_user="anna" if step % 3 else None) for step in range(7)]
    store.append_charges(charges)
    newest_first = sorted(charges, key=lambda each: (each.at, each.id), reverse=True)
    listed: list[Charge] = []
    while page := store.list_charges(
        ChargeFilter(), limit=2, before=(listed[-1].at, listed[-1].id) if listed else None
    ):
        listed += page
    assert listed == newest_first
    wanted = ChargeFilter(user="anna", since=EARLY + 1, until=EARLY + 3, key="ci", account="ci")
    assert store.list_charges(wanted, limit=9) == [
        each for each in newest_first if each.end_user and EARLY + 1 <= each.at < EARLY + 3
    ]
    assert store.list_charges(ChargeFilter(key="nobody"), limit=9) == []


def test_usage_is_summed_by_what_is_asked_for(store: Store) -> None:
    store.append_charges(
        [
            at(EARLY, model="m", amount=NanoUSD(1), upstream_cost=NanoUSD(5), is_byok=True),
            at(EARLY + 1, model="m", amount=None),
            at(LATE, model="n", amount=NanoUSD(3)),
        ]
    )
    by_model = store.usage(["model"])
    assert [(each.group, each.requests, each.amount) for each in by_model] == [
        ({"model": "m"}, 2, 1),
        ({"model": "n"}, 1, 3),
    ]
    assert (by_model[0].byok_requests, by_model[0].unknown_amounts) == (1, 1)
    assert (by_model[0].input_tokens, by_model[0].upstream_cost) == (20, 5)
    [hour] = store.usage(["hour", "key"], since=EARLY, until=LATE)
    assert (hour.group, hour.requests) == ({"hour": EARLY, "key": "ci"}, 2)
    [all_of_it] = store.usage([], where={"model": "n"})
    assert (all_of_it.group, all_of_it.requests) == ({}, 1)
    assert store.usage([], since=LATE + HOUR) == []


@pytest.mark.parametrize("by", [["colour"], ["model", "hour_us; DROP TABLE ledger"]])
def test_usage_is_summed_by_nothing_else(store: Store, by: list[str]) -> None:
    with pytest.raises(ValueError, match="usage is kept by hour, key"):
        store.usage(by)
    with pytest.raises(ValueError, match="usage is kept by hour, key"):
        store.usage([], where={by[-1]: "red"})
