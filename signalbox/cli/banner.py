"""What a start tells: where it listens, which keys were found, what can be pasted."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from signalbox import __version__
from signalbox.adapters.catalogue import vendor_id
from signalbox.adapters.models import ModelTable
from signalbox.config import DEMO_PROVIDER, ProviderSettings, Settings
from signalbox.types import ModelPlan

EXAMPLES = {
    "openai": "gpt-4o-mini",
    "anthropic": "claude-haiku-4-5",
    "google": "gemini-2.5-flash-lite",
    "mistral": "mistral-small-latest",
    "groq": "llama-3.1-8b-instant",
    "deepseek": "deepseek-chat",
}
"""A small model of each provider that most keys may call, for the lines to paste."""

TERMINAL_COLUMNS = 100


class Banner(msgspec.Struct, frozen=True):
    settings: Settings
    models: ModelTable
    port: int
    login_code: str
    key: str | None
    """The gateway key, where it may be shown: only at the start that made it, on a terminal."""
    key_file: Path | None
    """The file that holds a gateway key, where there is one."""
    admin_token_file: Path | None

    def lines(self) -> list[str]:
        return [
            f"Signalbox {__version__} listens on {self._origin}",
            "",
            *self._providers(),
            *self._keys(),
            f"Log in once   {self._origin}/login?code={self.login_code}",
            "",
            *self._snippets(),
        ]

    @property
    def _origin(self) -> str:
        host = self.settings.server.host
        if host in ("0.0.0.0", "::"):
            host = "127.0.0.1"
        scheme = "http" if self.settings.server.certfile is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    def _providers(self) -> list[str]:
        usable = [p for p in self.settings.providers.values() if p.usable]
        lines = [f"Provider      {_described(provider)}" for provider in usable]
        return lines + _wrapped("Keys not set  ", ", ".join(enabling_variables(self.settings)))

    def _keys(self) -> list[str]:
        if self.key is not None:
            lines = [f"Gateway key   {self.key} (shown this once, kept in {self.key_file})"]
        elif self.key_file is not None:
            lines = [f"Gateway key   in {self.key_file}"]
        else:
            lines = ["Gateway key   one of yours; `signalbox keys create NAME` makes another"]
        if self.admin_token_file is None:
            lines.append("Admin token   the one in SIGNALBOX_ADMIN_TOKEN")
        else:
            lines.append(f"Admin token   in {self.admin_token_file}")
        return lines

    def _snippets(self) -> Sequence[str]:
        model = self._example_model()
        if model is None:
            return ["`signalbox check` shows which models can be called."]
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
        return [
            "Try it in another terminal:"
            if not self._key_is_elsewhere
            else "Try it in another terminal, with a key in GATEWAY_KEY:",
            "",
            f"curl {self._origin}/v1/chat/completions \\",
            f'  -H "Authorization: Bearer {self._shell_key()}" \\',
            '  -H "Content-Type: application/json" \\',
            f"  -d {shlex.quote(body)}",
            "",
            "or in Python, with `pip install openai`:",
            "",
            *(["import os", ""] if self._key_is_elsewhere else []),
            "from openai import OpenAI",
            "",
            "client = OpenAI(",
            f'    base_url="{self._origin}/v1",',
            f"    api_key={self._python_key()},",
            ")",
            "answer = client.chat.completions.create(",
            f'    model={json.dumps(model)}, messages=[{{"role": "user", "content": "Hello"}}]',
            ")",
            "print(answer.choices[0].message.content)",
        ]

    def _example_model(self) -> str | None:
        for name in self._candidates():
            if isinstance(self.models.resolve(name), ModelPlan):
                return name
        return None

    def _candidates(self) -> Iterator[str]:
        """The likely ones first: to find what is near a name that is none takes 50 ms."""
        yield from (name for name in self.settings.models if "*" not in name)
        usable = {vendor_id(p.name) for p in self.settings.providers.values() if p.usable}
        yield from (f"{name}/{EXAMPLES[name]}" for name in EXAMPLES if name in usable)
        yield from (entry.id for entry in self.models.listing())
        yield from (f"{name}/{EXAMPLES[name]}" for name in EXAMPLES)

    @property
    def _key_is_elsewhere(self) -> bool:
        """Whether the key is only known to whoever made it; the lines read `GATEWAY_KEY`."""
        return self.key is None and self.key_file is None

    # The file's path is absolute in what is pasted: the other terminal is in another folder.

    def _shell_key(self) -> str:
        if self.key is not None:
            return self.key
        if self.key_file is not None:
            return f"$(cat {shlex.quote(str(self.key_file.absolute()))})"
        return "$GATEWAY_KEY"

    def _python_key(self) -> str:
        if self.key is not None:
            return f'"{self.key}"'
        if self.key_file is not None:
            return f"open({json.dumps(str(self.key_file.absolute()))}).read().strip()"
        return 'os.environ["GATEWAY_KEY"]'


def nothing_to_call(settings: Settings) -> str:
    """Why a gateway of this configuration could answer nobody, and what would change that."""
    lines = ["no provider can be called, so no request could be answered."]
    variables = enabling_variables(settings)
    if variables:
        lines += _wrapped("Set the key of a provider: ", ", ".join(variables))
    else:
        lines.append("Give a provider of the configuration a key.")
    lines.append("Or try it without any key: `signalbox serve --demo` answers from a simulator.")
    return "\n".join(lines)


def enabling_variables(settings: Settings) -> list[str]:
    """Key variables that would make a further provider callable."""
    return [key.variable for key in settings.found_keys if key.would_enable]


def _described(provider: ProviderSettings) -> str:
    if provider.name == DEMO_PROVIDER:
        return f"{provider.name} at {provider.base_url}: its answers are made up"
    keys = [key for key in provider.keys if key.needed]
    count = {0: "no key needed", 1: "1 key"}.get(len(keys), f"{len(keys)} keys")
    return f"{provider.name} at {provider.base_url}, {count}"


def _wrapped(label: str, text: str) -> list[str]:
    if not text:
        return []
    return textwrap.wrap(
        text, TERMINAL_COLUMNS, initial_indent=label, subsequent_indent=" " * len(label)
    )
