"""A stream that several attempts had a part in: to the client it is one stream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.openai_door import DONE, ChatEncoder, usage_object
from signalbox.adapters.protocol import Delta, Seam
from signalbox.adapters.splice import Splice, prefill_text
from signalbox.errors import ApiError
from signalbox.types import Usage
from tests.folding import fold
from tests.openai_sdk import sdk_stream
from tests.outgoing import REQUEST
from tests.recordings import cut

TOTAL = Usage(prompt=7, cached_read=2, completion=9)
"""What all attempts used; no attempt reports it."""
ERROR = ApiError(502, "server_error", "stream_broken", "nothing is left")
PLACES = st.lists(st.integers(0, 200), max_size=6)

HOW: dict[str, dict[str, bool]] = {
    "splice": {"strict": True},
    "prefill-echoed": {"strict": False},
    "prefill": {"strict": False, "echoes": False},
}


def provider_stream(name: str, texts: list[str]) -> bytes:
    """What a provider sends that says these texts: role and usage in each chunk, all of it with
    the provider's own id, time and model."""
    envelope: dict[str, object] = {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion.chunk",
        "created": len(name),
        "model": f"model-{name}",
        "system_fingerprint": f"fp-{name}",
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    choices: list[dict[str, Any]] = [
        {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
        for text in texts
    ]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    chunks = [{**envelope, "choices": [choice]} for choice in choices]
    chunks.append({**envelope, "choices": []})
    return b"".join(b"data: %s\n\n" % json.dumps(c).encode() for c in chunks) + DONE


@dataclass
class Rescue:
    """The way of a stream through several attempts, without a gateway around it."""

    door: ChatEncoder
    sent: str = ""
    out: bytes = b""
    seams: list[Seam] = field(default_factory=list)

    def begin(self, texts: list[str]) -> None:
        """The first attempt: it breaks after these texts, before it says that it is finished."""
        for delta in self._deltas(provider_stream("first", texts), []):
            if not delta.finish_reasons and delta.has_choices:
                self._send(delta)

    def go_on(
        self, how: str, whole: str, places: list[int], *, breaks_after: int | None = None
    ) -> None:
        """A later attempt, whose model wants to say `whole`; broken, it never finishes."""
        name = f"attempt-{len(self.seams) + 2}"
        self.seams.append(Seam("p", name, how, len(self.sent)))
        self.out += self.door.resumed(self.seams[-1])
        splice = Splice(self.sent, **HOW[how])
        answer = whole[len(prefill_text(self.sent)) :] if how == "prefill" else whole
        broken = breaks_after is not None
        adapter = OpenAIAdapter("openai")
        body = provider_stream(name, cut(answer[:breaks_after], places))
        for delta in self._deltas(body, places):
            if broken and (delta.finish_reasons or not delta.has_choices):
                return
            text = splice.admit(delta.text)
            if delta.finish_reasons:
                text += splice.rest()
            self._send(adapter.retold(delta, text))

    def _deltas(self, body: bytes, places: list[int]) -> Iterator[Delta]:
        decoder = OpenAIAdapter("openai").stream_decoder(REQUEST)
        for data in cut(body, places):
            yield from (event for event in decoder.feed(data) if isinstance(event, Delta))

    def _send(self, delta: Delta) -> None:
        self.sent += delta.text
        self.out += self.door.delta(delta)


def rescue(*, include_usage: bool = False) -> Rescue:
    return Rescue(ChatEncoder(include_usage=include_usage, trace_id="t1"))


def told(seams: list[Seam]) -> dict[str, object]:
    return {"resumed": msgspec.to_builtins(seams)}


def chunks_of(stream: bytes) -> list[dict[str, Any]]:
    events = [event for event in stream.split(b"\n\n") if event.startswith(b"data: {")]
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


def roles(chunks: list[dict[str, Any]]) -> list[str]:
    found = (choice["delta"].get("role") for chunk in chunks for choice in chunk["choices"])
    return [role for role in found if role is not None]


@settings(max_examples=60)
@given(
    whole=st.text(min_size=1),
    first=st.integers(1, 30),
    second=st.integers(0, 30),
    hows=st.tuples(st.sampled_from(sorted(HOW)), st.sampled_from(sorted(HOW))),
    places=PLACES,
    include_usage=st.booleans(),
)
def test_two_seams_and_the_client_reads_one_answer(
    whole: str,
    first: int,
    second: int,
    hows: tuple[str, str],
    places: list[int],
    include_usage: bool,
) -> None:
    stream = rescue(include_usage=include_usage)
    stream.begin([whole[:first]])
    stream.go_on(hows[0], whole, places, breaks_after=second)
    stream.go_on(hows[1], whole, places)
    stream.out += stream.door.finish("p", "0.5", TOTAL)

    seen = sdk_stream(stream.out)
    assert seen.error is None
    answer = fold(seen.chunks)
    assert answer.text == whole
    assert answer.finish == {0: ["stop"]}
    assert answer.usage == ([{**usage_object(TOTAL), "cost": 0.5}] if include_usage else [])
    assert roles(seen.chunks) == ["assistant"]
    for name in ("id", "object", "created", "model", "system_fingerprint"):
        assert len({chunk[name] for chunk in seen.chunks}) == 1
    assert seen.chunks[0]["id"] == "chatcmpl-first"
    *before, last = [chunk.get("x_signalbox") for chunk in seen.chunks]
    assert (before, last) == ([None] * len(before), told(stream.seams))
    assert stream.out.endswith(DONE)


def test_the_seam_is_a_comment_that_names_where_the_stream_goes_on() -> None:
    stream = rescue()
    stream.begin(["One, "])
    assert stream.door.resumed(Seam("groq", "llama\n3", "prefill", 5)) == (
        b": resumed at groq llama 3 after 5 characters (prefill)\n\n"
    )


@pytest.mark.parametrize("include_usage", [False, True])
def test_an_attempt_that_adds_nothing_ends_the_stream_well(include_usage: bool) -> None:
    stream = rescue(include_usage=include_usage)
    stream.begin(["One, two."])
    stream.go_on("splice", "One, two.", [3, 5])
    stream.out += stream.door.finish("p", None, TOTAL)
    first, *rest = chunks_of(stream.out)
    answer = fold([first, *rest])
    assert (answer.text, answer.finish) == ("One, two.", {0: ["stop"]})
    assert len(rest) == 1 + include_usage
    assert rest[-1]["x_signalbox"] == told(stream.seams)


def test_an_error_after_a_seam_ends_the_stream_as_an_error_does() -> None:
    stream = rescue()
    stream.begin(["One, "])
    stream.go_on("prefill", "One, two", [2], breaks_after=6)
    stream.out += stream.door.error(ERROR)
    seen = sdk_stream(stream.out)
    assert seen.error is not None
    assert seen.error.code == "stream_broken"
    last = chunks_of(stream.out)[-1]
    assert fold(chunks_of(stream.out)).finish == {0: ["error"]}
    assert (last["id"], last["x_signalbox"]) == ("chatcmpl-first", told(stream.seams))
    assert stream.out.endswith(DONE)


def test_without_a_total_there_is_no_usage_after_a_seam() -> None:
    """What the last attempt reported is not what the answer took."""
    stream = rescue(include_usage=True)
    stream.begin(["One, "])
    stream.go_on("prefill", "One, two", [])
    *_, last = chunks_of(stream.door.finish("p", "0.5", None))
    assert last["usage"] is None


def test_a_stream_without_a_seam_tells_of_none() -> None:
    stream = rescue(include_usage=True)
    stream.begin(["One"])
    stream.out += stream.door.finish("p", None, TOTAL)
    assert not re.search(rb"x_signalbox|resumed", stream.out)


@pytest.mark.parametrize(
    ("delta", "kept"),
    [
        ({"role": "assistant", "content": ""}, False),
        ({"content": "two"}, True),
        ({"tool_calls": [{"index": 0, "function": {"arguments": ""}}]}, True),
    ],
)
def test_after_a_seam_only_chunks_that_say_something_are_sent(
    delta: dict[str, Any], kept: bool
) -> None:
    stream = rescue()
    stream.begin(["One, "])
    stream.door.resumed(Seam("p", "m", "prefill", 5))
    chunk = {"id": "x", "choices": [{"index": 0, "delta": delta}], "provider": "other"}
    told = OpenAIAdapter("openai").decode_chunk(json.dumps(chunk).encode())
    assert isinstance(told, Delta)
    sent = chunks_of(stream.door.delta(told))
    assert [chunk["choices"][0]["delta"] for chunk in sent] == ([delta] if kept else [])
