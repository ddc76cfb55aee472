"""What can be observed of a request from outside: what its client saw, and its saved trace."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import httpx


@dataclass(frozen=True)
class Seen:
    """What the client saw: one whole answer, or as much of a stream as there was."""

    status: int
    headers: httpx.Headers
    body: bytes

    @classmethod
    def of(cls, response: httpx.Response) -> Seen:
        return cls(response.status_code, response.headers, response.content)

    @property
    def trace_id(self) -> str:
        return self.headers["x-signalbox-trace-id"]

    @property
    def streamed(self) -> bool:
        return self.headers["content-type"].startswith("text/event-stream")

    @property
    def _lines(self) -> list[str]:
        return [line for line in self.body.decode().split("\n") if line]

    @property
    def comments(self) -> int:
        return sum(line.startswith(":") for line in self._lines)

    @property
    def ended(self) -> bool:
        """Whether the answer was brought to its end."""
        return not self.streamed or self._lines[-1] == "data: [DONE]"

    @property
    def done_marks(self) -> int:
        return self._lines.count("data: [DONE]")

    @property
    def events(self) -> list[dict[str, Any]]:
        """A stream's events without the end mark; the body where it is no stream."""
        if not self.streamed:
            return [json.loads(self.body)]
        data = [line.removeprefix("data: ") for line in self._lines if line.startswith("data: ")]
        return [json.loads(event) for event in data if event != "[DONE]"]

    @property
    def _choices(self) -> list[dict[str, Any]]:
        return [choice for event in self.events for choice in event.get("choices", ())]

    @property
    def text(self) -> str:
        parts = [choice.get("delta") or choice.get("message") or {} for choice in self._choices]
        return "".join(part.get("content") or "" for part in parts)

    @property
    def finish_reasons(self) -> list[str]:
        reasons = [choice.get("finish_reason") for choice in self._choices]
        return [reason for reason in reasons if reason is not None]

    @property
    def ids(self) -> set[str]:
        return {event["id"] for event in self.events}

    @property
    def usages(self) -> list[dict[str, Any]]:
        return [event["usage"] for event in self.events if event.get("usage")]

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [event["error"] for event in self.events if "error" in event]

    @property
    def error(self) -> dict[str, Any]:
        """The one error that there is."""
        [error] = self.errors
        return error


FAILED = ("attempt_failed", "route_failed", "model_failed")


@dataclass(frozen=True)
class Trace:
    """A saved trace, as `GET /traces/{id}` shows it."""

    raw: dict[str, Any]

    @property
    def trace_id(self) -> str:
        return str(self.raw["id"])

    @property
    def _steps(self) -> list[dict[str, Any]]:
        return list(self.raw["events"])

    @property
    def events(self) -> tuple[str, ...]:
        return tuple(step["name"] for step in self._steps if step["kind"] == "event")

    @property
    def reasons(self) -> dict[str, list[str]]:
        """Of each event that gives one, the reasons in order."""
        found: dict[str, list[str]] = {}
        for step in self._steps:
            if step["kind"] == "event" and step["data"]["reason"]:
                found.setdefault(step["name"], []).append(step["data"]["reason"])
        return found

    @property
    def failures(self) -> list[str]:
        """The kind of each attempt's failure. The fact says it; of an answer that came to its end
        and was none, the move that follows does."""
        kinds = []
        for step, after in pairwise(self._steps):
            if step["name"] == "UpstreamFailed":
                kinds.append(step["data"]["failure"]["kind"])
            elif step["name"] == "UpstreamEnded" and after["name"] in FAILED:
                kinds.append(after["data"]["reason"].partition(":")[0])
        return kinds

    def payloads(self, kind: str) -> list[Any]:
        """The recorded bodies of this kind, decoded."""
        return [json.loads(p["body"]) for p in self.raw["payloads"] if p["kind"] == kind]
