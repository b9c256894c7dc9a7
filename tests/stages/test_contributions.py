"""What each scheme adds, from the maps in a run folder."""

from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.dataset.cases import read_cases
from mapping_stroke.evaluation.contributions import Contributions
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.stages import report_tables
from mapping_stroke.stages.report_tables import find_contributions
from predicted_runs import LABELLED, SHAPE, probability_map, write_predicted_run, write_probability


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Two labelled cases. `default` marks one of two voxels and a false one; `residual` also the second."""
    run = write_predicted_run(tmp_path / "run")
    for case_id in LABELLED:
        probability = probability_map()
        probability[1, 1, 2], probability[4, 3, 2] = 0.8, 0.3
        write_probability(run.probabilities("residual"), case_id, probability)
    return run


def find(run: RunFolder) -> tuple[Contributions | str, list[str]]:
    return find_contributions(run, read_cases(run.cases_csv))


def test_every_subset_is_scored_on_every_labelled_case(run: RunFolder) -> None:
    found, problems = find(run)
    assert isinstance(found, Contributions)
    assert (found.schemes, found.people, problems) == (("default", "residual"), ("a", "b"), [])
    # means of both: 0.9, 0.6, and 0.45 in the false voxel
    np.testing.assert_allclose(found.dice, [[0.5, 1.0, 1.0]] * 2)


def test_a_second_report_reads_nothing_again(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = find(run)
    read: list[str] = []
    monkeypatch.setattr(report_tables, "_read", lambda case, maps: read.append(case.case_id) or [0.1, 0.2, 0.3])
    again, _ = find(run)
    assert read == []
    assert isinstance(first, Contributions)
    assert isinstance(again, Contributions)
    np.testing.assert_array_equal(first.dice, again.dice)
    write_probability(run.probabilities("default"), "sub-b", np.full(SHAPE, 0.25, np.float32))
    changed, _ = find(run)
    assert read == ["sub-b"]
    assert isinstance(changed, Contributions)
    np.testing.assert_allclose(changed.dice, [[0.5, 1.0, 1.0], [0.1, 0.2, 0.3]])


@pytest.mark.parametrize("text", ["[]", "{", '{"sub-a": 3}', '{"sub-a": {"files": "", "dice": [1]}}'])
def test_a_damaged_ledger_is_made_again(text: str, run: RunFolder) -> None:
    ledger = run.report_html.with_name("members.json")
    ledger.parent.mkdir()
    ledger.write_text(text)
    assert isinstance(find(run)[0], Contributions)


def test_a_case_that_cannot_be_read_is_named_and_the_others_are_kept(run: RunFolder) -> None:
    (run.probabilities("default") / "sub-a_probability.nii.gz").write_bytes(b"damaged")
    found, (problem,) = find(run)
    assert isinstance(found, Contributions)
    assert found.people == ("b",)
    assert problem.startswith("sub-a: left out of the comparison of schemes: ")


def test_a_case_without_a_map_of_each_scheme_is_left_out(run: RunFolder) -> None:
    (run.probabilities("default") / "sub-a_probability.nii.gz").unlink()
    found, problems = find(run)
    assert isinstance(found, Contributions)
    assert (found.people, problems) == (("b",), [])
    (run.probabilities("default") / "sub-b_probability.nii.gz").unlink()
    assert find(run)[0] == "no labelled case has a map of each scheme"


def test_one_scheme_is_compared_with_nothing(run: RunFolder, tmp_path: Path) -> None:
    run.probabilities("default").rename(tmp_path / "elsewhere")
    assert find(run) == ("this run has maps of 1 scheme, expected 2 to 8", [])
