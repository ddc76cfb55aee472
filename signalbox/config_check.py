"""Compares a tree of TOML values with the types of `config_schema.py`.

msgspec builds the structs; its messages name neither the keys of open tables nor the nearest known
key, so this walk over the same types comes first and words the mistakes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import inspect as types

from signalbox.config_lines import KeyPath
from signalbox.config_report import Report, did_you_mean
from signalbox.config_schema import Document

SCHEMA = types.type_info(Document)

MAX_PRICE = 1_000_000
"""US dollars. Per million tokens, a dollar a token is surely a mistake of the unit; as a budget, a
million is more than anybody leaves to a gateway."""
PRICE_DECIMALS = 9

_ECHO_CHARS = 40
"""A wrong value is repeated up to this length: it is there to be recognised, not to be read."""


def check(tree: dict[str, Any], report: Report) -> Document:
    """The tree as a `Document`. Raises `ConfigError` with every value that has a wrong form."""
    checked = _check(tree, SCHEMA, (), report)
    report.stop_on_mistakes()
    document: Document = msgspec.convert(checked, Document)
    return document


def member_type(kind: types.Type, name: str) -> types.Type | None:
    """The type of a table's key or of a list's item; None where there is no such key."""
    for option in _options(kind):
        match option:
            case types.StructType():
                return next((f.type for f in option.fields if f.encode_name == name), None)
            case types.DictType():
                return option.value_type
            case types.VarTupleType():
                return option.item_type
            case types.AnyType():
                return option
    return None


def key_names(kind: types.Type) -> tuple[str, ...]:
    """The keys of a table that has a fixed set of them."""
    return tuple(
        field.encode_name
        for option in _options(kind)
        if isinstance(option, types.StructType)
        for field in option.fields
    )


def is_text(kind: types.Type) -> bool:
    """Whether a value of this type is a string and nothing else."""
    return all(
        isinstance(option, types.StrType)
        or (isinstance(option, types.LiteralType) and isinstance(option.values[0], str))
        for option in _options(kind)
    )


def is_list(kind: types.Type) -> bool:
    """Whether a value of this type is a list and nothing else."""
    return all(isinstance(option, types.VarTupleType) for option in _options(kind))


def _options(kind: types.Type) -> list[types.Type]:
    """The types of a union without None, which TOML cannot write."""
    members = kind.types if isinstance(kind, types.UnionType) else (kind,)
    return [member for member in members if not isinstance(member, types.NoneType)]


def _check(value: Any, kind: types.Type, path: KeyPath, report: Report) -> Any:
    """`value` with numbers in the form that `kind` wants. Mistakes go to the report."""
    options = _options(kind)
    for option in options:
        match option:
            case types.AnyType():
                return _check_json(value, path, report)
            case types.StructType() if isinstance(value, dict):
                return _check_struct(value, option, path, report)
            case types.DictType() if isinstance(value, dict):
                return {
                    name: _check(item, option.value_type, (*path, name), report)
                    for name, item in value.items()
                }
            case types.VarTupleType() if isinstance(value, list):
                if len(value) < (option.min_length or 0):
                    report.mistake(path, "expected a list with at least one item, got none")
                return [
                    _check(item, option.item_type, (*path, index), report)
                    for index, item in enumerate(value)
                ]
            case _ if (accept := _SCALARS.get(type(option))) is not None:
                accepted = accept(value, option)
                if accepted is not None:
                    return accepted
    expected = " or ".join(_describe(option) for option in options)
    report.mistake(path, f"expected {expected}, got {_got(value, options)}")
    return None


def _check_struct(
    value: dict[str, Any], kind: types.StructType, path: KeyPath, report: Report
) -> dict[str, Any]:
    fields = {field.encode_name: field for field in kind.fields}
    checked = {}
    for name, item in value.items():
        if name in fields:
            checked[name] = _check(item, fields[name].type, (*path, name), report)
        else:
            report.mistake((*path, name), f"there is no such key{did_you_mean(name, fields)}")
    for name, field in fields.items():
        if field.required and name not in value:
            report.mistake((*path, name), f"is missing; expected {_describe(field.type)}")
    return checked


def _check_json(value: Any, path: KeyPath, report: Report) -> Any:
    """A value of any form that JSON can carry."""
    if isinstance(value, dict):
        return {name: _check_json(item, (*path, name), report) for name, item in value.items()}
    if isinstance(value, list):
        return [_check_json(item, (*path, index), report) for index, item in enumerate(value)]
    if isinstance(value, Decimal) and _number(value) is not None:
        return float(value)
    if not isinstance(value, str | int):
        report.mistake(path, f"expected a value that JSON can carry, got {_form(value)}")
    return value


def _in_bounds(number: float | Decimal, kind: types.IntType | types.FloatType) -> bool:
    return (
        (kind.ge is None or number >= kind.ge)
        and (kind.gt is None or number > kind.gt)
        and (kind.le is None or number <= kind.le)
    )


def _accept_bool(value: Any, _: types.BoolType) -> bool | None:
    return value if isinstance(value, bool) else None


def _accept_int(value: Any, kind: types.IntType) -> int | None:
    is_int = isinstance(value, int) and not isinstance(value, bool)
    return value if is_int and _in_bounds(value, kind) else None


def _accept_float(value: Any, kind: types.FloatType) -> float | None:
    number = _number(value)
    return float(number) if number is not None and _in_bounds(number, kind) else None


def _accept_price(value: Any, _: types.DecimalType) -> Decimal | None:
    price = _number(value)
    if price is None or not 0 <= price <= MAX_PRICE:
        return None
    return price if price == round(price, PRICE_DECIMALS) else None


def _accept_str(value: Any, kind: types.StrType) -> str | None:
    is_str = isinstance(value, str) and len(value) >= (kind.min_length or 0)
    return value if is_str else None


def _accept_choice(value: Any, kind: types.LiteralType) -> str | int | None:
    return value if value in kind.values else None


def _accept_time(value: Any, _: types.DateTimeType) -> datetime | None:
    return value if isinstance(value, datetime) and value.tzinfo is not None else None


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    return number if math.isfinite(float(number)) else None


_SCALARS: Mapping[type[types.Type], Callable[[Any, Any], Any]] = {
    types.BoolType: _accept_bool,
    types.IntType: _accept_int,
    types.FloatType: _accept_float,
    types.DecimalType: _accept_price,
    types.StrType: _accept_str,
    types.LiteralType: _accept_choice,
    types.DateTimeType: _accept_time,
}


def _describe(kind: types.Type) -> str:
    match kind:
        case types.UnionType():
            return " or ".join(_describe(option) for option in _options(kind))
        case types.BoolType():
            return "true or false"
        case types.IntType():
            return "an integer" + _bounds(kind)
        case types.FloatType():
            return "a number" + _bounds(kind)
        case types.DecimalType():
            return f"US dollars from 0 to {MAX_PRICE} with at most {PRICE_DECIMALS} decimals"
        case types.StrType(min_length=1):
            return "a string that is not empty"
        case types.StrType():
            return "a string"
        case types.LiteralType():
            return "one of " + ", ".join(f'"{value}"' for value in kind.values)
        case types.VarTupleType():
            return "a list"
        case types.DateTimeType():
            return "a time with its offset, such as 2030-01-31T00:00:00Z"
        case _:
            return "a table"


def _bounds(kind: types.IntType | types.FloatType) -> str:
    lower = f" of at least {kind.ge}" if kind.ge is not None else ""
    if kind.gt is not None:
        lower = f" above {kind.gt}"
    if kind.le is None:
        return lower
    if kind.ge is None:
        return f"{lower} and up to {kind.le}"
    return f" from {kind.ge} to {kind.le}"


def _got(value: Any, options: list[types.Type]) -> str:
    """The value itself, but not where a string was expected: a secret may stand there."""
    may_echo = not any(
        isinstance(option, types.StrType | types.StructType | types.VarTupleType)
        for option in options
    )
    if not may_echo or not isinstance(value, str | int | Decimal):
        return _form(value)
    text = str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _ECHO_CHARS else _form(value)


def _form(value: Any) -> str:
    match value:
        case "":
            return "an empty string"
        case str():
            return "a string"
        case bool():
            return "true" if value else "false"
        case int():
            return "an integer"
        case Decimal():
            return "a number"
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            return "a date or time"
