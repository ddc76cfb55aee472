"""What a simulated model answers: seeded, plausible, and plainly said to be simulated."""

from __future__ import annotations

import hashlib
import random
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from signalbox.simulator.scenario import Step
from signalbox.simulator.schema_example import schema_example

MAX_QUOTE = 200
"""Characters of the user's message that the answer repeats."""
MAX_CHOICES = 128
"""OpenAI's own bound of `n`."""
CREATED = 1_750_000_000
"""`created` of the first answer (Unix seconds); the next ones count up. Answers are reproducible,
so no clock is read."""

_CLOSINGS = (
    "No model was asked.",
    "No tokens were harmed in making it.",
    "A real provider would have had more to say.",
    "Set a provider's key to hear from a real model.",
)


class StreamOptions(Struct, frozen=True):
    include_usage: bool | None = None


class ChatRequest(Struct, frozen=True):
    """The fields of a chat-completions request that change the simulated answer."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    stop: str | list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def ceiling(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class BadRequest(Exception):
    """The request is not what the API takes; the message is for the client."""


def read_chat_request(body: object) -> ChatRequest:
    """Raises BadRequest naming the field that is wrong."""
    try:
        return msgspec.convert(body, ChatRequest)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from error


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    fragments: tuple[str, ...]
    """The arguments' JSON in pieces."""


@dataclass(frozen=True, slots=True)
class Choice:
    tokens: tuple[str, ...]
    """The content in pieces; empty for a tool call."""
    tool: ToolCall | None
    finish: str

    @property
    def size(self) -> int:
        return len(self.tokens) + (len(self.tool.fragments) if self.tool else 0)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer before it is put into a wire format."""

    id: str
    created: int
    model: str
    fingerprint: str
    choices: tuple[Choice, ...]
    prompt_tokens: int

    @property
    def completion_tokens(self) -> int:
        return sum(choice.size for choice in self.choices)


def seeded(seed: int, body: bytes, ordinal: int) -> random.Random:
    """The one source of chance for a request: same seed, body and ordinal, same answer."""
    digest = hashlib.sha256(b"%d:%d:" % (seed, ordinal) + body).digest()
    return random.Random(digest)


def identifier(prefix: str, length: int, rng: random.Random) -> str:
    return prefix + "".join(rng.choices(string.ascii_letters + string.digits, k=length))


def tokenise(text: str) -> tuple[str, ...]:
    """Pieces of up to four characters, a space before them included; joined they are `text`."""
    return tuple(re.findall(r"\s?\S{1,4}|\s", text))


def compose(request: ChatRequest, step: Step, ordinal: int, rng: random.Random) -> Answer:
    """Answers the request as the step says. Raises BadRequest for a tool that is not offered."""
    tool = None if step.text is not None else _tool_to_call(request)
    prompt = sum(3 + len(tokenise(_text_of(message))) for message in request.messages)
    return Answer(
        id=identifier("chatcmpl-", 29, rng),
        created=CREATED + ordinal,
        model=request.model,
        fingerprint="fp_" + hashlib.sha256(request.model.encode()).hexdigest()[:10],
        choices=tuple(_choice(request, step, tool, rng) for _ in range(request.n or 1)),
        prompt_tokens=3 + prompt,
    )


def _choice(
    request: ChatRequest, step: Step, tool: dict[str, Any] | None, rng: random.Random
) -> Choice:
    if step.content_filter:
        return Choice((), None, step.finish or "content_filter")
    if step.empty:
        return Choice((), None, step.finish or "stop")
    if tool is not None:
        arguments = msgspec.json.encode(schema_example(tool.get("parameters"), rng)).decode()
        fragments, cut = _capped(tokenise(arguments), request.ceiling)
        call = ToolCall(identifier("call_", 24, rng), tool["name"], fragments)
        return Choice((), call, step.finish or ("length" if cut else "tool_calls"))
    text = step.text if step.text is not None else _usual_text(request, rng)
    tokens, cut = _capped(tokenise(_stopped(text, request.stop)), request.ceiling)
    return Choice(tokens, None, step.finish or ("length" if cut else "stop"))


def _capped(tokens: tuple[str, ...], ceiling: int | None) -> tuple[tuple[str, ...], bool]:
    if ceiling is None or len(tokens) <= ceiling:
        return tokens, False
    return tokens[:ceiling], True


def _stopped(text: str, stop: str | Sequence[str] | None) -> str:
    words = [stop] if isinstance(stop, str) else stop or []
    ends = [text.find(word) for word in words if word and word in text]
    return text[: min(ends)] if ends else text


def _usual_text(request: ChatRequest, rng: random.Random) -> str:
    last = request.messages[-1]
    quote = _text_of(last)[:MAX_QUOTE].strip()
    who = "The tool returned" if last.get("role") == "tool" else "You said"
    text = (
        "This is a simulated answer from Signalbox's simulator. "
        f"{who}: \u201c{quote}\u201d. {rng.choice(_CLOSINGS)}"
    )
    wanted = request.response_format or {}
    match wanted.get("type"):
        case "json_object":
            return msgspec.json.encode({"simulated": True, "message": text}).decode()
        case "json_schema":
            described = wanted.get("json_schema")
            schema = described.get("schema") if isinstance(described, dict) else None
            return msgspec.json.encode(schema_example(schema, rng)).decode()
        case _:
            return text


def _text_of(message: dict[str, Any]) -> str:
    """The text of a message; parts of other kinds are named."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part for part in content if isinstance(part, dict))
    return " ".join(
        part["text"] if isinstance(part.get("text"), str) else f"[{part.get('type')}]"
        for part in parts
    )


_ASKS_FOR_TOOL = re.compile(r"\bcall\b.{0,40}\btools?\b|\bweather\b", re.IGNORECASE | re.DOTALL)


def _tool_to_call(request: ChatRequest) -> dict[str, Any] | None:
    """The function to call: the forced one, or the first where one is required or asked for."""
    offered = [tool.get("function") for tool in request.tools or ()]
    tools = [
        tool for tool in offered if isinstance(tool, dict) and isinstance(tool.get("name"), str)
    ]
    choice = request.tool_choice
    if isinstance(choice, dict):
        forced = choice.get("function")
        name = forced.get("name") if isinstance(forced, dict) else None
        for tool in tools:
            if tool["name"] == name:
                return tool
        raise BadRequest(f"tool_choice: {name!r} is not among the tools")
    if not tools or choice == "none":
        return None
    last = request.messages[-1]
    asked = last.get("role") == "user" and _ASKS_FOR_TOOL.search(_text_of(last))
    return tools[0] if choice == "required" or asked else None
