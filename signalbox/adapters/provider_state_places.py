"""Where state that lives at a provider stands in bodies and answers, by the document that says so.

One table a dialect. `provider_state.py` walks them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from signalbox.types import Dialect

EACH = "[]"
"""In a path: each item of the list."""
EACH_OR_ONE = "[?]"
"""The same, of a list whose only item may stand without it."""
_MESSAGES = "messages[]."
_INPUT = "input[]."
_CONTENTS = "contents[]."
_OUTPUT = "output[]."


class Place(msgspec.Struct, frozen=True):
    """Where a reference may stand. `[]` and `[?]` in a path are each item of a list."""

    path: str
    source: str
    taken: str = ""
    """What is left out where the value is: a beginning of `path`. Only for encrypted reasoning."""
    kinds: tuple[str, ...] = ()
    """The `type` that an item of the last list in `path` has; empty: whichever. (No set: what a
    client sends for a type need not be hashable.)"""
    local: bool = False
    """The value may also name another item of the same list, and then is no reference."""
    begins: tuple[str, ...] = ()
    """What the value begins with where it is a reference; empty: with anything."""
    named: str = ""
    """What `x-signalbox-dropped` calls what is left out; empty: as `taken`."""

    @property
    def strippable(self) -> bool:
        return bool(self.taken)


class StateTable(msgspec.Struct, frozen=True):
    """The places of one dialect."""

    messages: str
    """The field of a request that lists its messages: paths in them begin with it and `[].`."""
    places: tuple[Place, ...]
    answers: tuple[Place, ...]
    """In answers; of chat completions besides those of a message."""
    ids_go_with_reasoning: tuple[str, ...] = ()
    """Kinds of messages whose `id` is left out where reasoning is: the provider would look for what
    belongs to it."""
    content: str | None = None
    """The field without which a message is none, so that it goes with the last of its content;
    None: a message may be empty."""
    silent: frozenset[str] = frozenset()
    """Fields of an item of the content that says nothing where it has no others and no text: it
    goes with what was left out of it."""
    spelled_twice: bool = False
    """Names of fields may be written in snake case too."""


_ENCRYPTED = ("reasoning.encrypted",)
_THINKING = ("thinking", "redacted_thinking")
_OPENROUTER = "OpenRouter, Reasoning Tokens: preserving reasoning blocks"
_LITELLM = "LiteLLM, 'Thinking' / 'Reasoning Content'"
_GOOGLE = "Google, Thought signatures: OpenAI compatibility"
_TOOLS = "OpenAI API reference, tools of the Responses API"

CHAT_PLACES: tuple[Place, ...] = (
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

_CHAT_ANSWERS = (Place("container.id", "Anthropic API reference, Messages: container"),)

_RESPONSES = "OpenAI API reference, Responses: input"
_OUTPUT_ITEMS = "OpenAI API reference, Responses: output items"
_STATELESS = "OpenAI, Reasoning models: encrypted reasoning items"
_WHOLE_ITEM = "input[]"
_REASONING_ITEM = "input.reasoning"

RESPONSES_PLACES: tuple[Place, ...] = (
    Place("previous_response_id", "OpenAI API reference, Responses"),
    Place("conversation", "OpenAI API reference, Responses: conversation"),
    Place("conversation.id", "OpenAI API reference, Responses: conversation"),
    Place("prompt.id", "OpenAI API reference, Responses: prompt"),
    Place("tools[].container", _TOOLS),
    Place("tools[].container_id", _TOOLS),
    Place("tools[].container.file_ids[]", _TOOLS),
    Place("tools[].vector_store_ids[]", _TOOLS),
    Place("tools[].input_image_mask.file_id", _TOOLS),
    Place("tools[].environment.container_id", _TOOLS),
    Place(_INPUT + "id", _RESPONSES + ", item reference", kinds=("item_reference",), local=True),
    Place(
        _INPUT + "id",
        _RESPONSES + ", generated pictures of earlier turns",
        kinds=("image_generation_call",),
    ),
    Place(
        _INPUT + "id",
        _STATELESS,
        taken=_WHOLE_ITEM,
        kinds=("reasoning",),
        named=_REASONING_ITEM,
    ),
    Place(
        _INPUT + "encrypted_content",
        _STATELESS,
        taken=_WHOLE_ITEM,
        kinds=("reasoning",),
        named=_REASONING_ITEM,
    ),
    Place(_INPUT + "encrypted_content", "OpenAI API reference, compaction", kinds=("compaction",)),
    Place(_INPUT + "container_id", _RESPONSES + ", code interpreter call"),
    Place(_INPUT + "approval_request_id", _RESPONSES + ", MCP approval response"),
    Place(_INPUT + "content[].file_id", _RESPONSES + ", file and image parts"),
    Place(_INPUT + "output[].file_id", _RESPONSES + ", function call output"),
)

_RESPONSES_ANSWERS: tuple[Place, ...] = (
    Place(_OUTPUT + "id", _OUTPUT_ITEMS),
    Place(_OUTPUT + "encrypted_content", _STATELESS),
    Place(_OUTPUT + "container_id", _OUTPUT_ITEMS),
    Place(_OUTPUT + "content[].annotations[].container_id", _OUTPUT_ITEMS),
    Place(_OUTPUT + "content[].annotations[].file_id", _OUTPUT_ITEMS),
    Place("conversation.id", "OpenAI API reference, Responses: conversation"),
)

_ANTHROPIC = "Anthropic API reference, Messages: "
_FILES_API = _ANTHROPIC + "file sources"
_EXTENDED_THINKING = "Anthropic, Extended thinking: preserving thinking blocks"
_COMPACTED = ("compaction",)

MESSAGES_PLACES: tuple[Place, ...] = (
    Place("container", _ANTHROPIC + "container"),
    Place("container.id", _ANTHROPIC + "container"),
    Place("container.skills[].skill_id", _ANTHROPIC + "skills", kinds=("custom",)),
    Place(_MESSAGES + "content[].source.file_id", _FILES_API),
    Place(_MESSAGES + "content[].source.content[].source.file_id", _FILES_API),
    Place(_MESSAGES + "content[].content[].source.file_id", _FILES_API + " in tools' results"),
    Place(
        _MESSAGES + "content[].content[].source.content[].source.file_id",
        _FILES_API + " in tools' results",
    ),
    Place(
        _MESSAGES + "content[].content.content[].file_id",
        _ANTHROPIC + "output of the code execution tool",
    ),
    Place(
        _MESSAGES + "content[].file_id",
        _ANTHROPIC + "container upload block",
        kinds=("container_upload",),
    ),
    Place(
        _MESSAGES + "content[].encrypted_content",
        _ANTHROPIC + "compaction block",
        kinds=_COMPACTED,
    ),
    Place(_MESSAGES + "content[].signature", _ANTHROPIC + "compaction block", kinds=_COMPACTED),
    Place(
        _MESSAGES + "content[].signature",
        _EXTENDED_THINKING,
        taken=_MESSAGES + "content[]",
        kinds=("thinking",),
        named="messages.thinking",
    ),
    Place(
        _MESSAGES + "content[].data",
        _EXTENDED_THINKING,
        taken=_MESSAGES + "content[]",
        kinds=("redacted_thinking",),
        named="messages.thinking",
    ),
)

_UPLOADED = ("https://generativelanguage.googleapis.com/", "files/")
"""Other addresses are of files that anyone may read, or of the caller's own buckets."""
_FILE_DATA = "Google, Files API: fileData"
_THOUGHT_SIGNATURES = "Google, Thought signatures"


def _generate_places(where: str = "") -> tuple[Place, ...]:
    """Of a request of `generateContent`, or of one inside another."""
    return (
        Place(where + "cachedContent", "Google, generateContent: cachedContent"),
        Place(
            where + "tools[?].fileSearch.fileSearchStoreNames[]",
            "Google, File Search: fileSearchStoreNames",
        ),
        Place(where + "systemInstruction.parts[?].fileData.fileUri", _FILE_DATA, begins=_UPLOADED),
        Place(where + _CONTENTS + "parts[?].fileData.fileUri", _FILE_DATA, begins=_UPLOADED),
        Place(
            where + _CONTENTS + "parts[?].functionResponse.parts[?].fileData.fileUri",
            _FILE_DATA + " in functions' results",
            begins=_UPLOADED,
        ),
    )


GENERATE_PLACES: tuple[Place, ...] = (
    *_generate_places(),
    Place(
        _CONTENTS + "parts[?].thoughtSignature",
        _THOUGHT_SIGNATURES,
        taken=_CONTENTS + "parts[?].thoughtSignature",
    ),
)
_SAYS_NOTHING = frozenset({"text", "thought"})
_COUNT_PLACES = (*GENERATE_PLACES, *_generate_places("generateContentRequest."))


def _of_contents(places: tuple[Place, ...]) -> StateTable:
    return StateTable(
        "contents", places, (), content="parts", silent=_SAYS_NOTHING, spelled_twice=True
    )


_OF_MESSAGES = StateTable("messages", MESSAGES_PLACES, (), content="content")

TABLES: Mapping[Dialect, StateTable] = MappingProxyType(
    {
        Dialect.CHAT: StateTable("messages", CHAT_PLACES, _CHAT_ANSWERS),
        Dialect.RESPONSES: StateTable(
            "input",
            RESPONSES_PLACES,
            _RESPONSES_ANSWERS,
            ids_go_with_reasoning=("message", "function_call", "custom_tool_call"),
        ),
        Dialect.MESSAGES: _OF_MESSAGES,
        Dialect.MESSAGES_COUNT: _OF_MESSAGES,
        Dialect.GENERATE: _of_contents(GENERATE_PLACES),
        Dialect.GENERATE_COUNT: _of_contents(_COUNT_PLACES),
    }
)
"""By the dialect of a door; others refer to no state. What answers give out in the dialects without
places for them, the readers of their answers tell."""

_UNSIGNED = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
NO_STATE = frozenset(_UNSIGNED) | {
    encode(text.encode()).decode()
    for text in _UNSIGNED
    for encode in (base64.b64encode, base64.urlsafe_b64encode)
}
"""What Google documents to be sent in the place of a thought signature that there is none of; also
as its SDKs write it, for which a signature is bytes."""
