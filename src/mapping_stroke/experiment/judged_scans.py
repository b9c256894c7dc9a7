"""The labelled cases and the healthy scans that a model is judged on: found, and read one at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float32

from mapping_stroke.console import warn
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.dataset.checks import check_names
from mapping_stroke.dataset.layouts import find_cases
from mapping_stroke.errors import SCAN_FAILURES, CaseError, describe_failure, stops_all
from mapping_stroke.experiment.score_files import read_mask
from mapping_stroke.experiment.segment_files import scan_sha256
from mapping_stroke.experiment.segment_reading import LoadedScan, read_scan
from mapping_stroke.files import fingerprint
from mapping_stroke.image import Image, Mask, Probability, image_stem, require_same_grid, turn_axes
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.networks.cards import BundleCard

T = TypeVar("T")


@dataclass(frozen=True)
class JudgedData:
    """What a model is judged on.

    Attributes:
        cohort: Folder of labelled cases, in any layout that `prepare` reads.
        healthy: Healthy scans, files or folders in any such layout.
        heads: Healthy scans of whole heads, likewise, told apart from the others and never pictured.
        hard: Scans of patients without a mask, such as other diseases, likewise: only told by name.
    """

    cohort: Path
    healthy: tuple[Path, ...] = ()
    heads: tuple[Path, ...] = ()
    hard: tuple[Path, ...] = ()


@dataclass(frozen=True, eq=False)
class JudgedScan:
    """A scan that is ready for its members, and its truth.

    Attributes:
        loaded: The scan as its file holds it, and as the members read it.
        reference: The lesions, on RAS axes; empty for a healthy scan.
        spacing_mm: Length of a voxel's edge along each RAS axis.
    """

    loaded: LoadedScan
    reference: Mask
    spacing_mm: tuple[float, float, float]

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return self.loaded.image.voxel_volume_mm3

    def turn(self, probability: Float32[np.ndarray, "a b c"]) -> Probability:
        """A map on the grid that the members saw, on the scan's own with its axes turned to RAS, as rules take it."""
        return turn_axes(Image(self.loaded.seen.bring_back(probability), self.loaded.image.affine)).voxels


def find_labelled(cohort: Path) -> tuple[list[FoundCase], list[str]]:
    """The labelled cases of a data set, in any layout that `prepare` reads; and the ids of those that cannot be used.

    What is wrong with a case is told.

    Raises:
        CaseError: There is no folder, no scan, or no usable scan with a mask.
    """
    findings = find_cases(cohort)
    problems = [
        problem for problem in (*findings.problems, *check_names(findings.cases)) if problem.severity == "error"
    ]
    for problem in problems:
        warn(problem.line)
    bad = {problem.case_id for problem in problems}
    labelled = [case for case in findings.cases if case.mask is not None]
    usable = [case for case in labelled if case.case_id not in bad]
    if not usable:
        raise CaseError(
            f"{cohort}: none of its {len(findings.cases)} scans has a usable mask, expected labelled cases; "
            "name a data set with masks, see `mapping prepare`"
        )
    return usable, sorted({case.case_id for case in labelled} & bad)


def find_unlabelled(given: Sequence[Path]) -> list[FoundCase]:
    """Scans without a mask: files, and the scans of folders in any layout that `prepare` reads; none for none.

    Raises:
        CaseError: A folder holds no scan, a scan has a lesion mask beside it, or two scans have one name,
            capitals aside.
    """
    found: dict[str, FoundCase] = {}
    for path in given:
        for case in find_cases(path).cases if path.is_dir() else [_lone(path)]:
            if case.mask is not None:
                raise CaseError(f"{case.scan}: has a lesion mask ({case.mask.name}); name scans without one only")
            key = case.case_id.casefold()
            if key in found:
                raise CaseError(f"{case.scan}: {found[key].scan} has the same name, capitals aside; rename one")
            found[key] = case
    return list(found.values())


def mark_case(case: FoundCase) -> str:
    """A mark of the case's files, that changes with them."""
    files = [case.scan] if case.mask is None else [case.scan, case.mask]
    return fingerprint([scan_sha256(file) for file in files])


def read_judged(
    case: FoundCase, ensemble: Ensemble, card: BundleCard | None = None, *, again: bool = False
) -> JudgedScan:
    """Read, check and prepare a scan, and read its mask where it has one; warnings about the scan are told.

    Args:
        case: The scan.
        ensemble: What prepares it.
        card: Of the model, where the scan is to be placed for it as `mapping segment` does.
        again: Warnings have been told.

    Raises:
        MappingError: A file cannot be read or used, or scan and mask lie on different grids.
    """
    loaded = read_scan(case.scan, ensemble, card)
    for line in () if again else loaded.warnings:
        warn(f"{case.scan}: {line}")
    lesions = np.zeros(loaded.image.shape, np.bool_)
    if case.mask is not None:
        lesions, mask = read_mask(case.mask)
        names = (f"{case.mask}: the mask", f"its scan {case.scan}")
        require_same_grid(mask, loaded.image, names, "resample the mask onto the scan with nearest neighbour")
    turned = turn_axes(Image(lesions.astype(np.float32), loaded.image.affine))
    return JudgedScan(loaded, turned.voxels > 0, turned.spacing_mm)


def attempt(case: FoundCase, work: Callable[[], T], *, alone: bool) -> T | None:
    """Do what may fail for one case: None, and why told, where it does; raised as `CaseError` where it is alone."""
    try:
        return work()
    except SCAN_FAILURES as error:
        if stops_all(error):
            raise
        why = describe_failure(error, case.scan)
        if alone:
            raise CaseError(f"{case.scan}: {why}") from error
        warn(f"{case.scan}: {why}")
        return None


def _lone(path: Path) -> FoundCase:
    name = image_stem(path)
    return FoundCase(name, name, "", "", path, None)
