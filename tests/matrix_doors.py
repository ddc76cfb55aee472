"""Each door as its vendor's own SDK drives it: asked in neutral words, told in neutral words."""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai
from google import genai

from tests.gateway import KEY

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(196, 256))
"""Its base64 has letters that the two alphabets spell differently."""
PDF = b"%PDF-1.4\n" + bytes(range(200, 256)) + b"\n%%EOF\n"
PNG_TEXT, PDF_TEXT = base64.b64encode(PNG).decode(), base64.b64encode(PDF).decode()
CEILING = 3000
_ANTHROPIC_FINISHES = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length"}
_GOOGLE_FINISHES = {"STOP": "stop", "MAX_TOKENS": "length"}


@dataclass(frozen=True)
class Ask:
    text: str
    image: bool = False
    pdf: bool = False
    tools: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    """Of the answer; of the tools' arguments it is always `PLACE`."""
    thinking: bool = False
    stream: bool = False


PLACE: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Lisbon"]}},
    "required": ["city"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Call:
    id: str | None
    name: str
    arguments: dict[str, Any]


@dataclass
class Seen:
    """What the SDK made of an answer."""

    text: str = ""
    calls: list[Call] = field(default_factory=list)
    finish: str = ""
    """In OpenAI's words."""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    reasoning: str = ""
    turns: list[Any] = field(default_factory=list)
    """What the client sends back of it, and of the question."""


@dataclass(frozen=True)
class Refused:
    status: int
    message: str


class Driver(ABC):
    """One door. Raises what its SDK raises; `refused` reads it."""

    def ask(self, model: str, ask: Ask) -> Seen:
        return self.send(model, ask, self.question(ask))

    def go_on(self, model: str, ask: Ask, seen: Seen, results: Sequence[str]) -> Seen:
        """The second step of a tool loop: one result a call."""
        answers = self.results(seen.calls, results)
        return self.send(model, ask, [*seen.turns, *answers])

    @abstractmethod
    def question(self, ask: Ask) -> list[Any]: ...

    def results(self, calls: Sequence[Call], results: Sequence[str]) -> list[Any]:
        raise AssertionError(f"{type(self).__name__} has no tools; the table says so")

    @abstractmethod
    def send(self, model: str, ask: Ask, turns: list[Any]) -> Seen: ...

    def embed(self, model: str, texts: list[str]) -> list[list[float]]:
        raise AssertionError(f"{type(self).__name__} has no embeddings; the table says so")

    def refused(self, error: Exception) -> Refused:
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
        assert isinstance(status, int), error
        return Refused(status, str(error))


def openai_client(url: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=KEY, base_url=url, max_retries=0, timeout=60)


class ChatDriver(Driver):
    """Keeps of a message what the SDK's own types have: role, content, tool calls."""

    def __init__(self, client: openai.OpenAI, *, openrouter: bool = False) -> None:
        self._client = client
        self._openrouter = openrouter

    def question(self, ask: Ask) -> list[Any]:
        parts: list[Any] = [{"type": "text", "text": ask.text}]
        if ask.image:
            url = f"data:image/png;base64,{PNG_TEXT}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
        if ask.pdf:
            data = f"data:application/pdf;base64,{PDF_TEXT}"
            parts.append({"type": "file", "file": {"filename": "a.pdf", "file_data": data}})
        return [{"role": "user", "content": parts if len(parts) > 1 else ask.text}]

    def results(self, calls: Sequence[Call], results: Sequence[str]) -> list[Any]:
        return [
            {"role": "tool", "tool_call_id": call.id, "content": result}
            for call, result in zip(calls, results, strict=True)
        ]

    def send(self, model: str, ask: Ask, turns: list[Any]) -> Seen:
        asked: dict[str, Any] = {"model": model, "messages": turns}
        if ask.tools:
            functions = [{"name": name, "parameters": PLACE} for name in ask.tools]
            asked["tools"] = [{"type": "function", "function": one} for one in functions]
        if ask.schema:
            shape = {"name": "place", "schema": ask.schema, "strict": True}
            asked["response_format"] = {"type": "json_schema", "json_schema": shape}
        if ask.thinking and self._openrouter:
            asked["extra_body"] = {"reasoning": {"effort": "low"}}
        elif ask.thinking:
            asked["reasoning_effort"] = "low"
        if ask.stream:
            asked["stream_options"] = {"include_usage": True}
            answer: Any = self._folded(asked)
        else:
            answer = self._client.chat.completions.create(**asked)
        choice = answer.choices[0]
        called = choice.message.tool_calls or []
        kept: dict[str, Any] = {"role": "assistant", "content": choice.message.content}
        if called:
            kept["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.function.name, "arguments": call.function.arguments},
                }
                for call in called
            ]
        return Seen(
            text=choice.message.content or "",
            calls=[
                Call(call.id, call.function.name, json.loads(call.function.arguments))
                for call in called
            ],
            finish=choice.finish_reason,
            prompt_tokens=answer.usage.prompt_tokens if answer.usage else None,
            output_tokens=answer.usage.completion_tokens if answer.usage else None,
            reasoning=self._reasoning(choice.message),
            turns=[*turns, kept],
        )

    def _reasoning(self, message: Any) -> str:
        """Told in two fields that say the same."""
        content = getattr(message, "reasoning_content", None)
        return getattr(message, "reasoning", None) or content or ""

    def _folded(self, asked: dict[str, Any]) -> Any:
        with self._client.chat.completions.stream(**asked) as stream:
            reasoning = ""
            for event in stream:
                if event.type == "chunk" and event.chunk.choices:
                    reasoning += self._reasoning(event.chunk.choices[0].delta)
            answer = stream.get_final_completion()
        answer.choices[0].message.reasoning = reasoning  # type: ignore[attr-defined]
        return answer

    def embed(self, model: str, texts: list[str]) -> list[list[float]]:
        data = self._client.embeddings.create(model=model, input=texts).data
        return [one.embedding for one in data]


class CompletionsDriver(Driver):
    def __init__(self, client: openai.OpenAI) -> None:
        self._client = client

    def question(self, ask: Ask) -> list[Any]:
        return [ask.text]

    def send(self, model: str, ask: Ask, turns: list[Any]) -> Seen:
        asked: dict[str, Any] = {"model": model, "prompt": turns[0], "max_tokens": CEILING}
        if not ask.stream:
            answer = self._client.completions.create(**asked)
            return self._seen(answer.choices[0].text, answer.choices[0].finish_reason, answer.usage)
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
        text, finish, usage = "", "", None
        for chunk in self._client.completions.create(**asked):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text, finish = text + choice.text, choice.finish_reason or finish
        return self._seen(text, finish, usage)

    def _seen(self, text: str, finish: str, usage: Any) -> Seen:
        return Seen(
            text,
            finish=finish,
            prompt_tokens=usage and usage.prompt_tokens,
            output_tokens=usage and usage.completion_tokens,
        )


class ResponsesDriver(Driver):
    def __init__(self, client: openai.OpenAI) -> None:
        self._client = client

    def question(self, ask: Ask) -> list[Any]:
        parts: list[Any] = [{"type": "input_text", "text": ask.text}]
        if ask.image:
            url = f"data:image/png;base64,{PNG_TEXT}"
            parts.append({"type": "input_image", "image_url": url, "detail": "auto"})
        if ask.pdf:
            data = f"data:application/pdf;base64,{PDF_TEXT}"
            parts.append({"type": "input_file", "filename": "a.pdf", "file_data": data})
        return [{"role": "user", "content": parts}]

    def results(self, calls: Sequence[Call], results: Sequence[str]) -> list[Any]:
        return [
            {"type": "function_call_output", "call_id": call.id, "output": result}
            for call, result in zip(calls, results, strict=True)
        ]

    def send(self, model: str, ask: Ask, turns: list[Any]) -> Seen:
        asked: dict[str, Any] = {"model": model, "input": turns}
        if ask.tools:
            strict = {"type": "function", "parameters": PLACE, "strict": True}
            asked["tools"] = [strict | {"name": name} for name in ask.tools]
        if ask.schema:
            shape = {"type": "json_schema", "name": "place", "schema": ask.schema, "strict": True}
            asked["text"] = {"format": shape}
        if ask.thinking:
            asked["reasoning"] = {"effort": "low", "summary": "auto"}
        if ask.stream:
            with self._client.responses.stream(**asked) as stream:
                for _ in stream:
                    pass
                answer: Any = stream.get_final_response()
        else:
            answer = self._client.responses.create(**asked)
        calls = [item for item in answer.output if item.type == "function_call"]
        thoughts = [item for item in answer.output if item.type == "reasoning"]
        reason = answer.incomplete_details and answer.incomplete_details.reason
        return Seen(
            text=answer.output_text,
            calls=[Call(one.call_id, one.name, json.loads(one.arguments)) for one in calls],
            finish="length" if reason else "tool_calls" if calls else "stop",
            prompt_tokens=answer.usage and answer.usage.input_tokens,
            output_tokens=answer.usage and answer.usage.output_tokens,
            reasoning="".join(part.text for item in thoughts for part in item.summary),
            turns=[*turns, *(item.to_dict(mode="json") for item in answer.output)],
        )


class AnthropicDriver(Driver):
    def __init__(self, client: anthropic.Anthropic) -> None:
        self._client = client

    def question(self, ask: Ask) -> list[Any]:
        parts: list[Any] = [{"type": "text", "text": ask.text}]
        if ask.image:
            source = {"type": "base64", "media_type": "image/png", "data": PNG_TEXT}
            parts.append({"type": "image", "source": source})
        if ask.pdf:
            source = {"type": "base64", "media_type": "application/pdf", "data": PDF_TEXT}
            parts.append({"type": "document", "source": source})
        return [{"role": "user", "content": parts}]

    def results(self, calls: Sequence[Call], results: Sequence[str]) -> list[Any]:
        blocks = [
            {"type": "tool_result", "tool_use_id": call.id, "content": result}
            for call, result in zip(calls, results, strict=True)
        ]
        return [{"role": "user", "content": blocks}]

    def send(self, model: str, ask: Ask, turns: list[Any]) -> Seen:
        asked: dict[str, Any] = {"model": model, "max_tokens": CEILING, "messages": turns}
        if ask.tools:
            asked["tools"] = [{"name": name, "input_schema": PLACE} for name in ask.tools]
        if ask.schema:
            asked["output_config"] = {"format": {"type": "json_schema", "schema": ask.schema}}
        if ask.thinking:
            asked["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        if ask.stream:
            with self._client.messages.stream(**asked) as stream:
                answer: Any = stream.get_final_message()
        else:
            answer = self._client.messages.create(**asked)
        blocks = answer.content
        usage = answer.usage
        cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        return Seen(
            text="".join(block.text for block in blocks if block.type == "text"),
            calls=[Call(b.id, b.name, b.input) for b in blocks if b.type == "tool_use"],
            finish=_ANTHROPIC_FINISHES.get(answer.stop_reason, str(answer.stop_reason)),
            prompt_tokens=usage.input_tokens + cached,
            output_tokens=usage.output_tokens,
            reasoning="".join(block.thinking for block in blocks if block.type == "thinking"),
            turns=[*turns, {"role": "assistant", "content": blocks}],
        )


class GoogleDriver(Driver):
    def __init__(self, client: genai.Client) -> None:
        self._client = client

    def question(self, ask: Ask) -> list[Any]:
        parts: list[Any] = [{"text": ask.text}]
        if ask.image:
            parts.append({"inline_data": {"mime_type": "image/png", "data": PNG}})
        if ask.pdf:
            parts.append({"inline_data": {"mime_type": "application/pdf", "data": PDF}})
        return [{"role": "user", "parts": parts}]

    def results(self, calls: Sequence[Call], results: Sequence[str]) -> list[Any]:
        parts: list[Any] = []
        for call, result in zip(calls, results, strict=True):
            answer: dict[str, Any] = {"name": call.name, "response": {"result": result}}
            parts.append({"function_response": answer | ({"id": call.id} if call.id else {})})
        return [{"role": "user", "parts": parts}]

    def send(self, model: str, ask: Ask, turns: list[Any]) -> Seen:
        config: dict[str, Any] = {"automatic_function_calling": {"disable": True}}
        if ask.tools:
            functions = [{"name": name, "parameters_json_schema": PLACE} for name in ask.tools]
            config["tools"] = [{"function_declarations": functions}]
        if ask.schema:
            config["response_mime_type"] = "application/json"
            config["response_json_schema"] = ask.schema
        if ask.thinking:
            config["thinking_config"] = {"include_thoughts": True, "thinking_budget": 1024}
        asked: dict[str, Any] = {"model": model, "contents": turns, "config": config}
        if ask.stream:
            chunks: list[Any] = list(self._client.models.generate_content_stream(**asked))
        else:
            chunks = [self._client.models.generate_content(**asked)]
        candidates = [chunk.candidates[0] for chunk in chunks if chunk.candidates]
        parts = [part for c in candidates if c.content for part in c.content.parts or ()]
        calls = [part.function_call for part in parts if part.function_call]
        finishes = [c.finish_reason.value for c in candidates if c.finish_reason]
        finish = _GOOGLE_FINISHES.get(finishes[-1], finishes[-1]) if len(finishes) == 1 else ""
        usage = chunks[-1].usage_metadata
        thoughts = usage.thoughts_token_count or 0
        return Seen(
            text="".join(part.text for part in parts if part.text and not part.thought),
            calls=[Call(call.id, call.name, call.args) for call in calls],
            finish="tool_calls" if calls and finish == "stop" else finish,
            prompt_tokens=usage.prompt_token_count,
            output_tokens=(usage.candidates_token_count or 0) + thoughts,
            reasoning="".join(part.text for part in parts if part.text and part.thought),
            turns=[*turns, {"role": "model", "parts": parts}],
        )

    def embed(self, model: str, texts: list[str]) -> list[list[float]]:
        found = self._client.models.embed_content(model=model, contents=list(texts)).embeddings
        return [list(one.values or ()) for one in found or ()]


def drivers(url: str) -> dict[str, Driver]:
    """Every door of the gateway at `url`, by the name that the table gives it."""
    azure = openai.AzureOpenAI(
        api_key=KEY, azure_endpoint=url, api_version="2024-10-21", max_retries=0, timeout=60
    )
    plain = openai_client(f"{url}/v1")
    chat = ChatDriver(plain)
    return {
        "chat": chat,
        "openrouter": ChatDriver(openai_client(f"{url}/api/v1"), openrouter=True),
        "azure": ChatDriver(azure),
        "responses": ResponsesDriver(plain),
        "completions": CompletionsDriver(plain),
        "messages": AnthropicDriver(anthropic.Anthropic(api_key=KEY, base_url=url, max_retries=0)),
        "generate": GoogleDriver(genai.Client(api_key=KEY, http_options={"base_url": url})),
    }
