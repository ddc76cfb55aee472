"""Charges that the database would not take, kept in a file until it does.

One line a charge: the CRC-32 of the JSON in eight hexadecimal digits, a space, the ledger's columns
as a JSON object, a newline. The newline is written last, so a line without one was cut short by a
crash before anybody was told that it is safe, and does not count.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from threading import Lock

from signalbox.errors import SignalboxError, StoreUnavailable
from signalbox.persistence.columns import CorruptRow
from signalbox.persistence.rows import LEDGER_COLUMNS, charge_row, read_charge
from signalbox.persistence.stores import Charge, LedgerStore

MAX_BYTES = 64 * 1024 * 1024
"""About 100,000 charges: a quarter of an hour of 100 requests a second without a database."""

_CHARGES_AT_ONCE = 500
_BLOCK = 4096


class SpoolFull(SignalboxError):
    """The spool has reached its bound; nothing of what was given was written."""


class SpoolDamaged(SignalboxError):
    """Lines of the spool were not what was written. They were put aside, the others replayed."""

    def __init__(self, path: Path, aside: Path, lines: Sequence[int], replayed: int) -> None:
        some = ", ".join(map(str, lines[:5])) + (", …" if len(lines) > 5 else "")
        super().__init__(
            f"{len(lines)} lines of the charge spool {path} (line {some}) do not match their "
            f"checksum or are no charge; their bytes are kept in {aside}, and the other {replayed} "
            "charges are in the ledger"
        )
        self.aside = aside
        self.replayed = replayed


class ChargeSpool:
    """An append-only file of charges. Its methods may be called from any thread or process."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._aside = path.with_name(path.name + ".damaged")
        self._max_bytes = max_bytes
        self._lock = Lock()

    def append(self, charges: Sequence[Charge]) -> None:
        """On the disk when it returns; nothing of it counts when it raises.

        Raises `SpoolFull` at the bound, `StoreUnavailable` when the file cannot be written, and
        `ValueError` for a charge that no ledger could keep.
        """
        data = b"".join(_encode(charge) for charge in charges)
        with self._locked("append to") as file:
            end = _end_of_whole_lines(file)
            if end + len(data) > self._max_bytes:
                raise SpoolFull(
                    f"the charge spool {self._path} holds {end} bytes, and {len(data)} more would "
                    f"pass its bound of {self._max_bytes}"
                )
            file.truncate(end)
            file.seek(end)
            try:
                _write_durably(file, data)
            except OSError:
                file.truncate(end)
                raise

    def replay(self, ledger: LedgerStore) -> int:
        """Gives all charges to the ledger and empties the spool; how many it were.

        The spool is emptied last, and the ledger takes a charge once, so a crash in between costs
        nothing but doing it again. Raises `StoreUnavailable` when either cannot be used just now
        (nothing is lost), `SpoolDamaged` when some lines were put aside.
        """
        if not self._path.exists():
            return 0
        with self._locked("replay") as file:
            replayed = 0
            batch: list[Charge] = []
            damaged: dict[int, bytes] = {}
            for number, line in _whole_lines(file):
                try:
                    batch.append(_decode(line))
                except (ValueError, CorruptRow):
                    damaged[number] = line
                if len(batch) == _CHARGES_AT_ONCE:
                    ledger.append_charges(batch)
                    replayed += len(batch)
                    batch = []
            ledger.append_charges(batch)
            replayed += len(batch)
            if damaged:
                self._put_aside(b"".join(damaged.values()))
            file.truncate(0)
            _sync(file)
        if damaged:
            raise SpoolDamaged(self._path, self._aside, list(damaged), replayed)
        return replayed

    def _put_aside(self, data: bytes) -> None:
        with _open_durably(self._aside) as file:
            file.seek(0, os.SEEK_END)
            _write_durably(file, data)

    @contextmanager
    def _locked(self, operation: str) -> Iterator[FileIO]:
        """The open file, which nobody else, in this process or another, changes meanwhile."""
        with self._lock:
            try:
                with _open_durably(self._path) as file:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    yield file
            except OSError as error:
                raise StoreUnavailable(
                    f"could not {operation} the charge spool {self._path}: {error.strerror}"
                ) from error


def _open_durably(path: Path) -> FileIO:
    """Opens for reading and writing; a file that it makes is still there after a crash."""
    try:
        return FileIO(os.open(path, os.O_RDWR), "r+b")
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return file


def _write_durably(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    _sync(file)


def _sync(file: FileIO) -> None:
    if sys.platform == "darwin":
        # Its fsync returns before the drive has written.
        fcntl.fcntl(file, fcntl.F_FULLFSYNC)
    else:
        os.fsync(file.fileno())


def _whole_lines(file: FileIO) -> Iterator[tuple[int, bytes]]:
    """Each line with its number from 1, without what was cut short at the end."""
    file.seek(0)
    with open(file.fileno(), "rb", closefd=False) as lines:
        for number, line in enumerate(lines, 1):
            if line.endswith(b"\n"):
                yield number, line


def _end_of_whole_lines(file: FileIO) -> int:
    """The offset behind the last newline."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK)
        newline = os.pread(file.fileno(), end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _encode(charge: Charge) -> bytes:
    columns = dict(zip(LEDGER_COLUMNS, charge_row(charge), strict=True))
    text = json.dumps(columns, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _decode(line: bytes) -> Charge:
    """Raises `ValueError` or `CorruptRow` for a line that `_encode` did not write."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        raise ValueError("the checksum does not match")
    columns = json.loads(text)
    if not isinstance(columns, dict) or columns.keys() != set(LEDGER_COLUMNS):
        raise ValueError("the columns are not the ledger's")
    return read_charge([columns[name] for name in LEDGER_COLUMNS])
