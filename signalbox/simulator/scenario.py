"""Scenarios: which requests the simulator breaks, and how.

A scenario is a TOML or JSON file, a value built in Python from the classes below, or the JSON body
of `POST /_simulator/scenario`. It has two parts, both optional:

    [[rules]]                       the first rule that matches a request scripts its answer
    match = { model = "gpt-4o" }    all conditions must hold; none: every request matches
    steps = [ { status = 429 }, { cut_after = 3 } ]
    then = "ok"                     after the last step: "repeat_last" (default), "loop", "ok"

    [keys."sk-one"]                 a sliding limit of this key; past it: 429, retry-after
    rpm = 3

**Match**: `model` (`*` stands for any text), `key` (in the API's own header), `header` (a table of
names and exact values), `body_contains` (text anywhere in the raw body). Each request that matches
takes the rule's next step, whoever sent it. An answer after `then = "ok"` is the usual one.

**Step**, all fields optional; `{}` is the usual answer. Times are in seconds.

| field | meaning |
|---|---|
| `delay` | wait before anything is sent |
| `connect` | instead of an answer: `"reset"` (TCP RST), `"close"` (FIN), `"garbage"` (not HTTP) |
| `silence` | never answer; ends when the client closes |
| `status` | 300 and above: an error answer with the usual body of the API that is spoken |
| `error` | a name of `errors.ERRORS`: its body, and its status where `status` is not given |
| `body` | this body instead: a table or list (sent as JSON) or a string (as plain text) |
| `headers` | further header fields, e.g. `{ retry-after = 2 }` |
| `ratelimit` | the API's rate-limit header fields: `limit_requests`, `remaining_requests`, `reset_requests`, and the same with `_tokens`; fields left out are not sent (Gemini has none; Anthropic's resets are RFC 3339 times) |
| `html_200` | a page of HTML with status 200 |
| `text` | the answer's content, instead of the usual sentence or tool call |
| `reasoning` | this reasoning before the content, asked for or not; empty: none |
| `cached` | this many tokens of the prompt are told as read from the cache |
| `empty` | no content, finish reason `stop` |
| `content_filter` | no content, finish reason `content_filter`, with Azure's filter results |
| `finish` | this finish reason; `stop`, `length`, `tool_calls` and `content_filter` in the API's own words |
| `usage` | `"normal"` (as the request asks), `"none"` (never), `"in_choice"` (in the finish chunk, asked for or not), `"thrice"` (as Groq: twice in the finish chunk, once after it) |
| `first_token_delay` | wait between the head (and the role) and the first content |
| `token_delay` | wait between content chunks; overrides the simulator's speed |
| `stall_after` | after this many content chunks nothing more comes; the connection stays open |
| `cut_after` | after this many content chunks the connection breaks inside the next one |
| `how` | how `cut_after` ends: `"fin"` (default), `"rst"`, or `"eof"` (HTTP ends as it should, the answer does not) |
| `error_after` | after this many content chunks the stream reports `error` (default `server_error`) |
| `error_style` | of chat completions, as which provider: `"openai"` (default), `"groq"`, `"openrouter"`; of responses, other than `"openai"`: an `error` event instead of `response.failed` |
| `malformed_after` | after this many content chunks comes one that is not JSON; the rest follows |
| `no_role` | no chunk for the role alone: the first content carries it |
| `no_finish`, `repeat_finish` | the finish chunk is left out, or sent twice |
| `no_done` | no `[DONE]`, no `message_stop`; of responses, as `no_finish` |
| `hang_up` | the connection is closed when all is sent; a stream's last HTTP chunk is left out |
| `crlf`, `bom`, `comments` | line ends are CRLF; a byte order mark first; SSE comments before the content |
| `split` | bytes per HTTP chunk and write: `"byte"` or a number |

A JSON answer (not streamed) waits `first_token_delay` and one `token_delay` for each further token
before its head; `stall_after` and `cut_after` stop inside its body, `error_after` puts the error
into a 200, `malformed_after` sends half of the JSON as if it were all. What concerns SSE alone is
ignored there. A number of chunks that the answer does not have means its last one.
"""  # noqa: E501 - a table row is one line

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from signalbox.simulator.errors import ERRORS, SimulatorError
from signalbox.simulator.headers import BODILESS_STATUSES, FRAMING_HEADERS, header_problem

Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]
Chunks = Annotated[int, Meta(ge=0)]
"""A number of content chunks, counted over all choices of the answer; reasoning is among them."""


class ScenarioError(SimulatorError):
    """A scenario that cannot be played; the message names its source, the field and the fault."""


class RateLimit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """OpenAI's `x-ratelimit-…` header fields. Resets are durations such as `6ms` or `1m30s`."""

    limit_requests: Count | None = None
    remaining_requests: Count | None = None
    reset_requests: str | None = None
    limit_tokens: Count | None = None
    remaining_tokens: Count | None = None
    reset_tokens: str | None = None

    def headers(self) -> dict[str, str]:
        said = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {
            f"x-ratelimit-{name.replace('_', '-')}": str(value)
            for name, value in said
            if value is not None
        }

    def __post_init__(self) -> None:
        _check_headers(self.headers())


class Step(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How one request is answered. The module's docstring explains every field."""

    delay: Seconds = 0.0
    connect: Literal["reset", "close", "garbage"] | None = None
    silence: bool = False

    status: Annotated[int, Meta(ge=200, le=599)] | None = None
    error: str | None = None
    body: dict[str, Any] | list[Any] | str | None = None
    headers: dict[str, str | int | float] = {}
    ratelimit: RateLimit | None = None
    html_200: bool = False

    text: str | None = None
    reasoning: str | None = None
    cached: Count = 0
    empty: bool = False
    content_filter: bool = False
    finish: str | None = None
    usage: Literal["normal", "none", "in_choice", "thrice"] = "normal"

    first_token_delay: Seconds = 0.0
    token_delay: Seconds | None = None
    stall_after: Chunks | None = None
    cut_after: Chunks | None = None
    how: Literal["fin", "rst", "eof"] | None = None
    error_after: Chunks | None = None
    error_style: Literal["openai", "groq", "openrouter"] | None = None
    malformed_after: Chunks | None = None
    no_role: bool = False
    no_finish: bool = False
    repeat_finish: bool = False
    no_done: bool = False
    hang_up: bool = False
    crlf: bool = False
    bom: bool = False
    comments: bool = False
    split: Literal["byte"] | Annotated[int, Meta(ge=1)] | None = None

    @property
    def refuses(self) -> bool:
        """True where the request gets an error or a fixed body, whatever it asks for."""
        return (
            self.body is not None
            or self.html_200
            or (self.status or 0) >= 300
            or (self.error is not None and self.error_after is None)
        )

    def __post_init__(self) -> None:
        if self.error is not None and self.error not in ERRORS:
            raise ValueError(f"error: {self.error!r} is none of {', '.join(ERRORS)}")
        if self.status in BODILESS_STATUSES:
            raise ValueError(f"status: {self.status} has no body, which every answer here has")
        _check_headers(self.extra_headers())
        if self.how is not None and self.cut_after is None:
            raise ValueError("how: says how `cut_after` ends, which is not given")
        if self.error_style is not None and self.error_after is None:
            raise ValueError("error_style: is about `error_after`, which is not given")
        if self.no_finish and self.repeat_finish:
            raise ValueError("no_finish and repeat_finish contradict each other")
        self._one_of("connect", "silence", "refuses", "_ends_early", "hang_up")
        self._one_of("stall_after", "cut_after", "error_after")
        self._one_of("text", "empty", "content_filter")
        self._one_of("body", "error", "html_200")

    @property
    def _ends_early(self) -> bool:
        return (self.stall_after, self.cut_after, self.error_after) != (None, None, None)

    def _one_of(self, *names: str) -> None:
        given = [name for name in names if getattr(self, name) not in (None, False)]
        if len(given) > 1:
            words = {"refuses": "status/error/body/html_200"}
            words["_ends_early"] = "stall_after/cut_after/error_after"
            raise ValueError(f"only one of {', '.join(words.get(n, n) for n in given)} can happen")

    def extra_headers(self) -> dict[str, str]:
        """The step's own header fields by lower-case name."""
        return {name.lower(): str(value) for name, value in self.headers.items()}


class Match(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Conditions on a request; all that are given must hold."""

    model: str | None = None
    key: str | None = None
    header: dict[str, str] = {}
    body_contains: str | None = None


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Steps for the requests that match, one after the other."""

    match: Match = Match()
    steps: Annotated[tuple[Step, ...], Meta(min_length=1)]
    then: Literal["repeat_last", "loop", "ok"] = "repeat_last"


class KeyRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The limit of one bearer key: `rpm` requests in any 60 seconds."""

    rpm: Annotated[int, Meta(ge=1)]


class Scenario(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What `serve_simulator` plays. The empty one answers everything."""

    rules: tuple[Rule, ...] = ()
    keys: dict[str, KeyRule] = {}

    def to_json(self) -> bytes:
        """The body for `POST /_simulator/scenario`."""
        return msgspec.json.encode(self)


def load_scenario(path: Path) -> Scenario:
    """Reads a scenario file: TOML where the name ends in `.toml`, JSON otherwise.

    Raises ScenarioError naming the file and what is wrong with it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror or error}") from error
    if path.suffix != ".toml":
        return parse_scenario(data, source=str(path))
    try:
        content = tomllib.loads(data.decode())
    except ValueError as error:
        raise ScenarioError(f"{path}: not TOML: {error}") from error
    return _to_scenario(content, source=str(path))


def parse_scenario(data: bytes, *, source: str) -> Scenario:
    """Reads a scenario from JSON. Raises ScenarioError that begins with `source`."""
    try:
        content = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ScenarioError(f"{source}: not JSON: {error}") from error
    return _to_scenario(content, source=source)


def _to_scenario(content: object, *, source: str) -> Scenario:
    unknown = list(_unknown_fields(content, Scenario, ""))
    if unknown:
        raise ScenarioError(f"{source}: {'; '.join(unknown)}")
    try:
        return msgspec.convert(content, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{source}: {error}") from error


_NESTED: dict[type[Struct], dict[str, type[Struct]]] = {
    Scenario: {"rules": Rule, "keys": KeyRule},
    Rule: {"match": Match, "steps": Step},
    Step: {"ratelimit": RateLimit},
}


def _unknown_fields(value: object, kind: type[Struct], path: str) -> Iterator[str]:
    """Every field that `kind` does not have, with its path and the fields there are."""
    if not isinstance(value, dict):
        return  # the wrong type is named by the conversion
    for name, inner in value.items():
        here = f"{path}.{name}" if path else name
        if name not in kind.__struct_fields__:
            known = ", ".join(kind.__struct_fields__)
            yield f"{here}: unknown field, expected one of {known}"
        nested = _NESTED.get(kind, {}).get(name)
        if nested is None:
            continue
        if isinstance(inner, list):
            for index, item in enumerate(inner):
                yield from _unknown_fields(item, nested, f"{here}[{index}]")
        elif nested is KeyRule and isinstance(inner, dict):
            for key, item in inner.items():
                yield from _unknown_fields(item, nested, f'{here}."{key}"')
        else:
            yield from _unknown_fields(inner, nested, here)


def _check_headers(headers: dict[str, str]) -> None:
    for name, value in headers.items():
        if name in FRAMING_HEADERS:
            raise ValueError(f"headers: {name} is the simulator's own")
        if problem := header_problem(name, value):
            raise ValueError(f"headers: {problem}")
