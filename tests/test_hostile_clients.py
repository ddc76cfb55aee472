"""Hostile bodies at every door over a socket: never a 500, never a word of a crash in the log, and
what is refused is refused in the words of the door's dialect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import cycle

import httpx
import pytest

from signalbox.types import Dialect
from tests.gateway import KEY, NO_TLS
from tests.hostile_bodies import PLAIN
from tests.matrix import WIRES
from tests.matrix_world import World, matrix_world

PATHS = {
    "/v1/chat/completions": Dialect.CHAT,
    "/api/v1/chat/completions": Dialect.CHAT,
    "/openai/deployments/{model}/chat/completions?api-version=2024-10-21": Dialect.CHAT,
    "/v1/responses": Dialect.RESPONSES,
    "/v1/messages": Dialect.MESSAGES,
    "/v1/messages/count_tokens": Dialect.MESSAGES,
    "/v1beta/models/{model}:generateContent": Dialect.GENERATE,
    "/v1beta/models/{model}:streamGenerateContent?alt=sse": Dialect.GENERATE,
    "/v1beta/models/{model}:countTokens": Dialect.GENERATE,
    "/v1/completions": Dialect.COMPLETIONS,
    "/v1/embeddings": Dialect.EMBEDDINGS,
    "/v1beta/models/{model}:batchEmbedContents": Dialect.EMBED,
}
_NINES = "9" * 400
_TOKENS = '"max_tokens": {0}, "max_output_tokens": {0}, "seed": {0}, "dimensions": {0}'
_GENERATION = '"generationConfig": {{"maxOutputTokens": {0}, "seed": {0}}}'
_NUL = '"\\u0000"'


def _tools(schemas: list[str]) -> str:
    tools = (
        f'{{"type": "function", "name": "f{i}", "strict": true, "parameters": {it}, '
        f'"function": {{"name": "f{i}", "strict": true, "parameters": {it}}}, "input_schema": {it},'
        f' "functionDeclarations": [{{"name": "f{i}", "parameters": {it}}}]}}'
        for i, it in enumerate(schemas)
    )
    return f'"tools": [{", ".join(tools)}]'


def _formats(schema: str) -> str:
    named = f'{{"type": "json_schema", "name": "a", "strict": true, "schema": {schema}}}'
    return (
        f'"response_format": {{"type": "json_schema", "json_schema": {named}}}, '
        f'"text": {{"format": {named}}}, "output_config": {{"format": {named}}}, '
        '"generationConfig": {"responseMimeType": "application/json", '
        f'"responseJsonSchema": {schema}}}'
    )


def hostile_fields() -> Iterator[str]:
    """What comes after the fields of a plain body."""
    for number in (_NINES, "9" * 25, "-1", "0"):
        yield f"{_TOKENS.format(number)}, {_GENERATION.format(number)}"
    yield '"temperature": 1e999, "generationConfig": {"temperature": 1e999}'
    yield '"user": "\\ud800", "stop": ["\\udc00"]'
    yield f'"user": {_NUL}, "metadata": {{{_NUL}: {_NUL}}}, "prompt_cache_key": {_NUL}'
    yield '"model": "m", "model": 5, "stream": 1, "stream": false'
    yield '"extra": 5'
    yield '"extra": {"models": [1e300], "x": []}'
    yield '"tools": [], "stop": [], "modalities": [], "stop_sequences": [], "include": []'
    yield '"messages": [], "input": [], "contents": [], "prompt": [], "requests": []'
    yield _tools(["{}"] * 10_000)
    for depth in (60, 450, 900, 985):
        half = depth // 2
        yield f'"x": {"[" * depth}{"]" * depth}'
        yield '"metadata": ' + '{"a": ' * depth + "1" + "}" * depth
        yield _tools(['{"items": ' * depth + "{}" + "}" * depth])
        yield _tools(['{"anyOf": [' * half + "{}" + "]}" * half])
        objects = '{"type": "object", "properties": {"a": ' * half + "{}" + "}}" * half
        yield _tools([objects])
        yield _formats(objects)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with matrix_world() as running:
        yield running


def attack(world: World, path: str, models: Iterator[str], fields: Iterator[str]) -> None:
    door = PATHS[path]
    headers = {"authorization": f"Bearer {KEY}", "x-goog-api-key": KEY}
    with httpx.Client(
        base_url=world.gateway.url, headers=headers, timeout=60, verify=NO_TLS
    ) as client:
        for field in fields:
            model = next(models)
            plain = json.dumps({**PLAIN[door], "model": model})
            if "model" not in PLAIN[door]:
                plain = json.dumps(PLAIN[door])
            data = f"{plain[:-1]}, {field}}}".encode()
            head = {"content-type": "application/json"}
            answer = client.post(path.replace("{model}", model), content=data, headers=head)
            said = (path, model, field[:80], answer.status_code, answer.text[:300])
            assert answer.status_code < 500, said
            if answer.status_code != 200:
                _check_error(door, answer)
    assert "Traceback" not in world.gateway.output


def _check_error(door: Dialect, answer: httpx.Response) -> None:
    body = answer.json()
    error = body["error"]
    assert error["message"]
    if door is Dialect.MESSAGES:
        assert body["type"] == "error"
        assert error["type"] in ("invalid_request_error", "not_found_error"), body
    elif door in (Dialect.GENERATE, Dialect.EMBED):
        assert error["code"] == answer.status_code
        assert error["status"] in ("INVALID_ARGUMENT", "NOT_FOUND"), body
    else:
        assert "code" in error


def _models(path: str) -> list[str]:
    if PATHS[path] in (Dialect.EMBEDDINGS, Dialect.EMBED):
        return ["embed-openai", "embed-google"]
    return [f"to-{name}" for name in WIRES]


@pytest.mark.parametrize("path", PATHS)
def test_no_body_breaks_a_door(world: World, path: str) -> None:
    """Each body to one wire, another one each time."""
    attack(world, path, cycle(_models(path)), hostile_fields())


@pytest.mark.long
@pytest.mark.parametrize("path", PATHS)
def test_no_body_breaks_a_door_whatever_is_behind_it(world: World, path: str) -> None:
    for model in _models(path):
        attack(world, path, cycle([model]), hostile_fields())
