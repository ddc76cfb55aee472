"""Errors as Google's Gemini API words them. Source: Gemini API docs, "Troubleshooting guide", and
`google.rpc.Status` with its details."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from signalbox.simulator.prompts import BadRequest
from signalbox.simulator.scenario import RateLimit
from signalbox.simulator.wire import Refusal

_TYPE = "type.googleapis.com/google.rpc."
_NAMED: Mapping[str, tuple[int, str]] = {
    "invalid_request": (400, "The request is not valid (simulated)."),
    "context_length_exceeded": (
        400,
        "The input token count exceeds the maximum number of tokens allowed (8192).",
    ),
    "content_policy_violation": (400, "The request was blocked by safety settings (simulated)."),
    "invalid_api_key": (400, "API key not valid. Please pass a valid API key."),
    "model_forbidden": (403, "The caller does not have permission"),
    "model_not_found": (
        404,
        "models/{model} is not found for API version v1beta, or is not supported for "
        "generateContent.",
    ),
    "rate_limit_exceeded": (429, "Resource has been exhausted (e.g. check quota)."),
    "tokens_rate_limit_exceeded": (429, "Resource has been exhausted (e.g. check quota)."),
    "request_too_large": (413, "Request payload size exceeds the limit: 20971520 bytes."),
    "insufficient_quota": (
        429,
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "server_error": (500, "An internal error has occurred (simulated)."),
    "overloaded": (503, "The model is overloaded. Please try again later."),
    "unexplained": (500, "Something went wrong (simulated)."),
}
_USUAL = {
    401: "invalid_api_key",
    403: "model_forbidden",
    404: "model_not_found",
    429: "rate_limit_exceeded",
    503: "overloaded",
}
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class GeminiErrors:
    def named(self, name: str, model: str) -> Refusal:
        status, message = _NAMED[name]
        return _refusal(status, message.replace("{model}", model), _details(name, model))

    def usual(self, status: int, model: str) -> Refusal:
        name = _USUAL.get(status, "server_error" if status >= 500 else "invalid_request")
        message = _NAMED[name][1].replace("{model}", model)
        return _refusal(status, message, _details(name, model))

    def invalid(self, fault: BadRequest) -> Refusal:
        message = fault.message if fault.param is None else f"{fault.message} at '{fault.param}'"
        violation = {"field": fault.param, "description": message}
        details = [{"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]}]
        return _refusal(fault.status, message, details if fault.param else [])

    def over_limit(self, model: str, seconds: float) -> tuple[Refusal, dict[str, str]]:
        """Gemini tells the wait in the body alone."""
        message = _NAMED["rate_limit_exceeded"][1]
        return _refusal(429, message, [_retry_info(seconds)]), {}

    def limit_headers(self, limits: RateLimit) -> dict[str, str]:
        """None: Gemini sends no such fields."""
        return {}


def _details(name: str, model: str) -> list[dict[str, Any]]:
    match name:
        case "invalid_api_key":
            info = {"@type": f"{_TYPE}ErrorInfo", "reason": "API_KEY_INVALID"}
            return [info | {"domain": "googleapis.com"}]
        case "rate_limit_exceeded" | "tokens_rate_limit_exceeded":
            return [_retry_info(20)]
        case "insufficient_quota":
            per_day = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
            violation = {"quotaId": per_day, "quotaDimensions": {"model": model}}
            return [{"@type": f"{_TYPE}QuotaFailure", "violations": [violation]}]
        case _:
            return []


def _retry_info(seconds: float) -> dict[str, Any]:
    return {"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{seconds:.3f}s"}


def _refusal(status: int, message: str, details: list[dict[str, Any]]) -> Refusal:
    known = "INTERNAL" if status >= 500 else "INVALID_ARGUMENT"
    error: dict[str, Any] = {"code": status, "message": message}
    error["status"] = _STATUS.get(status, known)
    return Refusal(status, {"error": error | ({"details": details} if details else {})})
