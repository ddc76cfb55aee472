"""The stores as protocols, one a concern, and the records that they keep.

Stores are synchronous and are called from worker threads (`threads.py`). Whatever the engine
raises leaves a store as `StoreUnavailable`. Times are Unix seconds, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from signalbox.persistence.record_store import Change
from signalbox.persistence.records import AuditRecord, Managed
from signalbox.types import NanoUSD, Usage

NOWHERE: Mapping[str, str] = {}

M = TypeVar("M", bound=Managed)


class AttemptCost(msgspec.Struct, frozen=True, array_like=True):
    """What one upstream call of a request cost, whoever paid. A store keeps it as an array."""

    attempt: int
    provider: str
    model: str
    cost: NanoUSD | None
    """None: the price is unknown."""
    is_byok: bool = False


class Charge(msgspec.Struct, frozen=True):
    """One row of the ledger: what one request cost, or a change of a balance. Unique by
    `request_id`."""

    id: str
    request_id: str
    at: float
    key_id: str
    model: str
    """As the client asked for it."""
    provider: str
    route_model: str
    usage: Usage
    amount: NanoUSD | None
    """What the caller is charged; None: the price is unknown."""
    upstream_cost: NanoUSD | None
    reason: str
    """`answered`, `cancelled`, `broken`, `deadline`, or `no_content` (amount 0, insurance)."""
    price_source: str
    kind: str = "charge"
    """`charge`; `top_up` or `adjustment` of a prepaid balance, whose amount is what was added."""
    account: str = ""
    """Who pays: the key's owner, else the key."""
    end_user: str | None = None
    tags: tuple[str, ...] = ()
    is_byok: bool = False
    """Whether a key of the caller's own served it."""
    attempts: tuple[AttemptCost, ...] = ()
    note: str | None = None


class TraceEvent(msgspec.Struct, frozen=True, array_like=True):
    """One fact or lifecycle event of a request, in sequence. A store keeps it as an array."""

    seq: int
    at: float
    """Seconds since the request was received."""
    kind: str
    """`fact`, `event`, or `note`: what is told of an attempt and decided nothing."""
    name: str
    data: Any
    """A mapping of JSON's values, when it comes from a store. To be saved it may also be the fact,
    the transition or the plan itself: nobody changes those, so a store's thread may read them
    while the request's task goes on. Their secrets are not kept; a number that is none (NaN,
    infinity) is kept as null."""


class TracePayload(msgspec.Struct, frozen=True):
    """One body of a request, capped and redacted as configured."""

    seq: int
    kind: str
    """`request`, `upstream_request`, `upstream_response` or `response`."""
    attempt: int | None
    body: bytes
    truncated: bool


class TraceRecord(msgspec.Struct, frozen=True):
    """One request, written once, at its end."""

    id: str
    started_at: float
    ended_at: float
    door: str
    model: str
    state: str
    """`done` or `failed`."""
    stream: bool
    status: int
    """The HTTP status that the client saw (200 for a stream that broke later)."""
    key_id: str
    key_name: str
    attempts: int
    provider: str | None = None
    """Of the attempt that answered."""
    route_model: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    user: str | None = None
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    usage: Usage = msgspec.field(default_factory=Usage)
    cost: NanoUSD | None = None
    first_token_ms: float | None = None
    duration_ms: float = 0.0
    events: tuple[TraceEvent, ...] = ()
    payloads: tuple[TracePayload, ...] = ()


class TraceFilter(msgspec.Struct, frozen=True):
    """Which traces are meant: those to which all of this applies. None: it does not matter."""

    user: str | None = None
    """The end user that the request named."""
    tag: str | None = None
    before: float | None = None
    """Started before, in Unix seconds."""

    def __bool__(self) -> bool:
        return (self.user, self.tag, self.before) != (None, None, None)


class MatchingTraces(msgspec.Struct, frozen=True):
    """What a look at some traces found."""

    ids: tuple[str, ...]
    last: str | None
    """The last one that was looked at; None: there are no more."""


class Swept(msgspec.Struct, frozen=True):
    """What a step of retention did."""

    deleted: int
    """Traces, without those that lost their payloads alone; about how many, where they went by
    days."""
    more: bool
    """Whether there may be others to delete."""


class StateRecord(msgspec.Struct, frozen=True):
    """Who made a piece of state that lives at a provider."""

    digest: bytes
    """Of the state's name or content, and of the gateway key that may refer to it."""
    route_id: str
    key_mark: str
    """Tells the provider's keys apart, whatever their order in the configuration."""
    expires_at: float
    state: bytes | None = None
    """What the provider wants back with a tool call; None: it is the client's to keep."""


class SpendingQuery(msgspec.Struct, frozen=True):
    """What was charged from `since` on and before `until` (Unix seconds; None: to the last), but
    for the requests `without`."""

    scope: str
    """`global`, `key`, `user` (the end user that requests name), `tag` or `account`."""
    subject: str | None
    """The key's id, the end user, the tag or the account; None for `global`."""
    since: float
    until: float | None = None
    without: tuple[str, ...] = ()
    byok: bool = False
    """What callers' own keys cost upstream instead, which is charged to nobody."""


class ChargeFilter(msgspec.Struct, frozen=True):
    """Rows of the ledger, from `since` on and before `until` (Unix seconds). None: all."""

    key: str | None = None
    user: str | None = None
    account: str | None = None
    since: float | None = None
    until: float | None = None


class UsageSum(msgspec.Struct, frozen=True):
    """Usage of all hours together, or of those that have something in common."""

    group: Mapping[str, float | str]
    """What they have in common, by `bookkeeping.GROUPS`: an hour in Unix seconds, tags as JSON."""
    requests: int
    byok_requests: int
    unknown_amounts: int
    """Requests whose price was unknown: they are missing in `amount`."""
    input_tokens: int
    output_tokens: int
    cached_read_tokens: int
    """Among those of the input."""
    reasoning_tokens: int
    """Among those of the output."""
    amount: int
    """Nano-USD, as `upstream_cost`."""
    upstream_cost: int


class Difference(msgspec.Struct, frozen=True):
    """Where the ledger and what should agree with it do not."""

    where: str
    """`usage` or `traces`."""
    what: str
    field: str
    ledger: int | str
    found: int | str


class TracesCompared(msgspec.Struct, frozen=True):
    last: str
    """The id of the last one; empty: there was none."""
    count: int
    differences: tuple[Difference, ...]


class LedgerStore(Protocol):
    def append_charges(self, charges: Sequence[Charge]) -> None:
        """Durable when it returns. A request that is charged already is left as it is."""
        ...

    def load_charge(self, request_id: str) -> Charge | None: ...


class SpendingStore(Protocol):
    def spent(self, queries: Sequence[SpendingQuery]) -> list[NanoUSD]:
        """What was charged, in the order of the queries, all of one moment. Exact; unknown amounts
        are none. Raises `ValueError` for a scope without its subject."""
        ...

    def balances(self, accounts: Sequence[str] | None = None) -> dict[str, NanoUSD]:
        """What was paid in less what was taken away, by account (None: all of them). Accounts of
        which neither is known are not there. What was charged is not taken off."""
        ...

    def credit(self, entry: Charge, audit: AuditRecord) -> Charge:
        """Adds a `top_up` or an `adjustment`; durable, with its audit, when it returns.

        The same `request_id` again changes nothing, and what was added then is returned. Raises
        `RecordExists` where that is something else.
        """
        ...


class BookkeepingStore(Protocol):
    """`bookkeeping.py` says what is compared, and how."""

    def list_charges(
        self, wanted: ChargeFilter, *, limit: int, before: tuple[float, str] | None = None
    ) -> list[Charge]:
        """Newest first; `before`: time and id of the last one of the page before."""
        ...

    def usage(
        self,
        by: Sequence[str],
        *,
        since: float = 0.0,
        until: float = 1e12,
        where: Mapping[str, str] = NOWHERE,
        limit: int = 10_000,
    ) -> list[UsageSum]:
        """Summed by these of `bookkeeping.GROUPS`, in their order, for the hours that begin in the
        time and have these values. Raises `ValueError` for others."""
        ...

    def next_hour(self, after: float) -> float | None: ...

    def usage_differences(self, hour: float) -> list[Difference]: ...

    def trace_differences(self, after: str, limit: int) -> TracesCompared: ...

    def rebuild_usage(self, hours: Sequence[float], audit: AuditRecord) -> None:
        """Makes the usage of these hours anew from the ledger, in one transaction with its audit.

        While charges come in on PostgreSQL it may have to be asked again (`StoreUnavailable`).
        """
        ...


class TraceStore(Protocol):
    def save_traces(self, traces: Sequence[TraceRecord]) -> None:
        """Durable when it returns. A trace that is there already is left as it is."""
        ...

    def load_trace(self, trace_id: str) -> TraceRecord | None: ...

    def list_traces(
        self,
        *,
        limit: int,
        before: str | None = None,
        state: str | None = None,
        model: str | None = None,
    ) -> list[TraceRecord]:
        """Newest first, without events and payloads. `before` is a trace id."""
        ...

    def delete_traces(self, *, older_than: float, limit: int) -> int:
        """Deletes at most `limit` traces that started before `older_than`; how many it was."""
        ...

    def match_traces(self, wanted: TraceFilter, *, after: str | None, limit: int) -> MatchingTraces:
        """Looks at `limit` traces, the oldest first, from the one behind `after` on."""
        ...

    def delete_these_traces(self, ids: Sequence[str]) -> int:
        """With their events and payloads, a hundred in a transaction; how many were there."""
        ...

    def sweep_traces(
        self,
        *,
        now: float,
        older_than: float,
        limit: int,
        payloads_older_than: float | None = None,
    ) -> Swept:
        """A step of retention: deletes traces that started before `older_than`, at most `limit`, or
        whole days at once where the engine keeps them apart; there a trace goes with its day, when
        all of it is that old. Then the payloads of traces whose ids are older than the other time,
        in the same way. Also makes ready what the days after `now` need.
        """
        ...


class ProviderStateStore(Protocol):
    def save_state(self, records: Sequence[StateRecord]) -> None:
        """Durable when it returns. Of two records with one digest the later one stays."""
        ...

    def load_state(self, digests: Sequence[bytes]) -> list[StateRecord]:
        """Those that are there, in any order, past their time or not."""
        ...

    def delete_state(self, *, expired_at: float, limit: int) -> int:
        """Deletes at most `limit` records that had expired by then; how many it was."""
        ...


class ManagedStore(Protocol):
    """`record_store.py` says what each of these does, raises and promises."""

    def records(self, kind: type[M], where: Mapping[str, object] | None = None) -> list[M]: ...

    def page(
        self,
        kind: type[M],
        *,
        limit: int,
        after: Sequence[object] | None = None,
        where: Mapping[str, object] | None = None,
    ) -> list[M]: ...

    def record(self, kind: type[M], *key: object) -> M | None: ...

    def change(self, changes: Sequence[Change], audit: AuditRecord, *more: AuditRecord) -> None: ...

    def audit(
        self, *, limit: int, before: str | None = None, where: Mapping[str, object] | None = None
    ) -> list[AuditRecord]: ...

    def change_mark(self) -> int:
        """A number that differs after another process has committed a change."""
        ...

    def wait_for_change(self, mark: int, seconds: float) -> int:
        """The change mark, as soon as it is another one than `mark`, or after `seconds`.

        Sooner where `stop_waiting` was called, or where the engine cannot tell whose change it was.
        One thread at a time waits.
        """
        ...

    def stop_waiting(self) -> None:
        """Whoever waits for a change returns at once; where nobody does, the next one."""
        ...


class Store(
    LedgerStore,
    SpendingStore,
    BookkeepingStore,
    TraceStore,
    ProviderStateStore,
    ManagedStore,
    Protocol,
):
    """One engine that keeps all of it."""

    def ping(self) -> None:
        """Raises `StoreUnavailable` when the database does not answer."""
        ...

    def close(self) -> None: ...
