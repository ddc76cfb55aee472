"""What a streamed chat completion comes to when its chunks are put together."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Folded:
    """Text, tool calls and the rest are those of all choices, in the order in which they came."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    transcript: str = ""
    media: int = 0
    """Events with audio data or pictures."""
    tools: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    """(choice, call) → name and arguments."""
    finish: dict[int, list[str]] = field(default_factory=dict)
    """Choice → the finish reasons that came for it."""
    usage: list[dict[str, Any]] = field(default_factory=list)

    @property
    def chars(self) -> int:
        said = self.text, self.reasoning, self.refusal, self.transcript
        return sum(map(len, said)) + self.media + sum(len("".join(t)) for t in self.tools.values())


def fold(chunks: Iterable[dict[str, Any]]) -> Folded:
    folded = Folded()
    for chunk in chunks:
        if chunk.get("usage"):
            folded.usage.append(chunk["usage"])
        for choice in chunk.get("choices") or ():
            index = choice.get("index") or 0
            if choice.get("finish_reason"):
                folded.finish.setdefault(index, []).append(choice["finish_reason"])
            _add(folded, index, choice.get("delta") or {})
    return folded


def fold_bytes(stream: bytes) -> Folded:
    """A stream as it went over the wire; comments and the end mark do not count."""
    lines = [line for line in stream.decode().splitlines() if line.startswith("data: {")]
    return fold(json.loads(line.removeprefix("data: ")) for line in lines)


def fold_answer(completion: dict[str, Any]) -> Folded:
    """A whole answer as the one chunk that it amounts to."""
    choices = [{**c, "delta": c.get("message") or {}} for c in completion.get("choices", ())]
    return fold([{**completion, "choices": choices}])


def _add(folded: Folded, choice: int, delta: dict[str, Any]) -> None:
    content = delta.get("content") or ""
    if isinstance(content, str):
        folded.text += content
    else:
        for part in content:
            folded.text += part.get("text") or ""
            folded.reasoning += "".join(t["text"] for t in part.get("thinking") or ())
    folded.reasoning += delta.get("reasoning_content") or delta.get("reasoning") or ""
    folded.refusal += delta.get("refusal") or ""
    audio = delta.get("audio") or {}
    folded.transcript += audio.get("transcript") or ""
    folded.media += bool(audio.get("data")) + len(delta.get("images") or ())
    for position, call in enumerate(delta.get("tool_calls") or ()):
        said = folded.tools.setdefault((choice, call.get("index", position)), ["", ""])
        function = call.get("function") or call.get("custom") or {}
        said[0] += function.get("name") or ""
        said[1] += function.get("arguments") or function.get("input") or ""
    function = delta.get("function_call")
    if function:
        folded.tools[choice, 0] = [function.get("name") or "", function.get("arguments") or ""]
