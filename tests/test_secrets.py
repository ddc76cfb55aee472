"""A `Secret` says what it is to who asks it to reveal itself, and in no other way."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle  # noqa: TID251 - that nothing of a secret gets into one is what is tested
import pprint
import traceback
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from signalbox.config import AwsAccessKey
from signalbox.types import AccessToken, Extra, Secret

TEXT = "sk-nobody-may-read-this"


@dataclasses.dataclass(frozen=True)
class Plain:
    key: Secret


class Struct(msgspec.Struct, frozen=True):
    key: Secret


HOLDERS: list[Any] = [
    Secret(TEXT),
    AccessToken(TEXT),
    Plain(Secret(TEXT)),
    Struct(Secret(TEXT)),
    [Secret(TEXT)],
    {"key": Secret(TEXT)},
    {Secret(TEXT): "key"},
    Extra(byok={"openai": Secret(TEXT)}),
    AwsAccessKey("AKIA", Secret(TEXT), "eu-central-1", Secret(TEXT)),
    ValueError("bad", Secret(TEXT)),
]


def traceback_of(it: Any) -> str:
    try:
        raise RuntimeError(it)
    except RuntimeError as error:
        captured = traceback.TracebackException.from_exception(error, capture_locals=True)
        return "".join(captured.format())


def logged(it: Any) -> str:
    record = logging.LogRecord("x", 10, "x", 1, "using %s and %r", (it, it), None)
    return logging.Formatter("%(message)s %(args)s").format(record)


WAYS: dict[str, Callable[[Any], Any]] = {
    "repr": repr,
    "str": str,
    "format": lambda it: f"{it} {it!r} {it!s} {it!a}",
    "format with a width": lambda it: f"{it:>80}",
    "percent": lambda it: "%s %r %a" % (it, it, it),  # noqa: UP031 - one of the ways
    "str.format": "{0} {0!r}".format,
    "pprint": pprint.pformat,
    "json": json.dumps,
    "json by str": lambda it: json.dumps(it, default=str),
    "json by repr": lambda it: json.dumps(it, default=repr),
    "json by vars": lambda it: json.dumps(it, default=vars),
    "json by state": lambda it: json.dumps(it, default=lambda x: x.__getstate__()),
    "msgspec json": msgspec.json.encode,
    "msgspec json by repr": lambda it: msgspec.json.encode(it, enc_hook=repr),
    "msgspec msgpack": msgspec.msgpack.encode,
    "msgspec builtins": msgspec.to_builtins,
    "msgspec builtins by str": lambda it: msgspec.to_builtins(it, enc_hook=str, str_keys=True),
    "msgspec asdict": msgspec.structs.asdict,
    "msgspec astuple": msgspec.structs.astuple,
    "msgspec convert": lambda it: msgspec.convert(it, str),
    "dataclass asdict": dataclasses.asdict,
    "dataclass astuple": dataclasses.astuple,
    "vars": vars,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "reduce": lambda it: it.__reduce_ex__(4),
    "state": lambda it: it.__getstate__(),
    **{f"pickle {n}": lambda it, n=n: pickle.dumps(it, n) for n in range(6)},  # type: ignore[misc]
    "bytes": bytes,
    "list": list,
    "join": lambda it: "".join([it]),
    "plus": lambda it: it + "!",
    "encode": lambda it: it.encode(),
    "int": int,
    "exception": lambda it: ValueError("bad key", it),
    "traceback": traceback_of,
    "log record": logged,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_in_nothing_that_is_made_of_what_holds_it(way: str) -> None:
    for holder in HOLDERS:
        try:
            made = WAYS[way](holder)
        except Exception as error:
            # Refused: then the refusal does not tell it either.
            made = f"{error!r} {error.args} {''.join(traceback.format_exception(error))}"
        for told in (made, repr(made), str(made)):
            raw = told if isinstance(told, bytes) else repr(told).encode()
            assert TEXT.encode() not in raw


def test_a_secret_is_copied_as_itself() -> None:
    secret = AccessToken(TEXT)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret
    assert dataclasses.asdict(Plain(secret))["key"] is secret


def test_secrets_are_compared_by_their_text_whatever_is_in_it() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("\ud800") == Secret("\ud800") != Secret("\ud801")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
