"""The door of chat completions as OpenRouter has it, at `/api/v1/chat/completions`.

Sources: OpenRouter's "API Reference" (overview, streaming, errors), "Usage Accounting". It differs
from OpenAI's in what every client is told: usage with its cost, also in streams that did not ask;
`native_finish_reason`; numeric error codes; ids of the gateway's own making as `gen-…`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.chat import ChatAnswer, FinishPiece
from signalbox.adapters.openai_chat_door import ChatDoor
from signalbox.adapters.openai_chunks import NULL, with_native_finish_reasons
from signalbox.adapters.openai_door import ChatEncoder, error_body, usage_object
from signalbox.adapters.protocol import Answer, Delta
from signalbox.adapters.sse import sse_comment
from signalbox.errors import ApiError
from signalbox.types import Flavour, Request, Usage

_OWN_ID = "chatcmpl-"


def openrouter_error(error: ApiError, trace_id: str) -> dict[str, object]:
    """The error object: `code` is the HTTP status, everything else of ours is in `metadata`."""
    told = error_body(error, trace_id)["error"]
    assert isinstance(told, dict)
    metadata = {"error_type": error.code, "param": error.param, **told["metadata"]}
    known = {name: value for name, value in metadata.items() if value is not None}
    return {"error": {"code": error.status, "message": error.message, "metadata": known}}


class OpenRouterEncoder(ChatEncoder):
    """`DoorEncoder` for chat completions in OpenRouter's words."""

    id_head = "gen-"

    def __init__(self, request: Request) -> None:
        super().__init__(include_usage=True, trace_id=request.id)
        self._callers_own = frozenset(request.byok)
        self._foreign_id = f"{_OWN_ID}{request.id}".encode()
        self._own_id = f"{self.id_head}{request.id}".encode()
        self._counted: Usage | None = None
        """What the gateway made of the provider's usage."""

    def delta(self, delta: Delta) -> bytes:
        return super().delta(self._in_our_words(delta))

    def _in_our_words(self, delta: Delta) -> Delta:
        """The delta with the gateway's own id and, where it ends, the provider's word for why."""
        raw = delta.raw.replace(self._foreign_id, self._own_id)
        if delta.finish_reasons:
            native = {
                piece.choice: piece.native_finish
                for piece in delta.pieces
                if isinstance(piece, FinishPiece) and piece.native_finish is not None
            }
            raw = with_native_finish_reasons(raw, native)
        return delta if raw == delta.raw else replace(delta, raw=raw)

    def finish(self, provider: str, cost: str | None, usage: Usage | None) -> bytes:
        self._counted = usage
        return super().finish(provider, cost, usage)

    def answer(self, answer: Answer, provider: str, cost: str | None) -> bytes:
        # OpenRouter's own SDK refuses an answer without this field, be it null.
        body: dict[str, Any] = {"system_fingerprint": None, **answer.body, "provider": provider}
        if body.get("id") == self._foreign_id.decode():
            body["id"] = self._own_id.decode()
        natives = _native_reasons(answer)
        choices = body.get("choices")
        if isinstance(choices, list):
            body["choices"] = [
                _with_native(choice, natives.get(place)) for place, choice in enumerate(choices)
            ]
        self._counted = answer.usage
        usage = body.get("usage")
        if isinstance(usage, dict) or answer.usage is not None:
            body["usage"] = self._priced(usage or {}, provider, cost)
        return msgspec.json.encode(body)

    def _priced(
        self, usage: dict[str, object], provider: str, cost: str | None
    ) -> dict[str, object]:
        """The provider's own words, with the classes of tokens where it has others for them.

        Cost is what the caller is charged. On the caller's own key that is nothing, and what the
        provider takes is between the two. An unknown cost is left out: clients want a number there.
        """
        told = None if cost is None else msgspec.Raw(cost.encode())
        own = provider in self._callers_own
        counted = {} if self._counted is None else usage_object(self._counted)
        return {
            **counted,
            **{name: value for name, value in usage.items() if value not in (None, NULL)},
            **({} if told is None else {"cost": told}),
            "is_byok": own,
            "cost_details": {"upstream_inference_cost": None if own else told},
        }

    def _error_told(self, error: ApiError) -> dict[str, object]:
        return openrouter_error(error, self._trace_id)


class OpenRouterChatDoor(ChatDoor):
    """`Door` of chat completions in OpenRouter's words."""

    keep_alive = sse_comment(b"OPENROUTER PROCESSING")

    def error_body(
        self, error: ApiError, trace_id: str, flavour: Flavour = Flavour.OPENROUTER
    ) -> dict[str, object]:
        return openrouter_error(error, trace_id)

    def encoder(self, request: Request) -> OpenRouterEncoder:
        return OpenRouterEncoder(request)


def _native_reasons(answer: Answer) -> Mapping[int, str | None]:
    if not isinstance(answer.told, ChatAnswer):
        return {}
    return {place: choice.native_finish for place, choice in enumerate(answer.told.choices)}


def _with_native(choice: Any, native: str | None) -> Any:
    """The choice with `native_finish_reason`; a provider of the same dialect has but one word."""
    if not isinstance(choice, dict) or choice.get("native_finish_reason") is not None:
        return choice
    return {**choice, "native_finish_reason": native or choice.get("finish_reason")}
