from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.cohort.segmenter import make_segmenter
from mapping_stroke.cohort.settings import Computation
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.dataset.grid import ATLAS_GRID
from mapping_stroke.errors import CaseError
from mapping_stroke.images.image import reorient, write_image
from mapping_stroke.models.judge import find_unlabelled, read_evaluation_case
from moved_heads import NEAR, moved_scan
from small_models import write_model


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> FoundCase:
    """A stripped brain far from MNI152 space, with half of it as its lesion."""
    folder = tmp_path_factory.mktemp("scan")
    scan = moved_scan(NEAR, stripped=True, axes="LAS")
    lesion = scan.voxels > 0
    lesion[: scan.shape[0] // 2] = False
    write_image(folder / "a_T1w.nii.gz", scan.voxels, scan)
    write_image(folder / "a_mask.nii.gz", lesion, scan)
    return FoundCase("a", "a", "", "", folder / "a_T1w.nii.gz", folder / "a_mask.nii.gz")


def test_a_scan_is_judged_on_its_own_grid_wherever_the_model_sees_it(case: FoundCase, tmp_path: Path) -> None:
    bundle = write_model(tmp_path / "m.mapping", space="MNI152")
    as_stored = replace(bundle, card=replace(bundle.card, space="unknown"))
    computation = Computation(preset="fast", device="cpu")
    there, here = (read_evaluation_case(case, make_segmenter(computation, each)) for each in (bundle, as_stored))
    assert there.loaded.model_input.image.shape == ATLAS_GRID.shape
    np.testing.assert_array_equal(there.reference, here.reference)
    scan = reorient(here.loaded.image).voxels
    np.testing.assert_array_equal(here.turn(here.loaded.image.voxels), scan)
    back = there.turn(there.loaded.model_input.bring_back(there.loaded.model_input.image.voxels))
    assert np.corrcoef(back[there.reference], scan[there.reference])[0, 1] > 0.9


def test_healthy_scans_whose_names_differ_in_capitals_alone_are_refused(tmp_path: Path) -> None:
    scans = [tmp_path / "here" / "H0.nii.gz", tmp_path / "there" / "h0.nii.gz"]
    with pytest.raises(CaseError, match=r"h0\.nii\.gz: .*H0\.nii\.gz has the same name but for upper and lower case"):
        find_unlabelled(scans)
