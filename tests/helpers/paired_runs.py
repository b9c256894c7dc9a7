"""Two evaluated runs on the same small cases, with masks, so that every stage after `evaluate` can read them."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mapping_stroke.evaluation.tables import CaseScore
from mapping_stroke.files import read_csv, write_text
from mapping_stroke.images.image import write_image
from mapping_stroke.run_folder import RunFolder, claim_folder
from small_runs import AFFINE, METRICS, write_scores, write_small_run

CASES = ("a", "b", "c", "d", "e", "f")
METHODS = ("default", "ensemble")
CHANGES = {"a": 0.25, "b": 0.125, "c": 0.125, "d": 0.0, "e": -0.0625, "f": -0.5}
"""Change of Dice from A to B."""


def write_pair(path: Path, changes: Mapping[str, float] = CHANGES) -> tuple[RunFolder, RunFolder]:
    """Run `run`, and `other`, a copy whose Dice differs as given, with other settings and a mask of nothing in f."""
    claim_folder(path / "run", {"kind": "experiment", "data": str(path / "data")})
    a = write_small_run(path, CASES, METHODS)
    rescore(a, dict.fromkeys(CASES, 0.5))
    b = RunFolder(path / "other")
    shutil.copytree(a.path, b.path)
    rescore(b, {case_id: 0.5 + change for case_id, change in changes.items()})
    write_text(b.config_toml, '[folds]\nseed = 3\ngroup_by = "site"\n\n[train]\nsize = "small"\nseed = 3\n')
    for method in METHODS:
        mask = b.masks(method) / "f_mask.nii.gz"
        write_image(mask, np.zeros((24, 28, 22), bool), AFFINE)
    return a, b


def rescore(run: RunFolder, dice: Mapping[str, float]) -> None:
    """Give every method the same Dice, and no error in the other metrics; 95HD is undefined in case f."""
    loads = {row["case_id"]: int(row["load_vox"] or 0) for row in read_csv(run.cases_csv)}
    scores = []
    for method in METHODS:
        for number, (case_id, value) in enumerate(dice.items()):
            others = (0.0, 0.0, 1.0, float("nan") if case_id == "f" else 2.0)
            values = dict(zip(METRICS, (value, *others), strict=True))
            scores.append(CaseScore(method, case_id, number % 2, loads.get(case_id, 5), values))
    write_scores(run, scores)
