"""Which route and key a conversation used last: its provider holds the prompt in its cache.

Told and asked by synchronous calls, in memory: another instance, or this one after a restart, only
pays the full price of one prompt.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec
import trio

from signalbox.machines.facts import Warmth

TTL = 600.0
"""Seconds since the last answer. Providers keep a prompt for five to ten minutes after its use."""

MAX_CONVERSATIONS = 32_768
"""Fifty new conversations a second for the whole of `TTL`, in about 15 MB. The one that rested
longest is forgotten first."""


class _LastUse(msgspec.Struct, frozen=True):
    route_id: str
    key_id: str
    tokens: int
    at: float


class Affinity:
    """The last use of each conversation, by its digest."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._last_uses: OrderedDict[str, _LastUse] = OrderedDict()
        """The longest unused first."""

    def __len__(self) -> int:
        return len(self._last_uses)

    def remember(self, conversation: str, route_id: str, key_id: str, tokens: int) -> None:
        """An answer succeeded. `tokens`: of its prompt and itself, what the cache may hold now."""
        now = self._clock()
        self._last_uses[conversation] = _LastUse(route_id, key_id, tokens, now)
        self._last_uses.move_to_end(conversation)
        self._forget(now)

    def warmth(self, conversation: str, route_id: str, prompt_tokens: int) -> Warmth | None:
        """What the route's cache holds of a prompt of so many tokens; None: nothing.

        Only the route that was used last has it.
        """
        last = self._last_uses.get(conversation)
        if last is None or last.route_id != route_id or self._clock() - last.at >= TTL:
            return None
        return Warmth(last.key_id, min(last.tokens, prompt_tokens))

    def _forget(self, now: float) -> None:
        while self._last_uses:
            oldest = next(iter(self._last_uses.values()))
            if len(self._last_uses) <= MAX_CONVERSATIONS and now - oldest.at < TTL:
                return
            self._last_uses.popitem(last=False)
