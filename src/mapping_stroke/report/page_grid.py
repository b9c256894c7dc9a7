"""The part of a scan that its page shows: reoriented to RAS, cropped to the head, and averaged if it is large."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Bool, Shaped

from mapping_stroke.dataset.template_fit import block_means
from mapping_stroke.errors import FileError
from mapping_stroke.images.image import Mask
from mapping_stroke.images.nifti import Affine
from mapping_stroke.report.slices import Viewer

MOST_VOX = 10_000_000
"""Larger volumes are averaged over pairs of voxels, so that a page stays below 12 MB."""
RAS = ("R", "A", "S")

Shown = Shaped[np.ndarray, "right anterior superior"]
ShownMask = Bool[np.ndarray, "right anterior superior"]


@dataclass(frozen=True)
class PageGrid:
    """The voxels of a page, relative to those of the scan's file.

    Attributes:
        shape: Shape of the scan as stored.
        axes: Nearest anatomical directions of its axes, such as `LPS`.
        box: First index and end of the part that is shown, along each axis after reorientation to RAS.
        factors: Voxels of the scan along each edge of a voxel of the page.
    """

    shape: tuple[int, int, int]
    axes: str
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    factors: tuple[int, int, int]

    @property
    def shown_shape(self) -> tuple[int, int, int]:
        """Shape of the volumes on the page."""
        x, y, z = ((end - start) // factor for (start, end), factor in zip(self.box, self.factors, strict=True))
        return x, y, z

    def affine(self, viewer: Viewer) -> Affine:
        """Index on the page to RAS millimetres."""
        to_old = np.diag([*self.factors, 1.0])
        to_old[:3, 3] = (np.array(self.factors) - 1) / 2  # a block's centre, not its first voxel
        return np.asarray(viewer.ras_affine @ to_old)

    def cut(self, volume: Shaped[np.ndarray, "x y z"]) -> Shown:
        """A volume as the page shows it; values are averaged over blocks if there are any."""
        part = self._turned(volume)[self._whole]
        if self.factors == (1, 1, 1):
            return part
        return np.asarray(block_means(np.asarray(part, np.float32), list(self.factors)))

    def cut_mask(self, mask: Mask) -> ShownMask:
        """A mask as the page shows it: what fills half of a voxel or more."""
        part = self.cut(mask)
        return part if part.dtype == bool else np.asarray(part >= 0.5)

    def with_changes(self, mask: Mask, shown: ShownMask) -> Mask:
        """A mask after a person has changed it on the page to `shown`. Voxels that were not changed stay as they are.

        Args:
            mask: The mask that the page showed, on the scan's own grid.
            shown: The mask after the changes, of shape `shown_shape`.
        """
        turned = self._turned(mask).copy()
        part = turned[self._whole]
        changed, after = self.cut_mask(mask) != shown, shown
        for axis, factor in enumerate(self.factors):
            changed, after = np.repeat(changed, factor, axis), np.repeat(after, factor, axis)
        part[changed] = after[changed]
        back = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt(RAS), self._orientation)
        return np.ascontiguousarray(nib.orientations.apply_orientation(turned, back))

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "PageGrid":
        """From plain values; raises `FileError` if some are missing."""
        try:
            box = tuple((int(start), int(end)) for start, end in values["box"])
            shape, factors = tuple(map(int, values["shape"])), tuple(map(int, values["factors"]))
            return PageGrid((shape[0], shape[1], shape[2]), str(values["axes"]), (box[0], box[1], box[2]), (*factors,))  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FileError(f"the grid of its page is unknown ({error}); segment the scan again") from error

    @property
    def _orientation(self) -> np.ndarray:
        return np.asarray(nib.orientations.axcodes2ornt(tuple(self.axes)))

    def _turned(self, volume: Shaped[np.ndarray, "x y z"]) -> Shown:
        return np.asarray(nib.orientations.apply_orientation(volume, self._orientation))

    @property
    def _whole(self) -> tuple[slice, ...]:
        """The box without incomplete blocks at the far ends."""
        return tuple(
            slice(start, start + (end - start) // factor * factor)
            for (start, end), factor in zip(self.box, self.factors, strict=True)
        )


def make_page_grid(viewer: Viewer, most_vox: int | None = None) -> PageGrid:
    """The grid of a scan on a page, with at most so many voxels; None for `MOST_VOX`."""
    most_vox = most_vox or MOST_VOX
    axes = "".join(nib.orientations.aff2axcodes(viewer.affine))
    shape = [edge.stop - edge.start for edge in viewer.box]
    x, y, z = ((edge.start, edge.stop) for edge in viewer.box)
    return PageGrid(viewer.shape, axes, (x, y, z), _factors(shape, viewer.spacing_mm, most_vox))


def _factors(shape: Sequence[int], spacing_mm: Sequence[float], most_vox: int) -> tuple[int, int, int]:
    """Block sizes that bring a volume to at most so many voxels; the finest axis is halved first."""
    factors = [1, 1, 1]
    while np.prod([n // factor for n, factor in zip(shape, factors, strict=True)]) > most_vox:
        finest = min(range(3), key=lambda axis: spacing_mm[axis] * factors[axis])
        factors[finest] *= 2
    x, y, z = factors
    return x, y, z
