"""Lua scripts on Redis (7.0 or newer): one call serves a batch.

Arguments and answers are MessagePack, so that numbers keep all their bits; Lua's `cmsgpack` reads
and writes it. A script's first argument is the time in seconds, or nothing, in which case it takes
Redis' own clock: processes do not share a monotonic clock, and tests bring one of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import redis

from signalbox.errors import StoreUnavailable

LUA = Path(__file__).parent / "lua"

Constant: TypeAlias = "bool | float | str | Mapping[str, Constant]"
Call: TypeAlias = tuple[Sequence[str], Sequence[object]]
"""(Redis keys, arguments)"""


class RedisScript:
    """One file of `lua/`. `clock`: seconds on a clock of the caller's, in place of Redis' own.

    `parts` are files that stand before it, and `constants` are local variables before all of them,
    so that a number is written once, in Python.
    """

    def __init__(
        self,
        client: redis.Redis,
        name: str,
        clock: Callable[[], float] | None = None,
        *,
        parts: Sequence[str] = (),
        constants: Mapping[str, Constant] | None = None,
    ) -> None:
        declared = [f"local {key} = {_literal(value)}" for key, value in (constants or {}).items()]
        sources = [(LUA / f"{part}.lua").read_text(encoding="utf-8") for part in (*parts, name)]
        self._client = client
        self._script = client.register_script("\n".join([*declared, *sources]))
        self._clock = clock

    def __call__(self, keys: Sequence[str], *arguments: object) -> Any:
        """What the script returned, decoded. Raises `StoreUnavailable`."""
        [answer] = self.batch([(keys, arguments)])
        return answer

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """As many answers, in order, from one pipeline; each call is a step of its own.

        Raises `StoreUnavailable`; some of the calls may have been carried out then.
        """
        now = "" if self._clock is None else repr(self._clock())
        try:
            packed = [
                (list(keys), [now, *(msgspec.msgpack.encode(argument) for argument in arguments)])
                for keys, arguments in calls
            ]
            return [msgspec.msgpack.decode(answer) for answer in self._run(packed)]
        except redis.RedisError as error:
            raise StoreUnavailable(f"Redis: {error}") from error
        except (msgspec.MsgspecError, OverflowError, UnicodeError) as error:
            # A number or a text that MessagePack does not know, or an answer that is none.
            raise StoreUnavailable(
                f"Redis: a call could not be read or written: {error}"
            ) from error

    def _run(self, calls: Sequence[tuple[list[str], list[Any]]]) -> list[Any]:
        # A pipeline asks in a round trip of its own whether the script is there; one call does not.
        if len(calls) == 1:
            return [self._script(*calls[0])]
        with self._client.pipeline(transaction=False) as pipeline:
            for keys, arguments in calls:
                self._script(keys, arguments, client=pipeline)
            return pipeline.execute()


def _literal(value: Constant) -> str:
    """`value` in Lua."""
    if isinstance(value, Mapping):
        pairs = (f"[{_literal(key)}] = {_literal(entry)}" for key, entry in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A word of this package's own: JSON's quoting is Lua's as long as it is ASCII.
        return msgspec.json.encode(value).decode("ascii")
    return repr(value) if math.isfinite(value) else f"{'-' if value < 0 else ''}math.huge"
