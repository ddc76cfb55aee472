"""Which endpoint of which API a path is, and where its clients put their key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from signalbox.simulator import anthropic_wire, gemini_wire
from signalbox.simulator.anthropic_errors import AnthropicErrors
from signalbox.simulator.completions_wire import CompletionsEndpoint
from signalbox.simulator.embeddings_wire import EmbeddingsEndpoint, EmbedEndpoint
from signalbox.simulator.gemini_errors import GeminiErrors
from signalbox.simulator.openai_errors import OpenAIErrors
from signalbox.simulator.openai_wire import ChatEndpoint
from signalbox.simulator.responses_store import ResponsesStore
from signalbox.simulator.responses_wire import ResponsesEndpoint
from signalbox.simulator.wire import Endpoint, Errors

_OPENAI, _ANTHROPIC, _GEMINI = OpenAIErrors(), AnthropicErrors(), GeminiErrors()
_VERSION = re.compile(r"^(?:/api|/openai)?(?:/v1)?/")
_DEPLOYMENT = re.compile(r"^/openai/deployments/(?P<model>[^/]+)/(?P<path>.+)$")
_METHOD = re.compile(r"^/(?:v1|v1beta|v1alpha)/models/(?P<model>.+):(?P<method>\w+)$")
_STORED = re.compile(r"^responses/(?P<id>[^/]+)(?:/(?P<action>\w+))?$")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes. `endpoint` is None where there is none."""

    errors: Errors
    endpoint: Endpoint | None = None
    model: str = ""
    """That the path names."""
    stream: bool = False
    stored: tuple[str, str] | None = None
    """The id of a stored answer, and what to do with it."""


class Endpoints:
    """All endpoints for model calls of one simulator."""

    def __init__(self) -> None:
        self.store = ResponsesStore()
        self._named: dict[str, Endpoint] = {
            "chat/completions": ChatEndpoint(),
            "completions": CompletionsEndpoint(),
            "embeddings": EmbeddingsEndpoint(),
            "responses": ResponsesEndpoint(self.store),
            "messages": anthropic_wire.MessagesEndpoint(),
            "messages/count_tokens": anthropic_wire.CountEndpoint(),
        }
        generate = gemini_wire.GenerateEndpoint()
        self._methods: dict[str, Endpoint] = {
            "generateContent": generate,
            "streamGenerateContent": generate,
            "countTokens": gemini_wire.CountEndpoint(),
            "embedContent": EmbedEndpoint(many=False),
            "batchEmbedContents": EmbedEndpoint(many=True),
        }

    def find(self, path: str) -> Place:
        """The place of a path without its query, percent-encoding and all."""
        if (method := _METHOD.match(path)) is not None:
            endpoint = self._methods.get(method["method"])
            stream = method["method"] == "streamGenerateContent"
            return Place(_GEMINI, endpoint, unquote(method["model"]), stream)
        if path.startswith(("/v1beta", "/v1alpha")):
            return Place(_GEMINI)
        model = ""
        if (deployment := _DEPLOYMENT.match(path)) is not None:
            model, name = unquote(deployment["model"]), deployment["path"]
        elif (version := _VERSION.match(path)) is not None:
            name = path[version.end() :]
        else:
            return Place(_OPENAI)
        if (stored := _STORED.match(name)) is not None:
            return Place(_OPENAI, None, model, stored=(stored["id"], stored["action"] or ""))
        endpoint = self._named.get(name)
        return Place(_ANTHROPIC if name.startswith("messages") else _OPENAI, endpoint, model)


def key_of(path: str, headers: dict[str, str], query: dict[str, str]) -> str | None:
    """The key that the API of this path would see, or one from another API's header."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    token = bearer.strip() if scheme.lower() == "bearer" else None
    own = {
        "x-goog-api-key": headers.get("x-goog-api-key") or query.get("key"),
        "x-api-key": headers.get("x-api-key"),
        "api-key": headers.get("api-key"),
    }
    if path.startswith(("/v1beta", "/v1alpha")):
        return own["x-goog-api-key"] or token
    if "/messages" in path:
        return own["x-api-key"] or token
    if path.startswith("/openai/"):
        return own["api-key"] or token
    return token or own["x-api-key"] or own["x-goog-api-key"]


def query_of(target: str) -> dict[str, str]:
    return dict(parse_qsl(target.partition("?")[2]))
