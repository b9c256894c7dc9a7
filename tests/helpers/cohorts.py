"""Small data sets on disk, in every layout that `prepare` reads."""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from mapping_stroke.dataset.cases import Case
from mapping_stroke.images.image import write_image

SHAPE = (6, 5, 4)
AFFINE = np.diag([-1.0, 1.0, 2.0, 1.0])
"""Voxels of 2 mm3, left to right."""
SPACE = "space-MNI152NLin2009aSym"


def scan_voxels(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """No two voxels alike, none 0."""
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def mask_voxels(load_vox: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """The first voxels, in one piece as long as they are few."""
    return (np.arange(np.prod(shape)).reshape(shape) < load_vox).astype(np.float32)


def write_scan(path: Path, voxels: np.ndarray | None = None, affine: np.ndarray = AFFINE) -> Path:
    write_image(path, scan_voxels() if voxels is None else voxels, affine)
    return path


def write_mask(path: Path, load_vox: int = 3, affine: np.ndarray = AFFINE) -> Path:
    write_image(path, mask_voxels(load_vox), affine)
    return path


def write_any(path: Path, voxels: np.ndarray) -> Path:
    """A NIfTI file that we would not write: 4D, NaN, ..."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, AFFINE), path)
    return path


def truncate(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def write_atlas(root: Path, loads: Sequence[int] = (3, 5, 7), unlabelled: int = 1) -> Path:
    """ATLAS R2.0: `Training/R001/...` with masks, `Testing/R002/...` without."""
    for number, load_vox in enumerate(loads, start=1):
        person = f"sub-r001s{number:03}"
        stem = root / "Training" / "R001" / person / "ses-1" / "anat" / f"{person}_ses-1_{SPACE}"
        write_scan(Path(f"{stem}_T1w.nii.gz"))
        write_mask(Path(f"{stem}_label-L_desc-T1lesion_mask.nii.gz"), load_vox)
    for number in range(1, unlabelled + 1):
        person = f"sub-r002s{number:03}"
        write_scan(root / "Testing" / "R002" / person / "ses-1" / "anat" / f"{person}_ses-1_{SPACE}_T1w.nii.gz")
    return root


def make_case(case_id: str, load_vox: int | None = 3, subject: str = "", site: str = "") -> Case:
    """A case of which no file exists."""
    labelled = load_vox is not None
    return Case(
        case_id=case_id,
        subject=subject or case_id,
        session="",
        site=site,
        split="training" if labelled else "testing",
        scan=Path(f"/data/{case_id}_T1w.nii.gz"),
        mask=Path(f"/data/{case_id}_lesion.nii.gz") if labelled else None,
        load_vox=load_vox,
        load_ml=load_vox * 0.002 if load_vox is not None else None,
        components=min(load_vox, 1) if load_vox is not None else None,
        spacing_mm=(1.0, 1.0, 2.0),
        shape=SHAPE,
        orientation="LAS",
    )
