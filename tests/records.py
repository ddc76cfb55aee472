"""Records for the tests of what keeps them: made by hand, or drawn by Hypothesis."""

from __future__ import annotations

import random
from collections.abc import Mapping
from hashlib import sha256
from itertools import count
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.ids import RANDOM_BITS, uuid7
from signalbox.persistence.auditing import GATEWAY, audit_of
from signalbox.persistence.record_store import Insert
from signalbox.persistence.record_tables import (
    AMOUNT,
    AUDIT,
    BYTES,
    FLAG,
    INTEGER,
    JSON,
    MANAGED,
    NUMBERS,
    OBJECT,
    OPTIONAL_BYTES,
    OPTIONAL_INTEGER,
    OPTIONAL_TEXT,
    OPTIONAL_TIME,
    TEXT,
    TEXTS,
    TIME,
    Form,
    RecordTable,
)
from signalbox.persistence.records import AuditRecord, GatewayKeyRecord, Managed
from signalbox.persistence.rows import LARGEST
from signalbox.persistence.stores import (
    AttemptCost,
    Charge,
    ManagedStore,
    StateRecord,
    TraceEvent,
    TracePayload,
    TraceRecord,
)
from signalbox.types import NanoUSD, Usage

_seed = random.Random(0)
_milliseconds = count(1_700_000_000_000)


def fresh_id(at_ms: int | None = None) -> str:
    """An id that no record has yet; each sorts after the one before unless a time is given."""
    unix_ms = next(_milliseconds) if at_ms is None else at_ms
    return uuid7(unix_ms, _seed.getrandbits(RANDOM_BITS))


def charge(request_id: str | None = None, amount: int | None = 1_500) -> Charge:
    return Charge(
        id=fresh_id(),
        request_id=request_id or fresh_id(),
        at=1_700_000_000.25,
        key_id="ci",
        model="chat-fast",
        provider="openai",
        route_model="gpt-4o",
        usage=Usage(prompt=10, completion=5),
        amount=None if amount is None else NanoUSD(amount),
        upstream_cost=None,
        reason="answered",
        price_source="config",
        account="ci",
    )


def trace(
    trace_id: str | None = None,
    *,
    started_at: float = 1_700_000_000.0,
    state: str = "done",
    model: str = "chat-fast",
) -> TraceRecord:
    return TraceRecord(
        id=trace_id or fresh_id(),
        started_at=started_at,
        ended_at=started_at + 1,
        door="/v1/chat/completions",
        model=model,
        state=state,
        stream=True,
        status=200,
        key_id="ci",
        key_name="CI",
        attempts=1,
        events=(TraceEvent(seq=0, at=0.0, kind="event", name="admitted", data={"n": 1}),),
        payloads=(TracePayload(seq=0, kind="request", attempt=None, body=b"{}", truncated=False),),
    )


def key(name: str) -> GatewayKeyRecord:
    return GatewayKeyRecord(
        id=fresh_id(),
        name=name,
        digest=sha256(name.encode()).digest(),
        prefix="gateway-sk-abc",
        created_at=1_700_000_000.0,
    )


def audit(action: str = "create", target: str = "it") -> AuditRecord:
    return audit_of(GATEWAY, action, "key", target, id=fresh_id(), at=1_700_000_000.0)


def insert(store: ManagedStore, *managed: Managed) -> None:
    store.change([Insert(record) for record in managed], audit())


def state(name: str, expires_at: float = 1_700_000_000.0) -> StateRecord:
    digest = sha256(name.encode()).digest()
    kept = b"signed" if "tool" in name else None
    return StateRecord(digest, route_id="a:m", key_mark="0123", expires_at=expires_at, state=kept)


# Times are kept to the microsecond, so microseconds are what survives a round trip.
_seconds = st.integers(0, 2**50).map(lambda us: us / 1_000_000)
_milliseconds_taken = st.integers(0, 2**40).map(lambda us: us / 1000)
_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_optional_text = st.none() | _text
_int64 = st.integers(-(2**63), 2**63 - 1)
_optional_int = st.none() | st.just(0) | _int64
_money = _optional_int.map(lambda value: None if value is None else NanoUSD(value))
# Strings of JSON, unlike columns of text, may hold NUL and lone surrogates.
_json_text = st.text(max_size=20)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _json_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_json_text, inner, max_size=3),
    max_leaves=8,
)
_summable = st.none() | st.just(0) | st.integers(-LARGEST, LARGEST)
_summable_money = _summable.map(lambda value: None if value is None else NanoUSD(value))
_usages = st.builds(
    Usage,
    prompt=_summable,
    cached_read=_summable,
    cache_write=_summable,
    completion=_summable,
    reasoning=_summable,
    estimated=st.booleans(),
)
_fresh_ids = st.builds(fresh_id)

charges = st.builds(
    Charge,
    id=_fresh_ids,
    request_id=_fresh_ids,
    at=_seconds,
    key_id=_text,
    model=_text,
    provider=_text,
    route_model=_text,
    usage=_usages,
    amount=_summable_money,
    upstream_cost=_summable_money,
    reason=_text,
    price_source=_text,
    kind=st.sampled_from(["charge", "top_up", "adjustment"]),
    account=_text,
    end_user=_optional_text,
    tags=st.lists(_json_text, max_size=3).map(tuple),
    is_byok=st.booleans(),
    attempts=st.lists(
        st.builds(
            AttemptCost,
            attempt=st.integers(0, 12),
            provider=_json_text,
            model=_json_text,
            cost=_money,
            is_byok=st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
    note=_optional_text,
)

_events = st.lists(
    st.builds(
        TraceEvent,
        seq=st.just(0),
        at=_seconds,
        kind=_text,
        name=_text,
        data=st.dictionaries(_json_text, _json, max_size=3),
    ),
    max_size=4,
).map(lambda events: tuple(replace(event, seq=seq) for seq, event in enumerate(events)))

_payloads = st.lists(
    st.builds(
        TracePayload,
        seq=st.just(0),
        kind=_text,
        attempt=st.none() | st.integers(0, 12),
        body=st.binary(max_size=200),
        truncated=st.booleans(),
    ),
    max_size=3,
).map(lambda payloads: tuple(replace(payload, seq=seq) for seq, payload in enumerate(payloads)))

traces = st.builds(
    TraceRecord,
    id=_fresh_ids,
    started_at=_seconds,
    ended_at=_seconds,
    door=_text,
    model=_text,
    state=_text,
    stream=st.booleans(),
    status=st.integers(100, 599),
    key_id=_text,
    key_name=_text,
    attempts=st.integers(0, 12),
    provider=_optional_text,
    route_model=_optional_text,
    error_code=_optional_text,
    error_message=_optional_text,
    user=_optional_text,
    tags=st.lists(_json_text, max_size=3).map(tuple),
    labels=st.dictionaries(_json_text, _json_text, max_size=3),
    usage=_usages,
    cost=_money,
    first_token_ms=st.none() | _milliseconds_taken,
    duration_ms=_milliseconds_taken,
    events=_events,
    payloads=_payloads,
)

_texts = st.lists(_json_text, max_size=3).map(tuple)
_of_a_form: Mapping[Form, st.SearchStrategy[Any]] = {
    TEXT: _text,
    OPTIONAL_TEXT: _optional_text,
    INTEGER: _int64,
    OPTIONAL_INTEGER: _optional_int,
    AMOUNT: _int64,
    TIME: _seconds,
    OPTIONAL_TIME: st.none() | _seconds,
    FLAG: st.booleans(),
    BYTES: st.builds(lambda: _seed.randbytes(32)),
    OPTIONAL_BYTES: st.none() | st.binary(max_size=40),
    JSON: _json,
    TEXTS: _texts,
    NUMBERS: st.lists(st.floats(0, 2), max_size=3).map(tuple),
    OBJECT: st.dictionaries(_json_text, _json, max_size=3),
}


def _of_a_table(table: RecordTable[Any]) -> st.SearchStrategy[Any]:
    """Records of it. What must be unique is new each time."""
    fields = {field: _of_a_form[form] for field, form in table.fields.items()}
    for field in {*table.key, *(field for fields in table.unique for field in fields)}:
        if table.fields[field] is TEXT:
            fields[field] = _fresh_ids
    return st.builds(table.record, **fields)


_managed = [_of_a_table(table) for table in MANAGED.values()]
managed: st.SearchStrategy[Managed] = st.one_of(_managed)
pairs: st.SearchStrategy[tuple[Managed, Managed]] = st.one_of(
    [st.tuples(kind, kind) for kind in _managed]
)
"""Two of one kind."""
audits: st.SearchStrategy[AuditRecord] = _of_a_table(AUDIT)
