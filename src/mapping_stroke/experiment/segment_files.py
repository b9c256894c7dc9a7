"""The files that one segmented scan leaves; its stamp is written last, so a scan that has one is finished."""

import glob
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mapping_stroke.errors import MappingError
from mapping_stroke.files import list_files, read_object, sha256, write_csv, write_json
from mapping_stroke.image import Image, write_image
from mapping_stroke.image_formats import stored_files
from mapping_stroke.inference.segmentation import LesionRow, Segmentation, lesion_table
from mapping_stroke.run_folder import MASK_SUFFIX, OWNER_FILE, PROBABILITY_SUFFIX

Storage = Literal["uint8", "float32"]

UNCERTAINTY_SUFFIX = "_uncertainty.nii.gz"
MAP_SUFFIXES = (MASK_SUFFIX, PROBABILITY_SUFFIX, UNCERTAINTY_SUFFIX)
LESIONS_SUFFIX, PICTURE_SUFFIX, STAMP_SUFFIX = "_lesions.tsv", ".png", ".json"
OWN_PATTERNS = tuple(f"*{suffix}" for suffix in (*MAP_SUFFIXES, LESIONS_SUFFIX))
"""Names that nobody else gives to files."""
COLUMNS = tuple(LesionRow.__dataclass_fields__)
PROBABILITY_STEP = 1 / 255
UNCERTAINTY_STEP = 0.5 / 255
"""A standard deviation of values in [0, 1] is at most 0.5."""
BYTES = {"uint8": 1, "float32": 4}
OTHER_BYTES = 5_000_000
"""More than the table, the picture and the stamp take."""


@dataclass(frozen=True)
class ScanFiles:
    """The outputs of one scan.

    Attributes:
        folder: Output folder.
        name: Of the scan, without suffix.
        storage: Of probability and uncertainty.
        picture: Whether there is one.
    """

    folder: Path
    name: str
    storage: Storage
    picture: bool

    def path(self, suffix: str) -> Path:
        """The output of that suffix."""
        return self.folder / f"{self.name}{suffix}"

    def needed_bytes(self, shape: Sequence[int]) -> float:
        """Room for all outputs of a scan of that shape, at most."""
        return math.prod(shape) * (1 + 2 * BYTES[self.storage]) + OTHER_BYTES

    def is_finished(self, scan: Path) -> bool:
        """Whether all outputs of this very scan are there."""
        suffixes = (*MAP_SUFFIXES, LESIONS_SUFFIX, *((PICTURE_SUFFIX,) if self.picture else ()))
        source = read_object(self.path(STAMP_SUFFIX)).get("source")
        if not isinstance(source, dict) or not all(self.path(suffix).is_file() for suffix in suffixes):
            return False
        try:
            return scan.is_file() and source.get("sha256") == scan_sha256(scan)
        except (MappingError, OSError):  # it cannot be read any more: reading it will say so
            return False

    def remove(self) -> None:
        """Remove whatever outputs of that name there are, the stamp first."""
        for suffix in (STAMP_SUFFIX, *MAP_SUFFIXES, LESIONS_SUFFIX, PICTURE_SUFFIX):
            self.path(suffix).unlink(missing_ok=True)

    def write(self, image: Image, found: Segmentation) -> None:
        """Write all but the stamp; an older one goes first."""
        self.path(STAMP_SUFFIX).unlink(missing_ok=True)
        in_steps = self.storage == "uint8"
        mask, probability, uncertainty = map(self.path, MAP_SUFFIXES)
        write_image(mask, found.mask, image)
        write_image(probability, found.probability, image, step=PROBABILITY_STEP if in_steps else None)
        write_image(uncertainty, found.uncertainty, image, step=UNCERTAINTY_STEP if in_steps else None)
        write_csv(self.path(LESIONS_SUFFIX), COLUMNS, lesion_table(found.lesions), delimiter="\t")
        if self.picture:
            from mapping_stroke.report.figures import draw_segmentation

            draw_segmentation(image, found.mask, found.probability, found.lesions, self.path(PICTURE_SUFFIX))

    def write_stamp(self, values: dict[str, Any]) -> None:
        """Say that the scan is finished, and what was found."""
        write_json(self.path(STAMP_SUFFIX), values)


def contents(folder: Path) -> tuple[str, ...]:
    """Name patterns of what runs have left in an output folder; pictures and stamps only of scans they finished."""
    names = [glob.escape(name) for name in read_stamps(folder)]
    finished = (f"{name}{suffix}" for name in names for suffix in (PICTURE_SUFFIX, STAMP_SUFFIX))
    return (*OWN_PATTERNS, *finished, OWNER_FILE)


def scan_sha256(scan: Path) -> str:
    """SHA-256 of a scan's file, in hexadecimal; of all their hashes where the scan lies in several files."""
    hashes = [sha256(file) for file in stored_files(scan)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def read_stamps(folder: Path) -> dict[str, dict[str, Any]]:
    """What is known of every finished scan of an output folder, by name."""
    files = [path for path in list_files(folder, f"*{STAMP_SUFFIX}") if path.name != OWNER_FILE]
    stamps = {path.name.removesuffix(STAMP_SUFFIX): read_object(path) for path in files}
    return {name: stamp for name, stamp in stamps.items() if "source" in stamp}
