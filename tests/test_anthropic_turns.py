"""Conversations of other dialects as turns of Anthropic's Messages."""

from typing import Any

import pytest

from signalbox.adapters.chat import (
    Media,
    MediaKind,
    Reasoning,
    ReasoningFormat,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from tests.anthropic_forms import (
    A_RESULT,
    A_USE,
    B_RESULT,
    B_USE,
    CALLS,
    EITHER,
    OLD,
    RESULTS,
    form,
    said,
    text,
    turns,
    user,
    write,
)


def test_instructions_stand_apart_in_their_order() -> None:
    body = write(
        form(
            said(Role.SYSTEM, "Be brief."),
            user("Hi"),
            said(Role.DEVELOPER, Text("Be kind.", cache={"type": "ephemeral"})),
        )
    ).body
    cached = {**text("Be kind."), "cache_control": {"type": "ephemeral"}}
    assert body["system"] == [text("Be brief."), cached]
    assert body["messages"] == [{"role": "user", "content": [text("Hi")]}]


def test_instructions_alone_are_asked_as_the_users_words() -> None:
    body = write(form(said(Role.SYSTEM, "Say hi."))).body
    assert body["messages"] == [{"role": "user", "content": [text("Say hi.")]}]
    assert "system" not in body


def test_turns_alternate_and_results_come_first_in_one_turn() -> None:
    asked = turns(user("One"), user(" ", "two"), CALLS, user("And?"), *RESULTS)
    assert asked == [
        ("user", [text("One"), text("two")]),
        ("assistant", [A_USE, B_USE]),
        ("user", [A_RESULT, B_RESULT, text("And?")]),
    ]


def test_a_begun_answer_ends_without_whitespace() -> None:
    begun = said(Role.ASSISTANT, "It is ", "four \n")
    assert turns(user("Hi"), said(Role.ASSISTANT), begun)[-1] == (
        "assistant",
        [text("It is "), text("four")],
    )
    assert list(write(form(user("Hi"), begun), EITHER).unsupported) == ["messages"]


def test_ids_of_calls_and_results_are_fitted_alike() -> None:
    calls = said(Role.ASSISTANT, ToolCall("fc:1/é", "tide", "nonsense"))
    [_, (_, [use]), (_, [result])] = turns(
        user("Hi"), calls, said(Role.TOOL, ToolResult("fc:1/é", (Text("4"),)))
    )
    assert use["id"] == result["tool_use_id"]
    assert use["id"].isascii()
    assert use["input"] == {"arguments": "nonsense"}


def test_only_thinking_that_is_anthropics_own_goes_back_and_first() -> None:
    turn = said(
        Role.ASSISTANT,
        "Hm.",
        Reasoning("foreign", signature="s", format=ReasoningFormat.GEMINI),
        Reasoning("unsigned"),
        Reasoning("mine", signature="s"),
        Reasoning(encrypted="e", format=ReasoningFormat.ANTHROPIC),
        ToolCall("a", "tide", "{}"),
    )
    written = write(form(user("Hi"), turn, RESULTS[0]))
    assert [block["type"] for block in written.body["messages"][1]["content"]] == [
        "thinking",
        "redacted_thinking",
        "text",
        "tool_use",
    ]
    assert list(written.dropped) == ["messages.reasoning"]
    [_, (_, blocks), _] = turns(user("Hi"), turn, RESULTS[0], model=OLD)
    assert [block["type"] for block in blocks] == ["text", "tool_use"]


PNG, PDF, PLAIN = "iVBORw0KGgo=", "JVBERi0xLjQ=", "SGk="


@pytest.mark.parametrize(
    ("media", "block"),
    [
        (
            Media(MediaKind.IMAGE, data=PNG, cache={"type": "ephemeral"}),
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                "cache_control": {"type": "ephemeral"},
            },
        ),
        (
            Media(MediaKind.IMAGE, url="https://x/y"),
            {"type": "image", "source": {"type": "url", "url": "https://x/y"}},
        ),
        (
            Media(MediaKind.FILE, "application/pdf", PDF, name="a.pdf"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                "title": "a.pdf",
            },
        ),
        (
            Media(MediaKind.FILE, "text/csv; charset=utf-8", PLAIN),
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "Hi"},
            },
        ),
        (
            Media(MediaKind.FILE, file_id="file_1"),
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        ),
        (Media(MediaKind.IMAGE, "image/bmp", "Qk0="), None),
        (Media(MediaKind.FILE, "application/zip", "UEs="), None),
        (Media(MediaKind.AUDIO, "audio/wav", "UklG"), None),
        (Media(MediaKind.VIDEO, url="https://x/y.mp4"), None),
    ],
)
def test_media_have_a_block_or_rule_the_route_out(
    media: Media, block: dict[str, Any] | None
) -> None:
    written = write(form(user("Look", media)))
    content = written.body["messages"][0]["content"]
    assert content[1:] == ([] if block is None else [block])
    assert list(written.unsupported) == ([] if block else ["messages"])
