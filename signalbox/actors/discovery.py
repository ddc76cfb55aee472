"""Which models a provider of no catalogue serves: its own list, read at the start and now and then.

A provider that is away when the gateway starts is asked again; what it listed last is kept while it
is away. Nothing waits for it: a model can be called by its provider's name before it is known.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec
import trio

from signalbox.actors.mailbox import Mailbox
from signalbox.actors.ports import Upstream, UpstreamError
from signalbox.actors.supervisor import ChildSpec, Supervisor
from signalbox.adapters.discovery import LARGEST_LIST, DiscoveredModel, list_request, read_models
from signalbox.errors import ProviderProtocolError
from signalbox.types import Secret

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 300.0
"""Models are pulled into a local server by hand, and one looks for them soon after."""
AGAIN_SECONDS = 15.0
"""After a failure: about as long as a local server takes to start."""
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0


class Discoverable(msgspec.Struct, frozen=True):
    """A provider that is asked."""

    name: str
    api: str
    base_url: str
    key: Secret | None


class Discovery:
    """The actor that asks. `learn` takes a provider's name and what it lists."""

    def __init__(
        self,
        supervisor: Supervisor,
        upstream: Upstream,
        providers: Sequence[Discoverable],
        learn: Callable[[str, Sequence[DiscoveredModel]], None],
    ) -> None:
        self._upstream = upstream
        self._providers = providers
        self._learn = learn
        self._listed: dict[str, Sequence[DiscoveredModel]] = {}
        self._changed = trio.Event()
        self._failing: set[str] = set()
        supervisor.add(
            ChildSpec(
                name="discovery",
                actor=self._run,
                capacity=1,
                capacity_reason="nothing is told to it; its mailbox only says when to stop",
            )
        )

    def configure(
        self,
        providers: Sequence[Discoverable],
        learn: Callable[[str, Sequence[DiscoveredModel]], None],
    ) -> None:
        """Asks these from now on, all of them at once. `learn` is told at once what those among
        them listed last."""
        self._providers, self._learn = providers, learn
        for provider in providers:
            if provider.name in self._listed:
                learn(provider.name, self._listed[provider.name])
        self._changed.set()

    async def _run(self, mailbox: Mailbox[None, None]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_all)
            await mailbox.receive_batch(1)
            nursery.cancel_scope.cancel()

    async def _follow_all(self) -> None:
        while True:
            self._changed = trio.Event()
            async with trio.open_nursery() as nursery:
                for provider in self._providers:
                    nursery.start_soon(self._follow, provider)
                await self._changed.wait()
                nursery.cancel_scope.cancel()

    async def _follow(self, provider: Discoverable) -> None:
        while True:
            known = await self._ask(provider)
            await trio.sleep(REFRESH_SECONDS if known else AGAIN_SECONDS)

    async def _ask(self, provider: Discoverable) -> bool:
        """Whether the provider has told its models. The first failure of a row is logged."""
        try:
            with trio.fail_after(ANSWER_SECONDS):
                models = await self._list(provider)
        except (UpstreamError, ProviderProtocolError, trio.TooSlowError) as error:
            if provider.name not in self._failing:
                logger.warning("%s does not list its models: %s", provider.name, error)
            self._failing.add(provider.name)
            return False
        self._failing.discard(provider.name)
        self._listed[provider.name] = models
        self._learn(provider.name, models)
        return True

    async def _list(self, provider: Discoverable) -> Sequence[DiscoveredModel]:
        request = list_request(provider.api, provider.base_url, provider.key)
        response = await self._upstream.send(request, CONNECT_SECONDS)
        try:
            if response.status != 200:
                raise ProviderProtocolError(f"status {response.status}")
            body = bytearray()
            while data := await response.receive():
                body += data
                if len(body) > LARGEST_LIST:
                    raise ProviderProtocolError(f"more than {LARGEST_LIST} bytes")
            return read_models(bytes(body))
        finally:
            response.close()
