"""Signatures against the vectors that AWS publishes: its Signature Version 4 test suite, and the
example of its user guide."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from signalbox.adapters.aws_sigv4 import canonical_request, sign
from signalbox.adapters.protocol import WireRequest
from signalbox.config import AwsAccessKey
from signalbox.types import Secret

NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()
EXAMPLE = "https://example.amazonaws.com/"
FORM = "application/x-www-form-urlencoded"
TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPf"
    "IeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7"
    "WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm"
    "8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)


def credentials(token: str | None = None) -> AwsAccessKey:
    return AwsAccessKey(
        access_key_id="AKIDEXAMPLE",
        secret_access_key=Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        region="us-east-1",
        session_token=None if token is None else Secret(token),
    )


def wire(
    method: str, url: str = EXAMPLE, *headers: tuple[str, str], body: bytes = b""
) -> WireRequest:
    return WireRequest(method, url, headers, body)


VECTORS = [
    pytest.param(
        wire("GET"),
        None,
        "host;x-amz-date",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        id="get-vanilla",
    ),
    pytest.param(
        wire("POST"),
        None,
        "host;x-amz-date",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        id="post-vanilla",
    ),
    pytest.param(
        wire("GET", f"{EXAMPLE}?Param2=value2&Param1=value1"),
        None,
        "host;x-amz-date",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        id="get-vanilla-query-order-key-case",
    ),
    pytest.param(
        wire("GET", EXAMPLE, ("my-header1", " value1"), ("my-header2", ' "a   b   c"')),
        None,
        "host;my-header1;my-header2;x-amz-date",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        id="get-header-value-trim",
    ),
    pytest.param(
        wire("POST", EXAMPLE, ("my-header1", "VALUE1")),
        None,
        "host;my-header1;x-amz-date",
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
        id="post-header-value-case",
    ),
    pytest.param(
        wire("POST", EXAMPLE, ("content-type", FORM), body=b"Param1=value1"),
        None,
        "content-type;host;x-amz-date",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        id="post-x-www-form-urlencoded",
    ),
    pytest.param(
        wire("POST", EXAMPLE, ("content-type", f"{FORM}; charset=utf8"), body=b"Param1=value1"),
        None,
        "content-type;host;x-amz-date",
        "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
        id="post-x-www-form-urlencoded-parameters",
    ),
    pytest.param(
        wire("POST"),
        TOKEN,
        "host;x-amz-date;x-amz-security-token",
        "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
        id="post-sts-header-before",
    ),
]


@pytest.mark.parametrize(("request_", "token", "signed", "signature"), VECTORS)
def test_the_test_suite(
    request_: WireRequest, token: str | None, signed: str, signature: str
) -> None:
    headers = dict(sign(request_, credentials(token), NOW, "service").headers)
    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={signed}, Signature={signature}"
    )
    assert headers["x-amz-date"] == "20150830T123600Z"
    assert headers.get("x-amz-security-token") == token


def test_the_user_guides_example() -> None:
    """IAM's ListUsers."""
    listed = wire(
        "GET",
        "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
        ("content-type", f"{FORM}; charset=utf-8"),
    )
    authorization = dict(sign(listed, credentials(), NOW, "iam").headers)["authorization"]
    assert authorization.endswith(
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )


def test_parts_of_a_path_are_encoded_twice() -> None:
    model = "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aprompt%2Fp"
    asked = wire("POST", f"https://b.test/model/{model}/converse")
    path = canonical_request(asked, {"host": "b.test"}).split("\n")[1]
    assert path == f"/model/{model.replace('%', '%25')}/converse"


def test_what_may_change_on_the_way_is_not_signed_and_stays() -> None:
    sent = (("user-agent", "x"), ("accept-encoding", "identity"), ("authorization", "Bearer old"))
    signed = sign(wire("POST", EXAMPLE, *sent), credentials(), NOW)
    headers = dict(signed.headers)
    assert "SignedHeaders=host;x-amz-date," in headers["authorization"]
    assert headers["user-agent"] == "x"
    assert [name for name, _ in signed.headers].count("authorization") == 1
    again = sign(signed, credentials(), NOW)
    assert dict(again.headers) == headers


def test_a_port_of_its_own_is_part_of_the_host() -> None:
    usual = sign(wire("GET", "https://example.amazonaws.com:443/"), credentials(), NOW)
    assert usual.headers == sign(wire("GET"), credentials(), NOW).headers
    own = sign(wire("GET", "https://example.amazonaws.com:8443/"), credentials(), NOW)
    assert own.headers != usual.headers
