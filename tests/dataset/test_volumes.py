from pathlib import Path

import numpy as np
import pytest
import torch

from mapping_stroke.dataset.volumes import has_volume, read_volume, write_volume
from mapping_stroke.errors import RunFolderError

SCAN = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_a_volume_comes_back_with_its_lesion_voxels(tmp_path: Path) -> None:
    mask = SCAN > 21
    write_volume(tmp_path, "a", SCAN, mask)
    volume = read_volume(tmp_path, "a").to(torch.device("cpu"))
    assert torch.equal(volume.scan.float(), torch.from_numpy(SCAN))
    assert torch.equal(volume.mask.bool(), torch.from_numpy(mask))
    assert volume.lesion_voxels.tolist() == [[1, 2, 2], [1, 2, 3]]


def test_a_case_without_lesion_has_no_lesion_voxels(tmp_path: Path) -> None:
    write_volume(tmp_path, "a", SCAN, SCAN < 0)
    assert read_volume(tmp_path, "a").lesion_voxels.shape == (0, 3)


def test_an_unfinished_case_is_not_there(tmp_path: Path) -> None:
    write_volume(tmp_path, "a", SCAN, SCAN < 0)
    assert has_volume(tmp_path, "a")
    (tmp_path / "a_lesion.npy").unlink()
    assert not has_volume(tmp_path, "a")
    with pytest.raises(RunFolderError, match="case a cannot be read"):
        read_volume(tmp_path, "a")


def test_damaged_arrays_are_refused(tmp_path: Path) -> None:
    write_volume(tmp_path, "a", SCAN, SCAN < 0)
    (tmp_path / "a_scan.npy").write_bytes(b"nonsense")
    with pytest.raises(RunFolderError, match="case a cannot be read"):
        read_volume(tmp_path, "a")
