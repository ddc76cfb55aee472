"""Errors as OpenAI's endpoints word them. The names are those of `errors.ERRORS`."""

from __future__ import annotations

import math

from signalbox.simulator.errors import ERRORS, WireError, usual_error
from signalbox.simulator.prompts import BadRequest
from signalbox.simulator.scenario import RateLimit
from signalbox.simulator.wire import Refusal


class OpenAIErrors:
    """Those of chat completions, completions, embeddings, responses and Azure."""

    def named(self, name: str, model: str) -> Refusal:
        return _refusal(ERRORS[name], model)

    def usual(self, status: int, model: str) -> Refusal:
        return Refusal(status, usual_error(status).body(model))

    def invalid(self, fault: BadRequest) -> Refusal:
        message = fault.message if fault.param is None else f"{fault.param}: {fault.message}"
        kind = "invalid_request_error"
        return _refusal(WireError(fault.status, kind, fault.code, message, fault.param), "")

    def over_limit(self, model: str, seconds: float) -> tuple[Refusal, dict[str, str]]:
        wait = {
            "retry-after": str(math.ceil(seconds)),
            "retry-after-ms": str(math.ceil(seconds * 1000)),
        }
        return self.named("rate_limit_exceeded", model), wait

    def limit_headers(self, limits: RateLimit) -> dict[str, str]:
        return limits.headers()


def _refusal(error: WireError, model: str) -> Refusal:
    return Refusal(error.status, error.body(model))
