"""JSON Schema in the form that Gemini takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalbox.adapters.gemini_json_schema import MAX_DEPTH, gemini_schema, parameters_schema


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": "string", "$schema": "x"}, {"type": "string"}),
        ({"const": "a"}, {"enum": ["a"]}),
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "nullable": False}, {"type": "string"}),
        (
            {"type": "string", "enum": ["a"], "nullable": True},
            {"type": ["string", "null"], "enum": ["a", None]},
        ),
        (
            {"anyOf": [{"type": "string"}], "nullable": True},
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
        ),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"$ref": "#/$defs/a", "description": "d"}, {"$ref": "#/$defs/a"}),
        (
            {"$ref": "#/definitions/a", "definitions": {"a": {"const": 1}}},
            {"$ref": "#/$defs/a", "$defs": {"a": {"enum": [1]}}},
        ),
        (
            {"allOf": [{"properties": {"a": True}, "required": ["a"]}, {"required": ["b"]}]},
            {"properties": {"a": True}, "required": ["a", "b"]},
        ),
        ({"allOf": [{"allOf": [{"type": "object"}]}]}, {"type": "object"}),
        ({"allOf": [{"$ref": "#/$defs/a"}]}, {"anyOf": [{"$ref": "#/$defs/a"}]}),
        (
            {"type": "object", "additionalProperties": {"const": 1}},
            {"type": "object", "additionalProperties": {"enum": [1]}},
        ),
        ({"type": "object", "additionalProperties": False},) * 2,
        ({"items": {"const": 1}, "format": "date"}, {"items": {"enum": [1]}, "format": "date"}),
        ({"properties": {"const": {"type": "string"}}},) * 2,
        (True, True),
    ],
)
def test_what_gemini_does_not_know_is_said_otherwise(schema: Any, written: Any) -> None:
    before = json.dumps(schema)
    assert gemini_schema(schema) == written
    assert json.dumps(schema) == before


def test_arguments_are_those_of_an_object() -> None:
    assert parameters_schema({"properties": {}}) == {"type": "object", "properties": {}}
    assert parameters_schema({"$ref": "#/$defs/a"}) == {"$ref": "#/$defs/a"}


def test_schemas_without_end_are_followed_so_far() -> None:
    deep: Any = {"const": 1}
    for _ in range(900):
        deep = {"items": deep, "allOf": [{"allOf": [{"type": "array"}]}]}
    assert json.dumps(gemini_schema(deep)).count('"allOf"') == 2 * (900 - MAX_DEPTH - 1)


NAMES = [
    "type",
    "properties",
    "items",
    "anyOf",
    "allOf",
    "oneOf",
    "$ref",
    "$defs",
    "const",
    "definitions",
    "required",
    "nullable",
    "enum",
    "additionalProperties",
    "not",
    "a",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
PLAIN = st.recursive(
    st.fixed_dictionaries({"type": st.sampled_from(["string", "integer", ["number", "null"]])}),
    lambda inner: (
        st.fixed_dictionaries({"type": st.just("array"), "items": inner})
        | st.dictionaries(st.text(max_size=4), inner, max_size=3).map(
            lambda fields: {"type": "object", "properties": fields, "required": sorted(fields)}
        )
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(schema=VALUES)
def test_any_schema_is_written(schema: Any) -> None:
    before = json.dumps(schema)
    json.dumps(parameters_schema(schema))
    assert json.dumps(schema) == before


@settings(max_examples=60, deadline=None)
@given(schema=PLAIN)
def test_a_plain_schema_stays_as_it_is(schema: Any) -> None:
    assert gemini_schema(schema) == schema


@settings(max_examples=60, deadline=None)
@given(schema=PLAIN)
def test_wrapped_in_all_of_it_means_the_same(schema: Any) -> None:
    assert gemini_schema({"allOf": [schema], "$comment": "c"}) == schema
