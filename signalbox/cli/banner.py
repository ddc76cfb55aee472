"""What a start tells: where it listens, which keys were found, what can be pasted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from signalbox import __version__
from signalbox.adapters.models import ModelTable
from signalbox.config import Settings
from signalbox.types import ModelPlan

EXAMPLES = {
    "openai": "gpt-4o-mini",
    "mistral": "mistral-small-latest",
    "groq": "llama-3.1-8b-instant",
    "deepseek": "deepseek-chat",
}
"""A small model of each provider that most keys may call, for the lines to paste."""


@dataclass(frozen=True, slots=True)
class Banner:
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
            f"Login         {self._origin}/login?code={self.login_code} (works once, for an hour)",
            "",
            *self._snippets(),
        ]

    @property
    def _origin(self) -> str:
        host = self.settings.server.host
        if host in ("0.0.0.0", "::"):
            host = "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def _providers(self) -> list[str]:
        usable = [p for p in self.settings.providers.values() if p.usable]
        lines = [f"Provider      {p.name} at {p.base_url}, {_count(len(p.keys))}" for p in usable]
        idle = [k.variable for k in self.settings.found_keys if k.found and not k.usable]
        if idle:
            lines.append(f"Found, unused {', '.join(idle)}: not usable in this version")
        missing = [k.variable for k in self.settings.found_keys if not k.found]
        if missing:
            lines.append(f"Not set       {', '.join(missing)}")
        return lines

    def _keys(self) -> list[str]:
        lines = []
        if self.key is not None:
            lines.append(f"Gateway key   {self.key} (shown once; {self.key_file} holds it)")
        elif self.key_file is not None:
            lines.append(f"Gateway key   in {self.key_file}")
        else:
            lines.append("Gateway key   one of yours; `signalbox keys create NAME` makes another")
        if self.admin_token_file is not None:
            lines.append(f"Admin token   in {self.admin_token_file}")
        return lines

    def _snippets(self) -> Sequence[str]:
        model = self._example_model()
        if model is None:
            return ["No model can be called: set a provider's key, or start with --demo."]
        message = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
        return [
            "Try it:",
            "",
            f"curl {self._origin}/v1/chat/completions \\",
            f'  -H "Authorization: Bearer {self._shell_key()}" \\',
            '  -H "Content-Type: application/json" \\',
            f"  -d '{message}'",
            "",
            "from openai import OpenAI",
            "",
            f'client = OpenAI(base_url="{self._origin}/v1", api_key={self._python_key()})',
            "answer = client.chat.completions.create(",
            f'    model="{model}", messages=[{{"role": "user", "content": "Hello"}}]',
            ")",
            "print(answer.choices[0].message.content)",
        ]

    def _example_model(self) -> str | None:
        candidates = [name for name in self.settings.models if "*" not in name]
        candidates += [f"{name}/{EXAMPLES[name]}" for name in EXAMPLES]
        candidates += [entry.id for entry in self.models.listing()]
        for name in candidates:
            if isinstance(self.models.resolve(name), ModelPlan):
                return name
        return None

    def _shell_key(self) -> str:
        if self.key is not None:
            return self.key
        if self.key_file is not None:
            return f"$(cat {shlex.quote(str(self.key_file))})"
        return "$SIGNALBOX_KEY"

    def _python_key(self) -> str:
        if self.key is not None:
            return f'"{self.key}"'
        if self.key_file is not None:
            return f'open("{self.key_file}").read().strip()'
        return 'os.environ["SIGNALBOX_KEY"]'


def _count(keys: int) -> str:
    return "1 key" if keys == 1 else f"{keys} keys"
