"""Waiting for what others change in a PostgreSQL database: a connection that only listens."""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from threading import Lock

import psycopg

from signalbox.config_postgres import PostgresUrl
from signalbox.persistence.postgres_connections import Connection, connect, saying

CHANNEL = "signalbox_changes"
"""What the database's own triggers notify."""


class ChangeListener:
    """One thread at a time waits; any thread may wake it or close."""

    def __init__(self, database: PostgresUrl) -> None:
        self._database = database
        self._waiting = Lock()
        self._connection: Connection | None = None
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)

    def wait(self, seconds: float) -> None:
        """Returns after a change, at `wake`, or after `seconds`; and at once when it has begun to
        listen, because what was changed before is not known to it.

        Raises `StoreUnavailable`; the next call begins anew.
        """
        with self._waiting, saying("listen for changes", self._database):
            if self._connection is None:
                self._connection = connect(self._database)
                self._connection.execute(f"LISTEN {CHANNEL}")
                return
            try:
                self._wait(self._connection, seconds)
            except psycopg.Error:
                self._leave()
                raise

    def wake(self) -> None:
        """Whoever waits returns; where nobody does, the next one."""
        with suppress(OSError):  # It is closed.
            self._waker.send(b"!")

    def close(self) -> None:
        """May be called again."""
        self.wake()
        with self._waiting:
            self._leave()
            self._woken.close()
            self._waker.close()

    def _wait(self, connection: Connection, seconds: float) -> None:
        poll = select.poll()
        poll.register(connection.pgconn.socket, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(seconds * 1000)}
        if self._woken.fileno() in ready:
            self._woken.recv(4096)
        if connection.pgconn.socket in ready:
            # Which change it was does not matter; a connection that has ended raises.
            for _ in connection.notifies(timeout=0):
                pass

    def _leave(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
