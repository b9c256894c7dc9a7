"""The packaged points are those of the template inside nilearn."""

from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.dataset.template_fit import TEMPLATE_LICENCE, tissue_points
from rebuild_template import write_tissue_points


@pytest.mark.slow
def test_the_packaged_points_can_be_made_anew(tmp_path: Path) -> None:
    write_tissue_points(tmp_path / "made.npz")
    packaged = tissue_points()
    with np.load(tmp_path / "made.npz") as made:
        assert made["licence"] == TEMPLATE_LICENCE
        np.testing.assert_array_equal(made["places_mm"], packaged.places_mm)
        np.testing.assert_allclose(made["grey"] / 255, packaged.grey, atol=1.5 / 255)
        np.testing.assert_allclose(made["white"] / 255, packaged.white, atol=1.5 / 255)
