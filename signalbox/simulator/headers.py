"""Header fields that the simulator takes from a scenario or a recording."""

from __future__ import annotations

import re

FRAMING_HEADERS = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Fields that describe one connection or the framing of one message (RFC 9110, section 7.6.1).

The simulator writes these itself; bodies are kept decoded, so `content-encoding` is among them.
"""

BODILESS_STATUSES = frozenset({204, 304})
"""HTTP allows these no body, so an answer of the simulator cannot have them."""

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?")


def header_problem(name: str, value: str) -> str | None:
    """What HTTP forbids about this header field, in words; None where nothing does."""
    if not _NAME.fullmatch(name):
        return f"{name!r} is not a header name"
    if not _VALUE.fullmatch(value):
        return f"header {name}: {value!r} is not a header value (printable ASCII, trimmed)"
    return None
