"""Every door for requests to models, each with the smallest request that it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from signalbox.types import Dialect

Body = dict[str, Any]
TEXT = "hello"
CONTENT = {"parts": [{"text": TEXT}]}


@dataclass(frozen=True)
class EveryDoor:
    """`path` and `body` take the model's name; where the path has it, the body has not."""

    name: str
    dialect: Dialect
    path: Callable[[str], str]
    body: Callable[[str], Body]
    told: str = "openai"
    """Whose form its errors have: `openai`, `openrouter`, `anthropic` or `google`."""
    events: str = ""
    """What follows the path of a stream; empty: there is none, or the body says so."""
    streams: bool = True


def _chat(model: str) -> Body:
    return {"model": model, "messages": [{"role": "user", "content": TEXT}]}


def _unnamed(model: str) -> Body:
    return {"messages": [{"role": "user", "content": TEXT}]}


def _responses(model: str) -> Body:
    return {"model": model, "input": TEXT}


def _messages(model: str) -> Body:
    return _chat(model) | {"max_tokens": 64}


def _prompt(model: str) -> Body:
    return {"model": model, "prompt": TEXT}


def _embeddings(model: str) -> Body:
    return {"model": model, "input": TEXT}


def _contents(model: str) -> Body:
    return {"contents": [{"role": "user"} | CONTENT]}


def _embed(model: str) -> Body:
    return {"content": CONTENT}


def _batch(model: str) -> Body:
    return {"requests": [{"model": f"models/{model}", "content": CONTENT}]}


def _at(path: str) -> Callable[[str], str]:
    return lambda model: path.replace("MODEL", model)


_GEMINI = "/v1beta/models/MODEL:"
DOORS: Mapping[str, EveryDoor] = {
    door.name: door
    for door in (
        EveryDoor("chat", Dialect.CHAT, _at("/v1/chat/completions"), _chat),
        EveryDoor("completions", Dialect.COMPLETIONS, _at("/v1/completions"), _prompt),
        EveryDoor(
            "embeddings", Dialect.EMBEDDINGS, _at("/v1/embeddings"), _embeddings, streams=False
        ),
        EveryDoor("responses", Dialect.RESPONSES, _at("/v1/responses"), _responses),
        EveryDoor("messages", Dialect.MESSAGES, _at("/v1/messages"), _messages, "anthropic"),
        EveryDoor(
            "count_tokens",
            Dialect.MESSAGES_COUNT,
            _at("/v1/messages/count_tokens"),
            _chat,
            "anthropic",
            streams=False,
        ),
        EveryDoor(
            "generate", Dialect.GENERATE, _at(f"{_GEMINI}generateContent"), _contents, "google"
        ),
        EveryDoor(
            "countTokens",
            Dialect.GENERATE_COUNT,
            _at(f"{_GEMINI}countTokens"),
            _contents,
            "google",
            streams=False,
        ),
        EveryDoor(
            "embedContent",
            Dialect.EMBED,
            _at(f"{_GEMINI}embedContent"),
            _embed,
            "google",
            streams=False,
        ),
        EveryDoor(
            "batchEmbedContents",
            Dialect.EMBED,
            _at(f"{_GEMINI}batchEmbedContents"),
            _batch,
            "google",
            streams=False,
        ),
        EveryDoor("openrouter", Dialect.CHAT, _at("/api/v1/chat/completions"), _chat, "openrouter"),
        EveryDoor(
            "azure", Dialect.CHAT, _at("/openai/deployments/MODEL/chat/completions"), _unnamed
        ),
    )
}


def embeds(door: EveryDoor) -> bool:
    return door.dialect in (Dialect.EMBEDDINGS, Dialect.EMBED)


def counts(door: EveryDoor) -> bool:
    return door.dialect in (Dialect.MESSAGES_COUNT, Dialect.GENERATE_COUNT)


def stream_of(door: EveryDoor, model: str) -> tuple[str, Body]:
    """The path and body of a streamed request."""
    if door.dialect is Dialect.GENERATE:
        path = door.path(model).replace(":generateContent", ":streamGenerateContent")
        return f"{path}?alt=sse", door.body(model)
    return door.path(model), door.body(model) | {"stream": True}


@dataclass(frozen=True)
class Words:
    """An error, whatever the dialect. `kind`: its code, type or status, as the dialect has it."""

    kind: str
    message: str


def words_of(door: EveryDoor, answer: httpx.Response) -> Words:
    """What a refusal says, which must have the form of the door's dialect."""
    body, trace_id = answer.json(), answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"
    error = body["error"]
    match door.told:
        case "anthropic":
            assert set(body) == {"type", "error", "request_id"}
            assert (body["type"], body["request_id"]) == ("error", trace_id)
            return Words(error["type"], error["message"])
        case "google":
            assert set(body) == {"error"}
            assert error["code"] == answer.status_code
            return Words(error["status"], error["message"])
        case "openrouter":
            assert error["code"] == answer.status_code
            return Words(error["metadata"]["error_type"], error["message"])
    assert set(error) == {"message", "type", "code", "param", "metadata"}
    assert error["metadata"]["trace_id"] == trace_id
    return Words(error["code"], error["message"])


def strings_in(value: object) -> Iterator[str]:
    """All strings of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield str(name)
            yield from strings_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings_in(each)
