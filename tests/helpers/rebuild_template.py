"""Rebuild the packaged template and its tissue points from the maps inside nilearn, for development.

`python tests/helpers/rebuild_template.py TEMPLATE POINTS` writes both `.npz` files.
"""

import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from mapping_stroke.dataset.template_fit import TEMPLATE_LICENCE, TissuePoints
from mapping_stroke.space.template import Template

POINTS_CELL_MM, EVERY = 4, 2
"""Tissue fractions are means over cells of this edge, kept for every second cell along each axis."""
TEMPLATE_CELL_MM = 2
"""Registration needs no finer voxels: with 1 mm, the place of a scan changes by some tenths of a millimetre."""


def find_tissue_points() -> TissuePoints:
    """Compute the tissue points from the template inside nilearn."""
    from nilearn import datasets

    templates = [
        load(resolution=1)
        for load in (
            datasets.load_mni152_brain_mask,
            datasets.load_mni152_gm_template,
            datasets.load_mni152_wm_template,
        )
    ]
    brain, grey, white = (cell_means(np.asarray(image.dataobj, np.float32), POINTS_CELL_MM) for image in templates)
    cells = np.argwhere(brain > 0.5)
    cells = cells[(cells % EVERY == 0).all(axis=1)]  # a rough fit needs no more points
    at = tuple(cells.T)
    corner_mm = templates[0].affine[:3, 3] + (POINTS_CELL_MM - 1) / 2
    places_mm = (cells * POINTS_CELL_MM + corner_mm).astype(np.float32)
    return TissuePoints(places_mm, *(np.clip(part[at] / brain[at], 0, 1) for part in (grey, white)))


def write_tissue_points(path: Path) -> None:
    """Write the points in the packaged form, in steps of 1/255, with the template's licence."""
    points = find_tissue_points()
    grey, white = (np.rint(255 * share).astype(np.uint8) for share in (points.grey, points.white))
    np.savez_compressed(path, places_mm=points.places_mm, grey=grey, white=white, licence=np.array(TEMPLATE_LICENCE))


def cell_means(volume: Float32[np.ndarray, "x y z"], cell: int) -> Float32[np.ndarray, "a b c"]:
    """Means over cells with that many voxels along each axis. The volume is padded with 0."""
    padded = np.pad(volume, [(0, -length % cell) for length in volume.shape])
    a, b, c = (length // cell for length in padded.shape)
    means: np.ndarray = padded.reshape(a, cell, b, cell, c, cell).mean(axis=(1, 3, 5))
    return means


def find_template() -> Template:
    """Compute the template from the images inside nilearn."""
    from nilearn import datasets

    t1 = datasets.load_mni152_template(resolution=1)
    brain = np.asarray(datasets.load_mni152_brain_mask(resolution=1).dataobj, np.float32)
    voxels = np.asarray(t1.dataobj, np.float32)
    affine = np.diag([TEMPLATE_CELL_MM, TEMPLATE_CELL_MM, TEMPLATE_CELL_MM, 1.0])
    affine[:3, 3] = t1.affine[:3, 3] + (TEMPLATE_CELL_MM - 1) / 2
    return Template(cell_means(voxels / voxels.max(), TEMPLATE_CELL_MM), cell_means(brain, TEMPLATE_CELL_MM), affine)


def write_template(path: Path) -> None:
    """Write the template in the packaged form, in steps of 1/255, with its licence."""
    template = find_template()
    t1, brain = (np.rint(255 * values).astype(np.uint8) for values in (template.t1, template.brain))
    np.savez_compressed(path, t1=t1, brain=brain, affine=template.affine, licence=np.array(TEMPLATE_LICENCE))


if __name__ == "__main__":
    write_template(Path(sys.argv[1]))
    write_tissue_points(Path(sys.argv[2]))
