"""Which of a client's headers go to a provider: those of its dialect, where both speak it."""

from __future__ import annotations

from signalbox.types import Dialect, Request


def forwarded(request: Request, dialect: Dialect) -> dict[str, str]:
    """The client's allowed headers (`Door.forwarded_headers`), names in lower case, for an endpoint
    of `dialect`. They choose versions and betas of one vendor's API: another vendor's gets none."""
    if request.door.family != dialect.family:
        return {}
    return {name.lower(): value for name, value in request.forward_headers}
