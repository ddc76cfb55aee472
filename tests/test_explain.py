"""What is explained of a request is what the request then does."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors.ports import UpstreamError, UpstreamErrorKind
from signalbox.errors import Failure, FailureKind
from signalbox.http.asgi import RequestError
from signalbox.http.explain_api import ExplainAnswer, explained, random_of
from signalbox.http.intake import Intake
from signalbox.machines import commands as c
from signalbox.machines import facts as f
from signalbox.machines.decisions import VERDICTS, Step
from signalbox.machines.explaining import (
    Considered,
    Explanation,
    ModelExplained,
    StrategySource,
    explain,
)
from signalbox.machines.lifecycle import Event
from signalbox.machines.plan import Pin, RequestPlan
from signalbox.machines.request import decide, start
from signalbox.types import ModelPlan, Price, ProviderPreferences, RetryPolicy, Route, Strategy
from tests.candidates import (
    NO_EXPLORING,
    NOW,
    any_candidates,
    any_wishes,
    candidate,
    randoms,
)
from tests.rig import Rig, provider_key
from tests.scripted_upstream import LOST, Call, Script, ScriptedUpstream, answer, error

Surveys = Mapping[str, f.RoutesSurveyed]
Way = list[tuple[str, str, str]]
"""Model, route and the reason for it, call by call."""

NEXT_ROUTE = [kind for kind, ruling in VERDICTS.items() if ruling.step is Step.NEXT_ROUTE]


# ── the machine takes the same way ────────────────────────────────────────────────────────────


def surveyed(models: Mapping[str, Sequence[f.Candidate]], random: float = NO_EXPLORING) -> Surveys:
    return {
        name: f.RoutesSurveyed(NOW, tuple(candidates), random)
        for name, candidates in models.items()
    }


def chain(surveys: Surveys, **fields: Any) -> RequestPlan:
    """A plan whose models are those that were surveyed, in order."""
    models = tuple(
        ModelPlan(name, tuple(each.route for each in survey.candidates))
        for name, survey in surveys.items()
    )
    usual: dict[str, Any] = {"stream": False, "prompt_tokens": 1000, "output_tokens": 1000}
    return RequestPlan(models, **(usual | fields))


def played(plan: RequestPlan, surveys: Surveys, failures: Iterator[FailureKind]) -> Way:
    """The calls that the machine makes while each of them fails, and the surveys stay the same."""
    state, commands = start(plan, NOW)
    todo, way = deque(commands), []
    while todo:
        fact: f.Fact | None = None
        match command := todo.popleft():
            case c.AdmitRequest():
                fact = f.RequestAdmitted(NOW)
            case c.SurveyRoutes():
                fact = surveys[state.model.name]
            case c.AcquireLease():
                fact = f.LeaseGranted(NOW, command.attempt, "k1", "k1")
            case c.RecordTransition(event=Event.ROUTE_SELECTED):
                way.append(
                    (state.model.name, f"{command.provider}:{command.model}", command.reason)
                )
            case c.OpenUpstream():
                failure = Failure(next(failures), "its words")
                fact = f.UpstreamFailed(NOW, command.attempt, failure, 0.5)
        if fact is not None:
            state, commands = decide(state, fact)
            todo += commands
    return way


def way_of(models: Sequence[ModelExplained]) -> Way:
    return [
        (model.plan.name, each.candidate.route.id, each.reason)
        for model in models
        for each in model.ranked
    ]


def routes_of(considered: Sequence[Considered]) -> list[str]:
    return [each.candidate.route.id for each in considered]


@st.composite
def any_surveys(draw: st.DrawFn) -> Surveys:
    """Of up to three models, some of which share routes."""
    random = draw(randoms)
    models = {}
    for name in "mno"[: draw(st.integers(1, 3))]:
        served_as = draw(st.sampled_from(["m", name]))
        models[name] = [
            replace(each, route=replace(each.route, model=served_as))
            for each in draw(any_candidates)
        ]
    return surveyed(models, random)


plans = st.fixed_dictionaries(
    {
        "strategy": st.sampled_from(Strategy),
        "preferences": any_wishes,
        "stream": st.booleans(),
        "hedge": st.booleans(),
        "pin": st.none()
        | st.builds(
            Pin,
            field=st.just("previous_response_id"),
            route_id=st.sampled_from(["a:m", "b:n"]),
            key_id=st.just("k1"),
            required=st.booleans(),
        ),
        "retry": st.builds(RetryPolicy, max_attempts_total=st.sampled_from([1, 3, 12])),
    }
)


@given(any_surveys(), plans, st.sampled_from(NEXT_ROUTE))
def test_the_machine_takes_the_explained_way_with_the_explained_reasons(
    surveys: Surveys, fields: dict[str, Any], failure: FailureKind
) -> None:
    plan = chain(surveys, **fields)
    told = explain(plan, surveys)
    assert way_of(told.models) == played(plan, surveys, iter(lambda: failure, None))
    for model in told.models:
        if not model.skipped:
            routes = [*routes_of(model.ranked), *routes_of(model.excluded)]
            assert sorted(routes) == sorted(route.id for route in model.plan.routes)
        assert all(each.exclusion is not None for each in model.excluded)


@given(any_surveys(), plans, st.sampled_from(["context", "content"]))
def test_after_a_refusal_of_the_request_itself_too(
    surveys: Surveys, fields: dict[str, Any], what: str
) -> None:
    whole = chain(surveys, **fields)
    fallbacks: dict[str, Any] = {f"{what}_fallbacks": whole.models[1:]}
    plan = replace(whole, models=whole.models[:1], **fallbacks)
    refused = {"context": FailureKind.CONTEXT_LENGTH, "content": FailureKind.CONTENT_POLICY}[what]
    told: tuple[ModelExplained, ...] = getattr(explain(plan, surveys), f"{what}_fallbacks")
    way = played(plan, surveys, iter([refused, *[NEXT_ROUTE[0]] * 20]))
    assert way_of(told) == [call for call in way if call[0] != plan.models[0].name]


# ── what is told beside the order ─────────────────────────────────────────────────────────────


def explained_by(surveys: Surveys, **fields: Any) -> Explanation:
    return explain(chain(surveys, **fields), surveys)


def test_an_exclusion_says_what_a_client_would_be_told_and_when_there_is_room() -> None:
    cooling = f.Headroom(False, None, NOW + 7, f.Unavailable.COOLING)
    surveys = surveyed(
        {
            "m": [
                candidate("fit"),
                candidate("lacks", unsupported=("tools",)),
                candidate("full", headroom=cooling),
                candidate("unwanted"),
            ]
        }
    )
    told = explained_by(surveys, preferences=ProviderPreferences(ignore=("unwanted",)))
    [model] = told.models
    found = {each.candidate.route.provider: each.exclusion for each in model.excluded}
    assert {
        name: (each.kind, each.param, each.available_at) for name, each in found.items() if each
    } == {
        "lacks": (FailureKind.UNSUPPORTED_PARAMETER, "tools", None),
        "full": (FailureKind.RATE_LIMITED, None, NOW + 7),
        "unwanted": (None, "provider.ignore", None),
    }
    assert told.waits_for is not None
    assert told.waits_for.route.provider == "full"
    assert told.refusal is None


def test_where_nothing_would_be_called_the_refusal_is_told() -> None:
    surveys = surveyed({"m": [candidate("a", unsupported=("tools",))], "n": []})
    refusal = explained_by(surveys).refusal
    assert refusal is not None
    assert (refusal.status, refusal.code, refusal.param) == (400, "unsupported_parameter", "tools")


def test_routes_past_the_last_allowed_call_are_told_as_not_reached() -> None:
    surveys = surveyed({"m": [candidate("a"), candidate("b")], "n": [candidate("c")]})
    first, second = explained_by(surveys, retry=RetryPolicy(max_attempts_total=1)).models
    assert len(first.ranked) == len(first.excluded) == 1
    for words in (first.excluded[0].reason, second.skipped):
        assert words.startswith("not reached: a request makes at most 1 upstream calls")


@pytest.mark.parametrize(
    ("wish", "declared", "strategy", "source"),
    [
        (Strategy.FAST, Strategy.CHEAP, Strategy.FAST, StrategySource.REQUEST),
        (None, Strategy.CHEAP, Strategy.CHEAP, StrategySource.MODEL),
        (None, None, Strategy.RELIABLE, StrategySource.CONFIGURATION),
    ],
)
def test_the_strategy_is_told_with_who_chose_it(
    wish: Strategy | None, declared: Strategy | None, strategy: Strategy, source: StrategySource
) -> None:
    surveys = surveyed({"m": [candidate("a")]})
    plan = chain(
        surveys, strategy=Strategy.RELIABLE, preferences=ProviderPreferences(strategy=wish)
    )
    plan = replace(plan, models=(replace(plan.models[0], strategy=declared),))
    [model] = explain(plan, surveys).models
    assert (model.strategy, model.strategy_source) == (strategy, source)


def test_a_fallback_that_the_request_would_not_come_to_says_why() -> None:
    small = [candidate("a", context_length=1000)]
    surveys = surveyed({"m": small, "n": small})
    whole = chain(surveys)
    plan = replace(whole, models=whole.models[:1], context_fallbacks=whole.models[::-1])
    skipped = [model.skipped for model in explain(plan, surveys).context_fallbacks]
    assert skipped == ["it holds no more context than m", "it is the model that has failed"]
    nobody = surveyed({"m": [], "n": small})
    [never] = explain(replace(plan, context_fallbacks=whole.models[1:]), nobody).context_fallbacks
    assert never.skipped == "no route would be called whose answer could lead here"


# ── the gateway takes the same way ────────────────────────────────────────────────────────────


class Always(random.Random):
    """Draws one number again and again; ids are drawn from its seed all the same."""

    def __init__(self, number: float) -> None:
        super().__init__(0)
        self.number = number

    def random(self) -> float:
        return self.number


MISHAPS: Sequence[Script] = (answer("hi"), error(503), error(429, retry_after="20"), [LOST])
TIMED_OUT = UpstreamError(UpstreamErrorKind.CONNECT_TIMEOUT, "nobody answered")


def priced(name: str, providers: str, prices: Sequence[int]) -> ModelPlan:
    offers = zip(providers, prices, strict=True)
    return ModelPlan(
        name, tuple(Route(p, name, Price(Decimal(usd), Decimal(usd))) for p, usd in offers)
    )


class Town:
    """A gateway of five providers, whose past is of `seed`."""

    def __init__(self, folder: Path, seed: int, strategy: Strategy, number: float) -> None:
        self.chance = random.Random(seed)
        self.now_timed_out = False
        keys = [provider_key(p, rpm=self.chance.choice([None, 3, 9])) for p in "abcde"]
        self.rig = Rig(ScriptedUpstream(self._script), folder, keys, chance=Always(number))
        models = priced("m", "abc", self.prices(3)), priced("n", "de", self.prices(2))
        self.plan = RequestPlan(
            models,
            stream=False,
            strategy=strategy,
            retry=RetryPolicy(max_wait=0.0),
            prompt_tokens=10,
            output_tokens=10,
        )

    def prices(self, how_many: int) -> list[int]:
        return [self.chance.choice([1, 2, 5]) for _ in range(how_many)]

    def _script(self, call: Call) -> Script:
        return [TIMED_OUT] if self.now_timed_out else self.chance.choice(MISHAPS)

    async def live(self, requests: int = 12) -> None:
        """Makes routes and keys what they will be."""
        for _ in range(requests):
            await self.rig.ask(self.rig.request(), self.plan)
            await trio.sleep(self.chance.choice([0, 1, 15]))

    async def explain(self) -> ExplainAnswer:
        intake = Intake(self.rig.request(), self.plan, "full", b"")
        return await explained(
            self.rig.services,
            intake,
            at=trio.current_time(),
            unix_time=self.rig.wall_clock(),
            random=self.rig.chance.random(),
        )

    async def run(self) -> list[str]:
        """The routes of a request whose every call fails at once."""
        self.now_timed_out, before = True, len(self.rig.calls)
        await self.rig.ask(self.rig.request(), self.plan)
        calls = self.rig.calls[before:]
        return [f"{call.url.split('/')[2]}:{call.body['model']}" for call in calls]


@settings(max_examples=40)
@given(st.integers(0, 2**16), st.sampled_from(Strategy), randoms)
def test_the_gateway_takes_the_explained_way(seed: int, strategy: Strategy, number: float) -> None:
    async def compare(folder: str) -> None:
        town = Town(Path(folder), seed, strategy, number)
        async with town.rig.running():
            await town.live()
            told = await town.explain()
            ranked = [route.route for model in told.models for route in model.ranked]
            assert await town.run() == ranked

    with TemporaryDirectory() as folder:
        trio.run(compare, folder, clock=MockClock(autojump_threshold=0))


async def test_nothing_is_leased_limited_sent_or_remembered(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    town = Town(tmp_path, 1, Strategy.BALANCED, 0.5)
    rig = town.rig

    async def all_there_is() -> tuple[object, ...]:
        return (
            await rig.services.key_pool.statistics(),
            list(rig.leases.granted),
            list(rig.limits.granted),
            rig.services.health.routes,
            len(rig.calls),
            dict(rig.store.traces),
            rig.services.hub.under_way(),
        )

    async with rig.running():
        await town.live()
        before = await all_there_is()
        first = await town.explain()
        assert await town.explain() == first
        assert await all_there_is() == before


async def test_times_are_told_from_now(autojump_clock: MockClock, tmp_path: Path) -> None:
    town = Town(tmp_path, 1, Strategy.CHEAP, 0.5)
    async with town.rig.running():
        await trio.sleep(1000)
        await town.run()
        await trio.sleep(5)
        told = await town.explain()
    assert [route.health.last_outage_ago for route in told.models[0].ranked] == [5.0] * 3
    assert told.at == "2023-11-14T22:30:05.000+00:00"
    assert msgspec.json.decode(msgspec.json.encode(told), type=ExplainAnswer) == told


@pytest.mark.parametrize("wrong", ["1", "-0.1", "nan", "x", "", "1e400"])
def test_a_number_that_cannot_be_drawn_is_refused(wrong: str) -> None:
    with pytest.raises(RequestError) as refused:
        random_of(f"random={wrong}", otherwise=0.5)
    assert (refused.value.error.status, refused.value.error.param) == (400, "random")


def test_the_number_to_draw_with_may_be_given() -> None:
    assert random_of("random=0.25", otherwise=0.5) == 0.25
    assert random_of("key=x", otherwise=0.5) == 0.5
