"""What is wrong with a preset's document: found when it is made, not when it is used."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from signalbox.adapters.door import BadRequest
from signalbox.adapters.openai_body import read_chat_body
from signalbox.adapters.openai_request_reader import FIELDS, read_chat_request
from signalbox.adapters.preset_bodies import put_into
from signalbox.config import Settings
from signalbox.config_access import preset_problems
from signalbox.config_lines import KeyPath
from signalbox.config_report import Report, did_you_mean
from signalbox.http.extension_fields import BadExtension
from signalbox.http.extensions import parse_extra, preset_extensions
from signalbox.types import Dialect, Preset

_USER = {"role": "user", "content": "."}
_ROLES = ("user", "assistant", "tool")
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def check_presets(settings: Settings) -> tuple[str, ...]:
    """What should be said of the configuration's presets. Raises `ConfigError`."""
    report = Report(settings.origins)
    for slug, preset in settings.presets.items():
        for path, problem in mistakes(preset):
            report.mistake(("presets", slug, *path), problem)
        for path, warning in warnings(preset):
            report.warn(("presets", slug, *path), warning)
    report.stop_on_mistakes()
    return tuple(report.warnings)


def mistakes(preset: Preset) -> Iterator[tuple[KeyPath, str]]:
    """What makes it useless, by the key where it says so. Whether there are its models is not asked
    here."""
    document = preset.document
    yield from preset_problems(document)
    wrong = list(_forms(document))
    yield from wrong
    if not wrong:
        yield from _as_a_body(document)
    try:
        parse_extra(None, None, preset=preset_extensions(preset))
    except BadExtension as error:
        where = error.error.param or ""
        words = error.error.message.removeprefix(f"{where}: ")
        yield _path(where.removeprefix(f"@preset/{preset.slug}.")), words


def warnings(preset: Preset) -> Iterator[tuple[KeyPath, str]]:
    """Fields that the gateway does not know. For checked documents only."""
    body = put_into({"messages": [_USER]}, preset.document, Dialect.CHAT)
    for name in read_chat_request({"model": "", **body}).unknown:
        hint = did_you_mean(name, FIELDS)
        yield (name,), f"is not known here, so that only providers of this API get it{hint}"


def _forms(document: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    for name in ("model", "system"):
        value = document.get(name)
        if name in document and not (isinstance(value, str) and value.strip()):
            yield (name,), "expected a string that is not empty"
    messages = document.get("messages")
    if "messages" in document and not (isinstance(messages, list) and messages):
        yield ("messages",), "expected a list of at least one message"
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in _ROLES:
            hint = "; instructions go into `system`" if role in ("system", "developer") else ""
            yield ("messages", index, "role"), f"expected one of {', '.join(_ROLES)}{hint}"
    if "tools" in document and not isinstance(document["tools"], list):
        yield ("tools",), "expected a list of objects"


def _as_a_body(document: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """As the door of chat completions sees it."""
    said = {name: value for name, value in document.items() if name not in ("system", "extra")}
    body = {**said, "model": "m", "messages": document.get("messages", [_USER])}
    try:
        read_chat_body(msgspec.json.encode(body))
    except BadRequest as error:
        yield _path(error.param or ""), str(error).removeprefix(f"{error.param}: ")


def _path(text: str) -> KeyPath:
    """`messages[0].role` by its parts."""
    return tuple(int(place) if place else name for place, name in _STEP.findall(text))
