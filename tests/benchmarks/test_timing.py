"""Timing two ways in turns."""

import os

import numpy as np
import pytest

from benchmarks import timing
from benchmarks.timing import Race, describe_race, one_core, race


def test_both_ways_are_called_in_turns_and_compared() -> None:
    calls: list[str] = []
    answers = race(lambda: calls.append("ours"), lambda: calls.append("reference"), 2, lambda *_: calls.append("same"))
    assert calls == ["ours", "reference", "same"] * 2
    assert [len(seconds) for seconds in answers] == [2, 2]


def test_different_answers_stop_the_race() -> None:
    with pytest.raises(AssertionError):
        race(lambda: 1, lambda: 2, 1, np.testing.assert_array_equal)


def test_the_ratio_is_that_of_the_medians() -> None:
    assert Race("work", "slowly", (1.0, 2.0, 9.0), (8.0, 1.0, 8.0)).ratio == 4.0


def test_the_report_tells_date_machine_command_and_medians() -> None:
    text = describe_race(Race("Work", "slowly.", (0.5, 0.25, 1.0), (5.0,)), "python -m benchmarks work")
    assert text.startswith("# Work\n\n20")
    assert "Command: `python -m benchmarks work`." in text
    assert "| ours | 0.500 s | 0.250 s | 1.000 s | 3 |" in text
    assert "Ratio of the medians: **10.0**" in text
    assert text.endswith("Reference: slowly.\n")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process to a core")
def test_one_core_is_used_meanwhile() -> None:
    before = os.sched_getaffinity(0)
    with one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_a_system_that_cannot_bind_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(timing.os, "sched_setaffinity", raising=False)
    with one_core():
        pass
