"""The transform file is what other programs take it for."""

from pathlib import Path

import numpy as np
import SimpleITK
from scipy.spatial.transform import Rotation

from mapping_stroke.space.affine import itk_text
from moved_heads import move

TO_MNI = np.linalg.inv(move((20, -35, 50), (31.5, -12.25, 8), size=0.9))
TO_MNI[:3, :3] = TO_MNI[:3, :3] @ Rotation.from_euler("z", 10, degrees=True).as_matrix() @ np.diag([1, 1.1, 0.95])


def test_itk_carries_points_of_mni152_space_to_the_scan(tmp_path: Path) -> None:
    path = tmp_path / "scan_to-MNI152.txt"
    path.write_text(itk_text(TO_MNI))
    transform = SimpleITK.ReadTransform(str(path))
    for place_mm in ([0.0, 0, 0], [-40.0, 25, 60], [7.0, -90, -13]):
        there = TO_MNI @ [*place_mm, 1]
        left, back, up = transform.TransformPoint((-there[0], -there[1], there[2]))
        np.testing.assert_allclose([-left, -back, up], place_mm, atol=1e-9)


def test_nothing_is_lost_in_the_text(tmp_path: Path) -> None:
    numbers = [float(number) for number in itk_text(TO_MNI).splitlines()[3].split()[1:]]
    flip = np.diag([-1.0, -1, 1, 1])
    to_scan = flip @ np.linalg.inv(TO_MNI) @ flip
    assert numbers == [*to_scan[:3, :3].ravel(), *to_scan[:3, 3]]
