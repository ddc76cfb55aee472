"""What operators manage: kept as given, changed whole or not at all, and never without an audit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.persistence.auditing import COMMAND_LINE, audit_of
from signalbox.persistence.record_store import (
    Delete,
    Insert,
    RecordExists,
    RecordMissing,
    Update,
)
from signalbox.persistence.record_tables import GATEWAY_KEYS, MANAGED
from signalbox.persistence.records import (
    AuditRecord,
    ByokKeyRecord,
    GatewayKeyRecord,
    Managed,
    PresetRecord,
    UserRecord,
)
from signalbox.persistence.stores import Store
from tests import records
from tests.engines import OpenStore

# One store serves all examples of a property: the records' keys are new each time.
on_one_store = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def again(store: Store, record: Managed) -> Managed | None:
    table = MANAGED[type(record)]
    return store.record(type(record), *table.key_of(record))


@on_one_store
@given(records.managed, records.audits)
def test_records_are_read_as_they_were_written(
    store: Store, record: Managed, audit: AuditRecord
) -> None:
    store.change([Insert(record)], audit)
    assert again(store, record) == record
    assert record in store.records(type(record))
    assert audit in store.audit(limit=10_000)


@on_one_store
@given(records.pairs)
def test_an_updated_record_takes_the_place_of_the_one_before(
    store: Store, pair: tuple[Managed, Managed]
) -> None:
    record, other = pair
    table = MANAGED[type(record)]
    changed = replace(other, **{field: getattr(record, field) for field in table.key})
    records.insert(store, record)
    store.change([Update(changed, was=record)], records.audit("update"))
    assert again(store, record) == changed
    store.change([Delete(changed)], records.audit("delete"))
    assert again(store, record) is None


def test_records_are_listed_in_the_order_of_their_table(store: Store) -> None:
    newer, older = records.key("newer"), replace(records.key("older"), created_at=1.0)
    records.insert(store, newer, older)
    assert store.records(GatewayKeyRecord) == [older, newer]
    versions = [PresetRecord("short", version, {}, 1.0) for version in (10, 9, 2)]
    records.insert(store, *versions)
    assert store.records(PresetRecord, {"slug": "short"}) == versions[::-1]


@on_one_store
@given(st.integers(1, 5), st.integers(0, 12), st.lists(st.integers(0, 3), max_size=12))
def test_pages_hold_each_record_once_in_order(
    store: Store, limit: int, gone: int, times: list[int]
) -> None:
    owner = records.fresh_id()
    keys = [
        replace(records.key(f"{owner} {n}"), created_at=t, owner=owner) for n, t in enumerate(times)
    ]
    records.insert(store, *keys)
    found: list[GatewayKeyRecord] = []
    after = None
    while page := store.page(GatewayKeyRecord, limit=limit, after=after, where={"owner": owner}):
        assert len(page) <= limit
        found += page
        after = GATEWAY_KEYS.place_of(page[-1])
        assert GATEWAY_KEYS.is_place(after)
        if len(found) == gone:  # A page goes on from its place, be that one still there or not.
            store.change([Delete(page[-1])], records.audit("delete"))
    assert found == sorted(keys, key=GATEWAY_KEYS.place_of)


@pytest.mark.parametrize(
    "place", [(), (1,), ("1", "a"), (1, 2), (True, "a"), (1 << 63, "a"), (1.0, "a")]
)
def test_what_is_no_place_is_known(place: tuple[object, ...]) -> None:
    assert not GATEWAY_KEYS.is_place(place)


def test_a_change_is_written_whole_or_not_at_all(store: Store) -> None:
    kept, taken = records.key("kept"), replace(records.key("new"), name="kept")
    records.insert(store, kept)
    audited = store.audit(limit=10)
    with pytest.raises(RecordExists, match="same name"):
        store.change([Insert(records.key("other")), Insert(taken)], records.audit())
    assert store.records(GatewayKeyRecord) == [kept]
    assert store.audit(limit=10) == audited


@pytest.mark.parametrize("field", ["name", "digest"])
def test_a_name_or_a_digest_is_taken_once_also_when_revoked(store: Store, field: str) -> None:
    key = replace(records.key("ci"), revoked_at=5.0)
    other = records.key("other")
    records.insert(store, key, other)
    same = replace(records.key("new"), **{field: getattr(key, field)})
    with pytest.raises(RecordExists, match=f"same {field}"):
        records.insert(store, same)
    with pytest.raises(RecordExists, match=f"same {field}"):
        store.change(
            [Update(replace(other, **{field: getattr(key, field)}))], records.audit("update")
        )
    assert store.records(GatewayKeyRecord) == [key, other]


def test_fields_that_are_unique_together_may_be_alike_alone(store: Store) -> None:
    first = ByokKeyRecord(records.fresh_id(), "ci", "openai", "…abcd", b"sealed", 1.0)
    second = replace(first, id=records.fresh_id(), provider="anthropic")
    records.insert(store, first, second)
    with pytest.raises(RecordExists, match="same key_id and provider"):
        records.insert(store, replace(first, id=records.fresh_id()))


def test_what_is_not_there_or_was_changed_meanwhile_is_not_changed(store: Store) -> None:
    user = UserRecord(records.fresh_id(), "ada", 1.0)
    with pytest.raises(RecordMissing, match="users"):
        store.change([Update(user)], records.audit("update"))
    with pytest.raises(RecordMissing, match="users"):
        store.change([Delete(user)], records.audit("delete"))
    records.insert(store, user)
    theirs = replace(user, role="viewer")
    store.change([Update(theirs)], records.audit("update"))
    with pytest.raises(RecordMissing, match="meanwhile"):
        store.change([Update(replace(user, role="admin"), was=user)], records.audit("update"))
    assert again(store, user) == theirs


def test_the_audit_is_read_page_by_page_newest_first(store: Store) -> None:
    audits = [records.audit("create", str(number)) for number in range(5)]
    for audit in audits:
        store.change([], audit)
    first = store.audit(limit=2)
    assert first == audits[:-3:-1]
    assert store.audit(limit=10, before=first[-1].id) == audits[2::-1]
    assert store.audit(limit=10, where={"target": "3"}) == [audits[3]]


def test_an_audit_holds_no_digest(store: Store) -> None:
    key = records.key("ci")
    audit = audit_of(
        COMMAND_LINE, "create", "key", key.id, id=records.fresh_id(), at=1.0, after=key
    )
    store.change([Insert(key)], audit)
    [kept] = store.audit(limit=1)
    assert kept == audit
    assert kept.after["name"] == "ci"
    assert "digest" not in kept.after


def test_the_change_mark_tells_others_changes_and_not_ones_own(
    open_store: OpenStore, tmp_path: Path
) -> None:
    with closing(open_store(tmp_path)) as gateway, closing(open_store(tmp_path)) as command_line:
        before = gateway.change_mark()
        records.insert(gateway, records.key("own"))
        assert gateway.change_mark() == before
        records.insert(command_line, records.key("other"))
        assert gateway.change_mark() != before
        assert [key.name for key in gateway.records(GatewayKeyRecord)] == ["own", "other"]


def test_whoever_waits_for_a_change_is_woken_by_anothers(
    open_store: OpenStore, tmp_path: Path
) -> None:
    with (
        closing(open_store(tmp_path)) as gateway,
        closing(open_store(tmp_path)) as command_line,
        ThreadPoolExecutor(1) as waiter,
    ):
        for name in ("one", "two"):
            mark = gateway.change_mark()
            waiting = waiter.submit(until_another_mark, gateway, mark)
            records.insert(command_line, records.key(name))
            assert waiting.result(30) != mark


def test_whoever_waits_is_let_go(store: Store) -> None:
    mark = store.change_mark()
    with ThreadPoolExecutor(1) as waiter:
        # An engine may return from the first wait at once.
        waiter.submit(store.wait_for_change, mark, 0.0).result(30)
        waiting = waiter.submit(store.wait_for_change, mark, 3600.0)
        store.stop_waiting()
        assert waiting.result(30) == mark


def test_a_wait_ends_after_its_time(store: Store) -> None:
    mark = store.change_mark()
    assert [store.wait_for_change(mark, 0.01) for _ in range(3)] == [mark] * 3


def until_another_mark(store: Store, mark: int) -> int:
    while (found := store.wait_for_change(mark, 3600.0)) == mark:
        pass
    return found
