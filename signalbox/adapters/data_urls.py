"""`data:` URLs (RFC 2397), by which OpenAI's dialect carries pictures and documents."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

_HEAD = "data:"
_BASE64 = ";base64"


def split_data_url(url: str) -> tuple[str | None, str] | None:
    """(MIME type, base64) of a `data:` URL; None for any other. Parameters of the type, such as a
    charset, are left out."""
    if url[: len(_HEAD)].lower() != _HEAD:
        return None
    head, comma, data = url[len(_HEAD) :].partition(",")
    if not comma:
        return None
    if head.lower().endswith(_BASE64):
        head = head[: -len(_BASE64)]
    else:
        data = base64.b64encode(unquote_to_bytes(data.encode("utf-8", "replace"))).decode()
    return head.partition(";")[0].strip().lower() or None, data


def data_url(mime_type: str, data: str) -> str:
    return f"{_HEAD}{mime_type}{_BASE64},{data}"


def text_of(data: str) -> str | None:
    """The UTF-8 text that base64 stands for; None where it stands for none."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
