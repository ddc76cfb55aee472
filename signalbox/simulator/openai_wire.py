"""Answers in OpenAI's chat-completions wire format: the JSON body, and the chunks of a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, zip_longest
from random import Random
from typing import Any

from signalbox.simulator.answers import CREATED, Answer, Choice, ToolCall, compose
from signalbox.simulator.openai_errors import OpenAIErrors
from signalbox.simulator.openai_requests import read_chat
from signalbox.simulator.prompts import Call
from signalbox.simulator.scenario import Step
from signalbox.simulator.wire import Event, Parts, Piece, Said, step_error

DONE = Event(b"[DONE]")
PREFIX = "chatcmpl-"
CALL = "call_"
"""How ids of tool calls begin."""

FILTERED = {
    category: {"filtered": category == "violence", "severity": severity}
    for category, severity in (("hate", "safe"), ("self_harm", "safe"), ("violence", "high"))
}
"""Azure's `content_filter_results` of an answer that was withheld."""


class ChatEndpoint:
    """`POST /v1/chat/completions`, also of an Azure deployment."""

    errors = OpenAIErrors()

    def answer(self, call: Call, step: Step, rng: Random) -> Said:
        prompt = read_chat(call)
        answer = compose(prompt, step, call.ordinal, rng)
        if not prompt.stream:
            return Said(completion(answer, step), answer.output_tokens)
        chunks = Chunks(answer, step, include_usage=prompt.include_usage)
        return Said(parts=self._parts(chunks, answer, step))

    def _parts(self, chunks: Chunks, answer: Answer, step: Step) -> Parts:
        done = () if step.no_done else (DONE,)
        return Parts(
            opening=[Event(chunk) for chunk in chunks.roles()],
            pieces=[Piece(Event(chunk)) for chunk in chunks.contents()],
            ending=[Event(chunk) for chunk in chunks.ending()],
            done=done,
            failing=lambda _: self._failing(chunks, answer, step, done),
            broken=Event(b'{"choices":[{"delta":{"conte'),
        )

    def _failing(
        self, chunks: Chunks, answer: Answer, step: Step, done: tuple[Event, ...]
    ) -> Iterator[Event]:
        refusal = step_error(self.errors, step, answer.model)
        fields = refusal.body["error"]
        match step.error_style:
            case "groq":
                yield Event({"error": fields | {"status_code": refusal.status}}, "error")
                return
            case "openrouter":
                shown = {"code": refusal.status, "message": fields["message"]}
                yield Event(chunks.error(shown))
            case _:
                yield Event(refusal.body)
                if (zero := chunks.zero_usage()) is not None:
                    yield Event(zero)
        yield from done


def usage(answer: Answer) -> dict[str, Any]:
    prompt, completion = answer.prompt_tokens, answer.output_tokens
    reasoning = answer.reasoning_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0},
    }


def completion(answer: Answer, step: Step) -> dict[str, Any]:
    """The body of an answer that is not streamed."""
    body = {
        "id": PREFIX + answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [_whole(i, choice, step) for i, choice in enumerate(answer.choices)],
        "usage": usage(answer),
        "service_tier": "default",
        "system_fingerprint": answer.fingerprint,
    }
    if step.usage == "none":
        del body["usage"]
    return body


def _whole(index: int, choice: Choice, step: Step) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text}
    message |= {"refusal": None, "annotations": []}
    if choice.reasoning:
        message["reasoning_content"] = "".join(choice.reasoning)
    if choice.tools:
        message["content"] = None
        message["tool_calls"] = [
            {
                "id": CALL + tool.id,
                "type": "function",
                "function": {"name": tool.name, "arguments": tool.arguments},
            }
            for tool in choice.tools
        ]
    return {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": None if step.no_finish else choice.finish,
    } | _filter_results(step)


class Chunks:
    """The chunks of one answer's stream, as JSON objects.

    With `include_usage` every chunk but the last says `"usage": null`, as OpenAI's do.
    """

    def __init__(self, answer: Answer, step: Step, *, include_usage: bool) -> None:
        self._answer = answer
        self._step = step
        self._null_usage = include_usage and step.usage == "normal"
        self._usage_after = self._null_usage or step.usage == "thrice"

    def roles(self) -> list[dict[str, Any]]:
        """The first chunk of every choice, without content."""
        if self._step.no_role:
            return []
        choices = enumerate(self._answer.choices)
        return [self._chunk(i, self._role(choice)) for i, choice in choices]

    def contents(self) -> list[dict[str, Any]]:
        """One chunk a token; of several choices in turn, as models produce them."""
        deltas = [self._deltas(choice) for choice in self._answer.choices]
        rounds = (enumerate(one_each) for one_each in zip_longest(*deltas))
        return [
            self._chunk(i, delta) for i, delta in chain.from_iterable(rounds) if delta is not None
        ]

    def ending(self) -> list[dict[str, Any]]:
        """Finish reasons and usage, as the step wants them."""
        chunks: list[dict[str, Any]] = []
        if not self._step.no_finish:
            chunks = [self._finish(i, choice) for i, choice in enumerate(self._answer.choices)]
            chunks *= 2 if self._step.repeat_finish else 1
        if self._usage_after:
            chunks.append(self._frame([]) | {"usage": usage(self._answer)})
        return chunks

    def zero_usage(self) -> dict[str, Any] | None:
        """What OpenAI sends after an error in the stream where usage was asked for."""
        if not self._null_usage:
            return None
        zero = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        return self._frame([]) | {"usage": zero}

    def error(self, fields: dict[str, Any]) -> dict[str, Any]:
        """An ordinary chunk that carries an error, as OpenRouter sends it."""
        return self._chunk(0, {"role": "assistant", "content": ""}, "error") | {"error": fields}

    def _deltas(self, choice: Choice) -> Iterator[dict[str, Any]]:
        lead: dict[str, Any] = self._role(choice) if self._step.no_role else {}
        pieces: list[dict[str, Any]] = [{"reasoning_content": token} for token in choice.reasoning]
        pieces += [{"content": token} for token in choice.tokens]
        for index, tool in enumerate(choice.tools):
            pieces += [{"tool_calls": [piece]} for piece in _call_pieces(index, tool)]
        for delta in pieces:
            yield lead | delta
            lead = {}

    def _finish(self, index: int, choice: Choice) -> dict[str, Any]:
        chunk = self._chunk(index, {}, choice.finish)
        if self._step.usage in ("in_choice", "thrice"):
            chunk["usage"] = usage(self._answer)
        if self._step.usage == "thrice":
            chunk["x_groq"] = {"id": PREFIX + self._answer.id, "usage": usage(self._answer)}
        return chunk

    def _role(self, choice: Choice) -> dict[str, Any]:
        return {"role": "assistant", "content": None if choice.tools else "", "refusal": None}

    def _chunk(
        self, index: int, delta: dict[str, Any], finish: str | None = None
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        if finish is not None:
            choice |= _filter_results(self._step)
        return self._frame([choice])

    def _frame(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = {
            "id": PREFIX + self._answer.id,
            "object": "chat.completion.chunk",
            "created": self._answer.created,
            "model": self._answer.model,
            "service_tier": "default",
            "system_fingerprint": self._answer.fingerprint,
            "choices": choices,
        }
        return chunk | ({"usage": None} if self._null_usage else {})


def _call_pieces(index: int, call: ToolCall) -> Iterator[dict[str, Any]]:
    """The id and name first, then the arguments in fragments."""
    start = {"index": index, "id": CALL + call.id, "type": "function"}
    yield start | {"function": {"name": call.name, "arguments": ""}}
    for fragment in call.fragments:
        yield {"index": index, "function": {"arguments": fragment}}


def _filter_results(step: Step) -> dict[str, Any]:
    return {"content_filter_results": FILTERED} if step.content_filter else {}


def model_list(names: Iterable[str]) -> dict[str, Any]:
    """The body of `GET /v1/models`."""
    owner = {"object": "model", "created": CREATED, "owned_by": "signalbox-simulator"}
    return {"object": "list", "data": [{"id": name} | owner for name in names]}
