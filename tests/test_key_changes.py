"""Rotation, revocation, tokens and versions: what becomes of a record, and what stays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.persistence.gateway_keys import key_digest
from signalbox.persistence.key_changes import (
    new_version,
    revoked,
    rotated,
    with_token,
    without_token,
)
from signalbox.persistence.records import GatewayKeyRecord, PresetRecord, UserRecord
from tests import records

_SECRETS = ("digest", "prefix", "previous_digest", "previous_until", "updated_at")


def fields_but(record: GatewayKeyRecord, *names: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__ if name not in names}


@given(st.floats(0, 1e9), st.floats(0, 1e6))
def test_a_rotation_changes_the_secret_and_nothing_else(at: float, overlap: float) -> None:
    record = replace(records.key("k"), rpm=7, owner="u-1", tags=("a",))
    done = rotated(record, at=at, overlap=overlap)
    assert fields_but(done.record, *_SECRETS) == fields_but(record, *_SECRETS)
    assert done.record.digest == key_digest(done.secret.reveal()) != record.digest
    assert done.secret.reveal().startswith(done.record.prefix)
    assert done.record.updated_at == at
    assert not done.ended
    if overlap:
        assert done.record.previous_digest == record.digest
        assert done.record.previous_until == at + overlap
    else:
        assert (done.record.previous_digest, done.record.previous_until) == (None, None)


@pytest.mark.parametrize(("at", "ended"), [(99.0, True), (100.0, False)])
def test_another_rotation_ends_the_overlap_of_the_one_before(at: float, ended: bool) -> None:
    first = rotated(records.key("k"), at=50.0, overlap=50.0)
    second = rotated(first.record, at=at, overlap=10.0)
    assert second.ended is ended
    assert second.record.previous_digest == first.record.digest


def test_a_key_is_revoked_once() -> None:
    over = revoked(records.key("k"), at=5.0)
    assert over.revoked_at == 5.0
    assert revoked(over, at=9.0) == over


def test_a_token_is_kept_as_its_digest_and_the_one_before_is_over() -> None:
    user = UserRecord("u-1", "ada", 0.0, role="viewer")
    first, given_once = with_token(user, at=1.0)
    second, given_again = with_token(given_once, at=2.0)
    assert given_once.token_digest == key_digest(first.reveal())
    assert given_again.token_digest == key_digest(second.reveal()) != given_once.token_digest
    assert without_token(given_again, at=3.0) == replace(user, updated_at=3.0)


def test_versions_count_on_for_each_slug() -> None:
    before = [PresetRecord("a", number, {}, 0.0) for number in (2, 11, 3)]
    made = new_version("a", {"n": 1}, [*before, PresetRecord("b", 40, {}, 0.0)], at=1.0, author="x")
    assert (made.version, made.author, made.document) == (12, "x", {"n": 1})
    assert new_version("c", {}, before, at=1.0, author="x").version == 1
