"""Callers' own keys that are stored for a gateway key: which are used, where, and what then."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from signalbox.persistence.gateway_keys import key_digest
from signalbox.persistence.master_keys import FILE, MasterKeys, new_master_key
from signalbox.persistence.record_store import Delete
from signalbox.persistence.records import ByokKeyRecord, GatewayKeyRecord
from signalbox.persistence.sealed_records import with_secret
from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.stores import Store
from signalbox.persistence.vault import Vault
from signalbox.simulator import Step
from signalbox.types import Secret
from tests import records
from tests.gateway import (
    Gateway,
    Provider,
    config_for,
    eventually,
    gateway,
    simulated_provider,
)
from tests.simulator_client import chat

STRICT, LENIENT = "gateway-sk-strict-0123456789", "gateway-sk-lenient-0123456789"
STORED, BROUGHT = "sk-stored-0123456789", "sk-brought-0123456789"
POOLED = {"one": "sk-one-1", "two": "sk-two-1"}


@pytest.fixture(scope="module")
def one() -> Iterator[Provider]:
    with simulated_provider("one") as provider:
        yield provider


@pytest.fixture(scope="module")
def two() -> Iterator[Provider]:
    with simulated_provider("two") as provider:
        yield provider


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    with closing(SqliteStore.open(folder / "signalbox.db")) as store:
        yield store


def gateway_key(text: str, *, byok_fallback: bool = False) -> GatewayKeyRecord:
    made = records.key(text)
    return replace(made, digest=key_digest(text), byok_fallback=byok_fallback)


def stored(key: GatewayKeyRecord, provider: str, vault: Vault) -> ByokKeyRecord:
    record = ByokKeyRecord(records.fresh_id(), key.id, provider, "…6789", b"", 1.0)
    return with_secret(vault, record, Secret(STORED))


@pytest.fixture(scope="module")
def running(
    one: Provider, two: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """Both keys have one of their own stored for provider `one`."""
    folder = tmp_path_factory.mktemp("byok")
    vault = Vault(MasterKeys(None, folder / FILE))
    strict, lenient = gateway_key(STRICT), gateway_key(LENIENT, byok_fallback=True)
    with opened(folder) as store:
        records.insert(
            store, strict, lenient, stored(strict, "one", vault), stored(lenient, "one", vault)
        )
    with gateway(config_for(one, two), data_dir=folder) as started:
        yield started


def ask(running: Gateway, key: str, byok: Mapping[str, str] | None = None) -> httpx.Response:
    extra: dict[str, Any] = {} if byok is None else {"extra": {"byok": byok}}
    return running.post(chat(model="m", **extra), authorization=f"Bearer {key}")


def used(provider: Provider) -> list[str]:
    return [received["key"] for received in provider.received()]


def plays(one: Provider, two: Provider, *first: Step) -> None:
    one.plays(*first)
    two.plays()


def test_the_stored_key_goes_to_its_provider_and_nobody_else(
    running: Gateway, one: Provider, two: Provider
) -> None:
    plays(one, two, Step(status=503), Step(status=503))
    answered = ask(running, STRICT)
    assert answered.status_code == 200
    assert used(one) == [STORED, STORED]
    assert used(two) == [POOLED["two"]]


def test_a_key_that_comes_with_the_request_beats_the_stored_one(
    running: Gateway, one: Provider, two: Provider
) -> None:
    plays(one, two)
    assert ask(running, STRICT, {"one": BROUGHT}).status_code == 200
    assert used(one) == [BROUGHT]
    # For another provider it leaves the stored one in its place; callers' own go first.
    plays(one, two, Step(status=503), Step(status=503))
    assert ask(running, STRICT, {"two": BROUGHT}).status_code == 200
    assert used(one) + used(two) in ([STORED, STORED, BROUGHT], [BROUGHT])


def test_what_is_the_callers_is_charged_by_its_provider_alone(
    running: Gateway, one: Provider, two: Provider
) -> None:
    plays(one, two)
    answered = ask(running, STRICT)
    trace_id = answered.headers["x-request-id"]
    with opened(running.data_dir) as store:
        charge = eventually(lambda: store.load_charge(trace_id), lambda found: found is not None)
    assert charge is not None
    assert charge.amount == 0
    assert charge.upstream_cost
    assert charge.is_byok
    trace = running.trace(trace_id)
    granted = [e["data"] for e in trace["events"] if e["name"] == "LeaseGranted"]
    assert [each["callers_own"] for each in granted] == [True]
    assert STORED not in json.dumps(trace)


def test_a_strict_keys_own_failure_is_not_covered_by_the_gateways_key(
    running: Gateway, one: Provider, two: Provider
) -> None:
    plays(one, two, Step(status=401))
    refused = ask(running, STRICT)
    assert refused.status_code == 401
    assert used(one) == [STORED]
    assert used(two) == []
    plays(one, two, Step(status=429))
    assert ask(running, STRICT).status_code == 200
    assert used(one) == [STORED]
    assert used(two) == [POOLED["two"]]


@pytest.mark.parametrize("status", [401, 402, 403, 429])
@pytest.mark.parametrize("stream", [False, True])
def test_where_it_may_the_gateways_key_stands_in_for_one_that_fails(
    status: int, stream: bool, running: Gateway, one: Provider, two: Provider
) -> None:
    plays(one, two, Step(status=status))
    answered = running.post(chat(model="m", stream=stream), authorization=f"Bearer {LENIENT}")
    assert answered.status_code == 200
    assert used(one) == [STORED, POOLED["one"]]
    assert used(two) == []
    trace_id = answered.headers["x-request-id"]
    trace = running.trace(trace_id)
    moves = [e["data"]["reason"] for e in trace["events"] if e["kind"] == "event"]
    assert "the gateway's own key stands in for the caller's" in moves
    assert replayed(running, trace_id).returncode == 0
    with opened(running.data_dir) as store:
        charge = store.load_charge(trace_id)
    # The gateway's call is charged as any other.
    assert charge is not None
    assert charge.amount
    assert not charge.is_byok


def replayed(running: Gateway, trace_id: str) -> subprocess.CompletedProcess[str]:
    place = running.log.parent
    command = [sys.executable, "-m", "signalbox", "replay", trace_id]
    return subprocess.run(
        [*command, "--data-dir", str(running.data_dir)],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_fault_of_the_provider_is_no_reason_to_stand_in(
    running: Gateway, one: Provider, two: Provider
) -> None:
    plays(one, two, Step(status=503), Step(status=503))
    assert ask(running, LENIENT).headers["x-signalbox-provider"] == "two"
    assert used(one) == [STORED, STORED]


def test_a_stored_key_comes_and_goes_while_the_gateway_runs(
    running: Gateway, one: Provider, two: Provider
) -> None:
    vault = Vault(MasterKeys(None, running.data_dir / FILE))
    text = "gateway-sk-later-0123456789"
    key = gateway_key(text)
    own = stored(key, "two", vault)

    def first_used() -> tuple[list[str], list[str]]:
        plays(one, two)
        ask(running, text)
        return used(one), used(two)

    with opened(running.data_dir) as store:
        records.insert(store, key, own)
        eventually(first_used, lambda found: found == ([], [STORED]))
        store.change([Delete(own)], records.audit("delete"))
        eventually(first_used, lambda found: found == ([POOLED["one"]], []))


def test_a_stored_key_that_cannot_be_opened_is_not_covered_either(
    one: Provider, two: Provider, tmp_path: Path
) -> None:
    elsewhere = Vault(MasterKeys(new_master_key().secret, tmp_path / FILE))
    strict, lenient = gateway_key(STRICT), gateway_key(LENIENT, byok_fallback=True)
    with opened(tmp_path) as store:
        locked = [stored(key, "one", elsewhere) for key in (strict, lenient)]
        records.insert(store, strict, lenient, *locked)
    with gateway(config_for(one, two), data_dir=tmp_path) as running:
        [needed] = {key.id for key in elsewhere.keys.read()}
        assert f"the master key {needed} is needed" in running.output
        plays(one, two)
        assert ask(running, STRICT).headers["x-signalbox-provider"] == "two"
        plays(one, two, Step(status=503))
        two.plays(Step(status=503), then="repeat_last")
        failed = ask(running, STRICT)
        assert failed.status_code == 503
        assert used(one) == []
        # What comes with the request needs no master key, and a lenient key has the gateway's.
        plays(one, two)
        assert ask(running, STRICT, {"one": BROUGHT}).status_code == 200
        assert ask(running, LENIENT).status_code == 200
        assert used(one) == [BROUGHT, POOLED["one"]]
