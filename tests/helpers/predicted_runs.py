"""A run folder as `predict` leaves it: two labelled cases of two folds, one unlabelled scan, maps of three methods."""

from pathlib import Path

import numpy as np

from mapping_stroke.dataset.cases import Case, write_cases
from mapping_stroke.dataset.folds import write_folds
from mapping_stroke.images.image import Mask, Probability, write_image
from mapping_stroke.run_folder import RunFolder, claim_folder

SHAPE = (6, 5, 4)
AFFINE = np.diag([2.0, 1.0, 1.0, 1.0])
METHODS = ("residual", "default", "ensemble")
LABELLED = ("sub-a", "sub-b")
UNLABELLED = "sub-c"
FOLDS = {"sub-a": 0, "sub-b": 1}


def reference_mask() -> Mask:
    """Two voxels along z."""
    mask = np.zeros(SHAPE, np.bool_)
    mask[1, 1, 1:3] = True
    return mask


def probability_map() -> Probability:
    """Confident in the first voxel of the reference, doubtful in the second and in a lesion that is not there."""
    probability = np.zeros(SHAPE, np.float32)
    probability[1, 1, 1], probability[1, 1, 2], probability[4, 3, 2] = 0.9, 0.4, 0.6
    return probability


def write_probability(folder: Path, case_id: str, probability: Probability | None = None) -> Path:
    path = folder / f"{case_id}_probability.nii.gz"
    write_image(path, probability_map() if probability is None else probability, AFFINE)
    return path


def write_predicted_run(path: Path) -> RunFolder:
    run = RunFolder(path)
    claim_folder(path, {"kind": "experiment"})
    cases = [_case(path / "data", case_id) for case_id in (*LABELLED, UNLABELLED)]
    write_cases(run.cases_csv, cases)
    write_folds(run.folds_csv, FOLDS)
    for method in METHODS:
        for case in cases:
            write_probability(run.probabilities(method), case.case_id)
    return run


def _case(data: Path, case_id: str) -> Case:
    labelled = case_id in LABELLED
    if labelled:
        write_image(data / f"{case_id}_mask.nii.gz", reference_mask(), AFFINE)
    return Case(
        case_id=case_id,
        subject=case_id.removeprefix("sub-"),
        session="",
        site="",
        split="training" if labelled else "testing",
        scan=data / f"{case_id}_T1w.nii.gz",
        mask=data / f"{case_id}_mask.nii.gz" if labelled else None,
        load_vox=2 if labelled else None,
        load_ml=0.004 if labelled else None,
        components=1 if labelled else None,
        spacing_mm=(2.0, 1.0, 1.0),
        shape=SHAPE,
        orientation="RAS",
    )
