"""A body of Anthropic's own dialect, made ready for one of its models, and answers that are begun.

A request may have been written for another model than the one that it now goes to. What the model
is documented to refuse with a 400 and what is a mere hint is changed and named: sampling, the way
in which it is to think, the level of effort. Everything else is the client's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from signalbox.adapters.anthropic_models import Traits, traits_of
from signalbox.adapters.anthropic_request_writer import Written, write_messages_request
from signalbox.adapters.anthropic_thinking import LEAST_BUDGET, nearest_effort
from signalbox.adapters.forms import chat_form
from signalbox.adapters.splice import prefill_text
from signalbox.types import CHARS_PER_TOKEN, Request, Route

GATEWAY_FIELDS = frozenset({"extra"})
"""Read by the gateway; no provider ever sees them."""
_SAID = ("messages", "system")
_SAMPLING = ("temperature", "top_p", "top_k")


def fitted_body(request: Request, route: Route) -> Written:
    """A new body; that of the request stays as it is."""
    body = {name: value for name, value in request.body.items() if name not in GATEWAY_FIELDS}
    written = Written(body)
    if request.defaults:
        _add_defaults(written, request, route)
    _leave_out_unsigned(written)
    if written.dropped or request.reasoning_origins:
        _fit_unsigned_loop(written)
    traits = traits_of(route.model)
    if traits.known:
        _fit_sampling(written, traits)
        _fit_thinking(written, traits)
        _fit_effort(written, traits)
    return written


def _add_defaults(written: Written, request: Request, route: Route) -> None:
    """Defaults are in the words of chat completions. What they come to here is what the whole
    request, translated, has more with them than without them: how much a model is to think depends
    on much of the rest."""
    plain = write_messages_request(chat_form(replace(request, defaults={})), route)
    whole = write_messages_request(chat_form(request), route)
    body = written.body
    for name, value in whole.body.items():
        if name in _SAID or plain.body.get(name) == value:
            continue
        own = body.get(name)
        if name == "output_config" and isinstance(own, dict):
            body[name] = {**value, **own}
        elif own is None or name == "max_tokens":  # A budget for thinking comes on top.
            body[name] = value
    for names, more, less in (
        (written.dropped, whole.dropped, plain.dropped),
        (written.unsupported, whole.unsupported, plain.unsupported),
    ):
        names.update(dict.fromkeys(name for name in more if name not in less))


def _leave_out_unsigned(written: Written) -> None:
    """Thinking without a signature is another model's, told at this door; Anthropic refuses it."""
    messages = written.body["messages"]
    kept = [_signed(message) for message in messages]
    if all(new is old for new, old in zip(kept, messages, strict=True)):
        return
    written.body["messages"] = [message for message in kept if message["content"]]
    written.dropped["messages.thinking"] = None


def _fit_unsigned_loop(written: Written) -> None:
    """Where thinking of others was left out, here or before, a tool loop that began with it goes on
    without a budget for thinking: the API wants a turn with a tool's use to begin with signed
    thinking where it is on ("Extended thinking", tool use)."""
    thinking = written.body.get("thinking")
    enabled = isinstance(thinking, dict) and thinking.get("type") == "enabled"
    if enabled and _loops_without_thinking(written.body["messages"]):
        del written.body["thinking"]
        written.dropped["thinking"] = None


def _signed(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message itself where there is nothing to leave out."""
    content = message["content"]
    if message["role"] != "assistant" or not isinstance(content, list):
        return message
    signed = [block for block in content if block["type"] != "thinking" or block.get("signature")]
    return message if len(signed) == len(content) else {**message, "content": signed}


def _loops_without_thinking(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last turn of the assistant uses a tool and does not begin with its thinking."""
    turns = [message for message in messages if message["role"] == "assistant"]
    content = turns[-1]["content"] if turns else ""
    if not isinstance(content, list):
        return False
    kinds = [block["type"] for block in content]
    return "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking")


def _fit_sampling(written: Written, traits: Traits) -> None:
    body = written.body
    for name in () if traits.sampling else _SAMPLING:
        if body.get(name) not in (None, 1):
            del body[name]
            written.dropped[name] = None


def _fit_thinking(written: Written, traits: Traits) -> None:
    body = written.body
    thinking = body.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if not isinstance(thinking, dict) or not isinstance(kind, str) or kind in traits.thinking:
        return
    others = {name: value for name, value in thinking.items() if name == "display"}
    ceiling = body.get("max_tokens")
    if kind == "enabled" and "adaptive" in traits.thinking:
        body["thinking"] = {"type": "adaptive", **others}
        written.dropped["thinking.budget_tokens"] = None
    elif (
        kind == "adaptive"
        and "enabled" in traits.thinking
        and isinstance(ceiling, int)
        and ceiling > LEAST_BUDGET
    ):
        budget = max(LEAST_BUDGET, ceiling // 2)
        body["thinking"] = {"type": "enabled", "budget_tokens": budget, **others}
        written.dropped["thinking.type"] = None
    elif kind in ("disabled", "between_tools") and (
        other := next((it for it in ("disabled", "between_tools") if it in traits.thinking), None)
    ):
        body["thinking"] = {"type": other}
        written.dropped["thinking.type"] = None
    elif kind in ("enabled", "adaptive", "disabled", "between_tools"):
        del body["thinking"]
        written.dropped["thinking"] = None


def _fit_effort(written: Written, traits: Traits) -> None:
    config = written.body.get("output_config")
    effort = config.get("effort") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(effort, str) or effort in traits.efforts:
        return
    rest = {name: value for name, value in config.items() if name != "effort"}
    nearest = nearest_effort(effort, traits)
    if nearest is not None:
        rest["effort"] = nearest
    written.dropped["output_config.effort"] = None
    written.body["output_config"] = rest
    if not rest:
        del written.body["output_config"]


def begin_answer(body: dict[str, Any], prefill: str) -> None:
    """Changes `body`'s top level so that the answer goes on from `prefill`.

    A model that goes on from a begun answer does not think first ("Prefill Claude's response"). Of
    a prefill that is whitespace alone nothing is left: the answer starts anew.
    """
    begun = prefill_text(prefill)
    if not begun:
        return
    body.pop("thinking", None)
    messages = list(body["messages"])
    if messages and messages[-1]["role"] == "assistant":
        last = messages.pop()
        messages.append({**last, "content": _appended(last.get("content"), begun)})
    else:
        messages.append({"role": "assistant", "content": begun})
    body["messages"] = messages
    ceiling = body.get("max_tokens")
    if isinstance(ceiling, int):
        body["max_tokens"] = max(1, ceiling - -(-len(prefill) // CHARS_PER_TOKEN))


def _appended(content: Any, text: str) -> Any:
    if not isinstance(content, list):
        return (content or "") + text
    if content and content[-1].get("type") == "text":
        *before, last = content
        return [*before, {**last, "text": f"{last.get('text') or ''}{text}"}]
    return [*content, {"type": "text", "text": text}]
