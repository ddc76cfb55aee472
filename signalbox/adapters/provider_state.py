"""State that lives at a provider, as chat completions speak of it: where a body refers to some,
and where an answer makes some.

An id (of a stored answer, a file, a container, an audio answer, a cached prompt) means something
only to the provider and the account that gave it out. So does encrypted reasoning, which another
one refuses; but a request makes sense without it. `PLACES` says where such values stand, by what
document; a reference is any string of one or more characters found there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from signalbox.types import Origin, Request

Body = Mapping[str, Any]

_EACH = "[]"
_MESSAGES = "messages[]."


@dataclass(frozen=True, slots=True)
class StateReference:
    """A value in a request's body that only the provider which gave it out understands."""

    field: str
    """Its path: `messages[2].audio.id`."""
    value: str
    strippable: bool
    """Encrypted reasoning: the request makes sense without it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reference may stand. `[]` in a path is each item of a list."""

    path: str
    source: str
    taken: str = ""
    """What is left out where the value is: a beginning of `path`. Only for encrypted reasoning."""
    kinds: tuple[str, ...] = ()
    """The `type` that an item of the list in `path` has; empty: whichever. (No set: what a client
    sends for a type need not be hashable.)"""

    @property
    def strippable(self) -> bool:
        return bool(self.taken)


_ENCRYPTED = ("reasoning.encrypted",)
_THINKING = ("thinking", "redacted_thinking")
_OPENROUTER = "OpenRouter, Reasoning Tokens: preserving reasoning blocks"
_LITELLM = "LiteLLM, 'Thinking' / 'Reasoning Content'"
_GOOGLE = "Google, Thought signatures: OpenAI compatibility"
_TOOLS = "OpenAI API reference, tools of the Responses API"

PLACES: tuple[Place, ...] = (
    Place("previous_response_id", "OpenAI API reference, Responses"),
    Place("container", "Anthropic API reference, Messages: container"),
    Place("container.id", "Anthropic API reference, Messages: container"),
    Place("container_id", _TOOLS),
    Place("cachedContent", "Google, generateContent: cachedContent"),
    Place("cached_content", "LiteLLM, Context caching"),
    Place("extra_body.google.cached_content", "Google, OpenAI compatibility: extra_body"),
    Place("extra_body.google.cachedContent", "Google, OpenAI compatibility: extra_body"),
    Place("tools[].container", _TOOLS),
    Place("tools[].container_id", _TOOLS),
    Place("tools[].container.file_ids[]", _TOOLS),
    Place("tools[].vector_store_ids[]", _TOOLS),
    Place(_MESSAGES + "audio.id", "OpenAI API reference, Chat: assistant message"),
    Place(_MESSAGES + "content[].file.file_id", "OpenAI API reference, Chat: file content part"),
    Place(_MESSAGES + "content[].file_id", "Mistral API reference, Chat: FileChunk"),
    Place(
        _MESSAGES + "reasoning_details[].data",
        _OPENROUTER,
        taken=_MESSAGES + "reasoning_details[]",
        kinds=_ENCRYPTED,
    ),
    Place(
        _MESSAGES + "reasoning_details[].signature",
        _OPENROUTER,
        taken=_MESSAGES + "reasoning_details[]",
    ),
    Place(
        _MESSAGES + "thinking_blocks[].signature",
        _LITELLM,
        taken=_MESSAGES + "thinking_blocks[]",
    ),
    Place(_MESSAGES + "thinking_blocks[].data", _LITELLM, taken=_MESSAGES + "thinking_blocks[]"),
    Place(
        _MESSAGES + "content[].signature",
        "Anthropic API reference, Messages: thinking blocks",
        taken=_MESSAGES + "content[]",
        kinds=_THINKING,
    ),
    Place(
        _MESSAGES + "content[].data",
        "Anthropic API reference, Messages: redacted thinking",
        taken=_MESSAGES + "content[]",
        kinds=_THINKING,
    ),
    Place(
        _MESSAGES + "reasoning_content[].signature",
        "Anthropic's thinking blocks under the name that others give reasoning",
        taken=_MESSAGES + "reasoning_content[]",
    ),
    Place(
        _MESSAGES + "reasoning_opaque",
        "GitHub Copilot's chat completions",
        taken=_MESSAGES + "reasoning_opaque",
    ),
    Place(
        _MESSAGES + "extra_content.google.thought_signature",
        _GOOGLE,
        taken=_MESSAGES + "extra_content.google.thought_signature",
    ),
    Place(
        _MESSAGES + "tool_calls[].extra_content.google.thought_signature",
        _GOOGLE,
        taken=_MESSAGES + "tool_calls[].extra_content.google.thought_signature",
    ),
)

_ANSWER_PLACES = (Place("container.id", "Anthropic API reference, Messages: container"),)
"""Besides those of a message."""

NO_STATE = frozenset({"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"})
"""What Google documents to be sent in the place of a thought signature that there is none of."""


@dataclass(frozen=True, slots=True)
class _Walk:
    """A place made ready for walking."""

    place: Place
    steps: tuple[str, ...]
    """From the body or the message on."""
    taken_after: int
    """The number of steps that lead to what is left out."""

    @property
    def name(self) -> str:
        """What is left out, as `x-signalbox-dropped` names it."""
        return self.place.taken.replace(_EACH, "")


def _steps(path: str) -> tuple[str, ...]:
    return tuple(path.replace(_EACH, f".{_EACH}").split(".")) if path else ()


def _walks(places: tuple[Place, ...]) -> dict[str, tuple[_Walk, ...]]:
    """By the first field on the way."""
    walks: dict[str, tuple[_Walk, ...]] = {}
    for place in places:
        path = place.path.removeprefix(_MESSAGES)
        taken = _steps(place.taken.removeprefix(_MESSAGES))
        first, *_ = steps = _steps(path)
        walks[first] = (*walks.get(first, ()), _Walk(place, steps, len(taken)))
    return walks


_OF_BODY = _walks(tuple(p for p in PLACES if not p.path.startswith(_MESSAGES)))
_OF_MESSAGE = _walks(tuple(p for p in PLACES if p.path.startswith(_MESSAGES)))
_OF_ANSWER = _walks(_ANSWER_PLACES)
_REASONING = tuple(walk for walks in _OF_MESSAGE.values() for walk in walks if walk.place.taken)
_RARE = frozenset(_OF_MESSAGE) - {"content", "tool_calls"}
"""Fields that an ordinary message does not have."""


# ── requests ──────────────────────────────────────────────────────────────────────────────────


def references(body: Body) -> tuple[StateReference, ...]:
    """What the body of a valid chat request refers to, in the order of its messages."""
    found = list(_references(_OF_BODY, body, ""))
    for index, message in enumerate(body["messages"]):
        if _may_refer(message):
            found += _references(_OF_MESSAGE, message, f"messages[{index}].")
    return tuple(found)


def without_reasoning(
    body: Body, kept: Callable[[str], bool] = lambda value: False
) -> tuple[Body, tuple[str, ...]]:
    """A body without the encrypted reasoning whose value is not `kept`, and what was left out.

    `body` stays as it is. What is left out goes with all that makes no sense without it: a signed
    text of reasoning with its signature.
    """
    dropped: dict[str, None] = {}
    messages = [
        _stripped(message, kept, dropped) if _may_refer(message) else message
        for message in body["messages"]
    ]
    if not dropped:
        return body, ()
    return {**body, "messages": messages}, tuple(dropped)


def request_for(request: Request, ours: Origin) -> tuple[Request, tuple[str, ...]]:
    """The request without encrypted reasoning that others have made, and what was left out."""
    origins = request.reasoning_origins
    if not origins:
        return request, ()
    body, dropped = without_reasoning(request.body, lambda value: origins.get(value, ours) == ours)
    return replace(request, body=body), dropped


def _may_refer(message: Mapping[str, Any]) -> bool:
    """Cheaply; false for the messages that most requests consist of."""
    return (
        not _RARE.isdisjoint(message)
        or isinstance(message.get("content"), list)
        or bool(message.get("tool_calls"))
    )


def _references(
    walks: Mapping[str, tuple[_Walk, ...]], holder: Mapping[str, Any], prefix: str
) -> Iterator[StateReference]:
    for name in holder:
        for walk in walks.get(name, ()):
            place = walk.place
            for path, value in _values(holder, walk.steps, place.kinds):
                yield StateReference(prefix + path, value, place.strippable)


def _values(
    value: Any, steps: tuple[str, ...], kinds: tuple[str, ...], path: str = ""
) -> Iterator[tuple[str, str]]:
    """(path, string) for every reference that the steps lead to."""
    if not steps:
        if isinstance(value, str) and value and value not in NO_STATE:
            yield path, value
        return
    step, rest = steps[0], steps[1:]
    if step == _EACH:
        for index, item in enumerate(value if isinstance(value, list) else ()):
            if _is_of(item, kinds):
                yield from _values(item, rest, kinds, f"{path}[{index}]")
    elif isinstance(value, dict) and step in value:
        yield from _values(value[step], rest, kinds, f"{path}.{step}" if path else step)


def _is_of(item: Any, kinds: tuple[str, ...]) -> bool:
    return not kinds or (isinstance(item, dict) and item.get("type") in kinds)


class _Gone:
    """In the place of a value that is left out."""


_GONE: Final = _Gone()


def _stripped(
    message: Mapping[str, Any], kept: Callable[[str], bool], dropped: dict[str, None]
) -> Mapping[str, Any]:
    """`dropped` gains the names of what is left out."""
    for walk in _REASONING:
        pruned = _pruned(message, walk.steps, walk, kept)
        if pruned is not message:
            dropped[walk.name] = None
            message = pruned
    return message


def _pruned(value: Any, steps: tuple[str, ...], walk: _Walk, kept: Callable[[str], bool]) -> Any:
    """`value` itself where nothing is left out, `_GONE` where nothing is left of it."""
    kinds = walk.place.kinds
    if len(walk.steps) - len(steps) == walk.taken_after:
        values = _values(value, steps, kinds)
        return value if all(kept(each) for _, each in values) else _GONE
    step, rest = steps[0], steps[1:]
    if step == _EACH:
        if not isinstance(value, list):
            return value
        items = [_pruned(item, rest, walk, kept) if _is_of(item, kinds) else item for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return [item for item in items if item is not _GONE]
    if not isinstance(value, dict) or step not in value:
        return value
    inner = _pruned(value[step], rest, walk, kept)
    if inner is value[step]:
        return value
    if step == "content":
        return {**value, step: inner or ""}
    if inner is not _GONE and inner:
        return {**value, step: inner}
    return {name: each for name, each in value.items() if name != step} or _GONE


# ── answers ───────────────────────────────────────────────────────────────────────────────────


def made(answer: Body) -> tuple[str, ...]:
    """The references that an answer, or a chunk of one, gives out. Each is whole in one chunk.

    A stored answer's own id is not among them: whether it is stored is the request's matter.
    """
    found = [reference.value for reference in _references(_OF_ANSWER, answer, "")]
    choices = answer.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            continue
        for message in (choice.get("message"), choice.get("delta")):
            if isinstance(message, dict) and _may_refer(message):
                found += [each.value for each in _references(_OF_MESSAGE, message, "")]
    return tuple(dict.fromkeys(found))
