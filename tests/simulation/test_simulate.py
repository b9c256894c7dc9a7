import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from egg_brains import AFFINE, INTENSITIES, egg_labels
from mapping_stroke.cli import main
from mapping_stroke.dataset.grid import ATLAS_GRID, coarser
from mapping_stroke.dataset.layouts import find_cases
from mapping_stroke.dataset.sources import Person
from mapping_stroke.errors import CaseError, ImageError, RunFolderError
from mapping_stroke.images.image import read_image, write_image
from mapping_stroke.lesions import find_lesions
from mapping_stroke.run_folder import claim_folder
from mapping_stroke.simulation.cohort import Sources, find_sources, places_of, simulate_cohort
from mapping_stroke.simulation.plan import deal_masks, plan_cohort
from mapping_stroke.simulation.settings import CohortSize, SourceFolders
from mapping_stroke.simulation.sources import find_masks

GRID = coarser(ATLAS_GRID, 4)


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people, one of them scanned twice, on LAS grids of 5 mm."""
    folder = tmp_path_factory.mktemp("brains")
    for name, wide_mm in (("p-1_T1w", 68), ("p-2_T1w", 70), ("p-3_T1w", 72)):
        write_image(folder / f"{name}.nii.gz", INTENSITIES[egg_labels(wide_mm)], AFFINE)
    write_image(folder / "p-3_tissues.nii.gz", egg_labels(72), AFFINE)
    return folder


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four boxes of 2 to 12 mL on a grid of 2 mm, in folders of their own."""
    folder = tmp_path_factory.mktemp("lesions")
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-90, -126, -72)
    for number, size in enumerate((6, 8, 10, 12)):
        voxels = np.zeros((91, 109, 91), bool)
        voxels[20 : 20 + size, 50 : 50 + size, 40 : 40 + size] = True
        write_image(folder / f"site-{number}" / "mask.nii", voxels, affine)
    return folder


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def table(out: Path) -> list[dict[str, str]]:
    header, *rows = (out / "participants.tsv").read_text(encoding="utf-8").splitlines()
    return [dict(zip(header.split("\t"), row.split("\t"), strict=True)) for row in rows]


# The plan


def test_loads_of_a_cohort_follow_atlas() -> None:
    loads = np.array([case.load_mm3 for case in plan_cohort(CohortSize(655, 1))])
    assert 13 <= loads.min() < 40
    assert 100_000 < loads.max() <= 200_000
    assert 0.5 < (loads <= 5_000).mean() < 0.6


def test_a_larger_cohort_begins_with_the_smaller_one() -> None:
    people = [Person(f"p{number}", (f"p{number}",)) for number in range(7)]
    for whose in (None, people):
        small, large = plan_cohort(CohortSize(4, 3, 2), whose), plan_cohort(CohortSize(30, 3, 9), whose)
        assert [case for case in large if case.split == "training"][:4] == small[:4]
        assert [case for case in large if case.split == "testing"][:2] == small[4:]


def test_every_case_has_an_id_of_its_own_that_says_simulated() -> None:
    cases = plan_cohort(CohortSize(40, 0, 30))
    assert len({case.case_id for case in cases}) == 70
    assert cases[0].case_id == "sub-simulatedr001s001_ses-1"
    assert cases[39].case_id == "sub-simulatedr004s010_ses-1"
    assert cases[40].case_id == "sub-simulatedr001u001_ses-1"


def test_all_scans_of_a_person_are_one_subject_and_on_one_side_of_the_split() -> None:
    people = [Person(f"p{number}", (f"p{number}a", f"p{number}b")) for number in range(10)]
    cases = plan_cohort(CohortSize(20, 0, 5), people)
    whose: dict[str, set[str]] = {}
    for case in cases:
        whose.setdefault(case.subject, set()).add(str(case.brain)[:2])
    assert all(len(names) == 1 for names in whose.values())
    names = {split: {str(case.brain)[:2] for case in cases if case.split == split} for split in ("training", "testing")}
    assert len(names["training"]) == 8
    assert len(names["testing"]) == 2
    assert not names["training"] & names["testing"]
    assert [case.session for case in cases[:9]] == [1] * 8 + [2]
    assert cases[0].subject == cases[8].subject
    assert {cases[0].brain, cases[8].brain} == {f"{str(cases[0].brain)[:2]}a", f"{str(cases[0].brain)[:2]}b"}


def test_masks_are_not_shared_between_people_or_with_the_unlabelled_scans() -> None:
    people = [Person(f"p{number}", (f"p{number}",)) for number in range(10)]
    cases = plan_cohort(CohortSize(16, 0, 4), people)
    hands: dict[str, set[int]] = {}
    for case in cases:
        hands.setdefault(case.subject, set()).update(deal_masks(case, range(400), 10, reserve=True))
    assert len(hands) == 10
    assert sum(len(hand) for hand in hands.values()) == len(set().union(*hands.values()))


def test_a_single_mask_serves_everybody() -> None:
    assert [deal_masks(case, ["m"], None, reserve=True) for case in plan_cohort(CohortSize(2, 0, 1))] == [["m"]] * 3


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 0, 0), "--subjects 0 --unlabelled 0: expected at least 1 subject"),
        ((3, 0, -1), "--subjects 3 --unlabelled -1"),
        ((3, -4, 0), "--seed -4: expected 0 or more"),
    ],
)
def test_numbers_out_of_range_are_refused(numbers: Sequence[int], message: str) -> None:
    with pytest.raises(CaseError, match=message):
        CohortSize(*numbers)


def test_unlabelled_scans_of_the_only_person_are_refused() -> None:
    with pytest.raises(CaseError, match="brains of two or more"):
        plan_cohort(CohortSize(3, 0, 1), [Person("p", ("p",))])


# What is written


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory, brains: Path, lesions: Path) -> Path:
    out = tmp_path_factory.mktemp("cohort") / "out"
    sources = find_sources(SourceFolders(brains, lesions, ("1=2",)), "made up for tests, CC0")
    simulate_cohort(out, CohortSize(subjects=3, seed=5, unlabelled=1), sources, GRID)
    return out


def test_the_files_are_those_of_atlas(cohort: Path) -> None:
    training = "Training/R001/sub-simulatedr001s001/ses-{0}/anat/sub-simulatedr001s001_ses-{0}_space-MNI152NLin2009aSym"
    testing = "Testing/R001/sub-simulatedr001u001/ses-1/anat/sub-simulatedr001u001_ses-1_space-MNI152NLin2009aSym"
    assert files_below(cohort) == sorted(
        ["dataset_description.json", "participants.tsv", "run.json"]
        + [f"{testing}_T1w.json", f"{testing}_T1w.nii.gz"]
        + ["Testing_reference/sub-simulatedr001u001_ses-1_mask.nii.gz"]
        + [
            training.format(session) + end
            for session in (1, 2, 3)
            for end in ("_T1w.json", "_T1w.nii.gz", "_label-L_desc-T1lesion_mask.nii.gz")
        ]
    )


def test_a_cohort_is_data_and_no_results(cohort: Path) -> None:
    assert find_cases(cohort.parent).cases == find_cases(cohort).cases


def test_prepare_finds_the_cohort(cohort: Path) -> None:
    found = find_cases(cohort)
    assert found.layout.name == "atlas"
    assert not found.problems
    assert [(case.case_id, case.site, case.mask is None) for case in found.cases] == [
        ("sub-simulatedr001s001_ses-1", "R001", False),
        ("sub-simulatedr001s001_ses-2", "R001", False),
        ("sub-simulatedr001s001_ses-3", "R001", False),
        ("sub-simulatedr001u001_ses-1", "R001", True),
    ]


def test_scan_and_mask_share_the_grid_and_the_table_tells_the_truth(cohort: Path) -> None:
    rows = {(row["participant_id"], row["session_id"]): row for row in table(cohort)}
    cases = [case for case in find_cases(cohort).cases if case.mask]
    for case in cases:
        scan, mask = read_image(case.scan), read_image(case.mask)
        row = rows[f"sub-{case.subject}", f"ses-{case.session}"]
        assert scan.shape == mask.shape == GRID.shape
        np.testing.assert_array_equal(scan.affine, GRID.affine)
        np.testing.assert_array_equal(mask.affine, GRID.affine)
        assert int(row["load_vox"]) == mask.voxels.sum() > 0
        assert int(row["components"]) == find_lesions(mask.voxels > 0.5).count
        assert (scan.voxels[mask.voxels > 0.5] > 0).all()
        assert not scan.voxels[0].any()
        assert row["source_brain"] in ("p-1", "p-2", "p-3")
        assert row["source_lesions"].startswith("site-")
    assert len(rows) == 4


def test_the_unlabelled_scan_is_of_somebody_else(cohort: Path) -> None:
    other = {"training": set[bool](), "testing": set[bool]()}
    for row in table(cohort):
        other[row["split"]].add(row["source_brain"] == "p-3")  # p-1 and p-2 are one person
    assert len(other["training"]) == 1
    assert other["training"] != other["testing"]


def test_the_description_says_simulated_and_names_seed_sources_and_licence(cohort: Path) -> None:
    description = json.loads((cohort / "dataset_description.json").read_text(encoding="utf-8"))
    assert "Simulated" in description["Name"]
    assert description["Simulated"] is True
    assert description["Seed"] == 5
    assert description["GeneratedBy"][0]["Name"] == "mapping simulate"
    assert [source["Name"].split(": ")[1] for source in description["SourceDatasets"]] == [
        "3 scans of 2 people",
        "4 masks",
    ]
    assert {source["Licence"] for source in description["SourceDatasets"]} == {"made up for tests, CC0"}


def test_a_repeat_makes_only_what_is_missing_and_makes_it_the_same(cohort: Path, brains: Path, lesions: Path) -> None:
    sources = find_sources(SourceFolders(brains, lesions, ("1=2",)))
    size = CohortSize(subjects=3, seed=5, unlabelled=1)
    lost = places_of(cohort, plan_cohort(size, sources.brains.people if sources.brains else None)[1])
    before, kept = (
        read_image(lost.scan).voxels,
        {path: path.stat().st_mtime_ns for path in cohort.rglob("*_T1w.nii.gz")},
    )
    lost.scan.unlink()
    lost.facts.unlink()
    simulate_cohort(cohort, size, sources, GRID)
    np.testing.assert_array_equal(read_image(lost.scan).voxels, before)
    assert {path for path, when in kept.items() if path.stat().st_mtime_ns != when} == {lost.scan}


def test_a_cohort_can_grow(tmp_path: Path, brains: Path) -> None:
    sources = find_sources(SourceFolders(brains))
    simulate_cohort(tmp_path / "out", CohortSize(1, 7), sources, GRID)
    first = files_below(tmp_path / "out")
    simulate_cohort(tmp_path / "out", CohortSize(2, 7), sources, GRID)
    assert set(first) < set(files_below(tmp_path / "out"))
    assert [row["source_lesions"] for row in table(tmp_path / "out")] == ["drawn", "drawn"]
    with pytest.raises(RunFolderError, match="differs in seed"):
        simulate_cohort(tmp_path / "out", CohortSize(2, 8), sources, GRID)
    simulate_cohort(tmp_path / "out", CohortSize(1, 8), sources, GRID, overwrite=True)
    assert len(table(tmp_path / "out")) == 1


# Bad input


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="no masks found"):
        find_sources(SourceFolders(lesions=tmp_path))
    with pytest.raises(CaseError, match=r"holds no image named \*_T1w"):
        find_sources(SourceFolders(tmp_path))
    with pytest.raises(CaseError, match="no such folder; --lesions expects"):
        find_sources(SourceFolders(lesions=tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("pair", "message"),
    [("1=9", "0 people are called '9'"), ("1", "expected two names"), ("1=p-1", "expected two names")],
)
def test_rescans_of_nobody_are_refused(brains: Path, pair: str, message: str) -> None:
    with pytest.raises(CaseError, match=message):
        find_sources(SourceFolders(brains, rescans=(pair,)))


def test_rescans_without_brains_are_refused() -> None:
    with pytest.raises(CaseError, match="give both or neither"):
        find_sources(SourceFolders(rescans=("1=2",)))


def test_what_our_own_commands_marked_is_no_real_mask(tmp_path: Path) -> None:
    for name, identity in (("out", {"kind": "segment"}), ("simulated", {"command": "simulate"})):
        claim_folder(tmp_path / name, identity)
        (tmp_path / name / "deeper").mkdir()
        (tmp_path / name / "deeper" / "m.nii").touch()
    assert find_masks(tmp_path) == [tmp_path / "simulated" / "deeper" / "m.nii"]
    assert find_masks(tmp_path / "out") == [tmp_path / "out" / "deeper" / "m.nii"]


@pytest.mark.parametrize("names", [("p", "p"), ("p", "P")])
def test_two_scans_of_one_name_are_refused(names: tuple[str, str], tmp_path: Path) -> None:
    for folder, name in zip("ab", names, strict=True):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}_T1w.nii").touch()
    with pytest.raises(CaseError, match="have the same name, ignoring case"):
        find_sources(SourceFolders(tmp_path))


def test_a_damaged_brain_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "brains").mkdir()
    (tmp_path / "brains" / "p_T1w.nii.gz").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"p_T1w\.nii\.gz: cannot be read"):
        simulate_cohort(tmp_path / "out", CohortSize(1, 0), find_sources(SourceFolders(tmp_path / "brains")), GRID)
    assert not (tmp_path / "out").exists()


def test_masks_in_another_space_are_refused(tmp_path: Path, brains: Path) -> None:
    affine = np.eye(4)
    affine[:3, 3] = 300
    write_image(tmp_path / "far" / "m.nii.gz", np.ones((5, 5, 5), bool), affine)
    with pytest.raises(CaseError, match=r"none of 1 masks \(m\.nii\.gz\) lies in the brain"):
        simulate_cohort(tmp_path / "out", CohortSize(1, 0), find_sources(SourceFolders(brains, tmp_path / "far")), GRID)


def test_an_empty_mask_is_refused(tmp_path: Path, brains: Path) -> None:
    write_image(tmp_path / "empty" / "m.nii.gz", np.zeros((5, 5, 5), bool), np.eye(4))
    with pytest.raises(ImageError, match=r"m\.nii\.gz: is empty"):
        simulate_cohort(
            tmp_path / "out", CohortSize(1, 0), find_sources(SourceFolders(brains, tmp_path / "empty")), GRID
        )


# End to end


@pytest.mark.slow
def test_the_command_simulates_from_the_template_on_the_grid_of_atlas(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["simulate", str(out), "--subjects", "1", "--seed", "2"]) == 0
    (case,) = find_cases(out).cases
    assert case.mask is not None
    scan, mask = read_image(case.scan), read_image(case.mask)
    assert scan.shape == (197, 233, 189)
    np.testing.assert_array_equal(scan.affine, ATLAS_GRID.affine)
    assert 1_000_000 < (scan.voxels > 0).sum() < 2_600_000
    inside, around = scan.voxels[mask.voxels > 0.5], scan.voxels[scan.voxels > 0]
    assert np.median(inside) < np.median(around)
    assert "participants.tsv" in capsys.readouterr().out


def test_the_command_refuses_no_subjects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(tmp_path / "out"), "--subjects", "0", "--seed", "2"]) == 2
    assert "expected at least 1 subject" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sources_are_empty_by_default() -> None:
    assert find_sources(SourceFolders()) == Sources()


@pytest.mark.slow
def test_real_masks_land_in_real_brains(shared: Path, tmp_path: Path) -> None:
    sources = find_sources(
        SourceFolders(shared / "data" / "brains", shared / "data" / "lesions" / "soop", ("1003=1023",))
    )
    assert sources.brains is not None
    assert len(sources.brains.people) == 29
    simulate_cohort(tmp_path / "out", CohortSize(2, 0), sources, GRID)
    assert all(int(row["load_vox"]) > 0 for row in table(tmp_path / "out"))
