"""Whether a route's model takes and gives what a request is about, as far as that is known."""

from __future__ import annotations

from signalbox.adapters.catalogue_facts import EMBEDDING
from signalbox.adapters.chat import Media, Message, ToolResult
from signalbox.adapters.forms import chat_form
from signalbox.types import Dialect, Request, Route

_VECTORS = frozenset({Dialect.EMBEDDINGS, Dialect.EMBED, Dialect.COHERE_EMBED})
_CONTENT_FIELDS = {
    Dialect.COMPLETIONS: "prompt",
    Dialect.RESPONSES: "input",
    Dialect.EMBEDDINGS: "input",
    Dialect.GENERATE: "contents",
    Dialect.EMBED: "content",
}
_MEDIA = "media"


def content_field(dialect: Dialect) -> str:
    """What the field is called that holds the content of a dialect's requests."""
    return _CONTENT_FIELDS.get(dialect, "messages")


def beyond(request: Request, route: Route) -> tuple[str, ...]:
    """The content's field, where the model is known not to take or not to give such content."""
    asks_for_vectors = request.door in _VECTORS
    if route.outputs is not None and asks_for_vectors != (EMBEDDING in route.outputs):
        return (content_field(request.door),)
    if route.inputs is not None and not asks_for_vectors and not media_of(request) <= route.inputs:
        return (content_field(request.door),)
    return ()


def media_of(request: Request) -> frozenset[str]:
    """The kinds of media in a chat request, whatever its dialect."""
    found: frozenset[str] | None = request.memo.get(_MEDIA)
    if found is None:
        messages = chat_form(request).messages if _may_hold_media(request) else ()
        found = frozenset(kind for message in messages for kind in _media(message))
        request.memo[_MEDIA] = found
    return found


def _may_hold_media(request: Request) -> bool:
    """Cheaply, for the bodies that most requests have: a text for each message."""
    if request.door is not Dialect.CHAT:
        return True
    return any(isinstance(message.get("content"), list) for message in request.body["messages"])


def _media(message: Message) -> list[str]:
    kinds: list[str] = []
    for part in message.parts:
        if isinstance(part, Media):
            kinds.append(part.kind.value)
        elif isinstance(part, ToolResult):
            kinds += [inner.kind.value for inner in part.content if isinstance(inner, Media)]
    return kinds
