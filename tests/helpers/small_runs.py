"""A run folder with all that a report reads, on volumes small enough for a test."""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from mapping_stroke.dataset.cases import Case, write_cases
from mapping_stroke.dataset.folds import write_folds
from mapping_stroke.evaluation.score import score
from mapping_stroke.evaluation.tables import SCORE_COLUMNS, CaseScore, order_methods, score_row
from mapping_stroke.files import write_csv, write_json, write_text
from mapping_stroke.images.image import write_image
from mapping_stroke.run_folder import RunFolder

METHODS = ("default", "dice-topk10", "residual", "self-training", "ensemble", "ensemble-pp")
METRICS = ("dice", "volume_difference_vox", "simple_lesion_count", "lesion_f1", "hd95_mm")
SHAPE = (24, 28, 22)
AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])
AFFINE[:3, 3] = -12, -14, -8


def head(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """An ellipsoid, brighter to the right, the front and the top, on black."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    inside = x**2 + y**2 + z**2 < 0.95
    return np.where(inside, 100 + 20 * x + 10 * y + 5 * z, 0).astype(np.float32)


def box(corner: tuple[int, int, int], edges: tuple[int, int, int]) -> np.ndarray:
    """A mask of one block."""
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(start, start + edge) for start, edge in zip(corner, edges, strict=True))] = True
    return mask


def stored_as(orientation: str, voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same volume, its axes stored in another order and direction."""
    change = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(orientation)
    )
    affine = AFFINE @ nib.orientations.inv_ornt_aff(change, voxels.shape)
    return np.ascontiguousarray(nib.orientations.apply_orientation(voxels, change)), affine


def write_small_run(
    path: Path, case_ids: Sequence[str] = ("a", "b", "c", "d", "e", "f"), methods: Sequence[str] = METHODS
) -> RunFolder:
    """Cases with ever larger lesions, one unlabelled; every method misses some, `ensemble-pp` all of the first."""
    run = RunFolder(path / "run")
    cases, scores = [], []
    for number, case_id in enumerate(case_ids):
        reference = box((6, 8, 8), (3 + number, 4, 3))
        case = write_case(path / "data", case_id, reference)
        cases.append(case)
        for place, method in enumerate(methods):
            mask = box((7, 8, 8), (2 + number, 4, 2 + place % 2))
            if method == "ensemble-pp" and number == 0:
                mask = np.zeros_like(reference)
            write_image(run.masks(method) / f"{case_id}_mask.nii.gz", mask, AFFINE)
            scores.append(CaseScore(method, case_id, number % 2, int(reference.sum()), score(mask, reference)))
    unlabelled = path / "data" / "unlabelled_T1w.nii.gz"
    cases.append(Case("u", "u", "", "", "testing", unlabelled, None, None, None, None, (1, 1, 1), SHAPE, "RAS"))
    write_cases(run.cases_csv, cases)
    write_folds(run.folds_csv, {case_id: number % 2 for number, case_id in enumerate(case_ids)})
    write_scores(run, scores)
    for method in set(methods) - {"ensemble", "ensemble-pp"}:
        for fold in (0, 1):
            write_epochs(run.member(method, fold) / "epochs.csv", epochs=3)
    write_json(run.environment_json, {"python": "3.11.0"})
    write_text(run.config_toml, '[train]\nsize = "tiny"\n\n[postprocess]\nrule = "challenge"\n')
    return run


def write_case(data: Path, case_id: str, reference: np.ndarray, affine: np.ndarray = AFFINE) -> Case:
    """Scan (darker in the lesion) and mask."""
    scan, mask = data / f"{case_id}_T1w.nii.gz", data / f"{case_id}_lesion.nii.gz"
    write_image(scan, head() * np.where(reference, 0.4, 1).astype(np.float32), affine)
    write_image(mask, reference, affine)
    load_vox = int(reference.sum())
    return Case(case_id, case_id, "", "", "training", scan, mask, load_vox, load_vox / 1000, 1, (1, 1, 1), SHAPE, "RAS")


def write_scores(run: RunFolder, scores: Sequence[CaseScore]) -> None:
    order = order_methods(one.method for one in scores)
    rows = sorted(scores, key=lambda one: (order.index(one.method), one.case_id))
    write_csv(run.scores_csv, (*SCORE_COLUMNS, *METRICS), map(score_row, rows))


def write_epochs(path: Path, epochs: int) -> None:
    columns = ("epoch", "loss", "foreground_dice", "validation_loss", "learning_rate", "seconds")
    write_csv(path, columns, ({name: 0.1 * n if name != "epoch" else n for name in columns} for n in range(epochs)))
