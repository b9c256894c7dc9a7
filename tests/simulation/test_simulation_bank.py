from pathlib import Path

import numpy as np
import pytest
import torch

from egg_brains import AFFINE, INTENSITIES, egg_labels
from mapping_stroke.dataset.sources import part_of_mask
from mapping_stroke.errors import CaseError, ImageError, RunFolderError
from mapping_stroke.files import sha256
from mapping_stroke.images.image import write_image
from mapping_stroke.simulation import bank as module
from mapping_stroke.simulation.bank import load_bank
from mapping_stroke.simulation.cohort import Sources, find_sources
from mapping_stroke.simulation.settings import SourceFolders

CPU = torch.device("cpu")
COARSE_MM = 4.0


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """The template and twelve masks."""
    folder = tmp_path_factory.mktemp("masks")
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-90, -126, -72)
    for number in range(12):
        voxels = np.zeros((91, 109, 91), bool)
        voxels[20:27, 50 + number : 60 + number, 40:50] = True
        write_image(folder / f"{number}.nii.gz", voxels, affine)
    return find_sources(SourceFolders(lesions=folder))


def test_a_bank_holds_the_masks_of_its_part_and_is_read_from_one_file(sources: Sources, tmp_path: Path) -> None:
    bank = load_bank(sources, "training", COARSE_MM, tmp_path, CPU)
    expected = {mask.name for mask in sources.masks if part_of_mask(sha256(mask)) == "training"}
    assert {mask.name for mask in bank.masks} == expected
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    again = load_bank(sources, "training", COARSE_MM, tmp_path, CPU)
    assert file.stat().st_mtime_ns == written
    first, second = (each.draw(np.random.default_rng(0)) for each in (bank, again))
    assert torch.equal(first.scan, second.scan)
    assert bank.masks[0].volume_mm3 == pytest.approx(7 * 10 * 10 * 8)


def test_people_and_rescans_are_split_and_the_template_is_for_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FINER", 1)
    folder = tmp_path / "brains"
    for name in ("1003", "1023", "1000", "1001", "1002", "1012"):
        write_image(folder / f"oasis-{name}_T1w.nii.gz", INTENSITIES[egg_labels(70)], AFFINE)
    sources = find_sources(SourceFolders(folder, rescans=("1003=1023",)))
    banks = {part: load_bank(sources, part, COARSE_MM, tmp_path / "bank", CPU) for part in ("training", "validation")}
    assert [len(bank.hosts) for bank in banks.values()] in ([4, 1], [5, 1], [4, 2])
    assert sum(len(bank.hosts) for bank in banks.values()) < 7


def test_a_damaged_bank_is_refused(sources: Sources, tmp_path: Path) -> None:
    load_bank(sources, "training", COARSE_MM, tmp_path, CPU)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(RunFolderError, match="delete it and rerun the command"):
        load_bank(sources, "training", COARSE_MM, tmp_path, CPU)


def test_a_part_without_masks_is_refused(sources: Sources, tmp_path: Path) -> None:
    alone = Sources(lesions=sources.lesions, masks=sources.masks[:1])
    part = "test" if part_of_mask(sha256(sources.masks[0])) != "test" else "training"
    with pytest.raises(CaseError, match=f"no masks in the {part} split"):
        load_bank(alone, part, COARSE_MM, tmp_path, CPU)


@pytest.mark.parametrize("corner_mm", [400.0, 100.0, -119.0])
def test_a_mask_outside_mni_space_is_refused_by_name(corner_mm: float, tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 3] = corner_mm
    write_image(tmp_path / "masks" / "far.nii.gz", np.ones((20, 5, 5), bool), affine)
    with pytest.raises(ImageError, match=r"far\.nii\.gz: lies outside MNI152 space; register it, or remove it"):
        load_bank(
            find_sources(SourceFolders(lesions=tmp_path / "masks")), "training", COARSE_MM, tmp_path / "bank", CPU
        )
