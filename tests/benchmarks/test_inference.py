"""What `python -m benchmarks inference` and `agreement` say; how fast anything is, nobody asks here."""

import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bench_command import run_bench
from benchmarks import inference
from benchmarks.chip import ChipRates
from benchmarks.commands import BenchError, Cost, Costs, run_command
from benchmarks.inference import Inference, InferenceResult, bench_inference, describe_inference
from mapping_stroke import cli
from mapping_stroke.images.image import read_image, write_image
from mapping_stroke.training.schemes import SIZES
from phantoms import AFFINE, NANO, phantom, write_phantoms


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members are tiny networks."""
    monkeypatch.setattr(inference, "NETWORK", NANO.plain)
    monkeypatch.setattr(inference, "PATCH", (16, 16, 16))


def small_bench(folder: Path, cohort: int = 0) -> Inference:
    write_image(folder / "scan.nii.gz", phantom(0)[0], AFFINE)
    return Inference(scan=folder / "scan.nii.gz", members=2, cohort=cohort, repeats=1)


def test_a_command_is_timed_and_its_memory_told() -> None:
    cost = run_command([sys.executable, "-c", "x = bytearray(200_000_000)"])
    assert cost.seconds > 0
    assert cost.peak_bytes > 200_000_000


def test_a_command_that_fails_is_quoted() -> None:
    with pytest.raises(BenchError, match=r"ended with status 3: why it failed"):
        run_command([sys.executable, "-c", "print('why it failed'); raise SystemExit(3)"])


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_all_ways_and_a_cohort_are_run(tmp_path: Path) -> None:
    config = small_bench(tmp_path, cohort=2)
    result = bench_inference(config)
    assert [costs.way for costs in result.ours] == ["tiles", "fast", "ensemble"]
    assert result.reference is None
    assert len(result.cohort[0]) == 2
    text = describe_inference(result, config, "python -m benchmarks inference")
    assert "2 scans in one call" in text
    assert "| predict |" in text


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", ["scan.nii", "scan.mgz", "scan.nii.gz"])
def test_a_scan_of_any_format_is_measured_as_nifti(tmp_path: Path, name: str) -> None:
    nib.save(
        nib.Nifti1Image(phantom(0)[0], AFFINE) if "nii" in name else nib.MGHImage(phantom(0)[0], AFFINE),
        tmp_path / name,
    )
    config = replace(small_bench(tmp_path), scan=tmp_path / name)
    with inference._workplace(config) as place:
        copy = read_image(place / "scans" / "case_0000.nii.gz")
    np.testing.assert_array_equal(copy.voxels, phantom(0)[0])
    np.testing.assert_allclose(copy.affine, AFFINE)


def test_ratios_are_those_of_the_medians() -> None:
    def costs(way: str, *seconds: float) -> Costs:
        return Costs(way, tuple(Cost(each, 1e9) for each in seconds))

    ours = (costs("tiles", 10, 10, 100), costs("fast", 5), costs("ensemble", 40))
    chip = ChipRates("bfloat16", 500e9, 400e9, 2.0)
    result = InferenceResult(costs("nnunet", 60, 70, 80), ours, {"read": 1.0, "predict": 3.0}, chip, ((), 0.0), 0.0001)
    text = describe_inference(result, Inference(), "python -m benchmarks inference")
    assert "| ours, same member and tiles | 10.0 s | 10.0 s | 100.0 s | 1000 MB | 7.0 | 1.00 |" in text
    assert "| ours, `fast`: one member, one window | 5.0 s | 5.0 s | 5.0 s | 1000 MB | 14.0 | 1.00 |" in text
    assert "4 members take **4.00** times as long as one." in text
    assert "| predict | 3.00 | 75 % |" in text
    assert "400 GFLOP/s in bfloat16, 80 % of the 500 GFLOP/s" in text
    assert "differ in 0.0100 % of the voxels" in text


@pytest.mark.usefixtures("tiny")
def test_an_nnunet_that_is_not_there_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "scan.nii.gz", np.ones((4, 4, 4), np.float32), AFFINE)
    config = Inference(tmp_path, tmp_path / "scan.nii.gz")
    with pytest.raises(BenchError, match="no such file; name the folder of nnU-Net v2's commands with --nnunet"):
        bench_inference(config)


def test_the_command_prints_and_writes_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = tuple(Costs(way, (Cost(1.0, 1e9),)) for way in ("tiles", "fast", "ensemble"))
    result = InferenceResult(None, ours, {"predict": 1.0}, None, ((), 0.0), None)
    monkeypatch.setattr(inference, "bench_inference", lambda config: result)
    assert run_bench(["inference", "-o", str(tmp_path / "result.md")]) == 0
    assert (tmp_path / "result.md").read_text() in capsys.readouterr().out
    assert (
        "Command: `python -m benchmarks inference --members 4 --cohort 20 --repeats 3 --device cpu`."
        in (tmp_path / "result.md").read_text()
    )


@pytest.mark.parametrize("seconds", [(), (2.0,), (3.0, 2.0)])
def test_a_cohort_of_few_scans_is_told_without_senseless_numbers(seconds: tuple[float, ...]) -> None:
    ours = tuple(Costs(way, (Cost(1.0, 1e9),)) for way in ("tiles", "fast", "ensemble"))
    result = InferenceResult(None, ours, {"predict": 1.0}, None, (seconds, 1e9), None)
    text = describe_inference(result, Inference(), "command")
    assert ("## A cohort" in text) == (len(seconds) > 1)
    assert "nan s" not in text
    assert "second half" not in text


def test_ways_of_computing_agree_on_trained_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "tiny", NANO)
    run = str(tmp_path / "run")
    assert cli.main(["prepare", str(write_phantoms(tmp_path / "data", 3, 0)), "-o", run]) == 0
    assert cli.main(["folds", run, "--number", "3"]) == 0
    assert cli.main(["train", run, "--size", "tiny", "--schemes", "default", "--folds", "0", "--device", "cpu"]) == 0
    assert run_bench(["agreement", run, "--device", "cpu", "-o", str(tmp_path / "result.md")]) == 0
    rows = [line.split("|")[1:-1] for line in (tmp_path / "result.md").read_text().splitlines() if "tiles |" in line]
    exact, usual = ([float(cell) for cell in row[1:]] for row in rows)
    assert exact[1:] == [0.0, 1.0, 1.0, 0.0]
    assert usual[4] < 0.01
    assert "1 held-out cases" in (tmp_path / "result.md").read_text()
