"""Which requests are of one conversation."""

from __future__ import annotations

from typing import Any

import pytest

from signalbox.adapters.openai_body import outline_of
from signalbox.http.conversation import LONGEST_SESSION, conversation_digest
from signalbox.http.extension_fields import BadExtension

SYSTEM = {"role": "system", "content": "Be brief."}
FIRST = {"role": "user", "content": "Hello"}
LATER = ({"role": "assistant", "content": "Hi"}, {"role": "user", "content": "More"})


def digest(
    *messages: dict[str, Any],
    key: str = "key",
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> str | None:
    body = {"model": "m", "messages": [*messages] or [SYSTEM, FIRST], **fields}
    return conversation_digest(key, body, outline_of(body), headers or {})


def test_later_turns_have_the_same_beginning() -> None:
    assert digest(SYSTEM, FIRST) == digest(SYSTEM, FIRST, *LATER)


def test_another_beginning_is_another_conversation() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
    beginnings = [(SYSTEM, FIRST), (FIRST,), (SYSTEM, parts), (LATER[1],)]
    assert len({digest(*beginning) for beginning in beginnings}) == len(beginnings)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"session_id": "s"}, {"session_id": "t"}),
        ({"headers": {"x-session-id": "s"}}, {"headers": {"x-session-id": "t"}}),
        ({"prompt_cache_key": "s"}, {"prompt_cache_key": "t"}),
    ],
)
def test_a_name_counts_in_place_of_the_messages(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert digest(FIRST, **one) == digest(SYSTEM, **one)
    assert digest(FIRST, **one) != digest(FIRST, **other)
    assert digest(FIRST, **one) != digest(FIRST)


def test_the_session_goes_before_its_header_and_both_before_the_cache_key() -> None:
    names: dict[str, Any] = {
        "session_id": "a",
        "headers": {"x-session-id": "b"},
        "prompt_cache_key": "c",
    }
    assert digest(**names) == digest(session_id="a")
    assert digest(**names | {"session_id": ""}) == digest(headers={"x-session-id": "b"})
    assert digest(session_id="a") == digest(headers={"x-session-id": "a"})
    assert digest(session_id="a") != digest(prompt_cache_key="a")


def test_gateway_keys_share_no_conversation() -> None:
    assert digest(session_id="s") != digest(session_id="s", key="another")


def test_without_a_beginning_there_is_no_conversation() -> None:
    assert digest(LATER[0]) is None


@pytest.mark.parametrize("session", [1, ["s"], {}, "s" * (LONGEST_SESSION + 1)])
def test_a_session_is_a_string_of_bounded_length(session: object) -> None:
    with pytest.raises(BadExtension) as caught:
        digest(session_id=session)
    assert caught.value.error.param == "session_id"
