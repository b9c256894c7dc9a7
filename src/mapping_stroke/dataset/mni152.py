"""Where the MNI152 template has which tissue: a few thousand points, packaged so that nothing large has to be loaded.

`mapping_stroke.experiment.tissue_points` makes them from the maps inside nilearn, which take seconds to load.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO

import numpy as np
from jaxtyping import Float32

TEMPLATE_LICENCE = (
    "ICBM 152 2009a nonlinear symmetric, (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal "
    "Neurological Institute, McGill University; free to use, copy, modify and distribute with this notice; via nilearn"
)
POINTS_FILE = "mni152.npz"


@dataclass(frozen=True, eq=False)
class TissuePoints:
    """Points in the brain of the template.

    Attributes:
        places_mm: Where they are, RAS millimetres of MNI152.
        grey: Share of grey matter around each, in [0, 1].
        white: Share of white matter; what is left is CSF.
    """

    places_mm: Float32[np.ndarray, "n 3"]
    grey: Float32[np.ndarray, " n"]
    white: Float32[np.ndarray, " n"]


@cache
def tissue_points() -> TissuePoints:
    """The packaged points."""
    content = files("mapping_stroke.dataset").joinpath(POINTS_FILE).read_bytes()
    with np.load(BytesIO(content)) as stored:
        grey, white = (stored[name].astype(np.float32) / 255 for name in ("grey", "white"))
        return TissuePoints(stored["places_mm"], grey, white)
