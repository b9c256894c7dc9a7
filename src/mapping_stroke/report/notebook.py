"""A segmented scan in a notebook: as HTML with a picture and a table, and in an interactive viewer."""

import gzip
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32

from mapping_stroke.console import counted
from mapping_stroke.errors import ConfigError
from mapping_stroke.images.image import Image, Mask, Probability, nifti_image
from mapping_stroke.inference.segmentation import LesionRow
from mapping_stroke.report.pictures import segmentation_figure
from mapping_stroke.report.slices import FAINT
from mapping_stroke.report.style import load_words, png_bytes

LISTED = 20
"""The table shows this many lesions and counts the rest."""
MASK_OPACITY = 0.5
"""Opacity of the lesions in the viewer; probability and uncertainty are hidden at first."""


def describe_load(lesions: Sequence[LesionRow]) -> str:
    """Number and total volume of the lesions."""
    if not lesions:
        return "no lesion"
    return f"{counted(len(lesions), 'lesion')}, {load_words(sum(row.volume_ml for row in lesions))}"


def notebook_html(
    scan: Image, found: tuple[Mask, Probability, Sequence[LesionRow]], table: pd.DataFrame, doubts: Sequence[str]
) -> str:
    """The picture of a segmented scan, its lesion table, and doubts about it, as HTML without outside references.

    Args:
        scan: The defaced scan.
        found: Lesion mask and P(lesion) on its grid, and the lesions.
        table: The lesions, one row each, largest first.
        doubts: Warnings about the scan, one line each.
    """
    mask, probability, lesions = found
    picture = b64encode(png_bytes(segmentation_figure(scan, mask, probability, lesions))).decode()
    title = escape(describe_load(lesions))
    parts = [f'<img alt="{title}, outlined on slices" style="max-width: 100%" src="data:image/png;base64,{picture}">']
    if lesions:
        parts.append(table.head(LISTED).to_html(index=False, border=0, float_format="{:.3f}".format))
    if len(lesions) > LISTED:
        parts.append(f"<p>and {len(lesions) - LISTED} smaller</p>")
    parts += [f"<p>Warning: {escape(line)}</p>" for line in doubts]
    return "<div>{}</div>".format("\n".join(parts))


def open_viewer(
    scan: Image, maps: tuple[Mask, Probability, Float32[np.ndarray, "x y z"]], steps: tuple[float, float], height: int
) -> Any:
    """The scan with its lesions, and hidden layers of probability and uncertainty, as a widget (`NiiVue`).

    Args:
        scan: The scan to show.
        maps: Lesion mask, P(lesion), and its standard deviation over the members, on the scan's grid.
        steps: Precision in which probability and uncertainty are shown.
        height: Height of the widget, in pixels.

    Raises:
        ConfigError: The package of the viewer is not installed.
    """
    if find_spec("ipyniivue") is None:
        raise ConfigError("the viewer needs ipyniivue; install it: pip install 'mapping-stroke[notebook]'")
    from ipyniivue import NiiVue, SliceType

    mask, probability, uncertainty = maps
    anatomy = nifti_image(scan.voxels, scan)
    anatomy.header.set_data_dtype(np.int16)  # half the bytes, exact to 1/65 000 of the range
    likely, unsure = (
        nifti_image(values, scan, step=step) for values, step in zip((probability, uncertainty), steps, strict=True)
    )
    hidden = {"opacity": 0.0, "colorbar_visible": False}
    viewer = NiiVue(height=height, is_radiological_convention=True, show_3d_crosshair=True)
    viewer.set_slice_type(SliceType.MULTIPLANAR)
    viewer.load_volumes(
        [
            _layer("scan", anatomy, colormap="gray", colorbar_visible=False),
            _layer("lesions", nifti_image(mask, scan), colormap="red", opacity=MASK_OPACITY, **_range(0.5, 1)),
            _layer("probability", likely, colormap="inferno", **_range(FAINT, 1), **hidden),
            _layer("uncertainty", unsure, colormap="viridis", **_range(FAINT, 0.5), **hidden),
        ]
    )
    return viewer


def _range(low: float, high: float) -> dict[str, float]:
    return {"cal_min": low, "cal_max": high}


def _layer(name: str, image: Any, **look: Any) -> dict[str, Any]:
    """A volume of the viewer; its name tells the viewer the format of its bytes."""
    return {"name": f"{name}.nii.gz", "data": gzip.compress(image.to_bytes(), compresslevel=1, mtime=0), **look}
