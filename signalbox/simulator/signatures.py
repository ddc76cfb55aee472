"""Signatures of thoughts: opaque to clients, and refused when they are not the simulator's own."""

from __future__ import annotations

import base64
import hashlib


def sign(what: str, content: str) -> str:
    """Of a thought's text, of a tool's name: the same each time."""
    digest = hashlib.sha256(f"{what}:{content}".encode()).digest()
    return base64.b64encode(b"simulated:" + digest).decode()
