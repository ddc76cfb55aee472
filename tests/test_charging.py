"""What is charged and why, for each way in which a request can end.

Nobody pays for what was not delivered, and for what was delivered, whatever became of the request;
what providers count beyond that is in the row all the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors.billing import NO_CONTENT
from signalbox.machines.plan import RequestPlan
from signalbox.persistence.stores import AttemptCost, Charge
from signalbox.types import Midstream, NanoUSD, Request, Secret, Timeouts
from tests.rig import Rig, charges_refused, model, plan, scripted_rig
from tests.scripted_upstream import (
    DONE,
    JSON,
    LOST,
    REFUSED,
    ROLE,
    STOP,
    USAGE,
    Head,
    Script,
    Wait,
    answer,
    chunk,
    error,
    event,
    stream,
    text,
)

ONE, TWO = plan(model("m", "a")), plan(model("m", "a", "b"))
QUICK = replace(ONE, timeouts=Timeouts(first_token=5, idle=5, response=9, total=20))

PAID = NanoUSD(10 * 1_000 + 5 * 2_000)
"""Nano-USD: what the scripted providers say they counted, at 1 and 2 dollars a million."""
PROMPT = 10 * 1_000
"""The prompt alone, as it is estimated where nobody counted."""


def whole(message: dict[str, Any], finish: str, **counted: Any) -> Script:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    body = {"object": "chat.completion", "choices": [choice], "usage": USAGE | counted}
    return [Head(headers=JSON), json.dumps(body).encode()]


THOUGHT = {"completion_tokens_details": {"reasoning_tokens": 5}}
CALL = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PICTURE = {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}
SOUND = {"content": None, "audio": {"id": "a", "data": "AA==", "expires_at": 1, "transcript": ""}}
LENGTH = chunk({}, "length")
BROKEN = event({"error": {"message": "no", "code": 500}})
TOOL = chunk({"tool_calls": [{"index": 0, **CALL}]})
TOLD_THOUGHT = chunk({"reasoning_content": "hm, well"})

ENDS: dict[str, tuple[Script, bool, RequestPlan, str, int, int | None]] = {
    # name: what the provider does, streamed?, plan; reason, amount, upstream cost
    "answered": (answer("hi"), False, ONE, "answered", PAID, PAID),
    "answered, streamed": (stream("hi"), True, ONE, "answered", PAID, PAID),
    "tool calls alone": (
        whole({"content": None, "tool_calls": [CALL]}, "tool_calls"),
        False,
        ONE,
        "answered",
        PAID,
        PAID,
    ),
    "tool calls alone, streamed": (
        [Head(), ROLE, TOOL, chunk({}, "tool_calls"), DONE],
        True,
        ONE,
        "answered",
        PAID,
        PAID,
    ),
    "a refusal": (whole({"refusal": "I won't"}, "stop"), False, ONE, "answered", PAID, PAID),
    "a refusal, streamed": (
        [Head(), ROLE, chunk({"refusal": "I won't"}), STOP, DONE],
        True,
        ONE,
        "answered",
        PAID,
        PAID,
    ),
    "a picture alone": (whole(PICTURE, "stop"), False, ONE, "answered", PAID, PAID),
    "sound alone": (whole(SOUND, "stop"), False, ONE, "answered", PAID, PAID),
    "reasoning that is told": (
        [Head(), ROLE, TOLD_THOUGHT, LENGTH, DONE],
        True,
        ONE,
        "answered",
        PAID,
        PAID,
    ),
    "hidden reasoning alone, cut off": (
        whole({"content": ""}, "length", **THOUGHT),
        False,
        ONE,
        NO_CONTENT,
        0,
        PAID,
    ),
    "hidden reasoning alone, cut off, streamed": (
        [Head(), ROLE, LENGTH, DONE],
        True,
        ONE,
        NO_CONTENT,
        0,
        PAID,
    ),
    "hidden reasoning alone": (
        whole({"content": ""}, "stop", **THOUGHT),
        False,
        replace(ONE, retry=replace(ONE.retry, attempts=0)),
        NO_CONTENT,
        0,
        PAID,
    ),
    "filtered": (whole({"content": ""}, "content_filter"), False, ONE, NO_CONTENT, 0, PAID),
    "broken in the middle": (
        [Head(), ROLE, text("four char"), LOST],
        True,
        replace(ONE, midstream=Midstream.ERROR),
        "broken",
        PROMPT + 3 * 2_000,
        PROMPT + 3 * 2_000,
    ),
    "silent in the middle": (
        [Head(), ROLE, text("four"), Wait(99)],
        True,
        replace(QUICK, midstream=Midstream.ERROR),
        "broken",
        PROMPT + 2_000,
        PROMPT + 2_000,
    ),
    "the deadline in the middle": (
        [Head(), *[step for _ in range(9) for step in (text("four"), Wait(4.5))]],
        True,
        QUICK,
        "deadline",
        PROMPT + 5 * 2_000,
        PROMPT + 5 * 2_000,
    ),
    "late": ([Wait(99)], False, QUICK, NO_CONTENT, 0, None),
    "late, streamed": ([Head(), ROLE, Wait(99)], True, QUICK, NO_CONTENT, 0, None),
    "an error in the stream before content": (
        [Head(), ROLE, BROKEN],
        True,
        ONE,
        NO_CONTENT,
        0,
        None,
    ),
    "cut off before content, counted": (
        [Head(), event({"choices": [], "usage": USAGE}), LOST],
        True,
        ONE,
        NO_CONTENT,
        0,
        PAID,
    ),
}


@pytest.mark.parametrize("end", ENDS)
async def test_each_end_is_charged_as_it_delivered(
    end: str, autojump_clock: MockClock, tmp_path: Path
) -> None:
    script, streamed, chain, reason, amount, upstream_cost = ENDS[end]
    once = replace(chain, retry=replace(chain.retry, attempts=0))
    rig = scripted_rig(tmp_path, script)
    async with rig.running():
        await rig.ask(rig.request(stream=streamed), once)
    charge = the_only(rig)
    assert (charge.reason, charge.amount, charge.upstream_cost) == (reason, amount, upstream_cost)
    assert charge.attempts == (AttemptCost(1, "a", "m", charge.upstream_cost),)
    assert (rig.only_trace.cost, rig.only_trace.usage) == (charge.amount, charge.usage)


def the_only(rig: Rig) -> Charge:
    [charge] = rig.store.charges.values()
    return charge


@pytest.mark.parametrize(
    "script",
    [[REFUSED], error(400), error(401), error(429), error(503)],
    ids=["never reached", "400", "401", "429", "503"],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_no_provider_bills_is_no_row(
    script: Script, streamed: bool, autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, *[script] * 3)
    async with rig.running():
        impatient = replace(ONE, retry=replace(ONE.retry, max_wait=0))
        await rig.ask(rig.request(stream=streamed), impatient)
    assert rig.only_trace.state == "failed"
    assert not rig.store.charges


# The client leaves


@pytest.mark.parametrize(
    ("script", "streamed", "after", "reason", "amount"),
    [
        ([Wait(99)], False, 1.0, NO_CONTENT, 0),
        ([Head(), ROLE, Wait(99)], True, 1.0, NO_CONTENT, 0),
        ([Head(), ROLE, text("four"), Wait(30)], True, 1.0, "cancelled", PROMPT + 2_000),
    ],
)
async def test_a_client_that_leaves_pays_for_what_it_had(
    script: Script,
    streamed: bool,
    after: float,
    reason: str,
    amount: int,
    autojump_clock: MockClock,
    tmp_path: Path,
) -> None:
    rig = scripted_rig(tmp_path, script)
    runner, pieces = rig.runner(rig.request(stream=streamed), ONE)
    async with rig.running(), trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(after)
        runner.client_gone()
        pieces.close()
    charge = the_only(rig)
    assert (charge.reason, charge.amount) == (reason, amount)
    cost = None if reason == NO_CONTENT else NanoUSD(amount)
    assert charge.attempts == (AttemptCost(1, "a", "m", cost),)


async def test_an_answer_is_charged_or_not_sent_when_the_deadline_comes_during_its_charge(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, [Wait(8), *answer("hi")], work_seconds=13)
    async with rig.running():
        await trio.sleep(13)  # The ledger has looked at its spool.
        [piece] = await rig.ask(rig.request(), QUICK)
    assert type(piece).__name__ == "WholeAnswer"
    assert the_only(rig).amount == PAID


# Several attempts


async def test_the_row_has_what_each_attempt_cost(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """One that gave nothing but was counted, one that nobody knows of, one that never arrived, one
    that was refused, and the one that answered."""
    rig = scripted_rig(
        tmp_path,
        whole({"content": ""}, "stop"),
        [Wait(99)],
        [REFUSED],
        error(503),
        answer("hi"),
        providers="abcde",
    )
    chain = replace(QUICK, models=(model("m", *"abcde"),))
    once = replace(chain, retry=replace(chain.retry, attempts=0))
    async with rig.running():
        await rig.ask(rig.request(), once)
    charge = the_only(rig)
    assert charge.attempts == (
        AttemptCost(1, "a", "m", PAID),
        AttemptCost(2, "b", "m", None),
        AttemptCost(5, "e", "m", PAID),
    )
    assert (charge.amount, charge.upstream_cost) == (PAID, 2 * PAID)
    assert (charge.provider, charge.reason) == ("e", "answered")


async def test_a_request_that_nobody_answered_says_what_it_cost(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, whole({"content": ""}, "stop"), whole({"content": ""}, "stop"))
    async with rig.running():
        await rig.ask(rig.request(), replace(TWO, retry=replace(TWO.retry, attempts=0)))
    charge = the_only(rig)
    assert (charge.amount, charge.upstream_cost, charge.reason) == (0, 2 * PAID, NO_CONTENT)
    assert rig.only_trace.state == "failed"


async def test_an_unknown_price_is_not_zero(autojump_clock: MockClock, tmp_path: Path) -> None:
    known = model("m", "a", "b")
    unpriced = replace(known.routes[0], price=replace(known.routes[0].price, input=None))
    chain = replace(ONE, models=(replace(known, routes=(unpriced,)),))
    rig = scripted_rig(tmp_path, answer("hi"))
    async with rig.running():
        await rig.ask(rig.request(), chain)
    charge = the_only(rig)
    assert (charge.amount, charge.upstream_cost) == (None, None)
    assert charge.attempts == (AttemptCost(1, "a", "m", None),)


def of_the_caller(rig: Rig, *providers: str, **fields: Any) -> Request:
    keys = {provider: Secret(f"own-{provider}") for provider in providers}
    return replace(rig.request(**fields), byok=keys)


async def test_what_came_on_the_caller_s_key_is_not_charged_and_says_so(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, answer("hi"))
    async with rig.running():
        await rig.ask(of_the_caller(rig, "a"), ONE)
    charge = the_only(rig)
    assert (charge.amount, charge.upstream_cost, charge.is_byok) == (0, PAID, True)
    assert charge.attempts == (AttemptCost(1, "a", "m", PAID, is_byok=True),)


async def test_what_the_gateway_s_key_served_is_charged_after_the_caller_s_failed(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, whole({"content": ""}, "stop"), answer("hi"))
    async with rig.running():
        await rig.ask(of_the_caller(rig, "a"), replace(TWO, retry=replace(TWO.retry, attempts=0)))
    charge = the_only(rig)
    assert (charge.amount, charge.upstream_cost, charge.is_byok) == (PAID, 2 * PAID, False)
    assert [each.is_byok for each in charge.attempts] == [True, False]


async def test_the_row_says_who_asked_and_by_which_prices(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, answer("hi"))
    request = replace(rig.request(), account="team", user="anna", tags=("x", "y"))
    async with rig.running():
        await rig.ask(request, replace(ONE, config_version="0123abcd"))
    charge = the_only(rig)
    assert (charge.account, charge.end_user, charge.tags) == ("team", "anna", ("x", "y"))
    assert charge.price_source == "config 0123abcd"


async def test_an_error_is_not_held_up_by_a_row_that_cannot_be_written(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, [Wait(99)], spool_bytes=0)
    async with rig.running():
        rig.store.fault = charges_refused
        [piece] = await rig.ask(rig.request(), replace(QUICK, retry=replace(ONE.retry, attempts=0)))
    assert piece.error.status == 504  # type: ignore[union-attr]
    assert rig.only_trace.cost is None
    assert rig.alerts == []
