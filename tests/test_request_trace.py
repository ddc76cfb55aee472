"""What is kept of a request: its bodies as configured, and never a secret."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors.key_pool import ProviderKey
from signalbox.actors.outputs import Output, Refusal
from signalbox.actors.request_trace import redact
from signalbox.persistence.stores import TraceRecord
from signalbox.types import ModelPlan, Route, Secret
from tests.rig import PRICE, Rig, model, plan, scripted_rig, sent
from tests.scripted_upstream import (
    JSON,
    LOST,
    Head,
    Script,
    ScriptedUpstream,
    answer,
    error,
    stream,
    text,
)

ONE = plan(model("m", "a"))
TWO = plan(model("m", "a", "b"))
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "my secret plan"}]}'

pytestmark = pytest.mark.usefixtures("autojump_clock")


def bodies(trace: TraceRecord) -> dict[str, bytes]:
    return {payload.kind: payload.body for payload in trace.payloads}


# ── bodies ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("streamed", [False, True])
async def test_full_keeps_every_body(streamed: bool, tmp_path: Path) -> None:
    rig = scripted_rig(tmp_path, stream("hi") if streamed else answer("hi"))
    async with rig.running():
        await rig.ask(rig.request(stream=streamed), ONE, body=BODY)
    kept = bodies(rig.only_trace)
    assert list(kept) == ["request", "upstream_request", "upstream_response", "response"]
    assert kept["request"] == BODY
    assert json.loads(kept["upstream_request"]) == rig.calls[0].body
    assert b"hi" in kept["upstream_response"]
    assert b"hi" in kept["response"]


async def test_each_attempt_has_bodies_of_its_own(tmp_path: Path) -> None:
    rig = scripted_rig(tmp_path, error(500, "broken"), answer("hi"))
    async with rig.running():
        await rig.ask(rig.request(), ONE)
    received = [
        (payload.attempt, b"broken" in payload.body)
        for payload in rig.only_trace.payloads
        if payload.kind == "upstream_response"
    ]
    assert received == [(1, True), (2, False)]


async def test_a_body_is_cut_at_the_limit_and_says_so(tmp_path: Path) -> None:
    rig = scripted_rig(tmp_path, answer("x" * 300))
    rig.services = replace(rig.services, max_payload_bytes=200)
    async with rig.running():
        await rig.ask(rig.request(), ONE, body=b"y" * 200)
    kept = {p.kind: (len(p.body), p.truncated) for p in rig.only_trace.payloads}
    assert kept["request"] == (200, False)
    assert kept["upstream_response"] == kept["response"] == (200, True)


async def test_redacted_keeps_the_shape_and_no_words(tmp_path: Path) -> None:
    rig = scripted_rig(tmp_path, answer("the answer"))
    async with rig.running():
        await rig.ask(rig.request(), ONE, payloads="redacted", body=BODY)
    kept = bodies(rig.only_trace)
    assert json.loads(kept["request"]) == {
        "model": "[1 bytes]",
        "messages": [{"role": "user", "content": "[14 bytes]"}],
    }
    assert b"the answer" not in b"".join(kept.values())


async def test_off_keeps_nothing(tmp_path: Path) -> None:
    rig = scripted_rig(tmp_path, answer("hi"))
    async with rig.running():
        await rig.ask(rig.request(), ONE, payloads="off", body=BODY)
    assert rig.only_trace.payloads == ()


# ── redaction ─────────────────────────────────────────────────────────────────────────────────

MARK = "Secret"
secrets = st.text(max_size=8).map(lambda rest: MARK + rest)
names = st.text(st.characters(codec="ascii"), max_size=5).filter(lambda name: MARK not in name)
documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | secrets,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(documents, st.booleans(), st.floats(0, 1), st.sampled_from([None, 1]))
def test_no_string_value_is_left_wherever_the_body_is_cut(
    document: Any, ascii_only: bool, cut: float, indent: int | None
) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    data = body.encode("utf-8", "surrogatepass")
    assert MARK.encode() not in redact(data[: int(len(data) * cut)])


def test_a_string_that_is_cut_within_an_escape_is_one_string() -> None:
    assert redact(b'{"a": "pin 1234\\') == b'{"a": "[8 bytes]"'


@given(st.lists(documents, max_size=3))
def test_no_string_value_of_a_stream_is_left(events: Sequence[Any]) -> None:
    data = b"".join(b"data: %s\n\n" % json.dumps(document).encode() for document in events)
    kept = redact(data + b"data: [DONE]\n\n")
    assert MARK.encode() not in kept
    assert kept.endswith(b"data: [DONE]\n\n")


@given(documents)
def test_what_is_redacted_has_the_same_shape(document: Any) -> None:
    redacted = json.loads(redact(json.dumps(document).encode()))
    assert shape(redacted) == shape(document)


def shape(document: Any) -> Any:
    if isinstance(document, dict):
        return {name: shape(value) for name, value in document.items()}
    if isinstance(document, list):
        return [shape(value) for value in document]
    return "a string" if isinstance(document, str) else document


@given(st.binary(max_size=20))
def test_a_page_that_is_no_json_is_hidden_too(noise: bytes) -> None:
    assert MARK.encode() not in redact(noise + b"<p>Secret</p>")


# ── secrets ───────────────────────────────────────────────────────────────────────────────────

CANARY = "canary-key-8f14e45fceea167a"
"""A provider's key of no known form, so that nothing recognises it by its looks."""
HEADER_CANARY = "canary-header-c9f0f895fb98ab91"

ECHOES: dict[str, tuple[bool, Script]] = {
    "its error body": (False, error(401, f"Incorrect API key provided: {CANARY}")),
    "its error body, of a header": (False, error(500, f"no such team: {HEADER_CANARY}")),
    "an error's code": (
        False,
        [Head(400, JSON), json.dumps({"error": {"message": "no", "code": CANARY}}).encode()],
    ),
    "an error inside a 200": (
        True,
        [Head(), b'data: {"error": {"message": "key %s is over"}}\n\n' % CANARY.encode()],
    ),
    "an error after content": (
        True,
        [
            Head(),
            text("hi"),
            b'data: {"error": {"message": "key %s is over"}}\n\n' % CANARY.encode(),
        ],
    ),
    "a page": (False, [Head(502), f"<html><title>{CANARY}</title>{CANARY}</html>".encode()]),
    "bytes that are no JSON": (False, [Head(headers=JSON), f"oops {CANARY}".encode()]),
    "a stream that is none": (True, [Head(), f"data: oops {CANARY}\n\n".encode()]),
    "nothing": (True, stream("hi")),
    "nothing, and it breaks": (True, [Head(), text("hi"), LOST]),
}


@pytest.mark.parametrize("where", ECHOES)
async def test_a_key_is_in_no_trace_and_no_answer_wherever_the_provider_echoes_it(
    where: str, autojump_clock: MockClock, tmp_path: Path
) -> None:
    streamed, script = ECHOES[where]
    keys = [ProviderKey("a/1", "a", "first", Secret(CANARY), None, None)]
    rig = Rig(ScriptedUpstream(lambda call: script), tmp_path, keys)
    headers = (("x-team", Secret(HEADER_CANARY)),)
    chain = plan(ModelPlan("m", (Route("a", "m", PRICE, headers=headers),)))
    async with rig.running():
        viewer = rig.services.hub.subscribe()
        pieces = await rig.ask(rig.request(stream=streamed), chain)
        seen = [await viewer.receive()]
        while seen[-1]["type"] != "finished":
            seen.append(await viewer.receive())
    assert rig.calls[0].key == CANARY, "it was used"
    for place in (everything(rig.only_trace), everything(seen), said(pieces), repr(rig.alerts)):
        assert CANARY not in place
        assert HEADER_CANARY not in place


def everything(value: object) -> str:
    """All texts in a value; bytes of bodies are read as text, not as Base64."""
    return str(msgspec.to_builtins(value, builtin_types=(bytes,), enc_hook=repr))


def said(pieces: Sequence[Output]) -> str:
    errors = [piece.error for piece in pieces if isinstance(piece, Refusal)]
    return sent(pieces).decode() + repr(errors)
