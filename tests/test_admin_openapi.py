"""The OpenAPI document is valid and true: schemathesis asks a running gateway for all it says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from signalbox import __version__
from signalbox.http.admin.openapi import ROOT, with_document
from signalbox.http.admin.operations import Text
from signalbox.http.admin.problems import ErrorBody
from signalbox.http.admin.table import OPERATIONS
from tests.admin_client import ALL, AdminClient, fresh
from tests.gateway import (
    ADMIN_TOKEN,
    Gateway,
    clean_environ,
    config_for,
    gateway,
    simulated_provider,
)

EXAMPLES = 3
"""Of each operation, beside those that schemathesis makes of every boundary."""
CONFIG = """
[phases.coverage]
# It would also try methods that HTTP servers do not know, which is a 501.
unexpected-methods = ["PUT", "DELETE", "PATCH"]
"""
LEFT_OUT = "positive_data_acceptance,unsupported_method"
"""The first wants no reference to be wrong and no name to be taken; the second is tested here."""
TESTED = f"Tested: {len(OPERATIONS)}"
"""All but the document itself."""
METHODS = {"get", "post", "patch", "put", "delete"}


@pytest.fixture(scope="module")
def running() -> Iterator[Gateway]:
    with simulated_provider() as provider, gateway(config_for(provider)) as started:
        yield started


@pytest.fixture(scope="module")
def admin(running: Gateway) -> Iterator[AdminClient]:
    with closing(AdminClient(running)) as client:
        yield client


@pytest.fixture(scope="module")
def document(admin: AdminClient) -> Any:
    return admin.get("/openapi.json")


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        value = list(value.values())
    for each in value if isinstance(value, list) else ():
        yield from references(each)


def test_the_document_is_of_this_version(document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["info"] == {"title": "Signalbox admin API", "version": __version__}
    assert document["servers"] == [{"url": ROOT}]


def test_it_has_every_operation_of_the_table_and_no_other(document: Any) -> None:
    told = {
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method in item.keys() & METHODS
    }
    assert told == {(each.method, each.path.replace("...}", "}")) for each in ALL}
    ids = [op["operationId"] for item in document["paths"].values() for op in item.values()]
    assert len(set(ids)) == len(ids) == len(ALL)


def test_every_schema_is_one_and_every_reference_leads_to_one(document: Any) -> None:
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        jsonschema_rs.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema
        )
    wanted = {f"#/components/schemas/{name}" for name in schemas}
    assert set(references(document)) == wanted


def test_what_is_sent_and_what_is_told_are_different_things(document: Any) -> None:
    """So a field that is always told can be required where it is told."""
    told = [each.answer for each in ALL if each.answer not in (None, Text)]
    given = [each.body for each in ALL]
    _, of_answers = msgspec.json.schema_components([ErrorBody, *told])
    _, of_bodies = msgspec.json.schema_components(given)
    assert not of_answers.keys() & of_bodies.keys()


def test_no_two_types_share_a_name() -> None:
    kinds = {kind for each in OPERATIONS for kind in (each.body, each.query)}
    assert len({kind.__name__ for kind in kinds}) == len(kinds)


def test_an_operation_that_is_added_is_told(document: Any) -> None:
    fewer = with_document(OPERATIONS[1:])
    assert len(fewer) == len(ALL) - 1


def test_methods_that_are_not_told_are_405(admin: AdminClient, document: Any) -> None:
    for path, item in document["paths"].items():
        for method in METHODS - item.keys():
            answer = admin.ask(method.upper(), path.replace("{id}", "x"))
            assert answer.status_code == 405
            assert answer.headers["allow"] == ", ".join(sorted(map(str.upper, item)))


def schemathesis(running: Gateway, token: str, folder: Path, *options: str) -> str:
    """What it says; it must find nothing."""
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)]
    done = subprocess.run(
        [
            *command,
            *("run", f"{running.url}{ROOT}/openapi.json", "-H", f"Authorization: Bearer {token}"),
            *("--max-examples", str(EXAMPLES), "--generation-deterministic", "--no-color"),
            *("--checks", "all", "--exclude-checks", LEFT_OUT, *options),
        ],
        cwd=folder,
        env=clean_environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_schemathesis_finds_nothing_as_an_admin(running: Gateway, tmp_path: Path) -> None:
    assert TESTED in schemathesis(running, ADMIN_TOKEN, tmp_path)
    assert "Traceback" not in running.output


@pytest.mark.slow
def test_schemathesis_changes_nothing_as_a_viewer(
    running: Gateway, admin: AdminClient, tmp_path: Path
) -> None:
    user = admin.make("/users", name=fresh("viewer"), role="viewer")
    token = admin.do(f"/users/{user['id']}/token")["token"]
    before = admin.pages("/audit")
    assert TESTED in schemathesis(running, token, tmp_path, "--phases", "fuzzing")
    assert admin.pages("/audit") == before


def test_the_document_is_json_that_others_read(document: Any) -> None:
    assert json.loads(json.dumps(document)) == document
