"""What types cannot say of a document: rules between keys, and keys that have no effect."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from signalbox.config_lines import KeyPath
from signalbox.config_postgres import is_postgres_url, read_postgres_url
from signalbox.config_report import Report
from signalbox.config_schema import Document, Storage, TimeoutTable
from signalbox.config_settings import STRATEGY_SUFFIXES
from signalbox.types import Timeouts

_REDIS_EXPECTED = (
    "expected redis://host:port/db, rediss:// for TLS, or unix:///path/of.sock?db=0; "
    "port and db may be left out, user:password@ may stand before the host"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ORIGIN = re.compile(r"https?://[^/?#@\s]+")


def check_rules(document: Document, timeouts: Timeouts, report: Report) -> None:
    """Reports mistakes and warnings of the sections that need no resolving."""
    _check_server(document, report)
    _check_storage(document, report)
    _check_aliases(document, report)
    _warn_of_timeouts((), document.timeouts, timeouts, report)
    for name, model in document.models.items():
        if model.timeouts is not None:
            own = model.timeouts.over(timeouts)
            _warn_of_timeouts(("models", name), model.timeouts, own, report)
    if document.limits.burst is not None and document.limits.rpm is None:
        report.warn(("limits", "burst"), "has no effect without limits.rpm")
    payload_days = document.traces.payload_retention_days
    if payload_days is not None and payload_days >= document.traces.retention_days:
        report.warn(
            ("traces", "payload_retention_days"),
            f"has no effect: traces go after {document.traces.retention_days} days, with theirs",
        )
    for path in _without_effect(document):
        report.warn(path, "has no effect in this version")


def check_name(path: KeyPath, name: str, report: Report) -> None:
    if not _NAME.fullmatch(name):
        report.mistake(
            path, "expected a name of 1 to 64 letters, digits, -, _ and . (not at its start)"
        )


def _without_effect(document: Document) -> Iterator[KeyPath]:
    """What the file sets and no part of this version reads."""
    for name, model in document.models.items():
        for index, route in enumerate(model.routes):
            for limit in ("rpm", "tpm"):
                if getattr(route, limit) is not None:
                    yield "models", name, "routes", index, limit
    if document.alerts is not None:
        yield ("alerts",)


def _check_server(document: Document, report: Report) -> None:
    if document.server.workers > 1:
        report.mistake(
            ("server", "workers"),
            f"expected 1, got {document.server.workers}: several gateways may be started instead, "
            "with one PostgreSQL database and one Redis",
        )
    for index, origin in enumerate(document.server.cors_origins):
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            report.mistake(
                ("server", "cors_origins", index),
                'expected "*" or an origin such as "https://example.com", without a path',
            )


def _check_storage(document: Document, report: Report) -> None:
    database = document.storage.database
    if is_postgres_url(database):
        try:
            read_postgres_url(database)
        except ValueError as error:
            report.mistake(("storage", "database"), str(error))
    elif not re.fullmatch(r"sqlite:///[^?#]+", database):
        report.mistake(
            ("storage", "database"), "expected sqlite:///, then a file's path, or postgresql://…"
        )
    if document.storage.redis is not None:
        mistake = _redis_mistake(document.storage.redis)
        if mistake is not None:
            report.mistake(("storage", "redis"), mistake)
    elif document.storage.when_redis_is_away != Storage().when_redis_is_away:
        report.warn(("storage", "when_redis_is_away"), "has no effect without storage.redis")


def _redis_mistake(url: str) -> str | None:
    """What is wrong with the URL, which may hold a password and is not repeated."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # a wrong one raises
    except ValueError:
        return f"is no URL: {_REDIS_EXPECTED}"
    if parts.scheme == "unix":
        path, query, whole = r"/.+", r"(db=[0-9]{1,4})?", True
    elif parts.scheme in ("redis", "rediss"):
        path, query, whole = r"(/[0-9]{0,4})?", "", parts.hostname is not None
    else:
        return f"has the scheme {parts.scheme!r}: {_REDIS_EXPECTED}"
    whole = whole and not parts.fragment
    whole = whole and re.fullmatch(path, parts.path) is not None
    whole = whole and re.fullmatch(query, parts.query) is not None
    return None if whole else _REDIS_EXPECTED


def _check_aliases(document: Document, report: Report) -> None:
    for alias in document.aliases:
        if "*" in alias or not alias.strip():
            report.mistake(("aliases", alias), "expected a plain name, without *")
        if alias in document.models:
            report.mistake(("aliases", alias), "is the name of a model too")
        seen = [alias]
        while (target := _next_alias(document.aliases, seen[-1])) is not None:
            if target in seen:
                report.mistake(("aliases", alias), "leads back to itself: " + " → ".join(seen))
                break
            seen.append(target)


def _next_alias(aliases: Mapping[str, str], alias: str) -> str | None:
    """The alias that an alias stands for, also behind `:floor`; None where it is a model."""
    target = aliases[alias]
    base, _, suffix = target.rpartition(":")
    names = (target, base) if suffix in STRATEGY_SUFFIXES else (target,)
    return next((name for name in names if name in aliases), None)


def _warn_of_timeouts(
    path: KeyPath, given: TimeoutTable, timeouts: Timeouts, report: Report
) -> None:
    """`path`: of what has the table `given`, which comes to `timeouts`."""
    for name in ("connect", "first_token", "idle", "response"):
        seconds = getattr(given, name)
        if seconds is not None and seconds > timeouts.total:
            report.warn(
                (*path, "timeouts", name),
                f"has no effect: the total of {timeouts.total:g} s ends before",
            )
