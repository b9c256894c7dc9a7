"""What a BIDS derivative holds of each scan: file names, volumes by region, numbered lesions, sidecars."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int32
from scipy import ndimage

from mapping_stroke.cohort.results import (
    COLUMNS,
    LESIONS_SUFFIX,
    PICTURE_SUFFIX,
    PROBABILITY_STEP,
    STAMP_SUFFIX,
    TRANSFORM_SUFFIX,
    UNCERTAINTY_SUFFIX,
    ScanFiles,
)
from mapping_stroke.cohort.scan import LoadedScan
from mapping_stroke.dataset.grid import ATLAS_GRID
from mapping_stroke.dataset.names import BidsName, parse_bids_name
from mapping_stroke.errors import SCAN_FAILURES, CaseError, ImageError
from mapping_stroke.files import read_csv, remove_files, write_csv, write_json
from mapping_stroke.images.image import Image, Mask, read_image, write_image
from mapping_stroke.images.nifti import Affine
from mapping_stroke.inference.segmentation import LesionRow, Segmentation, lesion_table, number_lesions
from mapping_stroke.run_folder import BRAIN_SUFFIX, MASK_SUFFIX, OWNER_FILE, PROBABILITY_SUFFIX, SHARING
from mapping_stroke.space.brain import BrainSource
from mapping_stroke.space.resample import resample, shrink

TEMPLATE = "MNI152NLin2009aSym"
"""What BIDS calls the space of ATLAS R2.0."""
KIND = "bids"
"""What `run.json` calls the work."""
LOGS = "logs"
"""Folder of what is known of each scan."""
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
"""Ends of the names in `anat/` that have a sidecar."""
TABLES = {
    LABEL_TABLE_SUFFIX: "space-orig_seg-lesions_dseg.tsv",
    LESIONS_SUFFIX: "space-orig_desc-mapping_lesions.tsv",
    TRANSFORM_SUFFIX: f"from-T1w_to-{TEMPLATE}_mode-image_xfm.txt",
}
IGNORED = (
    "*_lesions.tsv",
    "*_xfm.*",
    "sub-*/figures",
    f"{LOGS}/",
    f"{SHARING}/",
    OWNER_FILE,
    "CITATION.md",
    "group*",
)
"""What BIDS has no name for yet: lines of `.bidsignore`."""


def bids_output(name: str, suffix: str) -> str:
    """The path of a scan's result below the folder of the derivative.

    Args:
        name: Of the scan: its entities and `T1w`, such as `sub-1_ses-2_run-1_T1w`; or `*`.
        suffix: Of the result, as `mapping segment` calls it.
    """
    if suffix == STAMP_SUFFIX:
        return f"{LOGS}/{name}{suffix}"
    folder, base = ("sub-*/**", "*") if name == "*" else (_folder(_parsed(name)), _parsed(name).case_id)
    if suffix.endswith(PICTURE_SUFFIX):
        what = suffix.removesuffix(PICTURE_SUFFIX).strip("_") or "mapping"
        return f"{folder.split('/')[0]}/figures/{base}_desc-{what}_T1w.png"
    return f"{folder}/anat/{base}_{ {**MAPS, **TABLES}.get(suffix, suffix.lstrip('_')) }"


def sidecar(path: str) -> str:
    """The path of the JSON file that describes a map."""
    return f"{path.removesuffix('.nii.gz')}.json"


def _parsed(name: str) -> BidsName:
    found = parse_bids_name(name)
    if found is None:
        raise CaseError(f"{name}: is no BIDS name, expected sub-LABEL_..._T1w; rename the scan")
    return found


def _folder(name: BidsName) -> str:
    session = name.entities.get("ses")
    return f"sub-{name.entities['sub']}" + (f"/ses-{session}" if session else "")


Points = Float64[np.ndarray, "n 3"]  # RAS millimetres in MNI152 space
NUMBER_COLUMNS, NAME_COLUMNS = ("index", "label", "id", "value"), ("name", "region", "label_name", "structure")
"""Of an atlas's table, in any case; the first that is there counts."""
ELSEWHERE = "elsewhere"
"""What lies in no region."""


def lesion_points(mask: Mask, affine: Affine, to_mni: Affine) -> Points:
    """Where the centres of a mask's voxels lie in MNI152 space."""
    place = to_mni @ affine
    points: Points = np.argwhere(mask) @ place[:3, :3].T + place[:3, 3]
    return points


def hemisphere_ml(points: Points, voxel_mm3: float) -> dict[str, float]:
    """Volume left and right of MNI152's midplane x = 0, in mL; voxels on it count half on either side."""
    x = points[:, 0]
    middle = float((x == 0).sum()) / 2
    return {
        "left_ml": (float((x < 0).sum()) + middle) * voxel_mm3 / 1000,
        "right_ml": (float((x > 0).sum()) + middle) * voxel_mm3 / 1000,
    }


@dataclass(frozen=True, eq=False)
class Atlas:
    """Regions in MNI152 space.

    Attributes:
        labels: Number of the region of each voxel, 0 for none.
        affine: Voxel index to RAS millimetres.
        names: Of the regions by number, in the order of the table.
    """

    labels: Int32[np.ndarray, "x y z"]
    affine: Affine
    names: Mapping[int, str]

    @property
    def regions(self) -> tuple[str, ...]:
        """What `volumes_ml` tells volumes of."""
        return (*dict.fromkeys(self.names.values()), ELSEWHERE)

    def volumes_ml(self, points: Points, voxel_mm3: float) -> dict[str, float]:
        """Volume in every region, in mL, and `elsewhere`; each voxel counts where its centre lies."""
        to_index = np.linalg.inv(self.affine)
        index = np.rint(points @ to_index[:3, :3].T + to_index[:3, 3]).astype(np.int64)
        inside = ((index >= 0) & (index < self.labels.shape)).all(axis=1)
        found = np.zeros(len(points), np.int64)
        found[inside] = self.labels[tuple(index[inside].T)]
        volumes = dict.fromkeys(self.regions, 0.0)
        for number, count in zip(*np.unique(found, return_counts=True), strict=True):
            volumes[self.names.get(int(number), ELSEWHERE)] += float(count) * voxel_mm3 / 1000
        return volumes


def read_atlas(path: Path, table: Path) -> Atlas:
    """Read an atlas in MNI152 space and the table of its regions.

    Args:
        path: Image of whole numbers.
        table: Tab- or comma-separated: a column of numbers (`index`, `label`, ...) and one of names (`name`, ...);
            several numbers may have one name, whose volumes are then added.

    Raises:
        MappingError: A file cannot be read, the image holds other numbers, or the table lacks a column or any region.
    """
    image = read_image(path)
    labels = np.rint(image.voxels)
    if np.abs(labels - image.voxels).max() > 1e-3 or labels.min() < 0:
        raise ImageError(f"{path}: holds other values than whole numbers from 0, expected an atlas of labels")
    return Atlas(labels.astype(np.int32), image.affine, _read_names(table))


def _read_names(table: Path) -> dict[int, str]:
    if not table.is_file():
        raise CaseError(f"{table}: no such file; name the table of the atlas's regions")
    rows = read_csv(table, delimiter="," if table.suffix.lower() == ".csv" else "\t")
    columns = {column.lower().strip(): column for column in (rows[0] if rows else {}) if column}
    number = next((columns[name] for name in NUMBER_COLUMNS if name in columns), None)
    name = next((columns[name] for name in NAME_COLUMNS if name in columns), None)
    if number is None or name is None:
        raise CaseError(
            f"{table}: has the columns {', '.join(columns) or 'none'}, expected one of numbers "
            f"({', '.join(NUMBER_COLUMNS)}) and one of names ({', '.join(NAME_COLUMNS)})"
        )
    try:
        names = {int(row[number]): row[name].strip() for row in rows}
    except (TypeError, ValueError, AttributeError) as error:
        raise CaseError(f"{table}: a row has no whole number or no name ({error}); correct it") from error
    return {index: label for index, label in names.items() if index != 0}


def uncertain_ml(spread: Float32[np.ndarray, "x y z"], voxel_mm3: float, least: float) -> float:
    """Volume where the members' standard deviation is above a level, in mL."""
    return float((spread > least).sum()) * voxel_mm3 / 1000


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
