"""Which door a path leads to, however a client writes it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from urllib.parse import unquote

import msgspec

from signalbox.adapters.door import NO_TARGET, Target
from signalbox.types import Dialect, Flavour


class Endpoint(StrEnum):
    """What is asked for. What a request to a model is, its dialect says."""

    ASK = "ask"
    """A request to a model."""
    COUNT = "count"
    """How many tokens such a request would have."""
    STORED = "stored"
    """An answer that the provider keeps: read, delete, cancel."""
    MODELS = "models"
    MODEL = "model"
    MODEL_ENDPOINTS = "model_endpoints"
    EXPLAIN = "explain"
    KEY = "key"
    CREDITS = "credits"
    GENERATION = "generation"


METHODS = {
    Endpoint.ASK: ("POST",),
    Endpoint.COUNT: ("POST",),
    Endpoint.STORED: ("GET", "HEAD", "DELETE", "POST"),
    Endpoint.MODELS: ("GET", "HEAD"),
    Endpoint.MODEL: ("GET", "HEAD"),
    Endpoint.MODEL_ENDPOINTS: ("GET", "HEAD"),
    Endpoint.EXPLAIN: ("POST",),
    Endpoint.KEY: ("GET", "HEAD"),
    Endpoint.CREDITS: ("GET", "HEAD"),
    Endpoint.GENERATION: ("GET", "HEAD"),
}

_ASKS = {
    "chat/completions": Dialect.CHAT,
    "completions": Dialect.COMPLETIONS,
    "embeddings": Dialect.EMBEDDINGS,
    "responses": Dialect.RESPONSES,
    "messages": Dialect.MESSAGES,
}
_ACTIONS = {
    # Gemini's method → dialect, whether it streams, whether it takes many
    "generateContent": (Dialect.GENERATE, False, False),
    "streamGenerateContent": (Dialect.GENERATE, True, False),
    "countTokens": (Dialect.GENERATE_COUNT, False, False),
    "embedContent": (Dialect.EMBED, False, False),
    "batchEmbedContents": (Dialect.EMBED, False, True),
}
_DEPLOYED = ("chat/completions", "completions", "embeddings")
"""What Azure has under a deployment's name, which then is the model, whatever the body says."""
_AZURE_UNDEPLOYED = ("v1", "responses", "models")
"""What Azure's clients ask for directly under `/openai`."""
_COUNTS = (Dialect.MESSAGES_COUNT, Dialect.GENERATE_COUNT)
_PLAIN = {"models": Endpoint.MODELS, "explain": Endpoint.EXPLAIN}
_ACCOUNT = {
    "key": Endpoint.KEY,
    "auth/key": Endpoint.KEY,
    "credits": Endpoint.CREDITS,
    "generation": Endpoint.GENERATION,
}

UNBUILT = (
    "moderations",
    "rerank",
    "files",
    "uploads",
    "batches",
    "realtime",
    "images",
    "audio",
    "fine_tuning",
    "assistants",
    "threads",
    "vector_stores",
    "containers",
    "conversations",
    "openai",
    "api",
)
"""First parts of paths that belong to model APIs and that this version does not serve."""


class Place(msgspec.Struct, frozen=True):
    """Where a path leads. `endpoint` is None for a model API's path that is not served."""

    endpoint: Endpoint | None
    dialect: Dialect = Dialect.CHAT
    """Whose client it is: what errors are told in, and what a request to a model is in."""
    target: Target = NO_TARGET
    flavour: Flavour = Flavour.PLAIN
    id: str = ""
    """Of a model, or of a stored answer."""
    rest: str = ""
    """What follows the id of a stored answer: `cancel`, `input_items`."""


def find_place(raw_path: bytes) -> Place | None:
    """The place of a path, or None where the path is none of the model APIs'.

    With or without `/v1` (also twice), with a trailing or a doubled slash. `raw_path` is as sent,
    so that `%2F` in a model's id is told from a slash only where that matters: nowhere.
    """
    parts = [unquote(part) for part in raw_path.decode("latin-1").split("/") if part]
    flavour = Flavour.PLAIN
    versioned = False
    if parts[:2] == ["api", "v1"]:
        flavour, versioned = Flavour.OPENROUTER, True
        parts = parts[2:]
    elif parts[:2] == ["openai", "deployments"] and len(parts) > 3:
        return _deployment(parts[2:])
    elif parts[:1] == ["openai"] and parts[1:2] and parts[1] in _AZURE_UNDEPLOYED:
        flavour, versioned = Flavour.AZURE, True
        parts = parts[1:]
    while parts and parts[0] == "v1":
        versioned = True
        parts = parts[1:]
    gemini = bool(parts) and parts[0] in ("v1beta", "v1alpha")
    if gemini:
        return _gemini(parts[1:]) or Place(None, Dialect.GENERATE)
    place = _find("/".join(parts), flavour)
    if place is None and versioned:
        return Place(None, flavour=flavour)
    return place


def _find(path: str, flavour: Flavour) -> Place | None:
    if path in _ASKS:
        return Place(Endpoint.ASK, _ASKS[path], flavour=flavour)
    if path == "messages/count_tokens":
        return Place(Endpoint.COUNT, Dialect.MESSAGES_COUNT, flavour=flavour)
    if path in _PLAIN:
        return Place(_PLAIN[path], flavour=flavour)
    if path in _ACCOUNT:
        return Place(_ACCOUNT[path], flavour=flavour)
    head, _, rest = path.partition("/")
    if head == "models":
        return _gemini_action(rest) or _model(rest, Dialect.CHAT, flavour)
    if head == "responses":
        stored, _, action = rest.partition("/")
        return Place(Endpoint.STORED, Dialect.RESPONSES, flavour=flavour, id=stored, rest=action)
    if head == "messages":
        return Place(None, Dialect.MESSAGES)
    if head in (*UNBUILT, "completions", "embeddings"):
        return Place(None, flavour=flavour)
    return None


def _model(name: str, dialect: Dialect, flavour: Flavour = Flavour.PLAIN) -> Place:
    if name.endswith("/endpoints"):
        found = name.removesuffix("/endpoints")
        return Place(Endpoint.MODEL_ENDPOINTS, dialect, flavour=flavour, id=found)
    return Place(Endpoint.MODEL, dialect, flavour=flavour, id=name)


def _gemini(parts: Sequence[str]) -> Place | None:
    if parts[:1] != ["models"]:
        return None
    if len(parts) == 1:
        return Place(Endpoint.MODELS, Dialect.GENERATE)
    name = "/".join(parts[1:])
    return _gemini_action(name) or _model(name, Dialect.GENERATE)


def _gemini_action(path: str) -> Place | None:
    """`MODEL:ACTION`; the last colon splits, since a model's name may hold one."""
    model, colon, action = path.rpartition(":")
    if not colon or action not in _ACTIONS:
        return None
    dialect, stream, many = _ACTIONS[action]
    endpoint = Endpoint.COUNT if dialect in _COUNTS else Endpoint.ASK
    return Place(endpoint, dialect, Target(model, stream, many))


def _deployment(parts: Sequence[str]) -> Place:
    """Azure's `/openai/deployments/{model}/chat/completions`; the model's name may hold slashes."""
    for path in _DEPLOYED:
        tail = path.split("/")
        if len(parts) > len(tail) and list(parts[-len(tail) :]) == tail:
            model = "/".join(parts[: -len(tail)])
            return Place(Endpoint.ASK, _ASKS[path], Target(model), Flavour.AZURE)
    return Place(None, flavour=Flavour.AZURE)
