"""Reads what a configuration is made of: a TOML file, `.env`, and the environment's overrides."""

from __future__ import annotations

import io
import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import dotenv
import msgspec
from msgspec import inspect as types

from signalbox.config_check import SCHEMA, is_list, is_text, key_names, member_type
from signalbox.config_lines import KeyPath, dotted, index_lines
from signalbox.config_report import ConfigError, Origins, did_you_mean

DEFAULT_FILE = "signalbox.toml"
CONFIG_VARIABLE = "SIGNALBOX_CONFIG"
PREFIX = "SIGNALBOX_"
RESERVED = frozenset(
    {
        CONFIG_VARIABLE,
        "SIGNALBOX_ADMIN_TOKEN",
        "SIGNALBOX_API_KEY",
        "SIGNALBOX_DATA_DIR",
        "SIGNALBOX_MASTER_KEY",
        "SIGNALBOX_RECORDINGS",
    }
)
"""Variables of this package that are not overrides of a key."""

MAX_FILE_BYTES = 4 * 1024 * 1024
"""Room for some ten thousand routes; more than that is some other file."""

_MADE_BY_KUBERNETES = re.compile(
    r"SIGNALBOX_(SERVICE_HOST=|SERVICE_PORT|PORT_\d|PORT=(tcp|udp|sctp)://)"
)
"""What Kubernetes sets in every pod beside a service named signalbox."""


class Source(msgspec.Struct, frozen=True):
    """The merged tree, not yet checked; numbers with a fraction are exact `Decimal`s."""

    tree: dict[str, Any]
    origins: Origins
    environ: Mapping[str, str]
    """The environment over `.env`."""
    file: Path | None
    warnings: tuple[str, ...]


def read_source(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Source:
    """Reads the file (`path`, else SIGNALBOX_CONFIG, else `signalbox.toml` in `cwd`) and overrides.

    Raises `ConfigError` where a file that was asked for cannot be read, where it is not TOML, and
    where a variable names no key.
    """
    merged = read_environ(environ, cwd)
    if path is None and merged.get(CONFIG_VARIABLE):
        path = Path(merged[CONFIG_VARIABLE])
    if path is None and (cwd / DEFAULT_FILE).exists():
        path = Path(DEFAULT_FILE)
    tree: dict[str, Any] = {}
    lines: Mapping[KeyPath, int] = {}
    if path is not None:
        tree, lines = _read_toml(cwd / path, str(path))
    variables: dict[KeyPath, str] = {}
    warnings = []
    for name in sorted(merged, key=lambda name: (name.count("__"), name)):
        text = merged[name]
        if not name.startswith(PREFIX) or name in RESERVED or not text:
            continue
        label = name if name in environ else f"{name} (.env)"
        if "__" in name:
            override_path = _override(tree, name, label, text)
            variables[override_path] = label
        elif not _MADE_BY_KUBERNETES.match(f"{name}={text}"):
            warnings.append(f"{label}: has no effect: overrides are {PREFIX}SECTION__KEY")
    return Source(
        tree=tree,
        origins=Origins(str(path) if path else None, lines, variables),
        environ=merged,
        file=cwd / path if path else None,
        warnings=tuple(warnings),
    )


def read_environ(environ: Mapping[str, str], cwd: Path) -> dict[str, str]:
    """The environment over `.env` in `cwd`. Raises `ConfigError` where that cannot be read."""
    path = cwd / ".env"
    if not path.is_file():
        return dict(environ)
    text = read_text(path, ".env")
    values = dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value is not None} | dict(environ)


def read_text(path: Path, label: str) -> str:
    """A small file's text. Raises `ConfigError` that begins with `label`."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{label}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{label}: expected at most {MAX_FILE_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{label}:{line}: expected UTF-8 text") from None


def _read_toml(path: Path, label: str) -> tuple[dict[str, Any], Mapping[KeyPath, int]]:
    text = read_text(path, label)
    try:
        return tomllib.loads(text, parse_float=_exact), index_lines(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_syntax_error(label, str(error))) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{label}: cannot be read as TOML: {error}") from None


def _exact(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:
        raise ValueError("a number is out of range") from None


def _syntax_error(label: str, message: str) -> str:
    """tomllib's own words, its line and column in front: `signalbox.toml:3:7: …`."""
    match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL)
    if match is None:
        return f"{label}: {message}"
    words, line, column = match.groups()
    return f"{label}:{line}:{column}: {words}"


def _override(tree: dict[str, Any], name: str, label: str, text: str) -> KeyPath:
    """Puts the value of the variable `name` into the tree; the path where it went."""
    node: Any = tree
    parent: Any = tree
    kind = SCHEMA
    path: KeyPath = ()
    for segment in name.removeprefix(PREFIX).split("__"):
        if not isinstance(node, dict | list):
            raise ConfigError(f"{label}: {dotted(path)} is no table that could have keys")
        key = _find_key(node, segment)
        below = member_type(kind, str(key))
        if below is None or key == "" or isinstance(key, int) != isinstance(node, list):
            hint = did_you_mean(segment.lower(), key_names(kind))
            raise ConfigError(f'{label}: "{segment}" names no key{hint}')
        path, kind, parent = (*path, key), below, node
        if isinstance(parent, dict):
            parent.setdefault(key, [] if is_list(kind) else {})
        node = parent[key]
    parent[path[-1]] = _parse(text, kind)
    return path


def _find_key(node: dict[str, Any] | list[Any], segment: str) -> str | int:
    """The key that a part of a variable's name stands for.

    Case does not count, nor does `-` for `_`, because shells allow neither in a variable's name.
    A list's item is named by its number.
    """
    if isinstance(node, list):
        return int(segment) if segment in map(str, range(len(node))) else segment
    for key in node:
        if key.lower().replace("-", "_") == segment.lower().replace("-", "_"):
            return key
    return segment.lower()


def _parse(text: str, kind: types.Type) -> Any:
    """The text as a TOML value, or as it is where a string is expected or it is no TOML.

    What has the wrong form is found when the whole tree is checked.
    """
    if is_text(kind):
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        parsed = tomllib.loads(f"value = {text.strip()}", parse_float=_exact)
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text
