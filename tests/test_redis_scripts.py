"""What goes wrong between the package and its Lua scripts is an unavailable store, no crash."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from signalbox.errors import StoreUnavailable
from signalbox.persistence.redis_scripts import RedisScript

NOT_MESSAGE_PACK = b"\xc1"


class Answering:
    """A Redis whose scripts all give one answer."""

    def __init__(self, answer: Callable[[], bytes]) -> None:
        self._answer = answer

    def register_script(self, source: str) -> Callable[..., bytes]:
        return lambda keys, args: self._answer()


def gone() -> bytes:
    raise redis.ConnectionError("the connection is closed")


@pytest.mark.parametrize(
    ("answer", "argument"),
    [
        (gone, 1),
        (lambda: NOT_MESSAGE_PACK, 1),
        (lambda: b"\xc0", 2**80),
        (lambda: b"\xc0", "\ud800"),
    ],
    ids=["away", "another answer", "a number that is too large", "half a character"],
)
def test_a_call_that_cannot_be_made_or_read_is_an_unavailable_store(
    answer: Callable[[], bytes], argument: object
) -> None:
    client: redis.Redis = Answering(answer)  # type: ignore[assignment]  # all that a script uses
    script = RedisScript(client, "limits")
    with pytest.raises(StoreUnavailable, match="Redis"):
        script(["{sb:limits}"], argument)
