"""Files of each scan in a BIDS derivative: names, numbered lesions, maps in MNI152 space, sidecars."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mapping_stroke.cohort.results import (
    COLUMNS,
    LESIONS_SUFFIX,
    PAGE_SUFFIX,
    PICTURE_SUFFIX,
    PROBABILITY_STEP,
    STAMP_SUFFIX,
    TRANSFORM_SUFFIX,
    UNCERTAINTY_SUFFIX,
    ScanFiles,
)
from mapping_stroke.cohort.review import REVIEW_SUFFIX
from mapping_stroke.cohort.segmenter import LoadedScan
from mapping_stroke.dataset.grid import ATLAS_GRID
from mapping_stroke.dataset.names import BidsName, parse_bids_name
from mapping_stroke.errors import SCAN_FAILURES, CaseError
from mapping_stroke.files import remove_files, write_csv, write_json
from mapping_stroke.images.image import Image, write_image
from mapping_stroke.images.nifti import Affine
from mapping_stroke.inference.segmentation import LesionRow, Segmentation, lesion_table, number_lesions
from mapping_stroke.run_folder import BRAIN_SUFFIX, EDITED_SUFFIX, MASK_SUFFIX, OWNER_FILE, PROBABILITY_SUFFIX, SHARING
from mapping_stroke.space.brain import BrainSource
from mapping_stroke.space.placement import bring_mask_to_atlas
from mapping_stroke.space.resample import resample, shrink

TEMPLATE = "MNI152NLin2009aSym"
"""The BIDS name of the space of ATLAS R2.0."""
LOGS = "logs"
"""Folder of the stamps."""
LABELS_SUFFIX, LABEL_TABLE_SUFFIX = "_dseg.nii.gz", "_dseg.tsv"
MNI_MASK_SUFFIX, MNI_PROBABILITY_SUFFIX = "_mni_mask.nii.gz", "_mni_probability.nii.gz"

MAPS = {
    MASK_SUFFIX: "space-orig_label-L_desc-mapping_mask.nii.gz",
    PROBABILITY_SUFFIX: "space-orig_seg-mapping_label-L_probseg.nii.gz",
    UNCERTAINTY_SUFFIX: "space-orig_seg-mapping_label-L_desc-uncertainty_probseg.nii.gz",
    LABELS_SUFFIX: "space-orig_seg-lesions_dseg.nii.gz",
    BRAIN_SUFFIX: "space-orig_desc-brain_mask.nii.gz",
    MNI_MASK_SUFFIX: f"space-{TEMPLATE}_label-L_desc-mapping_mask.nii.gz",
    MNI_PROBABILITY_SUFFIX: f"space-{TEMPLATE}_seg-mapping_label-L_probseg.nii.gz",
}
"""Endings of the names in `anat/`, all with a sidecar."""
TABLES = {
    LABEL_TABLE_SUFFIX: "space-orig_seg-lesions_dseg.tsv",
    LESIONS_SUFFIX: "space-orig_desc-mapping_lesions.tsv",
    TRANSFORM_SUFFIX: f"from-T1w_to-{TEMPLATE}_mode-image_xfm.txt",
}
EDITS = {EDITED_SUFFIX: "space-orig_label-L_desc-edited_mask.nii.gz"}
"""Written by people, see `review`; never removed."""
IGNORED = (
    "*_lesions.tsv",
    "*_xfm.*",
    "sub-*/figures",
    "*.html",
    f"{LOGS}/",
    f"{SHARING}/",
    OWNER_FILE,
    "CITATION.md",
    "group*",
)
"""Lines of `.bidsignore`: files without a BIDS name so far."""


def bids_output(name: str, suffix: str) -> str:
    """The path of a scan's output below the folder of the derivative.

    Args:
        name: Name of the scan, its entities and `T1w`, such as `sub-1_ses-2_run-1_T1w`; or `*`.
        suffix: Suffix of the output, as in `mapping segment`.
    """
    if suffix in (STAMP_SUFFIX, REVIEW_SUFFIX):
        return f"{LOGS}/{name}{suffix}"
    if suffix == PAGE_SUFFIX:
        return f"{name}{suffix}" if name == "*" else f"{_parsed(name).case_id}_T1w{suffix}"
    folder, base = ("sub-*/**", "*") if name == "*" else (_folder(_parsed(name)), _parsed(name).case_id)
    if suffix.endswith(PICTURE_SUFFIX):
        description = suffix.removesuffix(PICTURE_SUFFIX).strip("_") or "mapping"
        return f"{folder.split('/')[0]}/figures/{base}_desc-{description}_T1w.png"
    return f"{folder}/anat/{base}_{ {**MAPS, **TABLES, **EDITS}.get(suffix, suffix.lstrip('_')) }"


def sidecar(path: str) -> str:
    """The path of the JSON file that describes a map."""
    return f"{path.removesuffix('.nii.gz')}.json"


def _parsed(name: str) -> BidsName:
    found = parse_bids_name(name)
    if found is None:
        raise CaseError(f"{name}: is not a BIDS name, expected sub-LABEL_..._T1w; rename the scan")
    return found


def _folder(name: BidsName) -> str:
    session = name.entities.get("ses")
    return f"sub-{name.entities['sub']}" + (f"/ses-{session}" if session else "")


LESION_COLUMNS = ("index", "name", *(column for column in COLUMNS if column != "lesion"))
"""Columns of the table of numbered lesions; BIDS requires the first two."""
TEXTS = {
    MASK_SUFFIX: "Lesion mask on the grid of the scan",
    PROBABILITY_SUFFIX: "Mean probability of lesion over the members of the model, or over the mirrorings of a single "
    "one, on the grid of the scan",
    UNCERTAINTY_SUFFIX: "Standard deviation of the probability of lesion over the members of the model, or over the "
    "mirrorings of a single one (0 to 0.5), on the grid of the scan",
    LABELS_SUFFIX: "Lesions (face-connected), numbered from the largest, on the grid of the scan",
    BRAIN_SUFFIX: "Brain mask (intracranial space) on the grid of the scan",
    MNI_MASK_SUFFIX: "The lesion mask in MNI152 space: the scan's own mask, transformed by the affine registration",
    MNI_PROBABILITY_SUFFIX: "The mean probability in MNI152 space: the scan's own, transformed by the affine "
    "registration",
}

OUTLINED: Mapping[BrainSource, str] = {
    "network": "outlined by the brain extraction network",
    "shown": "the scan was already skull-stripped: its non-zero voxels with gaps closed",
    "template": "the brain extraction network failed: derived from the registered template, check it by eye",
    "given": "given by the user",
}
"""Description of each source of a brain mask, for its sidecar."""


@dataclass(frozen=True)
class Derivative:
    """Properties shared by the results of one run.

    Attributes:
        bids_dir: Data set of the scans.
        made_by: Entries of every sidecar: model, rule, preset.
    """

    bids_dir: Path
    made_by: Mapping[str, object]

    def write(self, files: ScanFiles, loaded: LoadedScan, found: Segmentation, to_mni: Affine | None) -> dict[str, Any]:
        """Write the additional files of a scan, all or none, and return entries for its stamp.

        Args:
            files: Names of its outputs.
            loaded: The scan.
            found: Its lesions.
            to_mni: The scan's millimetres to those of MNI152, if known.
        """
        image, placed = loaded.image, loaded.model_input.placed
        in_mni = () if to_mni is None else (MNI_MASK_SUFFIX, MNI_PROBABILITY_SUFFIX)
        brain = (BRAIN_SUFFIX,) if placed else ()
        maps = (MASK_SUFFIX, PROBABILITY_SUFFIX, UNCERTAINTY_SUFFIX, LABELS_SUFFIX, *brain, *in_mni)
        paths = [files.path(suffix) for suffix in (*maps, LABEL_TABLE_SUFFIX)]
        # listed before writing, so that a failure removes what exists
        paths += [Path(sidecar(str(files.path(suffix)))) for suffix in maps]
        scan = f"bids:raw:{Path(loaded.source['scan']).relative_to(self.bids_dir).as_posix()}"
        try:
            write_image(files.path(LABELS_SUFFIX), number_lesions(found.mask, image.affine), image)
            write_csv(files.path(LABEL_TABLE_SUFFIX), LESION_COLUMNS, _label_rows(found.lesions), delimiter="\t")
            if to_mni is not None:
                _write_in_mni(files, image, found, to_mni)
            for suffix in maps:
                self._write_sidecar(files.path(suffix), suffix, scan, placed.brain.source if placed else None)
        except SCAN_FAILURES:
            with suppress(OSError):  # the first error matters more
                remove_files(paths)  # without a stamp nothing else lists them
            raise
        return {"files": [path.relative_to(files.layout.folder).as_posix() for path in paths]}

    def _write_sidecar(self, path: Path, suffix: str, scan: str, brain: BrainSource | None) -> None:
        own: dict[str, object] = {"Description": f"{TEXTS[suffix]}."}
        if suffix in (MASK_SUFFIX, MNI_MASK_SUFFIX):
            own["Type"] = "Lesion"
        if suffix == BRAIN_SUFFIX and brain:
            own = {"Description": f"{TEXTS[suffix]}; {OUTLINED[brain]}.", "Type": "Brain", "OutlinedBy": brain}
        in_mni = suffix in (MNI_MASK_SUFFIX, MNI_PROBABILITY_SUFFIX)
        own |= {"Sources": [scan], "SpatialReference": TEMPLATE if in_mni else scan}
        write_json(Path(sidecar(str(path))), own | dict(self.made_by))


def _write_in_mni(files: ScanFiles, image: Image, found: Segmentation, to_mni: Affine) -> None:
    """Write the mask (nearest neighbour, to preserve volumes) and the probability (linear) on the grid of ATLAS."""
    mask = bring_mask_to_atlas(found.mask, to_mni @ image.affine)
    # averaged first: linear interpolation alone would skip voxels much finer than the grid
    source = shrink(Image(found.probability, to_mni @ image.affine), ATLAS_GRID.spacing_mm)
    probability = resample(source.voxels, np.linalg.inv(source.affine) @ ATLAS_GRID.affine, ATLAS_GRID.shape)
    step = PROBABILITY_STEP if files.options.probability == "uint8" else None
    write_image(files.path(MNI_MASK_SUFFIX), mask, ATLAS_GRID.affine)
    write_image(files.path(MNI_PROBABILITY_SUFFIX), probability, ATLAS_GRID.affine, step=step)


def _label_rows(lesions: tuple[LesionRow, ...]) -> list[dict[str, object]]:
    rows = lesion_table(lesions)
    return [{"index": row.pop("lesion"), "name": f"lesion {number}", **row} for number, row in enumerate(rows, start=1)]
