"""The files that one segmented scan leaves; its stamp is written last, so a scan that has one is finished."""

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mapping_stroke.console import counted
from mapping_stroke.errors import FileError, LostContentError, MappingError
from mapping_stroke.files import (
    leads_nowhere,
    longest_name_bytes,
    read_object,
    remove_files,
    sha256,
    write_csv,
    write_json,
    write_text,
)
from mapping_stroke.images.dicom_series import DicomSeries
from mapping_stroke.images.formats import Source, find_source, stored_files
from mapping_stroke.images.image import Mask, write_image
from mapping_stroke.inference.segmentation import LesionRow, Segmentation, lesion_table
from mapping_stroke.run_folder import BRAIN_SUFFIX, MASK_SUFFIX, PROBABILITY_SUFFIX
from mapping_stroke.space.affine import itk_text
from mapping_stroke.space.model_input import ModelInput, deface

Storage = Literal["uint8", "float32"]

UNCERTAINTY_SUFFIX = "_uncertainty.nii.gz"
MAP_SUFFIXES = (MASK_SUFFIX, PROBABILITY_SUFFIX, UNCERTAINTY_SUFFIX)
LESIONS_SUFFIX, PICTURE_SUFFIX, STAMP_SUFFIX = "_lesions.tsv", ".png", ".json"
DICOM_SUFFIX = "_mask.dcm"
TRANSFORM_SUFFIX = "_to-MNI152.txt"
"""Of scans that were registered alone."""
PLACEMENT_SUFFIX = "_placement.png"
"""Of scans whose brain and place were found alone; so is `BRAIN_SUFFIX`."""
PICTURE_SUFFIXES = (PICTURE_SUFFIX, PLACEMENT_SUFFIX)
SUFFIXES = (
    STAMP_SUFFIX,
    *MAP_SUFFIXES,
    BRAIN_SUFFIX,
    LESIONS_SUFFIX,
    TRANSFORM_SUFFIX,
    *PICTURE_SUFFIXES,
    DICOM_SUFFIX,
)
"""Of all outputs; the stamp goes first where they are removed."""
Naming = Callable[[str, str], str]
"""The path of an output below its folder, given the scan's name and the output's suffix; for the name `*` a pattern of
the stamps' paths, or of names that nobody else gives to files."""
WriteDicom = Callable[[Path, DicomSeries, Mask], None]
"""Writes a mask as DICOM, given the series that it was found in."""
COLUMNS = tuple(LesionRow.__dataclass_fields__)
PROBABILITY_STEP = 1 / 255
UNCERTAINTY_STEP = 0.5 / 255
"""A standard deviation of values in [0, 1] is at most 0.5."""
BYTES = {"uint8": 1, "float32": 4}
OTHER_BYTES = 5_000_000
"""More than the table, the pictures and the stamp take."""


def flat_names(name: str, suffix: str) -> str:
    """All outputs lie side by side, named like their scan."""
    return f"{name}{suffix}"


@dataclass(frozen=True)
class ScanFiles:
    """The outputs of one scan.

    Attributes:
        folder: Output folder.
        name: Of the scan, without suffix.
        storage: Of probability and uncertainty.
        picture: Whether there is one.
        naming: What the files are called.
        series: Which DICOM series of a folder is meant; see `find_source`.
        write_dicom: Writes the mask as DICOM, too; None where there is none.
    """

    folder: Path
    name: str
    storage: Storage
    picture: bool
    naming: Naming = flat_names
    series: str = ""
    write_dicom: WriteDicom | None = None

    def path(self, suffix: str) -> Path:
        """The output of that suffix."""
        return self.folder / self.naming(self.name, suffix)

    def needed_bytes(self, shape: Sequence[int]) -> float:
        """Room for all outputs of a scan of that shape, at most."""
        return math.prod(shape) * (2 + 2 * BYTES[self.storage]) + OTHER_BYTES

    def is_finished(self, scan: Path, brain: Path | None = None) -> bool:
        """Whether all outputs of this very scan are there; they stand where only its content was dropped (DataLad).

        Args:
            scan: The scan.
            brain: The user's mask of its brain; None if there is none.
        """
        stamp = read_object(self.path(STAMP_SUFFIX))
        suffixes = self._suffixes(registered=bool(stamp.get("registration")), placed=bool(stamp.get("brain")))
        source, paths = stamp.get("source"), [*map(self.path, suffixes), *self._more(stamp)]
        if not isinstance(source, dict):
            return False
        try:
            if not all(path.is_file() for path in paths):
                return False
            return is_source(source, scan, self.series) and is_brain_of(source, brain)
        except (MappingError, OSError):  # something may not be looked at any more: reading or writing it will say so
            return False

    def _suffixes(self, *, registered: bool, placed: bool) -> list[str]:
        """Of what a scan leaves beside its stamp."""
        also = {
            PICTURE_SUFFIX: self.picture,
            BRAIN_SUFFIX: placed,
            TRANSFORM_SUFFIX: registered,
            PLACEMENT_SUFFIX: placed and self.picture,
            DICOM_SUFFIX: self.write_dicom is not None,
        }
        return [*MAP_SUFFIXES, LESIONS_SUFFIX, *(suffix for suffix, written in also.items() if written)]

    def require_short_names(self) -> None:
        """Raise `FileError` if the names of the outputs get too long for the disk, before anything is computed."""
        names = [os.fsencode(self.path(suffix).name) for suffix in SUFFIXES]
        longest, most = max(map(len, names)), longest_name_bytes(self.folder)
        if longest > most:
            raise FileError(
                f"its name is too long: its results would have names of up to {longest} bytes, expected at most "
                f"{most}; give it a name that is at least {counted(longest - most, 'character')} shorter"
            )

    def any_there(self) -> bool:
        """Whether there is any output of that name, finished or not."""
        return any(self.path(suffix).exists() for suffix in SUFFIXES)

    def remove(self) -> None:
        """Remove whatever outputs of that name there are, the stamp first, as `remove_files` does."""
        more = self._more(read_object(self.path(STAMP_SUFFIX)))
        remove_files((*map(self.path, SUFFIXES), *more))

    def _more(self, stamp: dict[str, Any]) -> list[Path]:
        """Further files, of which only the stamp knows."""
        return [self.folder / path for path in stamp.get("files", ())]

    def write(self, seen: ModelInput, found: Segmentation) -> None:
        """Write all but the stamp and what is DICOM; an older stamp goes first."""
        self.path(STAMP_SUFFIX).unlink(missing_ok=True)
        image = seen.scan
        in_steps = self.storage == "uint8"
        mask, probability, uncertainty = map(self.path, MAP_SUFFIXES)
        write_image(mask, found.mask, image)
        write_image(probability, found.probability, image, step=PROBABILITY_STEP if in_steps else None)
        write_image(uncertainty, found.uncertainty, image, step=UNCERTAINTY_STEP if in_steps else None)
        write_csv(self.path(LESIONS_SUFFIX), COLUMNS, lesion_table(found.lesions), delimiter="\t")
        if seen.placed:
            write_image(self.path(BRAIN_SUFFIX), seen.placed.brain.mask, image)
        if seen.registered:
            write_text(self.path(TRANSFORM_SUFFIX), itk_text(seen.registered.to_mni))
        if self.picture:
            self._draw(seen, found)

    def _draw(self, seen: ModelInput, found: Segmentation) -> None:
        """The lesions; and, if they are known, the brain and its place, to see whether those are right."""
        from mapping_stroke.report.overview import PlacedRow, draw_placements
        from mapping_stroke.report.pictures import draw_segmentation

        shown = deface(seen.scan, seen.placed)
        draw_segmentation(shown, found.mask, found.probability, found.lesions, self.path(PICTURE_SUFFIX))
        if seen.placed:
            draw_placements([PlacedRow("", seen.placed, shown, found.mask)], self.path(PLACEMENT_SUFFIX))

    def write_as_dicom(self, series: DicomSeries | None, mask: Mask) -> None:
        """Write the mask as DICOM where that is asked for, given the series that the scan was read from."""
        if self.write_dicom and series:
            self.write_dicom(self.path(DICOM_SUFFIX), series, mask)

    def write_stamp(self, values: dict[str, Any]) -> None:
        """Say that the scan is finished, and what was found."""
        write_json(self.path(STAMP_SUFFIX), values)


def is_source(source: Mapping[str, Any], scan: Path, series: str = "") -> bool:
    """Whether results are of this very scan as it is now; they stand if only its content was dropped (DataLad).

    Args:
        source: Of the results' stamp.
        scan: The scan; it need not exist.
        series: See `find_source`.

    Raises:
        MappingError: The scan cannot be read.
        OSError: Likewise.
    """
    same_name = bool(Path(source.get("scan", "")).name == scan.name)
    if leads_nowhere(scan):
        return same_name
    try:
        return scan.exists() and source.get("sha256") == scan_sha256(find_source(scan, series))
    except LostContentError:
        return same_name


def is_brain_of(source: Mapping[str, Any], brain: Path | None) -> bool:
    """Whether results were made with this very mask of the brain, or with none if none is given.

    Args:
        source: Of the results' stamp.
        brain: The user's mask; if only its content was dropped (DataLad), its name decides.

    Raises:
        MappingError: It cannot be read.
        OSError: Likewise.
    """
    if brain is not None and leads_nowhere(brain):
        return bool(Path(source.get("brain", "")).name == brain.name)
    return bool(source.get("brain_sha256") == (scan_sha256(brain) if brain else None))


def scan_sha256(scan: Source) -> str:
    """SHA-256 of the file of a scan, or another image, in hexadecimal; of all their hashes if it lies in several."""
    hashes = [sha256(file) for file in stored_files(scan)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
