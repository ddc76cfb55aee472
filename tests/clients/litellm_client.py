"""LiteLLM as a client, in OpenAI's and in Anthropic's dialect."""

from __future__ import annotations

import json
import sys
from typing import Any

import litellm

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def main() -> None:
    given = json.load(sys.stdin)
    family = given["client"].removeprefix("litellm, ")
    shared: dict[str, Any] = {
        "model": f"{family}/{given['model']}",
        "api_key": given["key"],
        "api_base": given["url"] + ("/v1" if family == "openai" else ""),
        "num_retries": 0,
    }
    hello = [{"role": "user", "content": "hello"}]
    said = litellm.completion(messages=hello, **shared)
    streamed = litellm.completion(messages=hello, stream=True, **shared)
    pieces = [chunk.choices[0].delta.content for chunk in streamed if chunk.choices]
    turns: list[Any] = [{"role": "user", "content": "what is the weather?"}]
    asked = litellm.completion(messages=turns, tools=[TOOL], **shared).choices[0].message
    call = asked.tool_calls[0]
    city = json.loads(call.function.arguments)["city"]
    turns += [asked.model_dump(exclude_none=True)]
    turns += [{"role": "tool", "tool_call_id": call.id, "content": f"rain in {city}"}]
    then = litellm.completion(messages=turns, tools=[TOOL], **shared)
    json.dump(
        {
            "text": said.choices[0].message.content,
            "stream": [piece for piece in pieces if piece],
            "tools": then.choices[0].message.content,
            "tokens": said.usage.total_tokens,
        },
        sys.stdout,
    )


main()
