"""The page of one scan: an interactive view, the table of lesions, and how they were found, in one HTML file."""

import base64
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from mapping_stroke.dataset.sides import hemisphere_ml, lesion_points
from mapping_stroke.dataset.template_fit import block_means
from mapping_stroke.images.image import Image, Mask, Probability
from mapping_stroke.images.nifti import Affine
from mapping_stroke.inference.segmentation import LesionRow
from mapping_stroke.report.html import asset, embedded_json, render, viewer_library
from mapping_stroke.report.slices import Viewer, view
from mapping_stroke.report.style import NOT_CLINICAL, load_words

MOST_VOX = 10_000_000
"""Larger volumes are averaged over pairs of voxels, so that a page stays below 12 MB."""
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

Ras = Shaped[np.ndarray, "right anterior superior"]


@dataclass(frozen=True, eq=False)
class ScanContent:
    """All that a scan page shows.

    Attributes:
        name: Name of the scan.
        scan: The scan as it may be shown: without the face, unless the user wants it.
        mask: Lesions, on the scan's grid.
        probability: P(lesion).
        uncertainty: Standard deviation of the members; None for a model with one member.
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

    @property
    def hemispheres_ml(self) -> tuple[float, float] | None:
        """Lesion volume left and right of the midplane of MNI152, in mL; None if the place is unknown."""
        if self.to_mni is None:
            return None
        points = lesion_points(self.mask, self.scan.affine, self.to_mni)
        found = hemisphere_ml(points, self.scan.voxel_volume_mm3)
        return found["left_ml"], found["right_ml"]

    def side(self, lesion: LesionRow) -> str:
        """The hemisphere of a lesion's centre; empty if the place is unknown."""
        if self.to_mni is None:
            return ""
        x = float(self.to_mni[0] @ [lesion.x_mm, lesion.y_mm, lesion.z_mm, 1])
        return "middle" if abs(x) < SIDE_MM else "left" if x < 0 else "right"


def render_scan_page(content: ScanContent) -> str:
    """The page as HTML. It needs no other file and no network; the same content gives the same bytes.

    Raises:
        GeometryError: A mask or map has another shape than the scan.
    """
    viewer = view(content.scan)
    boxed = _Boxed(content, viewer)
    middle = [(edge.stop - edge.start - 1) / 2 for edge in viewer.box]
    facts = {
        "to_mni": None if content.to_mni is None else content.to_mni.tolist(),
        "middle": (viewer.ras_affine @ [*middle, 1])[:3].tolist(),
        "heights": _heights(content, viewer),
    }
    return render(
        "scan.html.j2",
        content=content,
        facts=embedded_json(facts),
        volumes=embedded_json(boxed.packed()),
        library=viewer_library(),
        scripts=[asset("viewer.js"), asset("scan_page.js")],
        style=asset("page.css"),
        picture=None if content.picture is None else base64.b64encode(content.picture.read_bytes()).decode("ascii"),
        load=load_words(sum(lesion.volume_ml for lesion in content.lesions)),
        not_clinical=NOT_CLINICAL,
    )


class _Boxed:
    """The volumes of a page, reoriented to RAS and cropped to the visible box."""

    def __init__(self, content: ScanContent, viewer: Viewer) -> None:
        self._content, self._viewer = content, viewer
        shape = [edge.stop - edge.start for edge in viewer.box]
        self._factors = _factors(shape, viewer.spacing_mm)
        to_old = np.diag([*self._factors, 1.0])
        to_old[:3, 3] = (np.array(self._factors) - 1) / 2
        self._affine = viewer.ras_affine @ to_old

    def packed(self) -> dict[str, object]:
        """Maps as gzipped NIfTI files, and the marks as gzipped bytes, all in base64."""
        low, high = self._viewer.window
        step = (high - low) / 255
        grey = np.clip(np.rint((self._cut(self._content.scan.voxels) - low) / step), 0, 255).astype(np.uint8)
        maps = {"scan": self._nifti(grey, step, low)}
        for name, values, most in (
            ("probability", self._content.probability, 1.0),
            ("uncertainty", self._content.uncertainty, 0.5),
        ):
            if values is not None:
                steps = np.clip(np.rint(self._cut(values) * (255 / most)), 0, 255).astype(np.uint8)
                maps[name] = self._nifti(steps, most / 255, 0.0)
        return {"maps": maps, "marks": _pack(self._marks().tobytes(order="F"))}

    def _marks(self) -> UInt8[np.ndarray, "right anterior superior"]:
        bits = (
            (MASK_BIT, self._content.mask),
            (REFERENCE_BIT, self._content.reference),
            (BRAIN_BIT, self._content.brain),
        )
        parts = [np.where(self._cut_mask(mask), np.uint8(bit), np.uint8(0)) for bit, mask in bits if mask is not None]
        return np.asarray(np.bitwise_or.reduce(parts))

    def _cut(self, volume: Shaped[np.ndarray, "x y z"]) -> Ras:
        cut = self._viewer.reorient(volume)
        if self._factors == (1, 1, 1):
            return cut
        whole = tuple(slice(n // factor * factor) for n, factor in zip(cut.shape, self._factors, strict=True))
        return np.asarray(block_means(np.asarray(cut[whole], np.float32), list(self._factors)))

    def _cut_mask(self, mask: Mask) -> Bool[np.ndarray, "right anterior superior"]:
        cut = self._cut(mask)
        return cut if cut.dtype == bool else cut >= 0.5

    def _nifti(self, voxels: UInt8[np.ndarray, "right anterior superior"], slope: float, intercept: float) -> str:
        image = nib.Nifti1Image(voxels, self._affine)
        image.header.set_slope_inter(slope, intercept)
        image.header.set_xyzt_units("mm")
        return _pack(image.to_bytes())


def _factors(shape: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, int, int]:
    """Block sizes that bring a volume below `MOST_VOX`; the finest axis is halved first."""
    factors = [1, 1, 1]
    while np.prod([n // factor for n, factor in zip(shape, factors, strict=True)]) > MOST_VOX:
        finest = min(range(3), key=lambda axis: spacing_mm[axis] * factors[axis])
        factors[finest] *= 2
    x, y, z = factors
    return x, y, z


def _heights(content: ScanContent, viewer: Viewer) -> list[float]:
    """Heights of the slices in the mosaic, in mm: through the lesions, or through the brain if there are none."""
    lesion = viewer.reorient(content.mask if content.reference is None else content.mask | content.reference)
    slices = np.flatnonzero(lesion.any(axis=(0, 1)))
    gap = max(round(TILE_GAP_MM / viewer.spacing_mm[2]), 1)
    if not len(slices):
        depth = lesion.shape[2]
        slices = np.linspace(depth * 0.15, depth * 0.9, EMPTY_TILES).astype(int)
        gap = 1
    return [round(viewer.z_mm(int(index)), 2) for index in slices[gap // 2 :: gap] if index < lesion.shape[2]] or [
        round(viewer.z_mm(int(slices[0])), 2)
    ]


def _pack(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, LEVEL, mtime=0)).decode("ascii")
