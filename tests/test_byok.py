"""A caller's own key: where it goes, what it changes, and that it is kept nowhere."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors import runner as runner_module
from signalbox.actors.outputs import Refusal, WholeAnswer
from signalbox.adapters.openai import OpenAIAdapter
from signalbox.simulator import Step
from signalbox.types import Request, Secret
from tests.lanes import Lanes, json_and_stream, running_lanes, served_by
from tests.rig import Rig, model, plan, scripted_rig
from tests.scripted_upstream import answer, error, stream
from tests.viewer import viewer

CANARY = "sk-canary-3fd4a1b7c05e"
TWO = plan(model("m", "a", "b"))


def bringing(rig: Rig, provider: str, *, streamed: bool = False) -> Request:
    """A request of a conversation, with a key for this provider."""
    request = rig.request(stream=streamed)
    return replace(request, byok={provider: Secret(CANARY)}, conversation="c")


def calls(rig: Rig) -> list[tuple[str, str]]:
    """Provider and key, call by call."""
    return [(call.url.split("/")[2], call.key) for call in rig.calls]


# ── where it goes ─────────────────────────────────────────────────────────────────────────────


async def test_the_key_goes_first_and_to_its_own_provider_alone(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, error(429), answer("hi"))
    async with rig.running():
        [piece] = await rig.ask(bringing(rig, "b"), TWO)
    assert isinstance(piece, WholeAnswer)
    assert calls(rig) == [("b", CANARY), ("a", "a-key")]
    rig.assert_nothing_is_held()


@pytest.mark.parametrize("status", [402, 403, 404, 429])
async def test_what_its_account_lacks_is_no_fault_of_the_pooled_key_or_the_operator(
    status: int, autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, *[error(status), answer("b's")] * 3, answer("a's"))
    async with rig.running():
        for _ in range(3):
            await rig.ask(bringing(rig, "a"), TWO)
        await rig.ask(rig.request(), TWO)
    assert calls(rig) == [("a", CANARY), ("b", "b-key")] * 3 + [("a", "a-key")]
    assert rig.alerts == []
    rig.assert_nothing_is_held()


async def test_a_refused_key_is_the_caller_s_401_and_the_pooled_one_works_on(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, *[error(401)] * 3, answer("hi"))
    async with rig.running():
        for _ in range(3):
            [refused] = await rig.ask(bringing(rig, "a"), TWO)
            assert isinstance(refused, Refusal)
            told = refused.error
            assert (told.status, told.code, told.param) == (401, "invalid_api_key", "extra.byok")
        await rig.ask(rig.request(), TWO)
    assert calls(rig) == [("a", CANARY)] * 3 + [("a", "a-key")]
    assert rig.alerts == []
    rig.assert_nothing_is_held()


async def test_a_provider_without_room_in_the_pool_has_room_for_the_caller_s_key(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, *[error(429, retry_after="600")] * 2, answer("hi"))
    async with rig.running():
        await rig.ask(rig.request(), TWO)
        [piece] = await rig.ask(bringing(rig, "a"), TWO)
    assert isinstance(piece, WholeAnswer)
    assert calls(rig)[-1] == ("a", CANARY)


async def test_who_pays_the_provider_is_charged_nothing_here(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, answer("hi"))
    async with rig.running():
        [piece] = await rig.ask(bringing(rig, "a"), TWO)
    assert isinstance(piece, WholeAnswer)
    assert ("x-signalbox-cost", "0") in piece.headers
    [charge] = rig.store.charges.values()
    assert (charge.amount, charge.upstream_cost) == (0, 20_000)


async def test_another_account_s_prompt_cache_is_not_taken_for_this_one_s(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, answer("hi"))
    async with rig.running():
        await rig.ask(bringing(rig, "a"), TWO)
    assert len(rig.services.affinity) == 0
    rig.services.affinity.remember("c", "a:m", "a/key", 1000)
    with_key = await rig.services.candidates(bringing(rig, "a"), TWO.models[0].routes, 0.0)
    without = await rig.services.candidates(bringing(rig, "b"), TWO.models[0].routes, 0.0)
    assert [with_key[0].warm is None, without[0].warm is None] == [True, False]


# ── that it is kept nowhere ───────────────────────────────────────────────────────────────────


def crash(*args: object, **fields: object) -> Any:
    raise ZeroDivisionError("a mistake in the program")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("owner", "name"),
    [(OpenAIAdapter, "build"), (OpenAIAdapter, "rate_limits"), (runner_module, "charge_of")],
)
async def test_a_crash_tells_no_key(
    owner: Any,
    name: str,
    streamed: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: MockClock,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(owner, name, crash)
    rig = scripted_rig(tmp_path, *[stream("hi") if streamed else answer("hi")] * 2)
    async with rig.running():
        pieces = await rig.ask(bringing(rig, "a", streamed=streamed), TWO)
    assert "ZeroDivisionError" in caplog.text
    for kept in (caplog.text, repr(pieces), repr(rig.only_trace), repr(rig.alerts)):
        assert CANARY not in kept
    rig.assert_nothing_is_held()


@pytest.fixture(scope="module")
def lanes() -> Iterator[Lanes]:
    models = {"m": served_by("first", "second")}
    with running_lanes([models] * len(FAULTS) * 6) as running:
        yield running


FAULTS: Mapping[str, dict[str, Any]] = {
    "answered": {"text": "hello"},
    "refused": {"status": 401},
    "limited": {"status": 429, "headers": {"retry-after": 20}},
    "broken": {"status": 500},
    "cut": {"cut_after": 1},
}


@pytest.mark.parametrize(
    ("by_header", "payloads"), [(False, "full"), (False, "redacted"), (True, "full")]
)
@json_and_stream
@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_but_its_provider_ever_sees_the_key(
    lanes: Lanes, fault: str, stream: bool, by_header: bool, payloads: str
) -> None:
    lane = lanes.next()
    key = lane.key("canary")
    fields = FAULTS[fault]
    if "status" in fields:
        fields = fields | {"body": {"error": {"message": f"Not with the API key {key}."}}}
    lane.plays(canary=Step(**fields))
    extra = {"byok": {lane.provider("second"): key}, "payloads": payloads, "retry": 0}
    with viewer(lane.gateway.url) as watching:
        if by_header:
            seen = lane.ask("m", {"x-signalbox-extra": json.dumps(extra)}, stream=stream)
        else:
            seen = lane.ask("m", stream=stream, extra=extra)
        shown = watching.until("finished")
    trace = lane.trace(seen).raw
    assert "request" in [payload["kind"] for payload in trace["payloads"]]
    for kept in (seen.body.decode(), seen.headers, shown, trace, lane.gateway.output):
        assert key not in str(kept)
    for file in lane.gateway.data_dir.rglob("*"):
        assert not file.is_file() or key.encode() not in file.read_bytes(), file
    with_key, others = lane.calls("canary"), lane.calls("first")
    assert len(with_key) + len(others) == len(lane.calls())
    assert carrying(key, with_key) == {"authorization"}
    assert carrying(key, others) == set()
    assert bool(others) == (fault not in ("answered", "refused"))


def carrying(key: str, calls: Sequence[Mapping[str, Any]]) -> set[str]:
    """The parts of received requests that hold the key."""
    return {
        name
        for call in calls
        for name, value in {**call["headers"], "body": call["body"], "path": call["path"]}.items()
        if key in str(value)
    }
