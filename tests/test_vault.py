"""Secrets at rest: what was sealed opens in its place, under its master key, and not elsewhere."""

from __future__ import annotations

import base64
import copy
import fcntl
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.cli import main
from signalbox.cli.common import new_id
from signalbox.persistence import master_keys, record_store, sealed_records
from signalbox.persistence.auditing import GATEWAY, audit_of
from signalbox.persistence.master_keys import (
    FILE,
    VARIABLE,
    MasterKey,
    MasterKeys,
    VaultError,
    VaultLocked,
    new_master_key,
    parse_master_keys,
)
from signalbox.persistence.records import AuditRecord, ByokKeyRecord, ProviderKeyRecord
from signalbox.persistence.sealed_records import rotate, sealed_under, secret_of, with_secret
from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.stores import Store
from signalbox.persistence.vault import CannotUnseal, Vault, key_id_of
from signalbox.types import Secret
from tests import records
from tests.gateway import clean_environ

NOWHERE = Path("/nowhere/master.key")
CONTEXT = "byok_keys 0190 openai"
PLAIN = "sk-the-plain-text-0123456789"
ONE, OTHER = new_master_key(), new_master_key()

texts = st.text(st.characters(), max_size=60)


def keys_of(*keys: MasterKey) -> MasterKeys:
    return MasterKeys(Secret(",".join(key.secret.reveal() for key in keys)), NOWHERE)


def vault_of(*keys: MasterKey) -> Vault:
    return Vault(keys_of(*keys))


SEALED = vault_of(ONE).seal(Secret(PLAIN), CONTEXT)


# Sealing


@given(texts, texts)
def test_what_is_sealed_opens_in_its_place(text: str, context: str) -> None:
    vault = vault_of(ONE)
    sealed = vault.seal(Secret(text), context)
    assert vault.unseal(sealed, context) == Secret(text)
    assert vault.seal(Secret(text), context) != sealed, "a nonce was used twice"


def test_each_changed_bit_is_refused() -> None:
    for bit in range(8 * len(SEALED)):
        changed = bytearray(SEALED)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(VaultError):
            vault_of(ONE).unseal(bytes(changed), CONTEXT)


@given(st.binary(max_size=100) | st.integers(0, len(SEALED) - 1).map(lambda end: SEALED[:end]))
def test_what_was_never_sealed_is_refused(data: bytes) -> None:
    for candidate in (data, SEALED + data + b"!"):
        with pytest.raises(VaultError):
            vault_of(ONE).unseal(candidate, CONTEXT)


@given(texts)
def test_what_was_sealed_for_another_place_is_refused(context: str) -> None:
    sealed = vault_of(ONE).seal(Secret(PLAIN), context)
    with pytest.raises(CannotUnseal, match="another place"):
        vault_of(ONE).unseal(sealed, f"{context} ")


def test_another_key_does_not_open_it_and_the_error_says_which_would() -> None:
    with pytest.raises(VaultLocked) as refused:
        vault_of(OTHER).unseal(SEALED, CONTEXT)
    assert str(refused.value) == f"the master key {ONE.id} is needed, and {VARIABLE} has {OTHER.id}"


def test_another_key_of_the_same_id_does_not_open_it() -> None:
    """The id only finds the key; it is the key that opens."""
    liar = Vault(keys_of(ONE))
    liar._known = {ONE.id: replace(OTHER, id=ONE.id)}
    with pytest.raises(CannotUnseal):
        liar.unseal(SEALED, CONTEXT)


def test_the_first_key_seals_and_all_unseal() -> None:
    both = vault_of(OTHER, ONE)
    assert both.unseal(SEALED, CONTEXT) == Secret(PLAIN)
    assert key_id_of(both.seal(Secret(PLAIN), CONTEXT)) == OTHER.id


# Nothing tells


def told_of(thing: Any) -> Iterator[str]:
    """All that may be made of it without being asked to reveal it."""
    ways: list[Callable[[Any], Any]] = [
        repr,
        str,
        lambda it: f"{it!r} {it} {it!a}",
        lambda it: "%s %r" % (it, it),  # noqa: UP031 - one of the ways
        lambda it: json.dumps(it, default=str),
        lambda it: msgspec.json.encode(it, enc_hook=repr),
        lambda it: msgspec.to_builtins(it, enc_hook=repr),
        msgspec.structs.asdict,
        copy.deepcopy,
        lambda it: it.__reduce_ex__(2),
        vars,
    ]
    for way in ways:
        try:
            yield repr(way(thing))
        except Exception as error:
            yield "".join(traceback.format_exception(error)) + repr(error.args)


def test_no_key_and_no_plain_text_is_in_what_is_told() -> None:
    master = ONE.secret.reveal()
    vault = vault_of(ONE)
    unsealed = vault.unseal(SEALED, CONTEXT)
    errors: list[BaseException] = []
    attempts: list[Callable[[], object]] = [
        lambda: vault_of(OTHER).unseal(SEALED, CONTEXT),
        lambda: vault.unseal(SEALED, "elsewhere"),
        lambda: vault.unseal(SEALED[:-1] + b"!", CONTEXT),
        lambda: vault.unseal(PLAIN.encode(), CONTEXT),
        lambda: MasterKeys(Secret(master + "!"), NOWHERE).read(),
        lambda: MasterKeys(Secret(f"{master},{PLAIN}"), NOWHERE).read(),
    ]
    for attempt in attempts:
        with pytest.raises(VaultError) as refused:
            attempt()
        errors.append(refused.value)
    things = [ONE, vault, vault.keys, vault.keys.read(), unsealed, *errors]
    told = "\n".join(text for thing in things for text in told_of(thing))
    assert ONE.id in told
    for secret in (master, master.rstrip("="), ONE.bytes.hex(), repr(ONE.bytes), PLAIN):
        assert secret not in told
    assert PLAIN.encode() not in SEALED
    assert ONE.bytes not in SEALED


# Where the master key comes from


@given(st.binary(min_size=32, max_size=32))
def test_a_key_is_read_in_every_spelling(material: bytes) -> None:
    [key] = parse_master_keys(base64.b64encode(material).decode())
    assert key.bytes == material
    spellings = [
        material.hex(),
        material.hex().upper(),
        base64.b64encode(material).decode().rstrip("="),
        base64.urlsafe_b64encode(material).decode(),
    ]
    assert parse_master_keys(",".join(spellings)) == (key,)
    assert parse_master_keys("\n".join(spellings)) == (key,)


@pytest.mark.parametrize(
    "text",
    ["short", "x" * 43 + "!", "0" * 63, "0" * 65, base64.b64encode(bytes(31)).decode(), "é" * 43],
)
def test_a_key_of_another_form_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(VaultLocked) as refused:
        MasterKeys(Secret(text), NOWHERE).read()
    assert str(refused.value) == f"{VARIABLE}: expected {master_keys.FORM}"


def test_the_file_is_made_when_something_is_sealed_and_not_before(tmp_path: Path) -> None:
    file = tmp_path / "data" / FILE
    vault = Vault(MasterKeys(None, file))
    with pytest.raises(VaultLocked, match=f"{ONE.id} is needed, and {file} is not there"):
        vault.unseal(SEALED, CONTEXT)
    assert not file.parent.exists()
    sealed = vault.seal(Secret(PLAIN), CONTEXT)
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(file.parent) == [FILE]
    assert Vault(MasterKeys(None, file)).unseal(sealed, CONTEXT) == Secret(PLAIN)


def test_who_needs_the_file_at_the_same_time_gets_the_same_key(tmp_path: Path) -> None:
    file = tmp_path / FILE
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: MasterKeys(None, file).first().id, range(64)))
    assert set(found) == {key.id for key in MasterKeys(None, file).read()}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o777])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / FILE
    keys = MasterKeys(None, file)
    keys.first()
    file.chmod(mode)
    with pytest.raises(VaultLocked, match=f"mode 0{mode:o}.*chmod 600 {file}"):
        keys.read()
    file.chmod(0o400)
    assert keys.read()


@pytest.mark.parametrize("content", [b"", b"\xff" * 32, b"junk\n", b"A" * 70_000])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / FILE
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(VaultLocked, match=str(file)):
        Vault(MasterKeys(None, file)).seal(Secret(PLAIN), CONTEXT)
    assert file.read_bytes() == content


def test_the_environments_key_is_in_the_place_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / FILE
    sealed = Vault(MasterKeys(None, file)).seal(Secret(PLAIN), CONTEXT)
    given = Vault(MasterKeys(ONE.secret, file))
    with pytest.raises(VaultLocked, match=f"has {ONE.id}; {file} is not read beside it"):
        given.unseal(sealed, CONTEXT)
    assert key_id_of(given.seal(Secret(PLAIN), CONTEXT)) == ONE.id


def test_a_key_that_was_put_into_the_file_meanwhile_is_found(tmp_path: Path) -> None:
    keys = MasterKeys(None, tmp_path / FILE)
    gateway = Vault(keys)
    old = gateway.seal(Secret(PLAIN), CONTEXT)
    assert gateway.unseal(old, CONTEXT) == Secret(PLAIN)
    keys.write([OTHER, *keys.read()])
    by_another = vault_of(OTHER).seal(Secret(PLAIN), CONTEXT)
    assert gateway.unseal(by_another, CONTEXT) == Secret(PLAIN)
    assert key_id_of(gateway.seal(Secret(PLAIN), CONTEXT)) == OTHER.id


# Sealed records, and another master key for them

PROVIDER_KEY = ProviderKeyRecord(records.fresh_id(), "openai", "…6789", b"", 1.0, rpm=5)
BYOK_KEYS = [
    ByokKeyRecord(records.fresh_id(), "ci", provider, "…6789", b"", 1.0)
    for provider in ("anthropic", "openai")
]


def plain_of(record: ProviderKeyRecord | ByokKeyRecord) -> Secret:
    return Secret(f"sk-{record.id}-0123456789")


def fill(store: Store, vault: Vault) -> None:
    sealed: list[sealed_records.SealedRecord] = [PROVIDER_KEY, *BYOK_KEYS]
    with vault.held():
        records.insert(store, *(with_secret(vault, record, plain_of(record)) for record in sealed))


def check(store: Store, vault: Vault) -> None:
    """Everything is there and opens, and nothing else has changed."""
    found = sealed_records.sealed_records(store)
    assert [replace(record, sealed=b"") for record in found] == [PROVIDER_KEY, *BYOK_KEYS]
    assert [secret_of(vault, record) for record in found] == [plain_of(record) for record in found]


def rotation_audit(key_id: str) -> AuditRecord:
    """With an id that also a forked process does not make again."""
    return audit_of(GATEWAY, "rotate", "master_key", key_id, id=new_id(), at=1.0)


def test_a_secret_opens_in_its_own_row_only(store: Store) -> None:
    vault = vault_of(ONE)
    fill(store, vault)
    check(store, vault)
    anthropic, openai = (store.record(ByokKeyRecord, record.id) for record in BYOK_KEYS)
    assert openai is not None and anthropic is not None  # noqa: PT018
    moved = replace(anthropic, sealed=openai.sealed)
    with pytest.raises(CannotUnseal, match=f"byok_keys {anthropic.id} anthropic: .*another place"):
        secret_of(vault, moved)
    with pytest.raises(CannotUnseal, match=f"byok_keys {openai.id} azure"):
        secret_of(vault, replace(openai, provider="azure"))
    with pytest.raises(VaultLocked, match=f"byok_keys {openai.id} openai: the master key {ONE.id}"):
        secret_of(vault_of(OTHER), openai)


def test_a_rotation_seals_everything_under_a_new_key_and_drops_the_old_one(
    store: Store, tmp_path: Path
) -> None:
    keys = MasterKeys(None, tmp_path / FILE)
    gateway, old = Vault(keys), keys.first()
    fill(store, gateway)
    check(store, gateway)
    rotation = rotate(Vault(keys), store, rotation_audit)
    [new] = keys.read()
    assert rotation == sealed_records.Rotation(new.id, 3, (old.id,))
    assert sealed_under(store) == {new.id: 3}
    assert [audit.target for audit in store.audit(limit=9) if audit.action == "rotate"] == [new.id]
    check(store, gateway)
    with pytest.raises(VaultLocked):
        check(store, vault_of(old))


def test_a_rotation_of_the_environments_keys_takes_the_first_and_says_what_may_go(
    store: Store,
) -> None:
    fill(store, vault_of(ONE))
    both = vault_of(OTHER, ONE)
    assert rotate(both, store, rotation_audit) == sealed_records.Rotation(OTHER.id, 3, (ONE.id,))
    check(store, vault_of(OTHER))
    again = rotate(vault_of(OTHER), store, rotation_audit)
    assert again == sealed_records.Rotation(OTHER.id, 3, ())


def test_a_rotation_that_cannot_open_everything_changes_nothing(
    store: Store, tmp_path: Path
) -> None:
    keys = MasterKeys(None, tmp_path / FILE)
    fill(store, Vault(keys))
    broken = replace(PROVIDER_KEY, id=records.fresh_id(), sealed=b"no sealed secret")
    records.insert(store, broken)
    before = keys.read(), sealed_records.sealed_records(store)
    with pytest.raises(CannotUnseal, match=f"provider_keys {broken.id} openai"):
        rotate(Vault(keys), store, rotation_audit)
    assert (keys.read(), sealed_records.sealed_records(store)) == before
    assert sealed_under(store)["?"] == 1


class Meddled:
    """A store in which another process, that knows of no lock, adds a secret before each change."""

    def __init__(self, store: Store, meddler: Vault, times: int) -> None:
        self._store = store
        self._meddler = meddler
        self._left = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def change(self, changes: Any, audit: AuditRecord) -> None:
        if self._left:
            self._left -= 1
            record = replace(PROVIDER_KEY, id=records.fresh_id())
            records.insert(self._store, with_secret(self._meddler, record, plain_of(record)))
            for other in self._store.records(ByokKeyRecord)[:1]:
                changed = with_secret(self._meddler, other, plain_of(other))
                self._store.change([record_store.Update(changed)], records.audit("update"))
        self._store.change(changes, audit)


def test_what_others_seal_under_the_old_key_meanwhile_is_not_lost(
    store: Store, tmp_path: Path
) -> None:
    keys = MasterKeys(None, tmp_path / FILE)
    fill(store, Vault(keys))
    [old] = keys.read()
    meddled: Any = Meddled(store, vault_of(old), times=2)
    rotation = rotate(Vault(keys), meddled, rotation_audit)
    assert rotation.sealed == 5
    assert sealed_under(store) == {rotation.key: 5}
    for record in sealed_records.sealed_records(store):
        assert secret_of(Vault(keys), record) == plain_of(record)


def test_no_rotation_ends_while_a_secret_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, command = (Vault(MasterKeys(None, tmp_path / FILE)) for _ in range(2))
    waits: Future[None] = Future()

    def lock(descriptor: int, how: int) -> None:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            waits.set_result(None)
            fcntl.flock(descriptor, how)

    monkeypatch.setattr(master_keys, "flock", lock)
    with closing(SqliteStore.open(tmp_path / "contract.db")) as store, ThreadPoolExecutor() as pool:
        with gateway.held():
            sealed = with_secret(gateway, PROVIDER_KEY, plain_of(PROVIDER_KEY))
            rotation = pool.submit(rotate, command, store, rotation_audit)
            either: list[Future[Any]] = [waits, rotation]
            wait(either, return_when=FIRST_COMPLETED)
            assert not rotation.done()
            records.insert(store, sealed)
        assert rotation.result().sealed == 1
        [found] = store.records(ProviderKeyRecord)
        assert secret_of(gateway, found) == plain_of(PROVIDER_KEY)


# A process that dies in the middle

TRACED = {
    code.__wrapped__.__code__ if hasattr(code, "__wrapped__") else code.__code__
    for code in (
        MasterKeys.write,
        master_keys._write_durably,
        master_keys._sync_folder,
        sealed_records.rotate,
        sealed_records._seal_anew,
        record_store.RecordStore.change,
        record_store._perform,
        SqliteStore._transaction,
    )
}
"""What changes the file or the database."""
KILLED = 9


def rotate_and_die(folder: Path, at_line: int) -> bool:
    """Rotates in a process of its own that ends itself before that line of the rotation's code;
    whether it lived that long."""
    child = os.fork()
    if child == 0:
        # Whatever happens, the child is no second test run.
        try:
            with closing(SqliteStore.open(folder / "contract.db")) as store:
                rotating = Vault(MasterKeys(None, folder / FILE))
                sys.settrace(partial(_dying_tracer, [at_line]))
                rotate(rotating, store, rotation_audit)
                sys.settrace(None)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED)
    return code == KILLED


def _dying_tracer(left: list[int], frame: FrameType, event: str, arg: object) -> Any:
    if frame.f_code not in TRACED:
        return None
    if event == "line":
        left[0] -= 1
        if left[0] < 0:
            os._exit(KILLED)
    return partial(_dying_tracer, left)


@pytest.mark.slow
def test_a_rotation_that_dies_at_any_line_loses_nothing_and_can_be_repeated(
    tmp_path: Path,
) -> None:
    template = tmp_path / "template"
    keys = MasterKeys(None, template / FILE)
    with closing(SqliteStore.open(template / "contract.db")) as store:
        fill(store, Vault(keys))
    states: set[tuple[int, int]] = set()
    line = 0
    died = True
    while died:
        folder = tmp_path / str(line)
        shutil.copytree(template, folder)
        died = rotate_and_die(folder, line)
        keys = MasterKeys(None, folder / FILE)
        with closing(SqliteStore.open(folder / "contract.db")) as store:
            check(store, Vault(keys))
            there = [key.id for key in keys.read()]
            [(sealing, count)] = sealed_under(store).items()
            assert count == 3
            states.add((len(there), there.index(sealing)))
            rotate(Vault(keys), store, rotation_audit)
            check(store, Vault(keys))
            assert len(keys.read()) == 1
        shutil.rmtree(folder)
        line += 1
    # Before and after; the new key beside the old one; all of it under the new one already.
    assert states == {(1, 0), (2, 1), (2, 0)}


# The commands


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - clean_environ().keys():
        monkeypatch.delenv(name)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["master-key", *arguments], catch_exceptions=False)

    return invoke


def rows(told: Result) -> list[list[str]]:
    return [line.split() for line in told.output.splitlines()[1:]]


def test_the_commands_show_ids_and_rotate(cli: Callable[..., Result], tmp_path: Path) -> None:
    assert "no master key" in cli("show").output
    assert "no database" in cli("rotate").stderr
    data = tmp_path / "data"
    keys = MasterKeys(None, data / FILE)
    with closing(SqliteStore.open(data / "signalbox.db")) as store:
        fill(store, Vault(keys))
        [old] = keys.read()
        shown = cli("show")
        assert rows(shown) == [[old.id, "seals", "3"]]
        assert old.secret.reveal() not in shown.output
        rotated = cli("rotate")
        [new] = keys.read()
        assert rotated.output.startswith(f"Sealed under the master key {new.id}: 3\n")
        check(store, Vault(keys))
    assert rows(cli("show")) == [[new.id, "seals", "3"]]


def test_the_commands_tell_what_the_variable_lacks(
    cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(SqliteStore.open(tmp_path / "data" / "signalbox.db")) as store:
        fill(store, vault_of(ONE))
        monkeypatch.setenv(VARIABLE, OTHER.secret.reveal())
        assert rows(cli("show")) == [[OTHER.id, "seals", "0"], [ONE.id, "MISSING", "3"]]
        assert f"the master key {ONE.id} is needed" in cli("rotate").stderr
        (tmp_path / ".env").write_text(f"{VARIABLE}={ONE.secret.reveal()}\n")
        monkeypatch.setenv(VARIABLE, f"{OTHER.bytes.hex()},{ONE.secret.reveal()}")
        assert rows(cli("show")) == [[OTHER.id, "seals", "0"], [ONE.id, "unseals", "3"]]
        assert f"{VARIABLE} may go without {ONE.id}." in cli("rotate").output
        check(store, vault_of(OTHER))
        monkeypatch.delenv(VARIABLE)
        assert rows(cli("show"))[0] == [ONE.id, "seals", "0"]
        monkeypatch.setenv(VARIABLE, PLAIN)
        refused = cli("show")
        assert (refused.exit_code, refused.output) == (
            1,
            f"signalbox: {VARIABLE}: expected {master_keys.FORM}\n",
        )
