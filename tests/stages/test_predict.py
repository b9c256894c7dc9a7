"""Probability maps of a run whose members never learned anything."""

from pathlib import Path

import pytest

from mapping_stroke.cli import main
from mapping_stroke.dataset.cases import read_cases
from mapping_stroke.images.image import Image, read_image, write_image
from mapping_stroke.run_folder import ENSEMBLE
from mapping_stroke.stages import predict
from phantoms import AFFINE, phantom
from predicted_runs import LABELLED, UNLABELLED, write_predicted_run
from small_models import member_card, write_trained_run


def test_a_case_that_fails_in_whatever_way_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_predicted_run(tmp_path / "run")
    write_trained_run(run.path, *(member_card("default", fold) for fold in range(2)))
    for seed, case in enumerate(read_cases(run.cases_csv)):
        write_image(case.scan, phantom(seed)[0], AFFINE)
    errors = dict(zip(LABELLED, (OSError(5, "Input/output error"), ValueError("not\nexpected")), strict=True))

    def read(scan: Path) -> Image:
        case_id = scan.name.removesuffix("_T1w.nii.gz")
        if case_id in errors:
            raise errors[case_id]
        return read_image(scan)

    monkeypatch.setattr(predict, "read_image", read)
    assert main(["predict", str(run.path), "--device", "cpu"]) == 3
    told = capsys.readouterr().err
    assert "sub-a: OSError: [Errno 5] Input/output error; check the disk" in told
    assert "sub-b: ValueError: not expected" in told
    maps = run.probabilities(ENSEMBLE)
    assert sorted(path.name for path in maps.iterdir()) == [
        f"{UNLABELLED}_probability{end}" for end in (".json", ".nii.gz")
    ]
    monkeypatch.undo()
    assert main(["predict", str(run.path), "--device", "cpu"]) == 0
    assert len(list(maps.glob("*.json"))) == 3
