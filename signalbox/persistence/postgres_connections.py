"""Connections to PostgreSQL: made when wanted, kept for the next call, never waited for for ever.

A server that restarts closes its connections. Those that lie idle are looked at before they are
used, so the next call finds a new one; a call under way fails, and whoever made it decides.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Condition
from typing import Any, TypeVar

import psycopg
from psycopg import RawCursor, adapters, errors
from psycopg.abc import PQGen
from psycopg.adapt import AdaptersMap, Buffer, Dumper, Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format, TransactionStatus
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader

from signalbox.config_postgres import PostgresUrl
from signalbox.errors import StoreUnavailable

T = TypeVar("T")

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 5
LOCK_SECONDS = 3
"""Less than a statement may take, so that what it waited for is told."""
PATIENCE_SECONDS = 8.0
"""For the answer to one statement. The server gives up before that, unless it is frozen or cut off.
Connecting and one statement are less than the 15 s after which the ledger's askers give up."""
MOST_CONNECTIONS = 8
"""Two writers, three readers and some to spare; a server has a hundred for all of its clients."""

_OPTIONS = {
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": "60s",
    # What is told to be durable is. A database or a role may have another default.
    "synchronous_commit": "on",
}
_PARAMETERS = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "signalbox",
    # A server that is gone without a word is noticed within half a minute, also while idle.
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": int(PATIENCE_SECONDS * 1000),
}


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is closed where the server does not answer in time."""

    patience = PATIENCE_SECONDS

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.patience)
        except errors._WaitTimeout:
            self.close()
            raise errors.OperationalError(f"no answer within {self.patience:g} s") from None


class Connections:
    """Those of one store. Its methods may be called from any thread."""

    def __init__(self, database: PostgresUrl) -> None:
        self._database = database
        self._changed = Condition()
        self._idle: list[Connection] = []
        self._busy = 0
        self._closed = False

    @contextmanager
    def borrowed(self, operation: str, patience: float | None = None) -> Iterator[Connection]:
        """A connection in autocommit mode, for this call alone, which waits for an answer for
        `patience` seconds, or as long as others do.

        Raises `StoreUnavailable`, also for what the driver raises within: that `operation` could
        not be done, and why.
        """
        with saying(operation, self._database):
            connection = self._take(operation)
            if patience is not None:
                connection.patience = patience
            usable = True
            try:
                yield connection
            except errors.ReadOnlySqlTransaction:
                # It may be a standby now, and the same name lead to the new primary.
                usable = False
                raise
            finally:
                connection.patience = Connection.patience
                self._give_back(connection, usable=usable)

    def close(self) -> None:
        """Waits for calls under way. May be called again."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._busy)
            self._close_idle()

    def _take(self, operation: str) -> Connection:
        with self._changed:
            free = self._changed.wait_for(
                lambda: self._closed or self._busy < MOST_CONNECTIONS, PATIENCE_SECONDS
            )
            if self._closed or not free:
                why = "the store is closed" if self._closed else "all connections are in use"
                raise StoreUnavailable(f"{self._database}: could not {operation}; {why}")
            self._busy += 1
            while self._idle:
                connection = self._idle.pop()
                if _is_silent(connection):
                    return connection
                connection.close()
        try:
            return connect(self._database)
        except BaseException:
            with self._changed:
                self._returned()
            raise

    def _give_back(self, connection: Connection, *, usable: bool) -> None:
        with self._changed:
            if usable and connection.pgconn.transaction_status == TransactionStatus.IDLE:
                self._idle.append(connection)
            else:
                # What is wrong with one is likely wrong with the others.
                connection.close()
                self._close_idle()
            self._returned()

    def _returned(self) -> None:
        """With the lock held."""
        self._busy -= 1
        self._changed.notify_all()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()


def connect(database: PostgresUrl) -> Connection:
    """A new connection in autocommit mode. Raises `psycopg.Error`."""
    return Connection.connect(
        "",
        autocommit=True,
        context=_make_adapters(),
        cursor_factory=RawCursor,
        **_parameters(database, _OPTIONS),
    )


def connect_for_upgrade(database: PostgresUrl, seconds: int) -> psycopg.Connection[Any]:
    """A connection as SQLAlchemy takes it, whose statements may take so long."""
    longer = {"statement_timeout": f"{seconds}s", "lock_timeout": f"{seconds}s"}
    return psycopg.connect("", **_parameters(database, _OPTIONS | longer))


def _parameters(database: PostgresUrl, options: Mapping[str, str]) -> dict[str, Any]:
    try:
        given = conninfo_to_dict(database.conninfo.reveal())
    except psycopg.Error:
        # Its words repeat parts of the URL.
        raise errors.ProgrammingError("the URL's options are not those of PostgreSQL") from None
    said = " ".join(f"-c {name}={value}" for name, value in options.items())
    # What the URL says comes later, and counts.
    said = f"{said} {given.get('options', '')}".rstrip()
    return {**_PARAMETERS, **given, "client_encoding": "UTF8", "options": said}


@contextmanager
def saying(operation: str, database: PostgresUrl) -> Iterator[None]:
    """Turns what the driver raises into `StoreUnavailable`: what was done, where, and why.

    The server's own words are its first message. Its details repeat values of rows, which may be
    a client's words.
    """
    try:
        yield
    except psycopg.Error as error:
        words = error.diag.message_primary or " ".join(str(error).split())
        # Not from the error, whose details would be printed with it.
        raise StoreUnavailable(
            f"{database}: could not {operation}; PostgreSQL said: {words}"
        ) from None


def _is_silent(connection: Connection) -> bool:
    """Whether nothing came while it lay idle: what comes then is a server's good-bye."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return not poll.poll(0)


class _UuidAsText(Loader):
    """Ids are text in every record."""

    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        digits = bytes(data).hex()
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


class _WholeNumber(NumericBinaryLoader):
    """A sum of whole numbers is a whole number, as in SQLite; PostgreSQL calls it numeric."""

    def load(self, data: Buffer) -> Any:
        value = super().load(data)
        return int(value) if value == value.to_integral_value() else value


class _TextAsUuid(Dumper):
    """For COPY, which is told the types of its columns."""

    format = Format.BINARY
    oid = adapters.types["uuid"].oid

    def dump(self, obj: str) -> bytes:
        return bytes.fromhex(obj.replace("-", ""))


def _make_adapters() -> AdaptersMap:
    made = AdaptersMap(adapters)
    made.register_loader("uuid", _UuidAsText)
    made.register_loader("numeric", _WholeNumber)
    made.register_dumper(None, _TextAsUuid)
    # Whatever its size: a statement that is prepared is one for all sizes.
    made.register_dumper(int, Int8BinaryDumper)
    return made
