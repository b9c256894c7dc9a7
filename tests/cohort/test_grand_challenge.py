"""`mapping grand-challenge` from the command line to the files: both contracts, failing cases, weights, signals."""

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its users know

from mapping_stroke.cli import main
from mapping_stroke.cohort import challenge as module
from mapping_stroke.images.image import Mask, read_image, write_image
from phantoms import AFFINE, phantom
from small_models import write_model, write_seeing_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finds the lesions of phantoms."""
    return write_seeing_model(tmp_path_factory.mktemp("model") / "seeing.mapping").path


class Challenge:
    """The folders of a container."""

    def __init__(self, root: Path) -> None:
        self.scans, self.weights = root / "input", root / "weights"
        self.masks, self.probabilities = root / "output" / "masks", root / "output" / "maps"
        self.scans.mkdir()
        self.weights.mkdir()

    def add(self, name: str, seed: int = 0) -> Mask:
        voxels, lesion = phantom(seed)
        if name.endswith(".mha"):
            image = sitk.GetImageFromArray(voxels.T)
            image.SetSpacing((3.0, 3.0, 3.0))
            image.SetOrigin((10.0, 20.0, 30.0))
            sitk.WriteImage(image, str(self.scans / name))
        else:
            write_image(self.scans / name, voxels, AFFINE)
        return lesion

    def arguments(self, contract: str, model: Path | str) -> list[str]:
        maps = ["--probabilities", self.probabilities] if contract == "isles2026" else []
        folders = ["--scans", self.scans, "--masks", self.masks, *maps, "--weights", self.weights]
        return ["grand-challenge", contract, *map(str, folders), "--model", str(model), "--device", "cpu"]


@pytest.fixture
def challenge(tmp_path: Path) -> Challenge:
    return Challenge(tmp_path)


def overlap(mask: Path, lesion: Mask) -> float:
    found = read_image(mask).voxels > 0
    return float(2 * (found & lesion).sum() / (found.sum() + lesion.sum()))


def test_every_scan_of_2022_gets_its_mask_and_nothing_else(challenge: Challenge, model: Path) -> None:
    lesions = {name: challenge.add(name, seed) for seed, name in enumerate(("a.mha", "b.nii.gz"))}
    assert main(challenge.arguments("atlas2022", model)) == 0
    assert {path.name for path in challenge.masks.iterdir()} == {"a.mha", "b.nii.gz"}
    assert [path.name for path in challenge.masks.parent.iterdir()] == ["masks"]
    for name, lesion in lesions.items():
        assert overlap(challenge.masks / name, lesion) > 0.8
    given, mask = (sitk.ReadImage(str(folder / "a.mha")) for folder in (challenge.scans, challenge.masks))
    assert mask.GetPixelIDTypeAsString() == "8-bit unsigned integer"
    assert mask.GetOrigin() == given.GetOrigin() == (10.0, 20.0, 30.0)
    assert b"CompressedData = True" in (challenge.masks / "a.mha").read_bytes()
    nifti = nib.load(challenge.masks / "b.nii.gz")
    assert nifti.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(nifti.affine, AFFINE)


def test_a_scan_that_fails_gets_an_empty_mask_and_a_line_and_status_0(
    challenge: Challenge, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cut.mha", "cut.nii.gz", "good.mha"):
        challenge.add(name)
    for name in ("cut.mha", "cut.nii.gz"):
        content = (challenge.scans / name).read_bytes()
        (challenge.scans / name).write_bytes(content[: -len(content) // 8])
    write_image(challenge.scans / "flat.nii.gz", np.ones((20, 22, 18), np.float32), AFFINE)
    assert main(challenge.arguments("atlas2022", model)) == 0
    for name in ("cut.mha", "cut.nii.gz", "flat.nii.gz"):
        mask = read_image(challenge.masks / name)
        assert mask.shape == (20, 22, 18)
        assert not mask.voxels.any()
    assert read_image(challenge.masks / "good.mha").voxels.any()
    told = capsys.readouterr()
    assert told.out.count("FAILED, an empty mask") == 3
    assert told.err.count("; its mask is empty") == 3
    assert "warning: " + str(challenge.scans / "cut.mha") in told.err


def test_a_scan_without_a_readable_header_has_no_mask_and_status_3(
    challenge: Challenge, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (challenge.scans / "bad.mha").write_bytes(b"nothing")
    challenge.add("good.mha")
    assert main(challenge.arguments("atlas2022", model)) == 3
    assert [path.name for path in challenge.masks.iterdir()] == ["good.mha"]
    assert "bad.mha: its header cannot be read" in capsys.readouterr().err


def test_whatever_goes_wrong_there_is_a_mask(
    challenge: Challenge, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TypeError("never thought of")

    challenge.add("a.mha")
    monkeypatch.setattr(module.Segmenter, "segment", fail)
    assert main(challenge.arguments("atlas2022", model)) == 0
    assert not read_image(challenge.masks / "a.mha").voxels.any()
    assert "TypeError: never thought of; its mask is empty" in capsys.readouterr().err


def test_all_of_several_scans_that_fail_are_status_3(
    challenge: Challenge, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ImportError("libGL.so.1: cannot open shared object file")

    for name in ("a.mha", "b.nii.gz"):
        challenge.add(name)
    monkeypatch.setattr(module.Segmenter, "segment", fail)
    assert main(challenge.arguments("atlas2022", model)) == 3
    for name in ("a.mha", "b.nii.gz"):
        assert not read_image(challenge.masks / name).voxels.any()


def test_a_full_disk_is_told_and_status_3(
    challenge: Challenge, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    challenge.add("a.mha")
    monkeypatch.setattr(module, "write_on_grid", fail)
    assert main(challenge.arguments("atlas2022", model)) == 3
    assert "No space left on device; it has no mask" in capsys.readouterr().err


def test_no_scan_at_all_is_an_error(challenge: Challenge, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(challenge.arguments("atlas2022", "nowhere")) == 2
    assert "holds nothing, expected scans" in capsys.readouterr().err
    assert not challenge.masks.exists()


def test_uploaded_weights_come_before_the_named_model(challenge: Challenge, capsys: pytest.CaptureFixture[str]) -> None:
    challenge.add("a.mha")
    write_seeing_model(challenge.weights / "uploaded.mapping")
    assert main(challenge.arguments("atlas2022", "nowhere")) == 0
    assert "uploaded.mapping: 2 members" in capsys.readouterr().out


def test_uploaded_weights_that_are_no_model_are_an_error(
    challenge: Challenge, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    challenge.add("a.mha")
    (challenge.weights / "weights.pth").touch()
    assert main(challenge.arguments("atlas2022", model)) == 2
    assert "weights: holds no trained member" in capsys.readouterr().err


def test_damaged_weights_end_it_before_the_first_case(challenge: Challenge, capsys: pytest.CaptureFixture[str]) -> None:
    challenge.add("a.mha")
    folder = write_model(challenge.weights / "folder").path
    last = sorted(folder.rglob("*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:-1] + b"x")
    assert main(challenge.arguments("atlas2022", "nowhere")) == 2
    assert "its SHA-256 differs from the card's" in capsys.readouterr().err
    assert not challenge.masks.exists()


def test_being_stopped_says_that_every_scan_is_segmented_anew(
    challenge: Challenge, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    challenge.add("a.mha")

    def be_stopped(*_: object) -> None:
        handler = signal.getsignal(signal.SIGTERM)  # called, not sent: that crashes where OpenVINO has computed
        assert callable(handler)
        handler(signal.SIGTERM, None)

    monkeypatch.setattr(module, "ready_segmenter", be_stopped)
    assert main(challenge.arguments("atlas2022", "nowhere")) == 75
    told = capsys.readouterr().err
    assert told.startswith("mapping: stopped by SIGTERM; finished work is kept; rerun this command, which")
    assert told.endswith("segments every scan anew\n")


@contextmanager
def serving(challenge: Challenge, model: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The service as a program of its own, ready; yields it and its port."""
    command = [sys.executable, "-m", "mapping_stroke.cli", *challenge.arguments("isles2026", model)]
    with log.open("wb") as out:
        service = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", "0"], stdout=out, stderr=out)
    try:
        for _ in range(1200):
            lines = log.read_text().splitlines()
            if "Ready" in lines:
                break
            assert service.poll() is None, log.read_text()
            time.sleep(0.1)
        yield service, int(lines[0].removeprefix("Listening on port "))
    finally:
        service.kill()
        service.wait()


def ask(port: int, method: str, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_the_service_of_2026_from_its_start_to_its_end(challenge: Challenge, model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(challenge, model, log) as (service, port):
        assert ask(port, "GET", "/health") == (200, {"status": "ready"})
        status, told = ask(port, "POST", "/invoke")
        assert status == 500
        assert "expected scans" in told["error"]

        lesion = challenge.add("case.mha")
        status, told = ask(port, "POST", "/invoke")
        assert (status, [case["scan"] for case in told["cases"]]) == (201, ["case.mha"])
        assert overlap(challenge.masks / "case.mha", lesion) > 0.8
        stored = sitk.ReadImage(str(challenge.probabilities / "case.mha"))
        assert stored.GetPixelIDTypeAsString() == "32-bit float"
        probability = sitk.GetArrayFromImage(stored).T
        assert 0 <= probability.min() < 0.5 < probability[lesion].min()
        assert probability.max() <= 1

        content = (challenge.scans / "case.mha").read_bytes()
        (challenge.scans / "case.mha").write_bytes(content[:-5000])
        status, told = ask(port, "POST", "/invoke")
        assert status == 201
        assert "cannot be read" in told["cases"][0]["error"]
        assert not read_image(challenge.masks / "case.mha").voxels.any()
        assert not read_image(challenge.probabilities / "case.mha").voxels.any()

        (challenge.scans / "case.mha").write_bytes(b"nothing")
        assert ask(port, "POST", "/invoke")[0] == 500

        (challenge.scans / "case.mha").write_bytes(content)
        assert ask(port, "POST", "/invoke")[0] == 201
        assert read_image(challenge.masks / "case.mha").voxels.any()
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
    assert log.read_text().splitlines()[-1] == "Stopped by SIGTERM"
    assert {path.name for path in challenge.masks.iterdir()} == {"case.mha"}


def test_a_service_without_a_model_ends_with_a_line(challenge: Challenge, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*challenge.arguments("isles2026", "nowhere"), "--host", "127.0.0.1", "--port", "0"]) == 2
    assert "nowhere: no such model" in capsys.readouterr().err
