"""The error bodies of OpenAI's API, by a short name and by HTTP status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from signalbox.errors import SignalboxError


class SimulatorError(SignalboxError):
    """What the simulator was given cannot be used: a scenario, recordings, an address."""


@dataclass(frozen=True, slots=True)
class WireError:
    """One error as OpenAI words it; `{model}` in the message stands for the request's model."""

    status: int
    type: str
    code: str | None
    message: str
    param: str | None = None

    def fields(self, model: str) -> dict[str, object]:
        """What goes under `error` in the body."""
        return {
            "message": self.message.replace("{model}", model),
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }

    def body(self, model: str) -> dict[str, object]:
        return {"error": self.fields(model)}


ERRORS: Mapping[str, WireError] = {
    "invalid_request": WireError(
        400, "invalid_request_error", None, "The request is not valid (simulated)."
    ),
    "context_length_exceeded": WireError(
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is 8192 tokens. However, your messages resulted in "
        "9000 tokens. Please reduce the length of the messages.",
        "messages",
    ),
    "content_policy_violation": WireError(
        400,
        "invalid_request_error",
        "content_policy_violation",
        "The request was rejected by the safety system (simulated).",
    ),
    "invalid_api_key": WireError(
        401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided (simulated)."
    ),
    "model_forbidden": WireError(
        403, "invalid_request_error", None, "You are not allowed to sample from this model"
    ),
    "model_not_found": WireError(
        404,
        "invalid_request_error",
        "model_not_found",
        "The model `{model}` does not exist or you do not have access to it.",
    ),
    "rate_limit_exceeded": WireError(
        429,
        "requests",
        "rate_limit_exceeded",
        "Rate limit reached for {model} in organization org-simulator on requests per min (RPM): "
        "Limit 3, Used 3, Requested 1. Please try again in 20s.",
    ),
    "tokens_rate_limit_exceeded": WireError(
        429,
        "tokens",
        "rate_limit_exceeded",
        "Rate limit reached for {model} in organization org-simulator on tokens per min (TPM): "
        "Limit 6000, Used 5950, Requested 709. Please try again in 6.59s.",
    ),
    "request_too_large": WireError(
        429,
        "tokens",
        "rate_limit_exceeded",
        "Request too large for {model} in organization org-simulator on tokens per min (TPM): "
        "Limit 6000, Requested 9000. The input or output tokens must be reduced.",
    ),
    "insufficient_quota": WireError(
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "server_error": WireError(
        500,
        "server_error",
        None,
        "The server had an error while processing your request (simulated).",
    ),
    "overloaded": WireError(
        503,
        "server_error",
        "overloaded",
        "The engine is currently overloaded, please try again later",
    ),
    "unexplained": WireError(500, "error", None, "Something went wrong (simulated)."),
}
"""By the name that a scenario's `error` gives; other APIs have their own words for each."""

_USUAL = {
    401: "invalid_api_key",
    403: "model_forbidden",
    404: "model_not_found",
    429: "rate_limit_exceeded",
    503: "overloaded",
}


def usual_error(status: int) -> WireError:
    """The error that OpenAI most often means by this status."""
    return ERRORS[_USUAL.get(status, "server_error" if status >= 500 else "invalid_request")]
