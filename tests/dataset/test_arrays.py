from pathlib import Path

import numpy as np
import pytest
import torch

from mapping_stroke.dataset.arrays import has_arrays, read_arrays, write_arrays
from mapping_stroke.errors import RunFolderError

SCAN = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_a_case_comes_back_with_its_lesion_voxels(tmp_path: Path) -> None:
    mask = SCAN > 21
    write_arrays(tmp_path, "a", SCAN, mask)
    case = read_arrays(tmp_path, "a").to(torch.device("cpu"))
    assert torch.equal(case.scan.float(), torch.from_numpy(SCAN))
    assert torch.equal(case.mask.bool(), torch.from_numpy(mask))
    assert case.lesion_voxels.tolist() == [[1, 2, 2], [1, 2, 3]]


def test_a_case_without_lesion_has_no_lesion_voxels(tmp_path: Path) -> None:
    write_arrays(tmp_path, "a", SCAN, SCAN < 0)
    assert read_arrays(tmp_path, "a").lesion_voxels.shape == (0, 3)


def test_an_unfinished_case_is_not_there(tmp_path: Path) -> None:
    write_arrays(tmp_path, "a", SCAN, SCAN < 0)
    assert has_arrays(tmp_path, "a")
    (tmp_path / "a_lesion.npy").unlink()
    assert not has_arrays(tmp_path, "a")
    with pytest.raises(RunFolderError, match="case a cannot be read"):
        read_arrays(tmp_path, "a")


def test_masks_share_a_scan_that_is_stored_once(tmp_path: Path) -> None:
    shared = tmp_path / "scans" / "a.npy"
    for fold, mask in (("0", SCAN > 21), ("1", SCAN > 20)):
        write_arrays(tmp_path / fold, "a", SCAN, mask, shared)
        case = read_arrays(tmp_path / fold, "a", shared)
        assert torch.equal(case.scan.float(), torch.from_numpy(SCAN))
        assert torch.equal(case.mask.bool(), torch.from_numpy(mask))
    assert sorted(path.name for path in tmp_path.rglob("*.npy")) == [
        "a.npy",
        *["a_lesion.npy"] * 2,
        *["a_mask.npy"] * 2,
    ]
    shared.unlink()
    assert not has_arrays(tmp_path / "0", "a", shared)


def test_the_own_scan_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    write_arrays(tmp_path, "a", SCAN, SCAN > 21)
    shared = tmp_path / "scans" / "a.npy"
    assert has_arrays(tmp_path, "a", shared)
    assert torch.equal(read_arrays(tmp_path, "a", shared).scan.float(), torch.from_numpy(SCAN))


def test_damaged_arrays_are_refused(tmp_path: Path) -> None:
    write_arrays(tmp_path, "a", SCAN, SCAN < 0)
    (tmp_path / "a_scan.npy").write_bytes(b"nonsense")
    with pytest.raises(RunFolderError, match="case a cannot be read"):
        read_arrays(tmp_path, "a")
