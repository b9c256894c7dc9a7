"""Cases from reviewed results: scans and masks written as the networks read them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from mapping_stroke.console import say, track
from mapping_stroke.dataset.cases import Case, FoundCase, Placement
from mapping_stroke.dataset.checks import check_case
from mapping_stroke.dataset.scan_checks import tame_outliers
from mapping_stroke.errors import CaseError
from mapping_stroke.files import write_csv
from mapping_stroke.images.formats import image_suffix
from mapping_stroke.images.image import Image, Mask, read_image, require_same_grid, write_image
from mapping_stroke.space.brain import Brain
from mapping_stroke.space.model_input import restore_input
from mapping_stroke.space.placement import bring_mask_to_atlas

SOURCES_FILE = "sources.csv"
SOURCE_COLUMNS = ("case_id", "scan", "mask", "brain", "to_mni")
"""`to_mni`: the 16 numbers of the matrix from the scan's millimetres to those of MNI152; empty if not registered."""
AnyMask = Bool[np.ndarray, "a b c"]  # on another grid than the scan's
WRITERS = 2
"""Threads that write scans; most of the time is outside Python's lock."""


def needs_writing(case: FoundCase) -> bool:
    """Whether training cannot read the files of a case as they are: its scan is native and placed, or DICOM."""
    return case.placement is not None or image_suffix(case.scan) is None


def register_cases(found: Sequence[FoundCase], checked: Sequence[Case], folder: Path) -> list[Case]:
    """Write every case that `needs_writing`, and a table of the original files; others stay as they are.

    Args:
        found: Cases without errors.
        checked: The same cases, in the same order, with the facts of their own files.
        folder: Folder to write.

    Returns:
        The cases, with the facts of the files that training reads.

    Raises:
        MappingError: A file cannot be read, or a brain mask does not fit its scan.
    """
    native = {case.case_id: case for case in found if needs_writing(case)}
    if not native:
        return list(checked)
    if any(case.placement for case in native.values()):
        say(f"Scans and masks are written to {folder} as the model that segmented them reads scans")
    with ThreadPoolExecutor(WRITERS) as pool:
        written = list(track(pool.map(partial(_register, folder), native.values()), "Registering", len(native)))
    write_csv(folder / SOURCES_FILE, SOURCE_COLUMNS, map(_source_row, native.values()))
    by_id = {case.case_id: case for case in written}
    return [by_id.get(case.case_id, case) for case in checked]


def _register(folder: Path, found: FoundCase) -> Case:
    scan = read_image(found.scan, series=found.series)
    mask = None if found.mask is None else read_image(found.mask).voxels > 0
    image, its_mask = (scan, mask) if found.placement is None else _place(scan, mask, found.placement)
    folder = folder.resolve()
    paths = [folder / f"{found.case_id}_{word}.nii.gz" for word in ("T1w", "lesion")]
    write_image(paths[0], image.voxels, image)
    if its_mask is not None:
        write_image(paths[1], its_mask, image)
    now = replace(found, scan=paths[0], mask=None if its_mask is None else paths[1], series="", placement=None)
    checked = check_case(now)
    if checked.case is None:
        raise CaseError("; ".join(problem.line for problem in checked.problems if problem.severity == "error"))
    return checked.case


def _place(scan: Image, mask: Mask | None, placement: Placement) -> tuple[Image, AnyMask | None]:
    """The image that the model read, and the mask on its grid."""
    outline = read_image(placement.brain)
    require_same_grid(outline, scan, (f"{placement.brain}: the brain mask", "its scan"), "segment the scan again")
    brain = Brain(outline.voxels > 0, placement.stripped, "shown" if placement.stripped else "network")
    to_mni = None if placement.to_mni is None else np.array(placement.to_mni)
    image = restore_input(tame_outliers(scan), brain, to_mni, brain_only=placement.brain_only)
    if to_mni is None or mask is None:
        return image, mask
    return image, bring_mask_to_atlas(mask, to_mni @ scan.affine)


def _source_row(case: FoundCase) -> dict[str, object]:
    place = case.placement
    to_mni = [] if place is None or place.to_mni is None else [f"{value:.9g}" for row in place.to_mni for value in row]
    brain = None if place is None else place.brain
    values = (case.case_id, case.scan, case.mask, brain, " ".join(to_mni))
    return dict(zip(SOURCE_COLUMNS, values, strict=True))
