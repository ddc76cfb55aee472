"""Provider keys whose secret is a token that ends: asked for once, and again before its end.

A token is renewed when it is used in the last part of its life; who comes then is served with the
old one. Only where there is none does a call wait, all calls for the same one answer. Without
requests nothing is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec
import trio
from msgspec.structs import replace

from signalbox.actors.key_pool import ProviderKey
from signalbox.actors.mailbox import AskTimedOut, Envelope, Mailbox, MailboxClosed
from signalbox.actors.masking import masked_failure
from signalbox.actors.ports import CredentialUnavailable, Upstream, UpstreamError, UpstreamErrorKind
from signalbox.actors.supervisor import ChildSpec, Supervisor
from signalbox.adapters.aws_sigv4 import sign
from signalbox.adapters.oauth import LARGEST_TOKEN_ANSWER, TokenAnswer, read_token, token_request
from signalbox.adapters.protocol import Headers, WireRequest
from signalbox.config import AwsAccessKey, EntraClient, ServiceAccount, TokenCredential
from signalbox.errors import ActorCrashed, Failure, FailureKind, MailboxFull
from signalbox.types import AccessToken, Secret

logger = logging.getLogger(__name__)

RENEW_SECONDS = 300.0
"""Before its end a token is renewed: Google's metadata server has a new one by then, and an
endpoint that is away for some minutes costs no request."""
LAST_SECONDS = 10.0
"""Of a token's life in which it is not used any more: a call takes time to arrive, and clocks
differ."""
AGAIN_SECONDS = 10.0
"""After a failure nothing is asked for so long: the same answer serves all who come."""
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 20.0
ASK_SECONDS = 30.0
"""More than an answer may take; the attempt's own clocks are its real bound."""
BATCH = 64
CAPACITY = 1024


class _Token(msgspec.Struct, frozen=True):
    """Times are monotonic."""

    secret: AccessToken
    renew_at: float
    ends_at: float


class _Refusal(msgspec.Struct, frozen=True):
    failure: Failure
    until: float


Reply = AccessToken | Failure


class StaticCredentials:
    """`ports.Credentials` for keys that are plain secrets."""

    async def ready(self, key: ProviderKey) -> ProviderKey:
        return key

    async def signed(self, wire: WireRequest, key: ProviderKey) -> WireRequest:
        return wire


class RenewingCredentials:
    """The actor that holds the tokens; `ports.Credentials`. `now` is Unix time in seconds.

    Tokens outlive a crash of the actor.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        upstream: Upstream,
        keys: Sequence[ProviderKey],
        now: Callable[[], float],
    ) -> None:
        self._upstream = upstream
        self._credentials: dict[str, TokenCredential] = {}
        """Also of keys that are no longer configured: requests that began with them go on."""
        self._now = now
        self._tokens: dict[str, _Token] = {}
        self._refusals: dict[str, _Refusal] = {}
        self._waiting: dict[str, list[Envelope[str, Reply]]] = {}
        """Who waits for the answer that a key was asked for; a key without waiters may be one."""
        self._mailbox: Mailbox[str, Reply] = supervisor.add(
            ChildSpec(
                name="credentials",
                actor=self._run,
                capacity=CAPACITY,
                capacity_reason="requests that wait for a token at once; more wait to be told so",
            )
        )
        self.configure(keys)

    def configure(self, keys: Sequence[ProviderKey]) -> None:
        """These have credentials from now on, beside others that need none."""
        for key in keys:
            credential = key.credential
            if credential is None or isinstance(credential, AwsAccessKey):
                continue
            if self._credentials.get(key.id, credential) != credential:
                self._tokens.pop(key.id, None)
                self._refusals.pop(key.id, None)
            self._credentials[key.id] = credential
        if any(isinstance(each, ServiceAccount) for each in self._credentials.values()):
            # Loaded before a request waits for it.
            import signalbox.adapters.rs256  # noqa: F401, PLC0415

    # ── for attempts ──────────────────────────────────────────────────────────────────────────

    async def ready(self, key: ProviderKey) -> ProviderKey:
        """See `Credentials.ready`."""
        if key.credential is None or isinstance(key.credential, AwsAccessKey):
            return key
        at, token = trio.current_time(), self._tokens.get(key.id)
        if token is not None and at < token.ends_at:
            if at >= token.renew_at and self._may_ask(key.id, at):
                self._renew_meanwhile(key.id)
            return replace(key, secret=token.secret)
        reply = await self._asked(key.id)
        if isinstance(reply, Failure):
            raise CredentialUnavailable(reply)
        return replace(key, secret=reply)

    async def signed(self, wire: WireRequest, key: ProviderKey) -> WireRequest:
        """See `Credentials.signed`. A bearer token stands in the request already."""
        if isinstance(key.credential, AwsAccessKey):
            return sign(wire, key.credential, self._now())
        return wire

    def _may_ask(self, key_id: str, at: float) -> bool:
        refusal = self._refusals.get(key_id)
        return key_id not in self._waiting and (refusal is None or at >= refusal.until)

    def _renew_meanwhile(self, key_id: str) -> None:
        try:
            self._mailbox.tell(key_id)
        except (MailboxFull, MailboxClosed):
            """There is a token still, and the next call tries again."""

    async def _asked(self, key_id: str) -> Reply:
        try:
            return await self._mailbox.ask(key_id, ASK_SECONDS)
        except AskTimedOut as error:
            return Failure(FailureKind.CONNECT_TIMEOUT, str(error))
        except (ActorCrashed, MailboxClosed) as error:
            return Failure(FailureKind.CONNECT_FAILED, str(error))

    # ── the actor ─────────────────────────────────────────────────────────────────────────────

    async def _run(self, mailbox: Mailbox[str, Reply]) -> None:
        self._waiting.clear()
        async with trio.open_nursery() as nursery:
            while envelopes := await mailbox.receive_batch(BATCH):
                for envelope in envelopes:
                    if not self._answered(envelope) and not self._joined(envelope):
                        self._waiting[envelope.message] = [envelope]
                        nursery.start_soon(self._renew, envelope.message)

    def _answered(self, envelope: Envelope[str, Reply]) -> bool:
        """Whether what is known answers it: another's call has just ended."""
        at, key_id = trio.current_time(), envelope.message
        token, refusal = self._tokens.get(key_id), self._refusals.get(key_id)
        if token is not None and at < token.renew_at:
            envelope.reply(token.secret)
            return True
        if refusal is not None and at < refusal.until:
            envelope.reply(replace(refusal.failure, retry_after=refusal.until - at))
            return True
        return False

    def _joined(self, envelope: Envelope[str, Reply]) -> bool:
        """Whether the key's call is under way already."""
        waiting = self._waiting.get(envelope.message)
        if waiting is None:
            return False
        waiting.append(envelope)
        return True

    async def _renew(self, key_id: str) -> None:
        credential = self._credentials[key_id]
        answer = await self._call(credential)
        at = trio.current_time()
        reply: Reply
        if isinstance(answer, TokenAnswer):
            self._refusals.pop(key_id, None)
            reply = self._keep(key_id, answer, at)
        else:
            reply = self._refuse(key_id, credential, answer, at)
        for envelope in self._waiting.pop(key_id):
            envelope.reply(reply)

    def _keep(self, key_id: str, answer: TokenAnswer, at: float) -> AccessToken:
        life = answer.expires_in
        self._tokens[key_id] = _Token(
            answer.token,
            renew_at=at + max(life - RENEW_SECONDS, life / 2),
            ends_at=at + max(life - LAST_SECONDS, life / 2),
        )
        return answer.token

    def _refuse(
        self, key_id: str, credential: TokenCredential, failure: Failure, at: float
    ) -> Failure:
        wait = min(max(failure.retry_after or 0.0, AGAIN_SECONDS), RENEW_SECONDS)
        failure = replace(masked_failure(failure, _secrets(credential)), retry_after=wait)
        self._refusals[key_id] = _Refusal(failure, at + wait)
        logger.warning("no new token for %s: %s", key_id, failure.message)
        return failure

    async def _call(self, credential: TokenCredential) -> TokenAnswer | Failure:
        try:
            request = token_request(credential, self._now())
        except ValueError as error:
            return Failure(FailureKind.KEY_REJECTED, str(error))
        try:
            with trio.fail_after(ANSWER_SECONDS):
                status, headers, body = await self._exchange(request)
        except trio.TooSlowError:
            why = f"the token endpoint did not answer within {ANSWER_SECONDS:g} s"
            return Failure(FailureKind.CONNECT_TIMEOUT, why)
        except UpstreamError as error:
            late = error.kind is UpstreamErrorKind.CONNECT_TIMEOUT
            kind = FailureKind.CONNECT_TIMEOUT if late else FailureKind.CONNECT_FAILED
            return Failure(kind, f"the token endpoint is away: {error}")
        return read_token(status, headers, body, credential.token_url)

    async def _exchange(self, request: WireRequest) -> tuple[int, Headers, bytes]:
        """Of a longer body the beginning, which is no JSON."""
        response = await self._upstream.send(request, CONNECT_SECONDS)
        try:
            body = bytearray()
            while len(body) <= LARGEST_TOKEN_ANSWER and (data := await response.receive()):
                body += data
            return response.status, response.headers, bytes(body[:LARGEST_TOKEN_ANSWER])
        finally:
            response.close()


def _secrets(credential: TokenCredential) -> tuple[Secret, ...]:
    """What an endpoint could repeat in an error."""
    match credential:
        case EntraClient():
            return (credential.client_secret,)
        case ServiceAccount():
            return (credential.private_key,)
        case _:
            return ()
