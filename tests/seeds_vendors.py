"""A body of each of Anthropic's and Google's endpoints with every field that is documented."""

from __future__ import annotations

from typing import Any

from tests.seeds_openai import PNG, SCHEMA

MESSAGES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 3000,
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "t", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                },
                {"type": "image", "source": {"type": "url", "url": "https://a.test/x"}},
                {"type": "image", "source": {"type": "file", "file_id": "f"}},
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                    "title": "t",
                    "context": "c",
                    "citations": {"enabled": True},
                },
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "x"},
                },
                {
                    "type": "document",
                    "source": {"type": "content", "content": [{"type": "text", "text": "x"}]},
                },
                {
                    "type": "search_result",
                    "source": "s",
                    "title": "t",
                    "content": [{"type": "text", "text": "x"}],
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "x", "signature": "s"},
                {"type": "redacted_thinking", "data": "x"},
                {
                    "type": "text",
                    "text": "t",
                    "citations": [
                        {
                            "type": "char_location",
                            "cited_text": "x",
                            "document_index": 0,
                            "document_title": "t",
                            "start_char_index": 0,
                            "end_char_index": 1,
                        }
                    ],
                },
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
                {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "is_error": True,
                    "content": [
                        {"type": "text", "text": "x"},
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                        },
                    ],
                },
                {"type": "tool_result", "tool_use_id": "c2", "content": "x"},
            ],
        },
    ],
    "cache_control": {"type": "ephemeral"},
    "container": "c",
    "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
    "inference_geo": "us",
    "mcp_servers": [{"type": "url", "name": "m", "url": "https://a.test"}],
    "metadata": {"user_id": "u"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    "service_tier": "auto",
    "stop_sequences": ["x"],
    "stream": False,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "temperature": 0.5,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "tools": [
        {
            "name": "f",
            "description": "d",
            "input_schema": SCHEMA,
            "strict": True,
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
    ],
    "top_k": 3,
    "top_p": 0.5,
}
GENERATE: dict[str, Any] = {
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "t"},
                {"inlineData": {"mimeType": "image/png", "data": PNG}, "mediaResolution": {}},
                {"fileData": {"mimeType": "video/mp4", "fileUri": "https://a.test/v"}},
                {
                    "fileData": {"mimeType": "video/mp4", "fileUri": "https://a.test/v"},
                    "videoMetadata": {"startOffset": "1s", "fps": 1},
                },
            ],
        },
        {
            "role": "model",
            "parts": [
                {"text": "thinking", "thought": True, "thoughtSignature": "c2ln"},
                {"text": "t", "thoughtSignature": "c2ln"},
                {
                    "functionCall": {"id": "c1", "name": "f", "args": {"a": 1}},
                    "thoughtSignature": "c2ln",
                },
                {"executableCode": {"language": "PYTHON", "code": "1"}},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
            ],
        },
        {
            "role": "user",
            "parts": [{"functionResponse": {"id": "c1", "name": "f", "response": {"output": "x"}}}],
        },
    ],
    "systemInstruction": {"role": "system", "parts": [{"text": "s"}]},
    "cachedContent": "cachedContents/1",
    "labels": {"a": "b"},
    "modelArmorConfig": {},
    "safetySettings": [
        {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"},
    ],
    "serviceTier": "standard",
    "store": True,
    "toolConfig": {
        "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]},
        "retrievalConfig": {"languageCode": "en"},
    },
    "tools": [
        {
            "functionDeclarations": [
                {"name": "f", "description": "d", "parametersJsonSchema": SCHEMA},
                {
                    "name": "g",
                    "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
                    "response": {"type": "OBJECT"},
                    "behavior": "BLOCKING",
                },
            ]
        },
        {"googleSearch": {}},
        {"codeExecution": {}},
    ],
    "generationConfig": {
        "audioTimestamp": True,
        "candidateCount": 2,
        "enableAffectiveDialog": True,
        "enableEnhancedCivicAnswers": True,
        "frequencyPenalty": 0.5,
        "imageConfig": {"aspectRatio": "1:1"},
        "logprobs": 2,
        "maxOutputTokens": 9,
        "mediaResolution": "MEDIA_RESOLUTION_LOW",
        "modelSelectionConfig": {"featureSelectionPreference": "BALANCED"},
        "presencePenalty": 0.5,
        "responseJsonSchema": SCHEMA,
        "responseLogprobs": True,
        "responseMimeType": "application/json",
        "responseModalities": ["TEXT"],
        "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
        "routingConfig": {"autoMode": {}},
        "seed": 1,
        "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
        "stopSequences": ["x"],
        "temperature": 0.5,
        "thinkingConfig": {
            "includeThoughts": True,
            "thinkingBudget": 100,
            "thinkingLevel": "LOW",
        },
        "topK": 3,
        "topP": 0.5,
    },
}
EMBED: dict[str, Any] = {
    "requests": [
        {
            "model": "models/m",
            "content": {"parts": [{"text": "a"}], "role": "user"},
            "taskType": "RETRIEVAL_QUERY",
            "title": "t",
            "outputDimensionality": 8,
        }
    ]
}
