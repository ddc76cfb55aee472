"""`signalbox import litellm`: what it writes, prints and refuses."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from signalbox.cli import main
from tests.gateway import clean_environ

Cli = Callable[..., Result]

CONFIG = """
model_list:
- model_name: chat
  litellm_params: {model: openai/gpt-4o, api_key: sk-canary-0123456789}
- model_name: chat
  litellm_params: {model: groq/llama, api_key: os.environ/GROQ_API_KEY}
- model_name: azure
  litellm_params: {model: azure/d, api_base: "https://r.openai.azure.com", api_key: os.environ/A}
  model_info: {base_model: azure/gpt-4o}
litellm_settings:
  fallbacks: [{chat: [azure]}]
  callbacks: [otel]
"""


@pytest.fixture(autouse=True)
def _nothing_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and none of the machine's own settings."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - clean_environ().keys():
        monkeypatch.delenv(name)
    (tmp_path / "config.yaml").write_text(CONFIG)


@pytest.fixture
def cli() -> Cli:
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, catch_exceptions=False)

    return invoke


def test_what_is_written_is_a_configuration_that_the_check_accepts(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = cli("import", "litellm", "config.yaml")
    assert told.exit_code == 0
    assert "signalbox.toml is written" in told.output
    text = Path("signalbox.toml").read_text()
    assert "canary" not in text + told.output
    assert Path("signalbox.toml").stat().st_mode & 0o777 == 0o600
    for name in ("OPENAI_API_KEY", "GROQ_API_KEY", "A"):
        monkeypatch.setenv(name, "sk-0123456789abcdef")
    checked = cli("check")
    assert checked.exit_code == 0, checked.output
    assert "openai:gpt-4o" in checked.output
    assert "2.5 / 10" in checked.output  # what the catalogue has of the base model


def test_the_report_begins_with_counts_and_names_what_is_to_be_done(cli: Cli) -> None:
    lines = cli("import", "litellm", "config.yaml").output.splitlines()
    assert lines[0] == (
        "21 keys: 18 carried over, 2 carried over with a difference, 1 not carried over"
    )
    assert lines[2:4] == [
        "to do before the start (1):",
        "  config.yaml:4: set OPENAI_API_KEY to the value of model_list[0].litellm_params.api_key",
    ]
    assert "not carried over (1):" in lines
    assert any(
        line.startswith("  config.yaml:12: litellm_settings.callbacks: there are no")
        for line in lines
    )
    assert "  The file reads variables that are not set here: A, GROQ_API_KEY." in lines
    assert "carried over (18):" not in lines


def test_the_report_file_has_every_key(cli: Cli) -> None:
    cli("import", "litellm", "config.yaml", "--report", "report.txt")
    report = Path("report.txt").read_text()
    assert "carried over (18):" in report
    assert "config.yaml:6: model_list[1].litellm_params.model\n" in report


def test_what_is_there_already_is_not_replaced(cli: Cli) -> None:
    Path("signalbox.toml").write_text("mine")
    told = cli("import", "litellm", "config.yaml")
    assert told.exit_code == 1
    assert "signalbox.toml is there already; --force replaces it" in told.output
    assert Path("signalbox.toml").read_text() == "mine"
    assert cli("import", "litellm", "config.yaml", "--force").exit_code == 0
    assert "[providers.openai]" in Path("signalbox.toml").read_text()


def test_a_dry_run_writes_nothing(cli: Cli) -> None:
    told = cli("import", "litellm", "config.yaml", "--dry-run", "--report", "report.txt")
    assert told.exit_code == 0
    assert "nothing was written." in told.output
    assert [each.name for each in Path().iterdir()] == ["config.yaml"]


def test_the_configuration_alone_goes_to_a_pipe(cli: Cli) -> None:
    told = cli("import", "litellm", "config.yaml", "--output", "-")
    assert told.stdout.startswith("# Made by `signalbox import litellm` from config.yaml.")
    assert "keys:" not in told.stdout
    assert "21 keys:" in told.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model_list: [", "signalbox: config.yaml:1: is no YAML"),
        ("a: 1\na: 2\n", 'signalbox: config.yaml:2: has "a" twice in one mapping\n'),
        ("include: [other.yaml]", "signalbox: other.yaml cannot be read: No such file"),
        (
            'include: "a\\0b"',
            "signalbox: a\ufffdb cannot be read: it has no name that a file can have",
        ),
    ],
)
def test_mistakes_end_the_command_with_their_place(cli: Cli, text: str, expected: str) -> None:
    Path("config.yaml").write_text(text)
    told = cli("import", "litellm", "config.yaml")
    assert told.exit_code == 2
    assert told.output.startswith(expected)
    assert not Path("signalbox.toml").exists()


def test_included_files_lie_beside_the_configuration(cli: Cli) -> None:
    folder = Path("etc")
    folder.mkdir()
    (folder / "config.yaml").write_text("include: models.yaml")
    (folder / "models.yaml").write_text(CONFIG)
    told = cli("import", "litellm", "etc/config.yaml")
    assert told.exit_code == 0, told.output
    assert "[models.chat]" in Path("signalbox.toml").read_text()


def test_a_file_that_is_not_there_is_named(cli: Cli) -> None:
    told = cli("import", "litellm", "nowhere.yaml")
    assert told.exit_code == 2
    assert told.output == "signalbox: nowhere.yaml cannot be read: No such file or directory\n"


def test_names_of_the_configuration_do_not_steer_the_terminal(cli: Cli) -> None:
    Path("config.yaml").write_text('model_list: []\n"\\e[31mred\\n": 1\n')
    told = cli("import", "litellm", "config.yaml")
    assert "\x1b" not in told.output
    assert "is not a setting" in told.output
