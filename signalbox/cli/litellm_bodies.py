"""What a LiteLLM deployment adds to requests: fields of the body, headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from signalbox.cli.litellm_prices import IS_COST
from signalbox.cli.litellm_reasons import BODY_FIELDS, PARAMS, UNKNOWN, reason
from signalbox.cli.litellm_secrets import Variables
from signalbox.cli.litellm_tables import ENV, Reference, Table, form_of, plain
from signalbox.cli.yaml_tree import Node

_SOUNDS_SECRET = re.compile(
    r".*(key|token|secret|auth|password|cookie|credential).*", re.IGNORECASE
)
_OWN_HEADERS = frozenset({"connection", "content-length", "content-type", "host", "te"})
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def read_body(params: Table) -> dict[str, Any]:
    """The fields that go into the body of requests which have none of their own."""
    body: dict[str, Any] = {}
    for key in params.rest():
        is_field = key in BODY_FIELDS
        if not is_field and (IS_COST.fullmatch(key) or reason(key, PARAMS) is not None):
            continue
        if key == "extra_body" or key in READ_ELSEWHERE:
            continue
        value = _field(params, key)
        if value is not None:
            body[key] = value
            if not is_field:
                params.changed(
                    key, f"{UNKNOWN}: it is sent as a field of the body, as LiteLLM does"
                )
    more = params.table("extra_body")
    if more is not None:
        for key in more.nodes():
            value = _field(more, key)
            if value is not None:
                body[key] = value
    return body


_READ_ELSEWHERE = """
    organization timeout stream_timeout ttft_timeout stream_idle_timeout num_retries max_retries
    rpm tpm weight model_info base_url api_version extra_headers headers
    aws_access_key_id aws_secret_access_key aws_session_token aws_region_name
    aws_bedrock_runtime_endpoint vertex_project vertex_location vertex_credentials tenant_id
    client_id client_secret azure_ad_token api_key api_base custom_llm_provider
    litellm_credential_name model order
"""
READ_ELSEWHERE = frozenset(_READ_ELSEWHERE.split())
"""Of a provider that has no use for them they are no fields of the body either."""

_OWN_FIELDS = frozenset({"extra", "messages", "model", "stream"})


def _field(table: Table, key: str) -> Any:
    node = table.take(key)
    if node is None:
        return None
    if key in _OWN_FIELDS:
        table.left(key, "is always the request's own")
        return None
    if _may_hold_a_secret(key, node):
        table.left(key, "may hold a secret, which must not stand in the file: use `headers`")
        return None
    try:
        return plain(node)
    except ValueError as error:
        table.mistake(key, f"expected {error}")
        return None


def _may_hold_a_secret(key: str, node: Node) -> bool:
    """A text from the environment, or one under a name such as `api_token`, at any depth."""
    if isinstance(node.value, dict):
        return any(_may_hold_a_secret(name, item) for name, item in node.value.items())
    if isinstance(node.value, tuple):
        return any(_may_hold_a_secret(key, item) for item in node.value)
    if not isinstance(node.value, str):
        return False
    sounds_like_one = key not in BODY_FIELDS and _SOUNDS_SECRET.fullmatch(key) is not None
    return sounds_like_one or node.value.strip().startswith(ENV)


def read_headers(params: Table, provider: str, variables: Variables) -> dict[str, Any]:
    """By name: a text, or where a secret is read from."""
    headers: dict[str, Any] = {}
    for key in ("headers", "extra_headers"):
        table = params.table(key)
        for name in table.nodes() if table is not None else ():
            assert table is not None
            value = _header(table, name, provider, variables)
            if value is not None:
                headers[name] = value
    return headers


def _header(
    table: Table, name: str, provider: str, variables: Variables
) -> str | Mapping[str, Any] | None:
    if name.lower() in _OWN_HEADERS or not _HEADER.fullmatch(name):
        table.left(name, "is a header that the gateway may not add")
        return None
    node = table.take(name)
    if node is None:
        return None
    if isinstance(node.value, dict | tuple):
        table.mistake(name, f"expected a string, got {form_of(node.value)}")
        return None
    text = node.value if isinstance(node.value, str) else node.text
    secret = table.secret(name) if isinstance(node.value, str) else text
    if isinstance(secret, Reference) or (secret and _SOUNDS_SECRET.fullmatch(name)):
        return variables.source(secret, f"{provider}_{name}", table.at(name), node)
    if not text.strip() or not text.isascii() or not text.isprintable():
        table.left(name, "expected one line of printable ASCII characters")
        return None
    return text.strip()
