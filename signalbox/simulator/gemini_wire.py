"""Answers in the wire format of the Gemini API, whole and streamed.

Source: Gemini API reference (`v1beta`), `GenerateContentResponse`. Streams have CRLF line ends,
no event names and no last event; every chunk tells the usage so far.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from signalbox.simulator.answers import Answer, Choice, ToolCall, compose, prompt_tokens
from signalbox.simulator.gemini_errors import GeminiErrors
from signalbox.simulator.gemini_requests import read_count, read_generate
from signalbox.simulator.prompts import Call, Prompt
from signalbox.simulator.scenario import Step
from signalbox.simulator.signatures import sign
from signalbox.simulator.wire import Event, Parts, Piece, Said, step_error

_FINISHES = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
}
BLOCKED = {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}


class GenerateEndpoint:
    """`:generateContent` and `:streamGenerateContent`."""

    errors = GeminiErrors()

    def answer(self, call: Call, step: Step, rng: Random) -> Said:
        prompt = read_generate(call)
        answer = compose(prompt, step, call.ordinal, rng)
        if not prompt.stream:
            return Said(_whole(answer, step), answer.output_tokens)
        parts = self._parts(answer, step)
        if call.query.get("alt") == "sse":
            return Said(parts=parts)
        events = [piece.event.data for piece in parts.pieces]
        return Said([*events, *(event.data for event in parts.ending)], answer.output_tokens)

    def _parts(self, answer: Answer, step: Step) -> Parts:
        chunks = list(_chunks(answer, step))
        last = _frame(
            answer, [_finish(i, c, step, [{"text": ""}]) for i, c in enumerate(answer.choices)]
        )
        if step.usage != "none":
            last["usageMetadata"] = usage(answer, answer.completion_tokens, answer.reasoning_tokens)
        times = 0 if step.no_finish else 2 if step.repeat_finish else 1
        return Parts(
            opening=(),
            pieces=[Piece(Event(chunk)) for chunk in chunks],
            ending=[Event(last)] * times,
            done=(),
            failing=lambda _: [Event(step_error(self.errors, step, answer.model).body)],
            broken=Event(b'{"candidates": [{"content": {"par'),
            crlf=True,
        )


class CountEndpoint:
    """`:countTokens`."""

    errors = GeminiErrors()

    def answer(self, call: Call, step: Step, rng: Random) -> Said:
        total = prompt_tokens(Prompt(model=call.model, turns=read_count(call)))
        details = [{"modality": "TEXT", "tokenCount": total}]
        return Said({"totalTokens": total, "promptTokensDetails": details})


def usage(answer: Answer, seen: int, thought: int) -> dict[str, Any]:
    """The usage after so many tokens; `candidatesTokenCount` leaves the thoughts out."""
    found: dict[str, Any] = {
        "promptTokenCount": answer.prompt_tokens,
        "totalTokenCount": answer.prompt_tokens + seen + thought,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": answer.prompt_tokens}],
    }
    if seen:
        found["candidatesTokenCount"] = seen
    if thought:
        found["thoughtsTokenCount"] = thought
    if answer.cached_tokens:
        found["cachedContentTokenCount"] = answer.cached_tokens
    return found


def _whole(answer: Answer, step: Step) -> dict[str, Any]:
    candidates = [
        _finish(index, choice, step, list(_parts_of(choice)))
        for index, choice in enumerate(answer.choices)
    ]
    body = _frame(answer, candidates)
    if step.usage != "none":
        body["usageMetadata"] = usage(answer, answer.completion_tokens, answer.reasoning_tokens)
    return body


def _parts_of(choice: Choice) -> Iterator[dict[str, Any]]:
    if choice.reasoning:
        yield {"text": "".join(choice.reasoning), "thought": True}
    if choice.tokens:
        yield {"text": choice.text}
    for index, tool in enumerate(choice.tools):
        yield _called(index, tool)


def _called(index: int, tool: ToolCall) -> dict[str, Any]:
    """A call has no id; the first of several carries the signature."""
    part: dict[str, Any] = {"functionCall": {"name": tool.name, "args": tool.values}}
    return part | ({"thoughtSignature": sign("call", tool.name)} if index == 0 else {})


def _chunks(answer: Answer, step: Step) -> Iterator[dict[str, Any]]:
    """One chunk a token, one a whole call; of several candidates one after the other."""
    seen = thought = 0
    for index, choice in enumerate(answer.choices):
        told: list[tuple[dict[str, Any], int, int]] = [
            ({"text": token, "thought": True}, 0, 1) for token in choice.reasoning
        ]
        told += [({"text": token}, 1, 0) for token in choice.tokens]
        told += [(_called(i, tool), len(tool.fragments), 0) for i, tool in enumerate(choice.tools)]
        for part, more_seen, more_thought in told:
            seen, thought = seen + more_seen, thought + more_thought
            content = {"role": "model", "parts": [part]}
            chunk = _frame(answer, [{"content": content, "index": index}])
            if step.usage != "none":
                chunk["usageMetadata"] = usage(answer, seen, thought)
            yield chunk


def _finish(index: int, choice: Choice, step: Step, parts: list[dict[str, Any]]) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": index}
    if not parts:
        del candidate["content"]["parts"]
    if not step.no_finish:
        candidate["finishReason"] = _FINISHES.get(choice.finish, choice.finish)
    if step.content_filter:
        candidate |= {"content": {}, "safetyRatings": [BLOCKED]}
    return candidate


def _frame(answer: Answer, candidates: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "candidates": candidates,
        "modelVersion": answer.model,
        "responseId": answer.id,
    }


def model_list(names: tuple[str, ...]) -> dict[str, Any]:
    """The body of `GET /v1beta/models`."""
    methods = ["generateContent", "countTokens", "embedContent"]
    models = [
        {
            "name": f"models/{name}",
            "displayName": name,
            "inputTokenLimit": 1_048_576,
            "outputTokenLimit": 65_536,
            "supportedGenerationMethods": methods,
        }
        for name in names
    ]
    return {"models": models}
