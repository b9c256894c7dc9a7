from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.dataset.grid import ATLAS_GRID, atlas_grid
from mapping_stroke.errors import ImageError, RegistrationError
from mapping_stroke.images.image import Image, write_image
from mapping_stroke.simulation import sources as source_scans
from mapping_stroke.simulation.sources import in_mni_space, place_source, read_brain


def egg(shift_mm: float = 0.0) -> Image:
    """Roughly a brain, on a grid of 5 mm, moved forwards."""
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = (-90, -120, -70)
    x, y, z = (axis * 5 + start for axis, start in zip(np.indices((37, 44, 36)), affine[:3, 3], strict=True))
    radius = np.sqrt((x / 70) ** 2 + ((y + 18) / 86) ** 2 + ((z - 9) / 70) ** 2)
    affine[1, 3] += shift_mm
    return Image(np.select([radius < 0.75, radius < 0.92, radius < 1], [200, 120, 50]).astype(np.float32), affine)


def test_a_brain_in_mni_space_is_taken_as_it_is() -> None:
    scan = egg()
    assert place_source(Path("a_T1w.nii.gz"), scan) is scan


@pytest.mark.parametrize("shift_mm", [-40.0, 25.0])
def test_a_brain_elsewhere_or_a_head_with_air_is_not_in_mni_space(shift_mm: float) -> None:
    assert not in_mni_space(egg(shift_mm))
    head = egg()
    assert not in_mni_space(Image(head.voxels + 1, head.affine))


def test_what_cannot_be_placed_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(scan: Image) -> None:
        raise RegistrationError("nothing fits")

    monkeypatch.setattr(source_scans, "place_scan", refuse)
    with pytest.raises(ImageError, match=r"a_T1w\.nii\.gz: is not a skull-stripped brain .*: nothing fits"):
        place_source(Path("a_T1w.nii.gz"), egg(40.0))


def test_tissues_of_a_scan_that_has_to_be_placed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = egg(40.0)
    for what in ("T1w", "tissues"):
        write_image(tmp_path / f"a_{what}.nii.gz", scan.voxels, scan.affine)
    monkeypatch.setattr("mapping_stroke.simulation.sources.place_source", lambda path, scan: egg())
    with pytest.raises(ImageError, match=r"a_tissues\.nii\.gz must be; register both"):
        read_brain(tmp_path / "a_T1w.nii.gz", atlas_grid(4.0))


@pytest.mark.slow
def test_a_scan_of_another_scanner_becomes_a_brain(shared: Path) -> None:
    brain = read_brain(shared / "data" / "brains-native" / "nfbs_T1w.nii.gz", atlas_grid(3.0))
    volume_ml = float(brain.inside.sum()) * 27 / 1000
    assert 1500 < volume_ml < 2300  # in MNI152 space
    assert float(brain.white.mean()) > 0.05 < float(brain.grey.mean())
    assert brain.grid.origin_mm >= ATLAS_GRID.origin_mm
