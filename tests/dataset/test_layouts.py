import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broken_disk import fail_to_look_at, fail_to_look_into
from cohorts import SPACE, write_atlas
from mapping_stroke.cohort.bids_derivative import MAPS, bids_output
from mapping_stroke.cohort.results import MAP_SUFFIXES
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.dataset.layouts import find_cases
from mapping_stroke.dataset.names import Patterns
from mapping_stroke.errors import CaseError, ConfigError
from mapping_stroke.run_folder import claim_folder


def touch(root: Path, *names: str) -> Path:
    """Finders open no image, so empty files will do."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def named(found: tuple[FoundCase, ...], root: Path) -> dict[str, str | None]:
    """Case id to the mask's path within the data set."""
    return {case.case_id: None if case.mask is None else str(case.mask.relative_to(root)) for case in found}


def plain(root: Path, scans: str | None = None, masks: str | None = None) -> dict[str, str | None]:
    return named(find_cases(root, "auto", Patterns(scans, masks)).cases, root)


def test_atlas_gives_training_cases_with_and_testing_cases_without_masks(tmp_path: Path) -> None:
    found = find_cases(write_atlas(tmp_path, loads=[3], unlabelled=1))
    anat = "sub-r001s001/ses-1/anat/sub-r001s001_ses-1"
    assert found.layout.name == "atlas"
    assert found.problems == ()
    training, testing = found.cases
    assert training == FoundCase(
        case_id="sub-r001s001_ses-1",
        subject="r001s001",
        session="1",
        site="R001",
        scan=tmp_path / f"Training/R001/{anat}_{SPACE}_T1w.nii.gz",
        mask=tmp_path / f"Training/R001/{anat}_{SPACE}_label-L_desc-T1lesion_mask.nii.gz",
    )
    assert (training.split, testing.split) == ("training", "testing")
    assert (testing.case_id, testing.site, testing.mask) == ("sub-r002s001_ses-1", "R002", None)


def test_atlas_is_found_from_the_folder_above(tmp_path: Path) -> None:
    write_atlas(tmp_path / "ATLAS_2", loads=[3], unlabelled=1)
    found = find_cases(tmp_path)
    assert found.layout.name == "atlas"
    assert [case.site for case in found.cases] == ["R001", "R002"]


def test_masks_of_atlas_testing_scans_are_not_used(tmp_path: Path) -> None:
    write_atlas(tmp_path, loads=[3], unlabelled=0)
    stem = f"Testing/R002/sub-r002s001/ses-1/anat/sub-r002s001_ses-1_{SPACE}"
    touch(tmp_path, f"{stem}_T1w.nii.gz", f"{stem}_label-L_desc-T1lesion_mask.nii.gz")
    assert find_cases(tmp_path).cases[-1].mask is None


def test_an_atlas_training_scan_without_mask_is_told(tmp_path: Path) -> None:
    touch(tmp_path, f"Training/R001/sub-1/ses-1/anat/sub-1_ses-1_{SPACE}_T1w.nii.gz")
    (problem,) = find_cases(tmp_path).problems
    assert (problem.severity, problem.case_id) == ("warning", "sub-1_ses-1")
    assert problem.found == "a training scan without mask"


def test_the_training_folder_alone_is_read_as_bids(tmp_path: Path) -> None:
    found = find_cases(write_atlas(tmp_path, loads=[3], unlabelled=1) / "Training")
    assert found.layout.name == "bids"
    assert [(case.site, case.split) for case in found.cases] == [("R001", "training")]


def test_atlas_v3_takes_the_centre_as_site(tmp_path: Path) -> None:
    stem = "CENTRE9/sub-r009s1/ses-1/anat/sub-r009s1_ses-1_space-orig"
    mask = f"{stem}_label-lesion_desc-T1lesion_mask.nii.gz"
    found = find_cases(touch(tmp_path, f"{stem}_desc-brain_T1w.nii.gz", mask))
    assert found.layout.name == "bids"
    assert named(found.cases, tmp_path) == {"sub-r009s1_ses-1": mask}
    assert found.cases[0].site == "CENTRE9"


def test_bids_masks_may_lie_in_derivatives_and_scans_may_not(tmp_path: Path) -> None:
    mask = "derivatives/manual/sub-1/anat/sub-1_label-L_mask.nii.gz"
    touch(tmp_path, "sub-1/anat/sub-1_T1w.nii", "sub-2/anat/sub-2_T1w.nii", mask)
    touch(tmp_path, "derivatives/fs/sub-1/anat/sub-1_desc-preproc_T1w.nii.gz", "sub-1/anat/sub-1_FLAIR.nii.gz")
    found = find_cases(tmp_path)
    assert named(found.cases, tmp_path) == {"sub-1": mask, "sub-2": None}
    assert [case.site for case in found.cases] == ["", ""]


def test_a_bids_folder_may_be_flat(tmp_path: Path) -> None:
    touch(tmp_path, "sub-1_ses-1_T1w.nii.gz", "sub-1_ses-1_label-L_mask.nii.gz")
    assert plain(tmp_path) == {"sub-1_ses-1": "sub-1_ses-1_label-L_mask.nii.gz"}


@pytest.mark.parametrize("column", ["site", "Center"])
def test_participants_tsv_names_the_sites(tmp_path: Path, column: str) -> None:
    touch(tmp_path, *(f"sub-{person}/anat/sub-{person}_T1w.nii.gz" for person in "123"))
    (tmp_path / "participants.tsv").write_text(
        f"participant_id\tage\t{column}\nsub-1\t60\tBern\n2\t61\tKiel\n3\t62\tn/a\n"
    )
    assert [case.site for case in find_cases(tmp_path).cases] == ["Bern", "Kiel", ""]


@pytest.mark.parametrize("text", ["participant_id\tage\n1\t60\n", "site\nBern\n", "", "participant_id\tsite\n1\n"])
def test_a_participants_tsv_without_sites_is_passed_over(tmp_path: Path, text: str) -> None:
    touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz")
    (tmp_path / "participants.tsv").write_text(text)
    assert find_cases(tmp_path).cases[0].site == ""


def test_two_masks_for_one_scan_are_told(tmp_path: Path) -> None:
    touch(
        tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", *(f"sub-1/anat/sub-1_label-L_desc-{who}_mask.nii.gz" for who in "ab")
    )
    (problem,) = find_cases(tmp_path).problems
    assert (problem.severity, problem.case_id, problem.expected) == ("error", "sub-1", "one")
    assert problem.found.startswith("2 lesion masks match this scan: sub-1/anat/sub-1_label-L_desc-a_mask.nii.gz, ")


def test_a_mask_without_scan_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-2/anat/sub-2_label-L_mask.nii.gz")
    (problem,) = find_cases(tmp_path).problems
    assert (problem.severity, problem.file) == ("warning", tmp_path / "sub-2/anat/sub-2_label-L_mask.nii.gz")


@pytest.mark.parametrize(
    "mask", ["a_lesion.nii.gz", "a_T1w_mask.nii", "masks/a.mha", "labels/a_T1w.nii.gz", "a_label-L_mask.nii.gz"]
)
def test_a_plain_folder_needs_no_patterns_where_names_are_usual(tmp_path: Path, mask: str) -> None:
    touch(tmp_path, "a_T1w.nii.gz", "b_T1w.nii.gz", "a_tissues.nii.gz", mask)
    assert find_cases(tmp_path).layout.name == "plain"
    assert plain(tmp_path) == {"a": mask, "b": None}


def test_a_lesion_mask_is_taken_before_any_other_mask(tmp_path: Path) -> None:
    touch(tmp_path, "a_T1w.nii.gz", "a_lesion.nii.gz", "a_mask.nii.gz")
    assert plain(tmp_path) == {"a": "a_lesion.nii.gz"}


def test_scans_and_masks_may_lie_in_folders_side_by_side(tmp_path: Path) -> None:
    touch(tmp_path, "scans/a.nii.gz", "scans/b.mha", "masks/a.nii.gz")
    assert plain(tmp_path) == {"a": "masks/a.nii.gz", "b": None}


def test_what_is_named_like_a_mask_is_no_scan(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "a_brainmask.nii.gz", "a_Lesion.nii.gz", "lesions/x.nii.gz", "notes.txt")
    assert list(plain(tmp_path)) == ["a"]


@pytest.mark.parametrize(
    ("scans", "ids"),
    [
        ("*_T1.nii.gz", ["c"]),
        ("*/*_T1.nii.gz", ["a", "b"]),
        ("**/*_T1.nii.gz", ["a", "b", "c"]),
        ("p?/t1.nii.gz", ["p1", "p2"]),
        ("p?/*/t1.nii.gz", ["p3_late"]),
        ("*/t1.nii.gz", ["p1", "p2"]),
        ("**/t1.nii.gz", ["p1", "p2", "p3_late"]),
        ("p[!2]/t1.nii.gz", ["p1"]),
        ("c_T1.nii.gz", ["c_T1"]),
        ("[a-c]_T1.nii.gz", ["c"]),
    ],
)
def test_the_wildcards_of_the_scans_pattern_give_the_id(tmp_path: Path, scans: str, ids: list[str]) -> None:
    touch(tmp_path, "p1/a_T1.nii.gz", "p2/b_T1.nii.gz", "c_T1.nii.gz", "p1/t1.nii.gz", "p2/t1.nii.gz")
    touch(tmp_path, "p3/late/t1.nii.gz")
    found = plain(tmp_path, scans)
    assert sorted(found) == ids


@pytest.mark.parametrize(
    ("scans", "masks", "found"),
    [
        ("im/*_0000.nii", "lab/{id}.nii", "lab/a.nii"),
        ("im/*_0000.nii", "../lab/{id}.nii", "lab/a.nii"),
        ("im/*_0000.nii", "{name}_by_*.nii", "im/a_0000_by_me.nii"),
        ("im/*.nii", "lab/a.nii", "lab/a.nii"),
    ],
)
def test_the_masks_pattern_is_filled_with_the_id(tmp_path: Path, scans: str, masks: str, found: str) -> None:
    touch(tmp_path, "im/a_0000.nii", "lab/a.nii")
    if "{name}" in masks:
        touch(tmp_path, "im/a_0000_by_me.nii")
    assert set(plain(tmp_path, scans, masks).values()) >= {found}


def test_masks_may_lie_outside_the_data_folder(tmp_path: Path) -> None:
    touch(tmp_path, "data/a_T1w.nii.gz", "elsewhere/a.nii.gz")
    found = find_cases(tmp_path / "data", "auto", Patterns(masks=str(tmp_path / "elsewhere" / "{id}*")))
    assert found.cases[0].mask == tmp_path / "elsewhere/a.nii.gz"


def test_a_bids_id_in_a_plain_folder_tells_the_person(tmp_path: Path) -> None:
    touch(tmp_path, "sub-7_ses-2_lab.nii.gz", "x.nii.gz")
    found = find_cases(tmp_path, "plain", Patterns("*.nii.gz")).cases
    assert [(case.subject, case.session) for case in found] == [("7", "2"), ("x", "")]


def test_several_masks_by_a_pattern_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "a_T1w.nii.gz", "a_lesion1.nii.gz", "a_lesion2.nii.gz")
    (problem,) = find_cases(tmp_path, "auto", Patterns(masks="{id}_lesion*")).problems
    assert problem.line.startswith(
        "a: 2 masks match this scan: a_lesion1.nii.gz, a_lesion2.nii.gz, expected one; match only one"
    )


def test_hidden_files_and_run_folders_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a_T1w.nii.gz", "._a_T1w.nii.gz", ".trash/b_T1w.nii.gz", "run/c_T1w.nii.gz", "cohort/d_T1w.nii.gz")
    (tmp_path / "run" / "run.json").write_text('{"kind": "experiment"}')
    (tmp_path / "cohort" / "run.json").write_text('{"command": "simulate"}')
    touch(tmp_path, "odd/e_T1w.nii.gz", "odd/run.json")
    assert list(plain(tmp_path)) == ["a", "d", "e"]


@pytest.mark.parametrize("folder", ["out", "masks"])
def test_results_below_a_plain_folder_are_neither_scans_nor_masks(folder: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "b.nii.gz", "b_lesion.nii.gz")
    claim_folder(tmp_path / folder, {"kind": "segment"})
    touch(tmp_path / folder, *(f"{name}{suffix}" for name in "ab" for suffix in MAP_SUFFIXES))
    touch(tmp_path / folder, "figures/a.nii.gz")
    assert plain(tmp_path) == {"a": None, "b": "b_lesion.nii.gz"}


def test_results_below_a_bids_data_set_are_no_masks_of_it(tmp_path: Path) -> None:
    manual = "derivatives/manual/sub-2/anat/sub-2_label-L_mask.nii.gz"
    touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz", manual)
    for place in ("derivatives/mapping", "mapping"):
        claim_folder(tmp_path / place, {"kind": "bids"})
        touch(tmp_path / place, *(bids_output(f"sub-{n}_T1w", suffix) for n in "12" for suffix in MAPS))
    found = find_cases(tmp_path)
    assert named(found.cases, tmp_path) == {"sub-1": None, "sub-2": manual}
    assert not found.problems


def test_results_that_are_named_themselves_are_read(tmp_path: Path) -> None:
    claim_folder(tmp_path / "run", {"kind": "train-model"})
    touch(tmp_path / "run" / "held-out" / "test", "test-000_T1w.nii.gz", "test-000_mask.nii.gz")
    assert plain(tmp_path / "run" / "held-out") == {"test-000": "test/test-000_mask.nii.gz"}
    assert plain(tmp_path / "run") == {"test-000": "held-out/test/test-000_mask.nii.gz"}


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "store/a_T1w.nii.gz", "data/b_T1w.nii.gz")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "store")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    assert [case.case_id for case in find_cases(tmp_path / "data").cases] == ["b", "a"]


@pytest.mark.parametrize(
    ("folder", "link", "scan"),
    [
        ("sub-1", "code/test/sub-1", "sub-1/anat/sub-1_T1w.nii"),
        ("sub-1", "derivatives/sub-1", "sub-1/anat/sub-1_T1w.nii"),
        ("b/sub-1", "a/derivatives/sub-1", "b/sub-1/anat/sub-1_T1w.nii"),
        ("b/sub-1", "a/sub-1", "b/sub-1/anat/sub-1_T1w.nii"),
        ("sourcedata/bids/sub-1", "sub-1", "sub-1/anat/sub-1_T1w.nii"),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_no_link_hides_scans(
    folder: str, link: str, scan: str, backwards: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.walk

    def walk(*arguments: Any, **options: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        for name, folders, files in look(*arguments, **options):
            folders.sort(reverse=backwards)  # a file system may list them in any order
            yield name, folders, files

    touch(tmp_path, f"{folder}/anat/sub-1_T1w.nii")
    (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / folder)
    monkeypatch.setattr(os, "walk", walk)
    assert [case.scan for case in find_cases(tmp_path).cases] == [tmp_path / scan]


def test_a_folder_without_scans_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt", "x_mask.nii.gz")
    with pytest.raises(
        CaseError, match=r"no scans found among 1 image files; looked for ATLAS R2\.0: .*BIDS.*a folder"
    ):
        find_cases(tmp_path)
    with pytest.raises(CaseError, match=r"looked for BIDS, ATLAS v3: [^;]*; give the data set's own folder"):
        find_cases(tmp_path, "bids")
    with pytest.raises(CaseError, match=r"looked for '\*_T1\.nii'"):
        find_cases(tmp_path, "auto", Patterns("*_T1.nii"))


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="no such folder"):
        find_cases(tmp_path / "none")


def test_a_masks_pattern_that_finds_nothing_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a_T1w.nii.gz")
    with pytest.raises(CaseError, match=r"no scan has a mask named '\{id\}_x\.nii' \(tried 'a_x\.nii' first\)"):
        find_cases(tmp_path, "auto", Patterns(masks="{id}_x.nii"))


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (("/data/*.nii", None), "expected a pattern within the data folder"),
        (("../*.nii", None), "expected a pattern within the data folder"),
        (("[z-a].nii", None), "is not a name pattern"),
        ((None, "{subject}.nii"), "expected no braces but {id} and {name}"),
        ((None, "{id.nii"), "expected no braces but {id} and {name}"),
    ],
)
def test_malformed_patterns_are_refused(tmp_path: Path, patterns: tuple[str, str], message: str) -> None:
    touch(tmp_path, "a_T1w.nii.gz")
    with pytest.raises(ConfigError, match=message):
        find_cases(tmp_path, "auto", Patterns(*patterns))


def test_an_empty_pattern_is_refused() -> None:
    with pytest.raises(ConfigError, match="got an empty one"):
        Patterns(scans="")


def test_patterns_belong_to_the_plain_layout(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="belong to the plain layout, got --layout bids"):
        find_cases(tmp_path, "bids", Patterns(scans="*.nii"))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_folder_that_cannot_be_looked_into_is_told_and_hides_no_other(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz")
    fail_to_look_into("sub-1", monkeypatch, number)
    fail_to_look_at("run.json", monkeypatch, number)
    assert [case.case_id for case in find_cases(data).cases] == ["sub-2"]
    assert f"warning: {data / 'sub-1'}: cannot be listed ({os.strerror(number)})" in capsys.readouterr().err


def test_what_bidsignore_names_is_no_scan_and_still_a_mask(tmp_path: Path) -> None:
    names = ("1/anat/sub-1", "1/anat/sub-1_acq-bad", "2/anat/sub-2", "3/anat/sub-3")
    touch(tmp_path, *(f"sub-{name}_T1w.nii.gz" for name in names), "sub-3/anat/sub-3_label-L_mask.nii.gz")
    (tmp_path / ".bidsignore").write_text("\ufeff# comment\n*_acq-bad_*\nsub-2/\n*_mask.nii.gz\n", encoding="utf-8")
    found = find_cases(tmp_path)
    assert [case.case_id for case in found.cases] == ["sub-1", "sub-3"]
    assert found.cases[1].mask
    (problem,) = found.problems
    assert problem.line == (
        f"2 T1w scans left out because of .bidsignore; remove the line there to use them ({problem.file})"
    )


def test_each_centre_has_its_own_bidsignore(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(
            f"{centre}/sub-{label}/sub-{label}_T1w.nii.gz"
            for centre in "AB"
            for label in f"{centre}1 {centre}2".split()
        ),
    )
    (tmp_path / "A" / ".bidsignore").write_text("/sub-A1\n")
    (tmp_path / ".bidsignore").write_text("B/sub-B2/\n")
    assert [case.case_id for case in find_cases(tmp_path).cases] == ["sub-A2", "sub-B1"]


def test_a_bidsignore_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    data = touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz")
    (data / ".bidsignore").write_text("sub-2\n!\n")
    with pytest.raises(
        CaseError, match=r"bidsignore: Invalid git pattern: '!', expected the syntax of .gitignore; corr"
    ):
        find_cases(data)
    (data / ".bidsignore").unlink()
    (data / ".bidsignore").mkdir()
    with pytest.raises(CaseError, match=r"bidsignore: cannot be read \(Is a directory\)"):
        find_cases(data)


def test_a_data_set_of_which_bidsignore_names_every_scan_is_refused(tmp_path: Path) -> None:
    data = touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_label-L_mask.nii.gz")
    (data / ".bidsignore").write_text("*_T1w*\n")
    with pytest.raises(
        CaseError, match=r"holds no other scan; 1 T1w scan left out because of .bidsignore; remove the line"
    ):
        find_cases(data)


def test_masks_that_bids_does_not_know_make_a_plain_folder(tmp_path: Path) -> None:
    names = [f"sub-{number}_{kind}.nii.gz" for number in (1, 2) for kind in ("T1w", "mask")]
    found = find_cases(touch(tmp_path, *names))
    assert found.layout.name == "plain"
    assert list(named(found.cases, tmp_path).values()) == ["sub-1_mask.nii.gz", "sub-2_mask.nii.gz"]


def test_without_any_mask_the_first_layout_is_taken(tmp_path: Path) -> None:
    found = find_cases(touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz"))
    assert found.layout.name == "bids"
    assert not found.has_masks
