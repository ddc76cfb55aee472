"""Answers in the wire format of OpenAI's responses API, whole and streamed.

Source: OpenAI's API reference, "Responses" and its streaming events.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from random import Random
from typing import Any

from signalbox.simulator.answers import Answer, compose
from signalbox.simulator.openai_errors import OpenAIErrors
from signalbox.simulator.prompts import Call
from signalbox.simulator.responses_requests import ResponsesRequest, read_responses
from signalbox.simulator.responses_store import ResponsesStore, Stored
from signalbox.simulator.scenario import Step
from signalbox.simulator.signatures import sign
from signalbox.simulator.wire import Event, Parts, Piece, Said, step_error


class ResponsesEndpoint:
    """`POST /v1/responses`."""

    errors = OpenAIErrors()

    def __init__(self, store: ResponsesStore) -> None:
        self._store = store

    def answer(self, call: Call, step: Step, rng: Random) -> Said:
        request = read_responses(call, self._store)
        answer = compose(request.prompt, step, call.ordinal, rng)
        body = _whole(request, answer, step)
        if request.stores:
            self._store.keep(Stored(call.key, dict(body), request.input, request.before))
        if request.background:
            body |= {"status": "queued", "output": [], "usage": None}
        if not request.prompt.stream:
            return Said(body, answer.output_tokens)
        return Said(parts=_Streamed(self.errors, body, answer, step).parts())


def usage(answer: Answer) -> dict[str, Any]:
    return {
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens},
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        "total_tokens": answer.prompt_tokens + answer.output_tokens,
    }


def _whole(request: ResponsesRequest, answer: Answer, step: Step) -> dict[str, Any]:
    finish = answer.choices[0].finish
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(finish)
    status = "in_progress" if step.no_finish else "incomplete" if reason else "completed"
    body: dict[str, Any] = {
        "id": "resp_" + answer.id,
        "object": "response",
        "created_at": answer.created,
        "status": status,
        "background": request.background,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": None,
        "max_output_tokens": request.prompt.ceiling,
        "model": answer.model,
        "output": list(_items(request, answer)),
        "parallel_tool_calls": request.prompt.parallel,
        "previous_response_id": request.before.body["id"] if request.before else None,
        "store": request.stores,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None if step.usage == "none" else usage(answer),
        "metadata": {},
    }
    return body | request.echoed


def _items(request: ResponsesRequest, answer: Answer) -> Iterator[dict[str, Any]]:
    choice = answer.choices[0]
    if choice.reasoning:
        thought = "".join(choice.reasoning)
        item: dict[str, Any] = {"id": "rs_" + answer.id, "type": "reasoning", "summary": []}
        if request.summarises:
            item["summary"] = [{"type": "summary_text", "text": thought}]
        if request.encrypts:
            item["encrypted_content"] = sign("encrypted", thought)
        yield item
    if choice.tokens or not choice.tools:
        part = {"type": "output_text", "text": choice.text, "annotations": [], "logprobs": []}
        yield {
            "id": "msg_" + answer.id,
            "type": "message",
            "status": "incomplete" if choice.finish == "length" else "completed",
            "role": "assistant",
            "content": [part] if choice.tokens else [],
        }
    for tool in choice.tools:
        yield {
            "id": "fc_" + tool.id,
            "type": "function_call",
            "status": "completed",
            "call_id": "call_" + tool.id,
            "name": tool.name,
            "arguments": tool.arguments,
        }


class _Streamed:
    """The events of one answer, numbered in their order."""

    def __init__(
        self, errors: OpenAIErrors, body: dict[str, Any], answer: Answer, step: Step
    ) -> None:
        self._errors = errors
        self._body = body
        self._begun = body | {"status": "in_progress", "output": [], "usage": None}
        self._answer = answer
        self._step = step
        self._count = 0

    def parts(self) -> Parts:
        begun = {"response": self._begun}
        opening = [
            self._event("response.created", begun),
            self._event("response.in_progress", begun),
        ]
        items = enumerate(self._body["output"])
        pieces = list(chain.from_iterable(self._item(index, item) for index, item in items))
        return Parts(
            opening=opening,
            pieces=pieces,
            ending=self._ending(),
            done=(),
            failing=self._failing,
            broken=Event(b'{"type":"response.output_te', "response.output_text.delta"),
        )

    def _item(self, index: int, item: dict[str, Any]) -> Iterator[Piece]:
        at = {"output_index": index, "item_id": item["id"]}
        match item["type"]:
            case "reasoning":
                yield from self._reasoning(at, item)
            case "message":
                yield from self._message(at, item)
            case _:
                yield from self._call(at, item)

    def _message(self, at: dict[str, Any], item: dict[str, Any]) -> Iterator[Piece]:
        begun = item | {"status": "in_progress", "content": []}
        added = self._added(at, begun)
        if not item["content"]:
            yield Piece(added, after=(self._done(at, item),))
            return
        part = item["content"][0]
        at = at | {"content_index": 0}
        empty = {"part": part | {"text": ""}}
        before = (added, self._event("response.content_part.added", at | empty))
        yield from self._deltas(
            "response.output_text",
            at | {"logprobs": []},
            self._answer.choices[0].tokens,
            {"text": part["text"]},
            before,
            lambda: (
                self._event("response.content_part.done", at | {"part": part}),
                self._done(at, item),
            ),
        )

    def _reasoning(self, at: dict[str, Any], item: dict[str, Any]) -> Iterator[Piece]:
        added = self._added(at, item | {"summary": []})
        if not item["summary"]:
            yield Piece(added, after=(self._done(at, item),))
            return
        part = item["summary"][0]
        at = at | {"summary_index": 0}
        empty = {"part": part | {"text": ""}}
        before = (added, self._event("response.reasoning_summary_part.added", at | empty))
        yield from self._deltas(
            "response.reasoning_summary_text",
            at,
            self._answer.choices[0].reasoning,
            {"text": part["text"]},
            before,
            lambda: (
                self._event("response.reasoning_summary_part.done", at | {"part": part}),
                self._done(at, item),
            ),
        )

    def _call(self, at: dict[str, Any], item: dict[str, Any]) -> Iterator[Piece]:
        tools = self._answer.choices[0].tools
        tool = next(tool for tool in tools if item["id"] == "fc_" + tool.id)
        added = self._added(at, item | {"status": "in_progress", "arguments": ""})
        ended = {"arguments": item["arguments"], "name": item["name"]}
        yield from self._deltas(
            "response.function_call_arguments",
            at,
            tool.fragments,
            ended,
            (added,),
            lambda: (self._done(at, item),),
        )

    def _deltas(
        self,
        kind: str,
        at: dict[str, Any],
        tokens: tuple[str, ...],
        whole: dict[str, Any],
        before: tuple[Event, ...],
        after: Any,
    ) -> Iterator[Piece]:
        """One piece a token; `after` is called when its events are due, since they are numbered."""
        for place, token in enumerate(tokens):
            event = self._event(f"{kind}.delta", at | {"delta": token})
            ending: tuple[Event, ...] = ()
            if place == len(tokens) - 1:
                ending = (self._event(f"{kind}.done", at | whole), *after())
            yield Piece(event, before if place == 0 else (), ending)

    def _added(self, at: dict[str, Any], item: dict[str, Any]) -> Event:
        place = {"output_index": at["output_index"], "item": item}
        return self._event("response.output_item.added", place)

    def _done(self, at: dict[str, Any], item: dict[str, Any]) -> Event:
        place = {"output_index": at["output_index"], "item": item}
        return self._event("response.output_item.done", place)

    def _ending(self) -> list[Event]:
        if self._step.no_finish or self._step.no_done:
            return []
        status = self._body["status"]
        event = self._event(f"response.{status}", {"response": self._body})
        return [event] * (2 if self._step.repeat_finish else 1)

    def _failing(self, sent: int) -> Iterator[Event]:
        """`response.failed`; in the other styles an `error` event alone."""
        fields = step_error(self._errors, self._step, self._answer.model).body["error"]
        self._count = sent
        shown = {"code": fields["code"] or fields["type"], "message": fields["message"]}
        if self._step.error_style not in (None, "openai"):
            yield self._event("error", shown | {"param": None})
            return
        failed = {"status": "failed", "error": shown}
        yield self._event("response.failed", {"response": self._begun | failed})

    def _event(self, kind: str, fields: dict[str, Any]) -> Event:
        event = Event({"type": kind, "sequence_number": self._count} | fields, kind)
        self._count += 1
        return event
