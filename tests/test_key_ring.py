"""Which gateway key a digest stands for: until when, whose, and whether its owner may call."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from signalbox.actors.key_ring import GatewayKey, KeyRing
from signalbox.actors.rate_limiter import KeyLimits
from signalbox.persistence.record_store import Insert, Update
from signalbox.persistence.records import GatewayKeyRecord, UserRecord
from tests import records
from tests.fakes import InlineWorkers, MemoryStore

OWNER = UserRecord("u-1", "ada", 0.0)
DECLARED = GatewayKey(
    "declared:ci", "ci", b"declared", KeyLimits("declared:ci", None, None, None), account="ada"
)


class Ring(KeyRing):
    """With its store and its clock in hand."""

    def __init__(self, *managed: GatewayKeyRecord | UserRecord) -> None:
        self.store, self.now = MemoryStore(), 1000.0
        for record in managed:
            records.insert(self.store, record)
        super().__init__(self.store, InlineWorkers(), [DECLARED], lambda: self.now)

    def account_of(self, digest: bytes) -> str | None:
        key = self.find(digest)
        return key.account if key else None


def record(digest: bytes = b"current") -> GatewayKeyRecord:
    return replace(records.key("k"), digest=digest, expires_at=None, revoked_at=None)


async def test_the_key_before_a_rotation_is_good_until_its_overlap_ends() -> None:
    rotated = replace(record(), previous_digest=b"before", previous_until=2000.0)
    ring = Ring(rotated)
    await ring.load()
    ring.now = 1999.9
    before, current = ring.find(b"before"), ring.find(b"current")
    assert before == current
    assert before is not None
    assert before.id == rotated.id
    ring.now = 2000.0
    assert ring.find(b"before") is None
    assert ring.find(b"current") == current


@pytest.mark.parametrize("change", [{"enabled": False}, {"revoked_at": 1.0}, {"expires_at": 999.0}])
async def test_a_key_that_is_over_is_not_found_by_either_of_its_digests(
    change: dict[str, object],
) -> None:
    rotated = replace(record(), previous_digest=b"before", previous_until=2000.0)
    ring = Ring(replace(rotated, **change))
    await ring.load()
    assert ring.find(b"before") is None
    assert ring.find(b"current") is None


async def test_a_key_that_expires_is_good_until_then() -> None:
    ring = Ring(replace(record(), expires_at=1001.0))
    await ring.load()
    assert ring.find(b"current") is not None
    ring.now = 1001.0
    assert ring.find(b"current") is None


async def test_an_owner_pays_by_id_also_for_a_declared_key_that_names_them() -> None:
    ring = Ring(replace(record(), owner=OWNER.id))
    assert ring.account_of(b"declared") == "ada"
    records.insert(ring.store, OWNER)
    await ring.load()
    assert ring.account_of(b"declared") == OWNER.id
    assert ring.account_of(b"current") == OWNER.id
    # Another configuration is put in force without another look at the database.
    ring.declare([replace(DECLARED, digest=b"another")])
    assert ring.account_of(b"another") == OWNER.id
    assert ring.find(b"declared") is None


async def test_the_keys_of_a_disabled_user_are_disabled_until_the_user_is_enabled() -> None:
    ring = Ring(replace(record(), owner=OWNER.id), replace(OWNER, enabled=False))
    await ring.load()
    assert ring.find(b"declared") is None
    assert ring.find(b"current") is None
    ring.store.change([Update(OWNER)], records.audit("enable"))
    await ring.load()
    assert ring.find(b"declared") is not None
    assert ring.find(b"current") is not None


async def test_a_key_without_an_owner_is_an_account_of_its_own() -> None:
    key = record()
    ring = Ring(key)
    ring.store.change([Insert(replace(OWNER, name=key.id))], records.audit("create"))
    await ring.load()
    assert ring.account_of(b"current") == key.id
