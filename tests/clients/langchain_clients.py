"""LangChain's two clients: `langchain-openai` and `langchain-openrouter`."""

from __future__ import annotations

import json
import sys
from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langchain_openrouter import ChatOpenRouter


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


def run(chat: Any) -> dict[str, Any]:
    pieces = [chunk.text for chunk in chat.stream("hello")]
    able = chat.bind_tools([weather])
    turns: list[Any] = [HumanMessage("what is the weather?")]
    asked = able.invoke(turns)
    call = asked.tool_calls[0]
    turns += [asked, ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])]
    said = chat.invoke("hello")
    return {
        "text": said.text,
        "stream": [piece for piece in pieces if piece],
        "tools": able.invoke(turns).text,
        "tokens": said.usage_metadata["total_tokens"],
    }


def main() -> None:
    given = json.load(sys.stdin)
    shared = {"model": given["model"], "api_key": given["key"], "max_retries": 0}
    url = given["url"]
    client = {
        "langchain-openai": lambda: ChatOpenAI(base_url=f"{url}/v1", **shared),
        "langchain-openai, responses": lambda: ChatOpenAI(
            base_url=f"{url}/v1", use_responses_api=True, **shared
        ),
        "langchain-openrouter": lambda: ChatOpenRouter(base_url=f"{url}/api/v1", **shared),
    }[given["client"]]
    json.dump(run(client()), sys.stdout)


main()
