"""What the admin API refuses, and in which words. The form is that of the doors' errors."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from signalbox.config_report import did_you_mean
from signalbox.errors import ApiError
from signalbox.http.asgi import RequestError


class Error(msgspec.Struct, frozen=True):
    message: str
    """What was wrong, and what was expected."""
    type: str
    code: str
    param: str | None
    """The path of the field, the parameter or the header that it is about."""


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every answer whose status is 400 or more."""

    error: Error


def error_body(error: ApiError) -> bytes:
    return msgspec.json.encode(ErrorBody(Error(error.message, error.type, error.code, error.param)))


def invalid(param: str | None, what: str) -> RequestError:
    """`what` was wrong with the field of this path."""
    message = what if param is None else f"{param}: {what}"
    return _problem(400, "invalid_value", message, param)


def unknown(param: str, kind: str, name: str, known: Iterable[str] = ()) -> RequestError:
    """A field refers to something that is not there."""
    return invalid(param, f"there is no {kind} {name[:80]!r}{did_you_mean(name, known)}")


def admin_required() -> RequestError:
    return RequestError(
        ApiError(
            status=401,
            type="invalid_request_error",
            code="admin_required",
            message="Send the admin token, or a user's, as Authorization: Bearer, or sign in.",
            headers=(("www-authenticate", "Bearer"),),
        )
    )


def invalid_login(message: str) -> RequestError:
    return _problem(401, "invalid_login", message)


def admin_only() -> RequestError:
    return _problem(403, "admin_only", "A viewer may look, and change nothing.")


def cross_origin() -> RequestError:
    return _problem(
        403,
        "cross_origin",
        "A change by a session's cookie must come from the gateway's own pages.",
    )


def not_found(kind: str, id: str) -> RequestError:
    code = f"{kind.replace(' ', '_')}_not_found"
    return _problem(404, code, f"There is no {kind} {id[:80]!r}.")


def nothing_there(path: str) -> RequestError:
    return _problem(404, "not_found", f"There is nothing at {path[:200]}.")


def method_not_allowed(method: str, allowed: Iterable[str]) -> RequestError:
    listed = ", ".join(sorted(allowed))
    return RequestError(
        ApiError(
            status=405,
            type="invalid_request_error",
            code="method_not_allowed",
            message=f"{method} is not possible here; expected {listed}.",
            headers=(("allow", listed),),
        )
    )


def already_exists(kind: str, field: str) -> RequestError:
    message = f"There is a {kind} of this {field} already."
    return _problem(409, "already_exists", message, field)


def changed_meanwhile(kind: str) -> RequestError:
    message = f"The {kind} was changed or deleted by somebody else meanwhile; read it again."
    return _problem(409, "changed_meanwhile", message)


def declared(place: str) -> RequestError:
    """`place`: the file, the line and the key that declare it."""
    message = f"{place} declares it: it is changed there, and not here."
    return _problem(409, "declared_in_configuration", message)


def in_use(kind: str, by: Iterable[str]) -> RequestError:
    message = f"The {kind} is in use by {', '.join(by)}."
    return _problem(409, "in_use", message)


def not_possible_now(code: str, message: str) -> RequestError:
    """A 409: what it is asked of is not in a state for it."""
    return _problem(409, code, message)


def not_json(content_type: str) -> RequestError:
    message = f"Content-Type: expected application/json, got {content_type[:80] or 'none'}."
    return _problem(415, "unsupported_media_type", message, "content-type")


def too_large(limit: int) -> RequestError:
    return _problem(413, "request_too_large", f"The body is larger than {limit} bytes.")


def too_many_tries(seconds: float) -> RequestError:
    wait = math.ceil(seconds)
    return RequestError(
        ApiError(
            status=429,
            type="requests",
            code="too_many_tries",
            message=f"Too many tries to sign in; the next one may be made in {wait} s.",
            headers=(("retry-after", str(wait)),),
        )
    )


def database_away(error: Exception) -> RequestError:
    return RequestError(
        ApiError(status=503, type="server_error", code="database_unavailable", message=str(error))
    )


def vault_locked(error: Exception) -> RequestError:
    return RequestError(
        ApiError(status=503, type="server_error", code="master_key_missing", message=str(error))
    )


def own_fault() -> RequestError:
    return RequestError(
        ApiError(
            status=500,
            type="server_error",
            code="internal_error",
            message="The gateway itself failed; its log says where.",
        )
    )


def _problem(status: int, code: str, message: str, param: str | None = None) -> RequestError:
    kind = "permission_error" if status == 403 else "invalid_request_error"
    return RequestError(ApiError(status=status, type=kind, code=code, message=message, param=param))
