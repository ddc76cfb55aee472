"""The runner under budgets: what it holds, extends, cuts, settles and gives back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors.answer_sizes import ENOUGH, MOST_PAIRS, SAMPLES, AnswerSizes
from signalbox.actors.outputs import Output, Refusal, WholeAnswer
from signalbox.machines.budget import Budget, BudgetScope
from signalbox.machines.plan import RequestPlan
from signalbox.types import Dialect, Midstream, ModelPlan, Price, Route
from tests.dialect_streams import APIS, BODIES, CHAT, Api, request_of, rig_of, told_by
from tests.money_desk import budget
from tests.rig import PRICE, Rig, charges_refused, model, plan, provider_key, scripted_rig, sent
from tests.scripted_upstream import (
    LOST,
    ROLE,
    STOP,
    Call,
    Head,
    Script,
    ScriptedUpstream,
    Step,
    Wait,
    answer,
    error,
    event,
    stream,
    text,
)
from tests.spendings import VISIBLE, spending

# The prompt is bounded by 1,000 tokens: $0.001. A token of output is $0.000002.
BASE, TOKEN = 1_000_000, 2000
ENDS = {
    Dialect.CHAT: "length",
    Dialect.RESPONSES: "response.incomplete",
    Dialect.MESSAGES: "max_tokens",
    Dialect.GENERATE: "MAX_TOKENS",
}


def visible(*models: ModelPlan) -> tuple[ModelPlan, ...]:
    return tuple(
        replace(it, routes=tuple(replace(r, capabilities=VISIBLE) for r in it.routes))
        for it in models
    )


def under(*models: ModelPlan, limit: float = 1.0, **fields: Any) -> tuple[RequestPlan, Budget]:
    """A plan of a request under one hard budget, and the budget."""
    watched = budget(limit, scope=BudgetScope.GLOBAL)
    terms = spending(budgets=(watched,), **fields)
    return replace(plan(*models), spending=terms), watched


def held(rig: Rig, watched: Budget) -> tuple[int, int]:
    """Spent and held, in nano-USD."""
    counter = rig.money_store.standings([watched], rig.wall_clock())[0]
    return getattr(counter, "spent", 0), getattr(counter, "held", 0)


# ── whole answers ─────────────────────────────────────────────────────────────────────────────


async def test_a_whole_answer_is_told_its_length_and_charged(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, answer("hi"))
    asked, watched = under(model("m", "a"))
    async with rig.running():
        [piece] = await rig.ask(rig.request(), asked, budgets=[watched])
        assert held(rig, watched) == (10 * 1000 + 5 * 2000, 0)
    assert isinstance(piece, WholeAnswer)
    assert rig.calls[0].body["max_tokens"] == 1000
    rig.assert_nothing_is_held()


async def test_without_hard_budgets_the_body_is_the_clients_own(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, answer("hi"), answer("hi"))
    soft = budget(0.000001, hard=False, scope=BudgetScope.GLOBAL)
    async with rig.running():
        await rig.ask(rig.request(), plan(model("m", "a")))
        [piece] = await rig.ask(rig.request(), plan(model("m", "a")), budgets=[soft])
        await trio.sleep(5)
    assert isinstance(piece, WholeAnswer)
    assert rig.calls[0].body == rig.calls[1].body
    assert any("name of b" in alert for alert in rig.alerts)


async def test_what_is_not_there_is_402_and_nothing_is_sent(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path)
    asked, watched = under(model("m", "a"), limit=0.001)
    async with rig.running():
        [piece] = await rig.ask(rig.request(), asked, budgets=[watched])
    assert isinstance(piece, Refusal)
    assert (piece.error.status, piece.error.code) == (402, "budget_exceeded")
    assert rig.calls == []
    rig.assert_nothing_is_held()


@pytest.mark.parametrize("script", [error(400), error(503)])
async def test_what_fails_gives_its_hold_back(
    script: Script, autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, *[script] * 9)
    asked, watched = under(model("m", "a"))
    async with rig.running():
        await rig.ask(rig.request(), asked, budgets=[watched])
        assert held(rig, watched) == (0, 0)


async def test_a_crash_and_a_client_that_leaves_give_it_back(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = scripted_rig(tmp_path, [Head(), Wait(100)], answer("hi"))
    asked, watched = under(model("m", "a"))
    async with rig.running():
        runner, _ = rig.runner(rig.request(stream=True), asked, budgets=[watched])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run)
            await trio.sleep(1)
            assert held(rig, watched) != (0, 0)
            runner.client_gone()
        assert held(rig, watched) == (0, 0)
        monkeypatch.setattr("signalbox.actors.runner.AttemptTools", None)
        [piece] = await rig.ask(rig.request(), asked, budgets=[watched])
        assert isinstance(piece, Refusal)
        assert piece.error.status == 500
        assert held(rig, watched) == (0, 0)


async def test_a_lost_charge_stays_held(autojump_clock: MockClock, tmp_path: Path) -> None:
    rig = scripted_rig(tmp_path, answer("hi"), spool_bytes=0)
    asked, watched = under(model("m", "a"))
    async with rig.running():
        rig.store.fault = charges_refused
        await rig.ask(rig.request(), asked, budgets=[watched])
        assert held(rig, watched)[1] == BASE + 1000 * TOKEN


# ── streams that are cut ──────────────────────────────────────────────────────────────────────


def long_stream(api: Api, pieces: int) -> list[Step]:
    said = [api.text("x" * 100) for _ in range(pieces)]
    return [Head(), *api.begin, *api.opening, *said, *api.end]


@pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)
@pytest.mark.parametrize("door", BODIES)
async def test_a_stream_that_outgrows_its_budget_ends_with_length(
    door: Dialect, api: Api, autojump_clock: MockClock, tmp_path: Path
) -> None:
    script = long_stream(api, 50)
    script = [
        step.replace(b'{"type"', b'{"sequence_number": %d, "type"' % (place - 1), 1)
        if isinstance(step, bytes)
        else step
        for place, step in enumerate(script)
    ]
    rig = rig_of(tmp_path, lambda call: script)
    # Room for the prompt and 2,000 bytes.
    asked, watched = under(
        *visible(ModelPlan("m", (Route(api.name, api.model, PRICE),))),
        limit=0.005,
        streamed=True,
    )
    async with rig.running():
        pieces = await rig.ask(request_of(rig, door), asked, budgets=[watched])
        spent, left = held(rig, watched)
        assert spent <= 5_000_000
        assert left == 0
    told = told_by(door, sent(pieces))
    assert (told.ends, told.error) == ([ENDS[door]], None)
    assert 1500 <= len(told.text) <= 2000
    [charge] = rig.store.charges.values()
    assert charge.amount is not None
    assert charge.usage.completion == len(told.text) // 4 or not charge.usage.estimated
    trace = rig.only_trace
    [note] = [it.data for it in trace.events if it.name == "budget_reached"]
    assert note == {
        "attempt": 1,
        "held": "$0.005",
        "budgets": "the budget 'name of b' ($0.005 per day)",
    }
    rig.assert_nothing_is_held()


async def test_a_stream_that_fits_is_extended_unseen(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = rig_of(tmp_path, lambda call: long_stream(CHAT, 50))
    route = Route(CHAT.name, CHAT.model, PRICE)
    asked, watched = under(*visible(ModelPlan("m", (route,))), streamed=True)
    async with rig.running():
        pieces = await rig.ask(request_of(rig, Dialect.CHAT), asked, budgets=[watched])
        assert held(rig, watched) == (10 * 1000 + 5 * 2000, 0)
    told = told_by(Dialect.CHAT, sent(pieces))
    assert (told.ends, len(told.text)) == (["stop"], 5000)


async def test_a_rescue_is_paid_for_or_passed_over(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    broken: Script = [Head(), ROLE, text("x" * 100), LOST]
    for limit, ends in ((1.0, b'"stop"'), (0.0013, b"bad_upstream")):
        rig = scripted_rig(tmp_path / str(limit), broken, stream("x" * 100, " and so on"))
        asked, watched = under(*visible(model("m", "a", "b")), limit=limit, streamed=True)
        asked = replace(asked, midstream=Midstream.CONTINUE)
        (tmp_path / str(limit)).mkdir()
        async with rig.running():
            pieces = await rig.ask(rig.request(stream=True), asked, budgets=[watched])
            assert held(rig, watched)[1] == 0
        assert ends in sent(pieces)
        assert len(rig.calls) == (2 if limit == 1.0 else 1)


# ── never over ────────────────────────────────────────────────────────────────────────────────


def capped(call: Call) -> list[Step]:
    """As long an answer as was allowed, of a prompt as long as it can be."""
    most = call.body.get("max_tokens", 4000)
    usage = {"prompt_tokens": 1000, "completion_tokens": most}
    if call.body.get("stream"):
        done = event({"id": "c", "choices": [], "usage": {**usage, "completion_tokens": 600}})
        said = [text("y" * 60) for _ in range(10)]
        return [Head(), ROLE, Wait(call.number % 3), *said, STOP, done, b"data: [DONE]\n\n"]
    whole = json.loads(b"".join(it for it in answer("hi") if isinstance(it, bytes)))
    head = [it for it in answer("hi") if isinstance(it, Head)]
    return [*head, Wait(call.number % 5), json.dumps({**whole, "usage": usage}).encode()]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_thousand_at_once_never_pass_a_hard_ceiling(
    streamed: bool, autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = Rig(ScriptedUpstream(capped), tmp_path, [provider_key("a")])
    limit = 0.2
    asked, watched = under(*visible(model("m", "a")), limit=limit, streamed=streamed)
    answers: list[Sequence[Output]] = []

    async def ask() -> None:
        answers.append(await rig.ask(rig.request(stream=streamed), asked, budgets=[watched]))

    async with rig.running(), trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(ask)
    charged = sum(charge.amount or 0 for charge in rig.store.charges.values())
    assert 0.5 * limit * 10**9 < charged <= limit * 10**9
    refused = [it for [it, *_] in answers if isinstance(it, Refusal)]
    assert {it.error.code for it in refused} == {"budget_exceeded"}
    assert len(answers) == 1000
    assert not any("exceeded" in alert for alert in rig.alerts)
    rig.assert_nothing_is_held()


@pytest.mark.parametrize("capabilities", [VISIBLE, None])
@pytest.mark.parametrize("ceiling", [None, 128_000])
@pytest.mark.parametrize("streamed", [False, True])
async def test_five_dollars_serve_three_calls_of_a_model_that_may_write_a_book(
    streamed: bool,
    ceiling: int | None,
    capabilities: frozenset[str] | None,
    autojump_clock: MockClock,
    tmp_path: Path,
) -> None:
    dear = Price(input=Decimal(15), output=Decimal(75))
    route = Route("a", "m", dear, max_output=128_000, capabilities=capabilities)
    script = stream("hi") if streamed else answer("hi")
    rig = scripted_rig(tmp_path, *[[Wait(5), *script]] * 3)
    asked, watched = under(
        ModelPlan("m", (route,)), limit=5.0, streamed=streamed, ceiling=ceiling, usual=8192
    )
    kinds = list[str]()

    async def ask() -> None:
        pieces = await rig.ask(rig.request(stream=streamed), asked, budgets=[watched])
        kinds.append(type(pieces[0]).__name__)

    async with rig.running(), trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
    assert kinds == ["StreamHead" if streamed else "WholeAnswer"] * 3
    assert len(rig.calls) == 3


# ── what is usual ─────────────────────────────────────────────────────────────────────────────


def test_the_95th_percentile_of_the_latest_answers() -> None:
    sizes = AnswerSizes()
    for tokens in range(ENOUGH - 1):
        sizes.learn("m", "k", tokens)
    assert sizes.expected("m", "k") is None
    for tokens in range(1000, 1000 + SAMPLES):
        sizes.learn("m", "k", tokens)
    assert sizes.expected("m", "k") == 1000 + SAMPLES * 95 // 100
    assert sizes.expected("m", "other") is None


def test_as_many_pairs_as_there_is_room_for() -> None:
    sizes = AnswerSizes()
    for number in range(MOST_PAIRS + 10):
        sizes.learn("m", str(number), 1)
    assert len(sizes) == MOST_PAIRS
