"""What token endpoints are asked, and what their answers mean."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from signalbox.adapters.oauth import LONGEST_LIFE, TokenAnswer, read_token, token_request
from signalbox.config import AzureIdentity, GoogleMetadata
from signalbox.errors import Failure, FailureKind
from tests.configs import CANARY
from tests.token_endpoint import ENTRA, URL, form_of, granted, rsa_key, service_account

NOW = 1_700_000_000.0


def read(status: int, body: object, *headers: tuple[str, str]) -> TokenAnswer | Failure:
    return read_token(status, headers, json.dumps(body).encode(), URL)


def test_entra_is_asked_with_client_credentials() -> None:
    request = token_request(ENTRA, NOW)
    assert (request.method, request.url) == ("POST", URL)
    assert dict(request.headers)["content-type"] == "application/x-www-form-urlencoded"
    assert form_of(request) == {
        "grant_type": "client_credentials",
        "client_id": "app",
        "client_secret": CANARY,
        "scope": "https://cognitiveservices.azure.com/.default",
    }


def part(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def test_a_service_account_signs_its_assertion() -> None:
    request = token_request(service_account(), NOW)
    form = form_of(request)
    assert (request.url, form["grant_type"]) == (
        "https://tokens.test/token",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
    )
    head, claims, signature = form["assertion"].split(".")
    assert part(head) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    assert part(claims) == {
        "iss": "bot@p.test",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": "https://tokens.test/token",
        "iat": 1_700_000_000,
        "exp": 1_700_003_600,
    }
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    public = rsa_key().public_key()
    public.verify(raw, f"{head}.{claims}".encode(), PKCS1v15(), SHA256())
    with pytest.raises(InvalidSignature):
        public.verify(raw, f"{head}.{claims}x".encode(), PKCS1v15(), SHA256())


def test_a_private_key_that_is_none_is_told_without_it() -> None:
    ec_key = generate_ec_key(SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    broken = f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n"
    for text, why in ((broken, "cannot be read"), (ec_key.decode(), "not RSA's")):
        with pytest.raises(ValueError, match=why) as caught:
            token_request(service_account(text), NOW)
        assert CANARY not in str(caught.value)


def test_metadata_services_are_asked_with_their_headers() -> None:
    own = token_request(AzureIdentity(None, "http://169.254.169.254/m/token"), NOW)
    assert (own.method, own.body) == ("GET", b"")
    assert dict(own.headers)["metadata"] == "true"
    address = urlsplit(own.url)
    assert address.path == "/m/token"
    resource = "https://cognitiveservices.azure.com"
    assert parse_qs(address.query) == {"api-version": ["2018-02-01"], "resource": [resource]}
    assigned = token_request(AzureIdentity("c&1", "http://169.254.169.254/m/token"), NOW)
    assert parse_qs(urlsplit(assigned.url).query)["client_id"] == ["c&1"]
    google = token_request(GoogleMetadata("http://metadata.test/token"), NOW)
    assert (google.method, google.url) == ("GET", "http://metadata.test/token")
    assert dict(google.headers)["metadata-flavor"] == "Google"


@pytest.mark.parametrize(
    ("seconds", "life"), [(3599, 3599), ("86399", 86_399), (1e30, LONGEST_LIFE)]
)
def test_a_token_and_its_life(seconds: object, life: float) -> None:
    answer = read(*granted(1, seconds))
    assert isinstance(answer, TokenAnswer)
    assert (answer.token.reveal(), answer.expires_in) == ("token-1-xyz", life)
    assert "token-1-xyz" not in repr(answer)


@pytest.mark.parametrize(
    "changes",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": "a b"},
        {"access_token": "a\r\nx: y"},
        {"access_token": "x" * 20_000},
        {"token_type": "mac"},
        {"expires_in": 0},
        {"expires_in": True},
        {"expires_in": "soon"},
        {"expires_in": None},
    ],
)
def test_a_200_without_a_token_is_no_token_endpoint(changes: dict[str, object]) -> None:
    failure = read(200, {**granted(1)[1], **changes})
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.CONNECT_FAILED
    assert "login.test" in failure.message


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (
            401,
            {"error": "invalid_client", "error_description": "AADSTS7000215: no"},
            "key_rejected",
        ),
        (400, {"error": "invalid_grant", "error_description": "bad signature"}, "key_rejected"),
        (400, {"error": "invalid_request", "error_description": "no identity"}, "key_rejected"),
        (403, "forbidden", "key_rejected"),
        (404, "nothing here", "connect_failed"),
        (400, {"error": "temporarily_unavailable"}, "connect_failed"),
        (
            503,
            {"error": {"code": 503, "message": "away", "status": "UNAVAILABLE"}},
            "connect_failed",
        ),
        (302, {}, "connect_failed"),
    ],
)
def test_errors_by_what_follows_from_them(status: int, body: Any, kind: str) -> None:
    failure = read(status, body)
    assert isinstance(failure, Failure)
    assert failure.kind.value == kind
    assert f"answered {status}" in failure.message
    if isinstance(body, dict) and "error_description" in body:
        assert body["error_description"] in failure.message
        assert failure.code == body["error"]


def test_being_asked_too_often_is_a_limit() -> None:
    failure = read(429, {"error": "x"}, ("retry-after", "7"))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.retry_after) == (FailureKind.RATE_LIMITED, 7)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "error_description", "access_token", "expires_in", "token_type"]
            ),
            inner,
        )
    ),
    max_leaves=8,
)


@given(
    st.sampled_from([200, 204, 302, 400, 401, 429, 500]),
    st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()),
    st.text(max_size=9),
)
def test_whatever_comes_is_a_token_or_a_failure(status: int, body: bytes, wait: str) -> None:
    answer = read_token(status, (("retry-after", wait),), body, URL)
    if isinstance(answer, TokenAnswer):
        assert status == 200
        assert 0 < answer.expires_in <= LONGEST_LIFE
    else:
        assert answer.message.isprintable()
