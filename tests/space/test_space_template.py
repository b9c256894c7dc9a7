"""The packaged template is that inside nilearn."""

from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.dataset.template_fit import TEMPLATE_LICENCE
from mapping_stroke.space.template import read_template
from rebuild_template import write_template


@pytest.mark.slow
def test_the_packaged_template_can_be_made_anew(tmp_path: Path) -> None:
    write_template(tmp_path / "made.npz")
    packaged = read_template()
    with np.load(tmp_path / "made.npz") as made:
        assert made["licence"] == TEMPLATE_LICENCE
        np.testing.assert_array_equal(made["affine"], packaged.affine)
        np.testing.assert_allclose(made["t1"] / 255, packaged.t1, atol=1.5 / 255)
        np.testing.assert_allclose(made["brain"] / 255, packaged.brain, atol=1.5 / 255)
