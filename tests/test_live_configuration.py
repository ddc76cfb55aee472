"""Another configuration takes the place of the one in force, whole, while requests go on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from signalbox.cli import main
from signalbox.persistence.record_store import Delete, Insert
from signalbox.persistence.records import ConfigEntryRecord
from signalbox.persistence.sqlite import SqliteStore
from signalbox.simulator import Step
from tests import records
from tests.configs import LOCAL
from tests.gateway import (
    Gateway,
    Provider,
    config_for,
    eventually,
    gateway,
    simulated_provider,
)
from tests.simulator_client import chat

READ_ANEW = "the configuration was read anew"
AS_IT_WAS = "the configuration is as it was"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with simulated_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def other() -> Iterator[Provider]:
    with simulated_provider("other") as provider:
        yield provider


def file_of(running: Gateway) -> Path:
    return running.log.parent / "signalbox.toml"


def reload(running: Gateway, config: str, told: str = READ_ANEW) -> None:
    """Changes the file and sends the signal, as often as that is told."""
    before = running.output.count(told)
    file_of(running).write_text(config, encoding="utf-8")
    running.process.send_signal(signal.SIGHUP)
    eventually(lambda: running.output.count(told), lambda count: count > before)


def models(running: Gateway) -> set[str]:
    return {model.id for model in running.client().models.list()}


def status(running: Gateway, model: str) -> int:
    return running.post(chat(model=model)).status_code


@contextmanager
def opened(running: Gateway) -> Iterator[SqliteStore]:
    with closing(SqliteStore.open(running.data_dir / "signalbox.db")) as store:
        yield store


def entry(name: str, provider: str, **more: object) -> ConfigEntryRecord:
    route = {"provider": provider, "model": "m", **more}
    return ConfigEntryRecord("models", name, {"routes": [route]}, 1, 1.0)


def test_a_hangup_puts_the_file_in_force_as_it_is_now(provider: Provider, other: Provider) -> None:
    provider.plays()
    other.plays()
    with gateway(config_for(provider)) as running:
        assert status(running, "m") == 200
        assert status(running, "new") == 404
        more = (
            '[models.new]\nroutes = [{ provider = "other", model = "m" }]\n[limits]\nrpm = 1000\n'
        )
        reload(running, config_for(other, more=more))
        assert status(running, "m") == 200
        assert status(running, "new") == 200
        assert len(provider.received()) == 1
        assert [r["key"] for r in other.received()] == ["sk-other-1"] * 2
        assert {"m", "new"} <= models(running)


def test_a_bad_file_changes_nothing_and_says_why(provider: Provider) -> None:
    provider.plays()
    with gateway(config_for(provider)) as running:
        bad = config_for(provider) + '\n[models.broken]\nroutes = [{ provder = "primary" }]\n'
        reload(running, bad, AS_IT_WAS)
        assert "models.broken.routes[0].provder: there is no such key" in running.output
        reload(running, "[", AS_IT_WAS)
        assert status(running, "m") == 200


def test_requests_under_way_end_with_what_they_began_with(
    provider: Provider, other: Provider
) -> None:
    # It breaks after the change, and goes on at the provider that is configured no longer.
    slow = Step(text="one two three four five six", token_delay=0.3, cut_after=4)
    provider.plays(slow)
    other.plays(Step(text="one two three four five six"))
    with gateway(config_for(provider, other)) as running:
        stream = running.client().chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        pieces = (c.choices[0].delta.content or "" for c in stream if c.choices)
        begun = next(piece for piece in pieces if piece)
        reload(running, config_for(provider))
        assert begun + "".join(pieces) == "one two three four five six"
        assert len(other.received()) == 1
        provider.plays(Step(status=503), then="repeat_last")
        assert status(running, "m") == 503
        assert len(other.received()) == 1


def test_what_needs_a_restart_is_told(provider: Provider) -> None:
    with gateway(config_for(provider)) as running:
        reload(running, config_for(provider, more="[server]\nport = 1\ndrain_seconds = 5\n"))
        # The port is the command line's.
        assert "server.drain_seconds: changed, and takes effect with a restart" in running.output


def test_a_model_of_the_database_comes_and_goes_without_a_restart(provider: Provider) -> None:
    provider.plays()
    with gateway(config_for(provider)) as running, opened(running) as store:
        added = entry("of-the-database", "primary")
        records.insert(store, added)
        eventually(lambda: status(running, "of-the-database"), lambda found: found == 200)
        assert "of-the-database" in models(running)
        store.change([Delete(added)], records.audit("delete"))
        eventually(lambda: status(running, "of-the-database"), lambda found: found == 404)
        assert status(running, "m") == 200


def test_a_bad_entry_of_the_database_changes_nothing_and_says_why(provider: Provider) -> None:
    provider.plays()
    with gateway(config_for(provider)) as running, opened(running) as store:
        store.change([Insert(entry("bad", "nowhere"))], records.audit())
        eventually(lambda: running.output, lambda text: 'no provider "nowhere"' in text)
        assert "the configuration: as before" in running.output
        assert status(running, "m") == 200
        # A hangup names it as well.
        reload(running, config_for(provider), AS_IT_WAS)


def test_a_start_over_a_bad_entry_says_how_to_take_it_out(
    provider: Provider, tmp_path: Path
) -> None:
    with closing(SqliteStore.open(tmp_path / "signalbox.db")) as store:
        records.insert(store, entry("bad", "nowhere"))
    with (
        pytest.raises(AssertionError, match="signalbox config remove"),
        gateway(config_for(provider), data_dir=tmp_path),
    ):
        pass


def test_the_command_line_shows_and_removes_entries(tmp_path: Path) -> None:
    (tmp_path / "signalbox.toml").write_text(LOCAL)
    with closing(SqliteStore.open(tmp_path / "signalbox.db")) as store:
        records.insert(store, entry("chat", "local"), entry("bad", "nowhere"))
    place = ["--config", str(tmp_path / "signalbox.toml"), "--data-dir", str(tmp_path)]

    def cli(*arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, *place])

    refused = cli("check")
    assert refused.exit_code == 2
    assert 'the database: models.bad.routes[0].provider: no provider "nowhere"' in refused.stderr
    assert "models" in cli("config", "list").stdout
    assert cli("config", "remove", "models", "bad").exit_code == 0
    again = cli("config", "remove", "models", "bad")
    assert again.exit_code == 1
    assert "there is no entry 'bad' in models" in again.stderr
    assert "chat" in cli("check").stdout
    with closing(SqliteStore.open(tmp_path / "signalbox.db")) as store:
        [audit, _] = store.audit(limit=2)
    assert (audit.actor, audit.action, audit.kind, audit.target) == (
        "command line",
        "delete",
        "model",
        "bad",
    )
    assert audit.before["document"]["routes"][0]["provider"] == "nowhere"


def test_two_gateways_on_one_database_follow_the_same_changes(
    provider: Provider, tmp_path: Path
) -> None:
    provider.plays()
    config = config_for(provider)
    with (
        gateway(config, data_dir=tmp_path) as first,
        gateway(config, data_dir=tmp_path) as second,
        opened(first) as store,
    ):
        records.insert(store, entry("shared", "primary"))
        for running in (first, second):
            eventually(lambda: status(running, "shared"), lambda found: found == 200)  # noqa: B023
