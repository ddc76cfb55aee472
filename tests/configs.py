"""Configurations for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from signalbox.config import ConfigError, Settings, load_settings

CANARY = "sk-canary-0123456789abcdef"
"""A secret that must show up nowhere."""

LOCAL = 'providers.local = { base_url = "http://127.0.0.1:1", keys = [] }\n'
ROUTE = '{ provider = "local", model = "m" }'


def load(
    folder: Path, toml: str | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    if toml is not None:
        (folder / "signalbox.toml").write_text(toml, encoding="utf-8")
    return load_settings(None, environ or {}, folder)


def mistakes(
    folder: Path, toml: str | None = None, environ: Mapping[str, str] | None = None
) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, toml, environ)
    return str(caught.value)
