"""Streams of completions that break, and completions of routes that have only chats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors.outputs import Refusal, WholeAnswer
from signalbox.actors.services import Provider
from signalbox.adapters.completions import CompletionsAdapter
from signalbox.adapters.completions_providers import CompletionsEndpoint
from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.protocol import Adapter
from signalbox.adapters.registry import ProviderAdapters
from signalbox.types import Midstream
from tests.rig import Rig, model, plan, provider_key, sent
from tests.scripted_upstream import LOST, Head, Script, ScriptedUpstream, answer, event, stream
from tests.test_completions import request_of

TWO = replace(plan(model("m", "a", "b")), midstream=Midstream.CONTINUE)


def text(words: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "text": words, "logprobs": None, "finish_reason": finish}
    return event({"id": "c", "object": "text_completion", "model": "m", "choices": [choice]})


DONE = b"data: [DONE]\n\n"


def rig_of(folder: Path, adapters: dict[str, Adapter], *scripts: Script) -> Rig:
    keys = [provider_key(name) for name in adapters]
    rig = Rig(ScriptedUpstream(lambda call: scripts[call.number - 1]), folder, keys)
    for name, adapter in adapters.items():
        rig.services.providers[name] = Provider(speaking(adapter), f"http://{name}/v1")  # type: ignore[index]  # a dict in the rig
    return rig


def speaking(adapter: Adapter) -> ProviderAdapters:
    return ProviderAdapters(lambda model: (adapter,))


def completing(*, raw: bool) -> CompletionsAdapter:
    return CompletionsAdapter("somebody", CompletionsEndpoint(raw=raw))


@pytest.mark.parametrize("raw", [True, False])
async def test_a_broken_stream_goes_on_from_another_route(
    raw: bool, autojump_clock: MockClock, tmp_path: Path
) -> None:
    """By a longer prompt where that reaches the model as it is, else from the start."""
    rest = [text(" time.", "stop")] if raw else [text(" upon a"), text(" time.", "stop")]
    rig = rig_of(
        tmp_path,
        {"a": completing(raw=raw), "b": completing(raw=raw)},
        [Head(), text(" upon"), text(" a "), LOST],
        [Head(), *rest, DONE],
    )
    async with rig.running():
        pieces = await rig.ask(request_of(stream=True), TWO)
    rig.assert_nothing_is_held()
    chunks = [json.loads(it[6:]) for it in sent(pieces).split(b"\n\n") if it[:7] == b"data: {"]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert "".join(choice["text"] for choice in choices) == " upon a time."
    assert [it["finish_reason"] for it in choices if it["finish_reason"]] == ["stop"]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert rig.calls[1].body["prompt"] == ("Once upon a" if raw else "Once")
    assert sent(pieces).endswith(DONE)


# ── at a chat ─────────────────────────────────────────────────────────────────────────────────


def chatting(folder: Path, *scripts: Script) -> Rig:
    return rig_of(folder, {"a": OpenAIAdapter("a")}, *scripts)


async def asked(rig: Rig, **fields: Any) -> Any:
    async with rig.running():
        pieces = await rig.ask(request_of(**fields), plan(model("m", "a")))
    rig.assert_nothing_is_held()
    return pieces


async def test_a_text_becomes_a_users_message_and_the_answer_a_completion(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = chatting(tmp_path, answer("upon a time"))
    [piece] = await asked(rig, prompt="Once", max_tokens=9, temperature=0.5)
    assert isinstance(piece, WholeAnswer), piece
    body = json.loads(piece.body)
    assert body["object"] == "text_completion"
    assert body["choices"][0]["text"] == "upon a time"
    assert body["choices"][0]["finish_reason"] == "stop"
    [call] = rig.calls
    assert call.url == "http://a/v1/chat/completions"
    assert call.body["messages"] == [{"role": "user", "content": "Once"}]
    assert call.body["temperature"] == 0.5


async def test_a_chats_stream_becomes_a_completions(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = chatting(tmp_path, stream("upon ", "a time"))
    pieces = await asked(rig, prompt="Once", stream=True)
    chunks = [json.loads(it[6:]) for it in sent(pieces).split(b"\n\n") if it[:7] == b"data: {"]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert "".join(choice["text"] for choice in choices) == "upon a time"
    assert [it["finish_reason"] for it in choices if it["finish_reason"]] == ["stop"]
    assert sent(pieces).endswith(DONE)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 1}, "logprobs"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
    ],
)
async def test_what_a_chat_cannot_say_skips_it_by_name(
    fields: dict[str, Any], param: str, autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = chatting(tmp_path)
    [piece] = await asked(rig, **fields)
    assert isinstance(piece, Refusal)
    assert (piece.error.code, piece.error.param) == ("unsupported_parameter", param)
