"""The frozen hold-out as files: written once, read by `evaluate`, and told apart from another."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.cli import main
from mapping_stroke.files import read_csv, write_csv
from mapping_stroke.images.image import read_image, write_image
from mapping_stroke.models.judge import find_labelled
from mapping_stroke.simulation import bank as simulation_bank
from mapping_stroke.simulation import frozen as frozen_hold_out
from mapping_stroke.simulation import held_out
from mapping_stroke.simulation.frozen import COLUMNS, PINNED_FILE, differing, plan_row
from mapping_stroke.simulation.frozen_plan import plan_frozen

CASES = 6  # the first cycle: four with lesions, one healthy, one twin
PINNED = read_csv(PINNED_FILE, "\t")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The first cases, of the template in voxels of 3 mm."""
    folder = tmp_path_factory.mktemp("frozen") / "hold-out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_out, "SPACING_MM", 3.0)
        patch.setattr(simulation_bank, "FINER", 1)
        assert hold_out(folder) == 0
        yield folder


def hold_out(folder: Path, cases: int = CASES) -> int:
    return main(["models", "hold-out", str(folder), "--cases", str(cases), "--device", "cpu"])


def test_the_cases_are_a_cohort_that_evaluate_reads(written: Path) -> None:
    found, failed = find_labelled(written)
    assert [case.case_id for case in found] == [f"frozen-{number:03d}" for number in range(CASES)]
    assert failed == []
    loads = [read_image(case.mask).voxels.sum() for case in found if case.mask]
    assert [load > 0 for load in loads] == [True, True, False, True, True, False]


def test_the_table_has_a_row_for_each_case(written: Path) -> None:
    rows = read_csv(written / "cases.tsv", "\t")
    assert list(rows[0]) == list(COLUMNS)
    assert [row["role"] for row in rows] == ["lesion", "lesion", "healthy", "lesion", "lesion", "twin"]
    assert rows[5]["twin_of"] == "frozen-004"
    assert float(rows[3]["load_ml"]) == pytest.approx(float(rows[3]["asked_ml"]), rel=0.5)
    assert rows[0]["made_from"].endswith("brains icbm152-2009a-sym, masks drawn")


def test_whether_cases_are_the_frozen_ones_is_told(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hold_out(written) == 0  # nothing is made anew
    told = " ".join(capsys.readouterr().err.split())
    assert "not as frozen: 6 of 6 cases (frozen-000" in told
    assert "are not comparable" in told
    frozen = tmp_path / "frozen.tsv"
    frozen.write_bytes((written / "cases.tsv").read_bytes())
    monkeypatch.setattr(frozen_hold_out, "PINNED_FILE", frozen)
    assert hold_out(written) == 0
    output = capsys.readouterr()
    assert "6 cases as frozen" in output.out
    assert output.err == ""

    mask = held_out.mask_of(written, "frozen", 3)
    before = mask.read_bytes()
    image = read_image(mask)
    write_image(mask, np.flip(image.voxels, 0) > 0, image.affine)
    assert hold_out(written) == 0
    mask.write_bytes(before)
    told = " ".join(capsys.readouterr().err.split())
    assert "not as frozen: 1 of 6 cases (frozen-003: " in told


def test_means_may_differ_a_little_and_sources_may_be_called_otherwise() -> None:
    row = plan_row(plan_frozen()[0]) | {"load_ml": "1.000", "mask_sha256": "ab", "mean_intensity": "100.00"}
    row["made_from"] = "here"
    assert differing([row], [row | {"mean_intensity": "100.05", "made_from": "there"}]) == []
    for change in ({"mean_intensity": "100.50"}, {"mask_sha256": "cd"}, {"kind": "stripped"}, {"case_id": "other"}):
        assert differing([row], [row | change]) == ["frozen-000"]


def test_the_frozen_table_is_one_of_the_plan() -> None:
    """If this fails after a change of the plan or of its tables, renew the frozen table as CONTRIBUTING.md says."""
    planned = [plan_row(case) for case in plan_frozen()[: len(PINNED)]]
    assert [{key: row[key] for key in planned[0]} for row in PINNED] == planned
    assert all(len(row["mask_sha256"]) == 16 for row in PINNED)


def test_what_the_plan_does_not_hold_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for cases in (0, 161):
        assert hold_out(tmp_path / "out", cases) == 2
        assert f"--cases {cases}, expected 1 to 160" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_table_is_written_as_it_is_read(tmp_path: Path) -> None:
    write_csv(tmp_path / "again.tsv", COLUMNS, PINNED, delimiter="\t")
    assert (tmp_path / "again.tsv").read_bytes() == PINNED_FILE.read_bytes()
