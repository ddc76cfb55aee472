"""What was spent and what was paid in, on every engine, against the rule in plain words."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.persistence.crediting import ADJUSTMENT, TOP_UP, entry_of
from signalbox.persistence.record_store import RecordExists
from signalbox.persistence.stores import Charge, SpendingQuery, Store
from signalbox.types import NanoUSD
from tests import records
from tests.engines import OpenStore
from tests.fakes import counted

HOUR = 3600.0

on_one_store = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


_times = st.tuples(
    st.integers(100, 103), st.sampled_from([0.0, 0.000001, 1800.0, 3599.999999])
).map(lambda part: part[0] * HOUR + part[1])
# Some that are parts of others, and what JSON, LIKE and lists have of their own.
_tags = st.sampled_from(["a", "A", "a,b", ",", '"', '","', "%", "_", "!", "\\", "ä", "\ud800", ""])
_subjects = {
    "global": st.none(),
    "key": st.sampled_from(["k1", "k2", "nobody"]),
    "user": st.sampled_from(["anna", "ben", "nobody"]),
    "tag": _tags,
    "account": st.sampled_from(["k1", "team", "nobody"]),
}
_charges = st.builds(
    lambda **fields: replace(records.charge(), **fields),
    at=_times,
    key_id=st.sampled_from(["k1", "k2"]),
    amount=st.none() | st.integers(0, 10**12).map(NanoUSD),
    end_user=st.sampled_from([None, "anna", "ben"]),
    tags=st.lists(_tags, max_size=3).map(tuple),
    account=st.sampled_from(["k1", "team"]),
    model=st.sampled_from(["m", "n"]),
    kind=st.sampled_from(["charge", "charge", TOP_UP, ADJUSTMENT]),
    is_byok=st.booleans(),
    upstream_cost=st.none() | st.integers(0, 10**12).map(NanoUSD),
)


def _queries(charges: list[Charge]) -> st.SearchStrategy[SpendingQuery]:
    ids = [charge.request_id for charge in charges]
    return st.sampled_from(sorted(_subjects)).flatmap(
        lambda scope: st.builds(
            SpendingQuery,
            scope=st.just(scope),
            subject=_subjects[scope],
            since=st.just(0.0) | _times,
            until=st.none() | _times,
            without=st.lists(st.sampled_from([*ids, records.fresh_id()]), unique=True).map(tuple),
            byok=st.booleans(),
        )
    )


_asked = st.lists(_charges, max_size=12).flatmap(
    lambda charges: st.tuples(st.just(charges), st.lists(_queries(charges), max_size=4))
)


@on_one_store
@given(_asked)
def test_what_was_spent_is_the_sum_of_the_charges_that_are_asked_for(
    store: Store, drawn: tuple[list[Charge], list[SpendingQuery]]
) -> None:
    charges, queries = drawn
    before = store.spent(queries)
    store.append_charges([*charges, *charges[:1]])
    store.append_charges(charges[1:])  # As when a spool is replayed.
    after = store.spent(queries)
    assert [now - then for now, then in zip(after, before, strict=True)] == [
        sum(counted(query, charge) for charge in charges) for query in queries
    ]


def test_a_long_list_of_requests_is_left_out(store: Store) -> None:
    charges = [records.charge(amount=1) for _ in range(1200)]
    store.append_charges(charges)
    without = tuple(charge.request_id for charge in charges[100:])
    [spent] = store.spent([SpendingQuery("key", "ci", 0.0, without=without)])
    assert spent == 100


@pytest.mark.parametrize("scope", sorted({*_subjects} - {"global"}))
def test_a_scope_without_its_subject_is_refused(store: Store, scope: str) -> None:
    with pytest.raises(ValueError, match=scope):
        store.spent([SpendingQuery(scope, None, 0.0)])


# Balances


def paid(account: str, amount: int, kind: str = TOP_UP, request_id: str | None = None) -> Charge:
    return entry_of(
        kind,
        account,
        NanoUSD(amount),
        "paid by invoice",
        id=records.fresh_id(),
        request_id=request_id or records.fresh_id(),
        at=1_700_000_000.0,
    )


def test_a_balance_is_what_was_paid_in_less_what_was_taken_away(store: Store) -> None:
    store.append_charges([replace(records.charge(amount=7), account="team")])
    assert store.balances() == store.balances(["team"]) == {}
    store.credit(paid("team", 1_000), records.audit())
    store.credit(paid("team", -300, ADJUSTMENT), records.audit())
    store.credit(paid("other", 5), records.audit())
    assert store.balances() == {"team": 700, "other": 5}
    assert store.balances(["team", "nobody"]) == {"team": 700}
    [spent] = store.spent([SpendingQuery("account", "team", 0.0)])
    assert spent == 7, "what was paid in is no usage"


def test_a_payment_counts_once_and_is_audited_once(store: Store) -> None:
    first = paid("team", 1_000)
    again = replace(first, id=records.fresh_id(), at=first.at + 1)
    audit = records.audit("top_up", "team")
    assert store.credit(first, audit) == first
    assert store.credit(again, records.audit("top_up", "team")) == first
    assert store.balances() == {"team": 1_000}
    assert store.audit(limit=5) == [audit]


def test_a_request_id_is_not_taken_for_another_payment(store: Store) -> None:
    first = paid("team", 1_000)
    store.credit(first, records.audit())
    with pytest.raises(RecordExists):
        store.credit(paid("team", 2_000, request_id=first.request_id), records.audit())
    charge = records.charge()
    store.append_charges([charge])
    with pytest.raises(RecordExists):
        store.credit(paid("team", 2_000, request_id=charge.request_id), records.audit())
    assert store.balances() == {"team": 1_000}


def test_a_payment_is_seen_by_other_processes(
    store: Store, open_store: OpenStore, tmp_path: Path
) -> None:
    with closing(open_store(tmp_path)) as other:
        before = other.change_mark()
        store.credit(paid("team", 1), records.audit())
        assert other.change_mark() != before


@pytest.mark.parametrize(
    ("kind", "account", "amount"),
    [
        (TOP_UP, "team", 0),
        (TOP_UP, "team", -1),
        (TOP_UP, "", 1),
        (ADJUSTMENT, "team", 0),
        ("charge", "team", 1),
    ],
)
def test_what_changes_no_balance_is_no_payment(kind: str, account: str, amount: int) -> None:
    with pytest.raises(ValueError, match=r"expected|changes nothing"):
        paid(account, amount, kind)
