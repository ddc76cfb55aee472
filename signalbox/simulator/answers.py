"""What a simulated model answers: seeded, plausible, and plainly said to be simulated."""

from __future__ import annotations

import hashlib
import random
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from signalbox.simulator.prompts import BadRequest, OfferedTool, Prompt
from signalbox.simulator.scenario import Step
from signalbox.simulator.schema_example import schema_example

MAX_QUOTE = 200
"""Characters of the user's message that the answer repeats."""
MAX_CALLS = 8
"""Tool calls of one answer."""
CREATED = 1_750_000_000
"""`created` of the first answer (Unix seconds); the next ones count up. Answers are reproducible,
so no clock is read."""

_CLOSINGS = (
    "No model was asked.",
    "No tokens were harmed in making it.",
    "A real provider would have had more to say.",
    "Set a provider's key to hear from a real model.",
)


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    """24 characters, before the prefix that the wire format gives it."""
    name: str
    fragments: tuple[str, ...]
    """The arguments' JSON in pieces."""

    @property
    def arguments(self) -> str:
        return "".join(self.fragments)

    @property
    def values(self) -> Any:
        """The arguments as an object; an empty one where they were cut off."""
        try:
            return msgspec.json.decode(self.arguments)
        except msgspec.DecodeError:
            return {}


@dataclass(frozen=True, slots=True)
class Choice:
    tokens: tuple[str, ...]
    """The content in pieces; empty for a tool call."""
    tools: tuple[ToolCall, ...]
    finish: str
    """In OpenAI's words, or as the step says."""
    reasoning: tuple[str, ...] = ()
    """In pieces; it comes before everything else."""
    stop: str | None = None
    """The stop word that ended it."""

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    @property
    def size(self) -> int:
        """Pieces without the reasoning's."""
        return len(self.tokens) + sum(len(tool.fragments) for tool in self.tools)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer before it is put into a wire format. Token counts are disjoint but for
    `prompt_tokens`, which is all of the prompt."""

    id: str
    """29 characters, before the prefix that the wire format gives it."""
    created: int
    model: str
    fingerprint: str
    choices: tuple[Choice, ...]
    prompt_tokens: int
    cached_tokens: int = 0
    """Of the prompt: read from the cache."""
    cache_write_tokens: int = 0
    """Of the prompt: written to the cache."""

    @property
    def completion_tokens(self) -> int:
        """What can be seen of the answer."""
        return sum(choice.size for choice in self.choices)

    @property
    def reasoning_tokens(self) -> int:
        return sum(len(choice.reasoning) for choice in self.choices)

    @property
    def output_tokens(self) -> int:
        return self.completion_tokens + self.reasoning_tokens


def seeded(seed: int, body: bytes, ordinal: int) -> random.Random:
    """The one source of chance for a request: same seed, body and ordinal, same answer."""
    digest = hashlib.sha256(b"%d:%d:" % (seed, ordinal) + body).digest()
    return random.Random(digest)


def identifier(prefix: str, length: int, rng: random.Random) -> str:
    return prefix + "".join(rng.choices(string.ascii_letters + string.digits, k=length))


def tokenise(text: str) -> tuple[str, ...]:
    """Pieces of up to four characters, a space before them included; joined they are `text`."""
    return tuple(re.findall(r"\s?\S{1,4}|\s", text))


def prompt_tokens(prompt: Prompt) -> int:
    return 3 + sum(3 + len(tokenise(turn.text)) for turn in prompt.turns)


def compose(prompt: Prompt, step: Step, ordinal: int, rng: random.Random) -> Answer:
    """Answers the request as the step says. Raises BadRequest for a tool that is not offered."""
    tools = () if step.text is not None else _tools_to_call(prompt)
    tokens = prompt_tokens(prompt)
    cached = min(step.cached, tokens)
    return Answer(
        id=identifier("", 29, rng),
        created=CREATED + ordinal,
        model=prompt.model,
        fingerprint="fp_" + hashlib.sha256(prompt.model.encode()).hexdigest()[:10],
        choices=tuple(_choice(prompt, step, tools, rng) for _ in range(prompt.choices)),
        prompt_tokens=tokens,
        cached_tokens=cached,
        cache_write_tokens=max(tokens - cached - 3, 0) if prompt.writes_cache else 0,
    )


def _choice(prompt: Prompt, step: Step, tools: Sequence[OfferedTool], rng: random.Random) -> Choice:
    reasoning = tokenise(_reasoning(prompt, step))
    if step.content_filter:
        return Choice((), (), step.finish or "content_filter")
    if step.empty:
        return Choice((), (), step.finish or "stop", reasoning)
    if tools:
        calls, cut = _calls(prompt, tools, rng)
        return Choice((), calls, step.finish or ("length" if cut else "tool_calls"), reasoning)
    text = step.text if step.text is not None else _usual_text(prompt, rng)
    kept, word = _stopped(text, prompt.stops)
    tokens, cut = _capped(tokenise(kept), prompt.ceiling)
    finish = step.finish or ("length" if cut else "stop")
    return Choice(tokens, (), finish, reasoning, None if cut else word)


def _calls(
    prompt: Prompt, tools: Sequence[OfferedTool], rng: random.Random
) -> tuple[tuple[ToolCall, ...], bool]:
    calls: list[ToolCall] = []
    left = prompt.ceiling
    for tool in tools:
        arguments = msgspec.json.encode(schema_example(tool.schema, rng)).decode()
        fragments, cut = _capped(tokenise(arguments), left)
        calls.append(ToolCall(identifier("", 24, rng), tool.name, fragments))
        left = None if left is None else left - len(fragments)
        if cut or left == 0:
            return tuple(calls), cut or len(calls) < len(tools)
    return tuple(calls), False


def _capped(tokens: tuple[str, ...], ceiling: int | None) -> tuple[tuple[str, ...], bool]:
    if ceiling is None or len(tokens) <= ceiling:
        return tokens, False
    return tokens[:ceiling], True


def _stopped(text: str, words: Sequence[str]) -> tuple[str, str | None]:
    """The text before the first stop word in it, and that word."""
    found = [(text.find(word), word) for word in words if word and word in text]
    if not found:
        return text, None
    end, word = min(found)
    return text[:end], word


def _reasoning(prompt: Prompt, step: Step) -> str:
    if step.reasoning is not None:
        return step.reasoning
    if not prompt.reasoning:
        return ""
    return f"A simulated thought about “{prompt.turns[-1].text[:40].strip()}”."


def _usual_text(prompt: Prompt, rng: random.Random) -> str:
    last = prompt.turns[-1]
    quote = last.text[:MAX_QUOTE].strip()
    who = "The tool returned" if last.role == "tool" else "You said"
    text = (
        "This is a simulated answer from Signalbox's simulator. "
        f"{who}: \u201c{quote}\u201d. {rng.choice(_CLOSINGS)}"
    )
    if not prompt.json:
        return text
    if prompt.schema is None:
        return msgspec.json.encode({"simulated": True, "message": text}).decode()
    return msgspec.json.encode(schema_example(prompt.schema, rng)).decode()


_ASKS_FOR_TOOL = re.compile(r"\bcall\b.{0,40}\btools?\b|\bweather\b", re.IGNORECASE | re.DOTALL)
_ASKS_FOR_MANY = re.compile(r"\bparallel\b|\bboth\b|\bat once\b", re.IGNORECASE)


def _tools_to_call(prompt: Prompt) -> tuple[OfferedTool, ...]:
    """The forced tool, or the first where one is required or asked for; where several are asked
    for, all of them, and a single one twice."""
    if prompt.forced is not None:
        for tool in prompt.tools:
            if tool.name == prompt.forced:
                return (tool,)
        raise BadRequest(f"tool_choice: {prompt.forced!r} is not among the tools", "tool_choice")
    if not prompt.tools or prompt.tool_choice == "none":
        return ()
    last = prompt.turns[-1]
    asked = last.role == "user" and _ASKS_FOR_TOOL.search(last.text)
    if prompt.tool_choice != "required" and not asked:
        return ()
    if prompt.parallel and _ASKS_FOR_MANY.search(last.text):
        return (prompt.tools if len(prompt.tools) > 1 else prompt.tools * 2)[:MAX_CALLS]
    return prompt.tools[:1]
