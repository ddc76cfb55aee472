"""Joining a second answer on to text that was already sent: what of it is new.

Two ways lead on from a broken stream. *Prefill*: the model is given what was sent as the beginning
of its answer and goes on from there; some providers repeat that beginning first. *Splice*: the
model answers from the start, and its text is joined on once it has repeated what was sent.

Trailing whitespace is not sent as prefill (Anthropic's models refuse it), so a model that goes on
may write it once more.
"""

from __future__ import annotations

from itertools import takewhile

from signalbox.errors import SignalboxError


class SpliceMismatch(SignalboxError):
    """A second answer does not repeat what was sent; nothing of it can be joined on."""


def prefill_text(sent: str) -> str:
    """`sent` as a model may be given it: without trailing whitespace."""
    return sent.rstrip()


class Splice:
    """What is new in the text of an attempt that goes on from `sent`. Raises only `SpliceMismatch`.

    `strict`: the text is an answer from the start and must repeat `sent` exactly. Otherwise it
    goes on from `prefill_text(sent)`, and where it `echoes` it may repeat that first: text is held
    as long as it agrees. A continuation that by chance begins with all of it cannot be told from
    a repetition, and loses that beginning.

    Nothing is stored but `sent` and a position in it: what is held is a part of it.
    """

    def __init__(self, sent: str, *, strict: bool, echoes: bool = True) -> None:
        begun = sent if strict else prefill_text(sent)
        self._strict = strict
        self._awaited = begun if strict or echoes else ""
        self._repeated = 0
        self._cut_off = sent[len(begun) :]
        """Whitespace at the end of `sent` that the model was not given and may repeat."""
        self.joined = not self._awaited
        """Whether all was repeated or, where that is no must, it is settled that it is not."""

    def admit(self, text: str) -> str:
        """What is new of the attempt's next text: all of it once `joined`, else mostly ""."""
        return self._without_cut_off(text if self.joined else self._compare(text))

    def rest(self) -> str:
        """At the end of the attempt's text: what was held and turns out to be new."""
        if self.joined:
            return ""
        if self._strict:
            raise self._mismatch("ends")
        self.joined = True
        return self._without_cut_off(self._awaited[: self._repeated])

    def _compare(self, text: str) -> str:
        expected = self._awaited[self._repeated : self._repeated + len(text)]
        if text.startswith(expected):
            self._repeated += len(expected)
            self.joined = self._repeated == len(self._awaited)
            return text[len(expected) :]
        if self._strict:
            raise self._mismatch("departs")
        self.joined = True
        return self._awaited[: self._repeated] + text

    def _without_cut_off(self, text: str) -> str:
        if not self._cut_off or not text:
            return text
        pairs = zip(self._cut_off, text, strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        self._cut_off = self._cut_off[same:] if same == len(text) else ""
        return text[same:]

    def _mismatch(self, what: str) -> SpliceMismatch:
        return SpliceMismatch(
            f"the new answer {what} after it repeated {self._repeated} of the "
            f"{len(self._awaited)} characters that were sent"
        )
