"""`mapping bids` from the command line to the files of the derivative, and through the BIDS validator."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_data import NAMES, PLACED, SCANS, write_atlas, write_bids
from mapping_stroke.cli import main
from mapping_stroke.cohort.bids import BidsLayout
from mapping_stroke.cohort.review import rate_scan, save_edit
from mapping_stroke.dataset.grid import ATLAS_GRID
from mapping_stroke.dataset.layouts import find_cases
from mapping_stroke.images.image import read_image
from phantoms import phantom
from small_models import write_seeing_model

ANAT = (
    "space-MNI152NLin2009aSym_label-L_desc-mapping_mask",
    "space-MNI152NLin2009aSym_seg-mapping_label-L_probseg",
    "space-orig_label-L_desc-mapping_mask",
    "space-orig_seg-lesions_dseg",
    "space-orig_seg-mapping_label-L_desc-uncertainty_probseg",
    "space-orig_seg-mapping_label-L_probseg",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seeing_model(tmp_path_factory.mktemp("model") / "seeing.mapping").path


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last scan is empty."""
    folder = write_bids(tmp_path_factory.mktemp("bids") / "raw")
    (folder / f"{SCANS[3]}.nii.gz").write_bytes(b"")
    return folder


def bids(raw: Path, out: Path, level: str, *arguments: str) -> int:
    return main(["bids", str(raw), str(out), level, *arguments])


def participant(raw: Path, out: Path, model: Path, *arguments: str) -> int:
    return bids(raw, out, "participant", "--model", str(model), "--device", "cpu", "--space", "mni", *arguments)


@pytest.fixture(scope="module")
def out(raw: Path, model: Path) -> Path:
    """What two runs leave: one for a participant, then the rest."""
    folder = raw / "derivatives" / "mapping"
    assert participant(raw, folder, model, "--participant-label", "sub-02", "--session-label", "1") == 0
    assert participant(raw, folder, model, "--skip-bids-validation") == 3
    assert bids(raw, folder, "group") == 0
    return folder


def group_rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "group_lesions.tsv").open(newline="") as file:
        return {row["scan"].split("/")[-1].split(".")[0]: row for row in csv.DictReader(file, delimiter="\t")}


def test_every_scan_has_its_files_by_name(out: Path) -> None:
    for scan, name in zip(SCANS[:3], NAMES[:3], strict=True):
        anat, base = (out / scan).parent, name.removesuffix("_T1w")
        expected = {f"{base}_{end}{suffix}" for end in ANAT for suffix in (".nii.gz", ".json")}
        expected |= {f"{base}_space-orig_seg-lesions_dseg.tsv", f"{base}_space-orig_desc-mapping_lesions.tsv"}
        assert {path.name for path in anat.iterdir()} == expected
        assert (out / scan.split("/")[0] / "figures" / f"{base}_desc-mapping_T1w.png").is_file()
        assert (out / "logs" / f"{name}.json").is_file()
    top = {path.name for path in out.iterdir()}
    assert top == {
        *(".bidsignore", ".mapping", "CITATION.md", "README.md", "dataset_description.json", "run.json", "logs"),
        *("group.html", "group_lesions.json", "group_lesions.tsv", "sub-01", "sub-02"),
        *("group_overlap.nii.gz", "group_overlap_mirrored.nii.gz", "group_overlap.json", "group_overlap.png"),
        *(f"{name}.html" for name in NAMES[:3]),
    }


def test_maps_lie_on_the_grid_of_the_scan_and_of_atlas(out: Path) -> None:
    base = out / "sub-01" / "anat" / "sub-01"
    mask = read_image(Path(f"{base}_{ANAT[2]}.nii.gz"))
    np.testing.assert_array_equal(mask.voxels > 0, phantom(0)[1])
    np.testing.assert_allclose(mask.affine, PLACED, atol=1e-4)
    numbered = read_image(Path(f"{base}_{ANAT[3]}.nii.gz"))
    np.testing.assert_array_equal(numbered.voxels, mask.voxels)  # one lesion, number 1
    in_mni, probability = (read_image(Path(f"{base}_{end}.nii.gz")) for end in ANAT[:2])
    assert in_mni.shape == probability.shape == ATLAS_GRID.shape
    np.testing.assert_allclose(in_mni.affine, ATLAS_GRID.affine)
    volumes_ml = [image.voxels.sum() * image.voxel_volume_mm3 / 1000 for image in (mask, in_mni)]
    assert volumes_ml[1] == pytest.approx(volumes_ml[0], rel=0.02)
    centres = [
        np.argwhere(image.voxels > 0).mean(axis=0) @ image.affine[:3, :3].T + image.affine[:3, 3]
        for image in (mask, in_mni)
    ]
    np.testing.assert_allclose(*centres, atol=0.2)


def test_sidecars_name_the_scan_the_space_and_the_model(out: Path, model: Path) -> None:
    base = out / "sub-02" / "ses-1" / "anat" / "sub-02_ses-1"
    told = [json.loads(Path(f"{base}_{end}.json").read_text()) for end in ANAT]
    scan = "bids:raw:sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz"
    assert [one["Sources"] for one in told] == [[scan]] * 6
    assert [one["SpatialReference"] for one in told] == ["MNI152NLin2009aSym"] * 2 + [scan] * 4
    assert [one.get("Type") for one in told] == ["Lesion", None, "Lesion", None, None, None]
    assert {one["Model"]["Name"] for one in told} == {"small"}
    assert all(one["Description"] and one["Rule"] == "mapping" for one in told)
    rows = Path(f"{base}_space-orig_seg-lesions_dseg.tsv").read_text().splitlines()
    assert rows[0].startswith("index\tname\tvolume_ml\t")
    assert rows[1].startswith("1\tlesion 1\t3.375\t")


def test_the_derivative_says_what_it_is_made_of_and_by(out: Path) -> None:
    told = json.loads((out / "dataset_description.json").read_text())
    assert told["DatasetType"] == "derivative"
    assert told["GeneratedBy"][0]["Name"] == "mapping-stroke"
    assert "SHA-256" in told["GeneratedBy"][0]["Description"]
    assert told["DatasetLinks"] == {"raw": "../.."}
    assert told["License"] == "CC0"
    text = (out / "CITATION.md").read_text()
    of_model = 'the model "small"', "an ensemble of 2 networks (default)", "core P > ", "CC0-1.0", "Doe"
    for part in (*of_model, "not registered."):
        assert part in text
    assert "Huo J" in text
    assert "{" not in text


def test_what_was_marked_is_no_reference_for_the_data_set_around_it(raw: Path, out: Path) -> None:
    found = find_cases(raw)
    assert {case.case_id: case.mask for case in found.cases} == dict.fromkeys(name[:-4] for name in NAMES)
    assert not found.problems
    assert list(out.glob("sub-*/**/*_mask.nii.gz"))


def test_run_json_tells_what_was_done_and_what_failed(out: Path) -> None:
    record = json.loads((out / "run.json").read_text())["record"]
    assert {name: entry["status"] for name, entry in record["scans"].items()} == dict(
        zip(NAMES, ["done", "done", "done", "failed"], strict=True)
    )
    assert record["computed"] == 2
    assert "Empty file" in record["scans"][NAMES[3]]["error"]


def test_the_group_has_a_row_a_scan(out: Path) -> None:
    rows = group_rows(out)
    assert tuple(rows) == NAMES
    first, last = rows[NAMES[0]], rows[NAMES[3]]
    mask = phantom(0)[1]
    x_mm = np.argwhere(mask)[:, 0] * -3.0 + PLACED[0, 3]
    assert float(first["load_ml"]) == pytest.approx(mask.sum() * 0.027)
    assert float(first["left_ml"]) == pytest.approx((x_mm < 0).sum() * 0.027)
    assert float(first["right_ml"]) == pytest.approx((x_mm > 0).sum() * 0.027)
    assert (first["participant_id"], first["session_id"], first["lesions"]) == ("sub-01", "n/a", "1")
    assert rows[NAMES[2]]["session_id"] == "ses-2"
    assert (last["status"], last["review"], last["load_ml"]) == ("failed", "yes", "n/a")
    assert last["review_reasons"].startswith("failed: cannot be read (Empty file)")
    assert set(json.loads((out / "group_lesions.json").read_text())) == set(first)
    page = (out / "group.html").read_text()
    assert page.index("sub-03_T1w.nii.gz") < page.index("sub-01_T1w.nii.gz")
    assert "sub-02/figures/sub-02_ses-1_desc-mapping_T1w.png" in page


def test_a_given_atlas_adds_its_regions(out: Path, raw: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(out, tmp_path / "out")
    image, table = write_atlas(tmp_path)
    assert bids(raw, copy, "group", "--atlas", str(image), "--atlas-labels", str(table)) == 0
    for row in list(group_rows(copy).values())[:3]:
        regions = [float(row[f"{name}_ml"]) for name in ("left back", "right back", "front", "elsewhere")]
        assert sum(regions) == pytest.approx(float(row["load_ml"]), abs=1e-3)
        assert float(row["left back_ml"]) <= float(row["left_ml"])
    assert group_rows(copy)[NAMES[3]]["front_ml"] == "n/a"
    assert json.loads((copy / "group_lesions.json").read_text())["front_ml"]["Units"] == "mL"
    assert bids(raw, copy, "group", "--atlas", str(image)) == 2


def test_what_is_finished_is_left_alone_and_other_settings_are_refused(
    out: Path, raw: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(out, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("sub-*") if path.is_file()}
    assert participant(raw, copy, model, "--participant-label", "01", "02") == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert participant(raw, copy, model, "--rule", "none") == 2
    assert "holds another run (differs in settings)" in capsys.readouterr().err
    (copy / "sub-01" / "anat" / f"sub-01_{ANAT[0]}.nii.gz").unlink()  # what only the stamp knows of
    assert participant(raw, copy, model, "--shard", "1/4") == 0
    assert (copy / "sub-01" / "anat" / f"sub-01_{ANAT[0]}.nii.gz").is_file()
    assert participant(raw, copy, model, "--shard", "1/4", "--rule", "none", "--overwrite") == 0
    assert [path.name for path in (copy / "logs").iterdir()] == [f"{NAMES[0]}.json"]
    assert not list((copy / "sub-02").rglob("*.nii.gz"))


def test_no_output_tells_where_links_lead(model: Path, tmp_path: Path) -> None:
    write_bids(tmp_path / "pacs" / "Person_1950", SCANS[:1])
    participants = [folder for folder in (tmp_path / "pacs" / "Person_1950").iterdir() if folder.is_dir()]
    for folder in participants:
        moved = folder.rename(tmp_path / "pacs" / f"Person_{folder.name}")
        folder.symlink_to(moved)
    raw, out = tmp_path / "study", tmp_path / "out"
    raw.symlink_to(tmp_path / "pacs" / "Person_1950")
    assert participant(raw, out, model) == 0
    assert bids(raw, out, "group") == 0
    written = [path for path in out.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if "Person" in path.name or b"Person" in path.read_bytes()]
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetLinks"] == {"raw": "../study"}
    assert description["SourceDatasets"] == [{"URL": raw.as_uri()}]


def test_a_scan_that_two_files_could_be_fails_alone_and_keeps_its_results(model: Path, tmp_path: Path) -> None:
    raw, out = write_bids(tmp_path / "raw", SCANS[:2]), tmp_path / "out"
    assert participant(raw, out, model) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("sub-*") if path.is_file()}
    other = raw / "sub-01" / "again" / "sub-01_T1w.nii.gz"
    other.parent.mkdir()
    shutil.copy(raw / f"{SCANS[1]}.nii.gz", other)
    assert participant(raw, out, model) == 3
    assert bids(raw, out, "group") == 0
    rows = group_rows(out)
    assert {name: row["status"] for name, row in rows.items()} == {NAMES[0]: "failed", NAMES[1]: "done"}
    both = "sub-01/again/sub-01_T1w.nii.gz, sub-01/anat/sub-01_T1w.nii.gz"
    assert both in rows[NAMES[0]]["review_reasons"]
    assert both in json.loads((out / "run.json").read_text())["record"]["scans"][NAMES[0]]["error"]
    other.unlink()
    assert participant(raw, out, model) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert json.loads((out / "run.json").read_text())["record"]["scans"][NAMES[0]]["status"] == "done"


def test_a_share_without_scans_ends_well(
    raw: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert participant(raw, tmp_path / "out", model, "--shard", "9/9") == 0
    assert "has no scan: there are more shares than scans" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_the_group_needs_a_derivative_and_tells_what_is_missing(
    out: Path, raw: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bids(raw, tmp_path / "none", "group") == 2
    assert main(["segment", str(raw / f"{SCANS[0]}.nii.gz"), "-o", str(tmp_path / "flat"), "--model", str(model)]) == 0
    assert bids(raw, tmp_path / "flat", "group") == 2
    assert "holds no results of `mapping bids`" in capsys.readouterr().err
    copy = shutil.copytree(out, tmp_path / "out")
    (copy / "logs" / f"{NAMES[1]}.json").unlink()
    assert bids(raw, copy, "group") == 0
    assert group_rows(copy)[NAMES[1]]["review_reasons"] == "not segmented yet"
    assert "1 scan of" in capsys.readouterr().err


def test_scans_that_nobody_placed_have_no_copy_in_mni_space(raw: Path, model: Path, tmp_path: Path) -> None:
    arguments = ["--model", str(model), "--device", "cpu", "--participant-label", "01"]
    assert bids(raw, tmp_path / "out", "participant", *arguments) == 0
    assert not list(tmp_path.rglob("*MNI152*"))
    assert bids(raw, tmp_path / "out", "group", "--participant-label", "01") == 0
    assert group_rows(tmp_path / "out")[NAMES[0]]["left_ml"] == "n/a"


def test_one_member_alone_tells_nothing_of_agreement(raw: Path, model: Path, tmp_path: Path) -> None:
    assert participant(raw, tmp_path / "out", model, "--participant-label", "01", "--preset", "fast") == 0
    assert bids(raw, tmp_path / "out", "group", "--participant-label", "01") == 0
    row = group_rows(tmp_path / "out")[NAMES[0]]
    assert (row["agreement"], row["uncertain_ml"], row["lesions"]) == ("n/a", "n/a", "1")


def test_the_group_follows_ratings_and_corrected_masks(raw: Path, out: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(out, tmp_path / "out")
    layout, (image, table) = BidsLayout(copy, raw), write_atlas(tmp_path)
    assert group_rows(copy)[NAMES[1]]["review"] == "yes"
    rate_scan(layout, NAMES[0], "reject", "moved\tmuch", 0)
    rate_scan(layout, NAMES[1], "accept", "", 0)
    half = phantom(1)[1] & (np.arange(18) < np.argwhere(phantom(1)[1])[:, 2].mean())
    review, _ = save_edit(layout, NAMES[1], half, 1)
    rate_scan(layout, NAMES[2], "doubtful", "", 0)
    assert bids(raw, copy, "group", "--atlas", str(image), "--atlas-labels", str(table)) == 0
    rows = group_rows(copy)
    assert [rows[name]["rating"] for name in NAMES] == ["reject", "accept", "doubtful", "n/a"]
    assert [rows[name]["review"] for name in NAMES] == ["no", "no", "yes", "yes"]
    assert rows[NAMES[0]]["note"] == "moved much"
    assert "rated doubtful" in rows[NAMES[2]]["review_reasons"]
    edited = rows[NAMES[1]]
    assert float(edited["edited_ml"]) == review.edited_ml == pytest.approx(half.sum() * 0.027)
    assert float(edited["load_ml"]) > float(edited["edited_ml"])
    regions = sum(float(edited[f"{name}_ml"]) for name in ("left back", "right back", "front", "elsewhere"))
    assert regions == pytest.approx(float(edited["edited_ml"]), abs=1e-3)
    in_mni = read_image((copy / SCANS[2]).parent / f"{NAMES[2][:-4]}_{ANAT[0]}.nii.gz").voxels
    counts = read_image(copy / "group_overlap.nii.gz").voxels
    assert counts.sum() == pytest.approx(in_mni.sum() + half.sum() * 27, rel=0.02)
    assert (counts >= in_mni).all()
    told = json.loads((copy / "group_overlap.json").read_text())
    assert (told["scans"], told["left_out"]) == (2, {"rated reject": [NAMES[0]]})
    assert "3 rated: 1 accepted, 1 doubtful, 1 rejected. 1 mask corrected." in (copy / "group.html").read_text()


def validate(folder: Path) -> list[dict[str, Any]]:
    """The errors that the BIDS validator finds; skips where it is not installed."""
    validator = shutil.which("bids-validator-deno", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    done = subprocess.run([validator, "--format", "json", str(folder)], check=False, capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert told["summary"]["totalFiles"] > 4
    return [issue for issue in told["issues"]["issues"] if issue["severity"] == "error"]


@pytest.mark.slow
def test_the_bids_validator_finds_no_error(out: Path, raw: Path, tmp_path: Path) -> None:
    good = write_bids(tmp_path / "raw")
    assert validate(good) == []
    assert validate(out) == []
    shutil.copytree(out, tmp_path / "wrong")
    (tmp_path / "wrong" / "sub-01" / "anat" / "sub-01_what_mask.nii.gz").write_bytes(b"1")
    assert validate(tmp_path / "wrong") != []  # it does look


LONG = f"sub-04/anat/sub-04_acq-{'a' * 190}_T1w"


@pytest.fixture(scope="module")
def uneven(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set with a scan whose results get too long names, ignored ones and people without one; its derivative."""
    folder = tmp_path_factory.mktemp("uneven")
    bad = "sub-01/anat/sub-01_acq-bad_T1w"
    raw = write_bids(folder / "raw", (SCANS[0], bad, SCANS[3], LONG, "sub-05/anat/sub-05_UNIT1"))
    (raw / ".bidsignore").write_text("*_acq-bad_*\nsub-03/\n")
    (raw / "participants.tsv").write_text("participant_id\n" + "".join(f"sub-0{label}\n" for label in "13456"))
    return raw, folder / "out"


def test_too_long_names_ignored_scans_and_participants_without_one_are_told_and_stop_no_other(
    uneven: tuple[Path, Path], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = uneven
    for _ in range(2):
        assert participant(raw, out, model) == 3
        told = capsys.readouterr()
        for line in (
            f"warning: {raw / LONG}.nii.gz: its name is too long: its results would have names of up to ",
            "warning: sub-05: no T1w scan: sub-05 holds only other images (UNIT1)",
            "warning: sub-06: no T1w scan: listed in participants.tsv",
        ):
            assert line in told.err
        assert "skips 2 T1w scans named in its .bidsignore" in told.out
    scans = json.loads((out / "run.json").read_text())["record"]["scans"]
    long = LONG.rsplit("/", 1)[-1]
    assert {name: scan["status"] for name, scan in scans.items()} == {NAMES[0]: "done", long: "failed"}
    assert bids(raw, out, "group") == 0
    assert "sub-05: no T1w scan" in capsys.readouterr().err
    with (out / "group_lesions.tsv").open(newline="") as file:
        rows = {row["participant_id"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert {label: row["status"] for label, row in rows.items()} == {
        "sub-01": "done", "sub-04": "failed", "sub-05": "no-scan", "sub-06": "no-scan",
    }  # fmt: skip
    assert rows["sub-05"]["review"] == "yes"
    assert rows["sub-05"]["review_reasons"].startswith("no T1w scan: ")
    assert rows["sub-05"]["scan"] == rows["sub-05"]["load_ml"] == "n/a"
    page = (out / "group.html").read_text()
    assert "2 scans and 2 participants without one" in page
    assert page.index("sub-06") < page.index("sub-01_T1w.nii.gz")


def test_a_chosen_participant_without_a_scan_is_told(
    uneven: tuple[Path, Path], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert participant(uneven[0], tmp_path / "out", model, "--participant-label", "05") == 2
    told = capsys.readouterr().err
    assert "sub-05: no T1w scan: sub-05 holds only other images (UNIT1)" in told
    assert "has no T1w scan of these participants, for the reasons above; name other participants" in told
    assert not (tmp_path / "out").exists()


def test_results_of_scans_that_were_replaced_or_are_gone_are_marked(
    out: Path, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, copy = shutil.copytree(raw, tmp_path / "raw", ignore=shutil.ignore_patterns("derivatives")), tmp_path / "out"
    shutil.copytree(out, copy)
    (data / f"{SCANS[1]}.nii.gz").write_bytes((data / f"{SCANS[0]}.nii.gz").read_bytes())
    (data / f"{SCANS[2]}.nii.gz").unlink()
    assert bids(data, copy, "group") == 0
    rows, told = group_rows(copy), capsys.readouterr().err
    assert [rows[name]["status"] for name in NAMES] == ["done", "outdated", "outdated", "failed"]
    assert [rows[name]["review"] for name in NAMES[1:3]] == ["yes", "yes"]
    assert (
        "its scan has been replaced since it was segmented: the numbers belong to the old one"
        in rows[NAMES[1]]["review_reasons"]
    )
    assert "its scan is no longer in the data set" in rows[NAMES[2]]["review_reasons"]
    assert f"{SCANS[1]}.nii.gz: its scan has been replaced" in told
    assert f"{NAMES[2]}.nii.gz: its scan is no longer" in told
    (data / f"{SCANS[1]}.nii.gz").write_bytes((raw / f"{SCANS[1]}.nii.gz").read_bytes())
    (data / f"{SCANS[2]}.nii.gz").symlink_to("../dropped")  # only its content is gone
    assert bids(data, copy, "group") == 0
    assert [group_rows(copy)[name]["status"] for name in NAMES[:3]] == ["done"] * 3


def test_a_mask_that_cannot_be_read_stops_no_other_row(
    out: Path, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(out, tmp_path / "out")
    image, table = write_atlas(tmp_path)
    (copy / "sub-01" / "anat" / f"sub-01_{ANAT[2]}.nii.gz").write_bytes(b"")
    assert bids(raw, copy, "group", "--atlas", str(image), "--atlas-labels", str(table)) == 3
    rows = group_rows(copy)
    assert "volumes by region are unknown: " in rows[NAMES[0]]["review_reasons"]
    assert (rows[NAMES[0]]["front_ml"], rows[NAMES[0]]["load_ml"] != "n/a") == ("n/a", True)
    assert rows[NAMES[1]]["front_ml"] != "n/a"
