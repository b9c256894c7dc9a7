"""What a BIDS derivative holds of a scan beside the usual results: numbered lesions, copies in MNI152, sidecars."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from mapping_stroke.dataset.grid import ATLAS_GRID
from mapping_stroke.errors import SCAN_FAILURES
from mapping_stroke.experiment.bids_outputs import (
    LABEL_TABLE_SUFFIX,
    LABELS_SUFFIX,
    MNI_MASK_SUFFIX,
    MNI_PROBABILITY_SUFFIX,
    TEMPLATE,
    sidecar,
)
from mapping_stroke.experiment.bids_regions import hemisphere_ml, lesion_points, uncertain_ml
from mapping_stroke.experiment.segment_files import (
    COLUMNS,
    PROBABILITY_STEP,
    UNCERTAINTY_SUFFIX,
    ScanFiles,
)
from mapping_stroke.experiment.segment_reading import LoadedScan
from mapping_stroke.files import remove_files, write_csv, write_json
from mapping_stroke.image import Affine, Image, write_image
from mapping_stroke.inference.segmentation import LesionRow, Segmentation, lesion_table, number_lesions
from mapping_stroke.run_folder import BRAIN_SUFFIX, MASK_SUFFIX, PROBABILITY_SUFFIX
from mapping_stroke.space.brain import BrainSource
from mapping_stroke.space.resample import resample, shrink

UNCERTAIN_SD = 0.25
"""Half of the largest standard deviation there can be: members disagree about such a voxel."""
LESION_COLUMNS = ("index", "name", *(column for column in COLUMNS if column != "lesion"))
"""Of the table of numbered lesions: BIDS asks for the first two."""
TEXTS = {
    MASK_SUFFIX: "Lesion mask on the grid of the scan",
    PROBABILITY_SUFFIX: "Mean probability of lesion over the members of the model, on the grid of the scan",
    UNCERTAINTY_SUFFIX: "Standard deviation of the probability of lesion over the members of the model (0 to 0.5), on "
    "the grid of the scan",
    LABELS_SUFFIX: "Lesions (face-connected), numbered from the largest, on the grid of the scan",
    BRAIN_SUFFIX: "Brain mask (intracranial space) on the grid of the scan",
    MNI_MASK_SUFFIX: "The lesion mask in MNI152 space: the scan's own mask, laid there by the affine registration",
    MNI_PROBABILITY_SUFFIX: "The mean probability in MNI152 space: the scan's own, laid there by the affine "
    "registration",
}

OUTLINED: Mapping[BrainSource, str] = {
    "network": "a network for brain extraction outlined it",
    "shown": "the scan was stripped already: it is what that shows, without gaps",
    "template": "the network for brain extraction failed: it is what the registered template says, and to be looked at",
    "given": "the user gave it",
}
"""By whom a brain was."""


@dataclass(frozen=True)
class Derivative:
    """What the results of one run have in common.

    Attributes:
        bids_dir: Data set that the scans are of.
        in_mni: Whether scans that nobody placed lie in MNI152 space already, as the user says.
        made_by: Keys of every sidecar: model, rule, preset.
        members: How many there are; one alone neither agrees nor disagrees.
    """

    bids_dir: Path
    in_mni: bool
    made_by: Mapping[str, object]
    members: int

    def write(self, files: ScanFiles, loaded: LoadedScan, found: Segmentation) -> dict[str, Any]:
        """Write them for a scan whose usual results are written, or none; what its stamp should tell in addition."""
        image, to_mni, placed = loaded.image, self._place(loaded), loaded.seen.placed
        in_mni = () if to_mni is None else (MNI_MASK_SUFFIX, MNI_PROBABILITY_SUFFIX)
        brain = (BRAIN_SUFFIX,) if placed else ()
        maps = (MASK_SUFFIX, PROBABILITY_SUFFIX, UNCERTAINTY_SUFFIX, LABELS_SUFFIX, *brain, *in_mni)
        paths = [files.path(suffix) for suffix in (*maps, LABEL_TABLE_SUFFIX)]
        paths += [Path(sidecar(str(files.path(suffix)))) for suffix in maps]
        scan = f"bids:raw:{Path(loaded.source['scan']).relative_to(self.bids_dir).as_posix()}"
        try:
            write_image(files.path(LABELS_SUFFIX), number_lesions(found.mask, image.affine), image)
            write_csv(files.path(LABEL_TABLE_SUFFIX), LESION_COLUMNS, _label_rows(found.lesions), delimiter="\t")
            if to_mni is not None:
                _write_in_mni(files, image, found, to_mni)
            for suffix in maps:
                self._write_sidecar(files.path(suffix), suffix, scan, placed.brain.source if placed else None)
            measures = self._measures(image, found, to_mni)
        except SCAN_FAILURES:
            with suppress(OSError):  # why they could not be written says more
                remove_files(paths)  # of which nobody else knows without a stamp
            raise
        fit = {"similarity": placed.quality.similarity, "overlap": placed.quality.overlap} if placed else {}
        return {
            "measures": measures | {name: round(value, 4) for name, value in fit.items()},
            "files": [path.relative_to(files.folder).as_posix() for path in paths],
        }

    def _place(self, loaded: LoadedScan) -> Affine | None:
        """The scan's millimetres to those of MNI152; None where nobody knows."""
        if loaded.seen.placed is not None:
            return loaded.seen.placed.to_mni
        return np.eye(4) if self.in_mni else None

    def _measures(self, image: Image, found: Segmentation, to_mni: Affine | None) -> dict[str, Any]:
        """Numbers of the group's table that the maps tell and the lesion table does not."""
        measures: dict[str, Any] = {"largest_ml": found.lesions[0].volume_ml if found.lesions else 0.0}
        measures |= {"agreement": None, "uncertain_ml": None}
        if self.members > 1:
            measures["agreement"] = _agreement(found.lesions)
            measures["uncertain_ml"] = uncertain_ml(found.uncertainty, image.voxel_volume_mm3, UNCERTAIN_SD)
        if to_mni is not None:
            points = lesion_points(found.mask, image.affine, to_mni)
            measures |= hemisphere_ml(points, image.voxel_volume_mm3)
        rounded = {name: None if value is None else round(value, 4) for name, value in measures.items()}
        return rounded | ({} if to_mni is None else {"to_mni": to_mni.tolist()})

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
    """Mask (nearest neighbour, which keeps volumes) and probability (one linear interpolation) on the grid of ATLAS."""
    to_scan = np.linalg.inv(to_mni @ image.affine) @ ATLAS_GRID.affine
    mask = ndimage.affine_transform(found.mask, to_scan[:3, :3], to_scan[:3, 3], ATLAS_GRID.shape, order=0)
    source = shrink(Image(found.probability, to_mni @ image.affine), ATLAS_GRID.spacing_mm)
    probability = resample(source.voxels, np.linalg.inv(source.affine) @ ATLAS_GRID.affine, ATLAS_GRID.shape)
    step = PROBABILITY_STEP if files.storage == "uint8" else None
    write_image(files.path(MNI_MASK_SUFFIX), mask, ATLAS_GRID.affine)
    write_image(files.path(MNI_PROBABILITY_SUFFIX), probability, ATLAS_GRID.affine, step=step)


def _label_rows(lesions: tuple[LesionRow, ...]) -> list[dict[str, object]]:
    rows = lesion_table(lesions)
    return [{"index": row.pop("lesion"), "name": f"lesion {number}", **row} for number, row in enumerate(rows, start=1)]


def _agreement(lesions: tuple[LesionRow, ...]) -> float | None:
    """Mean over all lesion voxels; None where there is no lesion."""
    load_ml = sum(lesion.volume_ml for lesion in lesions)
    return sum(lesion.agreement * lesion.volume_ml for lesion in lesions) / load_ml if lesions else None
