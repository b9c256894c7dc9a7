"""The brain of the MNI152NLin2009aSym template, to which scans are registered, packaged at 2 mm.

`tests/helpers/rebuild_template.py` makes it from the images inside nilearn, which take seconds to load.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO

import numpy as np
from jaxtyping import Float32

from mapping_stroke.images.nifti import Affine

TEMPLATE_FILE = "template.npz"


@dataclass(frozen=True, eq=False)
class Template:
    """The brain of the template, without a head.

    Attributes:
        t1: T1w intensities in [0, 1], means over voxels; 0 outside the brain.
        brain: Share of each voxel that is brain, in [0, 1].
        affine: Voxel index to RAS millimetres of MNI152.
    """

    t1: Float32[np.ndarray, "x y z"]
    brain: Float32[np.ndarray, "x y z"]
    affine: Affine

    @property
    def spacing_mm(self) -> float:
        """Edge of a voxel, equal along all axes."""
        return float(self.affine[0, 0])


@cache
def read_template() -> Template:
    """The packaged template."""
    content = files("mapping_stroke.space").joinpath(TEMPLATE_FILE).read_bytes()
    with np.load(BytesIO(content)) as stored:
        t1, brain = (stored[name].astype(np.float32) / 255 for name in ("t1", "brain"))
        return Template(t1, brain, stored["affine"])
