"""One embeddings request that needs several calls of its provider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors.outputs import Refusal, WholeAnswer
from signalbox.actors.services import Provider
from signalbox.adapters.embeddings import EmbeddingsAdapter
from signalbox.adapters.registry import ProviderAdapters
from signalbox.types import Request, RetryPolicy, Timeouts
from tests.embedding_requests import embed_request, embeddings_request
from tests.rig import Rig, model, plan, provider_key
from tests.scripted_upstream import JSON, Call, Head, Script, ScriptedUpstream, Step, Wait, error

TEXTS = [str(i) for i in range(200)]
"""Cohere takes 96 texts a call, so that these are three calls."""


def vectors_of(call: Call) -> Script:
    """Each vector says which text it is of."""
    data = [
        {"object": "embedding", "index": i, "embedding": [float(text)]}
        for i, text in enumerate(call.body["input"])
    ]
    tokens = len(data)
    body = {
        "object": "list",
        "data": data,
        "model": "e",
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return [Head(headers=JSON), json.dumps(body).encode()]


def rig_of(folder: Path, *scripts: Step | Script | None, rpm: int | None = None) -> Rig:
    """`scripts`: what happens to a call instead of an answer, by its number."""

    def script(call: Call) -> Script:
        scripted = scripts[call.number - 1] if call.number <= len(scripts) else None
        match scripted:
            case None:
                return vectors_of(call)
            case Wait():
                return [scripted, *vectors_of(call)]
            case _:
                assert isinstance(scripted, list)
                return scripted

    keys = [provider_key("cohere", rpm=rpm), provider_key("b")]
    rig = Rig(ScriptedUpstream(script), folder, keys)
    for name in ("cohere", "b"):
        adapters = speaking(EmbeddingsAdapter(name))
        rig.services.providers[name] = Provider(adapters, f"http://{name}/v1")  # type: ignore[index]  # a dict in the rig
    return rig


def speaking(adapter: EmbeddingsAdapter) -> ProviderAdapters:
    return ProviderAdapters(lambda model: (adapter,))


ONE, TWO = plan(model("m", "cohere")), plan(model("m", "cohere", "b"))


async def asked(rig: Rig, request: Request, among: Any = ONE) -> Any:
    async with rig.running():
        [piece] = await rig.ask(request, among)
    rig.assert_nothing_is_held()
    return piece


def embeddings(piece: Any) -> list[list[float]]:
    assert isinstance(piece, WholeAnswer), piece
    return [item["embedding"] for item in json.loads(piece.body)["data"]]


async def test_the_calls_go_out_one_after_the_other_and_their_answers_are_one(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = rig_of(tmp_path)
    piece = await asked(rig, embeddings_request(input=TEXTS))
    assert embeddings(piece) == [[float(i)] for i in range(200)]
    assert [call.body["input"] for call in rig.calls] == [TEXTS[:96], TEXTS[96:192], TEXTS[192:]]
    assert json.loads(piece.body)["usage"]["prompt_tokens"] == 200
    [charge] = rig.store.charges.values()
    assert (charge.usage.prompt, charge.usage.completion) == (200, 0)
    assert ("x-signalbox-attempts", "1") in piece.headers


async def test_a_batch_of_gemini_is_split_and_joined_too(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    requests = [{"content": {"parts": [{"text": text}]}} for text in TEXTS]
    rig = rig_of(tmp_path)
    piece = await asked(rig, embed_request(*requests))
    assert json.loads(piece.body) == {"embeddings": [{"values": [float(i)]} for i in range(200)]}
    assert len(rig.calls) == 3


async def test_a_call_that_fails_fails_the_attempt_and_the_next_route_gets_all(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = rig_of(tmp_path, None, error(401, "bad key"))
    piece = await asked(rig, embeddings_request(input=TEXTS), TWO)
    assert embeddings(piece) == [[float(i)] for i in range(200)]
    assert [len(call.body["input"]) for call in rig.calls] == [96, 96, 200]
    assert rig.calls[-1].url == "http://b/v1/embeddings"


async def test_the_answers_clock_covers_all_calls(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = rig_of(tmp_path, Wait(4), Wait(4), Wait(4))
    once = replace(ONE, timeouts=Timeouts(response=10), retry=RetryPolicy(attempts=0))
    piece = await asked(rig, embeddings_request(input=TEXTS), once)
    assert isinstance(piece, Refusal)
    assert piece.error.status == 504
    assert len(rig.calls) == 3


async def test_every_call_counts_against_the_keys_limits(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = rig_of(tmp_path, rpm=3)
    async with rig.running():
        await rig.ask(embeddings_request(input=TEXTS), ONE)
        [room] = await rig.services.key_pool.headrooms([("cohere", "cohere")], 1)
    assert not room.available
    rig.assert_nothing_is_held()


async def test_where_the_keys_limit_is_used_up_a_further_call_waits_for_room(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = rig_of(tmp_path, Wait(40), rpm=2)
    patient = replace(ONE, timeouts=Timeouts(response=200, total=300))
    began = trio.current_time()
    piece = await asked(rig, embeddings_request(input=TEXTS), patient)
    assert len(embeddings(piece)) == 200
    assert [call.at - began for call in rig.calls] == [0, 40, pytest.approx(60)]


async def test_where_room_would_come_too_late_the_attempt_fails(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = rig_of(tmp_path, rpm=2)
    piece = await asked(rig, embeddings_request(input=TEXTS), TWO)
    assert len(embeddings(piece)) == 200
    assert [call.url for call in rig.calls] == [
        *["http://cohere/v1/embeddings"] * 2,
        "http://b/v1/embeddings",
    ]


async def test_a_request_that_fits_is_one_call_as_it_came(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = rig_of(tmp_path)
    piece = await asked(rig, embeddings_request(input="7"))
    assert embeddings(piece) == [[7.0]]
    assert [call.body["input"] for call in rig.calls] == ["7"]
