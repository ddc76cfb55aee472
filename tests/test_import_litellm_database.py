"""LiteLLM's virtual keys in its own database, and clients that go on with them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from click.testing import CliRunner, Result

from signalbox.cli import main
from signalbox.cli.litellm_database import DatabaseError, read_database
from signalbox.persistence.records import AuditRecord, BudgetRecord, GatewayKeyRecord
from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.stores import SpendingQuery
from tests import litellm_tables as tables
from tests import postgres
from tests.gateway import clean_environ, gateway, simulated_provider
from tests.litellm_tables import insert, insert_key
from tests.servers import PrivateServer

pytestmark = pytest.mark.system

Cli = Callable[..., Result]

CONFIG = """
model_list:
- model_name: m
  litellm_params: {{model: openai/m, api_base: "{url}", api_key: os.environ/UPSTREAM_KEY}}
  model_info: {{access_groups: [beta], input_cost_per_token: 1e-6, output_cost_per_token: 1e-6}}
- model_name: other
  litellm_params: {{model: openai/other, api_base: "{url}", api_key: os.environ/UPSTREAM_KEY}}
"""
KEY = "sk-litellm-key-0123456789"
ENVIRON = {"UPSTREAM_KEY": "sk-upstream-0123456789"}


@pytest.fixture(scope="module")
def litellm_tables(postgres_server: PrivateServer) -> postgres.Database:
    database = postgres.new_database(postgres_server)
    tables.make_tables(database)
    return database


@pytest.fixture
def litellm(litellm_tables: postgres.Database) -> Iterator[postgres.Database]:
    """LiteLLM's database, empty."""
    yield litellm_tables
    tables.empty(litellm_tables)


@pytest.fixture(autouse=True)
def _nothing_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - clean_environ().keys():
        monkeypatch.delenv(name)
    (tmp_path / "config.yaml").write_text(CONFIG.format(url="http://127.0.0.1:9/v1"))


@pytest.fixture
def cli(litellm: postgres.Database) -> Cli:
    def invoke(*arguments: str) -> Result:
        command = ["import", "litellm", "config.yaml", "--database-url", litellm.url, *arguments]
        return CliRunner().invoke(main, command, catch_exceptions=False)

    return invoke


def kept(kind: type[Any], path: str = "data/signalbox.db") -> list[Any]:
    with closing(SqliteStore.open(Path(path))) as store:
        return store.records(kind)


def utc(**ahead: int) -> datetime:
    """A time as Prisma writes it: of UTC, without saying so."""
    return (datetime.now(UTC) + timedelta(**ahead)).replace(tzinfo=None)  # noqa: TID251 - of rows


# What is read


def test_a_key_is_read_with_what_belongs_to_it(litellm: postgres.Database) -> None:
    insert(litellm, "TeamTable", team_id="t1", team_alias="blue", models=["m"], spend=2.5)
    insert(litellm, "BudgetTable", budget_id="b1", max_budget=7, rpm_limit=3)
    insert(litellm, "ProxyModelTable", model_id="1", model_name="stored", litellm_params={"k": "x"})
    insert(litellm, "EndUserTable", user_id="u")
    insert_key(
        litellm,
        KEY,
        key_alias="mine",
        spend=0.1,
        expires=datetime(2040, 1, 2, 3, 4, 5),  # noqa: DTZ001 - as Prisma writes it
        models=["m"],
        team_id="t1",
        budget_id="b1",
        tpm_limit=9,
        aliases={"a": "b"},
        metadata={"tags": ["x"], "guardrails": ["g"], "empty": []},
        model_max_budget={},
    )
    database = read_database(litellm.url)
    [token] = database.tokens
    assert (token.token, token.alias, token.shown) == (tables.hashed(KEY), "mine", "sk-...6789")
    assert token.spend == Decimal("0.1")
    assert token.expires_at == datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    assert (token.limits.tpm, token.tags) == (9, ("x",))
    assert token.others == ("aliases", "metadata.guardrails")
    assert database.teams["t1"].name == "blue"
    assert database.budgets["b1"].max_budget == 7
    assert database.models == ("stored",)
    assert database.others["end users with settings of their own"] == 1


def test_columns_that_a_version_has_not_are_not_asked_for(postgres_server: PrivateServer) -> None:
    database = postgres.new_database(postgres_server)
    tables.make_tables(database, tables.OLD_TABLES)
    insert(database, "VerificationToken", token=tables.hashed(KEY), models=["m"])
    [token] = read_database(database.url).tokens
    assert (token.models, token.limits.rpm, token.alias) == (("m",), None, None)


def test_prisma_s_own_parameters_are_understood(postgres_server: PrivateServer) -> None:
    database = postgres.new_database(postgres_server)
    tables.make_tables(database, tables.OLD_TABLES, schema="proxy")
    insert(database, "VerificationToken", schema="proxy", token=tables.hashed(KEY))
    url = f"{database.url}?schema=proxy&connection_limit=5&pgbouncer=true&connect_timeout=3"
    assert len(read_database(url).tokens) == 1
    with pytest.raises(DatabaseError, match="there is no table LiteLLM_VerificationToken there"):
        read_database(database.url)


def test_reading_needs_no_right_to_write(litellm: postgres.Database) -> None:
    insert_key(litellm, KEY)
    with litellm.by_hand() as superuser:
        superuser.execute("CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA public TO reader")
        superuser.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    assert len(read_database(litellm.url.replace("signalbox@", "reader@")).tokens) == 1


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:canary@h/d",
        "postgresql://u:canary@h",
        "postgresql://u:can@ary@h/d/e",
        "postgresql://u:canary@h:port/d",
        "canary",
        "postgresql://u:canary@127.0.0.1:1/d?sslmode=disable",
        "postgresql://u:canary@127.0.0.1:1/d?sslmode=no",
    ],
)
def test_no_error_holds_the_password(url: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        read_database(url)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


# What is added


def test_keys_limits_budgets_and_tags(cli: Cli, litellm: postgres.Database) -> None:
    insert(litellm, "TeamTable", team_id="t1", team_alias="blue", max_budget=50, spend=30.0)
    insert_key(
        litellm,
        KEY,
        key_alias="mine",
        team_id="t1",
        models=["beta"],
        rpm_limit=10,
        tpm_limit=1000,
        max_parallel_requests=3,
        max_budget=20,
        budget_duration="30d",
        spend=12.5,
        metadata={"tags": ["prod"]},
        expires=utc(days=30),
    )
    insert_key(litellm, KEY + "2", key_alias="mine", blocked=True)
    told = cli()
    assert told.exit_code == 0, told.output
    first, second = kept(GatewayKeyRecord)
    assert (first.name, first.prefix, first.rpm, first.tpm, first.concurrency) == (
        "mine",
        "sk-…6789",
        10,
        1000,
        3,
    )
    assert (first.models, first.tags, first.enabled) == (("m",), ("team:blue", "prod"), True)
    assert first.expires_at is not None
    assert (second.name, second.enabled, second.models) == ("mine-2", False, ())
    of_key, of_team = sorted(kept(BudgetRecord), key=lambda budget: budget.scope)
    assert (of_key.scope, of_key.subject, of_key.limit, of_key.period, of_key.hard) == (
        "key",
        first.id,
        20 * 10**9,
        "month",
        True,
    )
    assert (of_team.scope, of_team.subject, of_team.limit, of_team.period) == (
        "tag",
        "team:blue",
        50 * 10**9,
        "total",
    )
    with closing(SqliteStore.open(Path("data/signalbox.db"))) as store:
        spent = store.spent(
            [SpendingQuery("key", first.id, 0.0), SpendingQuery("tag", "team:blue", 0.0)]
        )
        audit = store.audit(limit=10)
    assert spent == [12_500_000_000, 30_000_000_000]
    assert {(each.action, each.actor) for each in audit} == {("import", "command line")}
    assert tables.hashed(KEY) not in "".join(str(each.after) for each in audit)
    assert "gateway keys: 2 added, 0 there already; budgets: 2 added" in told.output
    assert "  disabled: they are blocked: mine-2" in told.output


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_a_second_import_changes_nothing_and_says_so(cli: Cli, litellm: postgres.Database) -> None:
    insert(litellm, "TeamTable", team_id="t1", team_alias="blue", max_budget=50, spend=1.0)
    insert_key(litellm, KEY, key_alias="mine", team_id="t1", max_budget=5, spend=2.0)
    cli()
    before = dump(Path("data/signalbox.db"))
    told = cli()
    assert told.exit_code == 0, told.output
    assert "gateway keys: 0 added, 1 there already; budgets: 0 added" in told.output
    assert "  there already: mine" in told.output
    assert "signalbox.toml is as it was" in told.output
    assert dump(Path("data/signalbox.db")) == before


def test_an_import_that_was_cut_off_is_ended_by_another(
    cli: Cli, litellm: postgres.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        insert_key(
            litellm,
            f"{KEY}{number}",
            key_alias=f"key {number}",
            max_budget=5,
            spend=1.0,
            created_at=utc(days=number - 10),
        )

    class CutOff(Exception):
        """Stands for the end of the process."""

    change, calls = SqliteStore.change, iter(range(10))

    def until_the_second(store: SqliteStore, changes: Any, audit: AuditRecord) -> None:
        if next(calls) == 1:
            raise CutOff
        change(store, changes, audit)

    with monkeypatch.context() as patched:
        patched.setattr(SqliteStore, "change", until_the_second)
        with pytest.raises(CutOff):
            cli()
    assert [key.name for key in kept(GatewayKeyRecord)] == ["key 0"]
    assert cli().exit_code == 0
    assert [key.name for key in kept(GatewayKeyRecord)] == ["key 0", "key 1", "key 2"]
    assert len(kept(BudgetRecord)) == 3
    with closing(SqliteStore.open(Path("data/signalbox.db"))) as store:
        assert store.spent([SpendingQuery("global", None, 0.0)]) == [3 * 10**9]


def test_a_dry_run_writes_nothing_and_says_what_it_would_do(
    cli: Cli, litellm: postgres.Database, tmp_path: Path
) -> None:
    insert_key(litellm, KEY, key_alias="one")
    told = cli("--dry-run")
    assert told.exit_code == 0, told.output
    assert "gateway keys: 1 would be added, 0 there already" in told.output
    assert [each.name for each in tmp_path.iterdir()] == ["config.yaml"]

    cli()
    insert_key(litellm, KEY + "2", key_alias="two")
    before = dump(Path("data/signalbox.db"))
    told = cli("--dry-run")
    assert "gateway keys: 1 would be added, 1 there already" in told.output
    assert dump(Path("data/signalbox.db")) == before


def test_keys_go_where_a_configuration_says(cli: Cli, litellm: postgres.Database) -> None:
    Path("mine.toml").write_text('[storage]\ndatabase = "sqlite:///elsewhere.db"\n')
    insert_key(litellm, KEY, key_alias="one")
    assert cli("--config", "mine.toml").exit_code == 0
    assert [key.name for key in kept(GatewayKeyRecord, "data/elsewhere.db")] == ["one"]


def test_a_database_that_cannot_be_read_ends_the_command_before_it_writes(tmp_path: Path) -> None:
    command = ["import", "litellm", "config.yaml"]
    environ = {"LITELLM_DATABASE_URL": "postgresql://u:canary@127.0.0.1:1/d"}
    told = CliRunner().invoke(main, command, env=environ)
    assert told.exit_code == 1
    assert told.output.startswith("signalbox: PostgreSQL database d at 127.0.0.1:1 cannot be read")
    assert "canary" not in told.output
    assert [each.name for each in tmp_path.iterdir()] == ["config.yaml"]


# Clients


def test_clients_go_on_with_the_keys_that_they_have(cli: Cli, litellm: postgres.Database) -> None:
    old, blocked = f"{KEY}-old", f"{KEY}-blocked"
    insert_key(litellm, KEY, key_alias="mine", models=["beta"])
    insert_key(litellm, blocked, blocked=True)
    insert(
        litellm,
        "DeprecatedVerificationToken",
        id="1",
        token=tables.hashed(old),
        active_token_id=tables.hashed(KEY),
        revoke_at=utc(days=1),
    )
    with simulated_provider() as provider:
        Path("config.yaml").write_text(CONFIG.format(url=provider.url))
        assert cli().exit_code == 0
        config = Path("signalbox.toml").read_text()
        with gateway(config, data_dir=Path("data").absolute(), environ=ENVIRON) as running:

            def ask(key: str, model: str = "m") -> str | None:
                client = running.client(api_key=key)
                answer = client.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": "Hello"}], max_tokens=20
                )
                return answer.choices[0].message.content

            assert ask(KEY)
            assert ask(old)
            with pytest.raises(openai.PermissionDeniedError):
                ask(KEY, "other")
            with pytest.raises(openai.AuthenticationError):
                ask(blocked)
        received = provider.received()
    assert len(received) == 2
