"""`mapping segment` on scans in a space of their own: what is written, on which grid, and what failed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from mapping_stroke.cli import main
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.images.image import Image, read_image, write_image
from mapping_stroke.networks.bundle import write_bundle
from mapping_stroke.pipeline import segment as segment_image
from mapping_stroke.space import model_input as seen
from mapping_stroke.space import rough_fit as search
from mapping_stroke.space.placement import PlacedScan, place_scan
from moved_heads import NEAR, error_mm, move, moved_scan
from small_models import dark_weights, member_card, model_card

THERE = move((0, 0, 0), (0, 0, 0), size=1)
USUAL = {"_mask.nii.gz", "_probability.nii.gz", "_uncertainty.nii.gz", "_lesions.tsv", ".png", ".html", ".json"}
OF_A_BRAIN = {"_brain.nii.gz", "_placement.png"}
OF_A_PLACE = {"_to-MNI152.txt"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks that mark what is dark, said to be for heads in MNI152 space."""
    path = tmp_path_factory.mktemp("model") / "two.mapping"
    given = {"preprocess": PreprocessSpec(4.0), "patch": (32, 32, 32)}
    cards = [member_card("default", fold, **given) for fold in range(2)]
    write_bundle(path, model_card(*cards, contrast="T1w", space="MNI152", shows="head"), dark_weights)
    return path


@pytest.fixture(scope="module")
def native() -> PlacedScan:
    return place_scan(moved_scan(NEAR, stripped=False, axes="LAS"))


@pytest.fixture(scope="module")
def output(model: Path, native: PlacedScan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was written of a head in its own space, of one in MNI152 space, and of no head."""
    folder = tmp_path_factory.mktemp("scans")
    there = moved_scan(THERE, stripped=False)
    noise = np.random.default_rng(0).uniform(1, 2, (50, 60, 50)).astype(np.float32)
    write_image(folder / "a_native.nii.gz", native.scan.voxels, native.scan.affine)
    write_image(folder / "b_there.nii.gz", there.voxels, there.affine)
    write_image(folder / "c_noise.nii.gz", noise, np.diag([3.0, 3, 3, 1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "waves", lambda: iter([[np.eye(3)]]))
        place_once(native, patch)
        assert segment(model, folder.parent / "out", folder, "--probability", "float32") == 3
    return folder.parent / "out"


def place_once(native: PlacedScan, patch: pytest.MonkeyPatch) -> None:
    """The head in its own space has been registered already."""
    patch.setattr(
        seen, "place_scan", lambda scan, *how: native if scan.shape == native.scan.shape else place_scan(scan, *how)
    )


def segment(model: Path, output: Path, *arguments: Path | str) -> int:
    return main(["segment", *map(str, arguments), "-o", str(output), "--model", str(model), "--device", "cpu"])


def stamp(output: Path, name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((output / f"{name}.json").read_text())
    return told


def test_a_registered_scan_leaves_its_place_too(output: Path, native: PlacedScan) -> None:
    found = {path.name.removeprefix("a_native") for path in output.glob("a_native*")}
    assert found == USUAL | OF_A_BRAIN | OF_A_PLACE
    told = stamp(output, "a_native")
    assert error_mm(np.linalg.inv(told["registration"]["to_mni"]), NEAR) < 2
    assert told["registration"]["quality"]["overlap"] > 0.9
    assert told["seconds"]["place"] > 0
    assert told["warnings"] == []
    transform = SimpleITK.ReadTransform(str(output / "a_native_to-MNI152.txt"))
    left, back, up = transform.TransformPoint((0.0, 0.0, 0.0))
    np.testing.assert_allclose([-left, -back, up], np.linalg.inv(told["registration"]["to_mni"])[:3, 3])


def test_its_results_are_those_of_its_copy_in_mni152_space_brought_back(
    output: Path, model: Path, native: PlacedScan, tmp_path: Path
) -> None:
    there = native.on_atlas()
    copy = segment_image(there, model, device="cpu", space="mni")
    for name, values in (("probability", copy.probability), ("uncertainty", copy.uncertainty)):
        found = read_image(output / f"a_native_{name}.nii.gz")
        assert found.shape == native.scan.shape
        np.testing.assert_allclose(found.affine, native.scan.affine, atol=1e-4)
        np.testing.assert_allclose(found.voxels, native.from_atlas(values), atol=0.02)
        assert found.voxels.max() > 0.01


def test_a_scan_in_mni152_space_is_left_alone(output: Path, model: Path) -> None:
    assert {path.name.removeprefix("b_there") for path in output.glob("b_there*")} == USUAL | OF_A_BRAIN
    assert stamp(output, "b_there")["registration"] is None
    assert stamp(output, "b_there")["brain"]["volume_ml"] > 1000
    scan = moved_scan(THERE, stripped=False)
    as_it_is = segment_image(Image(scan.voxels, scan.affine), model, device="cpu", space="mni")
    found = read_image(output / "b_there_probability.nii.gz").voxels
    np.testing.assert_allclose(found, as_it_is.probability, atol=1e-4)


def test_registering_is_told_on_screen(
    model: Path, native: PlacedScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place_once(native, monkeypatch)
    write_image(tmp_path / "a.nii.gz", native.scan.voxels, native.scan.affine)
    for space, told in (("auto", True), ("mni", False)):
        out = tmp_path / space
        assert segment(model, out, tmp_path / "a.nii.gz", "--no-picture", "--preset", "fast", "--space", space) == 0
        assert ("mL, registered to MNI152" in capsys.readouterr().out) == told


def test_what_cannot_be_registered_fails_and_the_others_go_on(output: Path) -> None:
    scans = json.loads((output / "run.json").read_text())["record"]["scans"]
    assert {name: entry["status"] for name, entry in scans.items()} == {
        "a_native": "done",
        "b_there": "done",
        "c_noise": "failed",
    }
    assert "could not be registered to MNI152" in scans["c_noise"]["error"]
    assert "use --space mni" in scans["c_noise"]["error"]
    assert not list(output.glob("c_noise*"))


def test_a_place_that_is_missing_is_found_again(
    model: Path, native: PlacedScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place_once(native, monkeypatch)
    scan, out = tmp_path / "a.nii.gz", tmp_path / "out"
    write_image(scan, native.scan.voxels, native.scan.affine)
    exact = ("--probability", "float32", "--no-picture", "--preset", "fast")
    assert segment(model, out, scan, *exact) == 0
    assert not list(out.glob("*.png"))
    written = (out / "a.json").stat().st_mtime_ns
    assert segment(model, out, scan, *exact) == 0
    assert (out / "a.json").stat().st_mtime_ns == written
    (out / "a_to-MNI152.txt").unlink()
    assert segment(model, out, scan, *exact) == 0
    assert (out / "a_to-MNI152.txt").is_file()
