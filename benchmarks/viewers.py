"""A viewer of the live trace: a websocket whose messages are read and thrown away."""

from __future__ import annotations

import socket

READ_SIZE = 1_048_576
HEAD_LIMIT = 65_536


class Viewer:
    """Raises `ConnectionError` where the server does not let it watch."""

    def __init__(self, port: int, handshake: bytes) -> None:
        self.received = 0
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._sock.sendall(handshake)
        head = b""
        while b"\r\n\r\n" not in head and len(head) < HEAD_LIMIT:
            data = self._sock.recv(READ_SIZE)
            if not data:
                break
            head += data
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(f"no websocket: {head[:200]!r}")
        self._sock.setblocking(False)

    def fileno(self) -> int:
        return self._sock.fileno()

    def read(self) -> None:
        try:
            data = self._sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError("the gateway sent a viewer away")
        self.received += len(data)


def handshake(path: str, token: str) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        "host: 127.0.0.1",
        "connection: Upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        f"authorization: Bearer {token}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()
