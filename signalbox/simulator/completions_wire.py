"""Answers in the wire format of OpenAI's older completions endpoint, whole and streamed.

Source: OpenAI's API reference, "Completions".
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, zip_longest
from random import Random
from typing import Any

from signalbox.simulator.answers import Answer, compose
from signalbox.simulator.openai_errors import OpenAIErrors
from signalbox.simulator.openai_wire import DONE, usage
from signalbox.simulator.prompts import (
    BadRequest,
    Call,
    Prompt,
    Turn,
    listing,
    number,
    table,
    text,
    texts,
    whole_number,
)
from signalbox.simulator.scenario import Step
from signalbox.simulator.wire import Event, Parts, Piece, Said, step_error

DEFAULT_CEILING = 16
"""`max_tokens` where the request does not say; OpenAI's own."""
_CHATS = ("messages", "tools", "tool_choice", "response_format", "max_completion_tokens")


class CompletionsEndpoint:
    """`POST /v1/completions`."""

    errors = OpenAIErrors()

    def answer(self, call: Call, step: Step, rng: Random) -> Said:
        prompt = _read(call)
        answer = compose(prompt, step, call.ordinal, rng)
        if not prompt.stream:
            choices = [
                _choice(index, choice.text, None if step.no_finish else choice.finish)
                for index, choice in enumerate(answer.choices)
            ]
            body = _frame(answer, choices) | {"usage": usage(answer)}
            if step.usage == "none":
                del body["usage"]
            return Said(body, answer.output_tokens)
        return Said(parts=self._parts(answer, step, prompt.include_usage))

    def _parts(self, answer: Answer, step: Step, include_usage: bool) -> Parts:
        asked = include_usage and step.usage == "normal"
        more = {"usage": None} if asked else {}
        finishes = [
            Event(_frame(answer, [_choice(index, "", choice.finish)]) | more)
            for index, choice in enumerate(answer.choices)
        ]
        ending = finishes * (0 if step.no_finish else 2 if step.repeat_finish else 1)
        if asked:
            ending.append(Event(_frame(answer, []) | {"usage": usage(answer)}))
        done = () if step.no_done else (DONE,)
        failed = Event(step_error(self.errors, step, answer.model).body)
        return Parts(
            opening=(),
            pieces=[Piece(Event(chunk | more)) for chunk in _chunks(answer)],
            ending=ending,
            done=done,
            failing=lambda _: (failed, *done),
            broken=Event(b'{"choices":[{"te'),
        )


def _read(call: Call) -> Prompt:
    body = table(call.body, "body")
    for name in _CHATS:
        if name in body:
            raise BadRequest(f"Unrecognized request argument supplied: {name}", name)
    options = body.get("stream_options")
    usage_asked = table(options, "stream_options").get("include_usage") if options else False
    number(body.get("temperature"), "temperature", 0, 2)
    prompts = _prompts(body.get("prompt"))
    if len(prompts) > 1:
        raise BadRequest("the simulator takes one prompt a request", "prompt")
    return Prompt(
        model=call.model or text(body.get("model"), "model"),
        turns=(Turn("user", prompts[0]),),
        ceiling=whole_number(body.get("max_tokens"), "max_tokens") or DEFAULT_CEILING,
        stops=texts(body.get("stop"), "stop"),
        choices=whole_number(body.get("n"), "n") or 1,
        stream=body.get("stream") is True,
        include_usage=usage_asked is True,
    )


def _prompts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    values = listing(value, "prompt")
    if values and all(isinstance(one, int) for one in values):
        return [f"{len(values)} tokens"]
    found = []
    for index, one in enumerate(values):
        token_ids = isinstance(one, list) and all(isinstance(token, int) for token in one)
        found.append(f"{len(one)} tokens" if token_ids else text(one, f"prompt[{index}]"))
    if not found:
        raise BadRequest("expected at least one prompt", "prompt")
    return found


def _chunks(answer: Answer) -> Iterator[dict[str, Any]]:
    """One chunk a token; of several choices in turn."""
    rounds = zip_longest(*(choice.tokens for choice in answer.choices))
    for index, token in chain.from_iterable(enumerate(one_each) for one_each in rounds):
        if token is not None:
            yield _frame(answer, [_choice(index, token, None)])


def _choice(index: int, said: str, finish: str | None) -> dict[str, Any]:
    return {"text": said, "index": index, "logprobs": None, "finish_reason": finish}


def _frame(answer: Answer, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "cmpl-" + answer.id,
        "object": "text_completion",
        "created": answer.created,
        "model": answer.model,
        "system_fingerprint": answer.fingerprint,
        "choices": choices,
    }
