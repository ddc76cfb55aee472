"""Pydantic-AI, through each of the APIs that it speaks."""

from __future__ import annotations

import asyncio  # noqa: TID251 - Pydantic-AI runs on it
import json
import sys
from typing import Any

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.models.openrouter import OpenRouterModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openrouter import OpenRouterProvider


def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


async def run(model: Any) -> dict[str, Any]:
    plain = Agent(model)
    said = await plain.run("hello")
    async with plain.run_stream("hello") as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    used = await Agent(model, tools=[weather]).run("what is the weather?")
    return {
        "text": said.output,
        "stream": pieces,
        "tools": used.output,
        "tokens": said.usage.total_tokens
        if not callable(said.usage)
        else said.usage().total_tokens,
    }


def model_of(given: dict[str, str]) -> Any:
    name, key, url = given["model"], given["key"], given["url"]
    match given["client"].removeprefix("pydantic-ai, "):
        case "chat":
            return OpenAIChatModel(name, provider=OpenAIProvider(f"{url}/v1", key))
        case "responses":
            return OpenAIResponsesModel(name, provider=OpenAIProvider(f"{url}/v1", key))
        case "openrouter":
            client = AsyncOpenAI(base_url=f"{url}/api/v1", api_key=key)
            return OpenRouterModel(name, provider=OpenRouterProvider(openai_client=client))
        case "anthropic":
            provider = AnthropicProvider(api_key=key, base_url=url)
            return AnthropicModel(name, provider=provider)
        case _:
            return GoogleModel(name, provider=GoogleProvider(api_key=key, base_url=url))


json.dump(asyncio.run(run(model_of(json.load(sys.stdin)))), sys.stdout)
