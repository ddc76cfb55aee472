"""Access keys of AWS: what the configuration reads, and what requests are signed with."""

from __future__ import annotations

from pathlib import Path

import pytest

from signalbox.actors.credentials import RenewingCredentials
from signalbox.actors.key_pool import ProviderKey
from signalbox.actors.supervisor import Supervisor
from signalbox.adapters.aws_sigv4 import sign
from signalbox.adapters.protocol import WireRequest
from signalbox.adapters.registry import adapters_of
from signalbox.config import AwsAccessKey
from signalbox.types import Dialect, Secret
from tests.configs import CANARY, load, mistakes
from tests.scripted_upstream import ScriptedUpstream

ACCESS = """
[providers.aws]
api = "bedrock"
keys = [{ access_key_id = "AKIDEXAMPLE", secret_access_key = { env = "S" }, region = "eu-west-1" }]
"""


def test_an_access_key_and_the_address_of_its_region(tmp_path: Path) -> None:
    settings = load(tmp_path, ACCESS, {"S": CANARY})
    provider = settings.providers["aws"]
    (key,) = provider.keys
    assert key.secret is None
    assert key.credential == AwsAccessKey("AKIDEXAMPLE", Secret(CANARY), "eu-west-1")
    assert provider.base_url == "https://bedrock-runtime.eu-west-1.amazonaws.com"
    assert CANARY not in repr(settings)
    found = adapters_of(provider).for_door(Dialect.CHAT, "amazon.nova-lite-v1:0")
    assert found is not None
    assert found.dialect is Dialect.CHAT


def test_temporary_credentials_from_the_environment(tmp_path: Path) -> None:
    toml = ACCESS.replace('"AKIDEXAMPLE"', '{ env = "I" }').replace(
        "region", 'session_token = { env = "T" }, region'
    )
    settings = load(tmp_path, toml, {"S": CANARY, "I": "ASIAEXAMPLE", "T": "token"})
    (key,) = settings.providers["aws"].keys
    told = AwsAccessKey("ASIAEXAMPLE", Secret(CANARY), "eu-west-1", Secret("token"))
    assert key.credential == told


def test_a_bedrock_api_key_is_a_plain_secret(tmp_path: Path) -> None:
    settings = load(tmp_path, None, {"AWS_BEARER_TOKEN_BEDROCK": CANARY})
    provider = settings.providers["bedrock"]
    assert provider.keys[0].secret == Secret(CANARY)
    assert provider.base_url == "https://bedrock-runtime.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('api = "bedrock"', 'api = "openai"\nbase_url = "http://a.test"', 'api = "bedrock"'),
        (', region = "eu-west-1"', "", "region: is missing"),
        ("eu-west-1", "Ireland", "expected a region"),
        ('secret_access_key = { env = "S" }, ', "", "secret_access_key: is missing"),
        ("region", 'env = "S", region', "expected one kind of key"),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, told: str) -> None:
    said = mistakes(tmp_path, ACCESS.replace(old, new), {"S": CANARY})
    assert told in said
    assert CANARY not in said


async def test_a_request_is_signed_when_it_is_sent() -> None:
    access = AwsAccessKey("AKIDEXAMPLE", Secret(CANARY), "eu-west-1")
    key = ProviderKey("aws/1", "aws", "…", None, None, None, access)
    moments = iter([1_440_938_160.0, 1_440_938_161.0])
    held = RenewingCredentials(
        Supervisor(), ScriptedUpstream(lambda call: []), [key], lambda: next(moments)
    )
    assert await held.ready(key) is key
    wire = WireRequest("POST", "https://b.test/model/m/converse", (), b"{}")
    first = await held.signed(wire, key)
    assert first == sign(wire, access, 1_440_938_160.0)
    assert "/20150830/eu-west-1/bedrock/aws4_request" in dict(first.headers)["authorization"]
    assert await held.signed(wire, key) != first
