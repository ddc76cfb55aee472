"""A completions request → the gateway's own model of a chat, for routes that have only chats."""

from __future__ import annotations

from signalbox.adapters.chat import ChatRequest, Message, Native, Role, Text
from signalbox.adapters.completions_body import peculiarities, single_text
from signalbox.adapters.door import Body
from signalbox.adapters.openai_parameters import OPENROUTER_ROUTING_FIELDS
from signalbox.types import Dialect

_KNOWN = frozenset(
    {
        *("model", "prompt", "suffix", "echo", "logprobs", "best_of", "stream", "stream_options"),
        *("n", "stop", "max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "user"),
        *("presence_penalty", "frequency_penalty", "logit_bias"),
        *OPENROUTER_ROUTING_FIELDS,
    }
)


def read_completions_request(body: Body, model: str) -> ChatRequest:
    """The form of a body that has passed `read_completions_body`: its prompt as the one message of
    a user. What a chat cannot say is `native`, so that it skips such a route by name."""
    stop = body.get("stop")
    prompt = single_text(body)
    return ChatRequest(
        dialect=Dialect.COMPLETIONS,
        model=model,
        messages=(Message(Role.USER, (Text(prompt or ""),)),),
        stream=body.get("stream") is True,
        max_tokens=body.get("max_tokens") or None,
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        top_k=body["top_k"] if type(body.get("top_k")) is int else None,
        min_p=body["min_p"] if type(body.get("min_p")) in (int, float) else None,
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
        n=body.get("n"),
        seed=body.get("seed"),
        presence_penalty=body.get("presence_penalty"),
        frequency_penalty=body.get("frequency_penalty"),
        logit_bias=body.get("logit_bias"),
        user=body.get("user"),
        unknown={name: value for name, value in body.items() if name not in _KNOWN},
        native=tuple(
            Native(Dialect.COMPLETIONS, body[name], name=name) for name in peculiarities(body)
        ),
    )
