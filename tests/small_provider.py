"""A provider of embeddings and completions on a free port of the loopback interface."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread  # noqa: TID251 - joined at the end of its block
from typing import Any

from signalbox.adapters.vectors import to_base64

STORY = ("Once", " upon", " a time")


@dataclass
class SmallProvider:
    """`url` ends in `/v1`. `bodies`: what it was sent, with the path under `path`."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)


def vector_of(item: Any) -> list[float]:
    """Of a text its length, of token ids their sum; and what floats of 32 bits can hold."""
    return [float(len(item) if isinstance(item, str) else sum(item)), 0.5, -2.0]


@contextmanager
def small_provider() -> Iterator[SmallProvider]:
    provider = SmallProvider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            provider.bodies.append({"path": self.path, **body})
            if self.path.endswith("/embeddings"):
                self._send("application/json", json.dumps(_embeddings(body)))
            elif body.get("stream"):
                self._send("text/event-stream", _stream())
            else:
                self._send("application/json", json.dumps(_completion()))

        def _send(self, kind: str, text: str) -> None:
            data = text.encode()
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    given = body["input"]
    inputs = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    vectors: list[Any] = [vector_of(item) for item in inputs]
    if body.get("encoding_format") == "base64":
        vectors = [to_base64(vector) for vector in vectors]
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": i, "embedding": vector}
            for i, vector in enumerate(vectors)
        ],
        "model": body["model"],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }


def _completion(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    whole = {"index": 0, "text": "".join(STORY), "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    completion = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "theirs"}
    return {**completion, "choices": list(choices) or [whole], "usage": usage} | fields


def _stream() -> str:
    chunks = [
        _completion({"index": 0, "text": text, "logprobs": None, "finish_reason": None}, usage=None)
        for text in STORY
    ]
    end = {"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}
    chunks += [_completion(end, usage=None), _completion() | {"choices": []}]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
