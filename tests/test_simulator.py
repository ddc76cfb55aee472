"""The simulator over real loopback sockets: every fault is what the wire shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from signalbox.simulator import (
    KeyRule,
    Match,
    RateLimit,
    Rule,
    Scenario,
    Simulator,
    SimulatorError,
    SimulatorSettings,
    Step,
    serve_simulator,
)
from signalbox.simulator.journal import MAX_EXCHANGES, Exchange, Journal
from tests.simulator_client import Wire, chat, simulator_process, start


async def test_connection_faults(nursery: trio.Nursery) -> None:
    steps = [Step(connect="reset"), Step(connect="close"), Step(connect="garbage")]
    client = await start(nursery, *steps)
    assert (await client.raw(chat()), await client.ended()) == (Wire(b"", reset=True), "reset")
    assert (await client.raw(chat()), await client.ended()) == (Wire(b"", reset=False), "closed")
    garbage = await client.raw(chat())
    assert garbage.data
    assert b"HTTP/1.1" not in garbage.data


async def test_silence_lasts_until_the_client_leaves(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    client = await start(nursery, Step(silence=True))
    with trio.move_on_after(3600) as scope:
        await client.raw(chat())
    assert scope.cancelled_caught
    assert await client.ended() == "client_closed"


async def test_error_steps_speak_openais_errors(nursery: trio.Nursery) -> None:
    client = await start(
        nursery,
        Step(status=429, headers={"retry-after": 2}, ratelimit=RateLimit(remaining_requests=0)),
        Step(error="insufficient_quota"),
        Step(status=529),
        Step(status=503, body="upstream connect error"),
        Step(html_200=True),
    )
    limited, quota, odd, plain, html = [await client.post(chat()) for _ in range(5)]
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "2")
    assert limited.headers["x-ratelimit-remaining-requests"] == "0"
    assert "x-ratelimit-limit-requests" not in limited.headers
    assert limited.json()["error"]["code"] == "rate_limit_exceeded"
    assert (quota.status_code, quota.json()["error"]["code"]) == (429, "insufficient_quota")
    assert (odd.status_code, odd.json()["error"]["type"]) == (529, "server_error")
    assert (plain.status_code, plain.text) == (503, "upstream connect error")
    assert plain.headers["content-type"].startswith("text/plain")
    assert (html.status_code, html.headers["content-type"][:9]) == (200, "text/html")


async def test_delays_are_in_the_clock_of_trio(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.01  # real time for bytes in flight
    client = await start(nursery, Step(delay=100, text="one two", token_delay=10))
    begin = trio.current_time()
    async with client.http.stream("POST", "/v1/chat/completions", json=chat(stream=True)) as it:
        assert round(trio.current_time() - begin) == 100
        await it.aread()
    assert round(trio.current_time() - begin) == 110


TEXT = "one two six four"


@pytest.mark.parametrize("sent", [0, 2, 4, 99])
@pytest.mark.parametrize(("how", "ending"), [("fin", "closed"), ("rst", "reset")])
async def test_a_cut_stream_breaks_inside_a_chunk(
    nursery: trio.Nursery, sent: int, how: Any, ending: str
) -> None:
    client = await start(nursery, Step(text=TEXT, cut_after=sent, how=how))
    wire = await client.raw(chat(stream=True))
    assert len(wire.content) == min(sent, 4)
    assert wire.reset == (how == "rst")
    assert not wire.complete
    assert await client.ended() == ending


async def test_a_cut_by_eof_ends_http_but_not_the_answer(nursery: trio.Nursery) -> None:
    client = await start(nursery, Step(text=TEXT, cut_after=2, how="eof"))
    wire = await client.raw(chat(stream=True))
    assert (wire.content, wire.complete) == (["one", " two"], True)
    assert "[DONE]" not in wire.events


async def test_a_stall_keeps_the_connection_open(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    client = await start(nursery, Step(text=TEXT, stall_after=1))
    lines = []
    async with client.http.stream("POST", "/v1/chat/completions", json=chat(stream=True)) as it:
        with trio.move_on_after(3600) as scope:
            async for line in it.aiter_lines():
                lines.append(line)
    assert scope.cancelled_caught
    assert sum('"content":"one"' in line for line in lines) == 1
    assert not any("two" in line for line in lines)
    assert await client.ended() == "client_closed"


async def test_errors_inside_a_stream_in_three_styles(nursery: trio.Nursery) -> None:
    client = await start(
        nursery,
        Step(text=TEXT, error_after=1),
        Step(text=TEXT, error_after=1, error_style="groq", error="rate_limit_exceeded"),
        Step(text=TEXT, error_after=1, error_style="openrouter", error="overloaded"),
        Step(text=TEXT, error_after=0, no_role=True),
    )
    body = chat(stream=True, stream_options={"include_usage": True})
    openai, groq, openrouter, at_once = [await client.raw(body) for _ in range(4)]
    assert all(wire.complete for wire in (openai, groq, openrouter, at_once))
    error, zero, done = openai.events[-3:]
    assert json.loads(error)["error"]["type"] == "server_error"
    assert (json.loads(zero)["usage"]["total_tokens"], done) == (0, "[DONE]")
    assert b"event: error\ndata: " in groq.data
    assert json.loads(groq.events[-1])["error"]["status_code"] == 429
    chunk = json.loads(openrouter.events[-2])
    assert (chunk["error"]["code"], chunk["choices"][0]["finish_reason"]) == (503, "error")
    assert "error" in json.loads(at_once.events[0])


def finishes(wire: Wire) -> list[str]:
    chunks = [json.loads(event) for event in wire.events if event != "[DONE]"]
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    return [reason for reason in reasons if reason]


def usages(wire: Wire) -> list[bool]:
    """For each usage in the stream: whether its chunk has choices."""
    chunks = [json.loads(event) for event in wire.events if event != "[DONE]"]
    return [bool(chunk["choices"]) for chunk in chunks if chunk.get("usage")]


@pytest.mark.parametrize(
    ("step", "holds"),
    [
        (Step(no_done=True), lambda wire: "[DONE]" not in wire.events),
        (Step(no_finish=True), lambda wire: finishes(wire) == []),
        (Step(repeat_finish=True), lambda wire: finishes(wire) == ["stop", "stop"]),
        (Step(finish="eos"), lambda wire: finishes(wire) == ["eos"]),
        (Step(empty=True), lambda wire: (wire.content, finishes(wire)) == ([], ["stop"])),
        (Step(content_filter=True), lambda wire: finishes(wire) == ["content_filter"]),
        (Step(usage="none"), lambda wire: usages(wire) == []),
        (Step(usage="in_choice"), lambda wire: usages(wire) == [True]),
        (
            Step(usage="thrice"),
            lambda wire: (usages(wire), wire.data.count(b'"usage":{"p')) == ([True, False], 3),
        ),
        (Step(bom=True), lambda wire: b"\r\n\r\n3\r\n\xef\xbb\xbf\r\n" in wire.data),
        (Step(comments=True), lambda wire: wire.data.count(b": PROCESSING\n\n") == 2),
        (Step(crlf=True), lambda wire: b"[DONE]\r\n\r\n" in wire.data),
        (Step(no_role=True), lambda wire: b'"role":"assistant","content":""' not in wire.data),
    ],
    ids=lambda value: (
        ",".join(
            json.loads(Scenario(rules=(Rule(steps=(value,)),)).to_json())["rules"][0]["steps"][0]
        )
        if isinstance(value, Step)
        else ""
    ),
)
async def test_quirks_of_streams(
    nursery: trio.Nursery, step: Step, holds: Callable[[Wire], bool]
) -> None:
    client = await start(nursery, step)
    body = chat(stream=True, stream_options={"include_usage": True})
    odd, usual = await client.raw(body), await client.raw(body)
    assert odd.complete
    assert holds(odd)
    assert not holds(usual)


async def test_a_connection_that_is_hung_up_after_everything_was_sent(
    nursery: trio.Nursery,
) -> None:
    client = await start(nursery, Step(hang_up=True), Step(text="whole", hang_up=True))
    streamed = await client.raw(chat(stream=True))
    assert (streamed.events[-1], streamed.complete, streamed.reset) == ("[DONE]", False, False)
    assert await client.ended() == "closed"
    assert (await client.post(chat())).json()["choices"][0]["message"]["content"] == "whole"


async def test_a_malformed_chunk_comes_between_good_ones(nursery: trio.Nursery) -> None:
    client = await start(nursery, Step(text="one two", malformed_after=1))
    events = (await client.raw(chat(stream=True))).events
    wrong = [index for index, event in enumerate(events[:-1]) if not event.endswith("}")]
    assert wrong == [2]  # after the role and one content chunk
    assert " two" in events[3]


@pytest.mark.parametrize(("split", "size"), [("byte", 1), (7, 7)])
async def test_split_sets_the_sizes_on_the_wire(
    nursery: trio.Nursery, split: Any, size: int
) -> None:
    whole = await start(nursery, Step(text=TEXT))
    client = await start(nursery, Step(text=TEXT, split=split))
    wire = await client.raw(chat(stream=True))
    assert wire.data.partition(b"\r\n\r\n")[2].startswith(b"%x\r\n" % size)
    assert wire.events == (await whole.raw(chat(stream=True))).events


async def test_faults_of_answers_that_are_not_streamed(nursery: trio.Nursery) -> None:
    client = await start(
        nursery, Step(cut_after=1), Step(error_after=0), Step(malformed_after=0), Step(text="x")
    )
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        await client.post(chat())
    inside = await client.post(chat())
    assert (inside.status_code, set(inside.json())) == (200, {"error"})
    with pytest.raises(json.JSONDecodeError):
        (await client.post(chat())).json()
    assert (await client.post(chat())).json()["choices"][0]["message"]["content"] == "x"


async def test_a_key_over_its_limit_is_told_when_to_return(nursery: trio.Nursery) -> None:
    client = await start(nursery, scenario=Scenario(keys={"sk-one": KeyRule(rpm=1)}))
    first, second = [await client.post(chat(), key="sk-one") for _ in range(2)]
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert second.status_code == 429
    assert 59 <= int(second.headers["retry-after"]) <= 60
    assert (await client.post(chat(), key="sk-two")).status_code == 200


async def test_the_journal_tells_what_came_and_how_it_ended(nursery: trio.Nursery) -> None:
    client = await start(nursery)
    scenario = {"rules": [{"match": {"key": "sk-bad"}, "steps": [{"status": 401}]}]}
    assert (await client.http.post("/_simulator/scenario", json=scenario)).status_code == 200
    refused = await client.http.post("/_simulator/scenario", json={"rules": 1})
    assert "rules" in refused.json()["error"]["message"]
    await client.post(chat("first"), key="sk-bad", x_team="red")
    await client.post(chat("second"), key="sk-good")
    listed = (await client.http.get("/_simulator/requests")).json()["requests"]
    one, two = listed
    assert (one["ordinal"], one["key"], one["status"]) == (1, "sk-bad", 401)
    assert (two["ordinal"], two["key"], two["status"]) == (2, "sk-good", 200)
    assert one["body"] == chat("first")
    assert one["headers"]["x-team"] == "red"
    assert one["path"] == "/v1/chat/completions"
    assert one["connection"] == two["connection"]
    assert one["ended"] == two["ended"] == "completed"
    assert 0 <= one["at"] <= one["ended_at"] <= two["at"]
    assert (await client.http.delete("/_simulator/requests")).json() == {"cleared": 2}
    assert client.simulator.journal.exchanges == ()


def test_the_journal_drops_the_oldest_and_says_so() -> None:
    journal = Journal()
    for ordinal in range(MAX_EXCHANGES + 3):
        journal.add(
            Exchange(
                ordinal=ordinal,
                at=0,
                connection=1,
                method="POST",
                path="/",
                key=None,
                headers={},
                body=b"{}",
            )
        )
    assert (len(journal.exchanges), journal.dropped) == (MAX_EXCHANGES, 3)
    assert journal.exchanges[0].ordinal == 3


async def test_models_lists_what_the_scenario_names(nursery: trio.Nursery) -> None:
    rules = tuple(Rule(match=Match(model=name), steps=(Step(),)) for name in ("gpt-4o", "any-*"))
    client = await start(nursery, scenario=Scenario(rules=rules))
    names = [model["id"] for model in (await client.http.get("/v1/models")).json()["data"]]
    assert "gpt-4o" in names
    assert "any-*" not in names


def test_the_process_says_where_it_is_and_ends_when_its_parent_is_gone() -> None:
    with simulator_process() as url:
        assert httpx.get(url.replace("/v1", "/healthz")).status_code == 200
        port = httpx.URL(url).port
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/healthz")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"port": 65536}, "port: 65536"),
        ({"tokens_per_second": 0}, "tokens_per_second: 0"),
        ({"recordings": Path("/absent")}, "/absent: not a folder"),
    ],
)
def test_settings_that_cannot_be_served_are_named(settings: Any, named: str) -> None:
    with pytest.raises(SimulatorError, match=named):
        Simulator(SimulatorSettings(**settings))


async def test_an_address_that_is_taken_is_named(nursery: trio.Nursery) -> None:
    client = await start(nursery)
    with pytest.raises(SimulatorError, match=f"cannot listen on 127.0.0.1:{client.port}"):
        await serve_simulator(SimulatorSettings(port=client.port))
