"""Counting the tokens of a request: `POST /v1/messages/count_tokens` and `…:countTokens`.

Where a route of the model has an endpoint for that, in the words of this door, it is asked through
the same runner as a request for an answer; nothing is charged for it. Otherwise the count is
estimated here, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from msgspec.structs import replace

from signalbox.actors.services import Surveyor
from signalbox.adapters import anthropic_door, gemini_door
from signalbox.adapters.forms import chat_form
from signalbox.adapters.token_estimate import estimated_tokens
from signalbox.http.intake import Intake
from signalbox.types import Dialect

ESTIMATED = ("x-signalbox-estimated", "true")

_ANSWERS: Mapping[Dialect, Callable[[int], dict[str, object]]] = MappingProxyType(
    {
        Dialect.MESSAGES_COUNT: anthropic_door.count_answer,
        Dialect.GENERATE_COUNT: gemini_door.count_answer,
    }
)


def without_tokens(intake: Intake) -> Intake:
    """The request to count, which itself uses none of a limit's tokens."""
    return replace(
        intake,
        request=replace(intake.request, prompt_tokens=0, output_tokens=0),
        plan=replace(intake.plan, prompt_tokens=0, output_tokens=0),
    )


def is_counted(intake: Intake, surveyor: Surveyor) -> bool:
    """Whether a route of the request's models can count."""
    return any(
        surveyor.endpoint(intake.request, route) is not None
        for model in intake.plan.models
        for route in model.routes
    )


def estimated_count(intake: Intake) -> tuple[tuple[tuple[str, str], ...], dict[str, object]]:
    """Headers and body of an answer that nobody has counted for."""
    request = intake.request
    headers = (ESTIMATED, ("x-signalbox-model", intake.plan.models[0].name))
    return headers, _ANSWERS[request.door](estimated_tokens(chat_form(request)))
