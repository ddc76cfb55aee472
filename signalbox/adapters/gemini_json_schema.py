"""JSON Schema in the form that Gemini takes under `parametersJsonSchema` and `responseJsonSchema`.

Gemini's own account of it (API reference, `GenerationConfig.responseJsonSchema`): all of JSON
Schema may be sent, a part of it has an effect; beside a `$ref` nothing may stand whose name does
not begin with `$`. What it does not know but can be said otherwise is said so here: `const`,
`allOf`, OpenAPI's `nullable`, and `definitions`, which is an older name for `$defs`.

The other way, from Gemini's own form of a schema: `gemini_schema.py`.
"""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 64
"""What lies deeper goes out as it came: no model follows a schema so far."""

_OLD_DEFINITIONS = "#/definitions/"
_DEFINITIONS = "#/$defs/"
_LEFT_OUT = frozenset({"$schema", "$comment"})
_ADDED_UP = frozenset({"required", "allOf"})
_OF_SCHEMAS = ("anyOf", "oneOf", "prefixItems")
_NAMED_SCHEMAS = ("properties", "patternProperties", "$defs")
_SCHEMAS = ("items", "additionalProperties", "not", "contains", "propertyNames")


def gemini_schema(schema: Any, depth: int = 0) -> Any:
    """The schema rewritten; what is no schema is left as it is. `schema` stays unchanged."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return schema
    written = {name: value for name, value in schema.items() if name not in _LEFT_OUT}
    _rename_definitions(written)
    if isinstance(written.get("$ref"), str):
        return _reference(written, depth)
    _merge_all_of(written)
    if "const" in written:
        written["enum"] = [written.pop("const")]
    _allow_null(written)
    return _with_inner(written, depth)


def parameters_schema(parameters: Any) -> Any:
    """The schema of a function's arguments, which must be an object's."""
    written = gemini_schema(parameters)
    if isinstance(written, dict) and "$ref" not in written and "type" not in written:
        return {"type": "object", **written}
    return written


def _with_inner(written: dict[str, Any], depth: int) -> dict[str, Any]:
    """Each schema inside of this one rewritten too."""
    for name in _OF_SCHEMAS:
        if isinstance(written.get(name), list):
            written[name] = [gemini_schema(each, depth + 1) for each in written[name]]
    for name in _NAMED_SCHEMAS:
        if isinstance(written.get(name), dict):
            written[name] = {
                inner: gemini_schema(each, depth + 1) for inner, each in written[name].items()
            }
    for name in _SCHEMAS:
        if name in written:
            written[name] = gemini_schema(written[name], depth + 1)
    return written


def _rename_definitions(written: dict[str, Any]) -> None:
    definitions = written.get("definitions")
    if isinstance(definitions, dict) and isinstance(written.get("$defs", {}), dict):
        del written["definitions"]
        written["$defs"] = {**definitions, **written.get("$defs", {})}


def _reference(written: dict[str, Any], depth: int) -> dict[str, Any]:
    target: str = written["$ref"]
    if target.startswith(_OLD_DEFINITIONS):
        written["$ref"] = _DEFINITIONS + target.removeprefix(_OLD_DEFINITIONS)
    kept = {name: value for name, value in written.items() if name.startswith("$")}
    return _with_inner(kept, depth)


def _merge_all_of(written: dict[str, Any]) -> None:
    """`allOf` of plain schemas becomes part of the schema; where one refers to another, only a
    single one can."""
    for _ in range(MAX_DEPTH):
        branches = written.get("allOf")
        if not isinstance(branches, list) or not all(isinstance(each, dict) for each in branches):
            return
        if any("$ref" in each for each in branches):
            if len(branches) == 1 and not {"properties", "anyOf", "enum"} & written.keys():
                del written["allOf"]
                written["anyOf"] = branches
            return
        del written["allOf"]
        for branch in branches:
            _merge(written, branch)


def _merge(written: dict[str, Any], branch: dict[str, Any]) -> None:
    for name, value in branch.items():
        known = written.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            written[name] = {**known, **value}
        elif name in _ADDED_UP and isinstance(known, list) and isinstance(value, list):
            written[name] = [*known, *(each for each in value if each not in known)]
        else:
            written.setdefault(name, value)


def _allow_null(written: dict[str, Any]) -> None:
    """OpenAPI's `nullable` as JSON Schema has it."""
    nullable = written.get("nullable")
    if not isinstance(nullable, bool):
        return
    del written["nullable"]
    if not nullable:
        return
    kind = written.get("type")
    if isinstance(kind, str) and kind != "null":
        written["type"] = [kind, "null"]
    elif isinstance(written.get("anyOf"), list):
        written["anyOf"] = [*written["anyOf"], {"type": "null"}]
    enum = written.get("enum")
    if isinstance(enum, list) and None not in enum:
        written["enum"] = [*enum, None]
