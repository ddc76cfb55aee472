"""How long answers are, by model and gateway key, as providers have counted them lately."""

from __future__ import annotations

from collections import OrderedDict, deque

MOST_PAIRS = 1024
"""Models and keys that are remembered; of more, those that asked last. A pair takes up to 2 KB."""
SAMPLES = 64
"""The latest answers of a pair: enough for a 95th percentile, few enough to follow a change."""
ENOUGH = 8
"""With fewer nobody can say what is usual."""


class AnswerSizes:
    """In memory alone, of this process: what it says is a first guess, never a bound."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pairs)

    def learn(self, model: str, key_id: str, tokens: int) -> None:
        """An answer of so many output tokens."""
        pair = (model, key_id)
        sizes = self._pairs.get(pair)
        if sizes is None:
            if len(self._pairs) >= MOST_PAIRS:
                self._pairs.popitem(last=False)
            sizes = self._pairs[pair] = deque(maxlen=SAMPLES)
        else:
            self._pairs.move_to_end(pair)
        sizes.append(tokens)

    def expected(self, model: str, key_id: str) -> int | None:
        """The 95th percentile; None: too little is known."""
        sizes = self._pairs.get((model, key_id))
        if sizes is None or len(sizes) < ENOUGH:
            return None
        return sorted(sizes)[min(len(sizes) - 1, len(sizes) * 95 // 100)]
