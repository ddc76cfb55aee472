"""The master keys, under which secrets are sealed: from the environment, else from a file.

A master key is 32 random bytes, written as base64 or hexadecimal. Several stand one after the
other, separated by commas or lines: the first seals, all of them unseal. Known by name is only a
key's id: eight bytes of a SHA-256 over a value that is derived from the key, so that it may be
shown, logged and kept beside what the key has sealed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_SH, flock
from pathlib import Path

import msgspec

from signalbox.errors import SignalboxError
from signalbox.types import Secret

VARIABLE = "SIGNALBOX_MASTER_KEY"
FILE = "master.key"
KEY_BYTES = 32
ID_BYTES = 8
FORM = f"{KEY_BYTES} bytes in base64 or hexadecimal, or several, separated by commas"
MAX_FILE_BYTES = 64 * 1024
"""Some thousand keys; what is larger is some other file."""

_CHECK = b"signalbox master key: check value"
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{43}=?")


class VaultError(SignalboxError):
    """A secret can be neither sealed nor unsealed just now. The message holds no secret."""


class VaultLocked(VaultError):
    """The master key that is needed is not here, or cannot be read."""


class MasterKey(msgspec.Struct, frozen=True):
    id: str
    """16 hexadecimal digits."""
    secret: Secret
    """Base64."""

    @property
    def bytes(self) -> bytes:
        return base64.b64decode(self.secret.reveal())


def new_master_key() -> MasterKey:
    return _key(secrets.token_bytes(KEY_BYTES))


def parse_master_keys(text: str) -> tuple[MasterKey, ...]:
    """The keys in their order, each once. Raises `ValueError` saying what was expected."""
    words = [word for word in re.split(r"[,\s]+", text) if word]
    keys = {key.id: key for key in map(_read_key, words)}
    return tuple(keys.values())


def _read_key(text: str) -> MasterKey:
    if _HEX.fullmatch(text):
        return _key(bytes.fromhex(text))
    plain = text.replace("-", "+").replace("_", "/")
    if not _BASE64.fullmatch(plain):
        raise ValueError(f"expected {FORM}")
    return _key(base64.b64decode(plain.rstrip("=") + "="))


def _key(material: bytes) -> MasterKey:
    check = hmac.digest(material, _CHECK, "sha256")
    return MasterKey(
        hashlib.sha256(check).hexdigest()[: 2 * ID_BYTES],
        Secret(base64.b64encode(material).decode()),
    )


class MasterKeys:
    """Where the keys come from: `given`, the environment's, in whose place nothing else is read;
    else the file, which is made when a key is first needed."""

    def __init__(self, given: Secret | None, file: Path) -> None:
        self._given = given
        self._file = file

    @property
    def place(self) -> str:
        return str(self._file) if self._given is None else VARIABLE

    @property
    def in_file(self) -> bool:
        return self._given is None

    @property
    def file(self) -> Path:
        return self._file

    def read(self) -> tuple[MasterKey, ...]:
        """All keys, the one that seals first; none where there is no file. Raises `VaultLocked`."""
        text = self._read_file() if self._given is None else self._given
        if text is None:
            return ()
        try:
            keys = parse_master_keys(text.reveal())
        except ValueError as error:
            raise VaultLocked(f"{self.place}: {error}") from None
        if not keys:
            raise VaultLocked(f"{self.place} is empty: expected {FORM}")
        return keys

    def first(self) -> MasterKey:
        """The key that seals, which is made where there is none. Raises `VaultLocked`."""
        if not (keys := self.read()):
            self._make()
            keys = self.read()
        return keys[0]

    def write(self, keys: Sequence[MasterKey]) -> None:
        """The file, readable by its owner alone, and on the disk when this returns: what is sealed
        under a key may not be there before the key is. Raises `VaultLocked`."""
        fresh = self._file.with_name(f"{self._file.name}.new")
        with self._saying("written"):
            _write_durably(fresh, keys)
            fresh.replace(self._file)
            _sync_folder(self._file.parent)

    @contextmanager
    def together(self) -> Iterator[None]:
        """While a sealed secret is written: no rotation ends meanwhile, and drops its key."""
        with self._locked(LOCK_SH):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While the file is changed. Whoever seals, on this machine, waits."""
        with self._locked(LOCK_EX):
            yield

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        if self._given is not None:
            yield
            return
        lock = self._file.with_name(f"{self._file.name}.lock")
        with self._saying("locked"):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    def _make(self) -> None:
        """The file with a new key, unless another process has made it meanwhile."""
        fresh = self._file.with_name(f"{self._file.name}.{secrets.token_hex(8)}")
        with self._saying("made"):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                _write_durably(fresh, [new_master_key()])
                with suppress(FileExistsError):
                    os.link(fresh, self._file)
                _sync_folder(self._file.parent)
            finally:
                fresh.unlink(missing_ok=True)

    @contextmanager
    def _saying(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise VaultLocked(f"{self._file} cannot be {done}: {error.strerror}") from None

    def _read_file(self) -> Secret | None:
        try:
            with self._file.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                if mode & 0o077:
                    raise VaultLocked(
                        f"{self._file} has the mode {mode:04o}, so that others than its owner may"
                        f" use it; `chmod 600 {self._file}` mends that, and a new key"
                        " (`signalbox master-key rotate`) what they may have read"
                    )
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise VaultLocked(f"{self._file} cannot be read: {error.strerror}") from None
        if len(content) > MAX_FILE_BYTES or not content.isascii():
            raise VaultLocked(f"{self._file}: expected {FORM}")
        return Secret(content.decode())


def _write_durably(path: Path, keys: Sequence[MasterKey]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.writelines(f"{key.secret.reveal()}\n".encode() for key in keys)
        file.flush()
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    """What was renamed in it is renamed after a power failure too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
