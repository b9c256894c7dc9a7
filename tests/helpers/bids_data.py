"""A small BIDS data set of phantoms."""

import json
import re
from pathlib import Path

import numpy as np

from mapping_stroke.images.image import write_image
from phantoms import AFFINE, phantom

PLACED = AFFINE.copy()
"""Places a phantom's middle in the middle of MNI152's brain."""
PLACED[:3, 3] = (28.0, -31.0, -25.0)
SCANS = (
    "sub-01/anat/sub-01_T1w",
    "sub-02/ses-1/anat/sub-02_ses-1_T1w",
    "sub-02/ses-2/anat/sub-02_ses-2_acq-mprage_run-1_T1w",
    "sub-03/anat/sub-03_T1w",
)
NAMES = tuple(scan.rsplit("/", 1)[-1] for scan in SCANS)


def write_bids(folder: Path, scans: tuple[str, ...] = SCANS) -> Path:
    """A data set whose scans the validator lets pass."""
    for seed, scan in enumerate(scans):
        write_image(folder / f"{scan}.nii.gz", phantom(seed)[0], PLACED)
    described = {"Name": "Tiny", "BIDSVersion": "1.10.0", "License": "CC0", "Authors": ["A. One", "B. Two"]}
    (folder / "dataset_description.json").write_text(json.dumps(described))
    (folder / "README.md").write_text("Phantoms, for tests.\n" * 10)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the derivative, without the times in it; the records of the processes are left out."""
    records = ("run.json", ".mapping")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not {*path.parts} & {*records}]
    return {str(path.relative_to(folder)): re.sub(rb'"seconds": {[^}]*}', b"", path.read_bytes()) for path in files}


def write_atlas(folder: Path) -> tuple[Path, Path]:
    """Four regions, the quarters around the middle of MNI152, of which two have one name; and their table."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -79.0
    labels = np.zeros((80, 80, 80), np.uint8)
    labels[:40, :40], labels[40:, :40], labels[:40, 40:], labels[40:, 40:] = 1, 2, 3, 4
    write_image(folder / "atlas.nii.gz", labels, affine)
    rows = ("index\tname\tcolour", "0\tnothing\tblack", "1\tleft back\tred", "2\tright back\tred", "3\tfront\tblue")
    (folder / "atlas.tsv").write_text("\n".join([*rows, "4\tfront\tblue", ""]))
    return folder / "atlas.nii.gz", folder / "atlas.tsv"
