"""Slices of painted heads, before and after, with outlines of the lesion and of the extracted brains."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32
from matplotlib.lines import Line2D
from scipy import ndimage

from benchmarks.painted_strokes import Head
from mapping_stroke.images.image import Image, Mask, reorient
from mapping_stroke.lesions import bounding_box
from mapping_stroke.report.style import HUES, legend_below, new_figure, row_label, save_png

MARGIN_MM = 12.0
"""Margin around the brain; everything farther out is black, so that no face is visible."""
WHITE_QUANTILE = 0.995
COLOURS = {"lesion": "#ffe14d", "network": "#00c8ff", "template": "#e03a00", "ROBEX": HUES[2]}
CONVENTION = "The patient's right is on the left. Before, after, and with outlines; axial and coronal."


@dataclass(frozen=True, eq=False)
class Section:
    """One plane through a painted head, rows from top to bottom, with the patient's right on the left.

    Attributes:
        before: The original head, with black at 0 and white at 1.
        after: The painted head.
        outlines: The lesion and the extracted brains.
        aspect: Height of a pixel divided by its width.
    """

    before: Float32[np.ndarray, "row column"]
    after: Float32[np.ndarray, "row column"]
    outlines: Mapping[str, Bool[np.ndarray, "row column"]]
    aspect: float


Sketch = tuple[Section, Section]
"""Axial and coronal plane where the network lost most of the lesion; if it lost nothing, through most of the lesion."""


def sketch(head: Head, painted: Image, lesion: Mask, brains: Mapping[str, Mask]) -> Sketch:
    """Extract two planes of a painted head."""
    lost = lesion & ~brains["network"]
    decisive = _turn(lost if lost.any() else lesion, head)
    margin_vox = round(MARGIN_MM / min(head.scan.spacing_mm))
    box = bounding_box(_turn(head.space, head), margin_vox)
    white = float(np.quantile(head.scan.voxels[head.space], WHITE_QUANTILE))
    near = ndimage.distance_transform_edt(~_turn(head.space, head)[box], reorient(head.scan).spacing_mm) < MARGIN_MM
    volumes = [np.clip(reorient(scan).voxels[box] / white, 0, 1) * near for scan in (head.scan, painted)]
    masks = {name: _turn(mask, head)[box] for name, mask in {"lesion": lesion, **brains}.items()}
    edges_mm = reorient(head.scan).spacing_mm
    axial, coronal = (_cut(volumes, masks, decisive[box], axis, edges_mm) for axis in (2, 1))
    return axial, coronal


def draw_sketches(sketches: Mapping[str, Sketch], path: Path) -> None:
    """Draw a row for each painted head (at least one), by its label."""
    figure = new_figure(12.0, 2.4 * len(sketches) + 0.5, dark=True)
    grid = figure.subplots(len(sketches), 6, squeeze=False)
    for row, (label, sections) in zip(grid, sketches.items(), strict=True):
        for first, section in enumerate(sections):
            pictures = (section.before, section.after, section.after)
            for axes, picture in zip(row[3 * first : 3 * first + 3], pictures, strict=True):
                axes.imshow(picture, cmap="gray", vmin=0, vmax=1, aspect=section.aspect)
                axes.set_axis_off()
            for name, mask in section.outlines.items():
                if mask.any() and not mask.all():
                    row[3 * first + 2].contour(mask, [0.5], colors=[COLOURS[name]], linewidths=0.7)
        row_label(row[0], label, 6.5)
    legend_below(figure, [Line2D([], [], color=colour, label=name) for name, colour in COLOURS.items()], CONVENTION)
    save_png(figure, path)


def _turn(mask: Mask, head: Head) -> Mask:
    return np.asarray(reorient(Image(mask.astype(np.float32), head.scan.affine)).voxels > 0.5)


def _cut(
    volumes: list[Float32[np.ndarray, "x y z"]],
    masks: Mapping[str, Mask],
    decisive: Mask,
    axis: int,
    edges_mm: tuple[float, float, float],
) -> Section:
    others = tuple({0, 1, 2} - {axis})
    # the plane with most of the lost voxels
    index = int(decisive.sum(axis=others).argmax())

    def plane(volume: np.ndarray) -> np.ndarray:
        # RAS to radiological view: superior or anterior at the top, right on the left
        return np.ascontiguousarray(np.take(volume, index, axis=axis)[::-1, ::-1].T)

    before, after = (plane(volume) for volume in volumes)
    return Section(
        before.astype(np.float32),
        after.astype(np.float32),
        {name: plane(mask) for name, mask in masks.items()},
        edges_mm[others[1]] / edges_mm[others[0]],
    )
