"""Files written for one scan: layout of the output folder, names, maps, and the stamp that marks a finished scan."""

import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from mapping_stroke.cohort.group_files import GroupFiles
from mapping_stroke.cohort.measures import measure_regions, measure_scan, score_found
from mapping_stroke.cohort.segmenter import LoadedScan, Segmenter, scan_sha256
from mapping_stroke.cohort.settings import ScanOptions
from mapping_stroke.console import counted
from mapping_stroke.errors import FileError, LostContentError, MappingError
from mapping_stroke.files import (
    leads_nowhere,
    longest_name_bytes,
    read_object,
    remove_files,
    write_csv,
    write_json,
    write_text,
)
from mapping_stroke.images.formats import find_source
from mapping_stroke.images.image import write_image
from mapping_stroke.inference.segmentation import LesionRow, Segmentation, lesion_table
from mapping_stroke.run_folder import BRAIN_SUFFIX, MASK_SUFFIX, PROBABILITY_SUFFIX
from mapping_stroke.space.affine import itk_text
from mapping_stroke.space.atlas import Atlas
from mapping_stroke.space.model_input import ModelInput, deface

if TYPE_CHECKING:
    from mapping_stroke.report.page_grid import PageGrid

UNCERTAINTY_SUFFIX = "_uncertainty.nii.gz"
MAP_SUFFIXES = (MASK_SUFFIX, PROBABILITY_SUFFIX, UNCERTAINTY_SUFFIX)
LESIONS_SUFFIX, PICTURE_SUFFIX, STAMP_SUFFIX = "_lesions.tsv", ".png", ".json"
DICOM_SUFFIX = "_mask.dcm"
PAGE_SUFFIX = ".html"
TRANSFORM_SUFFIX = "_to-MNI152.txt"
"""Written for registered scans only."""
PLACEMENT_SUFFIX = "_placement.png"
"""Written only for scans with a known brain and placement, like `BRAIN_SUFFIX`."""
PICTURE_SUFFIXES = (PICTURE_SUFFIX, PLACEMENT_SUFFIX)
SUFFIXES = (
    STAMP_SUFFIX,
    *MAP_SUFFIXES,
    BRAIN_SUFFIX,
    LESIONS_SUFFIX,
    TRANSFORM_SUFFIX,
    *PICTURE_SUFFIXES,
    PAGE_SUFFIX,
    DICOM_SUFFIX,
)
"""Suffixes of all outputs; the stamp comes first because it is removed first."""
COLUMNS = tuple(LesionRow.__dataclass_fields__)
PROBABILITY_STEP = 1 / 255
UNCERTAINTY_STEP = 0.5 / 255
"""A standard deviation of values in [0, 1] is at most 0.5."""
BYTES = {"uint8": 1, "float32": 4}
PAGE_BYTES = 2
"""Of a voxel on a page, at most."""
OTHER_BYTES = 6_000_000
"""Upper limit for the table, the pictures, the viewer of the page and the stamp together."""
STEPS = ("read", "place", "prepare", "predict", "postprocess", "write")
"""Steps whose durations are in the stamp."""
Stamp = dict[str, Any]


@dataclass(frozen=True)
class OutputLayout(ABC):
    """Names of the files in an output folder, and the files written in addition to those of `ScanFiles`.

    Attributes:
        folder: The output folder.
        kind: Kind of work recorded in `run.json`, so that no other command resumes it.
        extra_patterns: Name patterns of additional files, which `--overwrite` removes.
        group: Names of the files about all scans.
    """

    folder: Path
    kind: ClassVar[str]
    extra_patterns: ClassVar[tuple[str, ...]]
    group: ClassVar[GroupFiles]

    @abstractmethod
    def relative(self, name: str, suffix: str) -> str:
        """The path of an output below the folder.

        Args:
            name: Name of the scan; `*` gives a pattern that matches this output of every scan.
            suffix: Suffix of the output.
        """

    @abstractmethod
    def begin(self, segmenter: Segmenter) -> None:
        """Write files about the whole data set, before the first scan."""

    @abstractmethod
    def write_extra(self, files: "ScanFiles", loaded: LoadedScan, found: Segmentation, segmenter: Segmenter) -> Stamp:
        """Write additional files of a scan and return entries for its stamp. `files` lists their paths."""

    @abstractmethod
    def end(self, scans: Mapping[str, Stamp], options: ScanOptions) -> None:
        """Write files about all scans, after the last one.

        Args:
            scans: The entries of `run.json`, by name.
            options: Files to write.
        """


@dataclass(frozen=True)
class FlatLayout(OutputLayout):
    """All outputs side by side, each named after its scan."""

    kind: ClassVar[str] = "segment"
    extra_patterns: ClassVar[tuple[str, ...]] = ()
    group: ClassVar[GroupFiles] = GroupFiles("cohort")

    def relative(self, name: str, suffix: str) -> str:
        """Name and suffix."""
        return f"{name}{suffix}"

    def begin(self, segmenter: Segmenter) -> None:
        """Nothing: this layout has no files about the whole data set."""

    def write_extra(self, files: "ScanFiles", loaded: LoadedScan, found: Segmentation, segmenter: Segmenter) -> Stamp:
        """Nothing: this layout has no additional files."""
        return {}

    def end(self, scans: Mapping[str, Stamp], options: ScanOptions) -> None:
        """Write the table, the overlap maps and the page of the cohort, if there is more than one scan."""
        from mapping_stroke.cohort.group import write_cohort

        if len(scans) > 1:
            write_cohort(self, scans, page=not options.no_picture)


@dataclass(frozen=True)
class ScanFiles:
    """The outputs of one scan.

    Attributes:
        layout: Layout of the output folder.
        name: Name of the scan, without suffix.
        options: Files to write, and the DICOM series to read.
    """

    layout: OutputLayout
    name: str
    options: ScanOptions

    def path(self, suffix: str) -> Path:
        """The output with that suffix."""
        return self.layout.folder / self.layout.relative(self.name, suffix)

    def needed_bytes(self, shape: Sequence[int]) -> float:
        """Disk space for all outputs of a scan of that shape, at most."""
        page_bytes = 0 if self.options.no_picture else PAGE_BYTES
        return math.prod(shape) * (2 + 2 * BYTES[self.options.probability] + page_bytes) + OTHER_BYTES

    def is_finished(
        self, scan: Path, brain: Path | None = None, reference: Path | None = None, atlas: Atlas | None = None
    ) -> bool:
        """Whether all outputs of exactly this scan exist. A scan whose content was dropped (DataLad) still counts.

        Args:
            scan: The scan.
            brain: The user's brain mask, if one is given.
            reference: The true lesions, if they are given.
            atlas: The user's atlas; without one, the regions of any other stay.
        """
        stamp = read_object(self.path(STAMP_SUFFIX))
        suffixes = self._suffixes(registered=bool(stamp.get("registration")), placed=bool(stamp.get("brain")))
        source, paths = stamp.get("source"), [*map(self.path, suffixes), *self._extra_files(stamp)]
        if not isinstance(source, dict) or not _has_regions(stamp, atlas):
            return False
        try:
            if not all(path.is_file() for path in paths):
                return False
            same = is_source(source, scan, self.options.series)
            return same and is_given(source, "brain", brain) and is_given(source, "reference", reference)
        except (MappingError, OSError):  # a file became unreadable: reading or writing it will report that
            return False

    def _suffixes(self, *, registered: bool, placed: bool) -> list[str]:
        """Suffixes of the outputs of a finished scan, besides its stamp."""
        optional = {
            PICTURE_SUFFIX: not self.options.no_picture,
            PAGE_SUFFIX: not self.options.no_picture,
            BRAIN_SUFFIX: placed,
            TRANSFORM_SUFFIX: registered,
            PLACEMENT_SUFFIX: placed and not self.options.no_picture,
            DICOM_SUFFIX: self.options.dicom_seg,
        }
        return [*MAP_SUFFIXES, LESIONS_SUFFIX, *(suffix for suffix, written in optional.items() if written)]

    def require_short_names(self) -> None:
        """Raise `FileError` if an output's name is too long for the disk, before anything is computed."""
        names = [os.fsencode(self.path(suffix).name) for suffix in SUFFIXES]
        longest, limit = max(map(len, names)), longest_name_bytes(self.layout.folder)
        if longest > limit:
            raise FileError(
                f"its name is too long: its results would have names of up to {longest} bytes, expected at most "
                f"{limit}; give it a name that is at least {counted(longest - limit, 'character')} shorter"
            )

    def any_exists(self) -> bool:
        """Whether any output of that name exists, finished or not."""
        return any(self.path(suffix).exists() for suffix in SUFFIXES)

    def remove(self) -> None:
        """Remove all outputs of that name, the stamp first, as `remove_files` does."""
        extra = self._extra_files(read_object(self.path(STAMP_SUFFIX)))
        remove_files((*map(self.path, SUFFIXES), *extra))

    def _extra_files(self, stamp: Mapping[str, Any]) -> list[Path]:
        """Additional files of the layout, which only the stamp lists."""
        return [self.layout.folder / path for path in stamp.get("files", ())]

    def write(self, loaded: LoadedScan, found: Segmentation, segmenter: Segmenter) -> Stamp:
        """Write all files of the scan, the stamp last, and return the stamp."""
        start = time.perf_counter()
        scores = score_found(loaded, found)
        self._write_maps(loaded.model_input, found)
        if self.options.dicom_seg and loaded.series:
            from mapping_stroke.interop.dicom_seg import write_segmentation

            write_segmentation(self.path(DICOM_SUFFIX), loaded.series, found.mask, segmenter.bundle.card.name)
        extra = dict(self.layout.write_extra(self, loaded, found, segmenter))
        if not self.options.no_picture:
            extra["page"] = self._show(loaded, found, segmenter, scores).to_json()
        seconds = {**found.seconds, **loaded.seconds, "write": time.perf_counter() - start}
        placed, registered = loaded.model_input.placed, loaded.model_input.registered
        regions = measure_regions(loaded, found, segmenter)
        stamp = {
            "source": dict(loaded.source),
            "lesions": len(found.lesions),
            "load_ml": round(sum(lesion.volume_ml for lesion in found.lesions), 3),
            "largest_probability": round(float(found.probability.max()), 4),
            "brain": placed.brain.to_json(placed.scan) if placed else None,
            "registration": registered.to_json() if registered else None,
            **({"scores": scores} if scores else {}),
            "warnings": list(loaded.warnings),
            "seconds": {step: round(seconds[step], 2) for step in STEPS},
            "measures": measure_scan(loaded, found, segmenter),
            **({"regions": regions} if regions else {}),
            **extra,
        }
        self.write_stamp(stamp)
        return stamp

    def _write_maps(self, model_input: ModelInput, found: Segmentation) -> None:
        """Write maps and tables. An older stamp is removed first."""
        self.path(STAMP_SUFFIX).unlink(missing_ok=True)
        image, in_steps = model_input.scan, self.options.probability == "uint8"
        mask, probability, uncertainty = map(self.path, MAP_SUFFIXES)
        write_image(mask, found.mask, image)
        write_image(probability, found.probability, image, step=PROBABILITY_STEP if in_steps else None)
        write_image(uncertainty, found.uncertainty, image, step=UNCERTAINTY_STEP if in_steps else None)
        write_csv(self.path(LESIONS_SUFFIX), COLUMNS, lesion_table(found.lesions), delimiter="\t")
        if model_input.placed:
            write_image(self.path(BRAIN_SUFFIX), model_input.placed.brain.mask, image)
        if model_input.registered:
            write_text(self.path(TRANSFORM_SUFFIX), itk_text(model_input.registered.to_mni))

    def _show(
        self, loaded: LoadedScan, found: Segmentation, segmenter: Segmenter, scores: Mapping[str, float | None]
    ) -> "PageGrid":
        """Draw the lesions and, if they are known, the brain outline and placement; write the page, return its grid."""
        from mapping_stroke.cohort.scan_content import scan_content
        from mapping_stroke.report.overview import PlacedRow, draw_placements
        from mapping_stroke.report.pictures import draw_segmentation
        from mapping_stroke.report.scan_page import render_scan_page

        placed = loaded.model_input.placed
        defaced = deface(loaded.image, placed)
        draw_segmentation(defaced, found.mask, found.probability, found.lesions, self.path(PICTURE_SUFFIX))
        if placed:
            draw_placements([PlacedRow("", placed, defaced, found.mask)], self.path(PLACEMENT_SUFFIX))
        shown = loaded.image if self.options.show_head else defaced
        content = scan_content(self.name, loaded, found, segmenter, scores)
        page = self.path(PAGE_SUFFIX)
        links = self._links(page.parent, placed=placed is not None)
        content = replace(content, scan=shown, picture=self.path(PICTURE_SUFFIX), links=links)
        html, grid = render_scan_page(content)
        write_text(page, html)
        return grid

    def _links(self, folder: Path, *, placed: bool) -> list[tuple[str, str]]:
        """Name and address, relative to a folder, of the maps and tables of this scan."""
        suffixes = (*MAP_SUFFIXES, *((BRAIN_SUFFIX,) if placed else ()), LESIONS_SUFFIX)
        paths = [self.path(suffix) for suffix in suffixes]
        return [(path.name, quote(Path(os.path.relpath(path, folder)).as_posix())) for path in paths]

    def write_stamp(self, values: Stamp) -> None:
        """Mark the scan as finished and record the findings."""
        write_json(self.path(STAMP_SUFFIX), values)


def _has_regions(stamp: Stamp, atlas: Atlas | None) -> bool:
    """Whether a finished scan was measured with exactly this atlas, if one is given."""
    return atlas is None or bool(stamp.get("regions", {}).get("fingerprint") == atlas.fingerprint)


def is_source(source: Mapping[str, Any], scan: Path, series: str = "") -> bool:
    """Whether results belong to exactly this scan. If its content was dropped (DataLad), its name decides.

    Args:
        source: Entry `source` in the stamp of the results.
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


def is_given(source: Mapping[str, Any], kind: str, mask: Path | None) -> bool:
    """Whether results were made with exactly this mask of the user, or without one if None is given.

    Args:
        source: Entry `source` in the stamp of the results.
        kind: `brain` or `reference`.
        mask: The user's mask; if its content was dropped (DataLad), its name decides.

    Raises:
        MappingError: It cannot be read.
        OSError: Likewise.
    """
    if mask is not None and leads_nowhere(mask):
        return bool(Path(source.get(kind, "")).name == mask.name)
    return bool(source.get(f"{kind}_sha256") == (scan_sha256(mask) if mask else None))
