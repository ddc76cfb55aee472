"""Chats of other dialects, written as bodies of Anthropic's Messages."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from signalbox.adapters.anthropic_models import traits_of
from signalbox.adapters.anthropic_request_reader import read_messages_request
from signalbox.adapters.chat import (
    JsonObject,
    JsonSchema,
    Native,
    Reasoning,
    ReasoningWish,
    Role,
    Tool,
    ToolChoice,
)
from signalbox.types import Dialect
from tests.anthropic_forms import (
    BUDGET,
    CALLS,
    EITHER,
    NEW,
    NEWEST,
    OLD,
    RESULTS,
    TIDE,
    form,
    said,
    text,
    user,
    write,
)
from tests.anthropic_wire import RECORDED
from tests.recordings import RECORDED as FOLDER
from tests.recordings import Exchange


def test_tools_and_choices() -> None:
    custom = Tool("run", custom={})
    tools = (
        replace(TIDE, cache={"type": "ephemeral"}),
        Tool("now"),
        Tool("x", None, {"$ref": "#"}),
    )
    choice = ToolChoice("required", allowed=("tide", "now"))
    body = write(form(tools=tools, tool_choice=choice, parallel_tool_calls=False)).body
    assert body["tools"] == [
        {
            "name": "tide",
            "description": "When",
            "input_schema": TIDE.parameters,
            "cache_control": {"type": "ephemeral"},
        },
        {"name": "now", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    for wanted, written in (
        (ToolChoice("required", "tide"), {"type": "tool", "name": "tide"}),
        (ToolChoice("none"), {"type": "none"}),
        (ToolChoice("auto"), {"type": "auto"}),
    ):
        assert write(form(tools=(TIDE,), tool_choice=wanted)).body["tool_choice"] == written
    assert list(write(form(tools=(custom,))).unsupported) == ["tools"]
    forced = form(tools=(TIDE,), tool_choice=ToolChoice("required"))
    assert list(write(forced, NEWEST).unsupported) == ["tool_choice"]
    assert write(forced, NEW).body["thinking"] == {"type": "disabled"}


def test_strict_tools_are_closed_and_bounds_become_words() -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1, "description": "How many"}},
    }
    strict = form(tools=(Tool("t", parameters=schema, strict=True),))
    written = write(strict)
    [tool] = written.body["tools"]
    assert tool["strict"] is True
    assert tool["input_schema"] == {
        "type": "object",
        "properties": {"n": {"type": "integer", "description": "How many\n\n{minimum: 1}"}},
        "additionalProperties": False,
    }
    assert list(written.dropped) == ["tools.minimum"]
    old = write(strict, OLD)
    assert old.body["tools"][0] == {"name": "t", "input_schema": schema}
    assert list(old.dropped) == ["tools.strict"]


def test_structured_outputs_are_the_apis_own_or_refused_by_name() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    wanted = form(response_format=JsonSchema(schema, "it"))
    closed = {**schema, "additionalProperties": False}
    expected = {"format": {"type": "json_schema", "schema": closed}}
    assert write(wanted).body["output_config"] == expected
    assert list(write(wanted, OLD).unsupported) == ["response_format"]
    open_one = {"type": "object", "additionalProperties": {"type": "string"}}
    for refused in (JsonObject(), JsonSchema(open_one)):
        assert list(write(form(response_format=refused)).unsupported) == ["response_format"]


@pytest.mark.parametrize(
    ("model", "wish", "thinking", "effort", "max_tokens", "dropped"),
    [
        (BUDGET, None, None, None, 5000, ()),
        (
            BUDGET,
            ReasoningWish("medium"),
            {"type": "enabled", "budget_tokens": 2500},
            None,
            5000,
            (),
        ),
        (
            BUDGET,
            ReasoningWish("minimal"),
            {"type": "enabled", "budget_tokens": 1024},
            None,
            5000,
            (),
        ),
        (
            BUDGET,
            ReasoningWish(max_tokens=6000, exclude=True),
            {"type": "enabled", "budget_tokens": 6000, "display": "omitted"},
            None,
            11000,
            (),
        ),
        (BUDGET, ReasoningWish("none"), None, None, 5000, ()),
        (OLD, ReasoningWish("high"), None, None, 5000, ("reasoning_effort",)),
        (EITHER, ReasoningWish("xhigh"), {"type": "adaptive"}, "high", 5000, ()),
        (
            EITHER,
            ReasoningWish(max_tokens=2000),
            {"type": "enabled", "budget_tokens": 2000},
            None,
            5000,
            (),
        ),
        (NEW, ReasoningWish("max"), {"type": "adaptive", "display": "summarized"}, "max", 5000, ()),
        (
            NEW,
            ReasoningWish(max_tokens=2000),
            {"type": "adaptive", "display": "summarized"},
            "low",
            5000,
            ("reasoning.max_tokens",),
        ),
        (NEW, ReasoningWish(enabled=False), {"type": "disabled"}, None, 5000, ()),
        ("claude-sonnet-5-5", ReasoningWish("none"), {"type": "between_tools"}, None, 5000, ()),
        (NEWEST, ReasoningWish("none"), None, "low", 5000, ("reasoning_effort",)),
    ],
)
def test_thinking_in_each_models_own_words(
    model: str,
    wish: ReasoningWish | None,
    thinking: dict[str, Any] | None,
    effort: str | None,
    max_tokens: int,
    dropped: tuple[str, ...],
) -> None:
    written = write(form(reasoning=wish, max_tokens=5000), model)
    body = written.body
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert body["max_tokens"] == max_tokens
    assert tuple(written.dropped) == dropped


def test_a_loop_without_signed_thinking_goes_on_without_thinking() -> None:
    wish = ReasoningWish("high")
    loop = (user("Hi"), CALLS, *RESULTS)
    written = write(form(*loop, reasoning=wish))
    assert "thinking" not in written.body
    assert list(written.dropped) == ["reasoning_effort"]
    signed = replace(CALLS, parts=(Reasoning("hm", signature="s"), *CALLS.parts))
    assert "thinking" in write(form(user("Hi"), signed, *RESULTS, reasoning=wish)).body
    assert "thinking" in write(form(*loop, user("So?"), reasoning=wish), NEW).body


def test_forced_tools_and_begun_answers_exclude_thinking() -> None:
    wish = ReasoningWish("high")
    forced = form(tools=(TIDE,), tool_choice=ToolChoice("required"), reasoning=wish)
    begun = form(user("Hi"), said(Role.ASSISTANT, "It"), reasoning=wish)
    for chat in (forced, begun):
        written = write(chat)
        assert "thinking" not in written.body
        assert list(written.dropped) == ["reasoning_effort"]


@pytest.mark.parametrize(
    ("model", "fields", "sent", "dropped"),
    [
        (OLD, {"temperature": 1.4, "top_p": 0.5, "top_k": 3}, (1, 0.5, 3), ["temperature"]),
        (BUDGET, {"temperature": 0.2, "top_p": 0.5}, (0.2, None, None), ["top_p"]),
        (BUDGET, {"top_p": 0.5}, (None, 0.5, None), []),
        (NEW, {"temperature": 1, "top_p": 1}, (None, None, None), []),
        (
            NEW,
            {"temperature": 0, "top_p": 0.5, "top_k": 3},
            (None, None, None),
            ["temperature", "top_p", "top_k"],
        ),
        (
            BUDGET,
            {"temperature": 0, "top_p": 0.96, "top_k": 3, "reasoning": ReasoningWish("low")},
            (None, 0.96, None),
            ["temperature", "top_k"],
        ),
    ],
)
def test_sampling_as_each_model_takes_it(
    model: str, fields: dict[str, Any], sent: tuple[Any, ...], dropped: list[str]
) -> None:
    written = write(form(**fields), model)
    assert tuple(map(written.body.get, ("temperature", "top_p", "top_k"))) == sent
    assert list(written.dropped) == dropped


def test_the_required_ceiling() -> None:
    assert write(form(max_tokens=7)).body["max_tokens"] == 7
    assert write(form(), max_output=64_000).body["max_tokens"] == 64_000
    assert write(form()).body["max_tokens"] == 8192
    assert write(form(), "claude-3-haiku-20240307").body["max_tokens"] == 4096


def test_the_rest_is_translated_or_named() -> None:
    written = write(
        form(
            stop=("END", "\n"),
            user="u",
            service_tier="default",
            seed=1,
            logit_bias={"1": 1},
            metadata={"a": "b"},
            n=1,
            unknown={"odd": 1},
            native=(Native(Dialect.GENERATE, 1, meaning=False, name="labels"),),
        )
    )
    assert written.body["stop_sequences"] == ["END"]
    assert written.body["metadata"] == {"user_id": "u"}
    assert written.body["service_tier"] == "standard_only"
    assert set(written.dropped) == {"stop", "seed", "logit_bias", "metadata", "odd", "labels"}
    assert not written.unsupported
    assert "odd" not in written.body
    refused = write(
        form(
            user("Hi", Native(Dialect.GENERATE, {})),
            n=2,
            logprobs=True,
            modalities=("text", "audio"),
            tools=(Native(Dialect.RESPONSES, {}),),
            native=(Native(Dialect.RESPONSES, "r", name="previous_response_id"),),
        )
    )
    assert set(refused.unsupported) == {
        "messages",
        "n",
        "logprobs",
        "modalities",
        "tools",
        "previous_response_id",
    }


@pytest.mark.parametrize("exchange", RECORDED)
def test_what_a_recorded_request_carries_is_carried(exchange: Exchange) -> None:
    stored = json.loads((FOLDER / "open" / f"{exchange.id}.json").read_text())
    original = stored["request"]["body"]
    written = write(read_messages_request(original), original["model"])
    assert not written.dropped
    assert not written.unsupported
    body = {"model": original["model"], "stream": original.get("stream"), **written.body}
    for name, value in original.items():
        if name == "messages":
            assert spelled(body[name]) == spelled(value)
        elif name == "system":
            assert spelled([{"content": body[name]}]) == spelled([{"content": value}])
        elif name == "tools":
            # When a tool is loaded means something to Anthropic alone: it is no part of the model.
            loaded = [{n: v for n, v in tool.items() if n != "defer_loading"} for tool in value]
            assert body[name] == loaded
        elif name == "output_format":
            assert body["output_config"]["format"]["type"] == value["type"]
        elif name == "thinking":
            assert value.items() - body[name].items() <= {("display", "summarized")}
        elif not (name == "max_tokens" and body.get("thinking")):
            assert body[name] == value, name


def spelled(messages: list[dict[str, Any]]) -> list[Any]:
    """Contents that are texts, written as lists of one block, and neighbours as one turn."""
    long: list[Any] = []
    for message in messages:
        content = message["content"]
        blocks = [text(content)] if isinstance(content, str) else [*map(_spelled, content)]
        if long and long[-1][0] == message.get("role"):
            long[-1][1].extend(blocks)
        else:
            long.append((message.get("role"), blocks))
    return long


def _spelled(block: dict[str, Any]) -> dict[str, Any]:
    content = block.get("content")
    return {**block, "content": [text(content)]} if isinstance(content, str) else block


def test_names_of_models_on_every_platform() -> None:
    for name in (
        "claude-opus-4-20250514",
        "anthropic.claude-opus-4-20250514-v1:0",
        "claude-opus-4@20250514",
    ):
        assert traits_of(name) is traits_of("claude-opus-4-0"), name
    assert traits_of("us.anthropic.claude-opus-4-6-v1") is traits_of("claude-opus-4.6")
    assert traits_of("claude-opus-9") is traits_of("claude-opus-5-5")
    assert not traits_of("kimi-k3").known
    assert traits_of("claude-next").known
