"""Which budgets bound what a request may cost, and what it may come to under the hard ones.

Last of all that is found out of a request: what state it refers to is in its body by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.actors.answer_sizes import AnswerSizes
from signalbox.actors.budgets_of import BudgetsOf
from signalbox.actors.key_ring import GatewayKey
from signalbox.adapters.output_ceilings import LEAST_THINKING, ceiling_of, has_ceiling, thinks
from signalbox.adapters.registry import EMBEDDINGS
from signalbox.adapters.token_bound import answers_charged, image_tokens, input_bound
from signalbox.http.intake import Intake
from signalbox.machines.budget import Budget, BudgetScope, Period
from signalbox.machines.explaining import models_of
from signalbox.machines.spending import LEAST_OUTPUT, Spending
from signalbox.types import NanoUSD, Request

OWN_ID = "request"
"""Of the ceiling that a request brings."""


def with_budgets(
    intake: Intake, key: GatewayKey, budgets_of: BudgetsOf, sizes: AnswerSizes, usual: int
) -> Intake:
    """The intake with its budgets. `usual`: the most of an answer that cannot be cut, where the
    client gives no ceiling."""
    request = intake.request
    found = budgets_of.budgets_for(key, request.user, request.tags)
    if request.extra.max_cost is not None:
        found = (*found, _own(request.extra.max_cost))
    if not found or not _is_charged(request):
        return intake
    budgets = tuple(found)
    hard = tuple(budget for budget in budgets if budget.hard)
    if not hard:
        return replace(intake, budgets=budgets)
    spending = _spending(intake, hard, sizes, usual)
    bound = spending.input
    # An estimate that no bound allows is one of base64, which is no text.
    most = bound.text + bound.documents + bound.audio
    most += bound.images * max(spending.image_tokens.values(), default=0)
    likely = request.prompt_tokens if bound.open_end else min(request.prompt_tokens, most)
    return msgspec.structs.replace(
        intake,
        request=replace(request, prompt_tokens=likely),
        plan=replace(intake.plan, spending=spending, prompt_tokens=likely),
        budgets=budgets,
    )


def _own(limit: NanoUSD) -> Budget:
    return Budget(OWN_ID, "max_cost", BudgetScope.REQUEST, None, limit, Period.TOTAL, hard=True)


def _is_charged(request: Request) -> bool:
    """Counting tokens is free."""
    return request.door in EMBEDDINGS or has_ceiling(request.door)


def _spending(intake: Intake, hard: Iterable[Budget], sizes: AnswerSizes, usual: int) -> Spending:
    request, plan = intake.request, intake.plan
    bound = input_bound(request)
    models = models_of(plan)
    images = {
        route.id: image_tokens(route.model)
        for model in models
        for route in model.routes
        if bound.images
    }
    writes: dict[str, Any] = {"answers": 0}
    if has_ceiling(request.door):
        expected = {it.name: sizes.expected(it.name, request.key_id) for it in models}
        writes = {
            "ceiling": ceiling_of(request),
            "answers": answers_charged(request),
            "least": LEAST_THINKING if thinks(request) else LEAST_OUTPUT,
            "expected": {name: size for name, size in expected.items() if size is not None},
        }
        if thinks(request) and writes["ceiling"] is not None:
            # What it thinks comes on top of that at some providers.
            writes["ceiling"] = max(writes["ceiling"], LEAST_THINKING)
    return Spending(
        budgets=tuple(hard),
        input=bound,
        streamed=request.stream,
        usual=usual,
        image_tokens=images,
        # Where the gateway's own key may stand in for the caller's, that has to be paid for.
        callers_own=() if plan.byok_fallback else tuple(request.byok),
        **writes,
    )
