"""Members are trained on the data that are there: a corrected mask is noticed, and then trained on."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interrupted_training import tiny_size
from mapping_stroke.cli import main
from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.images.image import read_image, write_image
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.stages.member import Plan
from mapping_stroke.training import loop
from mapping_stroke.training.schemes import SIZES, find_scheme
from phantoms import AFFINE, write_phantoms

REFUSAL = "holds a member trained with other settings or cases; use --overwrite"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Four labelled scans in two folds, and a trained member of fold 0."""
    monkeypatch.setitem(SIZES, "tiny", tiny_size(2))
    run = RunFolder(tmp_path / "run")
    write_phantoms(tmp_path / "data", 4, 0)
    prepare(run)
    assert main(["folds", str(run.path), "--number", "2"]) == 0
    assert train(run) == 0
    return run


def prepare(run: RunFolder) -> None:
    assert main(["prepare", str(run.path.with_name("data")), "-o", str(run.path)]) == 0


def train(run: RunFolder, *options: str) -> int:
    command = ["train", str(run.path), "--size", "tiny", "--schemes", "default", "--folds", "0", "--device", "cpu"]
    return main([*command, *options])


def correct_mask(run: RunFolder) -> int:
    """Cut the mask of a training case of fold 0 in two; returns the voxels that it has left."""
    case_id = json.loads(recipe(run).read_text())["settings"]["training"][0]
    path = run.path.with_name("data") / f"{case_id}_lesion.nii.gz"
    mask = read_image(path).voxels > 0
    mask[int(np.argwhere(mask)[:, 0].mean()) :] = False
    write_image(path, mask, AFFINE)
    return int(mask.sum())


def recipe(run: RunFolder) -> Path:
    return run.member("default", 0) / "recipe.json"


def loads_drawn_from(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The lesion voxels of all cases that patches are drawn from."""
    loads: set[int] = set()
    draw = loop.draw_batch

    def drawn(cases: Sequence[CaseArrays], *arguments: Any) -> Any:
        loads.update(int(case.mask.sum()) for case in cases)
        return draw(cases, *arguments)

    monkeypatch.setattr(loop, "draw_batch", drawn)
    return loads


def test_a_corrected_mask_is_refused_and_with_overwrite_trained_on(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = correct_mask(run)
    prepare(run)
    before = (run.member("default", 0) / "member.json").read_bytes()
    assert train(run) == 2
    assert REFUSAL in capsys.readouterr().err
    assert (run.member("default", 0) / "member.json").read_bytes() == before
    loads = loads_drawn_from(monkeypatch)
    assert train(run, "--overwrite") == 0
    assert left in loads
    assert train(run) == 0
    assert "already trained" in capsys.readouterr().out


def test_touched_files_and_lost_arrays_do_not_train_anew(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    for path in run.path.with_name("data").iterdir():
        os.utime(path, (0, 0))
    for path in sorted(run.arrays.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    prepare(run)
    assert train(run) == 0
    assert "already trained" in capsys.readouterr().out


def test_the_mark_is_no_part_of_the_recipe() -> None:
    plan = Plan(find_scheme("default"), SIZES["small"], 0, 0, ("a",), ("b",))
    marked = replace(plan, data="0123456789abcdef")
    assert (marked.recipe, marked.settings) == (plan.recipe, plan.settings)
    assert "data" not in plan.settings
