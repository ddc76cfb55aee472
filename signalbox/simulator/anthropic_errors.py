"""Errors as Anthropic words them. Source: Anthropic's API reference, "Errors" and "Rate limits"."""

from __future__ import annotations

import math
from collections.abc import Mapping

from signalbox.simulator.prompts import BadRequest
from signalbox.simulator.scenario import RateLimit
from signalbox.simulator.wire import Refusal

_NAMED: Mapping[str, tuple[int, str, str]] = {
    "invalid_request": (400, "invalid_request_error", "The request is not valid (simulated)."),
    "context_length_exceeded": (
        400,
        "invalid_request_error",
        "prompt is too long: 9000 tokens > 8192 maximum",
    ),
    "content_policy_violation": (
        400,
        "invalid_request_error",
        "Output blocked by content filtering policy",
    ),
    "invalid_api_key": (401, "authentication_error", "invalid x-api-key"),
    "model_forbidden": (
        403,
        "permission_error",
        "Your API key does not have permission to use the specified resource.",
    ),
    "model_not_found": (404, "not_found_error", "model: {model}"),
    "rate_limit_exceeded": (
        429,
        "rate_limit_error",
        "This request would exceed the rate limit for your organization of 3 requests per minute.",
    ),
    "tokens_rate_limit_exceeded": (
        429,
        "rate_limit_error",
        "This request would exceed the rate limit for your organization of 6,000 input tokens per "
        "minute.",
    ),
    "request_too_large": (
        413,
        "request_too_large",
        "Request exceeds the maximum allowed number of bytes.",
    ),
    "insufficient_quota": (
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing "
        "to upgrade or purchase credits.",
    ),
    "server_error": (500, "api_error", "Internal server error"),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "unexplained": (500, "api_error", "Something went wrong (simulated)."),
}

_USUAL = {
    401: "invalid_api_key",
    403: "model_forbidden",
    404: "model_not_found",
    413: "request_too_large",
    429: "rate_limit_exceeded",
    529: "overloaded",
}


class AnthropicErrors:
    def named(self, name: str, model: str) -> Refusal:
        status, kind, message = _NAMED[name]
        return _refusal(status, kind, message.replace("{model}", model))

    def usual(self, status: int, model: str) -> Refusal:
        name = _USUAL.get(status, "server_error" if status >= 500 else "invalid_request")
        return Refusal(status, self.named(name, model).body)

    def invalid(self, fault: BadRequest) -> Refusal:
        message = fault.message if fault.param is None else f"{fault.param}: {fault.message}"
        kind = "not_found_error" if fault.status == 404 else "invalid_request_error"
        return _refusal(fault.status, kind, message)

    def over_limit(self, model: str, seconds: float) -> tuple[Refusal, dict[str, str]]:
        return self.named("rate_limit_exceeded", model), {"retry-after": str(math.ceil(seconds))}

    def limit_headers(self, limits: RateLimit) -> dict[str, str]:
        """Resets are RFC 3339 times here, so a duration is left out."""
        said = {
            f"anthropic-ratelimit-{of}-{what}": getattr(limits, f"{what}_{of}")
            for of in ("requests", "tokens")
            for what in ("limit", "remaining", "reset")
        }
        return {
            name: str(value)
            for name, value in said.items()
            if value is not None and not (name.endswith("reset") and "T" not in value)
        }


def _refusal(status: int, kind: str, message: str) -> Refusal:
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return Refusal(status, body | {"request_id": "req_simulated"})
