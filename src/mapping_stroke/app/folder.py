"""A results folder as the app shows it: its scans, the ones to check first on top, their pages, masks and files."""

import gzip
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mapping_stroke.cohort.bids import BidsLayout
from mapping_stroke.cohort.bids_group import write_group
from mapping_stroke.cohort.bids_scans import Choice, find_bids_scans
from mapping_stroke.cohort.group import GroupRow, make_row, worst_first
from mapping_stroke.cohort.record import Notes
from mapping_stroke.cohort.regions import final_volumes, recorded_atlas
from mapping_stroke.cohort.results import PAGE_SUFFIX, SUFFIXES, FlatLayout, OutputLayout, is_source
from mapping_stroke.cohort.review import Review, final_mask, is_outdated, read_review, save_edit
from mapping_stroke.cohort.reviewed import WRITERS, open_layout
from mapping_stroke.cohort.settings import ScanOptions
from mapping_stroke.errors import SCAN_FAILURES, CaseError, FileError, MappingError, RunFolderError, describe_failure
from mapping_stroke.images.image import read_image
from mapping_stroke.report.page_grid import PageGrid, ShownMask
from mapping_stroke.report.scan_page import RegionTable, region_html
from mapping_stroke.run_folder import EDITED_SUFFIX, OWNER_FILE

OWN_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>\n?')
"""Of a page that stands alone; the app sends its own."""


@dataclass(frozen=True)
class Entry:
    """A scan in the list.

    Attributes:
        name: Its name.
        status: `done` or `failed`.
        load_ml: Volume of all lesions of the final mask; None if it failed.
        lesions: Number of lesions that the model marked; None if it failed.
        reasons: Reasons to look at it first.
        rating: See `Review`.
        note: See `Review`.
        edited: See `Review`.
        page: Whether it has a page.
    """

    name: str
    status: str
    load_ml: float | None
    lesions: int | None
    reasons: tuple[str, ...]
    rating: str
    note: str
    edited: str
    page: bool


@dataclass(frozen=True)
class ResultsFolder:
    """A folder with results of `mapping segment` or `mapping bids`.

    Attributes:
        layout: Its layout.
        notes: What its files say about the scans; files that have not changed are read once.
    """

    layout: OutputLayout
    notes: Notes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "notes", Notes(self.layout))

    def entries(self) -> list[Entry]:
        """All scans, those to check first on top."""
        return [self._entry(row) for row in worst_first(self._rows())]

    def _rows(self) -> list[GroupRow]:
        entries = self.notes.entries()
        return [make_row(self.layout, name, name, {}, entry) for name, entry in sorted(entries.items())]

    def _entry(self, row: GroupRow) -> Entry:
        edited = row.review.edited_ml
        return Entry(
            name=row.name,
            status=row.values["status"],
            load_ml=row.values.get("load_ml") if edited is None else edited,
            lesions=row.values.get("lesions"),
            reasons=row.reasons,
            rating=row.review.rating,
            note=row.review.note,
            edited=row.review.edited,
            page=self._has_page(row),
        )

    def page(self, name: str) -> str:
        """The page of a scan, without the policy that keeps it from talking to the app.

        Raises:
            CaseError: There is no such scan, or it has no page.
        """
        self._stamp(name)
        path = self._page(name)
        if not path.is_file():
            raise CaseError(f"{name}: has no page; segment it again without --no-picture")
        return OWN_POLICY.sub("", path.read_text("utf-8"), count=1)

    def review(self, name: str) -> dict[str, Any]:
        """The review of a scan, its neighbours, warnings, and the HTML of `corrected_regions`.

        Neighbours are those in the list before anything was rated.
        """
        stamp, review = self._stamp(name), read_review(self.layout, name)
        regions, unknown = self.corrected_regions(name)
        rows = worst_first(self._rows(), settled_last=False)  # so that a rating does not change what comes next
        names = [row.name for row in rows if self._has_page(row)]
        at = names.index(name) if name in names else 0
        return {
            **asdict(review),
            "warnings": [*self._warnings(name, stamp, review), *unknown],
            "regions": regions,
            "before": names[at - 1] if at > 0 else None,
            "after": names[at + 1] if at + 1 < len(names) else None,
            "place": f"{at + 1} of {len(names)}",
        }

    def _warnings(self, name: str, stamp: Mapping[str, Any], review: Review) -> list[str]:
        warnings = []
        scan = Path(stamp["source"].get("scan", name))
        try:
            if not scan.exists():
                warnings.append(f"{scan}: the scan is no longer there; the page shows it as it was segmented")
            elif not is_source(stamp["source"], scan):
                warnings.append(f"{scan}: the scan has changed since it was segmented; segment it again")
        except (MappingError, OSError) as error:
            warnings.append(f"{scan}: cannot be compared with what was segmented ({error})")
        if is_outdated(self.layout, name, review):
            warnings.append("the scan was segmented again after its mask was corrected; check the corrected mask")
        return warnings

    def shown_mask(self, name: str) -> bytes:
        """The final mask on the grid of the page: a byte of 0 or 1 for each voxel, x fastest, gzipped."""
        grid = self._grid(name)
        mask = read_image(final_mask(self.layout, name)).voxels > 0
        return gzip.compress(grid.cut_mask(mask).astype(np.uint8).tobytes(order="F"), 1)

    def edit(self, name: str, packed: bytes, revision: int) -> tuple[Review, list[str]]:
        """Store a mask that was corrected on the page, see `save_edit`.

        Args:
            name: Name of the scan.
            packed: As `shown_mask` gives it.
            revision: See `save_edit`.

        Raises:
            FileError: It is no mask of the page's grid.
        """
        grid = self._grid(name)
        shown = _unpack(packed, grid)
        before = read_image(final_mask(self.layout, name)).voxels > 0
        return save_edit(self.layout, name, grid.with_changes(before, shown), revision)

    def refresh_group(self) -> None:
        """Write the table, the overlap maps and the page of all scans anew, after ratings and corrections."""
        if isinstance(self.layout, BidsLayout):
            write_group(self.layout.bids_dir, self.layout, find_bids_scans(self.layout.bids_dir, Choice()))
        else:
            self.layout.end(self.notes.entries(), ScanOptions())

    def corrected_regions(self, name: str) -> tuple[str, list[str]]:
        """Volumes by region of a corrected mask, for the page of the scan, and warnings if they cannot be measured.

        Returns:
            HTML; empty if the mask was not corrected, or the scan has no volumes by region.
        """
        stamp = self._stamp(name)
        to_mni = stamp.get("measures", {}).get("to_mni")
        if not (read_review(self.layout, name).edited and stamp.get("regions") and to_mni):
            return "", []
        try:
            volumes_ml = final_volumes(self.layout, name, to_mni, recorded_atlas(stamp))
        except SCAN_FAILURES as error:
            return "", [f"the volumes by region are not those of the corrected mask: {describe_failure(error)}"]
        return region_html(RegionTable(Path(stamp["regions"]["atlas"]).name, volumes_ml, corrected=True)), []

    def scan_of_page(self, relative: str) -> str:
        """The scan whose page is at a path relative to the folder; empty if there is none."""
        pages = {self.layout.relative(name, PAGE_SUFFIX): name for name in self.notes.stamps()}
        return pages.get(relative, "")

    def file(self, relative: str) -> Path:
        """The path of an output of a scan, or of a file about all of them, given relative to the folder.

        Raises:
            CaseError: It is no output of a scan in the folder, whatever else lies there.
        """
        allowed = {
            self.layout.relative(name, suffix) for name in self.notes.stamps() for suffix in (*SUFFIXES, EDITED_SUFFIX)
        }
        path = self.layout.folder / relative
        if relative not in (*allowed, *self.layout.group.all) or not path.is_file():
            raise CaseError(f"{relative}: no such result")
        return path

    def _stamp(self, name: str) -> dict[str, Any]:
        stamps = self.notes.stamps()
        if name not in stamps:
            raise CaseError(f"{self.layout.folder}: holds no results of a scan {name!r}")
        return stamps[name]

    def _grid(self, name: str) -> PageGrid:
        return PageGrid.from_json(self._stamp(name).get("page", {}))

    def _has_page(self, row: GroupRow) -> bool:
        return row.is_done and self._page(row.name).is_file()

    def _page(self, name: str) -> Path:
        return self.layout.folder / self.layout.relative(name, PAGE_SUFFIX)


def open_results(path: Path, *, create: bool = False) -> ResultsFolder:
    """Open a folder with results.

    Args:
        path: The folder.
        create: Whether a new or empty folder will do.

    Raises:
        RunFolderError: It holds something else, or results of another version.
    """
    if not (path / OWNER_FILE).is_file():
        if create and (not path.exists() or (path.is_dir() and not any(path.iterdir()))):
            return ResultsFolder(FlatLayout(path))
        raise RunFolderError(f"{path}: holds no results; name a folder that {WRITERS} wrote, or a new one")
    return ResultsFolder(open_layout(path))


def _unpack(packed: bytes, grid: PageGrid) -> ShownMask:
    """A mask from the browser, checked against the grid."""
    count = int(np.prod(grid.shown_shape))
    try:
        content = zlib.decompressobj(wbits=31).decompress(packed, count + 1)  # no more, whatever it expands to
    except zlib.error as error:
        raise FileError(f"the corrected mask cannot be read ({error}); open the scan again") from error
    if len(content) != count:
        raise FileError(
            f"the corrected mask has {len(content)} voxels, expected {count} of this scan's page; open the scan again"
        )
    values = np.frombuffer(content, np.uint8)
    if values.max(initial=0) > 1:
        raise FileError("the corrected mask holds other values than 0 and 1; open the scan again")
    return values.reshape(grid.shown_shape, order="F") > 0
