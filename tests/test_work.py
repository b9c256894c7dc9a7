"""Work on many cases: what becomes of those that fail, and of the others."""

import errno

import pytest

from mapping_stroke.errors import CaseError
from mapping_stroke.work import ShowShare, StageResult, for_each_case


def invert(number: int, show: ShowShare) -> None:
    show(0.5)
    1 / number


def test_a_failure_is_reported_and_ends_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert for_each_case({"a": 0, "b": 1, "c": 0}, "Inverting", invert) == {
        "a": "ZeroDivisionError: division by zero",
        "c": "ZeroDivisionError: division by zero",
    }
    assert "warning: a: ZeroDivisionError: division by zero" in capsys.readouterr().err


def test_the_only_case_raises() -> None:
    with pytest.raises(CaseError, match="a: ZeroDivisionError"):
        for_each_case({"a": 0}, "Inverting", invert)


def test_a_full_disk_ends_all() -> None:
    def fill(_: int, __: ShowShare) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with pytest.raises(OSError, match="no space left"):
        for_each_case({"a": 0, "b": 1}, "Filling", fill)


def test_nothing_to_do_fails_nothing() -> None:
    assert for_each_case({}, "Inverting", invert) == {}


def test_results_add_up_and_give_the_status() -> None:
    assert StageResult().status == 0
    both = StageResult() + StageResult(failed={"a": "no brain"})
    assert (both.status, both.failed) == (3, {"a": "no brain"})
