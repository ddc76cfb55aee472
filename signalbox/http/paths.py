"""Which door a path leads to, however a client writes it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

CHAT = "chat/completions"
MODELS = "models"
MODEL = "models/{id}"
EXPLAIN = "explain"

UNBUILT = (
    "completions",
    "embeddings",
    "responses",
    "messages",
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
    "generation",
    "key",
    "credits",
    "v1beta",
    "openai/deployments",
    "api/v1",
)
"""First parts of paths that belong to model APIs and that this version does not serve."""

METHODS = {
    CHAT: ("POST",),
    EXPLAIN: ("POST",),
    MODELS: ("GET", "HEAD"),
    MODEL: ("GET", "HEAD"),
}


@dataclass(frozen=True, slots=True)
class Door:
    """`endpoint` is None for a model API's path that this version does not serve."""

    endpoint: str | None
    model: str | None = None


def find_door(raw_path: bytes) -> Door | None:
    """The door of a path, or None where the path is none of the model APIs'.

    With or without `/v1` (also twice), with a trailing or a doubled slash. `raw_path` is as sent,
    so that `%2F` in a model's id is told from a slash only where that matters: nowhere.
    """
    parts = [unquote(part) for part in raw_path.decode("latin-1").split("/") if part]
    versioned = False
    while parts and parts[0] == "v1":
        versioned = True
        parts.pop(0)
    path = "/".join(parts)
    if path == CHAT:
        return Door(CHAT)
    if path == MODELS:
        return Door(MODELS)
    if path in (EXPLAIN, f"api/v1/{EXPLAIN}"):
        return Door(EXPLAIN)
    if path.startswith(MODELS + "/"):
        return Door(MODEL, model=path.removeprefix(MODELS + "/"))
    if versioned or any(path == name or path.startswith(name + "/") for name in UNBUILT):
        return Door(None)
    return None
