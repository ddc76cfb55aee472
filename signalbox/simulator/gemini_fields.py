"""The fields that the Gemini API has; any other is refused by name, in either spelling.

Source: Gemini API reference (`v1beta`): `GenerateContentRequest`, `Content`, `GenerationConfig`,
`Tool`, `Schema`. Protocol buffers' JSON takes `lowerCamelCase` and `snake_case`.
"""

from __future__ import annotations

import re
from typing import Any

from signalbox.simulator.prompts import BadRequest

REQUEST = frozenset(
    {
        *("contents", "systemInstruction", "tools", "toolConfig", "safetySettings"),
        *("generationConfig", "cachedContent", "model", "store", "serviceTier"),
    }
)
CONTENT = frozenset({"parts", "role"})
DATA = frozenset(
    {
        *("text", "inlineData", "fileData", "functionCall", "functionResponse"),
        *("executableCode", "codeExecutionResult", "toolCall", "toolResponse"),
    }
)
"""Of which a part has one."""
PART = DATA | {"thought", "thoughtSignature", "videoMetadata", "partMetadata", "mediaResolution"}
GENERATION = frozenset(
    {
        *("stopSequences", "responseMimeType", "responseSchema", "responseJsonSchema"),
        *("responseModalities", "candidateCount", "maxOutputTokens", "temperature", "topP", "topK"),
        *("seed", "presencePenalty", "frequencyPenalty", "responseLogprobs", "logprobs"),
        *("enableEnhancedCivicAnswers", "speechConfig", "thinkingConfig", "imageConfig"),
        *("mediaResolution", "_responseJsonSchema", "responseFormat", "translationConfig"),
        *("audioTranscriptionConfig",),
    }
)
THINKING = frozenset({"includeThoughts", "thinkingBudget", "thinkingLevel"})
TOOL = frozenset(
    {
        *("functionDeclarations", "googleSearchRetrieval", "codeExecution", "googleSearch"),
        *("computerUse", "urlContext", "fileSearch", "googleMaps", "mcpServers"),
    }
)
FUNCTION = frozenset(
    {
        *("name", "description", "behavior", "parameters", "parametersJsonSchema", "response"),
        "responseJsonSchema",
    }
)
CALLED = frozenset({"id", "name", "args", "partialArgs", "willContinue"})
RESULT = frozenset({"id", "name", "response", "willContinue", "scheduling", "parts"})
SCHEMA = frozenset(
    {
        *("type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems"),
        *("properties", "required", "minProperties", "maxProperties", "minLength", "maxLength"),
        *("pattern", "example", "anyOf", "propertyOrdering", "default", "items", "minimum"),
        "maximum",
    }
)
"""What `parameters` and `responseSchema` take of JSON Schema; `…JsonSchema` take all of it."""

_MORE = re.compile(r"_([a-z])")


def camel(name: str) -> str:
    head = "_" if name.startswith("_") else ""
    return head + _MORE.sub(lambda found: found[1].upper(), name.removeprefix("_"))


def spelled(value: dict[str, Any], known: frozenset[str], path: str) -> dict[str, Any]:
    """The fields by their `lowerCamelCase` names. Raises BadRequest for one there is not."""
    found = {}
    for name, inner in value.items():
        usual = camel(name)
        if usual not in known:
            where = path or "request"
            raise BadRequest(
                f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.', where
            )
        if inner is not None:
            found[usual] = inner
    return found


def check_schema(value: Any, path: str, depth: int = 0) -> None:
    """Holds a schema to the subset of OpenAPI that Gemini takes. Raises BadRequest."""
    if depth > 64:
        raise BadRequest("The schema is nested too deeply", path)
    if not isinstance(value, dict):
        raise BadRequest("Invalid value: expected an object", path)
    schema = spelled(value, SCHEMA, path)
    if not isinstance(schema.get("type", ""), str):
        raise BadRequest("Proto field is not repeating, cannot start list.", f"{path}.type")
    if "enum" in schema and schema.get("type", "string").lower() != "string":
        raise BadRequest("only allowed for STRING type", f"{path}.enum")
    properties = schema.get("properties")
    if isinstance(properties, dict):
        for name, inner in properties.items():
            check_schema(inner, f"{path}.properties[{name}]", depth + 1)
    if "items" in schema:
        check_schema(schema["items"], f"{path}.items", depth + 1)
    elif schema.get("type", "").lower() == "array":
        raise BadRequest("missing field", f"{path}.items")
    for index, inner in enumerate(schema.get("anyOf", ())):
        check_schema(inner, f"{path}.any_of[{index}]", depth + 1)


def plain_schema(value: Any) -> Any:
    """A schema of Gemini's as JSON Schema has it: types in lower case, usual names."""
    if isinstance(value, list):
        return [plain_schema(one) for one in value]
    if not isinstance(value, dict):
        return value
    plain: dict[str, Any] = {}
    for name, inner in value.items():
        usual = camel(name)
        if usual == "properties" and isinstance(inner, dict):
            plain[usual] = {key: plain_schema(one) for key, one in inner.items()}
        elif usual == "type" and isinstance(inner, str):
            plain[usual] = inner.lower()
        else:
            plain[usual] = plain_schema(inner) if usual in ("items", "anyOf") else inner
    return plain
