"""The benchmark's statistics, its judgement of answers, and the page that is made of its rows."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import answers, lookup, process_tree, rows, wire
from benchmarks.figures import Spread, quantile, spread
from benchmarks.goals import Goal, goals
from benchmarks.lookup import Figures
from benchmarks.report import DOCUMENT, document, page
from benchmarks.rows import Missing, Row, Run
from benchmarks.upstream import framed, head, whole
from tests import benchmark_runs

SAMPLES = st.lists(st.floats(0, 1e6), min_size=1, max_size=200)


@given(SAMPLES, st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_the_least_sample_that_its_share_does_not_exceed(
    samples: list[float], share: float
) -> None:
    found = quantile(samples, share)
    assert found in samples
    assert sum(each <= found for each in samples) >= share * len(samples) - 1e-6
    assert sum(each < found for each in samples) < share * len(samples)


def test_quantiles_of_a_hundred() -> None:
    hundred = [float(number) for number in range(1, 101)]
    assert (quantile(hundred, 0.5), quantile(hundred, 0.99), quantile([], 0.5)) == (50, 99, None)


def test_a_spread_is_the_median_between_the_least_and_the_most() -> None:
    assert spread([3.0, None, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0)
    assert spread([None]) is None


def test_ratios_are_taken_within_a_round() -> None:
    # A slow second round slows both; the medians' ratio would be 2.
    assert lookup.ratio({1: 2.0, 2: 30.0, 3: 4.0}, {1: 1.0, 2: 10.0}) == Spread(2.5, 2.0, 3.0)


def test_the_processes_and_clocks_of_this_one() -> None:
    assert process_tree.stat_fields(Path("/proc/self/stat").read_text())[0] == os.getppid()
    assert process_tree.stat_fields("7 (a) b) S 3 " + "0 " * 11 + "150 50 0")[0] == 3
    assert os.getpid() in process_tree.tree([os.getppid()])
    before = process_tree.cpu_seconds([os.getpid()])
    assert process_tree.cpu_seconds([os.getpid()]) > before
    assert process_tree.memory([os.getpid()]).proportional > 1_000_000


@pytest.mark.parametrize("chunked", [True, False])
def test_a_right_answer_in_one_piece(chunked: bool) -> None:
    body = wire.openai_answer()
    data = whole("200 OK", body)
    if chunked:
        data = head("200 OK", "application/json", None) + framed(body) + answers.CHUNKS_END
    assert answers.is_whole(data)
    assert not any(answers.is_whole(data[:cut]) for cut in range(len(data)))
    assert answers.complaint_about_json(data) is None


def test_wrong_answers_in_one_piece() -> None:
    good = whole("200 OK", wire.openai_answer())
    assert answers.complaint_about_json(good.replace(b"w050", b"w051")) is not None
    assert answers.complaint_about_json(good.replace(b"200 OK", b"500 OK")) is not None
    assert answers.complaint_about_json(good.replace(b"_tokens", b"_t")) is not None


def stream(events: list[bytes]) -> bytes:
    frames = b"".join(map(framed, events))
    return head("200 OK", "text/event-stream", None) + frames + answers.CHUNKS_END


def test_a_right_stream_and_what_is_wrong_with_others() -> None:
    events = wire.openai_stream()
    assert len(events) == wire.CHUNKS + 2
    assert answers.complaint_about_stream(stream(events)) is None
    swapped = [*events[:5], events[6], events[5], *events[7:]]
    for wrong in (
        events[:50] + events[51:],  # a piece is missing
        swapped,
        events[:-1],  # no finish reason, no [DONE]
        [*events[:-1], events[-1].replace(b"data: [DONE]\n\n", b"")],
        [*events[:-1], events[-1].replace(b'"stop"', b'"error"')],
        [*events, events[5]],
    ):
        assert answers.complaint_about_stream(stream(wrong)) is not None
    cut = stream(events)[: -len(answers.CHUNKS_END)]
    assert (answers.complaint_about_stream(cut) or "").startswith("framing")


def reached(run: Run) -> dict[str, bool | None]:
    return {goal.title: goal.reached for goal in goals(Figures(run))}


def test_goals_are_judged_by_their_worst_case() -> None:
    found = reached(benchmark_runs.run())
    assert set(found.values()) == {True}
    dear = [
        msgspec.structs.replace(row, outcome=benchmark_runs.outcome(cost=0.001))
        if (row.server, row.case) == ("signalbox", "json-256")
        else row
        for row in benchmark_runs.run().rows
    ]
    found = reached(msgspec.structs.replace(benchmark_runs.run(), rows=dear))
    assert found["JSON requests for a CPU second, against Portkey"] is False
    assert found["CPU for a JSON request, from 1 connection"] is False
    assert found["SSE pieces for a CPU second, against Portkey"] is True


def test_what_was_not_measured_is_not_reached() -> None:
    left = [row for row in benchmark_runs.run().rows if row.server != "litellm"]
    found = reached(msgspec.structs.replace(benchmark_runs.run(), rows=left))
    assert found["JSON requests for a CPU second, against LiteLLM"] is None


def test_an_error_in_the_slow_case_is_enough() -> None:
    wrong = [
        msgspec.structs.replace(row, outcome=benchmark_runs.outcome(errors=1))
        if (row.server, row.case) == ("signalbox", "slow-256")
        else row
        for row in benchmark_runs.run().rows
    ]
    run = msgspec.structs.replace(benchmark_runs.run(), rows=wrong)
    [slow] = [goal for goal in goals(Figures(run)) if goal.title.startswith("upstream of")]
    assert slow.reached is False
    assert "round 2: 1 of 1001: `HTTP/1.1 500 : it \\| broke`" in document(run, "", "")


def test_a_server_that_answers_wrongly_has_no_figures() -> None:
    row = Row(1, "portkey", "plain", "json-1", benchmark_runs.outcome(errors=20), {})
    own = Row(1, "signalbox", "plain", "json-1", benchmark_runs.outcome(errors=20), {})
    figures = Figures(msgspec.structs.replace(benchmark_runs.run(), rows=[row, own]))
    assert figures.of("portkey", "json-1", lookup.cost) is None
    assert figures.of("signalbox", "json-1", lookup.cost) is not None


def test_a_figure_outside_its_bound_is_not_reached() -> None:
    found = [("a", Spread(1.0, 0.9, 1.1)), ("b", Spread(1.3, 1.2, 1.4))]
    assert Goal("t", "≤ 1.2 ×", found, most=1.2).reached is False
    assert Goal("t", "≤ 1.3 ×", found, most=1.3).reached is True
    assert Goal("t", "≥ 1 ×", [*found, ("c", None)], least=1.0).reached is None
    assert Goal("t", "≥ 1.1 ×", [*found, ("c", None)], least=1.1).reached is False


def test_rows_are_kept_as_they_were(tmp_path: Path) -> None:
    run = benchmark_runs.run(missing=(Missing("litellm", "", "no such package"),))
    rows.save(run, tmp_path / "run.json")
    assert rows.load(tmp_path / "run.json") == run
    assert "| LiteLLM | all | not measured: `no such package` |" in document(run, "", "")


def test_the_page_is_what_its_rows_make() -> None:
    """Made by `make bench`, or anew by `python -m benchmarks.report`."""
    if not rows.FULL.exists():
        assert not DOCUMENT.exists(), "there is a page, and no rows that it was made of"
        return
    assert DOCUMENT.read_text("utf-8") == page(rows.FULL)
