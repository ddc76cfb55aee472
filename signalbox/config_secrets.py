"""Reads the secrets that a configuration names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from signalbox.config_lines import KeyPath
from signalbox.config_report import ConfigError, Report
from signalbox.config_schema import SecretSource
from signalbox.config_source import read_text
from signalbox.types import Secret

MAX_SECRET_CHARS = 8192
"""What common HTTP servers take as one header field."""

PLAIN_SECRET = "a secret in the configuration itself is for trials only"


class SecretReader(msgspec.Struct, frozen=True):
    """Finds secrets in the environment and in files; a relative path starts at `folder`."""

    environ: Mapping[str, str]
    folder: Path
    report: Report

    def read(self, source: SecretSource, path: KeyPath) -> Secret | None:
        """The secret; None when a mistake was reported. `path` is the table's own."""
        given = [name for name in ("env", "file", "value") if getattr(source, name) is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none of them"
            self.report.mistake(path, f"expected one of env, file and value, got {got}")
            return None
        path = (*path, given[0])
        origin = ""
        if source.env is not None:
            text = self.environ.get(source.env, "")
            if not text.strip():
                self.report.mistake(path, f"{_variable(source.env)} is not set")
                return None
            origin = f"in {_variable(source.env)} "
        elif source.file is not None:
            try:
                text = read_text(self.folder / source.file, "the file")
            except ConfigError as error:
                self.report.mistake(path, str(error))
                return None
        else:
            text = source.value or ""
            self.report.warn(path, PLAIN_SECRET)
        return self.plain(text.strip(), path, origin)

    def plain(self, text: str, path: KeyPath, origin: str = "") -> Secret | None:
        """The text as a secret; None, and a mistake, where no HTTP header could carry it."""
        if not _fits_a_header(text):
            limits = f"1 to {MAX_SECRET_CHARS} printable ASCII characters"
            self.report.mistake(path, f"expected {origin}one line of {limits}")
            return None
        return Secret(text)


def _variable(name: str) -> str:
    """Names it where it looks like a variable's name: a key may have been put there instead."""
    shown = f" {name}" if re.fullmatch(r"[A-Z][A-Z0-9_]*", name) else ""
    return f"the environment variable{shown}"


def _fits_a_header(text: str) -> bool:
    return 0 < len(text) <= MAX_SECRET_CHARS and text.isascii() and text.isprintable()


def masked(secret: Secret) -> str:
    """The last four characters, as people recognise a key; none of a short one."""
    text = secret.reveal()
    return f"…{text[-4:]}" if len(text) >= 12 else "…"
