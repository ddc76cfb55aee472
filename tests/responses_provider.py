"""A provider of the Responses API over real HTTP, in a thread: it keeps answers, each for the key
that asked, and repeats what it was told. Chat completions it answers too."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 15,
}


@dataclass
class Received:
    method: str
    path: str
    query: dict[str, list[str]]
    key: str
    body: Any


@dataclass
class Kept:
    key: str
    response: dict[str, Any]
    events: list[dict[str, Any]]


@dataclass
class ResponsesProvider:
    url: str = ""
    received: list[Received] = field(default_factory=list)
    kept: dict[str, Kept] = field(default_factory=dict)
    count: int = 0

    def answer(self, body: dict[str, Any], key: str) -> tuple[int, Any]:
        previous = body.get("previous_response_id")
        if previous is not None and self.kept.get(previous, Kept("", {}, [])).key != key:
            return 400, _error("Previous response not found.", "previous_response_not_found")
        self.count += 1
        text = f"Answer {self.count}."
        events = list(_events(f"resp_{self.count}", body, text))
        response = events[-1]["response"]
        if body.get("store") is not False:
            self.kept[response["id"]] = Kept(key, response, events)
        return 200, events if body.get("stream") else response

    def stored(self, method: str, id: str, action: str, key: str) -> tuple[int, Any]:
        kept = self.kept.get(id)
        if kept is None or kept.key != key:
            return 404, _error(f"Response with id '{id}' not found.", None)
        if method == "DELETE":
            del self.kept[id]
            return 200, {"id": id, "object": "response", "deleted": True}
        if action == "input_items":
            return 200, {"object": "list", "data": [], "has_more": False}
        if action == "cancel":
            return 400, _error("Cannot cancel a response that is not in the background.", None)
        return 200, kept.response


def _events(id: str, body: dict[str, Any], text: str) -> Iterator[dict[str, Any]]:
    response = {
        "id": id,
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "in_progress",
        "model": body["model"],
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
    }
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": f"msg_{id}", "type": "message", "role": "assistant", "status": "completed"}
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    whole = {**item, "content": [part]}
    told: list[dict[str, Any]] = [
        {"type": "response.created", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **place, "delta": text, "logprobs": []},
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": whole},
    ]
    ended = {**response, "status": "completed", "output": [whole], "usage": USAGE}
    told.append({"type": "response.completed", "response": ended})
    for number, event in enumerate(told):
        yield {**event, "sequence_number": number}


def _error(message: str, code: str | None) -> dict[str, Any]:
    error = {"message": message, "type": "invalid_request_error", "param": "id", "code": code}
    return {"error": error}


def _completion(model: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": "From a chat."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return {"id": "chatcmpl-1", "model": model, "choices": [choice], "usage": usage}


def _chunks(model: str) -> Iterator[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": ""},
        {"content": "From a "},
        {"content": "chat."},
    ]
    for delta in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        yield {"id": "chatcmpl-1", "model": model, "choices": [choice]}
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    yield {"id": "chatcmpl-1", "model": model, "choices": [end]}
    yield {"id": "chatcmpl-1", "model": model, "choices": [], "usage": _completion("m")["usage"]}


class _Handler(BaseHTTPRequestHandler):
    provider: ResponsesProvider
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        key = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        self.provider.received.append(Received(self.command, address.path, query, key, body))
        _, _, endpoint, *rest = address.path.split("/")
        if endpoint == "models":
            # It is asked of every provider now and then; no test here is about that.
            self.provider.received.pop()
            self._reply(404, _error("There is no list.", None))
        elif endpoint == "chat":
            streamed = body.get("stream")
            self._reply(200, [*_chunks("m")] if streamed else _completion("m"), done=True)
        elif not rest:
            self._reply(*self.provider.answer(body, key))
        else:
            id, action = rest[0], rest[1] if len(rest) > 1 else ""
            status, told = self.provider.stored(self.command, id, action, key)
            if query.get("stream") == ["true"] and status == 200:
                after = int(query.get("starting_after", ["-1"])[0])
                told = [e for e in self.provider.kept[id].events if e["sequence_number"] > after]
            self._reply(status, told)

    def _reply(self, status: int, told: Any, *, done: bool = False) -> None:
        """A list is a stream of events."""
        streamed = isinstance(told, list)
        if streamed:
            named = (f"event: {e['type']}\n" if "type" in e else "" for e in told)
            events = zip(named, told, strict=True)
            text = "".join(f"{name}data: {json.dumps(event)}\n\n" for name, event in events)
            body = (text + "data: [DONE]\n\n" * done).encode()
        else:
            body = json.dumps(told).encode()
        self.send_response(status)
        kind = "text/event-stream" if streamed else "application/json"
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def responses_provider() -> Iterator[ResponsesProvider]:
    provider = ResponsesProvider()
    handler = type("Handler", (_Handler,), {"provider": provider})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    provider.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever)  # noqa: TID251 - joined below
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
