"""LiteLLM's proxy, as its documentation recommends for production: one uvicorn worker a core, mode
PRODUCTION, errors alone logged, a master key. Without a database: no virtual keys, no spend log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import wire
from benchmarks.bed import ROOT, Bed, free_port, install
from benchmarks.servers.base import Ask, NotServed, Running, installed_version

HOME = ROOT / ".venv-bench-litellm"
MASTER_KEY = "sk-benchmark-0123456789"

MODELS = {
    "now": ("openai/gpt-4o-mini", "now", "/v1"),
    "slow": ("openai/gpt-4o-mini", "slow", "/v1"),
    "paced": ("openai/gpt-4o-mini", "paced", "/v1"),
    "anthropic": ("anthropic/claude-sonnet-4-20250514", "now", ""),
    "anthropic-paced": ("anthropic/claude-sonnet-4-20250514", "paced", ""),
    # It appends `:generateContent` to an address of one's own.
    "gemini": ("gemini/gemini-2.5-flash", "now", "/v1beta/models/gemini-2.5-flash"),
    "gemini-paced": ("gemini/gemini-2.5-flash", "paced", "/v1beta/models/gemini-2.5-flash"),
}


class LiteLLM:
    name = "litellm"
    conditions = (
        "one uvicorn worker, `LITELLM_MODE=PRODUCTION`, `LITELLM_LOG=ERROR`, a master key, its own "
        "list of prices; no database, so no virtual keys, budgets or spend log (its documentation: "
        "Production Best Practices)"
    )

    def install(self) -> None:
        install(self.name)

    def version(self) -> str:
        return installed_version(HOME, "litellm")

    @contextmanager
    def running(self, bed: Bed) -> Iterator[Running]:
        port = free_port()
        config = bed.folder / f"litellm-{port}.yaml"
        # JSON is YAML.
        config.write_text(json.dumps(self._configuration(bed)))
        command: list[str | Path] = [
            HOME / "bin/litellm",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        command += ["--config", config, "--num_workers", "1", "--telemetry", "False"]
        environ = {
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would fetch the list otherwise
            "NO_DOCS": "True",
        }
        with bed.process(command, environ=environ) as process:
            bed.wait_for(process, f"http://127.0.0.1:{port}/health/readiness")
            yield Running([port], [process.pid], [])

    def _configuration(self, bed: Bed) -> dict[str, object]:
        models = [
            {
                "model_name": lane,
                "litellm_params": {
                    "model": model,
                    "api_base": bed.upstream(behaviour) + path,
                    "api_key": "sk-benchmark-provider",
                },
            }
            for lane, (model, behaviour, path) in MODELS.items()
        ]
        settings = {"request_timeout": 600, "set_verbose": False, "num_retries": 0}
        return {
            "model_list": models,
            "general_settings": {"master_key": MASTER_KEY},
            "litellm_settings": settings,
        }

    def requests(self, bed: Bed, ask: Ask) -> list[bytes]:
        if ask.lane not in MODELS:
            raise NotServed("not set up for it")
        body = wire.chat_body(ask.lane, stream=ask.stream, prompt=ask.prompt)
        headers = {"authorization": f"Bearer {MASTER_KEY}"}
        return [wire.http_request("/v1/chat/completions", body, headers)]
