"""What the tests of the official SDKs share: one gateway with a model for everything that may
happen to a request, and the error that each SDK must raise for it.

Every model has a provider of its own name, so that one situation's cooldowns and open breakers
never touch another; all of them are one simulator, told apart by the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from signalbox.simulator import Match, Rule, Scenario, Step
from tests.gateway import KEY, Gateway, Provider, gateway, simulated_provider

NARROW_KEY = "narrow-gateway-key-0123456789"
"""May call the model `m` and nothing else."""
RATED_KEY = "rated-gateway-key-0123456789"
"""May make one request a minute."""
BODY_LIMIT = 100_000
STORY = "Once upon a time there was a signal box by the sea."

FAULTS: Mapping[str, Step] = {
    "down": Step(status=503),
    "rescued": Step(status=500),
    "passed-on": Step(status=500),
    "garbled": Step(body="this is no JSON", status=200),
    "silent": Step(silence=True),
    "mute": Step(silence=True),
    "limited": Step(status=429, headers={"retry-after": 50}),
    "limited-for-hours": Step(status=429, headers={"retry-after": 9_000}),
    "long": Step(error="context_length_exceeded"),
    "indecent": Step(error="content_policy_violation"),
    "key-revoked": Step(error="invalid_api_key"),
    "story": Step(text=STORY),
    # Apart in time: an error that came in one read with the first content would fall over unseen.
    "breaking": Step(text=STORY, error_after=3, token_delay=0.1),
    "torn": Step(text=STORY, cut_after=3, how="rst"),
    "torn-and-mended": Step(text=STORY, cut_after=3, how="rst"),
    "torn-and-contradicted": Step(text=STORY, cut_after=3, how="rst"),
    "groq-like": Step(usage="thrice"),
    "unasked-usage": Step(usage="in_choice"),
    "usage-less": Step(usage="none"),
    "retried-down": Step(status=503),
    "retried-garbled": Step(body="this is no JSON", status=200),
    "retried-silent": Step(silence=True),
    "never-retried": Step(status=500),
    "twice-retried": Step(status=500),
}
"""What the provider of each model does, again and again; a model not named here answers."""
FAULTS_ONCE: Mapping[str, Step] = {
    "limited-for-a-second": Step(status=429, headers={"retry-after": 1}),
}
"""As `FAULTS`, and then it answers."""
UNDISTURBED = ("m", "vendor/with-a-slash", "standby", "deepseek")
FALLBACKS = {
    "rescued": "standby",
    "passed-on": "standby",
    "unreachable": "standby",
    "torn-and-mended": "story",
    "torn-and-contradicted": "standby",
}
"""The fallback that a model's configuration names. Of these only `story` tells the `STORY`."""
IMPATIENT = ("silent", "retried-silent")
"""Models that wait for an answer a fifth of a second."""
SCENARIO = Scenario(
    rules=(
        *(Rule(match=Match(model=name), steps=(step,)) for name, step in FAULTS.items()),
        *(
            Rule(match=Match(model=name), steps=(step,), then="ok")
            for name, step in FAULTS_ONCE.items()
        ),
    )
)


def config(url: str) -> str:
    """The configuration (TOML) with the simulator at `url` behind every provider."""
    models = (*UNDISTURBED, *FAULTS, *FAULTS_ONCE, "unreachable")
    return f"""
[server]
max_body_bytes = {BODY_LIMIT}
[retry]
attempts = 1
base_delay_ms = 10
max_delay_ms = 20
max_wait_ms = 0
[keys.test]
key = {{ value = "{KEY}" }}
[keys.narrow]
key = {{ value = "{NARROW_KEY}" }}
models = ["m"]
[keys.rated]
key = {{ value = "{RATED_KEY}" }}
rpm = 1
""" + "".join(_model(name, url) for name in models)


def _model(name: str, url: str) -> str:
    provider = name.replace("/", "-")
    address = "http://127.0.0.1:1/v1" if name == "unreachable" else url
    more = f'fallbacks = ["{FALLBACKS[name]}"]\n' if name in FALLBACKS else ""
    if name in IMPATIENT:
        more += "timeouts = { first_token = 0.2, response = 0.2 }\n"
    return f"""
[providers.{provider}]
api = "openai"
base_url = "{address}"
keys = [{{ value = "sk-{provider}-key" }}]
[models."{name}"]
routes = [{{ provider = "{provider}", model = "{name}", input = 1.0, output = 2.0 }}]
{more}"""


@dataclass(frozen=True)
class World:
    gateway: Gateway
    provider: Provider

    def received(self, *models: str) -> list[dict[str, Any]]:
        """The provider's requests for these models (none named: for any), oldest first."""
        everything = self.provider.received()
        return [r for r in everything if not models or r["body"]["model"] in models]

    def forget(self) -> None:
        """The provider begins its scenario anew and has received nothing."""
        self.provider.plays_scenario(SCENARIO)


@contextmanager
def world() -> Iterator[World]:
    with simulated_provider() as provider, gateway(config(provider.url)) as running:
        yield World(running, provider)


def ask(model: str, text: str = "Hello", **fields: Any) -> dict[str, Any]:
    """The parameters of a chat completion; both SDKs take them by the same names."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


@dataclass(frozen=True)
class Raised:
    """What an SDK makes of a status: `exception` is its class by the name that it has in both
    SDKs, None where they have none for that status."""

    exception: str | None
    status: int
    type: str


BAD_REQUEST = Raised("BadRequestError", 400, "invalid_request_error")
UNAUTHENTICATED = Raised("AuthenticationError", 401, "invalid_request_error")
FORBIDDEN = Raised("PermissionDeniedError", 403, "permission_error")
NOT_FOUND = Raised("NotFoundError", 404, "invalid_request_error")
TOO_LARGE = Raised(None, 413, "invalid_request_error")
UNKNOWN_ENCODING = Raised(None, 415, "invalid_request_error")
RATE_LIMITED = Raised("RateLimitError", 429, "requests")
BAD_GATEWAY = Raised("InternalServerError", 502, "server_error")
UNAVAILABLE = Raised("InternalServerError", 503, "server_error")
TOO_LATE = Raised("InternalServerError", 504, "server_error")


@dataclass(frozen=True)
class Refused:
    """A request that fails, and the error that an SDK must raise for it."""

    what: str
    request: Mapping[str, Any]
    raised: Raised
    code: str
    param: str | None = None
    key: str = KEY
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.what


REFUSALS = (
    Refused("unknown key", ask("m"), UNAUTHENTICATED, "invalid_api_key", key="nobody-s-key"),
    Refused(
        "model not allowed", ask("standby"), FORBIDDEN, "model_not_allowed", "model", NARROW_KEY
    ),
    Refused("unknown model", ask("n"), NOT_FOUND, "model_not_found", "model"),
    Refused("wrong type", ask("m", temperature="hot"), BAD_REQUEST, "invalid_value", "temperature"),
    Refused(
        "parameter that no route carries",
        ask("deepseek", n=2),
        BAD_REQUEST,
        "unsupported_parameter",
        "n",
    ),
    Refused(
        "unknown extension",
        ask("m"),
        BAD_REQUEST,
        "invalid_value",
        "extra.nonsense",
        headers={"x-signalbox-extra": '{"nonsense": 1}'},
    ),
    Refused("long prompt", ask("long"), BAD_REQUEST, "context_length_exceeded", "messages"),
    Refused("refused content", ask("indecent"), BAD_REQUEST, "content_policy_violation"),
    Refused("large body", ask("m", "x" * BODY_LIMIT), TOO_LARGE, "request_too_large"),
    Refused(
        "unknown encoding",
        ask("m"),
        UNKNOWN_ENCODING,
        "unsupported_encoding",
        headers={"content-encoding": "br"},
    ),
    Refused("provider's rate limit", ask("limited"), RATE_LIMITED, "rate_limit_exceeded"),
    Refused("unreadable answers", ask("garbled"), BAD_GATEWAY, "bad_upstream"),
    Refused("outage", ask("down"), UNAVAILABLE, "all_routes_failed"),
    Refused("operator's key refused", ask("key-revoked"), UNAVAILABLE, "all_routes_failed"),
    Refused("silence", ask("silent"), TOO_LATE, "timeout"),
)
"""Each fails the same way whole and streamed. 402 comes with budgets; 408 needs a client that
stops in the middle of its body, and 500 a fault of the gateway's own: no SDK can cause them."""


WEATHER_TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
