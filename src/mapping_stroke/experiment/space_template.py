"""The packaged template of `mapping_stroke.space`, made anew from the scan inside nilearn.

`python -m mapping_stroke.experiment.space_template FILE` writes it; a test says that it is that of the package.
"""

import sys
from pathlib import Path

import numpy as np

from mapping_stroke.dataset.mni152 import TEMPLATE_LICENCE
from mapping_stroke.experiment.tissue_points import cell_means
from mapping_stroke.space.template import Template

CELL_MM = 2
"""Registration needs no finer voxels: 1 mm changes where a scan is put by some tenths of a millimetre."""


def find_template() -> Template:
    """The same template, computed from the images inside nilearn."""
    from nilearn import datasets

    t1 = datasets.load_mni152_template(resolution=1)
    brain = np.asarray(datasets.load_mni152_brain_mask(resolution=1).dataobj, np.float32)
    voxels = np.asarray(t1.dataobj, np.float32)
    affine = np.diag([CELL_MM, CELL_MM, CELL_MM, 1.0])
    affine[:3, 3] = t1.affine[:3, 3] + (CELL_MM - 1) / 2
    return Template(cell_means(voxels / voxels.max(), CELL_MM), cell_means(brain, CELL_MM), affine)


def write_template(path: Path) -> None:
    """Write the template as it is packaged, in steps of 1/255, with its notice."""
    template = find_template()
    t1, brain = (np.rint(255 * values).astype(np.uint8) for values in (template.t1, template.brain))
    np.savez_compressed(path, t1=t1, brain=brain, affine=template.affine, licence=np.array(TEMPLATE_LICENCE))


if __name__ == "__main__":
    write_template(Path(sys.argv[1]))
