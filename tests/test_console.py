"""What a person sees."""

import io
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from mapping_stroke import console


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"),
        (42.4, "42 s"),
        (59.6, "1 min 00 s"),
        (185.0, "3 min 05 s"),
        (3599.0, "59 min 59 s"),
        (7800.0, "2 h 10 min"),
    ],
)
def test_a_duration_is_read_at_a_glance(seconds: float, words: str) -> None:
    assert console.duration(seconds) == words


def test_columns_of_a_table_stand_below_one_another() -> None:
    assert console.aligned([("scan", "mL"), ("p01", "12.5"), ("a", "")]) == ["scan  mL", "p01   12.5", "a"]


def test_lines_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("case [bold]12[/bold] " + "x" * 200)
    console.name_files("table", Path("a.csv"), Path("b.csv"))
    console.warn("case 3 has no mask")
    captured = capsys.readouterr()
    assert captured.out == "case [bold]12[/bold] " + "x" * 200 + "\ntable: a.csv\ntable: b.csv\n"
    assert captured.err == "warning: case 3 has no mask\n"


def test_a_log_gets_a_line_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 4.0, 12.0, 16.0, 25.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    assert list(console.track("abcd", "predict", 4)) == list("abcd")
    assert capsys.readouterr().out == "predict: 2/4, about 12 s left\n"


def test_a_terminal_gets_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=screen, force_terminal=True, width=100))
    assert list(console.track("abcd", "predict", 4)) == list("abcd")
    assert "predict" in screen.getvalue()


def test_parts_of_a_scan_move_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=screen, force_terminal=True, width=100))
    with console.progress("Segmenting", 2) as show:
        show(0.5, "p01")
        show(2, "[/p02]")
    assert "Segmenting [/p02]" in screen.getvalue()
    assert "100%" in screen.getvalue()


def test_parts_of_a_scan_are_told_in_a_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 4.0, 12.0, 16.0, 25.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress("Segmenting", 2) as show:
        for done, name in ((0.1, "p01"), (0.5, "p01"), (1.0, "p01"), (2.0, "p02")):
            show(done, name)
    assert capsys.readouterr().out == "Segmenting p01: 25%, about 36 s left\n"


def test_an_estimate_of_the_caller_is_told_if_there_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 4.0, 12.0, 23.0, 35.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.estimated("Jobs:") as show:
        for done, left_s in ((0.1, 90.0), (0.5, 60.0), (0.9, None), (1.0, 0.0)):
            show(done, "report", left_s)
    assert capsys.readouterr().out == "Jobs: report: 50%, about 1 min 00 s left\nJobs: report: 90%\n"


def test_an_estimate_of_the_caller_stands_beside_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=screen, force_terminal=True, width=100))
    with console.estimated("Jobs:") as show:
        show(0.5, "[/report]", 60.0)
    assert "Jobs: [/report]" in screen.getvalue()
    assert "about 1 min 00 s left" in screen.getvalue()


def test_one_thing_is_no_plural() -> None:
    assert [console.counted(number, "scan") for number in (0, 1, 2)] == ["0 scans", "1 scan", "2 scans"]


def test_the_time_of_day_names_another_day() -> None:
    now = datetime(2026, 3, 2, 22, 30)
    assert console.clock(3600, now) == "23:30"
    assert console.clock(2 * 3600, now) == "Tue 03 Mar 00:30"


@pytest.mark.parametrize(
    ("names", "words"), [([], ""), (["a"], "a"), (["a", "b"], "a, b"), (["a", "b", "c", "d"], "a, b and 2 more")]
)
def test_names_beyond_the_first_are_counted(names: list[str], words: str) -> None:
    assert console.listed(names, 2) == words
