"""The `llm` command line tool, with the gateway as one of its `extra-openai-models`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FUNCTION = """
def weather(city: str) -> str:
    "The weather in a city"
    return "rain in " + city
"""


def main() -> None:
    given = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        models = (
            "- model_id: gateway\n"
            f"  model_name: {given['model']}\n"
            f"  api_base: {given['url']}/v1\n"
            "  api_key_name: gateway\n"
            "  supports_tools: true\n"
        )
        (Path(folder) / "extra-openai-models.yaml").write_text(models)
        (Path(folder) / "keys.json").write_text(json.dumps({"gateway": given["key"]}))
        environ = os.environ | {"LLM_USER_PATH": folder}
        command = [str(Path(sys.executable).parent / "llm"), "-m", "gateway"]

        def llm(*arguments: str) -> str:
            done = subprocess.run(
                [*command, *arguments],
                env=environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        told = {
            "text": llm("--no-stream", "hello"),
            "stream": [llm("hello")],
            "tools": llm("--functions", FUNCTION, "what is the weather?"),
        }
    json.dump(told, sys.stdout)


main()
