from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalbox.errors import StoreUnavailable
from signalbox.persistence.spool import ChargeSpool, SpoolDamaged, SpoolFull
from signalbox.persistence.stores import Charge
from tests import records

ROOT = Path(__file__).parents[1]

APPENDS_FOR_EVER = """
import sys
from pathlib import Path
from signalbox.persistence.spool import ChargeSpool
from tests import records

spool = ChargeSpool(Path(sys.argv[1]))
while True:
    charge = records.charge()
    spool.append([charge])
    print(charge.request_id, flush=True)
"""


@dataclass
class Ledger:
    """A ledger in memory that takes each request once and may be away."""

    charges: dict[str, Charge] = field(default_factory=dict)
    calls_until_away: int | None = None

    def append_charges(self, charges: Sequence[Charge]) -> None:
        if self.calls_until_away is not None:
            if self.calls_until_away == 0:
                raise StoreUnavailable("the database is away")
            self.calls_until_away -= 1
        for charge in charges:
            self.charges.setdefault(charge.request_id, charge)

    def load_charge(self, request_id: str) -> Charge | None:
        return self.charges.get(request_id)

    def all(self) -> list[Charge]:
        return list(self.charges.values())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "charges.spool"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(records.charges, max_size=4), max_size=4))
def test_what_was_appended_is_replayed_once_and_in_order(batches: list[list[Charge]]) -> None:
    ledger = Ledger()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "charges.spool"
        for batch in batches:
            # A new one each time: nothing is remembered outside the file.
            ChargeSpool(path).append(batch)
        charges = [charge for batch in batches for charge in batch]
        assert ChargeSpool(path).replay(ledger) == len(charges)
        assert ledger.all() == charges
        assert ChargeSpool(path).replay(ledger) == 0


def test_a_spool_that_was_never_needed_leaves_no_file(path: Path) -> None:
    assert ChargeSpool(path).replay(Ledger()) == 0
    assert not path.exists()


def test_the_file_is_its_owners_alone_and_its_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "data" / "charges.spool"
    ChargeSpool(path).append([records.charge()])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_tail_torn_at_any_byte_costs_only_its_own_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some thousand waits for the disk, which are not what is looked at here.
    monkeypatch.setattr("os.fsync", lambda _: None)
    first, torn, later = records.charge(), records.charge(), records.charge()
    ChargeSpool(path).append([first])
    kept = path.stat().st_size
    ChargeSpool(path).append([torn])
    whole = path.read_bytes()
    for cut in range(kept, len(whole)):
        path.write_bytes(whole[:cut])
        ledger = Ledger()
        assert ChargeSpool(path).replay(ledger) == 1
        assert ledger.all() == [first]

        path.write_bytes(whole[:cut])
        ChargeSpool(path).append([later])
        ledger = Ledger()
        assert ChargeSpool(path).replay(ledger) == 2
        assert ledger.all() == [first, later]


def test_every_acknowledged_charge_survives_kill_9(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", APPENDS_FOR_EVER, str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        *whole_lines, _cut = writer.stdout.read().split("\n")
        acknowledged += whole_lines
    ledger = Ledger()
    ChargeSpool(path).replay(ledger)
    assert set(acknowledged) <= ledger.charges.keys()


@pytest.mark.parametrize("calls_until_away", [0, 1, 2])
def test_a_replay_that_the_ledger_breaks_off_is_done_again(
    path: Path, calls_until_away: int
) -> None:
    charges = [records.charge() for _ in range(1100)]
    spool = ChargeSpool(path)
    spool.append(charges)
    ledger = Ledger(calls_until_away=calls_until_away)
    with pytest.raises(StoreUnavailable, match="away"):
        spool.replay(ledger)
    ledger.calls_until_away = None
    assert spool.replay(ledger) == len(charges)
    assert ledger.all() == charges


def test_a_crash_before_the_spool_is_emptied_charges_nobody_twice(path: Path) -> None:
    charges = [records.charge(), records.charge()]
    ChargeSpool(path).append(charges)
    before = path.read_bytes()
    ledger = Ledger()
    ChargeSpool(path).replay(ledger)
    path.write_bytes(before)
    ChargeSpool(path).replay(ledger)
    assert ledger.all() == charges


def test_a_full_spool_names_its_bound_and_keeps_what_it_has(path: Path) -> None:
    charge = records.charge()
    ChargeSpool(path).append([charge])
    bound = path.stat().st_size * 2 - 1
    spool = ChargeSpool(path, max_bytes=bound)
    with pytest.raises(SpoolFull, match=f"bound of {bound}"):
        spool.append([records.charge()])
    ledger = Ledger()
    assert spool.replay(ledger) == 1
    assert ledger.all() == [charge]
    spool.append([records.charge()])


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (b"openai", b"0penai"),
        (b"^.{9}", b""),
        (b"^.*$", b""),
        (b"^", b"\xff\x00"),
        (b"^.*$", b"%08x {}" % crc32(b"{}")),
        (b"^.*$", b"%08x [" % crc32(b"[")),
    ],
    ids=["changed", "no checksum", "empty", "binary", "no charge", "no JSON"],
)
def test_damaged_lines_are_put_aside_and_the_others_replayed(
    path: Path, pattern: bytes, replacement: bytes
) -> None:
    charges = [records.charge() for _ in range(3)]
    ChargeSpool(path).append(charges)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = re.sub(pattern, replacement, lines[1][:-1]) + b"\n"
    path.write_bytes(b"".join(lines))
    ledger = Ledger()
    with pytest.raises(SpoolDamaged, match=r"line 2.*charges\.spool\.damaged") as caught:
        ChargeSpool(path).replay(ledger)
    assert ledger.all() == [charges[0], charges[2]]
    assert caught.value.replayed == 2
    assert caught.value.aside.read_bytes() == lines[1]
    assert ChargeSpool(path).replay(ledger) == 0


def test_a_failed_write_says_why_and_counts_for_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    charge = records.charge()
    spool = ChargeSpool(path)
    spool.append([charge])

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", no_space)
        with pytest.raises(StoreUnavailable, match=r"charges\.spool.*No space left"):
            spool.append([records.charge()])
    ledger = Ledger()
    assert spool.replay(ledger) == 1
    assert ledger.all() == [charge]


def test_a_spool_that_cannot_be_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreUnavailable, match=r"folder.*directory"):
        ChargeSpool(tmp_path / "folder").append([records.charge()])
