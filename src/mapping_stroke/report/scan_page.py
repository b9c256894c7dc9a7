"""The page of one scan in one HTML file, with its lesions, regions and methods; its viewer also in other pages."""

import base64
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Shaped
from markupsafe import Markup

from mapping_stroke.console import counted
from mapping_stroke.dataset.sides import placed_sides_ml
from mapping_stroke.images.image import Image, Mask, Probability
from mapping_stroke.images.nifti import Affine
from mapping_stroke.inference.segmentation import LesionRow
from mapping_stroke.report.html import asset, embedded_json, render, viewer_library, viewer_licences
from mapping_stroke.report.page_grid import PageGrid, Shown, make_page_grid
from mapping_stroke.report.pages import Section
from mapping_stroke.report.slices import Viewer, view
from mapping_stroke.report.style import NOT_CLINICAL, load_words
from mapping_stroke.space.atlas import ELSEWHERE

LEVEL = 4
"""Of gzip: higher ones take twice the time for 2 % less."""
MASK_BIT, REFERENCE_BIT, BRAIN_BIT = 1, 2, 4
"""As in viewer.js."""
TILE_GAP_MM = 4.0
"""Least distance of the slices in the mosaic."""
EMPTY_TILES = 12
"""Number of slices in the mosaic of a scan without lesions."""
SIDE_MM = 2.0
"""A lesion whose centre is nearer to the midplane has no side."""
MOST_CASES = 4
MOST_VOX = 1_500_000
"""Voxels of each case: a brain in steps of 2 mm, so that the page stays below 10 MB."""


@dataclass(frozen=True)
class RegionRow:
    """A region with lesion: its volume in mL, and the share of all lesions that lies in it, in [0, 1]."""

    region: str
    volume_ml: float
    share: float


@dataclass(frozen=True)
class RegionTable:
    """Lesion volume by region of the user's atlas.

    Attributes:
        atlas: File name of the atlas.
        volumes_ml: Volume by region in the order of the atlas, and `elsewhere`; None if the place is unknown.
        of_lesions: The region with the largest part of each lesion, the largest lesion first; empty if unknown.
        corrected: Whether these are the volumes of a mask that a person has corrected.
    """

    atlas: str
    volumes_ml: Mapping[str, float | None]
    of_lesions: Sequence[str] = ()
    corrected: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the place of the scan in MNI152 space is known."""
        return None not in self.volumes_ml.values()

    @property
    def rows(self) -> list[RegionRow]:
        """The regions with lesion, the largest volume first; equal ones in the order of the atlas."""
        rows = [row for region, row in self._all.items() if region != ELSEWHERE and row.volume_ml > 0]
        return sorted(rows, key=lambda row: -row.volume_ml)

    @property
    def rest(self) -> list[str]:
        """Sentences about regions without lesion and lesions in no region; none without any lesion."""
        found = self._all
        empty = sum(row.volume_ml == 0 for region, row in found.items() if region != ELSEWHERE)
        sentences = [f"{counted(empty, 'region')} without lesion."] if empty else []
        if outside := found[ELSEWHERE].volume_ml:
            share = found[ELSEWHERE].share
            return [*sentences, f"{load_words(outside)} ({share:.1%}) in no region of the atlas.".replace("%", " %")]
        return [*sentences, "Nothing lies outside the regions of the atlas."] if self.rows else sentences

    def main(self, lesion: int) -> str:
        """The region in which the largest part of a lesion lies, by its number from 1 on."""
        # the smallest of very many lesions share a number
        region = self.of_lesions[min(lesion, len(self.of_lesions)) - 1]
        return "no region" if region == ELSEWHERE else region

    @property
    def _all(self) -> dict[str, RegionRow]:
        known = {region: ml or 0.0 for region, ml in self.volumes_ml.items()}
        load_ml = sum(known.values())
        return {region: RegionRow(region, ml, ml / load_ml if load_ml else 0.0) for region, ml in known.items()}


@dataclass(frozen=True, eq=False)
class ScanContent:
    """All that a scan page shows.

    Attributes:
        name: Name of the scan.
        scan: The scan as it may be shown: without the face, unless the user wants it.
        mask: Lesions, on the scan's grid.
        probability: P(lesion).
        uncertainty: Standard deviation over the members, or over the mirrorings of a single one; None for a single one
            that is not mirrored.
        lesions: Rows of the table, largest first.
        brain: The brain, if it was extracted or given.
        reference: True lesions, if they are known.
        scores: Name and value of each score against the reference.
        to_mni: The scan's millimetres to those of MNI152; None if unknown.
        warnings: Doubts, one line each.
        facts: Name and value of settings, versions and measures.
        methods: Paragraphs of a methods text.
        citations: One line each.
        picture: PNG with the lesions, for browsers that cannot show the view; None for none.
        links: Name and relative address of the result files.
        regions: Volume by region of the user's atlas; None without one.
    """

    name: str
    scan: Image
    mask: Mask
    probability: Probability
    uncertainty: Shaped[np.ndarray, "x y z"] | None
    lesions: Sequence[LesionRow]
    brain: Mask | None = None
    reference: Mask | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    to_mni: Affine | None = None
    warnings: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    methods: Sequence[str] = ()
    citations: Sequence[str] = ()
    picture: Path | None = None
    links: Sequence[tuple[str, str]] = ()
    regions: RegionTable | None = None

    @property
    def hemispheres_ml(self) -> tuple[float, float] | None:
        """Lesion volume left and right of the midplane of MNI152, in mL; None if the place is unknown."""
        if self.to_mni is None:
            return None
        found = placed_sides_ml(self.mask, self.scan.affine, self.to_mni)
        return found["left_ml"], found["right_ml"]

    def side(self, lesion: LesionRow) -> str:
        """The hemisphere of a lesion's centre; empty if the place is unknown."""
        if self.to_mni is None:
            return ""
        x = float(self.to_mni[0] @ [lesion.x_mm, lesion.y_mm, lesion.z_mm, 1])
        return "middle" if abs(x) < SIDE_MM else "left" if x < 0 else "right"


def render_scan_page(content: ScanContent) -> tuple[str, PageGrid]:
    """The page as HTML, and the grid of its volumes, which is needed to store what a person changes on it.

    It needs no other file and no network; the same content gives the same bytes.

    Raises:
        GeometryError: A mask or map has another shape than the scan.
    """
    viewer = view(content.scan)
    grid = make_page_grid(viewer)
    middle = [(edge.stop - edge.start - 1) / 2 for edge in viewer.box]
    facts = {
        "to_mni": None if content.to_mni is None else content.to_mni.tolist(),
        "middle": (viewer.ras_affine @ [*middle, 1])[:3].tolist(),
        "heights": _heights(content, viewer),
    }
    page = render(
        "scan.html.j2",
        content=content,
        facts=embedded_json(facts),
        volumes=embedded_json(pack_volumes(content, viewer, grid)),
        library=viewer_library(),
        licences=viewer_licences(),
        scripts=[asset("viewer.js"), asset("scan_page.js")],
        picture=None if content.picture is None else base64.b64encode(content.picture.read_bytes()).decode("ascii"),
        load=load_words(sum(lesion.volume_ml for lesion in content.lesions)),
        not_clinical=NOT_CLINICAL,
    )
    return page, grid


def pack_volumes(content: ScanContent, viewer: Viewer, grid: PageGrid) -> dict[str, object]:
    """Maps as gzipped NIfTI files, and the marks as gzipped bytes, all in base64."""
    low, high = viewer.window
    affine = grid.affine(viewer)
    maps = {"scan": _nifti(grid.cut(content.scan.voxels), affine, low, high)}
    for name, values, most in (("probability", content.probability, 1.0), ("uncertainty", content.uncertainty, 0.5)):
        if values is not None:
            maps[name] = _nifti(grid.cut(values), affine, 0.0, most)
    bits = ((MASK_BIT, content.mask), (REFERENCE_BIT, content.reference), (BRAIN_BIT, content.brain))
    marks = [np.where(grid.cut_mask(mask), np.uint8(bit), np.uint8(0)) for bit, mask in bits if mask is not None]
    return {"maps": maps, "marks": _pack(np.bitwise_or.reduce(marks).tobytes(order="F"))}


def _nifti(values: Shown, affine: Affine, low: float, high: float) -> str:
    """Values in 255 steps from `low` to `high` as a NIfTI file."""
    step = (high - low) / 255
    image = nib.Nifti1Image(np.clip(np.rint((values - low) / step), 0, 255).astype(np.uint8), affine)
    image.header.set_slope_inter(step, low)
    image.header.set_xyzt_units("mm")
    return _pack(image.to_bytes())


def _heights(content: ScanContent, viewer: Viewer) -> list[float]:
    """Heights of the slices in the mosaic, in mm: through the lesions, or through the brain if there are none."""
    lesion = viewer.reorient(content.mask if content.reference is None else content.mask | content.reference)
    slices = np.flatnonzero(lesion.any(axis=(0, 1)))
    gap = max(round(TILE_GAP_MM / viewer.spacing_mm[2]), 1)
    if not len(slices):
        depth = lesion.shape[2]
        slices = np.linspace(depth * 0.15, depth * 0.9, EMPTY_TILES).astype(int)
        gap = 1
    chosen = slices[gap // 2 :: gap] if len(slices) > gap // 2 else slices[:1]
    return [round(viewer.z_mm(int(index)), 2) for index in chosen]


def _pack(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, LEVEL, mtime=0)).decode("ascii")


def render_case_viewer(cases: Sequence[ScanContent], title: str) -> Section:
    """A section that opens one case at a time.

    Args:
        cases: Cases with reference and scores; the first `MOST_CASES` are taken. Their scans must be defaced.
        title: Title of the section.
    """
    shown = cases[:MOST_CASES]
    volumes = []
    for content in shown:
        viewer = view(content.scan)
        volumes.append(pack_volumes(content, viewer, make_page_grid(viewer, MOST_VOX)))
    html = render(
        "case_viewer.html.j2",
        cases=shown,
        volumes=embedded_json(volumes),
        library=viewer_library(),
        licences=viewer_licences(),
        scripts=[asset("viewer.js"), asset("cases.js")],
        title=title,
    )
    return Section("cases", title, Markup(html))  # escaped by the template


def region_html(table: RegionTable) -> str:
    """The table alone, as it stands on the page of a scan."""
    return render("regions.html.j2", regions=table)
