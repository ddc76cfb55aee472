"""Provider keys that are no string: how they are read, and what is said of mistakes in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from signalbox.config import (
    AzureIdentity,
    EntraClient,
    GoogleMetadata,
    ProviderSettings,
    ServiceAccount,
)
from tests.configs import CANARY, load, mistakes

ENTRA = (
    'entra = { tenant = "contoso.com", client_id = "app-1234abcd", client_secret = { env = "S" } }'
)
PEM = f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n"
ACCOUNT = {
    "type": "service_account",
    "project_id": "my-project",
    "private_key_id": "k1",
    "private_key": PEM,
    "client_email": "bot@my-project.iam.gserviceaccount.com",
    "token_uri": "https://oauth2.googleapis.com/token",
    "universe_domain": "googleapis.com",
}


def azure(key: str) -> str:
    return f'[providers.p]\napi = "azure"\nbase_url = "https://r.test"\nkeys = [{{ {key} }}]\n'


def vertex(key: str, more: str = 'location = "global"\nproject = "pr"') -> str:
    return f'[providers.p]\napi = "vertex"\n{more}\nkeys = [{{ {key} }}]\n'


def read(folder: Path, toml: str) -> ProviderSettings:
    settings = load(folder, toml, {"S": CANARY})
    assert CANARY not in repr(settings)
    assert settings.warnings == ()
    return settings.providers["p"]


def test_azures_credentials(tmp_path: Path) -> None:
    (key,) = read(tmp_path, azure(ENTRA + ", rpm = 7")).keys
    assert isinstance(key.credential, EntraClient)
    assert (key.secret, key.rpm, key.needed, key.label) == (None, 7, True, "Entra …abcd")
    assert key.credential.client_secret.reveal() == CANARY
    url = "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token"
    assert (key.credential.client_id, key.credential.token_url) == ("app-1234abcd", url)
    (key,) = read(tmp_path, azure("managed_identity = true")).keys
    url = "http://169.254.169.254/metadata/identity/oauth2/token"
    assert key.credential == AzureIdentity(None, url)
    other = 'managed_identity = { client_id = "c" }, token_url = "http://127.0.0.1:1/t"'
    (key,) = read(tmp_path, azure(other)).keys
    assert key.credential == AzureIdentity("c", "http://127.0.0.1:1/t")


def test_googles_credentials(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text(json.dumps(ACCOUNT))
    provider = read(tmp_path, vertex('service_account = "key.json"', 'location = "europe-west4"'))
    (key,) = provider.keys
    assert isinstance(key.credential, ServiceAccount)
    assert key.credential.private_key.reveal() == PEM
    assert (key.credential.email, key.label) == (ACCOUNT["client_email"], "bot")
    # The file says whose project it is.
    assert (provider.project, provider.location) == ("my-project", "europe-west4")
    assert provider.base_url == "https://europe-west4-aiplatform.googleapis.com/v1"
    provider = read(tmp_path, vertex("metadata = true"))
    assert isinstance(provider.keys[0].credential, GoogleMetadata)
    assert provider.base_url == "https://aiplatform.googleapis.com/v1"
    provider = read(tmp_path, vertex("metadata = true", 'project = "p"\nlocation = "eu"'))
    assert provider.base_url == "https://aiplatform.eu.rep.googleapis.com/v1"


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        (azure(ENTRA + ', env = "S"'), "expected one kind of key, got env and entra"),
        (azure(ENTRA + ", managed_identity = true"), "got entra and managed_identity"),
        (azure("metadata = true"), 'metadata: expected api = "vertex" or "openai"'),
        (vertex(ENTRA), 'entra: expected api = "azure" or "openai"'),
        (azure(ENTRA.replace("contoso.com", "a/../b")), "tenant: expected a tenant's id"),
        (azure(ENTRA.replace('"S"', '"T"')), "client_secret.env: the environment variable T"),
        (azure('entra = { tenant = "a", client_id = "b" }'), "client_secret: is missing"),
        (azure(ENTRA + ', token_url = "ftp://x"'), "token_url: expected an http:// or https://"),
        (azure(f"{ENTRA} }}, {{ {ENTRA}"), "is the same key as one before it"),
        (azure("managed_identity = false"), "expected one of env, file and value"),
        (vertex('service_account = "none.json"'), "service_account: "),
        (vertex('service_account = "bad.json"'), "expected the JSON key file of a service"),
        (vertex('service_account = "pem.json"'), "expected a private key in PEM"),
        (vertex("metadata = true", 'location = "eu"'), "project: is missing"),
        (vertex("metadata = true", 'project = "p"'), "location: is missing"),
        (vertex("metadata = true", 'project = "p"\nlocation = "e/u"'), "expected a location's id"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, toml: str, expected: str) -> None:
    (tmp_path / "bad.json").write_text(json.dumps({**ACCOUNT, "type": "authorized_user"}))
    (tmp_path / "pem.json").write_text(json.dumps({**ACCOUNT, "private_key": CANARY}))
    said = mistakes(tmp_path, toml, {"S": CANARY})
    assert expected in said
    assert CANARY not in said


def test_what_has_no_effect_is_warned_of(tmp_path: Path) -> None:
    toml = azure('env = "S", token_url = "http://127.0.0.1/t"') + 'project = "p"\n'
    warnings = "\n".join(load(tmp_path, toml, {"S": CANARY}).warnings)
    assert "token_url: has no effect" in warnings
    assert "project: has no effect" in warnings
