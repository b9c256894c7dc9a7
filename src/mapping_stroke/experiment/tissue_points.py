"""The packaged points of the MNI152 template, made anew from the maps inside nilearn.

`python -m mapping_stroke.experiment.tissue_points FILE` writes them; a test says that they are those of the package.
"""

import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from mapping_stroke.dataset.mni152 import TEMPLATE_LICENCE, TissuePoints

CELL_MM, EVERY = 4, 2
"""Shares of the tissues are means over cells of this edge, kept for every second cell along each axis."""


def find_tissue_points() -> TissuePoints:
    """The same points, computed from the template inside nilearn."""
    from nilearn import datasets

    templates = [
        load(resolution=1)
        for load in (
            datasets.load_mni152_brain_mask,
            datasets.load_mni152_gm_template,
            datasets.load_mni152_wm_template,
        )
    ]
    brain, grey, white = (cell_means(np.asarray(image.dataobj, np.float32), CELL_MM) for image in templates)
    cells = np.argwhere(brain > 0.5)
    cells = cells[(cells % EVERY == 0).all(axis=1)]
    at = tuple(cells.T)
    corner_mm = templates[0].affine[:3, 3] + (CELL_MM - 1) / 2
    places_mm = (cells * CELL_MM + corner_mm).astype(np.float32)
    return TissuePoints(places_mm, *(np.clip(part[at] / brain[at], 0, 1) for part in (grey, white)))


def write_tissue_points(path: Path) -> None:
    """Write the points as they are packaged, in steps of 1/255, with the template's notice."""
    points = find_tissue_points()
    grey, white = (np.rint(255 * share).astype(np.uint8) for share in (points.grey, points.white))
    np.savez_compressed(path, places_mm=points.places_mm, grey=grey, white=white, licence=np.array(TEMPLATE_LICENCE))


def cell_means(volume: Float32[np.ndarray, "x y z"], cell: int) -> Float32[np.ndarray, "a b c"]:
    """Means over cells of so many voxels along each axis; beyond the volume there is 0."""
    padded = np.pad(volume, [(0, -length % cell) for length in volume.shape])
    a, b, c = (length // cell for length in padded.shape)
    means: np.ndarray = padded.reshape(a, cell, b, cell, c, cell).mean(axis=(1, 3, 5))
    return means


if __name__ == "__main__":
    write_tissue_points(Path(sys.argv[1]))
