"""Joining a second answer on to what was sent: what is new of it, however it comes in pieces."""

import contextlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from signalbox.adapters.splice import Splice, SpliceMismatch, prefill_text
from tests.recordings import cut

TEXT = st.text("ab \n", max_size=12)
"""So few letters that what is different often begins alike."""
KINDS = [
    pytest.param({"strict": True}, id="splice"),
    pytest.param({"strict": False}, id="prefill-echoed"),
    pytest.param({"strict": False, "echoes": False}, id="prefill"),
]


def feed(splice: Splice, texts: list[str], passed: list[str]) -> None:
    for text in texts:
        passed.append(splice.admit(text))
    passed.append(splice.rest())


def let_through(splice: Splice, texts: list[str]) -> str:
    passed: list[str] = []
    feed(splice, texts, passed)
    return "".join(passed)


@pytest.mark.parametrize("kind", KINDS)
@given(whole=TEXT, sent_chars=st.integers(0, 12), places=st.lists(st.integers(0, 12)))
def test_what_was_sent_and_what_is_let_through_are_the_whole_text(
    kind: dict[str, bool], whole: str, sent_chars: int, places: list[int]
) -> None:
    sent = whole[:sent_chars]
    repeats = kind.get("echoes", True)
    answer = whole if repeats else whole[len(prefill_text(sent)) :]
    splice = Splice(sent, **kind)
    assert sent + let_through(splice, cut(answer, places)) == whole
    assert splice.joined


@given(sent=TEXT, texts=st.lists(TEXT))
def test_a_strict_splice_lets_nothing_through_but_what_follows_a_repetition(
    sent: str, texts: list[str]
) -> None:
    splice, answer = Splice(sent, strict=True), "".join(texts)
    if answer.startswith(sent):
        assert let_through(splice, texts) == answer.removeprefix(sent)
        return
    passed: list[str] = []
    with pytest.raises(SpliceMismatch):
        feed(splice, texts, passed)
    assert "".join(passed) == ""
    assert not splice.joined


@given(sent=TEXT, texts=st.lists(TEXT))
def test_what_does_not_repeat_a_prefill_is_new_as_a_whole(sent: str, texts: list[str]) -> None:
    """Also where it begins like what was sent and ends before it said all of it."""
    answer, begun = "".join(texts), prefill_text(sent)
    assume(not begun or not answer.startswith(begun))
    new = let_through(Splice(sent, strict=False), texts)
    assert answer.endswith(new)
    repeated_whitespace = answer.removesuffix(new)
    assert sent.removeprefix(begun).startswith(repeated_whitespace)


@given(sent=TEXT, texts=st.lists(TEXT))
def test_a_provider_that_never_repeats_is_never_held_back(sent: str, texts: list[str]) -> None:
    splice, cut_off = Splice(sent, strict=False, echoes=False), sent[len(prefill_text(sent)) :]
    assert splice.joined
    came, passed = "", ""
    for text in texts:
        came, passed = came + text, passed + splice.admit(text)
        assert len(came) - len(passed) <= len(cut_off)
    assert splice.rest() == ""


@pytest.mark.parametrize("kind", KINDS)
@given(sent=st.text(), texts=st.lists(st.text()))
def test_no_text_raises_anything_but_a_mismatch(
    kind: dict[str, bool], sent: str, texts: list[str]
) -> None:
    with contextlib.suppress(SpliceMismatch):
        let_through(Splice(sent, **kind), texts)


def test_text_is_held_while_it_agrees_and_comes_out_when_it_departs() -> None:
    splice = Splice("Hello world", strict=False)
    assert [splice.admit(text) for text in ("Hel", "lo", " moon", "!")] == [
        "",
        "",
        "Hello moon",
        "!",
    ]


def test_a_continuation_that_ends_while_it_agrees_is_new() -> None:
    splice = Splice("ha ha ha", strict=False)
    assert splice.admit(" ha") == " ha"
    splice = Splice("ha ha ha", strict=False)
    assert (splice.admit("ha ha"), splice.rest()) == ("", "ha ha")


@pytest.mark.parametrize(
    ("sent", "continued", "new"),
    [
        ("One,\n\n", "\n\ntwo", "two"),
        ("One,\n\n", "\ntwo", "two"),
        ("One,\n\n", "two", "two"),
        ("One, ", "  two", " two"),
        ("One, ", "\ntwo", "\ntwo"),
        ("One,", " two", " two"),
        (" \n", " \nOne", "One"),
    ],
)
def test_whitespace_that_the_model_was_not_given_is_not_said_twice(
    sent: str, continued: str, new: str
) -> None:
    for texts in ([continued], list(continued)):
        assert let_through(Splice(sent, strict=False, echoes=False), texts) == new
        assert let_through(Splice(sent, strict=False), [prefill_text(sent), *texts]) == new


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["Hello m"], "departs after it repeated 0 of the 11 characters"),
        (["Hello", " moon"], "departs after it repeated 5 of the 11 characters"),
        (["Hello", " "], "ends after it repeated 6 of the 11 characters"),
    ],
)
def test_a_mismatch_says_how_far_it_came(texts: list[str], words: str) -> None:
    with pytest.raises(SpliceMismatch, match=words):
        let_through(Splice("Hello world", strict=True), texts)


def test_it_is_joined_once_all_was_repeated() -> None:
    splice = Splice("abc", strict=True)
    seen = [(splice.joined, splice.admit(text)) for text in "abcd"]
    assert seen == [(False, ""), (False, ""), (False, ""), (True, "d")]
