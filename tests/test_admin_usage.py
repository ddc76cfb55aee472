"""What was used is told by what one asks for, and the rows of the ledger behind it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from signalbox.persistence.stores import AttemptCost, Charge
from signalbox.types import NanoUSD
from tests import records
from tests.admin_room import AdminRoom, room_in
from tests.test_admin_resources import listed, refused, told

MIDNIGHT = 1_700_006_400.0
HOUR = 3600.0


def charge(at: float, amount: int | None = 1_000_000_000, **fields: Any) -> Charge:
    return replace(records.charge(amount=amount), at=MIDNIGHT + at, **fields)


CHARGES = (
    charge(0, model="a", tags=("x",), end_user="=ada"),
    charge(HOUR, model="a", tags=("x", "y")),
    charge(25 * HOUR, model="b", amount=None),
    charge(26 * HOUR, model="b", key_id="other", is_byok=True),
)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AdminRoom]:
    with room_in(tmp_path) as room:
        room.store.append_charges(CHARGES)
        yield room


def sums(room: AdminRoom, query: str) -> dict[tuple[Any, ...], tuple[int, str]]:
    rows = told(room.ask("GET", "/usage", query=query.encode()))["data"]
    return {tuple(row["group"].values()): (row["requests"], row["amount"]) for row in rows}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {("a",): (2, "2.000000000"), ("b",): (2, "1.000000000")}),
        ("by=day", {(MIDNIGHT,): (2, "2"), (MIDNIGHT + 24 * HOUR,): (2, "1")}),
        ("by=tag", {("x",): (2, "2"), ("y",): (1, "1"), ("",): (2, "1")}),
        ("by=model,key", {("a", "ci"): (2, "2"), ("b", "ci"): (1, "0"), ("b", "other"): (1, "1")}),
        ("by=user&user==ada", {("=ada",): (1, "1")}),
        (
            f"by=model&since={MIDNIGHT + HOUR}&until={MIDNIGHT + 26 * HOUR}",
            {("a",): (1, "1"), ("b",): (1, "0")},
        ),
        ("by=key&key=nobody", {}),
    ],
)
def test_usage_is_summed_by_what_one_asks(
    room: AdminRoom, query: str, expected: dict[tuple[Any, ...], tuple[int, str]]
) -> None:
    found = sums(room, query.replace("user==", "user=%3D"))
    assert {group: (count, float(amount)) for group, (count, amount) in found.items()} == {
        group: (count, float(amount)) for group, (count, amount) in expected.items()
    }


def test_prices_that_were_unknown_and_callers_own_keys_are_counted(room: AdminRoom) -> None:
    [a, b] = told(room.ask("GET", "/usage"))["data"]
    assert (a["unknown_amounts"], b["unknown_amounts"], b["byok_requests"]) == (0, 1, 1)
    assert (a["input_tokens"], a["output_tokens"]) == (20, 10)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("by=colour", "by"),
        ("by=", "by"),
        ("by=model,,key", "by"),
        ("since=soon", "since"),
        ("x=1", "x"),
    ],
)
def test_what_usage_is_not_kept_by_is_refused(room: AdminRoom, query: str, param: str) -> None:
    error = refused(room.ask("GET", "/usage", query=query.encode()), 400, "invalid_value")
    assert error["param"] == param


def test_a_spreadsheet_gets_the_same_and_no_formula(room: AdminRoom) -> None:
    answer = room.ask("GET", "/usage.csv", query=b"by=user,model")
    assert answer.status == 200
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert {(row["user"], row["model"], row["requests"]) for row in rows} == {
        ("'=ada", "a", "1"),
        ("", "a", "1"),
        ("", "b", "2"),
    }


def test_the_ledger_is_read_page_by_page_newest_first(room: AdminRoom) -> None:
    found = listed(room, "/ledger")
    assert [row["request_id"] for row in found] == [each.request_id for each in CHARGES[::-1]]
    assert [row["amount"] for row in found] == ["1", None, "1", "1"]
    [other] = listed(room, "/ledger", "&key=other")
    assert other["is_byok"]
    early = listed(room, "/ledger", f"&until={MIDNIGHT + 1}")
    assert [row["user"] for row in early] == ["=ada"]


def test_a_row_tells_what_each_call_cost(room: AdminRoom) -> None:
    attempts = (AttemptCost(1, "a", "m", None), AttemptCost(2, "b", "m", NanoUSD(5), True))
    room.store.append_charges([charge(50 * HOUR, attempts=attempts)])
    row = listed(room, "/ledger")[0]
    assert [(each["provider"], each["cost"]) for each in row["attempts"]] == [
        ("a", None),
        ("b", "0.000000005"),
    ]
