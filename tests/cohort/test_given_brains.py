"""The user's own brain masks: which is of which scan, what is refused, and what becomes of the results."""

import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its users know

import mapping_stroke as ms
from mapping_stroke.cli import main
from mapping_stroke.cohort.bids import BidsLayout
from mapping_stroke.cohort.bids_derivative import bids_output
from mapping_stroke.cohort.inputs import find_given, find_scans
from mapping_stroke.cohort.results import FlatLayout
from mapping_stroke.cohort.segmenter import read_brain
from mapping_stroke.dataset.layouts import find_cases
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import CaseError, ConfigError, MappingError
from mapping_stroke.images.image import Image, Mask, read_image, reorient, write_image
from mapping_stroke.networks.bundle import write_bundle
from mapping_stroke.space.model_input import make_model_input
from mapping_stroke.stages.evaluate import pair_folders
from moved_heads import brain_of, move, moved_scan
from small_models import dark_weights, member_card, model_card

THERE = move((0, 0, 0), (0, 0, 0), size=1)
BIDS = {"sub-01_T1w": "sub-01/anat", "sub-02_ses-1_T1w": "sub-02/ses-1/anat"}
GIVEN = {"preprocess": PreprocessSpec(4.0), "patch": (32, 32, 32)}


@pytest.fixture(scope="module")
def head() -> Image:
    """A whole head in MNI152 space."""
    return moved_scan(THERE, stripped=False, axes="LAS")


@pytest.fixture(scope="module")
def brain(head: Image) -> Mask:
    return brain_of(head, THERE).voxels > 0.5


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that marks what is dark, for brains alone; where they lie is not said, so that none is registered."""
    path = tmp_path_factory.mktemp("model") / "one.mapping"
    write_bundle(path, model_card(member_card("default", 0, **GIVEN), shows="brain"), dark_weights)
    return path


@pytest.fixture
def scan(head: Image, tmp_path: Path) -> Path:
    write_image(tmp_path / "p1.nii.gz", head.voxels, head)
    return tmp_path / "p1.nii.gz"


def segment(model: Path, output: Path, *arguments: Path | str) -> int:
    given = [*map(str, arguments), "-o", str(output), "--model", str(model), "--device", "cpu", "--no-picture"]
    return main(["segment", *given, "--space", "mni"])


def stamp(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(path.read_text())
    return told


def with_values(mask: Mask, head: Image, axes: str = "LAS") -> Image:
    return reorient(Image(mask.astype(np.float32), head.affine), axes)


def save(path: Path, mask: Mask, head: Image, axes: str = "LAS") -> Path:
    image = with_values(mask, head, axes)
    write_image(path, image.voxels > 0, image.affine)
    return path


def test_a_mask_is_laid_on_the_scan_whatever_the_order_of_its_axes(head: Image, brain: Mask) -> None:
    for axes in ("LAS", "PSR"):
        np.testing.assert_array_equal(read_brain(with_values(brain, head, axes), head), brain)


def test_what_is_no_mask_of_the_scans_brain_is_refused(head: Image, brain: Mask, tmp_path: Path) -> None:
    aside, labels = head.affine.copy(), brain.astype(np.float32)
    aside[0, 3] += 2
    two = labels.copy()
    two[:40][brain[:40]] = 2
    ball = np.zeros_like(labels)
    ball[40:44, 40:44, 40:44] = 1
    refused = {
        "has shape (10, 10, 10), its scan has": Image(np.ones((10, 10, 10), np.float32), head.affine),
        "lies up to 2.0 mm away from its scan": Image(labels, aside),
        "holds 0, 1, 2, expected a mask of 1 in the brain and 0 elsewhere": Image(two, head.affine),
        "values), expected a mask of 1": Image(head.voxels, head.affine),
        "is empty, expected 1 in the brain": Image(np.zeros_like(labels), head.affine),
        "its brain has 1.728 mL, expected 500 to 2500 mL": Image(ball, head.affine),
    }
    for number, (told, image) in enumerate(refused.items()):
        path = tmp_path / f"{number}.nii.gz"
        write_image(path, image.voxels, image.affine)
        with pytest.raises(MappingError, match=re.escape(told)) as error:
            read_brain(path, head)
        assert str(error.value).startswith(f"{path}: ")
        assert len(str(error.value).splitlines()) == 1
    with pytest.raises(CaseError, match="no such file"):
        read_brain(tmp_path / "none.nii.gz", head)


def test_a_model_for_brains_sees_what_lies_within_also_of_a_stripped_scan(brain: Mask) -> None:
    smaller = brain & (np.indices(brain.shape)[0] > 30)
    for stripped in (False, True):
        scan = moved_scan(THERE, stripped=stripped, axes="LAS")
        seen = make_model_input(scan, model_card(shows="brain"), "mni", smaller)
        assert seen.placed is not None
        assert seen.placed.brain.source == "given"
        np.testing.assert_array_equal(seen.image.voxels, np.where(smaller, scan.voxels, 0))


def test_a_model_that_sees_scans_as_they_are_refuses_it(
    head: Image, brain: Mask, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="so the mask would change nothing; leave --brain out"):
        make_model_input(head, model_card(), "auto", brain)
    write_bundle(tmp_path / "plain.mapping", model_card(member_card("default", 0, **GIVEN)), dark_weights)
    mask = save(tmp_path / "mask.nii.gz", brain, head)
    assert segment(tmp_path / "plain.mapping", tmp_path / "out", scan, "--brain", mask) == 2
    assert "space unknown, shows unknown; --space mni" in capsys.readouterr().err


def test_a_given_mask_is_an_output_and_a_corrected_one_is_segmented_anew(
    model: Path, scan: Path, head: Image, brain: Mask, tmp_path: Path
) -> None:
    out, mask = tmp_path / "out", save(tmp_path / "mine.nii.gz", brain, head, "PSR")
    assert segment(model, out, scan, "--brain", mask) == 0
    told = stamp(out / "p1.json")
    assert told["brain"]["source"] == "given"
    assert told["source"]["brain"] == str(mask)
    assert not any("missing" in warning for warning in told["warnings"])
    assert len(told["source"]["brain_sha256"]) == 64
    written = read_image(out / "p1_brain.nii.gz")
    np.testing.assert_array_equal(written.voxels > 0, brain)
    np.testing.assert_allclose(written.affine, head.affine)

    def is_computed(*arguments: Path | str) -> bool:
        before = (out / "p1.json").stat().st_mtime_ns
        assert segment(model, out, scan, *arguments) == 0
        return (out / "p1.json").stat().st_mtime_ns != before

    assert not is_computed("--brain", mask)
    corrected = brain & (np.indices(brain.shape)[0] > 30)
    save(mask, corrected, head, "PSR")
    assert is_computed("--brain", mask)
    assert read_image(out / "p1_brain.nii.gz").voxels.sum() == corrected.sum()
    assert any("are missing from the brain" in warning for warning in stamp(out / "p1.json")["warnings"])
    (out / "p1_brain.nii.gz").unlink()
    assert is_computed("--brain", mask)
    assert is_computed()
    assert "brain" not in stamp(out / "p1.json")["source"]


def test_a_folder_holds_the_masks_of_several_scans(
    model: Path, scan: Path, head: Image, brain: Mask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One has a mask in another format, one has none, and one has a mask of another grid, which fails alone."""
    scans, masks, out = tmp_path / "scans", tmp_path / "masks", tmp_path / "out"
    for name in ("a", "b", "c"):
        write_image(scans / f"{name}.nii.gz", head.voxels, head)
    save(masks / "a_brain.nii", brain, head)
    write_image(masks / "c_brain.nii.gz", np.ones((20, 20, 20), np.bool_), head.affine)
    assert segment(model, out, scans, "--brain", masks) == 3
    screen = capsys.readouterr()
    assert f"{masks}: holds no mask for 1 of 3 scans (b); brain extraction is used for them" in screen.out
    assert f"{scans / 'c.nii.gz'}: {masks / 'c_brain.nii.gz'}: the brain mask has shape" in screen.err
    assert stamp(out / "a.json")["brain"]["source"] == "given"
    assert stamp(out / "b.json")["brain"]["source"] != "given"
    assert not list(out.glob("c[._]*"))


def test_masks_that_cannot_be_meant_are_refused(scan: Path, head: Image, brain: Mask, tmp_path: Path) -> None:
    masks, out, two = tmp_path / "masks", tmp_path / "out", {"a": scan, "b": scan}
    save(masks / "x_brain.nii.gz", brain, head)
    with pytest.raises(CaseError, match=r"holds no brain mask of any scan, expected names such as a_brain\.nii\.gz"):
        find_given(masks, two, FlatLayout(out))
    assert find_given(masks, two, FlatLayout(out), perhaps_none=True) == {}
    with pytest.raises(CaseError, match="is the brain mask of one scan, but 2 scans are given"):
        find_given(masks / "x_brain.nii.gz", two, FlatLayout(out))
    with pytest.raises(CaseError, match="no such file"):
        find_given(tmp_path / "nowhere", two, FlatLayout(out))
    save(masks / "a_brain.nii", brain, head)
    save(masks / "a_brain.nii.gz", brain, head)
    with pytest.raises(CaseError, match="is a mask of the same scan"):
        find_given(masks, two, FlatLayout(out))
    with pytest.raises(CaseError, match="is an output, which is removed"):
        find_given(masks, {"x": scan}, FlatLayout(masks))


def test_bids_finds_masks_by_the_names_it_gives_them(model: Path, head: Image, brain: Mask, tmp_path: Path) -> None:
    raw, out, masks = tmp_path / "raw", tmp_path / "out", tmp_path / "masks"
    scans = {name: raw / folder / f"{name}.nii.gz" for name, folder in BIDS.items()}
    for scan in scans.values():
        write_image(scan, head.voxels, head)
    (raw / "dataset_description.json").write_text('{"Name": "Tiny", "BIDSVersion": "1.10.0"}')
    first, second = (bids_output(name, "_brain.nii.gz") for name in BIDS)
    assert first == "sub-01/anat/sub-01_space-orig_desc-brain_mask.nii.gz"
    here = save(masks / first, brain, head)
    beside = save(masks / Path(second).name, brain, head)
    assert list(find_given(masks, scans, BidsLayout(out, raw)).values()) == [here, beside]
    options = ["--model", str(model), "--device", "cpu", "--space", "mni", "--brain", str(masks)]
    assert main(["bids", str(raw), str(out), "participant", "--participant-label", "01", *options]) == 0
    np.testing.assert_array_equal(read_image(out / first).voxels > 0, brain)
    sidecar = stamp(out / first.replace(".nii.gz", ".json"))
    assert (sidecar["Type"], sidecar["OutlinedBy"]) == ("Brain", "given")
    assert sidecar["SpatialReference"] == sidecar["Sources"][0]
    assert "given by the user" in sidecar["Description"]
    assert (out / "sub-01" / "figures" / "sub-01_desc-placement_T1w.png").is_file()


def test_python_takes_a_mask_as_an_image_or_a_path(model: Path, head: Image, brain: Mask, tmp_path: Path) -> None:
    mask = with_values(brain, head)
    path = save(tmp_path / "mask.nii.gz", brain, head)
    segmenter = ms.Segmenter(model, device="cpu", space="mni")
    by_image = ms.segment(head, model, device="cpu", space="mni", brain=mask)
    for given in (str(path), nib.load(path), sitk.ReadImage(path)):
        np.testing.assert_array_equal(segmenter(head, given).probability, by_image.probability)
    with pytest.raises(MappingError, match=r"^the given image: is a dict, expected a path"):
        segmenter(head, {})
    with pytest.raises(MappingError, match="the given image: is empty"):
        ms.segment(head, model, device="cpu", space="mni", brain=Image(0 * mask.voxels, mask.affine))


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_brain_masks_are_no_scans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path / "out", "a.nii.gz", *(f"a_{kind}.nii.gz" for kind in ("mask", "probability", "brain")))
    touch(tmp_path / "corrected", "b.mgz", "b_brain.nii.gz")
    touch(tmp_path / "stripped", "c_brain.nii.gz", "d_brain.nii.gz")
    assert list(find_scans([tmp_path / "out"])) == ["a"]
    assert capsys.readouterr().out == ""
    assert list(find_scans([tmp_path / "corrected"])) == ["b"]
    assert "skips 1 image named like brain masks of the scans next to them" in capsys.readouterr().out
    assert list(find_scans([tmp_path / "stripped"])) == ["c_brain", "d_brain"]  # as other programs name stripped scans
    for folder, cases in (("out", ["a"]), ("corrected", ["b"]), ("stripped", ["c_brain", "d_brain"])):
        assert [case.case_id for case in find_cases(tmp_path / folder).cases] == cases


def test_brain_masks_are_no_predictions(tmp_path: Path) -> None:
    touch(tmp_path / "masks", "a_mask.nii.gz", "a_brain.nii.gz", "a_space-orig_desc-brain_mask.nii.gz")
    touch(tmp_path / "references", "a.nii.gz")
    pairs = pair_folders(tmp_path / "masks", tmp_path / "references", "atlas2022")
    assert [pair.case_id for pair in pairs] == ["a"]


def test_overwrite_removes_brain_masks_of_before(
    model: Path, scan: Path, head: Image, brain: Mask, tmp_path: Path
) -> None:
    out, mask = tmp_path / "out", save(tmp_path / "mine.nii.gz", brain, head)
    assert segment(model, out, scan, "--brain", mask) == 0
    other = tmp_path / "p2.nii.gz"
    scan.rename(other)
    assert segment(model, out, other, "--brain", mask, "--rule", "none", "--overwrite") == 0
    assert {path.name for path in out.glob("*_brain.nii.gz")} == {"p2_brain.nii.gz"}
