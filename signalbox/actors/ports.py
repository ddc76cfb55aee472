"""What actors need of the outside, as protocols. `app.py` gives them their concrete parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol, TypeVar, TypeVarTuple, Unpack

from signalbox.actors.key_pool import ProviderKey
from signalbox.adapters.protocol import WireRequest
from signalbox.errors import Failure, SignalboxError

ResultT = TypeVar("ResultT")
Arguments = TypeVarTuple("Arguments")


class UpstreamErrorKind(StrEnum):
    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECTION_LOST = "connection_lost"
    PROTOCOL_ERROR = "protocol_error"


class UpstreamError(SignalboxError):
    """The call to a provider failed below HTTP. `kind` says how far it came."""

    def __init__(self, kind: UpstreamErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class UpstreamResponse(Protocol):
    """An answer whose head has arrived. Header names are lower case."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Sequence[tuple[str, str]]: ...

    async def receive(self) -> bytes:
        """The next bytes of the body, decoded from its transfer coding; b"" at its end.

        Raises `UpstreamError` when the connection ends or breaks before the body does.
        """
        ...

    def leave(self) -> None:
        """Gives the connection back where the body's end has come, or comes before the connection
        is wanted again.

        For an answer that says all it has to say before its body ends. Never waits.
        """
        ...

    def close(self) -> None:
        """Gives the connection back when the body was read to its end, closes it otherwise.

        Never waits; may be called more than once.
        """
        ...


class Upstream(Protocol):
    """Sends requests to providers. A cancelled call closes its connection."""

    async def send(self, request: WireRequest, connect_timeout: float) -> UpstreamResponse:
        """Sends the request and waits for the answer's head.

        Raises `UpstreamError`. `connect_timeout` (seconds) bounds DNS, TCP and TLS; the caller's
        cancel scope bounds the rest.
        """
        ...


class CredentialUnavailable(SignalboxError):
    """There is no credential to call a provider with just now; `failure` is the attempt's."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Credentials(Protocol):
    """What a call is authorised with. A key that is a plain secret costs nothing here."""

    async def ready(self, key: ProviderKey) -> ProviderKey:
        """The key with the secret that holds now. Raises `CredentialUnavailable`."""
        ...

    async def signed(self, wire: WireRequest, key: ProviderKey) -> WireRequest:
        """The finished request with what must be made of all of it, a signature; else as it is.

        Raises `CredentialUnavailable`.
        """
        ...


class Workers(Protocol):
    """Runs blocking calls off the loop. A call that has begun is finished, also when cancelled."""

    async def run(
        self, function: Callable[[Unpack[Arguments]], ResultT], /, *args: *Arguments
    ) -> ResultT:
        """What `function(*args)` returns or raises. Waits when all threads are busy."""
        ...
