"""What came of other clients as `make clients` runs them, and the page's part that tells it."""

from __future__ import annotations

from collections.abc import Mapping

CLIENTS: Mapping[str, str] = {
    "langchain-openai": "LangChain, `langchain-openai`",
    "langchain-openai, responses": "the same with `use_responses_api`",
    "langchain-openrouter": "LangChain, `langchain-openrouter`",
    "pydantic-ai, chat": "Pydantic-AI, `OpenAIChatModel`",
    "pydantic-ai, responses": "Pydantic-AI, `OpenAIResponsesModel`",
    "pydantic-ai, openrouter": "Pydantic-AI, `OpenRouterModel`",
    "pydantic-ai, anthropic": "Pydantic-AI, `AnthropicModel`",
    "pydantic-ai, google": "Pydantic-AI, `GoogleModel`",
    "litellm, openai": "LiteLLM, `openai/…`",
    "litellm, anthropic": "LiteLLM, `anthropic/…`",
    "llm": "the command line tool `llm`",
    "@ai-sdk/openai": "Vercel's AI SDK, `@ai-sdk/openai`",
    "@ai-sdk/openai, chat": "the same with `.chat(…)`",
    "@ai-sdk/openai-compatible": "Vercel's AI SDK, `@ai-sdk/openai-compatible`",
    "@openrouter/ai-sdk-provider": "Vercel's AI SDK, `@openrouter/ai-sdk-provider`",
}
"""Name in the runs → name on the page."""
DOORS: Mapping[str, str] = {
    "langchain-openai": "/v1/chat/completions",
    "langchain-openai, responses": "/v1/responses",
    "langchain-openrouter": "/api/v1/chat/completions",
    "pydantic-ai, chat": "/v1/chat/completions",
    "pydantic-ai, responses": "/v1/responses",
    "pydantic-ai, openrouter": "/api/v1/chat/completions",
    "pydantic-ai, anthropic": "/v1/messages",
    "pydantic-ai, google": "/v1beta/models/…",
    "litellm, openai": "/v1/chat/completions",
    "litellm, anthropic": "/v1/messages",
    "llm": "/v1/chat/completions",
    "@ai-sdk/openai": "/v1/responses",
    "@ai-sdk/openai, chat": "/v1/chat/completions",
    "@ai-sdk/openai-compatible": "/v1/chat/completions",
    "@openrouter/ai-sdk-provider": "/api/v1/chat/completions",
}
WIRES: Mapping[str, str] = {
    "compatible": "compatible",
    "openai": "OpenAI",
    "anthropic": "Anthropic",
    "gemini": "Gemini",
}

_HEAD = """
## Other clients

`make clients` gives each of these an environment of its own and lets it send a text, a stream and a
question that needs a tool, whose result it sends back; behind the gateway are simulated providers
of four wires. A cell counts when the client's own answers say what was said. A run that ends
without a failure printed this table.
"""


def table(results: Mapping[tuple[str, str], str]) -> str:
    """`results`: (client, wire) → what came of it."""
    lines = [f"| client | door | {' | '.join(WIRES.values())} |", "|---|---|" + "---|" * len(WIRES)]
    for client, title in CLIENTS.items():
        cells = " | ".join(results.get((client, wire), "–") for wire in WIRES)
        lines.append(f"| {title} | `{DOORS[client]}` | {cells} |")
    return "\n".join(lines) + "\n"


def section() -> str:
    """Every cell is held to be `yes`: a run in which one is not fails."""
    everything = {(client, wire): "yes" for client in CLIENTS for wire in WIRES}
    return _HEAD + "\n" + table(everything)
