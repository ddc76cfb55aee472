"""What the readers of client bodies check fields with: each names the path and what was expected.

All raise `BadRequest` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, TypeGuard

import msgspec

from signalbox.adapters.door import BadRequest

Check = tuple[Callable[[object], bool], str]
"""Whether a value may stand, and what is expected, in words."""
Object = Mapping[str, Any]


def decoded_object(data: bytes) -> dict[str, Any]:
    """The JSON object that `data` is. What this gives can be encoded again."""
    try:
        body = msgspec.json.decode(data)
    except RecursionError:
        raise BadRequest(None, "the body is nested too deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(None, f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest(None, f"the body must be a JSON object, got {kind_of(body)}")
    return body


def expected(path: str, what: str, got: object) -> BadRequest:
    return BadRequest(path, f"expected {what}, got {kind_of(got)}")


def kind_of(value: object) -> str:
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    for kind, name in ((bool, "a boolean"), (dict, "an object"), (list, "a list")):
        if isinstance(value, kind):
            return name if value else f"{name} ({msgspec.json.encode(value).decode()})"
    return "nothing" if value is None else f"the number {value}"[:60]


def is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


BOOLEAN: Final[Check] = (lambda v: isinstance(v, bool), "true or false")
STRING: Final[Check] = (lambda v: isinstance(v, str), "a string")
OBJECT: Final[Check] = (lambda v: isinstance(v, dict), "an object")
NUMBER: Final[Check] = (_is_number, "a number")
WHOLE: Final[Check] = (is_whole, "a whole number")
COUNT: Final[Check] = (
    lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0,
    "a whole number of 0 or more",
)
STRINGS: Final[Check] = (_is_strings, "a list of strings")


def check_fields(value: Object, checks: Mapping[str, Check], path: str = "") -> None:
    """Checks the fields that are there; null is as good as absent."""
    for name in checks.keys() & value.keys():
        given = value[name]
        if given is not None and not checks[name][0](given):
            # Which of several is told does not change from call to call.
            _tell_first(value, checks, path)


def _tell_first(value: Object, checks: Mapping[str, Check], path: str) -> NoReturn:
    for name, (allowed, what) in checks.items():
        given = value.get(name)
        if given is not None and not allowed(given):
            raise expected(f"{path}.{name}" if path else name, what, given)
    raise AssertionError("one of the fields was wrong")


def required(value: Object, name: str, check: Check, path: str) -> Any:
    """The field's value, which must be there."""
    allowed, what = check
    given = value.get(name)
    if given is None or not allowed(given):
        raise expected(f"{path}.{name}" if path else name, what, given)
    return given


def objects(value: object, path: str, what: str = "a list of objects") -> list[dict[str, Any]]:
    """The list, each item of which is an object; none where the field is absent."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise expected(path, what, value)
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise expected(f"{path}[{index}]", "an object", item)
    return value
