"""A response of several attempts, or one that failed after it began: one stream to its client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.adapters.chat import (
    Citation,
    CitationPiece,
    FinishPiece,
    ReasoningPiece,
    TextPiece,
    ToolCallPiece,
)
from signalbox.adapters.protocol import Delta, Seam
from signalbox.adapters.registry import ProviderAdapters
from signalbox.adapters.responses import ResponsesAdapter
from signalbox.adapters.responses_encoder import ResponseEncoder
from signalbox.errors import ApiError, ProviderProtocolError
from signalbox.types import Midstream
from tests.recordings import Exchange
from tests.responses_wire import REQUEST, STREAMS, decode, deltas, events_of, sdk_stream
from tests.rig import Rig, model, plan, scripted_rig
from tests.rig import sent as bytes_sent
from tests.scripted_upstream import LOST, Head, Step, event, stream
from tests.test_responses_door import (
    DOOR,
    TEXT,
    USAGE,
    check_sequence,
    failed,
    of,
    piece,
    sent,
    translated,
)

SEAM = Seam("second", "m", "splice", 3)
BROKEN = ApiError(502, "server_error", "bad_upstream", "It broke.")


def joined(first: list[Delta], second: list[Delta]) -> tuple[bytes, ResponseEncoder]:
    encoder = ResponseEncoder(REQUEST)
    stream = b"".join(map(encoder.delta, first)) + encoder.resumed(SEAM)
    # As the attempt does: after a seam only content and the end go on.
    for delta in second:
        if delta.content_chars or delta.opaque or delta.finish_reasons:
            stream += encoder.delta(delta)
    return stream + encoder.finish("acme", None, USAGE), encoder


@pytest.mark.parametrize("exchange", STREAMS)
@pytest.mark.parametrize("native", [True, False], ids=["native", "translated"])
def test_after_a_seam_anywhere_in_the_text_it_is_one_stream(
    exchange: Exchange, *, native: bool
) -> None:
    if failed(exchange):
        return
    first = of(exchange, told=not native)
    first = first if native else translated(*first)
    if any(delta.opaque for delta in first):
        return
    texts = [i for i, delta in enumerate(first) if delta.text or delta.reasoning_chars]
    for place in (texts[0], texts[len(texts) // 2], texts[-1]):
        before = first[: place + 1]
        more = piece(ToolCallPiece(0, "{}", id="c9", name="lamp"), opaque=True, content_chars=6)
        second = translated(piece(TextPiece(" And on.")), more, piece(FinishPiece("tool_calls")))
        stream, _ = joined(before, second)
        check_sequence(stream)
        sdk = sdk_stream(stream)
        assert sdk.text == "".join(delta.text for delta in before) + " And on."
        assert sdk.calls == [("lamp", "{}")]
        assert sdk.usage == (9, 5)
        assert sdk.response is not None
        [seam] = sdk.response["x_signalbox"]["resumed"]
        assert seam["provider"] == "second"
        head = [e for e in sdk.events if e["type"] == "response.created"]
        assert sdk.response["id"] == head[0]["response"]["id"]


def test_only_reasoning_was_sent_and_another_route_starts_again() -> None:
    before = translated(piece(ReasoningPiece("Hm, ")))
    second = translated(piece(ReasoningPiece("well.")), *TEXT)
    stream, _ = joined(before, second)
    check_sequence(stream)
    sdk = sdk_stream(stream)
    assert (sdk.reasoning, sdk.text) == ("Hm, well.", "Green.")


def test_what_the_text_before_a_seam_rests_on_is_told_at_its_end() -> None:
    source = Citation("https://a.example/", "A")
    before = translated(piece(TextPiece("It is ")), piece(CitationPiece(source)))
    stream, _ = joined(before, translated(*TEXT))
    check_sequence(stream)
    sdk = sdk_stream(stream)
    assert sdk.response is not None
    [item] = sdk.response["output"]
    [annotation] = item["content"][0]["annotations"]
    assert (annotation["url"], item["content"][0]["text"]) == (source.url, "It is Green.")
    parts = [e["part"] for e in sdk.events if e["type"] == "response.content_part.done"]
    assert [part["annotations"] for part in parts] == [[annotation]]


def test_text_that_a_splice_left_for_the_end_is_said_before_it() -> None:
    *_, end = translated(*TEXT)
    stream, _ = joined(translated(TEXT[0]), [DOOR.retold(end, "y.")])
    check_sequence(stream)
    assert sdk_stream(stream).text == "Grey."


def test_a_retold_event_has_the_text_and_no_reasoning() -> None:
    *_, delta = translated(TEXT[0])
    told = DOOR.retold(delta, "new")
    assert (told.text, told.content_chars, told.reasoning_chars) == ("new", 3, 0)
    assert msgspec.json.decode(told.raw)["delta"] == "new"


@pytest.mark.parametrize("begun", [0, 1, 2])
def test_an_error_is_raised_by_the_sdk_and_fails_the_response(begun: int) -> None:
    encoder = DOOR.encoder(REQUEST)
    stream = b"".join(map(encoder.delta, translated(*TEXT[:begun]))) + encoder.error(BROKEN)
    sdk = sdk_stream(stream)
    assert sdk.error is not None
    assert sdk.error.code == "bad_upstream"
    assert sdk.error.message == "It broke."
    *_, error, last = events_of(stream)
    assert (error["type"], error["code"]) == ("error", "bad_upstream")
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"]["code"] == "bad_upstream"
    said = [i["content"][0]["text"] for i in last["response"]["output"]]
    assert said == ["".join(each.text for each in TEXT[:begun])][:begun]
    numbers = [e["sequence_number"] for e in events_of(stream)]
    assert numbers == list(range(len(numbers)))


def test_the_end_is_held_until_it_is_certain() -> None:
    encoder = DOOR.encoder(REQUEST)
    stream = b"".join(map(encoder.delta, translated(*TEXT)))
    assert b"response.completed" not in stream
    assert sdk_stream(stream + encoder.error(BROKEN)).error is not None


NAMES = (
    "type id item part delta content summary text response output usage output_index annotations "
    "sequence_number role status"
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES.split()), inner, max_size=4)
    ),
    max_leaves=8,
)
EVENTS = (
    "response.created response.output_item.added response.content_part.added "
    "response.output_text.delta response.reasoning_text.delta response.content_part.done "
    "response.reasoning_summary_text.delta response.output_item.done response.refusal.delta "
    "response.function_call_arguments.delta response.completed response.novelty"
)
KINDS = st.sampled_from(("message", "reasoning", "function_call", 3, None))
EVENT = st.builds(
    lambda kind, item, given, place: {
        "output_index": place,
        "delta": "x",
        **(given if isinstance(given, dict) else {}),
        "type": kind,
        "item": {"type": item, **(given if isinstance(given, dict) else {})},
        **({"response": {"output": given, "usage": given}} if kind.endswith("ed") else {}),
    },
    st.sampled_from(EVENTS.split()),
    KINDS,
    ANY,
    st.integers(0, 2),
)


@settings(max_examples=200)
@given(st.lists(EVENT, max_size=8), st.lists(EVENT, max_size=5))
def test_whatever_a_provider_sends_no_encoder_fails(
    events: list[dict[str, Any]], more: list[dict[str, Any]]
) -> None:
    def read(sent: list[dict[str, Any]]) -> list[Delta]:
        stream = b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in sent)
        try:
            return deltas(decode("openai", stream, told=False))
        except ProviderProtocolError:
            return []

    for resumed in (False, True):
        encoder = DOOR.encoder(REQUEST)
        for delta in read(events):
            encoder.delta(delta)
        if resumed:
            encoder.resumed(SEAM)
        for delta in read(more):
            encoder.delta(DOOR.retold(delta, "new") if delta.text else delta)
        encoder.finish("acme", "0.01", USAGE)
        assert encoder.error(BROKEN).endswith(b"\n\n")


def test_an_estimate_stands_for_usage_that_nobody_told() -> None:
    estimated = replace(USAGE, estimated=True)
    assert sdk_stream(sent(translated(*TEXT), usage=estimated)).usage == (9, 5)
    assert sdk_stream(sent(translated(*TEXT), usage=None)).usage is None


# ── between providers ─────────────────────────────────────────────────────────────────────────


def native(*texts: str) -> list[bytes]:
    """A provider's events up to these texts, with nothing after them."""
    response = {"id": "resp_a", "object": "response", "status": "in_progress", "model": "m"}
    place = {"item_id": "msg_a", "output_index": 0, "content_index": 0}
    item = {"id": "msg_a", "type": "message", "role": "assistant", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    told: list[dict[str, Any]] = [
        {"type": "response.created", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **place, "part": part},
        *({"type": "response.output_text.delta", **place, "delta": text} for text in texts),
    ]
    return [event({**each, "sequence_number": n}) for n, each in enumerate(told)]


def rig_of(folder: Path, *scripts: Sequence[Step]) -> Rig:
    """`a` serves the Responses API, `b` chat completions alone."""
    rig = scripted_rig(folder, *scripts)
    first, second = rig.services.providers["a"], rig.services.providers["b"]
    adapters = ProviderAdapters(lambda _: (ResponsesAdapter("a"),))
    providers = {"a": replace(first, adapters=adapters), "b": second}
    rig.services = replace(rig.services, providers=providers)
    return rig


async def test_a_broken_response_is_gone_on_with_by_a_chat(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    broken: list[Step] = [Head(), *native("Once upon ", "a time "), LOST]
    rig = rig_of(tmp_path, broken, stream("Once upon a time there", " was."))
    request = replace(REQUEST, id=rig.services.new_id(), key_id="client")
    chain = replace(plan(model("m", "a", "b")), midstream=Midstream.CONTINUE)
    async with rig.running():
        pieces = await rig.ask(request, chain)
    told = bytes_sent(pieces)
    events = events_of(told)
    assert [e["sequence_number"] for e in events] == list(range(len(events)))
    sdk = sdk_stream(told)
    assert sdk.text == "Once upon a time there was."
    assert sdk.status == "completed"
    assert sdk.response is not None
    assert sdk.response["id"] == "resp_a"
    [item] = sdk.response["output"]
    assert item["content"][0]["text"] == sdk.text
    assert [seam["provider"] for seam in sdk.response["x_signalbox"]["resumed"]] == ["b"]
    assert rig.calls[0].url == "http://a/v1/responses"
    assert rig.calls[-1].url == "http://b/v1/chat/completions"
    rig.assert_nothing_is_held()
