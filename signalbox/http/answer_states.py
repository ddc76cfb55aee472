"""A request of the Responses API meets again the answers that the gateway keeps for it.

Before anything else looks for state in the request: what is resolved here lives at no provider.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from signalbox.actors.provider_state import ProviderState
from signalbox.actors.services import Surveyor
from signalbox.adapters.answer_memory import (
    Reference,
    Unkept,
    bytes_of,
    item_references,
    items_before,
    items_by_id,
    items_of_answer,
    previous_answer,
    restored,
    states_of,
    unkept,
)
from signalbox.adapters.door import DoorEncoder
from signalbox.adapters.protocol import Answer, Delta, Seam
from signalbox.adapters.responses_body import responses_outline
from signalbox.adapters.responses_encoder import ResponseEncoder
from signalbox.adapters.translated import TranslatedAdapter
from signalbox.errors import ApiError, StoreUnavailable
from signalbox.http.asgi import RequestError
from signalbox.http.conversation import conversation_digest
from signalbox.http.intake import BYTES_PER_TOKEN, Intake
from signalbox.http.state_pins import MOST_REFERENCES, nobody_can_tell
from signalbox.machines.decisions import refusal
from signalbox.types import Dialect, Request, StateKind, Usage

ANSWERS_AT_ONCE = 32
"""How many are loaded together: 32 MB at most."""

_Name = tuple[StateKind, str]


@dataclass(slots=True)
class _Found:
    """What there is of what a request refers to."""

    before: list[msgspec.Raw] = field(default_factory=list)
    resumed: bool = False
    by_id: dict[str, msgspec.Raw] = field(default_factory=dict)
    missing: list[Reference] = field(default_factory=list)


async def with_answers(
    intake: Intake,
    services: Surveyor,
    state: ProviderState,
    headers: Mapping[str, str],
    *,
    limit: int,
) -> Intake:
    """The intake with what it refers to in its body, as far as the gateway keeps it. `limit`: the
    bytes that a body may have.

    Raises `RequestError`: 400 `state_unavailable` naming the field where it is known why something
    is not kept, or nobody could have kept it; 503 where nobody can tell.
    """
    request = intake.request
    if request.door is not Dialect.RESPONSES:
        return intake
    remembered = request.stored and intake.payloads != "off"
    intake = replace(intake, request=replace(request, remembered=remembered))
    previous, items = previous_answer(request.body), item_references(request.body)
    if previous is None and not items:
        return intake
    if len(items) > MOST_REFERENCES:
        message = f"more than {MOST_REFERENCES} references to items"
        raise RequestError(refusal("invalid_value", message, items[MOST_REFERENCES].field))
    only_here = _only_here(intake, services)
    try:
        found = await _find(request.key_id, state, previous, items, limit)
    except StoreUnavailable:
        if not only_here:
            # What is at a provider may be known all the same.
            return intake
        first = previous or items[0]
        raise RequestError(nobody_can_tell(first.field)) from None
    if found.missing and only_here:
        raise RequestError(_unknown(found.missing[0]))
    if not found.resumed and not found.by_id:
        return intake
    return _resolved(intake, found, headers)


def _only_here(intake: Intake, services: Surveyor) -> bool:
    """Whether no route of the plan keeps answers itself."""
    plan = intake.plan
    models = (*plan.models, *plan.context_fallbacks, *plan.content_fallbacks)
    endpoints = (services.endpoint(intake.request, r) for model in models for r in model.routes)
    return all(each is None or isinstance(each.adapter, TranslatedAdapter) for each in endpoints)


async def _find(
    key: str,
    state: ProviderState,
    previous: Reference | None,
    items: Sequence[Reference],
    limit: int,
) -> _Found:
    found = _Found()
    names: list[_Name] = [(StateKind.ITEM, item.id) for item in items]
    if previous is not None:
        names += [(StateKind.ANSWER, previous.id), (StateKind.INPUT, previous.id)]
    kept = await state.kept(key, names)
    size = _Size(limit)
    if previous is not None:
        _find_previous(previous, kept, found)
        size.add(found.before, previous)
    answers: dict[str, list[Reference]] = {}
    for item in items:
        answer = kept.get((StateKind.ITEM, item.id))
        if answer is None:
            found.missing.append(item)
        else:
            answers.setdefault(answer.decode("utf-8", "replace"), []).append(item)
    ids = list(answers)
    for start in range(0, len(ids), ANSWERS_AT_ONCE):
        part = ids[start : start + ANSWERS_AT_ONCE]
        kept = await state.kept(key, [(StateKind.ANSWER, id) for id in part])
        for id in part:
            _find_items(answers[id], kept.get((StateKind.ANSWER, id)), found, size)
    return found


def _find_previous(previous: Reference, kept: Mapping[_Name, bytes], found: _Found) -> None:
    answer = kept.get((StateKind.ANSWER, previous.id))
    before = kept.get((StateKind.INPUT, previous.id))
    for data in (answer, before):
        why = None if data is None else unkept(data)
        if why is not None:
            raise RequestError(_not_kept(previous, why))
    if answer is None or before is None:
        found.missing.append(previous)
        return
    found.resumed = True
    found.before = [*items_before(before), *items_of_answer(answer)]


def _find_items(
    items: Sequence[Reference], answer: bytes | None, found: _Found, size: _Size
) -> None:
    why = None if answer is None else unkept(answer)
    if why is not None:
        raise RequestError(_not_kept(items[0], why))
    by_id = items_by_id(items_of_answer(answer or b""))
    for item in items:
        raw = by_id.get(item.id)
        if raw is None:
            found.missing.append(item)
        else:
            found.by_id[item.id] = raw
            size.add([raw], item)


@dataclass(slots=True)
class _Size:
    """What the references come to may be no longer than a body that says it all."""

    left: int

    def add(self, items: Sequence[msgspec.Raw], reference: Reference) -> None:
        self.left -= bytes_of(items)
        if self.left < 0:
            message = (
                f"What {reference.field} refers to makes the request larger than a body may be "
                "(server.max_body_bytes)."
            )
            raise RequestError(refusal("invalid_value", message, reference.field))


def _resolved(intake: Intake, found: _Found, headers: Mapping[str, str]) -> Intake:
    """What was estimated of the body is estimated again; its conversation now has its beginning."""
    request = intake.request
    body = restored(request.body, found.before, found.by_id, resumed=found.resumed)
    outline = responses_outline(body)
    added = bytes_of([*found.before, *found.by_id.values()])
    tokens = request.prompt_tokens + -(-added // BYTES_PER_TOKEN)
    conversation = request.conversation
    if conversation is not None:
        conversation = conversation_digest(request.key_id, body, outline, headers)
    resolved = replace(
        request,
        body=body,
        continues=request.body["previous_response_id"] if found.resumed else None,
        prompt_tokens=tokens,
        begun=outline.begun,
        conversation=conversation,
    )
    return replace(intake, request=resolved, plan=replace(intake.plan, prompt_tokens=tokens))


# ── keeping ───────────────────────────────────────────────────────────────────────────────────


class KeepingEncoder:
    """`DoorEncoder` that has the gateway remember an answer which no provider keeps.

    Before the end goes out: what a client does next may refer to it.
    """

    def __init__(self, inner: ResponseEncoder, request: Request, state: ProviderState) -> None:
        self._inner = inner
        self._request = request
        self._state = state

    def delta(self, delta: Delta) -> bytes:
        return self._inner.delta(delta)

    def resumed(self, seam: Seam) -> bytes:
        return self._inner.resumed(seam)

    def cut(self, choices: int) -> bytes:
        return self._inner.cut(choices)

    def finish(self, provider: str, cost: str | None, usage: Usage | None) -> bytes:
        data = self._inner.finish(provider, cost, usage)
        self._keep()
        return data

    def error(self, error: ApiError) -> bytes:
        return self._inner.error(error)

    def answer(self, answer: Answer, provider: str, cost: str | None) -> bytes:
        data = self._inner.answer(answer, provider, cost)
        self._keep()
        return data

    def _keep(self) -> None:
        told = self._inner.told
        if told is not None:
            self._state.keep(self._request.key_id, states_of(told, self._request))


def keeping(encoder: DoorEncoder, request: Request, state: ProviderState) -> DoorEncoder:
    """The encoder, one that remembers where the door's clients refer to answers."""
    if isinstance(encoder, ResponseEncoder):
        return KeepingEncoder(encoder, request, state)
    return encoder


# ── what a client is told ─────────────────────────────────────────────────────────────────────

_WHY = {
    Unkept.STORE: "which was asked for with store: false",
    Unkept.PAYLOADS: "whose payloads were not to be kept (payloads: off)",
    Unkept.SIZE: "which, or whose input, is larger than 1 MB, more than is kept of one",
    Unkept.DELETED: "which was deleted",
}


def _not_kept(reference: Reference, why: Unkept) -> ApiError:
    message = f"{reference.field} refers to an answer {_WHY[why]}: {_remedy(reference)}"
    return refusal("state_unavailable", message, reference.field)


def _unknown(reference: Reference) -> ApiError:
    message = (
        f"{reference.field} is not known here: nothing that was answered to this API key in the "
        f"last 30 days gave it out. {_remedy(reference).capitalize()}"
    )
    return refusal("state_unavailable", message, reference.field)


def _remedy(reference: Reference) -> str:
    if reference.field == "previous_response_id":
        return "send the conversation itself in input."
    return "send the item itself, as clients do that ask with store: false."
