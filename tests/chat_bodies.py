"""Chat completion bodies as clients send them, drawn at random: valid ones, and odd ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.garbled import JSON

WORDS = st.text('ab é\n{"', min_size=1, max_size=8)
CACHE = {"type": "ephemeral"}
PNG = "data:image/png;base64,aGk="


def maybe(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def merged(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda each: {k: v for part in each for k, v in part.items()})


def fixed(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {n: v if isinstance(v, st.SearchStrategy) else st.just(v) for n, v in fields.items()}
    )


_cache = maybe(cache_control=st.just(CACHE))
TEXT = merged(fixed(type="text", text=WORDS), _cache)
MEDIA = st.one_of(
    merged(
        fixed(
            type="image_url",
            image_url=merged(
                fixed(url=st.sampled_from([PNG, "https://p.test/a.png"])),
                maybe(detail=st.just("low")),
            ),
        ),
        _cache,
    ),
    fixed(
        type="input_audio", input_audio=fixed(data="aGk=", format=st.sampled_from(["wav", "mp3"]))
    ),
    fixed(type="file", file=fixed(file_id="file-1")),
    fixed(
        type="file",
        file=fixed(filename="a.pdf", file_data="data:application/pdf;base64,aGk="),
    ),
    fixed(type="video_url", video_url=fixed(url="https://p.test/a.mp4")),
    fixed(type="image_url", image_url=fixed(url=PNG, more=1), uuid="u"),
    fixed(type="strange", value=1),
)
CONTENT = WORDS | st.lists(TEXT, min_size=1, max_size=2)
USER = merged(
    fixed(role="user", content=WORDS | st.lists(TEXT | MEDIA, min_size=1, max_size=3)),
    maybe(name=WORDS, strange=WORDS),
)
INSTRUCTIONS = fixed(role=st.sampled_from(["system", "developer"]), content=CONTENT)
SIGNED = maybe(extra_content=st.just({"google": {"thought_signature": "sig"}}))
CALL = merged(
    st.one_of(
        fixed(type="function", function=fixed(name=WORDS, arguments=st.just("{}") | WORDS)),
        fixed(type="custom", custom=fixed(name=WORDS, input=WORDS)),
    ),
    SIGNED,
)
_block = maybe(id=WORDS, format=st.sampled_from(["anthropic-claude-v1", "openai-responses-v1"]))
DETAIL = st.one_of(
    merged(fixed(type="reasoning.text", text=WORDS), _block, maybe(signature=WORDS)),
    merged(fixed(type="reasoning.summary", summary=WORDS), _block),
    merged(fixed(type="reasoning.encrypted", data=WORDS), _block),
)
ASSISTANT = merged(
    fixed(role="assistant", content=st.none() | CONTENT),
    maybe(
        refusal=WORDS,
        reasoning_content=WORDS,
        reasoning=WORDS,
        reasoning_details=st.lists(DETAIL, min_size=1, max_size=3),
        tool_calls=st.lists(CALL, min_size=1, max_size=2).map(
            lambda calls: [{**call, "id": f"call_{i}"} for i, call in enumerate(calls)]
        ),
        audio=fixed(id=WORDS),
        images=st.just([{"type": "image_url", "image_url": {"url": PNG}}]),
    ),
    SIGNED,
)
RESULT = fixed(role="tool", tool_call_id=WORDS, content=CONTENT)
MESSAGE = st.one_of(USER, INSTRUCTIONS, ASSISTANT, RESULT)

TOOL = st.one_of(
    merged(
        fixed(
            type="function",
            function=merged(
                fixed(name=WORDS),
                maybe(
                    description=WORDS, parameters=st.just({"type": "object"}), strict=st.booleans()
                ),
            ),
        ),
        _cache,
    ),
    fixed(
        type="custom",
        custom=merged(
            fixed(name=WORDS),
            maybe(
                format=st.sampled_from(
                    [
                        {"type": "text"},
                        {"type": "grammar", "grammar": {"syntax": "lark", "definition": "a: b"}},
                    ]
                )
            ),
        ),
    ),
    fixed(type="web_search", limit=3),
)
WISHES = maybe(
    max_tokens=st.integers(1, 99),
    max_completion_tokens=st.integers(1, 99),
    temperature=st.floats(0, 2),
    top_p=st.floats(0, 1),
    top_k=st.integers(0, 9),
    min_p=st.floats(0, 1),
    n=st.integers(1, 4),
    seed=st.integers(),
    stop=WORDS | st.lists(WORDS, min_size=1, max_size=2),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    logit_bias=st.just({"1": 2}),
    logprobs=st.booleans(),
    top_logprobs=st.integers(0, 5),
    tools=st.lists(TOOL, min_size=1, max_size=3),
    tool_choice=st.sampled_from(
        [
            "auto",
            "none",
            "required",
            {"type": "function", "function": {"name": "f"}},
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            },
        ]
    ),
    parallel_tool_calls=st.booleans(),
    response_format=st.sampled_from(
        [
            {"type": "text"},
            {"type": "json_object"},
            {"type": "json_schema", "json_schema": {"name": "s", "schema": {}, "strict": True}},
            {"type": "grammar", "grammar": "x"},
        ]
    ),
    reasoning_effort=st.sampled_from(["low", "high"]),
    reasoning=maybe(effort=st.just("low"), max_tokens=st.integers(1, 9), exclude=st.booleans()),
    modalities=st.just(["text", "audio"]),
    audio=st.just({"voice": "ash", "format": "wav"}),
    user=WORDS,
    metadata=st.just({"a": "b"}),
    store=st.booleans(),
    service_tier=st.just("flex"),
    verbosity=st.just("low"),
    prediction=st.just({"type": "content", "content": "x"}),
    prompt_cache_key=WORDS,
    safety_identifier=WORDS,
    cache_control=st.just(CACHE),
    web_search_options=st.just({"search_context_size": "low"}),
    plugins=st.just([{"id": "web"}]),
    strange=WORDS,
    stream=st.booleans(),
)
BODIES = merged(fixed(model="m", messages=st.lists(MESSAGE, min_size=1, max_size=4)), WISHES)
"""Valid ones."""

_NAMES = st.sampled_from(
    [
        *("tools", "functions", "tool_choice", "function_call", "response_format", "reasoning"),
        *("reasoning_effort", "include_reasoning", "thinking", "stop", "audio", "modalities"),
        *("max_tokens", "seed", "plugins", "cache_control", "top_k", "prediction", "store"),
    ]
)
_FIELDS = st.sampled_from(
    [
        *("tool_calls", "function_call", "reasoning_content", "reasoning", "reasoning_details"),
        *("thinking_blocks", "audio", "images", "annotations", "extra_content", "refusal"),
        *("name", "tool_call_id", "cache_control"),
    ]
)
_KINDS = st.sampled_from(
    [
        *("text", "image_url", "file", "input_audio", "video_url", "audio_url", "document_url"),
        *("thinking", "redacted_thinking", "refusal", "input_video", "x"),
    ]
)
_ODD_PART = st.tuples(_KINDS, JSON, st.dictionaries(st.sampled_from(["text", "data"]), JSON)).map(
    lambda it: {**it[2], "type": it[0], it[0]: it[1]}
)
_ODD_MESSAGE = st.tuples(
    st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"]),
    st.none() | st.text(max_size=3) | st.lists(_ODD_PART, max_size=3),
    st.dictionaries(_FIELDS, JSON | st.lists(_ODD_PART, max_size=2), max_size=4),
).map(lambda it: {**it[2], "role": it[0], "content": it[1]})
ODD_BODIES = st.tuples(
    st.lists(_ODD_MESSAGE, min_size=1, max_size=3), st.dictionaries(_NAMES, JSON, max_size=4)
).map(lambda it: {**it[1], "model": "m", "messages": it[0]})
"""Fields with values of any kind."""
