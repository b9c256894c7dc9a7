"""Sources of brains and masks for the simulation: the ICBM template, and folders of scans and masks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mapping_stroke.dataset.grid import ATLAS_GRID, Grid
from mapping_stroke.dataset.layouts import holds_results
from mapping_stroke.dataset.scan_checks import tame_outliers
from mapping_stroke.dataset.sources import Person
from mapping_stroke.errors import CaseError, ImageError, RegistrationError
from mapping_stroke.files import fingerprint
from mapping_stroke.images.formats import image_suffix
from mapping_stroke.images.image import Image, image_stem, read_image
from mapping_stroke.run_folder import OWNER_FILE
from mapping_stroke.simulation.brain import Brain, build_brain
from mapping_stroke.simulation.lesions import RealMask, cut_mask
from mapping_stroke.simulation.volume import Volume, average
from mapping_stroke.space.brain import overlap_with_template
from mapping_stroke.space.placement import place_scan

LEAST_OVERLAP = 0.87
"""Smallest overlap of a scan's voxels above 0 with the template for a skull-stripped brain in MNI space: affinely
registered OASIS brains have at least 0.95, brains and heads in scanner space at most 0.85."""


def in_mni_space(scan: Image) -> bool:
    """Whether a scan's voxels above 0 form a brain in MNI152 space, found in 0.1 s."""
    return overlap_with_template(scan, scan.voxels > 0, np.eye(4)) >= LEAST_OVERLAP


def place_source(path: Path, scan: Image) -> Image:
    """The skull-stripped brain of a scan in MNI152 space, registered as by `mapping segment` if needed.

    Args:
        path: Path of the scan, for error messages.
        scan: A whole head or a brain, in any position and orientation.

    Returns:
        The scan itself, or its bias-corrected brain on the ATLAS grid, 0 around it; takes about 10 s.

    Raises:
        ImageError: It is not a brain in MNI152 space, and could not be registered.
    """
    if in_mni_space(scan):
        return scan
    try:
        return place_scan(scan).on_atlas(ATLAS_GRID, brain_only=True)
    except RegistrationError as error:
        raise ImageError(
            f"{path}: is not a skull-stripped brain in MNI152 space, and could not be registered to it: {error}"
        ) from error


NOT_STATED = "not stated (say it with --licence)"


@dataclass(frozen=True)
class BrainFolder:
    """Skull-stripped scans, grouped by person.

    Attributes:
        folder: Folder of the scans.
        scans: File of every scan, by the scan's name.
        people: Scans by person, in the order of their names.
    """

    folder: Path
    scans: Mapping[str, Path]
    people: tuple[Person, ...]


def find_brains(folder: Path, rescans: Sequence[str] = ()) -> BrainFolder:
    """Find `*_T1w` images in a folder and below it, except in folders of our own results.

    The text before the first `_` of a file name identifies the person, such as `sub-01` or `oasis-1003`.

    Args:
        folder: Folder to search.
        rescans: People under two names, such as `1003=1023` or `oasis-1003=oasis-1023`.

    Raises:
        CaseError: There is no folder or no scan, two names differ only in case, or a rescan names an unknown person.
    """
    files = [path for path in _images_below(folder, "--brains") if image_stem(path).endswith("_T1w")]
    if not files:
        raise CaseError(f"{folder}: holds no image named *_T1w.nii.gz; give the folder of the skull-stripped scans")
    scans: dict[str, Path] = {}
    clashing: dict[str, Path] = {}
    by_person: dict[str, list[str]] = defaultdict(list)
    for path in files:
        name = image_stem(path).removesuffix("_T1w")
        # case is ignored, as on the disks of many machines
        other = clashing.setdefault(name.casefold(), path)
        if other != path:
            raise CaseError(f"{path} and {other} have the same name, ignoring case; rename one of them")
        scans[name] = path
        by_person[name.split("_")[0]].append(name)
    for pair in rescans:
        first, second = _two_people(pair, by_person)
        by_person[first] += by_person.pop(second)
    people = tuple(Person(person, tuple(names)) for person, names in sorted(by_person.items()))
    return BrainFolder(folder, scans, people)


def find_masks(folder: Path) -> list[Path]:
    """All images in a folder and below it, as lesion masks, except in folders of our own results.

    Raises:
        CaseError: There is no folder, or no image in it.
    """
    masks = _images_below(folder, "--lesions")
    if not masks:
        raise CaseError(f"{folder}: no masks found (no image file of any kind); give the folder of the lesion masks")
    return masks


def fingerprint_files(folder: Path, files: Sequence[Path]) -> str:
    """Hash of the names and sizes of files, relative to their folder."""
    return fingerprint([[path.relative_to(folder).as_posix(), path.stat().st_size] for path in files])


def read_template(grid: Grid) -> Brain:
    """The ICBM152 2009a template inside nilearn."""
    from nilearn import datasets

    t1, grey, white = (
        _onto(_as_image(load(resolution=1)), grid)
        for load in (
            datasets.load_mni152_template,
            datasets.load_mni152_gm_template,
            datasets.load_mni152_wm_template,
        )
    )
    return build_brain(t1, torch.stack([grey, white]), grid)


def read_brain(path: Path, grid: Grid) -> Brain:
    """Read a brain, with its `_tissues` (1 CSF, 2 grey, 3 white) from the same folder if there are any.

    A scan that is not a skull-stripped brain in MNI space is registered and stripped first, see `place_source`.

    Raises:
        ImageError: A file cannot be read, is not a T1w scan of a brain, or has `_tissues` but is not in MNI space.
    """
    given = tame_outliers(read_image(path))
    scan = place_source(path, given)
    tissue_file = path.with_name(path.name.replace("_T1w", "_tissues"))
    tissues = None
    if tissue_file.is_file():
        if scan is not given:
            raise ImageError(
                f"{path}: is not in MNI152 space, as {tissue_file.name} must be; register both, or remove the latter"
            )
        labels = read_image(tissue_file)
        tissues = torch.stack([_onto(_part(labels, label), grid) for label in (2, 3)])
    try:
        return build_brain(_onto(scan, grid), tissues, grid)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def read_mask(path: Path, folder: Path) -> RealMask:
    """Read a real mask. Its name is its path within its folder.

    Raises:
        ImageError: The file cannot be read, or is empty.
    """
    mask = cut_mask(path.relative_to(folder).as_posix(), read_image(path))
    if mask is None:
        raise ImageError(f"{path}: is empty, expected voxels above 0.5 inside lesions; remove it from the masks")
    return mask


def _onto(image: Image, grid: Grid) -> Volume:
    return average(torch.from_numpy(image.voxels), image.affine, grid)


def _part(labels: Image, label: int) -> Image:
    return Image((np.round(labels.voxels) == label).astype(np.float32), labels.affine)


def _as_image(image: object) -> Image:
    return Image(image.get_fdata(dtype=np.float32), np.asarray(image.affine, np.float64))  # type: ignore[attr-defined]


def _images_below(folder: Path, option: str) -> list[Path]:
    if not folder.is_dir():
        raise CaseError(f"{folder}: no such folder; {option} expects a folder of images")
    results = {file.parent for file in folder.rglob(OWNER_FILE) if holds_results(file.parent)} - {folder}
    images = (path for path in folder.rglob("*") if image_suffix(path) and not path.name.startswith("."))
    return sorted(path for path in images if results.isdisjoint(path.parents))


def _two_people(pair: str, people: Mapping[str, object]) -> tuple[str, str]:
    found = []
    for name in pair.split("="):
        fitting = [person for person in people if person == name or person.endswith(f"-{name}")]
        if len(fitting) != 1:
            raise CaseError(
                f"--rescans {pair}: {len(fitting)} people are called '{name}'; expected FIRST=SECOND with one each"
            )
        found += fitting
    if len(found) != 2 or found[0] == found[1]:
        raise CaseError(f"--rescans {pair}: expected two names of one person, such as 1003=1023")
    return found[0], found[1]
