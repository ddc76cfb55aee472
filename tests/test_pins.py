"""Requests that refer to state at a provider: where the machine lets them go, as dialogues."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from signalbox.errors import FailureKind
from signalbox.machines.plan import Pin, RequestPlan
from signalbox.types import Midstream, ProviderPreferences
from tests.dialogue import (
    ADMITTED,
    BACKOFF,
    Dialogue,
    content,
    denied,
    ended,
    failed,
    leased,
    model,
    plan,
    surveyed,
)

FIELD = "previous_response_id"
AT_B = Pin(FIELD, "b:m", "k2", required=True)
MADE_AT_B = Pin("messages[1].reasoning_details[0].data", "b:m", "k2", required=False)
CHAIN = plan(model("m", "a", "b"), model("n", "c"))


def pinned(**fields: object) -> Dialogue:
    """Admitted, with an id that lives at the second route."""
    talk = Dialogue(replace(CHAIN.pinned_to(AT_B), **fields))
    talk.tell(ADMITTED, "admitted: pending → selecting", "survey a:m b:m")
    return talk


def called(talk: Dialogue) -> Dialogue:
    talk.tell(surveyed(talk), "lease #1 b:m best k2 only k2")
    talk.tell(leased(1, "k2"), "route_selected: selecting → executing", "open #1 b:m")
    return talk


def test_an_id_leads_past_the_better_route_to_its_own_and_to_its_key() -> None:
    talk = called(pinned())
    [ranked] = talk.state.alternatives
    assert ranked.reason == "previous_response_id lives here"
    [excluded] = talk.state.excluded
    assert (excluded.route.id, excluded.reason, excluded.param) == (
        "a:m",
        "previous_response_id lives at b:m",
        FIELD,
    )


def test_a_failure_where_the_id_lives_is_what_the_client_is_told() -> None:
    talk = called(pinned())
    talk.tell(
        failed(1, FailureKind.SERVER_ERROR, status=500),
        "settle #1 server_error",
        "attempt_failed: executing → retrying",
        "timer backoff 0.2 s",
    )
    talk.tell(BACKOFF, "lease #2 b:m best k2 only k2")
    talk.tell(leased(2, "k2"), "backoff_elapsed: retrying → executing", "open #2 b:m")
    talk.tell(
        failed(2, FailureKind.FIRST_TOKEN_TIMEOUT),
        "settle #2 first_token_timeout",
        "route_failed: executing → selecting",
        "survey a:m b:m",
    )
    talk.tell(
        surveyed(talk),
        "routes_exhausted: selecting → falling_back",
        "fallbacks_exhausted: falling_back → failed",
        "error 503 all_routes_failed",
        "finish failed",
    )


def test_a_key_that_is_rejected_has_no_stand_in() -> None:
    talk = called(pinned())
    talk.tell(
        failed(1, FailureKind.KEY_REJECTED, status=401),
        "settle #1 key_rejected",
        "attempt_failed: executing → retrying",
        "lease #2 b:m without k2 only k2",
    )


def test_a_request_waits_for_the_key_that_holds_its_state() -> None:
    talk = pinned()
    talk.tell(surveyed(talk), "lease #1 b:m best k2 only k2")
    talk.tell(
        denied(1, available_at=12.0),
        "key_awaited: selecting → selecting",
        "await b:m 30 s only k2",
    )


def test_a_wish_against_the_route_where_the_state_lives_is_the_clients_fault() -> None:
    talk = pinned(preferences=ProviderPreferences(ignore=("b",)))
    talk.tell(
        surveyed(talk),
        "refused: selecting → failed",
        "error 400 invalid_value",
        "finish failed",
    )
    assert "previous_response_id lives at b:m" in talk.error.message


def test_a_pinned_plan_has_no_way_elsewhere() -> None:
    whole = replace(
        CHAIN, midstream=Midstream.CONTINUE, hedge=True, context_fallbacks=(model("n", "c"),)
    )
    cut = whole.pinned_to(AT_B)
    assert [each.name for each in cut.models] == ["m"]
    assert (cut.context_fallbacks, cut.midstream, cut.hedge) == ((), Midstream.ERROR, False)
    assert cut.only_key == "k2"
    assert whole.pinned_to(replace(AT_B, route_id="x:y")).models == ()


# Encrypted reasoning


def with_reasoning(made_at_b: RequestPlan = CHAIN) -> Dialogue:
    talk = Dialogue(replace(made_at_b, pin=MADE_AT_B))
    talk.tell(ADMITTED, "admitted: pending → selecting", "survey a:m b:m")
    talk.tell(surveyed(talk), "lease #1 b:m best k2")
    return talk


@pytest.mark.parametrize("preferences", [ProviderPreferences(), ProviderPreferences(order=("a",))])
def test_encrypted_reasoning_leads_to_where_it_was_made_first(
    preferences: ProviderPreferences,
) -> None:
    talk = with_reasoning(replace(CHAIN, preferences=preferences))
    first, second = talk.state.alternatives
    assert first.reason == f"{MADE_AT_B.field} was made here, and is left out elsewhere"
    assert (first.route.id, second.route.id) == ("b:m", "a:m")


def test_encrypted_reasoning_does_not_keep_a_request_from_the_other_routes() -> None:
    talk = with_reasoning()
    talk.tell(leased(1, "k2"), "route_selected: selecting → executing", "open #1 b:m")
    talk.tell(
        failed(1, FailureKind.FIRST_TOKEN_TIMEOUT),
        "settle #1 first_token_timeout",
        "route_failed: executing → selecting",
        "survey a:m b:m",
    )
    talk.tell(surveyed(talk), "lease #2 a:m")
    talk.tell(leased(2), "route_selected: selecting → executing", "open #2 a:m")
    talk.tell(ended(2), "settle #2", "charge #2 answered")


def test_a_retry_prefers_the_key_that_made_the_reasoning_too() -> None:
    talk = with_reasoning()
    talk.tell(leased(1, "k2"), "route_selected: selecting → executing", "open #1 b:m")
    talk.tell(
        failed(1, FailureKind.SERVER_ERROR),
        "settle #1 server_error",
        "attempt_failed: executing → retrying",
        "timer backoff 0.2 s",
    )
    talk.tell(BACKOFF, "lease #2 b:m best k2")


def test_a_stream_with_reasoning_is_rescued_elsewhere() -> None:
    talk = with_reasoning(replace(CHAIN, stream=True, midstream=Midstream.CONTINUE))
    talk.tell(leased(1, "k2"), "route_selected: selecting → executing", "open #1 b:m")
    talk.tell(content(1), "first_token_received: executing → streaming", "commit #1")
    talk.tell(
        failed(1, FailureKind.CONNECTION_LOST),
        "settle #1 connection_lost",
        "stream_resumed: streaming → selecting",
        "survey a:m b:m",
    )
    talk.tell(surveyed(talk), "lease #2 a:m")
